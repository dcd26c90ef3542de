# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The camera's rays, how it sits on the vehicle, and the way from tile to map.

Optical axes are right, down, forward. Level axes are the same, turned upright with gravity at
the heading of the view. base_link is forward, left, up (REP 103).
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.core.values import Array, Camera, Panorama, Pose2, wrap_pi
import numpy as np

_SPACINGS = ('centers', 'edges')
PLAUSIBLE_HEIGHT_M = (0.5, 5.0)


@dataclass(frozen=True)
class Mount:
    """
    How the camera sits on the vehicle, split into what the plane needs.

    :param level_R_camera: (3, 3) float64, from optical axes to level axes.
    :param base_T_camera: lever arm and heading of the view, in base_link's horizontal plane.
    :param height_m: height of the camera above base_link's origin.
    """

    level_R_camera: Array
    base_T_camera: Pose2
    height_m: float


def mount_from_matrix(base_T_camera: Array, roll_rad: float = 0.0,
                      pitch_rad: float = 0.0) -> Mount:
    """
    Split the camera's pose in base_link into heading, tilt and lever arm.

    :param base_T_camera: (4, 4), optical axes to base_link, as TF gives it.
    :param roll_rad: the vehicle's roll where it is measured; REP 103, positive left side up.
    :param pitch_rad: the vehicle's pitch, positive nose down.
    :raises ValueError: if the matrix is not rigid or the camera looks straight up or down.
    """
    matrix = np.asarray(base_T_camera, dtype=np.float64)
    rotation = matrix[:3, :3] if matrix.shape == (4, 4) else np.zeros((3, 3))
    if (not np.all(np.isfinite(matrix)) or abs(np.linalg.det(rotation) - 1.0) > 1e-3
            or not np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-3)
            or not np.allclose(matrix[3], (0.0, 0.0, 0.0, 1.0), atol=1e-9)):
        raise ValueError(f'base_T_camera is no rigid 4x4 transform:\n{matrix}')
    tilt = _rotation_y(pitch_rad) @ _rotation_x(roll_rad)  # base to its gravity-level twin
    rotation, lever = tilt @ rotation, tilt @ matrix[:3, 3]
    view = rotation[:, 2]
    if math.hypot(view[0], view[1]) < 0.1:
        raise ValueError('the camera looks straight up or down and has no heading: '
                         f'its optical axis is {np.round(view, 3)} in base_link')
    yaw = math.atan2(view[1], view[0])
    c, s = math.cos(yaw), math.sin(yaw)
    level_R_base = np.array([[s, -c, 0.0], [0.0, 0.0, -1.0], [c, s, 0.0]])
    return Mount(level_R_base @ rotation, Pose2(lever[0], lever[1], yaw), float(lever[2]))


