# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where the tests of maps find what they share."""

from __future__ import annotations

from pathlib import Path
import sys

sys.path.insert(0, str(Path(__file__).parent))      # for map_world
