# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Drives of KITTI become recordings that are right, and the check finds each way to be wrong."""

from __future__ import annotations

from collections.abc import Callable
import copy
import math
from pathlib import Path
import shutil
from typing import Any

import cv2
from loc2_ros.cli.main import app
from loc2_ros.cli.settings import load_settings
from loc2_ros.core.frames import LocalFrame
from loc2_ros.data.bag import Bag, open_bag, TopicQos
from loc2_ros.data.bag_check import check_bag, Finding
from loc2_ros.data.bag_writer import BagWriter, make, make_header
from loc2_ros.data.drive_messages import FIX, IMAGE, IMU, INFO, ORIGIN, TF_STATIC, TRUTH, VEL
from loc2_ros.data.kitti_bag import write_kitti_bag
from loc2_ros.data.kitti_raw import read_raw_drive
from loc2_ros.data.messages import rotation_from_quaternion, stamp_ns
from loc2_ros.data.pair import DatasetError
from loc2_ros.data.recording import tree_of
import numpy as np
import pytest
from typer.testing import CliRunner

DAY = '2011_09_26'
SETTINGS = load_settings([], [])


def write_drive(day: Path, frames: int = 4, skip: int | None = None) -> Path:
    """Write a drive that goes north-east at 10 m/s; calibration by simple numbers."""
    folder = day / f'{DAY}_drive_0099_sync'
    for name in ('image_02', 'oxts'):
        (folder / name / 'data').mkdir(parents=True)
    start = LocalFrame(49.0, 8.4)
    for k in range(frames):
        if k == skip:
            continue
        lat, lon = start.inverse((k * math.sqrt(0.5), k * math.sqrt(0.5)))
        record = np.zeros(30)
        record[:6] = (lat, lon, 110.0, 0.01, -0.02, math.pi / 4)
        record[8], record[16], record[22], record[23] = 10.0, 9.81, 0.05, 0.3
        (folder / 'oxts' / 'data' / f'{k:010d}.txt').write_text(
            ' '.join(f'{v:.15g}' for v in record))
        cv2.imwrite(str(folder / 'image_02' / 'data' / f'{k:010d}.png'),
                    np.full((37, 124, 3), 10 * k, np.uint8))
    for name, nanos in (('image_02', 964389445), ('oxts', 970000001)):
        (folder / name / 'timestamps.txt').write_text(''.join(
            f'2011-09-26 13:02:{25 + k:02d}.{nanos:09d}\n' for k in range(frames)))
    eye = ' '.join(str(v) for v in np.eye(3).ravel())
    # Velodyne and IMU: forward, left, up; camera: right, down, forward
    turn = '0 -1 0 0 0 -1 1 0 0'
    (day / 'calib_cam_to_cam.txt').write_text(
        f'calib_time: 09-Jan-2012 13:57:47\nR_rect_00: {eye}\nS_rect_02: 124 37\n'
        'P_rect_02: 72 0 61 4.32 0 72 17 0 0 0 1 0\n')
    (day / 'calib_velo_to_cam.txt').write_text(f'R: {turn}\nT: 0 -0.1 -0.3\n')
    (day / 'calib_imu_to_velo.txt').write_text(f'R: {eye}\nT: -0.8 0.3 -0.8\n')
    return folder


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    out = tmp_path / 'bag'
    write_kitti_bag(write_drive(tmp_path / DAY), out, progress=False)
    return out


def problems(path: Path) -> dict[str, str]:
    with open_bag(path) as recording:
        findings: list[Finding] = check_bag(recording, SETTINGS)
    assert len({finding.item for finding in findings}) == len(findings) == 11
    return {finding.item: finding.problem for finding in findings if finding.problem}


def test_a_drive_becomes_a_recording_that_passes_every_check(bag: Path) -> None:
    assert problems(bag) == {}
    assert {path.name for path in bag.iterdir()} == {'bag.mcap', 'metadata.yaml'}
    done = CliRunner().invoke(app, ['bag', 'info', str(bag), '--check'])
    assert done.exit_code == 0 and 'ok     no second parent' in done.output


