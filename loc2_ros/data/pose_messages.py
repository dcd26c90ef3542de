# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Poses with covariance, of Odometry and PoseWithCovarianceStamped, without ROS."""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any, Callable

from loc2_ros.core.values import Array, Pose2, Reason
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.messages import (
    matrix_from_transform, rotation_from_quaternion, sigma_or_none, stamp_ns)
from loc2_ros.data.tf_tree import StaticTree, TransformError
import numpy as np

# Diagonal entries of the row-major 6x6 covariance
_X, _Y, _YAW = 0, 7, 35


@dataclass(frozen=True)
class PoseMeasurement:
    """A planar pose of base_link in the frame of its message, with standard deviations."""

    stamp_ns: int
    frame_id: str
    pose: Pose2
    sigma_xy_m: float
    sigma_yaw_rad: float


def read_pose(msg: Any, default_sigma_m: float, default_sigma_rad: float,
              child_T_base: Array | None = None) -> PoseMeasurement:
    """
    Read an Odometry or a PoseWithCovarianceStamped.

    :param default_sigma_m: taken where the covariance of the position is zero or not a number.
    :param default_sigma_rad: the same for yaw.
    :param child_T_base: (4, 4) base_link in the frame that the message places; None: the same.
    :raises BadMessage: no stamp, not finite, or no rotation.
    """
    stamp = stamp_ns(msg.header.stamp)
    if stamp <= 0:
        raise BadMessage(Reason.NO_PRIOR, 'the message has no stamp')
    p, covariance = msg.pose.pose.position, msg.pose.covariance
    matrix = np.eye(4)
    try:
        matrix[:3, :3] = rotation_from_quaternion(msg.pose.pose.orientation)
    except ValueError as error:
        raise BadMessage(Reason.NO_PRIOR, f'the pose is unusable: {error}') from error
    matrix[:3, 3] = p.x, p.y, p.z
    if not np.all(np.isfinite(matrix)):
        raise BadMessage(Reason.NO_PRIOR, f'the pose is not a number ({p.x}, {p.y}, {p.z})')
    sigma_xy = sigma_or_none(0.5 * (float(covariance[_X]) + float(covariance[_Y])))
    sigma_yaw = sigma_or_none(float(covariance[_YAW]))
    return PoseMeasurement(
        stamp, str(msg.header.frame_id).lstrip('/'),
        planar(matrix if child_T_base is None else matrix @ child_T_base),
        default_sigma_m if sigma_xy is None else sigma_xy,
        default_sigma_rad if sigma_yaw is None else sigma_yaw)


def odometry_of_tf(msg: Any, odom_frame: str, base_frame: str, tree: StaticTree,
                   add: Callable[[int, Pose2], None]) -> None:
    """Hand on odom_T_base of every transform of a TFMessage that gives it; others are left."""
    for stamped in msg.transforms:
        if stamped.header.frame_id.lstrip('/') != odom_frame:
            continue
        try:
            child_T_base = tree.lookup(stamped.child_frame_id.lstrip('/'), base_frame)
            matrix = matrix_from_transform(stamped.transform) @ child_T_base
        except (TransformError, ValueError):
            continue
        add(stamp_ns(stamped.header.stamp), planar(matrix))


def planar(matrix: Array) -> Pose2:
    """Return the planar part of a (4, 4) transform: x, y and the heading of the x axis."""
    return Pose2(float(matrix[0, 3]), float(matrix[1, 3]),
                 math.atan2(matrix[1, 0], matrix[0, 0]))
