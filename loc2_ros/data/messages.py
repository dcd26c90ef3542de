# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What messages mean, without ROS: readers of message-shaped objects.

They take rclpy messages and messages deserialised by ``rosbags`` alike, because both have the
same attributes. The node and the offline twin read every message through these functions, so
that they cannot disagree. Trouble raises ``BadMessage``, which carries the ``Reason``.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

from loc2_ros.core.frames import MAX_HEIGHT_M
from loc2_ros.core.values import Array, Camera, Reason
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.images import check_raw_image, decode_compressed, decode_raw
import numpy as np

__all__ = [
    'BadMessage', 'Heading', 'Position', 'camera_from_info', 'check_raw_image',
    'decode_compressed', 'decode_raw', 'heading_from_imu', 'matrix_from_transform',
    'position_from_fix', 'quaternion_from_rotation', 'rotation_from_quaternion', 'stamp_ns',
]

# Diagonal entries of the row-major 3x3 covariances in NavSatFix and Imu
_EAST, _NORTH, _YAW = 0, 4, 8
_COVARIANCE_UNKNOWN = 0
_STATUS_NO_FIX = -1


@dataclass(frozen=True)
class Position:
    """
    A position from a NavSatFix.

    :param sigma_m: standard deviation per horizontal axis.
    :param sigma_known: False when the message gave none and the default was taken.
    """

    lat_deg: float
    lon_deg: float
    height_m: float
    sigma_m: float
    sigma_known: bool


@dataclass(frozen=True)
class Heading:
    """
    A heading from an Imu: yaw of the vehicle's x axis, 0 = east, counter-clockwise.

    :param sigma_known: False when the message gave none and the default was taken.
    """

    yaw_rad: float
    sigma_rad: float
    sigma_known: bool


