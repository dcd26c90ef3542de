# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Rolling a panorama turns the view and nothing else."""

from __future__ import annotations

import math

from loc2_ros.core.camera import Mount, mount_from_matrix, panorama_rays
from loc2_ros.core.panorama import roll_panorama
from loc2_ros.core.values import Array, Camera, Image, Pose2
import numpy as np
import pytest

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
