# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The messages of a drive with the topics and frames of a KITTI recording, as they should be."""

from __future__ import annotations

import math
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera
from loc2_ros.data.bag import TopicQos
from loc2_ros.data.bag_writer import make, make_header
from loc2_ros.data.messages import quaternion_from_rotation
import numpy as np
from numpy.typing import NDArray

CAMERA = '/kitti/camera_color_left'
IMAGE, INFO = f'{CAMERA}/image_raw/compressed', f'{CAMERA}/camera_info'
DEPTH = f'{CAMERA}/depth'
FIX, VEL, IMU = '/kitti/oxts/gps/fix', '/kitti/oxts/gps/vel', '/kitti/oxts/imu'
TRUTH, ORIGIN, TF_STATIC = '/ground_truth/odom', '/local_xy_origin', '/tf_static'
LATCHED = TopicQos(reliable=True, latched=True, depth=1)
TOPICS = {
    IMAGE: ('sensor_msgs/msg/CompressedImage', TopicQos(depth=5)),
    INFO: ('sensor_msgs/msg/CameraInfo', TopicQos(depth=5)),
    FIX: ('sensor_msgs/msg/NavSatFix', TopicQos()),
    VEL: ('geometry_msgs/msg/TwistStamped', TopicQos()),
    IMU: ('sensor_msgs/msg/Imu', TopicQos(depth=50)),
    TRUTH: ('nav_msgs/msg/Odometry', TopicQos(depth=50)),
    TF_STATIC: ('tf2_msgs/msg/TFMessage', LATCHED),
    ORIGIN: ('geometry_msgs/msg/PoseStamped', LATCHED),
}
MAP_FRAME, BASE_FRAME, IMU_FRAME = 'map', 'base_link', 'imu_link'
CAMERA_FRAME = 'camera_color_left'      # optical axes, as in KITTI recordings
_DIAGONAL_KNOWN = 2
_GRAVITY = 9.81


def kitti_base_T_imu() -> Array:
    """Return where KITTI's IMU sits in base_link, which is on the ground (kitti2bag's)."""
    matrix = np.eye(4)
    matrix[:3, 3] = (-1.405, 0.32, 0.93)
    return matrix


def static_transforms(stamp_ns: int, base_T_imu: Array, imu_T_camera: Array) -> Any:
    """Build base_link -> imu_link -> camera as one message."""
    return make('tf2_msgs/msg/TFMessage', transforms=[
        transform(stamp_ns, BASE_FRAME, IMU_FRAME, base_T_imu),
        transform(stamp_ns, IMU_FRAME, CAMERA_FRAME, imu_T_camera)])


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
    return twist_of(stamp_ns, base_R_imu.T @ velocity,
                    base_R_imu.T @ np.array([0.0, 0.0, yaw_rate]))


def twist_of(stamp_ns: int, linear_mps: Array, angular: Array) -> Any:
    """Build a velocity of the IMU in its own axes, (3,) each; radians per second."""
    return make('geometry_msgs/msg/TwistStamped', header=make_header(stamp_ns, IMU_FRAME),
                twist=make('geometry_msgs/msg/Twist', linear=_vector(linear_mps),
                           angular=_vector(angular)))


def imu(stamp_ns: int, yaw_enu_rad: float, sigma_rad: float, yaw_rate: float,
        acceleration: tuple[float, float], base_R_imu: Array) -> Any:
    """Build an Imu with absolute ENU yaw; acceleration is forward and left."""
    force = np.array([acceleration[0], acceleration[1], _GRAVITY])
    return imu_of(stamp_ns, _rotation_z(yaw_enu_rad) @ base_R_imu, sigma_rad,
                  base_R_imu.T @ np.array([0.0, 0.0, yaw_rate]), base_R_imu.T @ force)


def imu_of(stamp_ns: int, enu_R_imu: Array, sigma_yaw_rad: float, rates: Array,
           accelerations: Array) -> Any:
    """Build an Imu: attitude (3, 3) in true ENU, rates and accelerations (3,) in its axes."""
    return make('sensor_msgs/msg/Imu', header=make_header(stamp_ns, IMU_FRAME),
                orientation=_quaternion(enu_R_imu),
                orientation_covariance=np.diag([1e-4, 1e-4, sigma_yaw_rad ** 2]).ravel(),
                angular_velocity=_vector(rates),
                angular_velocity_covariance=np.diag([1e-4] * 3).ravel(),
                linear_acceleration=_vector(accelerations),
                linear_acceleration_covariance=np.diag([1e-2] * 3).ravel())


def odometry(stamp_ns: int, pose: Array, speed_mps: float, yaw_rate: float,
             variance: float = 1e-6) -> Any:
    """Build the truth: base_link in the map at (x, y, yaw), exact unless a variance is given."""
    map_T_base = np.eye(4)
    map_T_base[:3, :3], map_T_base[:2, 3] = _rotation_z(float(pose[2])), pose[:2]
    return odometry_of(stamp_ns, map_T_base, speed_mps, yaw_rate, variance)


def odometry_of(stamp_ns: int, map_T_base: Array, speed_mps: float, yaw_rate: float,
                variance: float = 1e-6) -> Any:
    """Build the pose (4, 4) of base_link in the map, with one variance for all of it."""
    x, y, z = map_T_base[:3, 3].tolist()
    point = make('geometry_msgs/msg/Point', x=x, y=y, z=z)
    moving = make('geometry_msgs/msg/Twist', linear=_vector(np.array([speed_mps, 0.0, 0.0])),
                  angular=_vector(np.array([0.0, 0.0, yaw_rate])))
    sure = np.diag([variance] * 6).ravel()
    return make(
        'nav_msgs/msg/Odometry', header=make_header(stamp_ns, MAP_FRAME),
        child_frame_id=BASE_FRAME,
        pose=make('geometry_msgs/msg/PoseWithCovariance', covariance=sure,
                  pose=make('geometry_msgs/msg/Pose', position=point,
                            orientation=_quaternion(map_T_base[:3, :3]))),
        twist=make('geometry_msgs/msg/TwistWithCovariance', twist=moving, covariance=sure))


def transform(stamp_ns: int, parent: str, child: str, parent_T_child: Array) -> Any:
    """Build one TransformStamped of a matrix (4, 4)."""
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
