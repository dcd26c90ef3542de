# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
