# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Recordings as kitti2bag writes them, for ROS 1 and ROS 2, are wrong, and right afterwards."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import cv2
from loc2_ros.cli.main import app
from loc2_ros.cli.settings import load_settings
from loc2_ros.core.frames import LocalFrame
from loc2_ros.data.bag import Bag, BagError, open_bag, TopicQos
from loc2_ros.data.bag_adapt import adapt_bag
from loc2_ros.data.bag_check import check_bag
from loc2_ros.data.bag_writer import BagWriter
from loc2_ros.data.drive_messages import CAMERA, FIX, IMU, INFO, ORIGIN, TF_STATIC, TRUTH, VEL
from loc2_ros.data.messages import stamp_ns
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.data.recording import examine, tree_of
import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin, Writer as Writer2
from rosbags.typesys import get_types_from_msg, get_typestore, Stores
from typer.testing import CliRunner

FRAMES, PERIOD_NS, START_NS = 6, 100_000_000, 1_317_042_651_168_593_000
FOCAL, CENTRE = 72.0, (61.0, 17.0)
SETTINGS = load_settings(['kitti'], [])
YAW = math.pi / 4
SPEED = 10.0
IMU_T_CAMERA = ((1.1, -0.25, 0.73), (-0.5, 0.5, -0.5, 0.5))     # looks forward
PLAIN = load_settings([], [])


@dataclass
class Habits:
    """
    What differs between versions of kitti2bag.

    :param image: how it calls the images of a camera.
    :param base_to_imu: whether /tf_static says where the IMU is.
    """

    image: str = 'image_raw'
    base_to_imu: bool = True
    grey_camera: bool = True
    extra_type: bool = False


class Messages:
    """Messages of one generation of ROS, built by their fields."""

    def __init__(self, ros: int) -> None:
        """Take the types of Noetic or Jazzy."""
        self.ros = ros
        self.store = get_typestore(Stores.ROS1_NOETIC if ros == 1 else Stores.ROS2_JAZZY)
        if ros == 1:        # what the wheel lacks, and a type of somebody's own
            self.store.register(get_types_from_msg(
                'geometry_msgs/TransformStamped[] transforms', 'tf2_msgs/msg/TFMessage'))
            self.store.register(get_types_from_msg('float64 mood', 'my_msgs/msg/Mood'))

    def make(self, kind: str, **fields: Any) -> Any:
        """Build a message."""
        return self.store.types[kind](**fields)

    def header(self, stamp: int, frame: str) -> Any:
        """Build a header; that of ROS 1 counts."""
        more = {'seq': 7} if self.ros == 1 else {}
        time = self.make('builtin_interfaces/msg/Time', sec=stamp // 10 ** 9,
                         nanosec=stamp % 10 ** 9)
        return self.make('std_msgs/msg/Header', stamp=time, frame_id=frame, **more)

    def vector(self, x: float, y: float, z: float) -> Any:
        """Build a vector."""
        return self.make('geometry_msgs/msg/Vector3', x=x, y=y, z=z)

    def quaternion(self, x: float, y: float, z: float, w: float) -> Any:
        """Build a quaternion."""
        return self.make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)

    def transform(self, stamp: int, parent: str, child: str, xyz: tuple[float, float, float],
                  q: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 1.0)) -> Any:
        """Build one transform."""
        return self.make('geometry_msgs/msg/TransformStamped', header=self.header(stamp, parent),
                         child_frame_id=child, transform=self.make(
                             'geometry_msgs/msg/Transform', translation=self.vector(*xyz),
                             rotation=self.quaternion(*q)))

    def transforms(self, *transforms: Any) -> Any:
        """Build a message of transforms."""
        return self.make('tf2_msgs/msg/TFMessage', transforms=list(transforms))


Event = tuple[str, str, int, Any]


