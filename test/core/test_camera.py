# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The camera: rays, projection, how it sits on the vehicle, from tile to map and back."""

from __future__ import annotations

import math

from hypothesis import given, strategies as st
from loc2_ros.core.camera import (map_to_tile, Mount, mount_from_matrix, panorama_rays, pixel_rays,
                                  project, tile_grid, tile_points_to_map, tile_to_map, token_rays)
from loc2_ros.core.values import Array, Camera, Panorama, Pose2
import numpy as np
import pytest

CAMERA = Camera(640, 480, 400.0, 410.0, 319.5, 239.5)
# Columns: where the camera's right, down and forward point in base_link (forward, left, up)
LOOKING_FORWARD = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])

angles = st.floats(-math.pi, math.pi)
metres = st.floats(-50.0, 50.0)


def about_z(yaw: float) -> Array:
    c, s = math.cos(yaw), math.sin(yaw)
    return np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])


def about_y(pitch: float) -> Array:
    c, s = math.cos(pitch), math.sin(pitch)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])


def placed(rotation: Array, lever: tuple[float, float, float] = (1.0, -0.2, 1.6)) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation, lever
    return matrix


def test_the_ray_of_a_cell_goes_through_the_middle_of_its_pixels() -> None:
    # 2 x 2 cells of 320 x 240 pixels: the first one's middle is between pixels 159 and 160
    rays = token_rays(CAMERA, (2, 2))
    assert rays.shape == (4, 3)
    assert rays[0].tolist() == pytest.approx([(159.5 - 319.5) / 400, (119.5 - 239.5) / 410, 1])
    assert rays[1, 0] == pytest.approx(-rays[0, 0])  # row-major: the next is to the right
    assert rays[2, 1] == pytest.approx(-rays[0, 1])


def test_rays_do_not_depend_on_the_resolution_of_the_same_image() -> None:
    np.testing.assert_allclose(token_rays(CAMERA, (6, 8)),
                               token_rays(CAMERA.resized(160, 96), (6, 8)), atol=1e-12)


def test_projecting_along_a_ray_gives_its_pixel() -> None:
    uv = np.array([[0.0, 0.0], [319.5, 239.5], [639.0, 100.0]])
    again, z = project(7.0 * pixel_rays(CAMERA, uv), CAMERA)
    np.testing.assert_allclose(again, uv, atol=1e-9)
    np.testing.assert_allclose(z, 7.0)


def test_points_behind_the_camera_have_no_pixel() -> None:
    uv, z = project(np.array([[1.0, 1.0, -5.0], [0.0, 0.0, 0.0]]), CAMERA)
    assert np.isnan(uv).all() and z.tolist() == [-5.0, 0.0]


def test_an_unknown_spacing_is_answered_with_those_known() -> None:
    for call in (lambda: token_rays(CAMERA, (2, 2), 'corners'),
                 lambda: panorama_rays((2, 2), 'corners'),
                 lambda: tile_grid((2, 2), 10.0, 'corners')):
        with pytest.raises(ValueError, match='centers'):
            call()


def test_the_middle_of_a_panorama_looks_forward_and_columns_run_clockwise() -> None:
    rays = panorama_rays((3, 4)).reshape(3, 4, 3)
    assert rays[1, 1, 2] > 0 and rays[1, 2, 2] > 0  # the two middle columns: forward
    assert rays[1, 1, 0] < 0 < rays[1, 2, 0]        # and left to right
    np.testing.assert_allclose(np.linalg.norm(rays, axis=-1), 1.0)


def test_a_camera_looking_forward_is_level_and_has_no_heading_of_its_own() -> None:
    mount = mount_from_matrix(placed(LOOKING_FORWARD))
    np.testing.assert_allclose(mount.level_R_camera, np.eye(3), atol=1e-12)
    assert mount.base_T_camera == Pose2(1.0, -0.2, 0.0)
    assert mount.height_m == pytest.approx(1.6)


@given(angles, st.floats(-1.4, 1.4))
def test_heading_and_tilt_of_the_mount_come_apart(yaw: float, pitch: float) -> None:
    mount = mount_from_matrix(placed(about_z(yaw) @ about_y(pitch) @ LOOKING_FORWARD))
    turn = mount.base_T_camera.yaw_rad - yaw
    assert math.cos(turn) == pytest.approx(1.0, abs=1e-9)
    # Nose down: what is ahead on the optical axis is below in level axes
    np.testing.assert_allclose(mount.level_R_camera @ [0.0, 0.0, 1.0],
                               [0.0, math.sin(pitch), math.cos(pitch)], atol=1e-9)