def test_stamps_are_utc_to_the_nanosecond_and_poses_those_of_base_link(bag: Path) -> None:
    with open_bag(bag) as recording:
        images = [stamp_ns(r.message.header.stamp) for r in recording.records([IMAGE])]
        truth = [r.message for r in recording.records([TRUTH])]
        infos = [r.message for r in recording.records([INFO])]
        tree = tree_of(recording, SETTINGS)
        fixes = [r.message for r in recording.records([FIX])]
    # 2011-09-26 13:02:25 UTC
    assert images[0] == 1_317_042_145_964_389_445 and len(images) == len(truth) == 4
    assert fixes[0].position_covariance[0] == pytest.approx(0.09)
    pose = truth[1].pose.pose
    # base_link is 1.405 m ahead of the IMU, 0.32 m right of it and 0.93 m below: 45 degrees
    ahead, left = 1.405, -0.32
    east = math.sqrt(0.5) * (1 + ahead - left)
    north = math.sqrt(0.5) * (1 + ahead + left)
    # Roll and pitch of one and two hundredths move it by as much of a metre
    assert (pose.position.x, pose.position.y) == pytest.approx((east, north), abs=0.03)
    forward = rotation_from_quaternion(pose.orientation)[:, 0]
    assert math.atan2(forward[1], forward[0]) == pytest.approx(math.pi / 4, abs=1e-3)
    # By hand: IMU to velodyne to camera 0 to camera 2, which is 4.32 / 72 m to its left
    imu_T_camera = tree.lookup('imu_link', 'camera_color_left')
    assert imu_T_camera[:3, 3] == pytest.approx([0.8 + 0.3, -0.3 + 0.06, 0.8 - 0.1], abs=1e-9)
    assert imu_T_camera[:3, 2] == pytest.approx([1, 0, 0], abs=1e-9)       # looks forward
    assert infos[0].p.reshape(3, 4)[:, 3].tolist() == [0, 0, 0]


def test_a_frame_that_is_missing_keeps_the_stamps_of_the_others(tmp_path: Path) -> None:
    folder = write_drive(tmp_path / DAY, 5, skip=2)
    drive = read_raw_drive(folder)
    assert [path.stem[-1] for path in drive.images] == ['0', '1', '3', '4']
    assert (np.diff(drive.image_stamps_ns) > 0).all()
    assert drive.image_stamps_ns[2] - drive.image_stamps_ns[1] == 2_000_000_000
    done = CliRunner().invoke(app, ['bag', 'kitti', str(folder), '-o', str(tmp_path / 'out')])
    assert done.exit_code == 0 and 'lacks 1 frames' in done.stderr and '0000000002' in done.stderr
    assert problems(tmp_path / 'out') == {}


def _without(name: str) -> Callable[[Path], None]:
    def spoil(day: Path) -> None:
        path = next(day.rglob(name))
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return spoil


def _text(name: str, content: str) -> Callable[[Path], None]:
    return lambda day: next(day.rglob(name)).write_text(content) and None


@pytest.mark.parametrize(('spoil', 'words'), [
    (_without('calib_velo_to_cam.txt'), 'lacks calib_velo_to_cam.txt; unpack the calibration'),
    (_without('oxts'), 'is no drive of KITTI'),
    (_without('timestamps.txt'), 'timestamps.txt cannot be read'),
    (_text('timestamps.txt', '2011-09-26 13:02:25.9\n'), '1 stamps, there are 4'),
    (_without('0000000001.txt'), 'has 4 images and 3 oxts records; frame 0000000001 has only one'),
    (_without('0000000003.png'), 'has 3 images and 4 oxts records; frame 0000000003 has only one'),
    (_text('timestamps.txt', 'noon\n' * 9), 'no time'),
    (_text('timestamps.txt', '2011-09-26 13:02:25.9\n' * 9), 'do not rise'),
    (_text('0000000002.txt', '1 2 3'), 'no oxts record of 30'),
    (_text('0000000001.png', 'no picture'), '0000000001.png cannot be read'),
    (_text('calib_cam_to_cam.txt', 'P_rect_02: 1 2 3'), 'calibration in .* is damaged')])
