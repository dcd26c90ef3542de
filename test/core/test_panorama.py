# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Rolling a panorama turns the view and nothing else."""

from __future__ import annotations

from dataclasses import replace
import math

from loc2_ros.core.camera import Mount, mount_from_matrix, panorama_rays
from loc2_ros.core.panorama import roll_panorama
from loc2_ros.core.values import Array, Camera, Image, Panorama, Pose2
from loc2_ros.model.depth import DepthImages, FlatGround, LidarDepth
import numpy as np
import pytest
import torch

WIDTH, HEIGHT = 144, 72
CAMERA = Camera(WIDTH, HEIGHT, 100.0, 100.0, 71.5, 35.5)


def image() -> Image:
    """Return a panorama whose red says the column."""
    rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    rgb[..., 0] = np.arange(WIDTH)
    return Image(rgb, 1, CAMERA)


def mount(yaw: float = 0.0, pitch: float = 0.0) -> Mount:
    """Return a camera on the vehicle, turned by yaw and nose down by pitch."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
    tilt = np.array([[cp, 0, sp], [0, 1.0, 0], [-sp, 0, cp]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ tilt @ np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])
    matrix[:3, 3] = (1.0, 0.5, 1.8)
    return mount_from_matrix(matrix)


def directions(mount: Mount) -> Array:
    """Return where the cells of the panorama look, in base_link's level axes (h, w, 3)."""
    level = panorama_rays((HEIGHT, WIDTH)) @ mount.level_R_camera.T     # right, down, forward
    c, s = math.cos(mount.base_T_camera.yaw_rad), math.sin(mount.base_T_camera.yaw_rad)
    ahead, left = level[:, 2], -level[:, 0]
    return np.stack([c * ahead - s * left, s * ahead + c * left, -level[:, 1]],
                    -1).reshape(HEIGHT, WIDTH, 3)


def test_content_that_goes_right_turns_the_view_left() -> None:
    rolled, turned, columns = roll_panorama(image(), mount(), math.pi / 2)
    assert columns == WIDTH // 4        # T11: a quarter to the right, and north becomes west
    assert rolled.rgb[0, WIDTH // 2, 0] == WIDTH // 4
    assert turned.base_T_camera.yaw_rad == pytest.approx(math.pi / 2)
    assert turned.level_R_camera == pytest.approx(np.eye(3), abs=1e-12)
    assert rolled.stamp_ns == 1


@pytest.mark.parametrize('yaw, pitch', [(0.0, 0.0), (0.7, 0.0), (-2.0, 0.1), (0.3, -0.2)])
@pytest.mark.parametrize('turn', [0.0, 0.4, -1.3, 3.1])
def test_every_pixel_still_looks_where_it_looked(yaw: float, pitch: float, turn: float) -> None:
    before = mount(yaw, pitch)
    rolled, after, columns = roll_panorama(image(), before, turn)
    assert columns == round(turn * WIDTH / (2 * math.pi))
    assert after.height_m == before.height_m
    assert after.base_T_camera.xy_m == pytest.approx(before.base_T_camera.xy_m)
    assert np.roll(directions(before), columns, axis=1) == pytest.approx(directions(after),
                                                                         abs=1e-9)


def test_no_turn_changes_nothing() -> None:
    before = mount(0.4, 0.1)
    rolled, after, columns = roll_panorama(image(), before, 0.01)
    assert columns == 0 and np.array_equal(rolled.rgb, image().rgb)
    assert after.level_R_camera == pytest.approx(before.level_R_camera)
    assert isinstance(after.base_T_camera, Pose2)
    assert after.base_T_camera.yaw_rad == pytest.approx(before.base_T_camera.yaw_rad)


ROWS, COLS = 4, 8


def panorama() -> Image:
    return replace(image(), camera=Panorama(WIDTH, HEIGHT))


@pytest.mark.parametrize('columns', [-37, 5, 64, 100])
def test_a_depth_image_is_rolled_with_its_panorama_by_pixels(columns: int) -> None:
    depth = np.random.default_rng(0).uniform(2, 30, (HEIGHT, WIDTH))
    came, rolled = DepthImages(), DepthImages()
    came.add(1, depth)
    rolled.add(1, np.roll(depth, columns, axis=1))
    expected = rolled.tokens(panorama(), mount(), (ROWS, COLS))
    found = came.tokens(panorama(), mount(), (ROWS, COLS), rolled_px=columns)
    assert expected is not None and found is not None and torch.equal(found, expected)


@pytest.mark.parametrize('turn', [0.0, 0.41, -1.3, 3.0])
def test_a_scan_falls_on_the_tokens_that_look_at_it(turn: float) -> None:
    """Points 12 m away in the directions in which the tokens of the rolled panorama look."""
    before = mount(0.3, 0.1)
    view, after, columns = roll_panorama(panorama(), before, turn)
    looks = directions(after)[HEIGHT // ROWS // 2::HEIGHT // ROWS,
                              WIDTH // COLS // 2::WIDTH // COLS].reshape(-1, 3)
    # From base_link's level axes back into the camera as it came
    c, s = math.cos(before.base_T_camera.yaw_rad), math.sin(before.base_T_camera.yaw_rad)
    ahead = c * looks[:, 0] + s * looks[:, 1]
    left = c * looks[:, 1] - s * looks[:, 0]
    level = np.stack([-left, -looks[:, 2], ahead], -1)
    source = LidarDepth()
    metres = np.arange(ROWS * COLS) + 5.0
    source.add(1, (metres[:, None] * level) @ before.level_R_camera)
    found = source.tokens(view, after, (ROWS, COLS), rolled_px=columns)
    assert found is not None and found.numpy() == pytest.approx(metres, abs=1e-3)


@pytest.mark.parametrize('turn', [0.0, 0.41, -1.3, 3.0])
def test_flat_ground_stays_where_it_is_when_the_view_is_turned(turn: float) -> None:
    before = mount(0.2, 0.15)
    view, after, columns = roll_panorama(panorama(), before, turn)
    found = FlatGround(1.8).tokens(view, after, (HEIGHT, WIDTH), rolled_px=columns)
    expected = FlatGround(1.8).tokens(panorama(), before, (HEIGHT, WIDTH))
    assert found is not None and expected is not None
    np.testing.assert_allclose(found.reshape(HEIGHT, WIDTH).numpy(),
                               np.roll(expected.reshape(HEIGHT, WIDTH).numpy(), columns, axis=1),
                               rtol=1e-3)
