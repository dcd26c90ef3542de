# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Images laid onto the ground: a chessboard that a camera sees comes out as the chessboard."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from loc2_ros.core.camera import Mount, mount_from_matrix, pixel_rays
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera, Image, Pose2
from loc2_ros.maps.ground import flat_ground, ground_of_points, in_camera, in_view
from loc2_ros.maps.mosaic import BLOCK_PX, look, Mosaic, Patch, write_mosaic
from loc2_ros.maps.store import open_store
import numpy as np
import pytest

CAMERA = Camera(640, 360, 420.0, 420.0, 319.5, 150.0)
HEIGHT_M, GSD_M, REACH_M = 1.6, 0.1, 12.0
SIDE_M = 1.5


def mount(pitch: float = 0.0, yaw: float = 0.0) -> Mount:
    """Return a camera at base_link's origin but for its height, nose down by a pitch."""
    cp, sp, cy, sy = math.cos(pitch), math.sin(pitch), math.cos(yaw), math.sin(yaw)
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    tilt = np.array([[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ tilt @ np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])
    matrix[:3, 3] = (0.0, 0.0, HEIGHT_M)
    return mount_from_matrix(matrix)


def board(x: Any, y: Any) -> Any:
    """Return the brightness of the ground at places of the map: squares, two shades."""
    return np.where((np.floor(x / SIDE_M) + np.floor(y / SIDE_M)) % 2 == 0, 200, 60)


def rays_in_map(where: Mount, pose: Pose2) -> Array:
    """Return the direction of every pixel, east, north, up."""
    v, u = np.mgrid[0:CAMERA.height, 0:CAMERA.width]
    view = in_view(pixel_rays(CAMERA, np.stack([u.ravel(), v.ravel()], 1)), where)
    c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
    return np.stack([c * view[:, 0] - s * view[:, 1], s * view[:, 0] + c * view[:, 1],
                     view[:, 2]], 1)


def photo(where: Mount, pose: Pose2, slope: float = 0.0) -> tuple[Image, Array]:
    """
    Take a picture of the board.

    :param slope: of the ground, rising to the east of the camera.
    :returns: the picture and the planar depth of its pixels.
    """
    d = rays_in_map(where, pose)
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = HEIGHT_M / (slope * d[:, 0] - d[:, 2])
    ground = depth > 0
    shade = np.where(ground, board(pose.x_m + depth * d[:, 0], pose.y_m + depth * d[:, 1]), 0)
    rgb = np.repeat(shade.astype(np.uint8)[:, None], 3, 1)
    shape = (CAMERA.height, CAMERA.width)
    return (Image(rgb.reshape(*shape, 3), 1, CAMERA),
            np.where(ground, depth, np.inf).reshape(shape))


def agrees(patch: Patch) -> float:
    """Return the share of what is shown that has the colour of the board, away from edges."""
    rows, cols = np.nonzero(patch.weight > 0)
    x, y = (patch.column + cols + 0.5) * GSD_M, -(patch.row + rows + 0.5) * GSD_M
    inside = [np.abs((value / SIDE_M) % 1.0 - 0.5) < 0.4 for value in (x, y)]
    sure = inside[0] & inside[1]
    assert sure.sum() > 1500
    right = np.abs(patch.rgb[rows, cols, 0] - board(x, y)) < 50
    return float(right[sure].mean())


def points_of(depth: Array, step: int = 4) -> Array:
    v, u = np.mgrid[0:CAMERA.height:step, 0:CAMERA.width:step]
    rays = pixel_rays(CAMERA, np.stack([u.ravel(), v.ravel()], 1))
    return np.asarray(rays * depth[v.ravel(), u.ravel()][:, None])


@pytest.mark.parametrize('pose', [Pose2(0.0, 0.0, 0.0), Pose2(-31.7, 12.3, 2.2),
                                  Pose2(105.0, -3.0, -0.7)])
@pytest.mark.parametrize('pitch', [0.0, 0.08])
def test_a_board_on_flat_ground_comes_out_in_its_place(pose: Pose2, pitch: float) -> None:
    image, _ = photo(mount(pitch), pose)
    patch = look(image, mount(pitch), pose, flat_ground(HEIGHT_M, REACH_M), REACH_M, GSD_M)
    assert agrees(patch) > 0.97


def test_depth_finds_the_ground_where_nobody_knows_the_tilt() -> None:
    """The mount says level, the camera looks down by two degrees: flat ground would be off."""
    pose, told = Pose2(5.0, 8.0, 0.4), mount()
    image, depth = photo(mount(math.radians(2.0)), pose)
    ground = ground_of_points(points_of(depth), CAMERA, told, REACH_M, HEIGHT_M)
    assert ground is not None
    assert agrees(look(image, told, pose, ground, REACH_M, GSD_M)) > 0.93
    assert agrees(look(image, told, pose, flat_ground(HEIGHT_M, REACH_M), REACH_M, GSD_M)) < 0.8


def test_a_slope_is_followed() -> None:
    pose = Pose2(0.0, 0.0, 0.0)
    image, depth = photo(mount(), pose, slope=0.05)
    ground = ground_of_points(points_of(depth), CAMERA, mount(), REACH_M, HEIGHT_M)
    assert ground is not None
    assert agrees(look(image, mount(), pose, ground, REACH_M, GSD_M)) > 0.95
    assert agrees(look(image, mount(), pose, flat_ground(HEIGHT_M, REACH_M), REACH_M, GSD_M)) < 0.8


def test_what_stands_on_the_ground_and_what_it_hides_is_left_out() -> None:
    """A box 6 m ahead, 2 m wide and as high as the camera: neither it nor its shadow is shown."""
    pose = Pose2(0.0, 0.0, 0.0)
    image, depth = photo(mount(), pose)
    view = in_view(points_of(depth, 1), mount()).reshape(*depth.shape, 3)
    with np.errstate(invalid='ignore'):
        direction = view / view[..., :1]
    box = ((np.abs(6.0 * direction[..., 1]) < 1.0) & (depth > 6.0)
           & (6.0 * direction[..., 2] > -HEIGHT_M) & (6.0 * direction[..., 2] < 0.5))
    depth = np.where(box, 6.0, depth)
    ground = ground_of_points(points_of(depth), CAMERA, mount(), REACH_M, HEIGHT_M)
    assert ground is not None
    patch = look(image, mount(), pose, ground, REACH_M, GSD_M)

    def shown(x: float, y: float) -> bool:
        return bool(patch.weight[math.floor(-y / GSD_M) - patch.row,
                                 math.floor(x / GSD_M) - patch.column] > 0)

    assert shown(4.0, 0.0) and shown(9.0, 3.0) and shown(9.0, -3.0)
    assert not shown(6.0, 0.0) and not shown(8.0, 0.0) and not shown(10.0, 0.5)


def test_views_go_there_and_back() -> None:
    points = np.random.default_rng(0).normal(size=(20, 3))
    assert in_camera(in_view(points, mount(0.1)), mount(0.1)) == pytest.approx(points)
    level = in_view(np.array([[1.0, 2.0, 3.0]]), mount())[0]        # right, down, forward
    assert level == pytest.approx([3.0, -1.0, -2.0])


@pytest.mark.parametrize('points', [np.zeros((0, 3)), np.full((500, 3), np.nan),
                                    np.random.default_rng(0).normal(0, 9, (60, 3))])
def test_points_without_a_ground_give_none(points: Array) -> None:
    assert ground_of_points(points, CAMERA, mount(), REACH_M, HEIGHT_M) is None


def test_patches_add_up_over_the_borders_of_blocks() -> None:
    """Twice 100 from afar and once 40 from near: the nearer counts as it is weighted."""
    mosaic = Mosaic(1.0)
    far = Patch(-10, BLOCK_PX - 5, np.full((20, 10, 3), 100.0, np.float32),
                np.full((20, 10), 1.0, np.float32))
    near = Patch(-1, BLOCK_PX, np.full((2, 2, 3), 40.0, np.float32),
                 np.full((2, 2), 6.0, np.float32))
    for patch in (far, far, near):
        mosaic.add(patch)
    rgb, alpha, west, north = mosaic.picture()
    assert (west, north) == (0.0, BLOCK_PX) and rgb.shape == (2 * BLOCK_PX, 2 * BLOCK_PX, 3)
    assert (alpha > 0).sum() == 200 and mosaic.covered_m2 == 200.0
    assert rgb[BLOCK_PX, BLOCK_PX + 1].tolist() == [55] * 3     # (2 * 100 + 6 * 40) / 8
    assert rgb[BLOCK_PX - 10, BLOCK_PX - 5].tolist() == [100] * 3


def test_a_mosaic_becomes_a_map_that_is_empty_elsewhere(tmp_path: Path) -> None:
    pose, frame = Pose2(30.0, -20.0, 1.0), LocalFrame(49.0, 8.4)
    mosaic = Mosaic(GSD_M)
    image, _ = photo(mount(), pose)
    mosaic.add(look(image, mount(), pose, flat_ground(HEIGHT_M, REACH_M), REACH_M, GSD_M))
    path = write_mosaic(tmp_path / 'own.mbtiles', mosaic, frame, {'licence': 'CC0-1.0'})
    ahead = (30.0 + 7 * math.cos(1.0), -20.0 + 7 * math.sin(1.0))
    with open_store(path) as store:
        cut = store.crop(frame, ahead, 0.0, 6.0, 60)
        assert store.info.licence == 'CC0-1.0'
    x = cut.map_T_px[0, 2] + cut.map_T_px[0, 0] * np.arange(60)
    y = cut.map_T_px[1, 2] + cut.map_T_px[1, 1] * np.arange(60)
    gx, gy = np.meshgrid(x, y)
    sure = cut.valid & (np.abs((gx / SIDE_M) % 1 - 0.5) < 0.35) & (
        np.abs((gy / SIDE_M) % 1 - 0.5) < 0.35)
    assert 0.5 < cut.valid_fraction
    assert (np.abs(cut.image[..., 0].astype(int) - board(gx, gy)) < 60)[sure].mean() > 0.95
    with pytest.raises(ValueError, match='shows no ground'):
        write_mosaic(tmp_path / 'none.mbtiles', Mosaic(GSD_M), frame, {})
    assert not (tmp_path / 'none.mbtiles').exists()