def stamp_ns(stamp: Any) -> int:
    """Return a ``builtin_interfaces/Time`` as integer nanoseconds."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def camera_from_info(msg: Any) -> Camera:
    """
    Read the rectified camera from a CameraInfo.

    :raises BadMessage: fx or fy not positive, anything not finite, no size.
    """
    # P, not K: KITTI bags carry the unrectified K beside a rectified image. P[3] is the
    # baseline to camera 0, which TF already has.
    fx, fy, cx, cy = (float(msg.p[i]) for i in (0, 5, 2, 6))
    try:
        return Camera(int(msg.width), int(msg.height), fx, fy, cx, cy)
    except ValueError as error:
        raise BadMessage(
            Reason.BAD_CAMERA_INFO,
            f'camera_info is not calibrated ({error}); its matrix P must describe the '
            f'rectified image, K is not used', fx=fx, fy=fy) from error


def position_from_fix(msg: Any, default_sigma_m: float) -> Position:
    """
    Read the position from a NavSatFix.

    :param default_sigma_m: taken where the covariance is unknown, zero or not a number.
    :raises BadMessage: no fix, or a latitude or longitude that cannot be.
    """
    if int(msg.status.status) == _STATUS_NO_FIX:
        raise BadMessage(Reason.NO_PRIOR, 'the receiver reports NO_FIX', status=-1.0)
    lat, lon, height = float(msg.latitude), float(msg.longitude), float(msg.altitude)
    if not (math.isfinite(lat) and math.isfinite(lon)):
        raise BadMessage(Reason.NO_PRIOR, f'the fix is not a number ({lat}, {lon})')
    if abs(lat) > 90.0 or abs(lon) > 360.0:
        raise BadMessage(Reason.NO_PRIOR, f'the fix is not on Earth ({lat}, {lon})')
    if lat == 0.0 and lon == 0.0:       # what drivers send before they know; it is at sea
        raise BadMessage(Reason.NO_PRIOR, 'the fix is at latitude 0, longitude 0')
    covariance = msg.position_covariance
    sigma = sigma_or_none(0.5 * (float(covariance[_EAST]) + float(covariance[_NORTH])))
    known = sigma is not None and int(msg.position_covariance_type) != _COVARIANCE_UNKNOWN
    return Position(lat, lon, height if abs(height) <= MAX_HEIGHT_M else 0.0,    # NaN: 0
                    sigma if known and sigma is not None else default_sigma_m, known)


def heading_from_imu(msg: Any, default_sigma_rad: float,
                     base_R_imu: Array | None = None) -> Heading:
    """
    Read the heading of the vehicle from an Imu with absolute ENU yaw.

    :param default_sigma_rad: taken where the covariance is zero or not a number.
    :param base_R_imu: (3, 3) how the IMU is mounted; None: its x axis points forward.
    :raises BadMessage: the message says it has no orientation, or the quaternion is none.
    """
    covariance = msg.orientation_covariance
    if float(covariance[0]) == -1.0:
        raise BadMessage(Reason.NO_HEADING, 'the imu says it has no orientation '
                                            '(orientation_covariance[0] = -1)')
    try:
        world_R_base = rotation_from_quaternion(msg.orientation)
    except ValueError as error:
        raise BadMessage(Reason.NO_HEADING, f'the imu orientation is unusable: {error}') from error
    if base_R_imu is not None:
        world_R_base = world_R_base @ base_R_imu.T
    sigma = sigma_or_none(float(covariance[_YAW]))
    yaw = math.atan2(world_R_base[1, 0], world_R_base[0, 0])
    return Heading(yaw, default_sigma_rad if sigma is None else sigma, sigma is not None)


def rotation_from_quaternion(q: Any) -> Array:
    """
    Return the rotation matrix of a quaternion message, normalised.

    :returns: (3, 3) float64.
    :raises ValueError: not finite, or far from unit length.
    """
    xyzw = np.array([q.x, q.y, q.z, q.w], dtype=np.float64)
    norm = float(np.linalg.norm(xyzw))
    if not math.isfinite(norm) or not 0.9 < norm < 1.1:
        raise ValueError(f'a rotation needs a unit quaternion, got {xyzw.tolist()}')
    x, y, z, w = xyzw / norm
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)]])


def quaternion_from_rotation(rotation: Array) -> Array:
    """
    Return the unit quaternion (x, y, z, w), w >= 0, of a rotation matrix.

    :param rotation: (3, 3), orthonormal, determinant 1.
    """
    r = np.asarray(rotation, dtype=np.float64)
    # Bar-Itzhack 2000: the eigenvector of the largest eigenvalue, stable at every angle
    k = np.array([
        [r[0, 0] - r[1, 1] - r[2, 2], 0.0, 0.0, 0.0],
        [r[0, 1] + r[1, 0], r[1, 1] - r[0, 0] - r[2, 2], 0.0, 0.0],
        [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], r[2, 2] - r[0, 0] - r[1, 1], 0.0],
        [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], float(np.trace(r))]])
    xyzw = np.linalg.eigh(k / 3.0, UPLO='L')[1][:, -1]
    return xyzw if xyzw[3] >= 0 else -xyzw


def matrix_from_transform(transform: Any) -> Array:
    """
    Return ``parent_T_child`` of a geometry_msgs/Transform.

    :returns: (4, 4) float64.
    :raises ValueError: not finite, or not a rotation.
    """
    t = transform.translation
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_from_quaternion(transform.rotation)
    matrix[:3, 3] = (t.x, t.y, t.z)
    if not np.all(np.isfinite(matrix)):
        raise ValueError(f'a transform must be finite, got {matrix[:3, 3].tolist()}')
    return matrix


def sigma_or_none(variance: float) -> float | None:
    """Return the root of a variance that says something, else None."""
    # Zero means "unknown" in practice (all KITTI bags); nobody is exactly certain
    if not math.isfinite(variance) or variance <= 0.0:
        return None
    return math.sqrt(variance)
