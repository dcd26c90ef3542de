# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Messages to values and back; the only caller of cv_bridge.

What a message means is decided in ``data/messages.py`` and ``data/images.py``, which the
offline twin shares: camera images give the same pixels in both. cv_bridge reads depth images.
"""

from __future__ import annotations

import math
from typing import Any

from builtin_interfaces.msg import Time as TimeMsg
import cv2
from cv_bridge import CvBridge, CvBridgeError
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, Quaternion, Transform
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Fix, Prior, Reason
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.depth_messages import check_depth_image, depth_in_metres
from loc2_ros.data.messages import quaternion_from_rotation
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import NavSatFix, NavSatStatus

# "Not estimated, do not fuse": variances of z, roll and pitch
_Z_VARIANCE, _TILT_VARIANCE = 1e6, 10.0
_XY_YAW = (0, 1, 5)             # rows of the 6x6 covariance that a planar pose fills
_bridge = CvBridge()


def stamp_to_msg(stamp_ns: int) -> TimeMsg:
    """Return integer nanoseconds as a message, exactly."""
    return TimeMsg(sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def depth_from_msg(msg: Any) -> NDArray[np.float32]:
    """
    Read a depth image, 16UC1 in millimetres or 32FC1 in metres.

    :returns: (H, W) float32 metres, NaN where unknown.
    :raises BadMessage: another encoding, or data that does not fit.
    """
    kind, unit = check_depth_image(msg)
    try:
        raw = _bridge.imgmsg_to_cv2(_packed(msg, np.dtype(kind).itemsize), 'passthrough')
    except (CvBridgeError, TypeError, AttributeError, ValueError, cv2.error) as error:
        raise BadMessage(Reason.NO_DEPTH, f'the depth image is unreadable: {error}') from error
    return depth_in_metres(raw, unit)


def datum_from_msg(msg: PoseStamped) -> LocalFrame:
    """
    Read a local_xy_origin: x = longitude, y = latitude, z = height.

    :raises BadMessage: not a place on Earth.
    """
    p = msg.pose.position
    try:
        if abs(p.x) > 360.0:
            raise ValueError(f'longitude {p.x}')
        return LocalFrame(p.y, p.x, p.z)
    except ValueError as error:
        raise BadMessage(Reason.NO_PRIOR, f'local_xy_origin is no place: {error}') from error


def datum_to_msg(frame: LocalFrame, map_frame: str, stamp_ns: int) -> PoseStamped:
    """Return the datum as a local_xy_origin."""
    msg = PoseStamped()
    msg.header.frame_id, msg.header.stamp = map_frame, stamp_to_msg(stamp_ns)
    p = msg.pose.position
    p.x, p.y, p.z = float(frame.lon_deg), float(frame.lat_deg), float(frame.height_m)
    return msg


def datum_to_navsat(frame: LocalFrame, map_frame: str, stamp_ns: int) -> NavSatFix:
    """Return the datum as a fix: where on Earth the origin of the map frame is."""
    msg = NavSatFix()
    msg.header.frame_id, msg.header.stamp = map_frame, stamp_to_msg(stamp_ns)
    msg.status.status = NavSatStatus.STATUS_FIX
    msg.latitude, msg.longitude = float(frame.lat_deg), float(frame.lon_deg)
    msg.altitude = float(frame.height_m)
    return msg


def fix_to_pose(fix: Fix, map_frame: str) -> PoseWithCovarianceStamped:
    """Return a fix as the pose of base_link at the image's stamp."""
    pose = fix.map_T_base
    return _pose_msg(fix.stamp_ns, map_frame, pose.x_m, pose.y_m, pose.yaw_rad, fix.covariance)


