# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the tests of the node share; without ROS 2 only those of ROS-free modules are run."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
import sys
from typing import Any, Iterator

import pytest

sys.path.insert(0, str(Path(__file__).parent))      # for ros_world

ROS_FREE = ('test_kitti_adapter_params.py', 'test_params.py', 'test_stamps.py',
            'test_diagnostics.py', 'test_worker.py')
if find_spec('rclpy') is None:
    collect_ignore = [p.name for p in Path(__file__).parent.glob('test_*.py')
                      if p.name not in ROS_FREE]


@pytest.fixture
def world() -> Iterator[Any]:
    """Give a driver that plays vehicle and sensors, and starts nodes; all of it joined after."""
    from ros_world import World
    made = World()
    yield made
    made.close()
