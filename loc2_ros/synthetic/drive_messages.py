# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The messages of a synthetic drive, with the frames of a KITTI recording."""

from __future__ import annotations

import math
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera
from loc2_ros.data.bag_writer import make, make_header
from loc2_ros.data.messages import quaternion_from_rotation
import numpy as np
from numpy.typing import NDArray

MAP_FRAME, BASE_FRAME, IMU_FRAME = 'map', 'base_link', 'imu_link'
CAMERA_FRAME = 'camera_color_left'      # optical axes, as in KITTI recordings
_DIAGONAL_KNOWN = 2
_GRAVITY = 9.81


def static_transforms(stamp_ns: int, base_T_imu: Array, imu_T_camera: Array) -> Any:
    """Build base_link -> imu_link -> camera as one message."""
    return make('tf2_msgs/msg/TFMessage', transforms=[
        _transform(stamp_ns, BASE_FRAME, IMU_FRAME, base_T_imu),
        _transform(stamp_ns, IMU_FRAME, CAMERA_FRAME, imu_T_camera)])


def origin(stamp_ns: int, datum: LocalFrame) -> Any:
    """Build /local_xy_origin: x = longitude, y = latitude, z = height."""
    position = make('geometry_msgs/msg/Point', x=datum.lon_deg, y=datum.lat_deg, z=datum.height_m)
    return make('geometry_msgs/msg/PoseStamped', header=make_header(stamp_ns, MAP_FRAME),
                pose=make('geometry_msgs/msg/Pose', position=position,
                          orientation=_quaternion(_rotation_z(datum.yaw_rad))))


def camera_info(stamp_ns: int, camera: Camera) -> Any:
    """Build a CameraInfo of a rectified image: K = P[:, :3], D = 0, R = I."""
    k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
    p = [*k[0:3], 0.0, *k[3:6], 0.0, *k[6:9], 0.0]
    roi = make('sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0, width=0,
               do_rectify=False)
    return make('sensor_msgs/msg/CameraInfo', header=make_header(stamp_ns, CAMERA_FRAME),
                height=camera.height, width=camera.width, distortion_model='plumb_bob',
                d=np.zeros(5), k=np.array(k), r=np.eye(3).ravel(), p=np.array(p),
                binning_x=0, binning_y=0, roi=roi)


def jpeg(stamp_ns: int, data: NDArray[np.uint8]) -> Any:
    """Build a CompressedImage."""
    return make('sensor_msgs/msg/CompressedImage', header=make_header(stamp_ns, CAMERA_FRAME),
                format='rgb8; jpeg compressed bgr8', data=data.ravel())


def depth_image(stamp_ns: int, depth_m: NDArray[np.float32]) -> Any:
    """Build a depth image in millimetres, 0 beyond 65 m."""
    near = np.isfinite(depth_m) & (depth_m < 65.5)
    units = np.where(near, np.rint(1000.0 * np.where(near, depth_m, 0.0)), 0).astype('<u2')
    height, width = units.shape
    return make('sensor_msgs/msg/Image', header=make_header(stamp_ns, CAMERA_FRAME),
                height=height, width=width, encoding='16UC1', is_bigendian=0, step=2 * width,
                data=units.view(np.uint8).ravel())


def fix(stamp_ns: int, lat_deg: float, lon_deg: float, height_m: float, sigma_m: float) -> Any:
    """Build a NavSatFix with a known covariance."""
    return make('sensor_msgs/msg/NavSatFix', header=make_header(stamp_ns, IMU_FRAME),
                status=make('sensor_msgs/msg/NavSatStatus', status=0, service=1),
                latitude=lat_deg, longitude=lon_deg, altitude=height_m,
                position_covariance=np.diag([sigma_m ** 2] * 2 + [4 * sigma_m ** 2]).ravel(),
                position_covariance_type=_DIAGONAL_KNOWN)


def twist(stamp_ns: int, speed_mps: float, yaw_rate: float, lever_m: Array,
          base_R_imu: Array) -> Any:
    """Build the velocity of the IMU, in its own axes; TwistStamped as in KITTI."""
    velocity = np.array([speed_mps - yaw_rate * lever_m[1], yaw_rate * lever_m[0], 0.0])
    return make('geometry_msgs/msg/TwistStamped', header=make_header(stamp_ns, IMU_FRAME),
                twist=make('geometry_msgs/msg/Twist', linear=_vector(base_R_imu.T @ velocity),
                           angular=_vector(base_R_imu.T @ np.array([0.0, 0.0, yaw_rate]))))


def imu(stamp_ns: int, yaw_enu_rad: float, sigma_rad: float, yaw_rate: float,
        acceleration: tuple[float, float], base_R_imu: Array) -> Any:
    """Build an Imu with absolute ENU yaw; acceleration is forward and left."""
    force = np.array([acceleration[0], acceleration[1], _GRAVITY])
    return make('sensor_msgs/msg/Imu', header=make_header(stamp_ns, IMU_FRAME),
                orientation=_quaternion(_rotation_z(yaw_enu_rad) @ base_R_imu),
                orientation_covariance=np.diag([1e-4, 1e-4, sigma_rad ** 2]).ravel(),
                angular_velocity=_vector(base_R_imu.T @ np.array([0.0, 0.0, yaw_rate])),
                angular_velocity_covariance=np.diag([1e-4] * 3).ravel(),
                linear_acceleration=_vector(base_R_imu.T @ force),
                linear_acceleration_covariance=np.diag([1e-2] * 3).ravel())


def odometry(stamp_ns: int, pose: Array, speed_mps: float, yaw_rate: float) -> Any:
    """Build the truth: base_link in the map, exact."""
    point = make('geometry_msgs/msg/Point', x=float(pose[0]), y=float(pose[1]), z=0.0)
    moving = make('geometry_msgs/msg/Twist', linear=_vector(np.array([speed_mps, 0.0, 0.0])),
                  angular=_vector(np.array([0.0, 0.0, yaw_rate])))
    exact = np.diag([1e-6] * 6).ravel()
    return make(
        'nav_msgs/msg/Odometry', header=make_header(stamp_ns, MAP_FRAME),
        child_frame_id=BASE_FRAME,
        pose=make('geometry_msgs/msg/PoseWithCovariance', covariance=exact,
                  pose=make('geometry_msgs/msg/Pose', position=point,
                            orientation=_quaternion(_rotation_z(float(pose[2]))))),
        twist=make('geometry_msgs/msg/TwistWithCovariance', twist=moving, covariance=exact))


def _transform(stamp_ns: int, parent: str, child: str, parent_T_child: Array) -> Any:
    return make('geometry_msgs/msg/TransformStamped', header=make_header(stamp_ns, parent),
                child_frame_id=child,
                transform=make('geometry_msgs/msg/Transform',
                               translation=_vector(parent_T_child[:3, 3]),
                               rotation=_quaternion(parent_T_child[:3, :3])))


def _vector(xyz: Array) -> Any:
    return make('geometry_msgs/msg/Vector3', x=float(xyz[0]), y=float(xyz[1]), z=float(xyz[2]))


def _quaternion(rotation: Array) -> Any:
    x, y, z, w = quaternion_from_rotation(rotation).tolist()
    return make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)


def _rotation_z(yaw_rad: float) -> Array:
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