def prior_to_pose(prior: Prior, map_frame: str) -> PoseWithCovarianceStamped:
    """Return a prior as it was used; without a heading the variance of yaw is pi squared."""
    sigma_yaw = math.pi if prior.sigma_yaw_rad is None else prior.sigma_yaw_rad
    variances = np.diag([prior.sigma_xy_m ** 2, prior.sigma_xy_m ** 2, sigma_yaw ** 2])
    x, y = (float(n) for n in prior.xy_map_m)
    return _pose_msg(prior.stamp_ns, map_frame, x, y, prior.yaw_map_rad or 0.0, variances)


def fix_to_navsat(fix: Fix, frame: LocalFrame, base_frame: str) -> NavSatFix:
    """Return a fix in WGS 84 with an east-north-up covariance."""
    msg = NavSatFix()
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(fix.stamp_ns), base_frame
    msg.status.status = NavSatStatus.STATUS_FIX
    lat, lon = frame.inverse(fix.map_T_base.xy_m)
    msg.latitude, msg.longitude, msg.altitude = float(lat), float(lon), float(frame.height_m)
    turn = -float(frame.convergence_rad(fix.map_T_base.xy_m))
    c, s = math.cos(turn), math.sin(turn)
    enu_R_map = np.array([[c, -s], [s, c]])
    covariance = np.diag([0.0, 0.0, _Z_VARIANCE])
    covariance[:2, :2] = enu_R_map @ fix.covariance[:2, :2] @ enu_R_map.T
    msg.position_covariance = covariance.ravel()
    msg.position_covariance_type = NavSatFix.COVARIANCE_TYPE_KNOWN
    return msg


def transform_to_msg(matrix: Array) -> Transform:
    """Return a (4, 4) transform as a message."""
    msg = Transform()
    msg.translation.x, msg.translation.y, msg.translation.z = (float(n) for n in matrix[:3, 3])
    x, y, z, w = (float(n) for n in quaternion_from_rotation(matrix[:3, :3]))
    msg.rotation = Quaternion(x=x, y=y, z=z, w=w)
    return msg


def diagnostics_to_msg(statuses: list[Any], stamp_ns: int, hardware: str) -> DiagnosticArray:
    """Return evaluated statuses (see diagnostics.py) as one message."""
    msg = DiagnosticArray()
    msg.header.stamp = stamp_to_msg(stamp_ns)
    msg.status = [DiagnosticStatus(
        level=bytes([s.level]), name=s.name, message=s.message, hardware_id=hardware,
        values=[KeyValue(key=k, value=v) for k, v in s.values.items()]) for s in statuses]
    return msg


def _pose_msg(stamp_ns: int, frame: str, x_m: float, y_m: float, yaw_rad: float,
              covariance: Array) -> PoseWithCovarianceStamped:
    msg = PoseWithCovarianceStamped()
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp_ns), frame
    msg.pose.pose.position.x, msg.pose.pose.position.y = float(x_m), float(y_m)
    msg.pose.pose.orientation.z = math.sin(yaw_rad / 2.0)
    msg.pose.pose.orientation.w = math.cos(yaw_rad / 2.0)
    full = np.diag([0.0, 0.0, _Z_VARIANCE, _TILT_VARIANCE, _TILT_VARIANCE, 0.0])
    # Cross terms with z, roll and pitch stay exactly 0: robot_localization keeps them
    full[np.ix_(_XY_YAW, _XY_YAW)] = (covariance + covariance.T) / 2.0
    msg.pose.covariance = full.ravel()
    return msg


def _packed(msg: Any, pixel_bytes: int) -> Any:
    """Return the message without row padding: cv_bridge can misread padded rows in silence."""
    row = msg.width * pixel_bytes
    if msg.step == row:
        return msg
    rows = np.frombuffer(msg.data, np.uint8)[:msg.height * msg.step].reshape(msg.height, msg.step)
    packed = type(msg)(header=msg.header, height=msg.height, width=msg.width,
                       encoding=msg.encoding, is_bigendian=msg.is_bigendian, step=row)
    packed.data = np.ascontiguousarray(rows[:, :row]).tobytes()
    return packed
