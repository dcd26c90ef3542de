# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A drive as a recording: what a vehicle with camera, GNSS and IMU would have written.

Give ``write_drive`` a ``DriveFrames``; its fields are

- ``stamps_ns``   (N,) int64, exposure times, rising
- ``map_T_base``  (N, 3) float64, base_link in the local frame: x_m, y_m, yaw_rad
- ``speed_mps``   (N,) float64, forward speed
- ``images``      N arrays (H, W, 3) uint8 RGB; any iterable, so they may be rendered one by one
- ``camera``      the pinhole that took them
- ``base_T_camera`` (4, 4), camera (optical axes) in base_link
- ``datum``       the LocalFrame the poses are in
- ``seed``        of the sensor errors
- ``depths_m``    planar depth of the images, (H, W) float32 each, or None to write none

The recording has KITTI's names (kitti2bag), with what those lack: covariances, a latched
tf_static from base_link on, the truth on ``/ground_truth/odom``, the datum on
``/local_xy_origin``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import repeat
import math
from pathlib import Path

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera
from loc2_ros.data import drive_messages as build
from loc2_ros.data.bag import TopicQos
from loc2_ros.data.bag_writer import BagWriter
from loc2_ros.data.drive_messages import (DEPTH, FIX, IMAGE, IMU, INFO, ORIGIN, TF_STATIC, TOPICS,
                                          TRUTH, VEL)
from loc2_ros.data.images import encode_jpeg
from loc2_ros.synthetic.gnss import heading_errors, MAX_HEADING_ERROR_RAD, position_errors
from loc2_ros.synthetic.trajectory import Trajectory
import numpy as np
from numpy.typing import NDArray

FIX_PERIOD_NS, IMU_PERIOD_NS = 100_000_000, 20_000_000
MARGIN_NS = 300_000_000     # the sensors run a little longer than the camera


@dataclass(frozen=True)
class DriveFrames:
    """A drive as its images and true poses; see the top of this file."""

    stamps_ns: NDArray[np.int64]
    map_T_base: Array
    speed_mps: Array
    images: Iterable[NDArray[np.uint8]]
    camera: Camera
    base_T_camera: Array
    datum: LocalFrame
    seed: int
    base_T_imu: Array = field(default_factory=build.kitti_base_T_imu)
    depths_m: Iterable[NDArray[np.float32]] | None = None

    @property
    def trajectory(self) -> Trajectory:
        """Return the motion between the frames."""
        return Trajectory(self.stamps_ns, self.map_T_base, self.speed_mps)


def write_drive(frames: DriveFrames, path: str | Path) -> Path:
    """
    Write a drive as ``path`` (.mcap).

    :returns: the path.
    :raises ValueError: an image has another size than the camera, or their number is wrong.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with BagWriter(path) as bag:
        for name, (msgtype, qos) in TOPICS.items():
            bag.add_topic(name, msgtype, qos)
        if frames.depths_m is not None:
            bag.add_topic(DEPTH, 'sensor_msgs/msg/Image', TopicQos(depth=5))
        begin = int(frames.stamps_ns[0]) - MARGIN_NS
        bag.write(TF_STATIC, begin, build.static_transforms(
            begin, frames.base_T_imu, np.linalg.inv(frames.base_T_imu) @ frames.base_T_camera))
        bag.write(ORIGIN, begin, build.origin(begin, frames.datum))
        _write_gnss(bag, frames)
        _write_inertial(bag, frames)
        _write_images(bag, frames)
    return path


def fix_stamps(frames: DriveFrames) -> NDArray[np.int64]:
    """Return the stamps of the GNSS: 10 Hz, a few milliseconds off the camera's."""
    return _stamps(frames, FIX_PERIOD_NS, np.random.default_rng([11, frames.seed]))


def _stamps(frames: DriveFrames, period_ns: int,
            rng: np.random.Generator) -> NDArray[np.int64]:
    """Return jittered stamps of a sensor from before the first image to after the last."""
    begin = int(frames.stamps_ns[0]) - MARGIN_NS + int(rng.integers(2_000_000, 10_000_000))
    regular = np.arange(begin, int(frames.stamps_ns[-1]) + MARGIN_NS, period_ns, dtype=np.int64)
    return regular + rng.integers(0, 1_000_000, len(regular))


