# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A map made of a drive lies where an aerial photo of the place lies."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
from loc2_ros.cli.main import app
from loc2_ros.cli.settings import load_settings
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera
from loc2_ros.data.bag import BagError, open_bag
from loc2_ros.data.bag_writer import BagWriter, make, make_header
from loc2_ros.data.mapping import map_drive
from loc2_ros.data.messages import stamp_ns
from loc2_ros.maps.mosaic import write_mosaic
from loc2_ros.maps.store import open_store
from loc2_ros.synthetic.drive import DriveFrames, IMAGE, write_drive
import numpy as np
import pytest
from typer.testing import CliRunner

SIZE_M, PX, REACH_PX = 25.6, 256, 10        # compared squares, and how far they are moved


def offsets(one: Any, other: Any, frame: LocalFrame, places: Array, least: float,
            least_bend: float = 0.0) -> Array:
    """
    Return by how much a map shows things east and north of where another does, (N, 2) metres.

    By correlation of edges, for squares around places that both show the least share of.

    :param least_bend: of the correlation at its top, in every direction: along a bare kerb it has
        a ridge, on which no place is better than another.
    """
    found = []
    for xy in places:
        cuts = [store.crop(frame, xy, 0.0, SIZE_M, PX) for store in (one, other)]
        both = cv2.erode((cuts[0].valid & cuts[1].valid).astype(np.uint8), np.ones((9, 9))) > 0
        if both.mean() < least:
            continue
        edges = [_edges(cut.image) * both[..., None] for cut in cuts]
        score = _scores(*edges)
        row, col = np.unravel_index(score.argmax(), score.shape)
        inner = 0 < row < 2 * REACH_PX and 0 < col < 2 * REACH_PX
        if score.max() > 0.35 and inner and _bend(score, row, col) >= least_bend:
            found.append((0.1 * (col + _peak(score[row, col - 1:col + 2]) - REACH_PX),
                          -0.1 * (row + _peak(score[row - 1:row + 2, col]) - REACH_PX)))
    return np.array(found)


def _edges(rgb: Any) -> Any:
    grey = cv2.GaussianBlur(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 1.5)
    return np.stack([cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)], -1)


def _scores(one: Any, other: Any) -> Array:
    """Return the correlation of edges for every shift of the one against the other."""
    r = REACH_PX
    fixed = other[r:-r, r:-r]
    scores = np.zeros((2 * r + 1, 2 * r + 1))
    for row in range(2 * r + 1):
        for col in range(2 * r + 1):
            moved = one[row:PX - 2 * r + row, col:PX - 2 * r + col]
            scores[row, col] = (moved * fixed).sum() / np.sqrt(
                np.square(moved).sum() * np.square(fixed).sum() + 1e-9)
    return scores


def _bend(score: Array, row: int, col: int) -> float:
    """Return the least curvature at the top, over all directions."""
    near = score[row - 1:row + 2, col - 1:col + 2]
    along = near[1, 0] - 2 * near[1, 1] + near[1, 2]
    down = near[0, 1] - 2 * near[1, 1] + near[2, 1]
    mixed = (near[2, 2] + near[0, 0] - near[0, 2] - near[2, 0]) / 4
    return float(-np.linalg.eigvalsh([[along, mixed], [mixed, down]]).max())


def _peak(three: Array) -> float:
    """Return where a parabola through three values has its top."""
    return float(0.5 * (three[0] - three[2]) / (three[0] - 2 * three[1] + three[2]))


def places_of(frame: LocalFrame, bag: Path, every_m: float) -> Array:
    """Return where a recording was, some metres apart."""
    with open_bag(bag) as recording:
        fixes = [t.name for t in recording.of_type('sensor_msgs/msg/NavSatFix')]
        xy = np.array([frame.forward(r.message.latitude, r.message.longitude)
                       for r in recording.records(fixes)]).reshape(-1, 2)
    way = np.r_[0.0, np.cumsum(np.hypot(*np.diff(xy, axis=0).T))]
    return xy[np.searchsorted(way, np.arange(0.0, way[-1], every_m))]


