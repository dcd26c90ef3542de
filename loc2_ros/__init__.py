# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Localize a vehicle in an aerial photo from its camera image."""

__version__ = '0.1.0'