def test_the_roll_of_the_camera_is_taken_out() -> None:
    # The camera is turned upside down about its optical axis
    upside_down = LOOKING_FORWARD @ about_z(math.pi)
    mount = mount_from_matrix(placed(upside_down))
    np.testing.assert_allclose(mount.level_R_camera @ [1.0, 0.0, 0.0], [-1.0, 0.0, 0.0],
                               atol=1e-12)


def test_a_pitched_vehicle_tilts_the_camera_and_its_lever() -> None:
    mount = mount_from_matrix(placed(LOOKING_FORWARD, (0.0, 0.0, 2.0)), pitch_rad=0.1)
    assert mount.base_T_camera.x_m == pytest.approx(2.0 * math.sin(0.1))  # nose down: leans ahead
    assert mount.height_m == pytest.approx(2.0 * math.cos(0.1))
    assert (mount.level_R_camera @ [0.0, 0.0, 1.0])[1] == pytest.approx(math.sin(0.1))


def test_a_rolled_vehicle_lifts_its_left_side() -> None:
    mount = mount_from_matrix(placed(LOOKING_FORWARD, (0.0, 0.0, 2.0)), roll_rad=0.1)
    assert mount.base_T_camera.y_m == pytest.approx(-2.0 * math.sin(0.1))  # so it leans right
    assert (mount.level_R_camera @ [1.0, 0.0, 0.0])[1] == pytest.approx(math.sin(0.1))


@pytest.mark.parametrize('matrix, words', [
    (np.eye(3), 'no rigid'), (np.diag([1.0, 1.0, -1.0, 1.0]), 'no rigid'),
    (np.full((4, 4), np.nan), 'no rigid'), (placed(1.01 * LOOKING_FORWARD), 'no rigid'),
    (placed(about_y(math.pi / 2) @ LOOKING_FORWARD), 'straight up or down')])
def test_what_is_no_mount_is_refused(matrix: Array, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mount_from_matrix(matrix)


@pytest.mark.parametrize('heading_deg', range(-180, 180, 45))
def test_the_base_is_found_from_the_camera_at_eight_headings(heading_deg: int) -> None:
    mount = Mount(np.eye(3), Pose2(1.0, -0.2, 0.3), 1.6)
    yaw = math.radians(heading_deg)
    map_T_base = Pose2(10.0, 20.0, yaw)
    map_T_camera = map_T_base @ mount.base_T_camera
    # By hand: one metre ahead, 0.2 m to the right
    assert map_T_camera.x_m == pytest.approx(10 + math.cos(yaw) + 0.2 * math.sin(yaw))
    assert map_T_camera.y_m == pytest.approx(20 + math.sin(yaw) - 0.2 * math.cos(yaw))
    back = map_T_camera @ mount.base_T_camera.inverse()
    assert (back.x_m, back.y_m) == pytest.approx((10.0, 20.0))
    assert math.cos(back.yaw_rad - yaw) == pytest.approx(1.0)


@given(angles, metres, metres, angles, metres, metres)
def test_from_tile_to_map_and_back_is_nothing(theta: float, row: float, col: float, psi: float,
                                              east: float, north: float) -> None:
    centre = np.array([east, north])
    pose = tile_to_map(theta, np.array([row, col]), centre, psi)
    again, t = map_to_tile(pose, centre, psi)
    assert math.cos(again - theta) == pytest.approx(1.0, abs=1e-12)
    np.testing.assert_allclose(t, [row, col], atol=1e-9)


@given(angles, metres, metres, angles)
def test_the_view_points_the_same_way_in_tile_and_map(theta: float, row: float, col: float,
                                                      psi: float) -> None:
    t = np.array([row, col])
    ahead = t + [-math.cos(theta), -math.sin(theta)]  # one metre forward, in the tile
    camera, point = tile_points_to_map(np.stack((t, ahead)), np.array([5.0, 6.0]), psi)
    yaw = tile_to_map(theta, t, np.array([5.0, 6.0]), psi).yaw_rad
    np.testing.assert_allclose(point - camera, [math.cos(yaw), math.sin(yaw)], atol=1e-9)


def test_projection_into_a_panorama_is_the_inverse_of_its_rays() -> None:
    camera = Panorama(60, 30)
    rays = token_rays(camera, (30, 60))
    np.testing.assert_allclose(np.linalg.norm(rays, axis=1), 1.0)
    uv, reach = project(7.5 * rays, camera)
    u, v = np.meshgrid(np.arange(60), np.arange(30))
    np.testing.assert_allclose(uv, np.stack([u.ravel(), v.ravel()], -1), atol=1e-9)
    np.testing.assert_allclose(reach, 7.5)
    # Right, down, forward: straight ahead is the middle, the right three quarters of the width
    ahead, right, down = project(np.eye(3)[[2, 0, 1]], camera)[0]
    assert ahead == pytest.approx((29.5, 14.5)) and right == pytest.approx((44.5, 14.5))
    assert down[1] == pytest.approx(29.5)
