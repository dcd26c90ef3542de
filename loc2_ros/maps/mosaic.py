# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A map of one's own: camera images laid onto the ground, seen from above.

Each image is looked up at the places of the map that it shows: ground whose height is known from
depth, or taken as flat, and that nothing stands in front of. Where several images show a place,
the nearest views count most.
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
from loc2_ros.maps.ground import CELL_M, CELL_PX, Ground, in_camera, STEP_M
from loc2_ros.maps.writer import write_mbtiles_from_local
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
BLOCK_PX = 256
MOST_PX = 300_000_000       # of the picture that is written: a gigabyte
NEAREST_M = 2.0
_SAMPLES = 3                # image samples per axis of a map pixel, against aliasing
_BEHIND = 1.1               # ground so much further than the nearest thing is hidden


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
    row = (ahead / CELL_M - 0.5).astype(np.float32)
    col = (left / CELL_M + cols / 2 - 0.5).astype(np.float32)
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
    col, row = (np.where(inside, x, 0).astype(int) // CELL_PX for x in (u, v))
    return np.asarray(inside & (depth < _BEHIND * ground.nearest_m[row, col] + STEP_M))
