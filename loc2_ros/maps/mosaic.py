# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A map of one's own: camera images laid onto the ground, seen from above.

Each image is looked up at the places of the map that it shows: ground whose height is known from
depth, or taken as flat, and that nothing stands in front of. Where several images show a place,
the nearest views count most.

Coordinates of a view are those of its upright camera: ahead, left, up, origin at the camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

import cv2
from loc2_ros.core.camera import Mount, project
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera, Image, Pose2
from loc2_ros.maps.writer import write_mbtiles_from_local
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

BLOCK_PX = 256
MOST_PX = 300_000_000       # of the picture that is written: a gigabyte
NEAREST_M = 2.0
_CELL_M = 0.4               # of the grid of ground heights
_STEP_M = 0.3               # what rises higher above its surroundings is no ground
_GAP_CELLS = 7              # holes between scan lines up to so many cells are filled
_SAMPLES = 3                # image samples per axis of a map pixel, against aliasing
_BLOCK = 8                  # image pixels per cell of the occlusion test
_BEHIND = 1.1               # ground so much further than the nearest thing is hidden


@dataclass(frozen=True)
class Ground:
    """
    Ground heights around a view.

    :param up_m: (rows, cols) float32 relative to the camera; rows go ahead, columns to the left.
    :param known: (rows, cols) bool.
    :param nearest_m: (h, w) float32 depth of the nearest thing per `_BLOCK` of the image, inf
        where nothing is known; None where nothing can be hidden.
    """

    up_m: NDArray[np.float32]
    known: NDArray[np.bool_]
    nearest_m: NDArray[np.float32] | None = None


def flat_ground(height_m: float, reach_m: float) -> Ground:
    """Return level ground under a camera of a height."""
    shape = _grid_shape(reach_m)
    return Ground(np.full(shape, -height_m, np.float32), np.ones(shape, bool))


def ground_of_points(points_camera: Array, camera: Camera, mount: Mount, reach_m: float,
                     height_m: float | None = None) -> Ground | None:
    """
    Find the ground among the points of a scene.

    :param points_camera: (N, 3) in optical axes, of a scan or a depth image.
    :param height_m: of the camera above the ground, where it is known.
    :returns: None where no ground can be made out.
    """
    points = points_camera[np.isfinite(points_camera).all(axis=1) & (points_camera[:, 2] > 0)]
    view = in_view(points, mount)
    near = (view[:, 0] > 0) & (view[:, 0] < reach_m) & (np.abs(view[:, 1]) < reach_m)
    plane = _plane(view[near], height_m)
    if plane is None:
        return None
    above = view[near, 2] - (view[near, :2] @ plane[:2] + plane[2])
    up, known = _heights(view[near], above, reach_m, plane)
    return Ground(up, known, _nearest(points, camera))


def in_view(points_camera: Array, mount: Mount) -> Array:
    """Return points (N, 3) of optical axes as ahead, left, up of the upright camera."""
    right_down_ahead = points_camera @ mount.level_R_camera.T
    return np.stack([right_down_ahead[:, 2], -right_down_ahead[:, 0],
                     -right_down_ahead[:, 1]], axis=1)


def in_camera(view: Array, mount: Mount) -> Array:
    """Return what `in_view` was given."""
    return np.asarray(np.stack([-view[:, 1], -view[:, 2], view[:, 0]], axis=1)
                      @ mount.level_R_camera)


@dataclass(frozen=True)
class Patch:
    """
    What an image shows of the map.

    :param row: of its first pixel in the map's grid, ``column`` the same.
    :param rgb: (h, w, 3) float32, ``weight`` (h, w) float32, 0 where it shows nothing.
    """

    row: int
    column: int
    rgb: NDArray[np.float32]
    weight: NDArray[np.float32]


