# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Debug topics: what they show, whose stamp they carry, and that they cost nothing unheard."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from loc2_ros.core.values import Evidence, Fix, Image, Reason, Rejection
from loc2_ros.data.images import decode_raw
from loc2_ros.ros import debug
from loc2_ros.ros.debug_messages import CELLS, crop_to_marker
import numpy as np
import pytest
from rclpy.parameter import Parameter
from ros_world import BEST_EFFORT, FakeLocalizer, SECOND, World
from sensor_msgs.msg import Image as ImageMsg
from sensor_msgs.msg import PointCloud2
from visualization_msgs.msg import Marker

KINDS = {'matches': ImageMsg, 'overlay': ImageMsg, 'aerial': ImageMsg, 'points': PointCloud2,
         'aerial_marker': Marker}
SIDE_PX, PX_M = 128, 0.5
# The upper left pixel lies 20 m west and 25 m north of the origin; north is up
MAP_T_PX = np.array([[PX_M, 0.0, -20.0], [0.0, -PX_M, 25.0]])


def evidence() -> Evidence:
    """Return a grey crop with a red lower right quarter, and three matches, one an outlier."""
    crop = np.full((SIDE_PX, SIDE_PX, 3), 100, np.uint8)
    crop[64:, 64:] = 255, 0, 0
    return Evidence(
        crop_rgb=crop, map_T_px=MAP_T_PX,
        ground_uv_px=np.array([[0.0, 10.0], [63.2, 46.9], [5.0, 20.0]]),
        lifted_map_m=np.array([[10.0, -4.0], [11.5, -6.25], [0.0, 0.0]]),
        matched_map_m=np.array([[10.5, -4.0], [11.0, -6.25], [9.0, 9.0]]),
        weight=np.array([0.5, 0.25, 0.125]), inlier=np.array([True, True, False]))


class Explaining(FakeLocalizer):
    """Gives evidence with each fix, or with a rejection."""

    refuses = False

    def localize(self, image: Image, prior: Any, mount: Any) -> Any:
        """Answer as the fake does."""
        fix = super().localize(image, prior, mount)
        assert isinstance(fix, Fix)
        if self.refuses:
            return Rejection(image.stamp_ns, Reason.LOW_SCORE, evidence=evidence())
        return replace(fix, evidence=evidence())


def drive(world: World, node: Any, count: int = 1) -> list[int]:
    """Send images, each after its prior, and wait for what becomes of each."""
    stamps = []
    for _ in range(count):
        before = len(node.fake.calls)
        stamps.append(world.now())
        world.fix(stamps[-1])
        world.imu(stamps[-1])
        world.image(stamps[-1])
        world.until(lambda: len(node.fake.calls) > before, 'the image to be looked at')
    return stamps


def nanoseconds(msg: Any) -> int:
    """Return the stamp of a message."""
    return int(msg.header.stamp.sec) * SECOND + int(msg.header.stamp.nanosec)


def listen(world: World, *names: str) -> dict[str, list[Any]]:
    """Subscribe and wait until the node knows."""
    heard: dict[str, list[Any]] = {name: [] for name in names}
    for name in names:
        world.node.create_subscription(KINDS[name], f'/loc2/debug/{name}', heard[name].append,
                                       BEST_EFFORT)
    world.until(lambda: all(world.node.count_publishers(f'/loc2/debug/{n}') for n in names),
                'the debug topics')
    return heard


def first(world: World, node: Any, heard: dict[str, list[Any]],
          before: list[int] | None = None) -> int:
    """Drive until every topic has said something (best effort loses some); return one stamp."""
    sent = list(before or [])      # whose pictures may still come
    for _ in range(20):
        sent += drive(world, node)
        try:
            world.until(lambda: all(heard.values()), 'pictures', deadline_s=5.0)
            break
        except AssertionError:
            continue
    assert all(heard.values()), {name: len(found) for name, found in heard.items()}
    for found in heard.values():
        assert nanoseconds(found[0]) in sent
        assert found[0].header.frame_id == 'map'
    return sent[0]