def kitti2bag(m: Messages, habits: Habits) -> Iterator[Event]:
    """Yield topic, type, stamp and message of a drive to the north-east at 10 m/s."""
    start = LocalFrame(49.0, 8.4)
    for i in range(FRAMES):
        stamp = START_NS + i * PERIOD_NS
        step = SPEED * i * PERIOD_NS * 1e-9 * math.sqrt(0.5)
        lat, lon = start.inverse((step, step))
        yield from _transforms(m, habits, stamp, step)
        turned = m.quaternion(0.0, 0.0, math.sin(YAW / 2), math.cos(YAW / 2))
        yield IMU, 'sensor_msgs/msg/Imu', stamp, m.make(
            'sensor_msgs/msg/Imu', header=m.header(stamp, 'imu_link'), orientation=turned,
            orientation_covariance=np.zeros(9), angular_velocity=m.vector(0.0, 0.0, 0.0),
            angular_velocity_covariance=np.zeros(9),
            linear_acceleration=m.vector(0.0, 0.0, 9.81),
            linear_acceleration_covariance=np.zeros(9))
        yield FIX, 'sensor_msgs/msg/NavSatFix', stamp, m.make(
            'sensor_msgs/msg/NavSatFix', header=m.header(stamp, 'imu_link'),
            status=m.make('sensor_msgs/msg/NavSatStatus', status=0, service=1),
            latitude=lat, longitude=lon, altitude=110.0, position_covariance=np.zeros(9),
            position_covariance_type=0)
        yield VEL, 'geometry_msgs/msg/TwistStamped', stamp, m.make(
            'geometry_msgs/msg/TwistStamped', header=m.header(stamp, 'imu_link'),
            twist=m.make('geometry_msgs/msg/Twist', linear=m.vector(SPEED, 0.0, 0.0),
                         angular=m.vector(0.0, 0.0, 0.0)))
        yield from _camera(m, habits, stamp, CAMERA, 'camera_color_left', 'bgr8', i)
        if habits.grey_camera:
            yield from _camera(m, habits, stamp, '/kitti/camera_gray_left', 'camera_gray_left',
                               'mono8', i)
        if habits.extra_type:
            yield '/mood', 'my_msgs/msg/Mood', stamp, m.make('my_msgs/msg/Mood', mood=0.5)


def _transforms(m: Messages, habits: Habits, stamp: int, step: float) -> Iterator[Event]:
    """Yield the static ones with every frame, and the world as a second parent."""
    static = [m.transform(stamp, 'base_link', 'imu_link', (-1.405, 0.32, 0.93))]
    static = static if habits.base_to_imu else []
    for camera in ('camera_color_left', 'camera_gray_left'):
        static.append(m.transform(stamp, 'imu_link', camera, *IMU_T_CAMERA))
    yield TF_STATIC, 'tf2_msgs/msg/TFMessage', stamp, m.transforms(*static)
    yield '/tf', 'tf2_msgs/msg/TFMessage', stamp, m.transforms(
        m.transform(stamp, 'world', 'base_link', (step, step, 0.0)))


def _camera(m: Messages, habits: Habits, stamp: int, topic: str, frame: str, encoding: str,
            i: int) -> Iterator[Event]:
    """Yield a rectified image with the calibration of the one that was not, but for P."""
    width, height, channels = 124, 37, 3 if encoding == 'bgr8' else 1
    pixels = np.full(width * height * channels, 10 * i, np.uint8)
    yield f'{topic}/{habits.image}', 'sensor_msgs/msg/Image', stamp, m.make(
        'sensor_msgs/msg/Image', header=m.header(stamp, frame), height=height, width=width,
        encoding=encoding, is_bigendian=0, step=width * channels, data=pixels)
    k = np.array([95.0, 0, 69, 0, 95, 22, 0, 0, 1])
    p = np.array([FOCAL, 0, CENTRE[0], 4.5, 0, FOCAL, CENTRE[1], 0.2, 0, 0, 1, 0.003])
    names = ('D', 'K', 'R', 'P') if m.ros == 1 else ('d', 'k', 'r', 'p')
    values = (np.array([-0.37, 0.2, 0.001, 0.0005, -0.07]), k, np.eye(3).ravel() * 0.9999, p)
    roi = m.make('sensor_msgs/msg/RegionOfInterest', x_offset=0, y_offset=0, height=0, width=0,
                 do_rectify=False)
    yield f'{topic}/camera_info', 'sensor_msgs/msg/CameraInfo', stamp, m.make(
        'sensor_msgs/msg/CameraInfo', header=m.header(stamp, frame), height=height, width=width,
        distortion_model='plumb_bob', binning_x=0, binning_y=0, roi=roi,
        **dict(zip(names, values)))