def look(image: Image, mount: Mount, map_T_camera: Pose2, ground: Ground, reach_m: float,
         gsd_m: float) -> Patch:
    """
    Look an image up at the pixels of the map that it may show.

    Pixel (row, column) of the map covers x from column * gsd_m on and y from -row * gsd_m down.

    :param map_T_camera: the upright camera, x along its view.
    """
    row, column, height, width = _window(map_T_camera, reach_m, gsd_m)
    fine = gsd_m / _SAMPLES
    x = column * gsd_m + (np.arange(width * _SAMPLES) + 0.5) * fine
    y = -(row * gsd_m + (np.arange(height * _SAMPLES) + 0.5) * fine)
    gx, gy = np.meshgrid(x - map_T_camera.x_m, y - map_T_camera.y_m)
    c, s = math.cos(map_T_camera.yaw_rad), math.sin(map_T_camera.yaw_rad)
    ahead, left = c * gx + s * gy, c * gy - s * gx
    up, shown = _sampled(ground, ahead, left, reach_m)
    camera = image.camera
    if not isinstance(camera, Camera):
        raise ValueError('a map is made of pinhole images; set camera.model to pinhole')
    points = in_camera(np.stack([ahead.ravel(), left.ravel(), up.ravel()], 1), mount)
    uv, depth = project(points, camera)
    u, v = (part.reshape(up.shape).astype(np.float32) for part in uv.T)
    shown &= _visible(u, v, depth.reshape(up.shape), camera, ground)
    colours = cv2.remap(image.rgb, np.nan_to_num(u, nan=-1.0), np.nan_to_num(v, nan=-1.0),
                        cv2.INTER_LINEAR).astype(np.float32)
    # The view from near is the sharper one, by the square of the distance in both directions
    weight = np.where(shown, 1.0 / np.maximum(ahead ** 2 + left ** 2, 1.0) ** 2, 0.0)
    share = weight.astype(np.float32)
    size = (width, height)
    total = cv2.resize(share, size, interpolation=cv2.INTER_AREA)
    rgb = cv2.resize(colours * share[..., None], size, interpolation=cv2.INTER_AREA)
    return Patch(row, column, rgb / np.maximum(total, 1e-12)[..., None], total)