def level_mount(height_m: float, pitch_rad: float = 0.0) -> Mount:
    """
    Return a camera above base_link's origin that looks straight ahead.

    :param pitch_rad: positive looking down.
    """
    base_T_camera = np.eye(4)
    base_T_camera[:3, :3] = _rotation_y(pitch_rad) @ np.array(
        [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    base_T_camera[2, 3] = height_m
    return mount_from_matrix(base_T_camera)


def height_above_ground(given_m: float, mount: Mount) -> float | None:
    """
    Return how high the camera is above the ground.

    :param given_m: what the user said; 0 takes the height above base_link, which is the same
        where base_link is on the ground.
    :returns: None where that is no height at which vehicles carry cameras.
    """
    if given_m > 0.0:
        return given_m
    low, high = PLAUSIBLE_HEIGHT_M
    return mount.height_m if low <= mount.height_m <= high else None


def token_rays(camera: Camera | Panorama, grid_hw: tuple[int, int],
               rays: str = 'centers') -> Array:
    """
    Return the viewing ray of each cell of a grid laid over the image, row-major.

    Its length is such that depth times ray is the point, whichever depth the camera has.

    :param camera: the camera of exactly the image under the grid.
    :param rays: 'centers' of cells; 'edges' spans the image from edge to edge and ignores the
        half pixel, which the released weights were trained with (model.md 5, defect B3).
    :returns: (h * w, 3) float64, optical axes; z = 1 for a pinhole, unit length for a panorama.
    """
    if isinstance(camera, Panorama):
        return panorama_rays(grid_hw, rays)
    h, w = grid_hw
    if _check(rays) == 'edges':
        u, v = np.linspace(0.0, camera.width, w), np.linspace(0.0, camera.height, h)
    else:
        u = (np.arange(w) + 0.5) * camera.width / w - 0.5
        v = (np.arange(h) + 0.5) * camera.height / h - 0.5
    return pixel_rays(camera, np.stack(np.meshgrid(u, v), -1).reshape(-1, 2))


def pixel_rays(camera: Camera, uv_px: Array) -> Array:
    """Return the viewing rays (N, 3) of pixels (N, 2), optical axes, z = 1."""
    x, y = (uv_px[:, 0] - camera.cx) / camera.fx, (uv_px[:, 1] - camera.cy) / camera.fy
    return np.stack((x, y, np.ones_like(x)), -1)


def panorama_rays(grid_hw: tuple[int, int], rays: str = 'centers') -> Array:
    """
    Return the unit rays of an equirectangular image's cells; its centre column looks forward.

    :returns: (h * w, 3) float64, level optical axes; times a range it is the point.
    """
    h, w = grid_hw
    if _check(rays) == 'edges':
        azimuth, polar = np.linspace(0.0, 2 * np.pi, w), np.linspace(0.0, np.pi, h)
    else:
        azimuth, polar = 2 * np.pi * (np.arange(w) + 0.5) / w, np.pi * (np.arange(h) + 0.5) / h
    phi, theta = np.meshgrid(azimuth, polar)
    right, forward = -np.sin(theta) * np.sin(phi), -np.sin(theta) * np.cos(phi)
    return np.stack((right, -np.cos(theta), forward), -1).reshape(-1, 3)


def tile_grid(grid_hw: tuple[int, int], side_m: float, grid: str = 'centers') -> Array:
    """
    Return where the aerial cells are in the tile, (h * w, 2), row-major, metres.

    :param grid: 'centers' of cells; 'edges' spans the tile from edge to edge, as the released
        weights were trained (model.md defect B2).
    """
    x, y = (np.linspace(-0.5, 0.5, n) if _check(grid) == 'edges'
            else (np.arange(n) + 0.5) / n - 0.5 for n in grid_hw)
    return side_m * np.stack(np.meshgrid(x, y, indexing='ij'), -1).reshape(-1, 2)


def project(points_camera: Array, camera: Camera | Panorama) -> tuple[Array, Array]:
    """
    Project points into the image.

    :param points_camera: (N, 3) in optical axes, metres.
    :returns: uv (N, 2) in pixels, NaN behind a pinhole; depth (N,), planar or range as the
        camera has it.
    """
    if isinstance(camera, Panorama):
        return _project_round(points_camera, camera)
    z = points_camera[:, 2]
    ahead = np.where(z > 0.0, z, np.nan)
    u = camera.fx * points_camera[:, 0] / ahead + camera.cx
    v = camera.fy * points_camera[:, 1] / ahead + camera.cy
    return np.stack((u, v), -1), z


def _project_round(points: Array, camera: Panorama) -> tuple[Array, Array]:
    """Project points into a panorama, the inverse of `panorama_rays`; NaN for its centre."""
    reach = np.linalg.norm(points, axis=1)
    azimuth = np.arctan2(-points[:, 0], -points[:, 2]) % (2 * np.pi)
    polar = np.arccos(np.clip(-points[:, 1] / np.where(reach > 0.0, reach, np.nan), -1.0, 1.0))
    return np.stack((azimuth * camera.width / (2 * np.pi) - 0.5,
                     polar * camera.height / np.pi - 0.5), -1), reach


def tile_to_map(theta_rad: float, t_tile_m: Array, centre_map_m: Array,
                psi_rad: float) -> Pose2:
    """
    Place a pose solved in the tile on the map: the pose of the camera, x along its view.

    :param theta_rad: rotation from ground to tile.
    :param t_tile_m: (2,) camera in the tile, x down the rows, y along the columns.
    :param centre_map_m: (2,) tile centre in the map.
    :param psi_rad: direction of the tile's right-hand side in the map, 0 for north-up.
    """
    x, y = tile_points_to_map(np.reshape(t_tile_m, (1, 2)), centre_map_m, psi_rad)[0]
    return Pose2(float(x), float(y), math.pi / 2 + theta_rad + psi_rad)


def map_to_tile(map_T_camera: Pose2, centre_map_m: Array, psi_rad: float) -> tuple[float, Array]:
    """Return theta and t (2,) of a camera pose, the inverse of `tile_to_map`."""
    c, s = math.cos(psi_rad), math.sin(psi_rad)
    east, north = map_T_camera.xy_m - np.asarray(centre_map_m, dtype=np.float64)
    theta = wrap_pi(map_T_camera.yaw_rad - math.pi / 2 - psi_rad)
    return theta, np.array([s * east - c * north, c * east + s * north])


def tile_points_to_map(points_tile_m: Array, centre_map_m: Array, psi_rad: float) -> Array:
    """Take tile points (N, 2) to the map (N, 2); arguments as in `tile_to_map`."""
    c, s = math.cos(psi_rad), math.sin(psi_rad)
    turn = np.array([[s, -c], [c, s]])  # rows: the map directions of tile x and of tile y
    return np.asarray(points_tile_m) @ turn + np.asarray(centre_map_m)


def _check(spacing: str) -> str:
    if spacing not in _SPACINGS:
        raise ValueError(f'rays and grids are one of {_SPACINGS}, got {spacing!r}')
    return spacing


def _rotation_x(angle_rad: float) -> Array:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[1.0, 0.0, 0.0], [0.0, c, -s], [0.0, s, c]])


def _rotation_y(angle_rad: float) -> Array:
    c, s = math.cos(angle_rad), math.sin(angle_rad)
    return np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