def record(path: Path, habits: Habits = Habits()) -> Path:
    """Write a drive: ``x.bag`` for ROS 1, else a folder with SQLite or, ``x_mcap``, MCAP."""
    m = Messages(1 if path.suffix == '.bag' else 2)
    if m.ros == 1:
        writer: Any = Writer1(path)
    else:
        plugin = StoragePlugin.MCAP if path.name.endswith('mcap') else StoragePlugin.SQLITE3
        writer = Writer2(path, version=9, storage_plugin=plugin)
    serialize = m.store.serialize_ros1 if m.ros == 1 else m.store.serialize_cdr
    with writer:
        connections: dict[str, Any] = {}
        for topic, kind, stamp, message in kitti2bag(m, habits):
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=m.store)
            writer.write(connections[topic], stamp, bytes(serialize(message, kind)))
    return path


def problems(path: Path) -> set[str]:
    with open_bag(path) as bag:
        return {f.item for f in check_bag(bag, SETTINGS) if f.problem}


def messages(bag: Bag, topic: str) -> list[Any]:
    return [r.message for r in bag.records([topic])]


@pytest.mark.parametrize('name', ['drive.bag', 'sqlite', 'mcap'])
def test_a_recording_of_kitti2bag_is_wrong_and_adapted_it_is_right(tmp_path: Path,
                                                                   name: str) -> None:
    source, out = record(tmp_path / name), tmp_path / 'out'
    assert problems(source) == {'calibration', 'fix covariance', 'imu covariances',
                                'static transforms', 'no second parent', 'truth', 'datum'}
    done = CliRunner().invoke(app, ['bag', 'adapt', str(source), '--out', str(out), '--quiet'])
    assert done.exit_code == 0, done.output
    assert f'wrote {out}: {2 * FRAMES} images' in done.output
    assert problems(out) == set()
    assert {path.name for path in out.iterdir()} == {'out.mcap', 'metadata.yaml'}
    assert CliRunner().invoke(app, ['bag', 'info', '--check', str(out)]).exit_code == 0


