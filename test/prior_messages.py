# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Messages as both rclpy and rosbags shape them, for tests of priors without ROS."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array
from loc2_ros.data.messages import quaternion_from_rotation
from loc2_ros.data.tf_tree import matrix_from_pose6
import numpy as np

FRAME = LocalFrame(49.0, 8.4, 110.0)
S = 1_000_000_000
T = 1000 * S


def stamp(ns: int) -> Any:
    """Return a message stamp."""
    return SimpleNamespace(sec=ns // S, nanosec=ns % S)


def fix(ns: int, xy: tuple[float, float] = (10.0, 5.0), frame_id: str = '', **changes: Any) -> Any:
    """Return a NavSatFix at a place in the map."""
    lat, lon = FRAME.inverse(np.array(xy))
    return SimpleNamespace(**{
        'header': SimpleNamespace(stamp=stamp(ns), frame_id=frame_id), 'latitude': lat,
        'longitude': lon, 'altitude': 110.0, 'status': SimpleNamespace(status=0),
        'position_covariance': [4.0, 0, 0, 0, 4.0, 0, 0, 0, 9.0], 'position_covariance_type': 2,
        **changes})


def imu(ns: int, yaw: float, frame_id: str = '', rotation: Array | None = None) -> Any:
    """Return an Imu whose x axis points at a yaw, or with a full rotation."""
    r = matrix_from_pose6([0.0] * 5 + [yaw])[:3, :3] if rotation is None else rotation
    x, y, z, w = quaternion_from_rotation(r)
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp(ns), frame_id=frame_id),
        orientation=SimpleNamespace(x=x, y=y, z=z, w=w),
        orientation_covariance=[0.01, 0, 0, 0, 0.01, 0, 0, 0, 0.01])
