# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A raw drive of KITTI as a recording: topics as kitti2bag calls them, and right.

K is that of the rectified images, covariances are those of the receiver, static transforms are
latched and begin at base_link, /tf holds no second parent of it, stamps are UTC, and the truth of
base_link is on /ground_truth/odom.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Callable

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array
from loc2_ros.data import drive_messages as build
from loc2_ros.data.bag_writer import BagWriter
from loc2_ros.data.images import encode_jpeg
from loc2_ros.data.kitti_raw import RawDrive, read_raw_drive
from loc2_ros.data.pair import DatasetError, read_rgb
from loc2_ros.data.tf_tree import matrix_from_pose6
import numpy as np
from tqdm import tqdm

# Columns of an oxts record
LAT, LON, ALT = 0, 1, 2
ATTITUDE, VELOCITY, FORCE, RATES = slice(3, 6), slice(8, 11), slice(14, 17), slice(20, 23)
POSITION_ACCURACY = 23
SIGMA_YAW_RAD = 0.01        # KITTI does not record it; the receiver's maker says 0.1 degrees
Event = tuple[int, str, Callable[[], Any]]


def write_kitti_bag(folder: Path, out: Path, progress: bool = True,
                    say: Callable[[str], None] = lambda line: None) -> int:
    """
    Convert a drive; the recording appears when it is whole.

    :param out: a new rosbag2 folder, or a .mcap file.
    :param say: told which frames the drive lacks.
    :returns: the number of images.
    :raises DatasetError: the drive cannot be used, or ``out`` is there already.
    """
    if out.exists():
        raise DatasetError(f'{out} exists; give another --out, or remove it')
    drive = read_raw_drive(folder)
    if drive.gaps:
        say(f'{folder.name} lacks {len(drive.gaps)} frames between its first and last, first '
            f'{drive.gaps[0]}; the others keep their stamps')
    events = sorted(_events(drive), key=lambda event: event[0])
    out.parent.mkdir(parents=True, exist_ok=True)
    with BagWriter(out) as bag:
        for name, (msgtype, qos) in build.TOPICS.items():
            bag.add_topic(name, msgtype, qos)
        for stamp, topic, message in tqdm(events, unit='message',
                                          disable=None if progress else True):
            bag.write(topic, stamp, message())
    return len(drive.images)


def _events(drive: RawDrive) -> Iterator[Event]:
    """Yield what is to be written, each message made when its turn comes."""
    frame = LocalFrame(*drive.oxts[0, [LAT, LON, ALT]].tolist())
    base_T_imu = build.kitti_base_T_imu()
    begin = int(min(drive.image_stamps_ns[0], drive.oxts_stamps_ns[0]))
    imu_T_camera = np.asarray(np.linalg.inv(drive.camera_T_imu), np.float64)
    yield begin, build.TF_STATIC, partial(build.static_transforms, begin, base_T_imu, imu_T_camera)
    yield begin, build.ORIGIN, partial(build.origin, begin, frame)
    for stamp, record in zip(drive.oxts_stamps_ns.tolist(), drive.oxts):
        yield from _sensed(stamp, record, frame, base_T_imu)
    for stamp, path in zip(drive.image_stamps_ns.tolist(), drive.images):
        yield stamp, build.INFO, partial(build.camera_info, stamp, drive.camera)
        yield stamp, build.IMAGE, partial(_picture, stamp, path, drive)


def _sensed(stamp: int, record: Array, frame: LocalFrame, base_T_imu: Array) -> Iterator[Event]:
    """Yield the messages of one oxts record."""
    lat, lon, alt = record[[LAT, LON, ALT]].tolist()
    sigma = max(float(record[POSITION_ACCURACY]), 0.01)
    enu_R_imu = matrix_from_pose6([0.0, 0.0, 0.0, *record[ATTITUDE].tolist()])[:3, :3]
    yield stamp, build.FIX, partial(build.fix, stamp, lat, lon, alt, sigma)
    yield stamp, build.VEL, partial(build.twist_of, stamp, record[VELOCITY], record[RATES])
    yield stamp, build.IMU, partial(build.imu_of, stamp, enu_R_imu, SIGMA_YAW_RAD, record[RATES],
                                    record[FORCE])
    xy = frame.forward(lat, lon)
    turn = float(frame.convergence_rad(xy))     # the map's north is not true north everywhere
    map_T_imu = matrix_from_pose6([xy[0], xy[1], alt - frame.height_m, 0.0, 0.0, turn])
    map_T_imu[:3, :3] = map_T_imu[:3, :3] @ enu_R_imu
    speed, rate = float(record[VELOCITY][0]), float(record[RATES][2])
    yield stamp, build.TRUTH, partial(build.odometry_of, stamp,
                                      map_T_imu @ np.linalg.inv(base_T_imu), speed, rate,
                                      sigma ** 2)


def _picture(stamp: int, path: Path, drive: RawDrive) -> Any:
    rgb = read_rgb(path)
    if rgb.shape[:2] != (drive.camera.height, drive.camera.width):
        raise DatasetError(f'{path} is {rgb.shape[1]}x{rgb.shape[0]}, the calibration says '
                           f'{drive.camera.width}x{drive.camera.height}; is it that of the day?')
    return build.jpeg(stamp, encode_jpeg(rgb))