@pytest.fixture(params=['drive.bag', 'sqlite'])
def adapted(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    source = record(tmp_path / request.param)
    adapt_bag(source, tmp_path / 'out', SETTINGS, progress=False)
    return tmp_path / 'out'


def test_covariances_are_filled_and_values_stay(adapted: Path) -> None:
    with open_bag(adapted) as bag:
        fix, imu = messages(bag, FIX)[1], messages(bag, IMU)[1]
    assert fix.position_covariance.tolist() == pytest.approx(
        np.diag([0.09, 0.09, 0.36]).ravel().tolist())
    assert fix.position_covariance_type == 1 and fix.altitude == 110.0
    assert imu.orientation_covariance[[0, 4, 8]] == pytest.approx([1e-4] * 3)
    assert imu.angular_velocity_covariance[[0, 4, 8]] == pytest.approx([1e-4] * 3)
    assert imu.linear_acceleration_covariance[[0, 4, 8]] == pytest.approx([1e-2] * 3)
    assert imu.linear_acceleration.z == 9.81 and imu.header.frame_id == 'imu_link'
    assert stamp_ns(imu.header.stamp) == START_NS + PERIOD_NS


def test_every_camera_has_the_calibration_of_its_rectified_images(adapted: Path) -> None:
    with open_bag(adapted) as bag:
        infos = messages(bag, INFO) + messages(bag, '/kitti/camera_gray_left/camera_info')
        images = messages(bag, f'{CAMERA}/image_raw')
    assert len(infos) == 2 * FRAMES
    for info in infos:
        assert info.k.tolist() == [FOCAL, 0, CENTRE[0], 0, FOCAL, CENTRE[1], 0, 0, 1]
        assert info.p.reshape(3, 4)[:, 3].tolist() == [0, 0, 0]
        assert info.d.tolist() == [0] * 5 and info.r.tolist() == np.eye(3).ravel().tolist()
    assert [int(image.data[0]) for image in images] == [0, 10, 20, 30, 40, 50]
    assert images[0].encoding == 'bgr8' and images[0].header.frame_id == 'camera_color_left'


def test_transforms_are_latched_once_and_nobody_else_owns_base_link(adapted: Path) -> None:
    with open_bag(adapted) as bag:
        static, = messages(bag, TF_STATIC)
        assert bag.topics[TF_STATIC].qos == TopicQos(reliable=True, latched=True, depth=1)
        assert '/tf' not in bag.topics
        base_T_camera = tree_of(bag, PLAIN).lookup('base_link', 'camera_color_left')
    assert sorted(t.child_frame_id for t in static.transforms) == [
        'camera_color_left', 'camera_gray_left', 'imu_link']
    assert base_T_camera[:3, 3] == pytest.approx([1.1 - 1.405, 0.32 - 0.25, 0.93 + 0.73])


def test_the_truth_is_that_of_base_link_and_its_datum_the_first_fix(adapted: Path) -> None:
    with open_bag(adapted) as bag:
        truth, (origin,) = messages(bag, TRUTH), messages(bag, ORIGIN)
    assert (origin.pose.position.y, origin.pose.position.x) == pytest.approx((49.0, 8.4))
    assert len(truth) == FRAMES and stamp_ns(truth[2].header.stamp) == START_NS + 2 * PERIOD_NS
    # 2 m on the way, and from the IMU 1.405 m ahead and 0.32 m to the right
    ahead, left = 2.0 + 1.405, -0.32
    east, north = math.sqrt(0.5) * (ahead - left), math.sqrt(0.5) * (ahead + left)
    p = truth[2].pose.pose.position
    assert (p.x, p.y) == pytest.approx((east, north), abs=1e-3)
    assert 2 * math.atan2(truth[2].pose.pose.orientation.z,
                          truth[2].pose.pose.orientation.w) == pytest.approx(YAW, abs=1e-5)
    assert truth[2].twist.twist.linear.x == pytest.approx(SPEED, abs=1e-3)
    assert truth[2].pose.covariance[0] == pytest.approx(0.09)


def test_what_was_good_passes_byte_by_byte(adapted: Path, tmp_path: Path) -> None:
    again = adapt_bag(adapted, tmp_path / 'again', SETTINGS, progress=False)
    assert again.repaired == {} and again.left_out == {}
    contents = []
    for path in (adapted, tmp_path / 'again'):
        with open_bag(path) as bag:
            contents.append(sorted((r.topic.name, r.log_ns, r.data) for r in bag.records()
                                   if r.topic.name != TF_STATIC))
    assert contents[0] == contents[1]


@pytest.mark.parametrize('name', ['image', 'image_rect'])
def test_images_are_called_image_raw_whatever_the_version_called_them(tmp_path: Path,
                                                                      name: str) -> None:
    source = record(tmp_path / 'drive.bag', Habits(image=name))
    adapt_bag(source, tmp_path / 'out', SETTINGS, progress=False)
    with open_bag(tmp_path / 'out') as bag:
        assert bag.topics[f'{CAMERA}/image_raw'].count == FRAMES
        assert f'{CAMERA}/{name}' not in bag.topics
    assert problems(tmp_path / 'out') == set()


def test_where_the_imu_sits_is_added_where_nobody_says_so(tmp_path: Path) -> None:
    source = record(tmp_path / 'mcap', Habits(base_to_imu=False))
    assert 'static transforms' in problems(source)
    adapt_bag(source, tmp_path / 'out', SETTINGS, progress=False)
    with open_bag(tmp_path / 'out') as bag:
        base_T_imu = tree_of(bag, PLAIN).lookup('base_link', 'imu_link')
    assert base_T_imu[:3, 3] == pytest.approx([-1.405, 0.32, 0.93])
    assert problems(tmp_path / 'out') == set()


def test_a_type_that_ros_2_does_not_have_is_left_out_aloud(tmp_path: Path) -> None:
    source = record(tmp_path / 'drive.bag', Habits(extra_type=True))
    done = CliRunner().invoke(app, ['bag', 'adapt', str(source), '-o', str(tmp_path / 'out')])
    assert done.exit_code == 0 and 'left out /mood: ROS 2 has no my_msgs/msg/Mood' in done.output
    shown = CliRunner().invoke(app, ['bag', 'info', str(source)])
    assert '/mood  my_msgs/msg/Mood, which ROS 2 does not have' in shown.output


def test_what_cannot_be_repaired_is_named_and_ends_with_1(tmp_path: Path,
                                                          monkeypatch: Any) -> None:
    monkeypatch.setitem(globals(), 'FOCAL', 0.0)
    source = record(tmp_path / 'drive.bag')
    done = CliRunner().invoke(app, ['bag', 'adapt', str(source), '-o', str(tmp_path / 'out')])
    assert done.exit_code == 1
    assert 'wrong  calibration: P of' in done.output and 'no focal length' in done.output


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:5000])