def test_what_is_wrong_with_a_drive_is_one_sentence_and_leaves_nothing(
        tmp_path: Path, spoil: Callable[[Path], None], words: str) -> None:
    drive, out = write_drive(tmp_path / DAY), tmp_path / 'out' / 'bag'
    spoil(tmp_path / DAY)
    with pytest.raises(DatasetError, match=words):
        write_kitti_bag(drive, out, progress=False)
    assert not out.exists() and not list(tmp_path.glob('out/.*'))


def test_a_recording_is_not_overwritten(bag: Path, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match='exists'):
        write_kitti_bag(tmp_path / DAY / f'{DAY}_drive_0099_sync', bag, progress=False)


Change = Callable[[str, Any], Any]


def rewritten(bag: Path, out: Path, change: Change, drop: str = '',
              qos: dict[str, TopicQos] | None = None,
              more: Callable[[BagWriter, int], None] | None = None) -> Path:
    """Copy a recording; ``change`` gets topic and message and returns what takes its place."""
    with open_bag(bag) as recording, BagWriter(out) as writer:
        for topic in recording.topics.values():
            if topic.name != drop:
                writer.add_topic(topic.name, topic.msgtype,
                                 (qos or {}).get(topic.name, topic.qos))
        for record in recording.records():
            if record.topic.name != drop:
                message = record.message
                change(record.topic.name, message)
                writer.write(record.topic.name, record.log_ns, message)
        if more is not None:
            more(writer, recording.end_ns)
    return out


def _set(topic: str, name: str, value: Any) -> Change:
    def change(at: str, message: Any) -> None:
        if at == topic:
            *path, last = name.split('.')
            for part in path:
                message = getattr(message, part)
            setattr(message, last, value)
    return change


def _nothing(topic: str, message: Any) -> None:
    pass