def _write_gnss(bag: BagWriter, frames: DriveFrames) -> None:
    """Write fix and vel: base_link's motion seen at the IMU, with the error of the town."""
    stamps = fix_stamps(frames)
    poses, speeds, rates = frames.trajectory.at(stamps)
    errors = position_errors(_seconds(stamps), np.random.default_rng([12, frames.seed]))
    # An honest receiver: the root mean square per axis of what it gets wrong
    sigma = math.sqrt(float(np.mean(errors ** 2)))
    lever = frames.base_T_imu[:2, 3]
    lat, lon = frames.datum.inverse(_carried(poses, lever) + errors)
    height = frames.datum.height_m + float(frames.base_T_imu[2, 3])
    for i, stamp in enumerate(stamps.tolist()):
        bag.write(FIX, stamp, build.fix(stamp, float(lat[i]), float(lon[i]), height, sigma))
        bag.write(VEL, stamp, build.twist(stamp, float(speeds[i]), float(rates[i]), lever,
                                          frames.base_T_imu[:3, :3]))


def _write_inertial(bag: BagWriter, frames: DriveFrames) -> None:
    """Write imu, with the heading error, and the truth at the same stamps."""
    stamps = _stamps(frames, IMU_PERIOD_NS, np.random.default_rng([13, frames.seed]))
    poses, speeds, rates = frames.trajectory.at(stamps)
    errors = heading_errors(_seconds(stamps), np.random.default_rng([14, frames.seed]))
    # The map's north is true north only at the datum
    yaws = poses[:, 2] - frames.datum.convergence_rad(poses[:, :2]) + errors
    sigma = MAX_HEADING_ERROR_RAD / math.sqrt(3.0)      # of a uniform distribution
    acceleration = np.gradient(speeds, _seconds(stamps))
    for i, stamp in enumerate(stamps.tolist()):
        bag.write(IMU, stamp, build.imu(stamp, float(yaws[i]), sigma, float(rates[i]),
                                        (float(acceleration[i]), float(speeds[i] * rates[i])),
                                        frames.base_T_imu[:3, :3]))
        bag.write(TRUTH, stamp, build.odometry(stamp, poses[i], float(speeds[i]),
                                               float(rates[i])))


def _write_images(bag: BagWriter, frames: DriveFrames) -> None:
    """Write every image with its camera_info and the truth at exactly its stamp."""
    size, count = (frames.camera.height, frames.camera.width, 3), 0
    _, speeds, rates = frames.trajectory.at(frames.stamps_ns)
    depths = repeat(None) if frames.depths_m is None else frames.depths_m
    for count, (rgb, depth) in enumerate(zip(frames.images, depths), start=1):
        if count > len(frames.stamps_ns) or rgb.shape != size or rgb.dtype != np.uint8:
            raise ValueError(f'image {count} of {len(frames.stamps_ns)} is {rgb.shape} {rgb.dtype}'
                             f', the camera says {size} uint8')
        stamp, i = int(frames.stamps_ns[count - 1]), count - 1
        bag.write(INFO, stamp, build.camera_info(stamp, frames.camera))
        bag.write(IMAGE, stamp, build.jpeg(stamp, encode_jpeg(rgb)))
        if depth is not None:
            bag.write(DEPTH, stamp, build.depth_image(stamp, depth))
        bag.write(TRUTH, stamp, build.odometry(stamp, frames.map_T_base[i], float(speeds[i]),
                                               float(rates[i])))
    if count != len(frames.stamps_ns):
        raise ValueError(f'{len(frames.stamps_ns)} stamps but {count} images')


def _carried(poses: Array, lever_m: Array) -> Array:
    """Return the map position (N, 2) of a point fixed in base_link."""
    c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    offset = np.stack([c * lever_m[0] - s * lever_m[1], s * lever_m[0] + c * lever_m[1]], -1)
    return np.asarray(poses[:, :2] + offset)


def _seconds(stamps_ns: NDArray[np.int64]) -> Array:
    """Return seconds since the first stamp."""
    return np.asarray((stamps_ns - stamps_ns[0]) * 1e-9)