class Mosaic:
    """
    Patches put together, in blocks that are made where something is shown.

    :param gsd_m: side of a pixel.
    """

    def __init__(self, gsd_m: float) -> None:
        self.gsd_m = gsd_m
        self._blocks: dict[tuple[int, int], NDArray[np.float32]] = {}

    def add(self, patch: Patch) -> None:
        """Blend a patch in."""
        seen = np.concatenate([patch.rgb * patch.weight[..., None], patch.weight[..., None]], -1)
        height, width = patch.weight.shape
        for by in range(patch.row // BLOCK_PX, (patch.row + height - 1) // BLOCK_PX + 1):
            for bx in range(patch.column // BLOCK_PX, (patch.column + width - 1) // BLOCK_PX + 1):
                top, left = by * BLOCK_PX - patch.row, bx * BLOCK_PX - patch.column
                part = seen[max(top, 0):top + BLOCK_PX, max(left, 0):left + BLOCK_PX]
                if not part[..., 3].any():
                    continue
                block = self._blocks.get((by, bx))
                if block is None:
                    block = self._blocks[by, bx] = np.zeros((BLOCK_PX, BLOCK_PX, 4), np.float32)
                block[max(-top, 0):, max(-left, 0):][:part.shape[0], :part.shape[1]] += part

    @property
    def covered_m2(self) -> float:
        """Return how much ground is shown."""
        return self.gsd_m ** 2 * sum(int((b[..., 3] > 0).sum()) for b in self._blocks.values())

    def picture(self) -> tuple[Pixels, Pixels, float, float]:
        """
        Return colours (H, W, 3), alpha (H, W), and map x and y of the upper left corner.

        :raises ValueError: nothing is shown, or the picture is too large.
        """
        if not self._blocks:
            raise ValueError('the drive shows no ground: is the depth source right, does the '
                             'camera look ahead?')
        keys = np.array(list(self._blocks))
        (top, left), (bottom, right) = keys.min(axis=0), keys.max(axis=0) + 1
        shape = ((bottom - top) * BLOCK_PX, (right - left) * BLOCK_PX)
        if shape[0] * shape[1] > MOST_PX:
            raise ValueError(f'a picture of {shape[1]} x {shape[0]} pixels is too large; give a '
                             'larger --gsd, or map parts of the drive')
        rgb, alpha = np.zeros((*shape, 3), np.uint8), np.zeros(shape, np.uint8)
        for (by, bx), block in self._blocks.items():
            at = (slice((by - top) * BLOCK_PX, (by - top + 1) * BLOCK_PX),
                  slice((bx - left) * BLOCK_PX, (bx - left + 1) * BLOCK_PX))
            weight = block[..., 3:]
            rgb[at] = np.clip(block[..., :3] / np.maximum(weight, 1e-12) + 0.5, 0, 255)
            alpha[at] = np.where(weight[..., 0] > 0, 255, 0)
        return (rgb, alpha, float(left * BLOCK_PX * self.gsd_m),
                float(-top * BLOCK_PX * self.gsd_m))

    def facts(self) -> Mapping[str, float]:
        """Return what is worth telling."""
        return {'gsd_m': self.gsd_m, 'covered_m2': round(self.covered_m2, 1)}


def write_mosaic(path: Path, mosaic: Mosaic, frame: LocalFrame,
                 metadata: Mapping[str, Any]) -> Path:
    """
    Write a mosaic as MBTiles; what it does not show stays empty.

    :param frame: the map frame of the mosaic.
    :raises MapError: the file cannot be written.
    :raises ValueError: there is nothing to write, or too much.
    """
    rgb, alpha, west, north = mosaic.picture()
    return write_mbtiles_from_local(path, rgb, frame, west, north, mosaic.gsd_m, alpha=alpha,
                                    metadata=metadata)


def _grid_shape(reach_m: float) -> tuple[int, int]:
    """Return rows, going ahead, and columns, from right to left."""
    ahead = math.ceil(reach_m / _CELL_M)
    return ahead, 2 * ahead


def _plane(view: Array, height_m: float | None) -> Array | None:
    """Fit the ground plane, up = a ahead + b left + c, to the points near it."""
    if len(view) < 50:
        return None
    start = np.percentile(view[:, 2], 10) if height_m is None else -height_m
    plane = np.array([0.0, 0.0, start])
    for within in (0.6, 0.4, 0.25, 0.25):
        off = np.abs(view[:, 2] - (view[:, :2] @ plane[:2] + plane[2]))
        # Further away a slope and the tilt of the car count for more
        use = off < within + 0.01 * view[:, 0]
        if use.sum() < 30:
            return None
        ones = np.column_stack([view[use, :2], np.ones(int(use.sum()))])
        plane = np.linalg.lstsq(ones, view[use, 2], rcond=None)[0]
    return np.asarray(plane)


def _heights(view: Array, above: Array, reach_m: float,
             plane: Array) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return ground heights, and where they are known, of points with heights over a plane."""
    rows, cols = _grid_shape(reach_m)
    row = np.clip((view[:, 0] / _CELL_M).astype(int), 0, rows - 1)
    col = np.clip((view[:, 1] / _CELL_M + cols / 2).astype(int), 0, cols - 1)
    cell = row * cols + col
    lowest, highest = np.full(rows * cols, np.inf), np.full(rows * cols, -np.inf)
    np.minimum.at(lowest, cell, above)
    np.maximum.at(highest, cell, above)
    low = above < lowest[cell] + _STEP_M / 2
    count = np.bincount(cell[low], minlength=rows * cols)
    total = np.bincount(cell[low], above[low], minlength=rows * cols)
    thing = (highest > _STEP_M).reshape(rows, cols)
    seen = ((count > 0) & (np.abs(lowest) < _STEP_M)).reshape(rows, cols) & ~thing
    rise = (total / np.maximum(count, 1)).reshape(rows, cols)
    # Between scan lines the ground goes on as around it
    width = (2 * _GAP_CELLS + 1, 2 * _GAP_CELLS + 1)
    near = cv2.GaussianBlur(seen.astype(np.float32), width, _GAP_CELLS / 3)
    smooth = cv2.GaussianBlur(np.where(seen, rise, 0.0).astype(np.float32), width,
                              _GAP_CELLS / 3) / np.maximum(near, 1e-6)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_GAP_CELLS, _GAP_CELLS))
    closed = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    beside = cv2.dilate(thing.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    ahead = (np.arange(rows) + 0.5) * _CELL_M
    left = (np.arange(cols) + 0.5 - cols / 2) * _CELL_M
    flat = plane[0] * ahead[:, None] + plane[1] * left[None] + plane[2]
    return (flat + smooth).astype(np.float32), closed & ~beside


def _nearest(points: Array, camera: Camera) -> NDArray[np.float32]:
    """Return the depth of the nearest point per block of the image, inf where there is none."""
    uv, depth = project(points, camera)
    h, w = -(-camera.height // _BLOCK), -(-camera.width // _BLOCK)
    with np.errstate(invalid='ignore'):
        inside = ((depth > 0) & (uv[:, 0] >= 0) & (uv[:, 0] < camera.width - 0.5)
                  & (uv[:, 1] >= 0) & (uv[:, 1] < camera.height - 0.5))
    row, col = (uv[inside][:, (1, 0)] / _BLOCK).astype(int).T
    nearest = np.full(h * w, np.inf)
    np.minimum.at(nearest, row * w + col, depth[inside])
    return nearest.reshape(h, w).astype(np.float32)


def _window(map_T_camera: Pose2, reach_m: float, gsd_m: float) -> tuple[int, int, int, int]:
    """Return row, column, height and width of the map's pixels that a view may show."""
    corners = map_T_camera.xy_m + np.array(
        [_rotated(map_T_camera.yaw_rad, (ahead, left))
         for ahead in (NEAREST_M, reach_m) for left in (-reach_m, reach_m)])
    (west, south), (east, north) = corners.min(axis=0), corners.max(axis=0)
    column, row = math.floor(west / gsd_m), math.floor(-north / gsd_m)
    return (row, column, math.ceil(-south / gsd_m) - row, math.ceil(east / gsd_m) - column)


def _rotated(yaw_rad: float, xy: tuple[float, float]) -> tuple[float, float]:
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return c * xy[0] - s * xy[1], s * xy[0] + c * xy[1]


def _sampled(ground: Ground, ahead: Array, left: Array,
             reach_m: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return ground heights at places of a view, and where they are known and in reach."""
    rows, cols = ground.up_m.shape
    row = (ahead / _CELL_M - 0.5).astype(np.float32)
    col = (left / _CELL_M + cols / 2 - 0.5).astype(np.float32)
    up = cv2.remap(ground.up_m, col, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    known = cv2.remap(ground.known.astype(np.uint8), col, row, cv2.INTER_NEAREST) > 0
    return up, known & (ahead > NEAREST_M) & (np.hypot(ahead, left) < reach_m)


def _visible(u: NDArray[np.float32], v: NDArray[np.float32], depth: Array, camera: Camera,
             ground: Ground) -> NDArray[np.bool_]:
    """Return which pixels lie in the image with nothing in front of them."""
    with np.errstate(invalid='ignore'):
        inside = ((depth > 0) & (u >= 0) & (u <= camera.width - 1) & (v >= 0)
                  & (v <= camera.height - 1))
    if ground.nearest_m is None:
        return np.asarray(inside)
    col, row = (np.where(inside, x, 0).astype(int) // _BLOCK for x in (u, v))
    return np.asarray(inside & (depth < _BEHIND * ground.nearest_m[row, col] + _STEP_M))