def _garble(path: Path) -> None:
    data = bytearray(path.read_bytes())
    third = len(data) // 3      # more than any picture has: nobody would see that in its pixels
    data[third:2 * third] = b'\xff' * third
    path.write_bytes(bytes(data))


@pytest.mark.parametrize('spoil', [_cut, _garble])
@pytest.mark.parametrize('name', ['drive.bag', 'mcap'])
def test_a_damaged_recording_is_one_sentence_and_leaves_nothing(
        tmp_path: Path, spoil: Callable[[Path], None], name: str) -> None:
    source = record(tmp_path / name)
    spoil(source if source.is_file() else next(source.glob('*.mcap')))
    done = CliRunner().invoke(app, ['bag', 'adapt', str(source), '-o', str(tmp_path / 'x' / 'o')])
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert done.stderr.startswith('loc2: ') and done.stderr.strip().count('\n') == 0
    assert not list((tmp_path / 'x').glob('*')) and not list((tmp_path / 'x').glob('.*'))


def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, monkeypatch: Any) -> None:
    source = record(tmp_path / 'drive.bag')

    def interrupt(*arguments: Any, **more: Any) -> bool:
        raise KeyboardInterrupt
    monkeypatch.setattr('loc2_ros.data.bag_adapt.repair_fix', interrupt)
    done = CliRunner().invoke(app, ['bag', 'adapt', str(source), '-o', str(tmp_path / 'x' / 'o')])
    assert done.exit_code == 130 and 'interrupted' in done.stderr
    assert not list((tmp_path / 'x').iterdir())


def test_a_recording_is_not_overwritten(tmp_path: Path) -> None:
    source = record(tmp_path / 'drive.bag')
    with pytest.raises(BagError, match='exists; give another --out'):
        adapt_bag(source, source, SETTINGS, progress=False)
    assert source.is_file()


def test_the_real_sample_is_repaired_and_then_passes(real_data: Path, tmp_path: Path) -> None:
    source = real_data / 'kitti_0013' / 'mcap'
    assert problems(source) == {'imu covariances', 'static transforms', 'truth', 'datum'}
    done = adapt_bag(source, tmp_path / 'out', SETTINGS, progress=False)
    assert done.images == 144 and problems(tmp_path / 'out') == set()
    with open_bag(tmp_path / 'out') as bag:
        image = messages(bag, f'{CAMERA}/image_raw/compressed')[0]
    assert cv2.imdecode(np.asarray(image.data), cv2.IMREAD_COLOR).shape == (375, 1242, 3)


def test_fixes_that_the_truth_was_made_of_get_an_error_to_be_compared_with_it(
        adapted: Path, tmp_path: Path) -> None:
    with open_bag(adapted) as bag, BagWriter(tmp_path / 'surveyed') as writer:
        assert examine(bag, SETTINGS, None).noise == PriorNoise(15.0, 8.0, 0)
        assert examine(bag, SETTINGS, PriorNoise(0.0, 0.0)).noise == PriorNoise(0.0, 0.0)
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.msgtype, topic.qos)
        for record in bag.records():
            message = record.message
            if record.topic.name == TRUTH:
                message.pose.pose.position.x += 1.0     # somebody knew better than the receiver
            writer.write(record.topic.name, record.log_ns, message)
    with open_bag(tmp_path / 'surveyed') as bag:
        assert examine(bag, SETTINGS, None).noise is None
