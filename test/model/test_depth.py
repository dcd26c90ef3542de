# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Depth sources: one depth per token, whatever it comes from, NaN where nothing is known."""

from __future__ import annotations

from dataclasses import replace
import math
import warnings

from loc2_ros.core.camera import Mount, mount_from_matrix, token_rays
from loc2_ros.core.values import Array, Camera, Image, Pose2
from loc2_ros.model.depth import (cell_medians, DepthImages, DepthSource, FlatGround, LidarDepth,
                                  ModelDepth, scan_depth)
import numpy as np
import pytest
import torch

CAMERA = Camera(80, 40, 50.0, 50.0, 39.5, 19.5)
GRID = (4, 8)  # cells of 10 x 10 pixels
IMAGE = Image(np.zeros((40, 80, 3), np.uint8), 1_000_000_000, CAMERA)
LEVEL = Mount(np.eye(3), Pose2(0.0, 0.0, 0.0), 1.65)


def tokens(source: DepthSource, mount: Mount = LEVEL) -> Array:
    depth = source.tokens(IMAGE, mount, GRID)
    assert depth is not None and depth.dtype == torch.float32 and depth.shape == (32,)
    return depth.reshape(GRID).double().numpy()


def test_the_model_is_asked_for_its_own_depth() -> None:
    assert ModelDepth().from_model and ModelDepth().tokens(IMAGE, LEVEL, GRID) is None
    assert not any(s.from_model for s in (DepthImages(), LidarDepth(), FlatGround(1.0)))


def test_flat_ground_is_known_below_the_horizon_only() -> None:
    depth = tokens(FlatGround(1.65))
    assert np.isnan(depth[:2]).all()
    # Middles of the lower rows are 5 and 15 pixels below the horizon at 50 pixels of focal length
    assert depth[2].tolist() == pytest.approx([16.5] * 8)
    assert depth[3].tolist() == pytest.approx([5.5] * 8)


def test_flat_ground_follows_the_pitch_of_the_mount() -> None:
    pitch = math.atan(0.31)
    c, s = math.cos(pitch), math.sin(pitch)
    matrix = np.array([[-0.0, -s, c, 0.0], [-1, 0, 0, 0.0], [0, -c, -s, 1.65], [0, 0, 0, 1]])
    down = mount_from_matrix(matrix)
    depth = tokens(FlatGround(1.65), down)
    # The horizon moves up by 15.5 pixels, half a pixel beyond the middle of the top row
    assert np.isfinite(depth).all() and depth[0, 0] > 100.0
    np.testing.assert_allclose(depth, tokens(FlatGround(1.65, pitch)), rtol=1e-4)


def test_flat_ground_under_the_road_is_refused() -> None:
    with pytest.raises(ValueError, match='depth.camera_height'):
        FlatGround(-0.1)


def test_without_a_height_the_mounts_counts_if_it_can_be_one() -> None:
    np.testing.assert_allclose(tokens(FlatGround(0.0), replace(LEVEL, height_m=1.2)),
                               tokens(FlatGround(1.2)))
    # A camera at base_link's origin: base_link cannot be on the ground
    assert FlatGround(0.0).tokens(IMAGE, replace(LEVEL, height_m=0.0), GRID) is None


@pytest.mark.parametrize('size', [(40, 80), (20, 40), (4, 8), (43, 77), (2, 4)])
def test_a_depth_image_of_any_resolution_gives_the_depth_under_each_token(
        size: tuple[int, int]) -> None:
    rows = (np.arange(size[0]) + 0.5) / size[0]
    source = DepthImages()
    source.add(IMAGE.stamp_ns, np.repeat(10.0 + 20.0 * rows[:, None], size[1], axis=1))
    expected = 10.0 + 20.0 * (np.arange(4) + 0.5) / 4
    # To within a pixel of the depth image
    np.testing.assert_allclose(tokens(source)[:, 3], expected, atol=20.0 / size[0])