@pytest.fixture(scope='module')
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a drive east over grey ground."""
    t = np.arange(12) * 0.2
    matrix = np.array([[0.0, 0.0, 1.0, 1.2], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.65],
                       [0.0, 0.0, 0.0, 1.0]])
    frames = DriveFrames(
        1_700_000_000_000_000_000 + (t * 1e9).astype(np.int64),
        np.stack([5.0 * t, np.zeros(12), np.zeros(12)], -1), np.full(12, 5.0),
        [np.full((90, 160, 3), 120, np.uint8)] * 12, Camera(160, 90, 100.0, 100.0, 79.5, 44.5),
        matrix, LocalFrame(48.9, 8.4, 110.0), seed=1)
    return write_drive(frames, tmp_path_factory.mktemp('mapping') / 'drive.mcap')


def test_the_verb_writes_a_map_with_its_provenance(grey: Path, tmp_path: Path) -> None:
    out = tmp_path / 'own.mbtiles'
    done = CliRunner().invoke(app, ['map', 'from-drive', str(grey), '-o', str(out), '--json',
                                    '--gsd', '0.2', '--licence', 'CC0-1.0'])
    assert done.exit_code == 0, done.output
    facts = json.loads(done.stdout)
    # One metre between images and the last one does not move on
    assert facts['images'] == 12 and facts['left_out'] == 0 and facts['poses'] == 'ground_truth'
    with open_store(out) as store:
        assert store.info.licence == 'CC0-1.0' and store.info.date == '2023-11-14'
        frame = LocalFrame(48.9, 8.4, 110.0)
        # From 2 m before the camera, which is 1.2 m before base_link, on
        ahead = store.crop(frame, (10.0, 0.0), 0.0, 5.0, 25)
        assert ahead.valid.all() and np.abs(ahead.image.astype(int) - 120).max() < 6
        assert not store.crop(frame, (0.0, 0.0), 0.0, 5.0, 25).valid.any()
    nowhere = CliRunner().invoke(app, ['map', 'from-drive', str(grey), '-o', '/nowhere/a.mbtiles'])
    assert nowhere.exit_code == 5 and 'no folder /nowhere' in nowhere.output
    again = CliRunner().invoke(app, ['map', 'from-drive', str(grey), '-o', str(out)])
    assert again.exit_code != 0 and 'exists' in again.output


def test_images_that_are_near_to_the_last_are_left_out(grey: Path) -> None:
    drive = map_drive(grey, load_settings([], []), 0.2, spacing_m=2.5, progress=False)
    assert drive.used == 4      # at 0, 3, 6 and 9 of 11 m


def test_a_drive_without_the_depth_it_is_to_be_made_with_says_so(grey: Path,
                                                                 tmp_path: Path) -> None:
    with pytest.raises(BagError, match='PointCloud2'):
        map_drive(grey, {**load_settings([], []), 'depth.source': 'lidar'}, progress=False)
    done = CliRunner().invoke(app, ['map', 'from-drive', str(grey), '-o',
                                    str(tmp_path / 'own.mbtiles'), '--depth', 'lidar'])
    assert done.exit_code != 0 and 'PointCloud2' in done.output
    assert not list(tmp_path.iterdir())


def test_a_drive_of_which_nothing_can_be_used_says_why(grey: Path, tmp_path: Path) -> None:
    blind = tmp_path / 'blind.mcap'
    with open_bag(grey) as bag, BagWriter(blind) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.msgtype, topic.qos)
        for record in bag.records():
            if not record.topic.name.endswith('camera_info'):
                writer.write_bytes(record.topic.name, record.log_ns, record.data)
    with pytest.raises(BagError, match='12 are no_camera_info'):
        map_drive(blind, load_settings([], []), progress=False)


@pytest.mark.slow
def test_a_town_that_is_mapped_by_driving_lies_where_its_photo_lies(tmp_path: Path) -> None:
    from loc2_ros.synthetic.world import make_world
    world = make_world(1_000_007, tmp_path, frames=60, progress=False, depth=True)
    settings = {**load_settings(['kitti'], []), 'depth.source': 'image'}
    drive = map_drive(world.drive, settings, progress=False)
    own = write_mosaic(tmp_path / 'own.mbtiles', drive.mosaic, drive.frame, {})
    with open_store(own) as one, open_store(world.map) as other:
        found = offsets(one, other, drive.frame, places_of(drive.frame, world.drive, 4.0),
                        0.2, 0.01)
    # The photo itself is out of place, by this much
    off = found + np.array(world.photo_shift_m)
    assert len(off) >= 12
    assert np.hypot(*off.T).max() < 0.1


def with_scans(drive: Path, out: Path) -> Path:
    """Copy the real recording and add its eight scans, in the frame of the camera."""
    raw = drive / 'raw' / '2011_09_26' / '2011_09_26_drive_0013_sync'
    calib = raw.parent
    numbers = {}
    for name in ('calib_cam_to_cam.txt', 'calib_velo_to_cam.txt'):
        for line in (calib / name).read_text().splitlines():
            key, _, text = line.partition(':')
            if key != 'calib_time':
                numbers[key] = np.array([float(x) for x in text.split()])
    p, turn = numbers['P_rect_02'].reshape(3, 4), numbers['R_rect_00'].reshape(3, 3)
    fields = [make('sensor_msgs/msg/PointField', name=name, offset=4 * i, datatype=7, count=1)
              for i, name in enumerate('xyz')]
    with open_bag(drive / 'mcap') as bag, BagWriter(out) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.msgtype, topic.qos)
        writer.add_topic('/velodyne', 'sensor_msgs/msg/PointCloud2')
        frame = 0
        for record in bag.records():
            writer.write_bytes(record.topic.name, record.log_ns, record.data)
            if record.topic.name != IMAGE:
                continue
            scan = raw / 'velodyne_points' / 'data' / f'{frame:010d}.bin'
            frame += 1
            if not scan.is_file():
                continue
            xyz = np.fromfile(scan, np.float32).reshape(-1, 4)[:, :3].astype(float)
            seen = (xyz @ numbers['R'].reshape(3, 3).T + numbers['T']) @ turn.T \
                + np.linalg.inv(p[:, :3]) @ p[:, 3]
            data = seen.astype('<f4')
            writer.write('/velodyne', record.log_ns, make(
                'sensor_msgs/msg/PointCloud2', fields=fields, height=1, width=len(data),
                header=make_header(stamp_ns(record.message.header.stamp), 'camera_color_left'),
                is_bigendian=False, point_step=12, row_step=12 * len(data), is_dense=True,
                data=data.view(np.uint8).ravel()))
    return out


@pytest.mark.slow
def test_eight_scans_of_a_real_drive_give_the_map_that_is_known(real_data: Path,
                                                                tmp_path: Path) -> None:
    drive = real_data / 'kitti_0013'
    bag = with_scans(drive, tmp_path / 'scans.mcap')
    settings = {**load_settings(['kitti'], []), 'depth.source': 'lidar',
                'points_topic': '/velodyne'}
    mapped = map_drive(bag, settings, progress=False)
    assert mapped.used == 8 and mapped.reference == 'fix+imu'
    own = write_mosaic(tmp_path / 'own.mbtiles', mapped.mosaic, mapped.frame, {})
    known = drive / 'pseudo_ortho' / 'kitti_0013_pseudo_ortho.mbtiles'
    with open_store(own) as one, open_store(known) as other:
        found = offsets(one, other, mapped.frame, places_of(mapped.frame, bag, 5.0),
                        0.12)
    assert len(found) >= 25
    assert np.hypot(*found.T).max() < 0.3