def _second_parent(writer: BagWriter, stamp: int) -> None:
    zero = make('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0)
    turn = make('geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=1.0)
    writer.add_topic('/tf', 'tf2_msgs/msg/TFMessage')
    writer.write('/tf', stamp, make('tf2_msgs/msg/TFMessage', transforms=[make(
        'geometry_msgs/msg/TransformStamped', header=make_header(stamp, 'world'),
        child_frame_id='base_link',
        transform=make('geometry_msgs/msg/Transform', translation=zero, rotation=turn))]))


def _two_statics(writer: BagWriter, stamp: int) -> None:
    writer.write(TF_STATIC, stamp, make('tf2_msgs/msg/TFMessage', transforms=[]))


def _also_static(topic: str, message: Any) -> None:
    """Give the camera another parent in the one message."""
    if topic == TF_STATIC:
        twin = copy.deepcopy(message.transforms[1])
        twin.header.frame_id = 'base_link'
        message.transforms.append(twin)


def _cut_off(topic: str, message: Any) -> None:
    if topic == IMAGE:
        message.data = message.data[:-20]


def _unplaced(topic: str, message: Any) -> None:
    """Put the IMU where base_link is, so that the truth is that of the IMU."""
    if topic == TF_STATIC:
        for transform in message.transforms:
            if transform.child_frame_id == 'imu_link':
                transform.transform.translation.x = 0.0


def _adapted(writer: BagWriter, stamp: int) -> None:
    writer.add_topic('/kitti/imu', 'std_msgs/msg/String')
    writer.write('/kitti/imu', stamp, make('std_msgs/msg/String', data=''))


NINE = np.zeros(9)
K, P3 = np.array([99.0, 0, 61, 0, 99, 17, 0, 0, 1]), np.array(
    [72.0, 0, 61, 44, 0, 72, 17, 0, 0, 0, 1, 0])


@pytest.mark.parametrize(('item', 'change', 'more'), [
    ('images', _set(IMAGE, 'data', np.zeros(9, np.uint8)), {}),
    ('images', _set(IMAGE, 'header.frame_id', ''), {}),
    ('images', _set(INFO, 'width', 99), {}),
    ('calibration', _set(INFO, 'k', K), {}),
    ('calibration', _set(INFO, 'd', np.array([0.1, 0, 0, 0, 0])), {}),
    ('calibration', _set(INFO, 'p', P3), {}),
    ('calibration', _nothing, {'drop': INFO}),
    ('fix covariance', _set(FIX, 'position_covariance', NINE), {}),
    ('fix covariance', _set(FIX, 'position_covariance_type', 0), {}),
    ('imu covariances', _set(IMU, 'orientation_covariance', NINE), {}),
    ('imu covariances', _set(IMU, 'angular_velocity_covariance', NINE), {}),
    ('imu covariances', _set(IMU, 'linear_acceleration_covariance', NINE), {}),
    ('velocity', _set(VEL, 'header.frame_id', ''), {}),
    ('velocity', _set(VEL, 'twist.angular.z', math.nan), {}),
    ('velocity', _set(VEL, 'twist.linear', make('geometry_msgs/msg/Vector3', x=0.1, y=9.0, z=0.0)),
     {}),
    ('velocity', _nothing, {'drop': VEL}),
    ('stamps', _set(VEL, 'header.stamp.sec', 1_317_042_145 - 7200), {}),
    ('static transforms', _set(VEL, 'header.frame_id', 'nowhere'), {}),
    ('images', _cut_off, {}),
    ('fix covariance', _set(FIX, 'latitude', math.nan), {}),
    ('fix covariance', _set(FIX, 'status.status', -1), {}),
    ('imu covariances', _set(IMU, 'orientation', make(
        'geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=0.0, w=0.0)), {}),
    ('truth', _set(IMU, 'orientation', make(
        'geometry_msgs/msg/Quaternion', x=0.0, y=0.0, z=1.0, w=0.0)), {}),
    ('truth', _set(TRUTH, 'pose.pose.position.x', math.nan), {}),
    ('truth', _set(ORIGIN, 'pose.position.y', 8.4), {}),
    ('truth', _unplaced, {}),
    ('static transforms', _nothing, {'drop': TF_STATIC}),
    ('static transforms', _nothing, {'qos': {TF_STATIC: TopicQos()}}),
    ('static transforms', _nothing, {'more': _two_statics}),
    ('static transforms', _set(IMAGE, 'header.frame_id', 'nowhere'), {}),
    ('no second parent', _nothing, {'more': _second_parent}),
    ('no second parent', _also_static, {}),
    ('nothing twice', _nothing, {'more': _adapted}),
    ('truth', _nothing, {'drop': TRUTH}),
    ('truth', _set(TRUTH, 'child_frame_id', 'imu_link'), {}),
    ('datum', _nothing, {'drop': ORIGIN}),
    ('datum', _nothing, {'qos': {ORIGIN: TopicQos()}}),
    ('stamps', _set(FIX, 'header.stamp.sec', 1_317_042_145 - 7200), {}),
    ('stamps', _set(IMAGE, 'header.stamp', make('builtin_interfaces/msg/Time', sec=0,
                                                nanosec=0)), {})])
def test_every_item_that_is_spoiled_is_found(bag: Path, tmp_path: Path, item: str,
                                             change: Change, more: dict[str, Any]) -> None:
    path = rewritten(bag, tmp_path / 'spoiled.mcap', change, **more)
    found = problems(path)
    assert item in found and len(found[item]) > 20
    done = CliRunner().invoke(app, ['bag', 'info', str(path), '--check'])
    assert done.exit_code == 1 and f'wrong  {item}: ' in done.output


def test_a_real_drive_passes_every_check(real_data: Path, tmp_path: Path) -> None:
    drive = real_data / 'kitti_0002' / 'raw' / DAY / f'{DAY}_drive_0002_sync'
    assert write_kitti_bag(drive, tmp_path / 'bag', progress=False) == 10
    assert problems(tmp_path / 'bag') == {}
    with open_bag(tmp_path / 'bag') as recording:
        _looks_ahead(recording)


def _looks_ahead(recording: Bag) -> None:
    base_T_camera = tree_of(recording, SETTINGS).lookup('base_link', 'camera_color_left')
    assert base_T_camera[:3, 2] == pytest.approx([1, 0, 0], abs=0.02)
    # 1.65 m above the road, about where base_link is along the car
    assert base_T_camera[2, 3] == pytest.approx(1.65, abs=0.1)
    assert abs(base_T_camera[0, 3]) < 0.5
