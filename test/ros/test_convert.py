# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Messages to values and back: stamps, depth, point clouds, WGS 84."""

from __future__ import annotations

from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Fix, Pose2
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.depth_messages import decode_depth, points_from_cloud
from loc2_ros.data.messages import stamp_ns
from loc2_ros.ros.convert import (
    datum_from_msg, datum_to_msg, depth_from_msg, fix_to_navsat, fix_to_pose, stamp_to_msg)
import numpy as np
import pytest
from sensor_msgs.msg import Image, PointCloud2, PointField


def test_stamps_survive_to_the_nanosecond() -> None:
    for stamp in (1, 999_999_999, 1_317_042_651_168_593_664, 2 ** 31 * 10 ** 9 - 1):
        assert stamp_ns(stamp_to_msg(stamp)) == stamp


def depth_image(values: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """Return a depth image, each row with some bytes more."""
    rows = values.view(np.uint8).reshape(values.shape[0], -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    return Image(height=values.shape[0], width=values.shape[1], encoding=encoding,
                 step=rows.shape[1], data=rows.tobytes())


@pytest.mark.parametrize('padding', [0, 4, 6])
def test_depth_in_millimetres_and_metres_becomes_metres_with_nan_for_unknown(
        padding: int) -> None:
    millimetres = np.array([[1500, 0], [250, 65535]], np.uint16)
    metres = np.array([[1.5, 0.0], [np.nan, -1.0]], np.float32)
    for read in (depth_from_msg, decode_depth):         # the node's way and the twin's
        assert read(depth_image(millimetres, '16UC1', padding)) == pytest.approx(
            np.array([[1.5, np.nan], [0.25, 65.535]]), nan_ok=True)
        assert read(depth_image(metres, '32FC1', padding)) == pytest.approx(
            np.array([[1.5, np.nan], [np.nan, np.nan]]), nan_ok=True)


def test_depth_that_cannot_be_read_is_refused() -> None:
    good = np.ones((4, 4), np.uint16)
    for msg, text in ((depth_image(good, 'rgb8'), '16UC1'),
                      (Image(height=4, width=4, encoding='16UC1', step=8, data=bytes(20)), 'cut'),
                      (Image(height=4, width=4, encoding='16UC1', step=4, data=bytes(64)), 'cut'),
                      (Image(height=0, width=4, encoding='16UC1', step=8), '4x0 pixels'),
                      (Image(height=2 ** 31, width=0, encoding='16UC1'), 'claims'),
                      (Image(height=2 ** 31, width=2 ** 31, encoding='32FC1'), 'claims')):
        for read in (depth_from_msg, decode_depth):
            with pytest.raises(BadMessage, match=text):
                read(msg)


def cloud(points: np.ndarray, **changes: Any) -> PointCloud2:
    """Return a cloud with an intensity between the coordinates and the next point."""
    table = np.zeros(len(points), dtype=[('x', '<f4'), ('y', '<f4'), ('z', '<f4'), ('i', '<f4')])
    for n, name in enumerate('xyz'):
        table[name] = points[:, n]
    fields = [PointField(name=n, offset=4 * k, datatype=PointField.FLOAT32, count=1)
              for k, n in enumerate('xyzi')]
    given = {'height': 1, 'width': len(points), 'fields': fields, 'point_step': 16,
             'row_step': 16 * len(points), 'data': table.tobytes(), **changes}
    return PointCloud2(**given)


def test_a_cloud_gives_its_finite_points() -> None:
    points = np.array([[1.0, 2.0, 3.0], [np.nan, 0.0, 0.0], [-4.0, 5.0, 0.5]])
    assert points_from_cloud(cloud(points)) == pytest.approx(points[[0, 2]])


@pytest.mark.parametrize('changes', [
    {'fields': []}, {'data': bytes(8)}, {'point_step': 0}, {'row_step': 99},
    {'point_step': 8, 'row_step': 24}])         # fewer bytes per point than its fields take
def test_a_cloud_that_cannot_be_read_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(BadMessage):
        points_from_cloud(cloud(np.ones((3, 3)), **changes))


def test_the_wgs84_covariance_is_turned_from_map_axes_to_east_and_north() -> None:
    frame = LocalFrame(49.0, 8.4, 100.0, yaw_rad=np.pi / 2)     # x points north
    fix = Fix(5, Pose2(10.0, 0.0, 0.0), np.diag([4.0, 1.0, 0.01]), 0.9, 1.0, 10, 10, 0.0)
    msg = fix_to_navsat(fix, frame, 'base_link')
    covariance = np.array(msg.position_covariance).reshape(3, 3)
    assert covariance[:2, :2] == pytest.approx(np.diag([1.0, 4.0]), abs=1e-6)
    assert msg.latitude > 49.0 and msg.longitude == pytest.approx(8.4, abs=1e-8)


def test_any_covariance_is_published_symmetric_and_positive_definite() -> None:
    generator = np.random.default_rng(3)
    for _ in range(200):
        root = generator.normal(size=(3, 3)) * generator.uniform(0.01, 3.0, 3)
        fix = Fix(5, Pose2(*generator.uniform(-9, 9, 3)), root @ root.T + np.eye(3) * 1e-6,
                  0.9, 1.0, 10, 10, 0.0)
        full = np.array(fix_to_pose(fix, 'map').pose.covariance).reshape(6, 6)
        assert np.array_equal(full, full.T) and np.linalg.eigvalsh(full)[0] > 0


def test_the_datum_goes_round() -> None:
    frame = LocalFrame(49.013, 8.437, 114.25)
    assert datum_from_msg(datum_to_msg(frame, 'map', 7)) == frame
    broken = datum_to_msg(frame, 'map', 7)
    broken.pose.position.y = float('nan')
    with pytest.raises(BadMessage):
        datum_from_msg(broken)
