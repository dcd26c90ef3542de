# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The offline twin with depth from the recording: depth images, and scans of a lidar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loc2_ros.core.camera import Mount
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera, Fix, Image, Pose2, Prior, Reason, Rejection
from loc2_ros.data.bag import BagError, open_bag
from loc2_ros.data.bag_writer import BagWriter, make, make_header
from loc2_ros.data.messages import stamp_ns
from loc2_ros.evaluate.run import run_bag, RunResult
from loc2_ros.model.depth import DepthImages, FlatGround, LidarDepth
from loc2_ros.ros.params import defaults
from loc2_ros.synthetic.drive import DriveFrames, IMAGE, write_drive
import numpy as np
import pytest

DEPTH, SCAN = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/PointCloud2'
GRID = (2, 4)
LATE_NS = 80_000_000        # depth is computed from the image and comes after it
IMAGES = 4


class NeedsDepth:
    """A localizer that answers with its prior where it has depth, and remembers the depth."""

    def __init__(self, depth: Any) -> None:
        self.depth = depth
        self.seen: list[Any] = []

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        found = self.depth.tokens(image, mount, GRID)
        if found is None:
            return Rejection(image.stamp_ns, Reason.NO_DEPTH)
        self.seen.append(found)
        pose = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad or 0.0)
        return Fix(image.stamp_ns, pose, np.diag([1.0, 1.0, 0.01]), 0.5, 1.0, 9, 9, 0.0)


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a short drive east at 2 m/s; the camera looks ahead from 1.2 m before base_link."""
    t = np.arange(IMAGES) * 0.2
    base_T_camera = np.array([[0.0, 0.0, 1.0, 1.2], [-1.0, 0.0, 0.0, 0.0],
                              [0.0, -1.0, 0.0, 1.65], [0.0, 0.0, 0.0, 1.0]])
    frames = DriveFrames(
        1_700_000_000_000_000_000 + (t * 1e9).astype(np.int64),
        np.stack([2.0 * t, np.zeros(IMAGES), np.zeros(IMAGES)], -1), np.full(IMAGES, 2.0),
        [np.zeros((20, 40, 3), np.uint8)] * IMAGES, Camera(40, 20, 20.0, 20.0, 19.5, 9.5),
        base_T_camera, LocalFrame(48.9, 8.4, 110.0), seed=1)
    return write_drive(frames, tmp_path_factory.mktemp('depth') / 'drive.mcap')


def depth_image(stamp: int, metres: float) -> Any:
    """Build a 16UC1 depth image of one depth, its rows padded."""
    rows = np.full((4, 10), round(1000 * metres), '<u2')
    rows[:, 8:] = 1
    return make(DEPTH, header=make_header(stamp, 'camera_color_left'), height=4, width=8,
                encoding='16UC1', is_bigendian=0, step=20, data=rows.view(np.uint8).ravel())


def scan(stamp: int, metres: float, frame: str = 'base_link') -> Any:
    """Build a scan of a wall across the road, given in base_link."""
    y, z = np.meshgrid(np.linspace(-9.0, 9.0, 60), np.linspace(-2.0, 5.0, 60))
    points = np.stack([np.full(y.size, metres + 1.2), y.ravel(), z.ravel()], -1).astype('<f4')
    fields = [make('sensor_msgs/msg/PointField', name=name, offset=4 * i, datatype=7, count=1)
              for i, name in enumerate('xyz')]
    return make(SCAN, header=make_header(stamp, frame), height=1, width=len(points), fields=fields,
                is_bigendian=False, point_step=12, row_step=12 * len(points), is_dense=True,
                data=points.view(np.uint8).ravel())


def with_depth(drive: Path, out: Path, kind: str, topics: tuple[str, ...], build: Any,
               late_ns: int = LATE_NS) -> Path:
    """Copy a drive and give each image depth i + 5 m on some topics."""
    with open_bag(drive) as bag, BagWriter(out) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.msgtype, topic.qos)
        for name in topics:
            writer.add_topic(name, kind)
        images = 0
        for record in bag.records():
            writer.write_bytes(record.topic.name, record.log_ns, record.data)
            if record.topic.name == IMAGE:
                stamp = stamp_ns(record.message.header.stamp)
                for name in topics:
                    writer.write(name, record.log_ns + late_ns, build(stamp, 5.0 + images))
                images += 1
    return out


def run(path: Path, localizer: NeedsDepth, source: str, **changes: Any) -> RunResult:
    settings = {**defaults(), 'depth.source': source, **changes}
    return run_bag(path, settings, lambda frame: localizer, progress=False)


@pytest.mark.parametrize(('source', 'kind', 'build', 'store'), [
    ('image', DEPTH, depth_image, DepthImages), ('lidar', SCAN, scan, LidarDepth)])
@pytest.mark.parametrize('late_ns', [LATE_NS, -5_000_000])
def test_each_image_waits_for_its_own_depth(
        drive: Path, tmp_path: Path, source: str, kind: str, build: Any, store: Any,
        late_ns: int) -> None:
    path = with_depth(drive, tmp_path / 'd.mcap', kind, ('/sensor/d',), build, late_ns)
    localizer = NeedsDepth(store())
    result = run(path, localizer, source, depth_topic='/sensor/d')
    assert [row.outcome for row in result.rows] == ['fix'] * IMAGES
    for i, depth in enumerate(localizer.seen):
        np.testing.assert_allclose(depth, 5.0 + i, atol=1e-4)


def test_depth_that_comes_too_late_or_unplaced_is_a_rejection_that_says_so(
        drive: Path, tmp_path: Path) -> None:
    late = with_depth(drive, tmp_path / 'late.mcap', DEPTH, ('/d',), depth_image, 150_000_000)
    result = run(late, NeedsDepth(DepthImages()), 'image', depth_topic='/d')
    assert [row.outcome for row in result.rows[:-1]] == ['no_depth'] * (IMAGES - 1)
    assert 'nothing on /d' in result.rows[0].detail
    lost = with_depth(drive, tmp_path / 'lost.mcap', SCAN, ('/d',),
                      lambda stamp, metres: scan(stamp, metres, 'velodyne'))
    result = run(lost, NeedsDepth(LidarDepth()), 'lidar')
    assert {row.outcome for row in result.rows} == {'no_depth'}
    assert "'velodyne' is unknown" in result.rows[0].detail


def test_several_depth_topics_need_a_choice_and_none_is_told(drive: Path, tmp_path: Path) -> None:
    with pytest.raises(BagError, match='no sensor_msgs/msg/PointCloud2 topic'):
        run(drive, NeedsDepth(LidarDepth()), 'lidar')
    two = with_depth(drive, tmp_path / 'two.mcap', SCAN, ('/front', '/rear'), scan)
    with pytest.raises(BagError, match='--param points_topic:='):
        run(two, NeedsDepth(LidarDepth()), 'lidar')
    chosen = run(two, NeedsDepth(LidarDepth()), 'lidar', points_topic='/rear')
    assert chosen.metrics()['fixes'] == IMAGES


def test_a_camera_beside_a_raw_depth_image_is_no_question_of_which_camera(
        drive: Path, tmp_path: Path) -> None:
    path = with_depth(drive, tmp_path / 'd.mcap', DEPTH, ('/depth',), depth_image)
    assert run(path, NeedsDepth(DepthImages()), 'image').metrics()['fixes'] == IMAGES
    # Whatever it is called, and whether it is wanted or not: its encoding tells
    odd = with_depth(drive, tmp_path / 'odd.mcap', DEPTH, ('/front/range',), depth_image)
    assert run(odd, NeedsDepth(DepthImages()), 'image').metrics()['fixes'] == IMAGES
    assert run(odd, NeedsDepth(FlatGround(1.65)), 'flat').metrics()['fixes'] == IMAGES