@pytest.mark.parametrize('refuses', [False, True])
def test_all_of_them_show_what_an_image_rests_on_be_it_a_fix_or_not(
        world: World, refuses: bool) -> None:
    fake = Explaining()
    fake.refuses = refuses
    node = world.start(fake)
    heard = listen(world, *KINDS)
    world.ready(node)
    first(world, node, heard)
    assert (len(world.got['pose']) == 0) == refuses
    np.testing.assert_array_equal(decode_raw(heard['aerial'][0]), evidence().crop_rgb)
    for name in ('matches', 'overlay'):
        picture = decode_raw(heard[name][0])
        assert picture.shape[0] > 300 and picture.shape[1] > 800 and picture.std() > 10.0
    points = heard['points'][0]
    assert [f.name for f in points.fields] == ['x', 'y', 'z', 'rgb', 'weight']
    values = np.frombuffer(points.data, np.float32).reshape(-1, 5)
    np.testing.assert_array_equal(values[:, [0, 1, 2, 4]], [[10.0, -4.0, 0.0, 0.5],
                                                            [11.5, -6.25, 0.0, 0.25]])
    # The image's columns count up: pixel (u, v) is (3 u, 3 u + 1, 3 u + 2) of 0 to 191
    colours = np.ascontiguousarray(values[:, 3]).view(np.uint32).tolist()
    assert colours == [0x000102, 0xBDBEBF]


def test_unheard_they_are_not_built(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    built = []
    real = debug.crop_to_marker
    monkeypatch.setattr(debug, 'crop_to_marker', lambda *a: built.append(a) or real(*a))
    node = world.start(Explaining())
    world.ready(node)
    before = drive(world, node, 3)
    world.poses(3)
    assert not built
    heard = listen(world, 'aerial_marker')
    first(world, node, heard, before)
    assert built


def test_debug_images_false_switches_them_off_and_true_on_again(world: World) -> None:
    node = world.start(Explaining(), debug__images=False)
    heard = listen(world, 'aerial')
    world.ready(node)
    before = drive(world, node, 3)
    world.poses(3)
    assert not heard['aerial'] and not world.got['prior']
    node.set_parameters([Parameter(
        'debug.images', value=True)])
    world.until(lambda: node.settings['debug.images'], 'the change')
    first(world, node, heard, before)
    world.until(lambda: world.got['prior'], 'the prior')
    assert isinstance(world.got['prior'][0], PoseWithCovarianceStamped)


def test_a_picture_that_fails_costs_no_pose(world: World,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError('no room')
    monkeypatch.setattr(debug, 'crop_to_marker', broken)
    node = world.start(Explaining())
    listen(world, 'aerial_marker')
    world.ready(node)
    drive(world, node, 5)
    world.poses(5)


@pytest.mark.parametrize('turn', [0.0, 0.7, -2.5])
def test_the_marker_lays_each_colour_where_the_crop_has_it(turn: float) -> None:
    c, s = np.cos(turn), np.sin(turn)
    map_T_px = np.array([[c, -s], [s, c]]) @ MAP_T_PX
    msg = crop_to_marker(evidence().crop_rgb, map_T_px, 5 * SECOND + 7, 'map')
    assert nanoseconds(msg) == 5 * SECOND + 7
    assert len(msg.points) == len(msg.colors) == 6 * CELLS * CELLS
    yaw = 2.0 * np.arctan2(msg.pose.orientation.z, msg.pose.orientation.w)
    c, s = np.cos(yaw), np.sin(yaw)
    local = np.array([(p.x, p.y) for p in msg.points])
    xy = local @ np.array([[c, s], [-s, c]]) + [msg.pose.position.x, msg.pose.position.y]
    colours = np.array([(k.r, k.g, k.b) for k in msg.colors])
    grey, red = (map_T_px @ [u, v, 1.0] for u, v in ((20.0, 110.0), (110.0, 110.0)))
    for place, colour in ((grey, [100 / 255] * 3), (red, [1.0, 0.0, 0.0])):
        nearest = np.argmin(np.linalg.norm(xy - place, axis=1))
        assert np.linalg.norm(xy[nearest] - place) < 0.75
        np.testing.assert_allclose(colours[nearest], colour, atol=1e-6)
    # From edge to edge of the pixels, facing up
    corner = map_T_px @ [-0.5, -0.5, 1.0]
    assert np.linalg.norm(xy - corner, axis=1).min() < 1e-6
    (ax, ay), (bx, by) = local[1] - local[0], local[2] - local[0]
    assert ax * by - ay * bx > 0.0


def test_a_crop_smaller_than_the_fields_of_the_marker_is_shown_all_the_same() -> None:
    msg = crop_to_marker(np.full((10, 10, 3), 51, np.uint8), MAP_T_PX, 0, 'map')
    assert {(round(k.r, 6), round(k.g, 6)) for k in msg.colors} == {(0.2, 0.2)}