def test_unknown_pixels_are_left_out_and_empty_cells_stay_unknown_without_a_warning() -> None:
    depth = np.full((40, 80), 7.0, np.float32)
    depth[:10, :10] = 0.0
    depth[:10, 10:20] = np.nan
    depth[:10, 20:29] = -1.0
    depth[:10, 30:36] = np.inf
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        cells = cell_medians(torch.from_numpy(depth), GRID).reshape(GRID).numpy()
    assert np.isnan(cells[0, :2]).all()
    assert (cells[0, 2:] == 7.0).all() and (cells[1:] == 7.0).all()


def test_the_median_keeps_the_side_of_an_edge_that_has_more_of_the_cell() -> None:
    depth = np.full((40, 80), 30.0, np.float32)
    depth[:, :16] = 5.0
    cells = cell_medians(torch.from_numpy(depth), GRID).reshape(GRID)
    assert cells[0, :3].tolist() == [5.0, 5.0, 30.0]


def test_the_frame_nearest_in_time_is_used_if_it_is_near_enough() -> None:
    source = DepthImages(max_offset_s=0.05)
    assert source.tokens(IMAGE, LEVEL, GRID) is None
    for offset_ms, metres in ((-90, 1.0), (-40, 2.0), (20, 3.0), (45, 4.0)):
        source.add(IMAGE.stamp_ns + offset_ms * 1_000_000, np.full((4, 8), metres))
    assert (tokens(source) == 3.0).all()
    late = Image(IMAGE.rgb, IMAGE.stamp_ns + 96_000_000, CAMERA)
    assert source.tokens(late, LEVEL, GRID) is None
    source.clear()
    assert source.tokens(IMAGE, LEVEL, GRID) is None


def test_only_the_last_frames_are_kept() -> None:
    source = DepthImages(length=2)
    for k in range(3):
        source.add(IMAGE.stamp_ns + k * 10 ** 9, np.ones((4, 8)))
    assert source.tokens(IMAGE, LEVEL, GRID) is None


def test_a_scan_of_a_wall_gives_its_depth_where_points_are() -> None:
    rays = token_rays(CAMERA, GRID)
    source = LidarDepth()
    source.add(IMAGE.stamp_ns, np.concatenate((12.0 * rays[16:], -12.0 * rays, [[np.nan] * 3])))
    depth = tokens(source)
    assert np.isnan(depth[:2]).all() and depth[2:].ravel().tolist() == pytest.approx([12.0] * 16)


def test_what_is_seen_past_an_edge_does_not_count() -> None:
    ray = token_rays(CAMERA, GRID)[9]
    pole = 5.0 * (ray + [0.05, 0.0, 0.0])   # off the middle of its cell
    house = 30.0 * ray                      # right in the middle, behind
    assert scan_depth(np.stack((pole, house)), CAMERA, GRID)[9] == pytest.approx(5.0)


def test_on_the_road_the_point_next_to_the_middle_of_the_cell_counts() -> None:
    # Rows of road points within one cell: the nearest lies at its lower edge
    columns, rows = np.full(9, 34.5), np.arange(21.0, 30.0)
    rays = np.stack(((columns - 39.5) / 50.0, (rows - 19.5) / 50.0, np.ones(9)), -1)
    road = rays * (1.65 / rays[:, 1])[:, None]
    road = road[road[:, 2] < 1.3 * road[:, 2].min()]
    depth = scan_depth(road, CAMERA, GRID)[2 * 8 + 3]
    row_of = 19.5 + 50.0 * 1.65 / depth
    assert abs(row_of - 24.5) == min(abs(19.5 + 50.0 * 1.65 / road[:, 2] - 24.5))


def test_points_beside_and_behind_the_camera_are_outside() -> None:
    points = np.array([[10.0, 0.0, 1.0], [0.0, 0.0, -5.0], [0.0, 0.0, 0.0]])
    assert np.isnan(scan_depth(points, CAMERA, GRID)).all()
    assert np.isnan(scan_depth(np.zeros((0, 3)), CAMERA, GRID)).all()


@pytest.mark.parametrize('shape', [(4,), (4, 8, 1), (0, 8)])
def test_what_is_no_depth_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match='two axes'):
        DepthImages().add(0, np.zeros(shape))


def test_what_is_no_scan_is_refused() -> None:
    with pytest.raises(ValueError, match='x, y, z'):
        LidarDepth().add(0, np.zeros((5, 4)))
