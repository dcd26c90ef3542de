# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From a square in the map to source pixels: one 2x3 matrix and one ``warpAffine`` per crop.

Map scale, grid convergence and the rotation of a grid all end up in the matrix. Source pixels
are counted from edges (the first spans 0 to 1) by projections and from centres by matrices,
as OpenCV does: both half pixels are in ``source_T_px`` and nowhere else.
"""

from __future__ import annotations

import math
from typing import Callable, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Image = NDArray[np.uint8]
# (N, 2) map metres -> (N, 2) source pixels, counted from edges
Project = Callable[[Array], Array]


class Patch(NamedTuple):
    """
    A piece of source imagery.

    :param rgb: (H, W, 3) uint8.
    :param opaque: (H, W) uint8, 255 where there is imagery; None when that is everywhere.
    """

    rgb: Image
    opaque: Image | None

    @property
    def nbytes(self) -> int:
        """Return the memory it takes."""
        return self.rgb.nbytes + (0 if self.opaque is None else self.opaque.nbytes)


class Window(NamedTuple):
    """Source pixels [x0, x1) x [y0, y1)."""

    x0: int
    y0: int
    x1: int
    y1: int


def map_T_px(xy_map_m: Array, yaw_map_rad: float, size_m: float, px: int) -> Array:
    """Return the (2, 3) matrix from crop pixel centres (u, v) to map metres."""
    c, s, gsd = math.cos(yaw_map_rad), math.sin(yaw_map_rad), size_m / px
    # v runs down: its direction is minus the crop's up
    linear = gsd * np.array([[c, s], [s, -c]])
    centre = np.asarray(xy_map_m, np.float64)
    return np.column_stack([linear, centre + (0.5 - px / 2.0) * linear.sum(axis=1)])


def source_T_px(project: Project, xy_map_m: Array, yaw_map_rad: float, size_m: float,
                px: int) -> Array:
    """
    Return the (2, 3) matrix from crop pixel centres (u, v) to source pixel centres.

    The derivative is taken across the whole crop, which halves the error at its rim.
    """
    c, s, half = math.cos(yaw_map_rad), math.sin(yaw_map_rad), size_m / 2.0
    right, up = half * np.array([c, s]), half * np.array([-s, c])
    at = np.asarray(xy_map_m, np.float64)
    p = project(np.stack([at, at + right, at - right, at + up, at - up]))   # (5, 2)
    linear = np.stack([p[1] - p[2], p[4] - p[3]], axis=1) / px              # (2, 2)
    # +1/2 - px/2: the centre of the crop in pixel centres; -1/2: edges to centres in the source
    return np.column_stack([linear, p[0] + (0.5 - px / 2.0) * linear.sum(axis=1) - 0.5])


def halvings(matrix: Array) -> int:
    """Return how often the source must be halved so that no detail folds into noise."""
    step = min(np.hypot(matrix[0, 0], matrix[1, 0]), np.hypot(matrix[0, 1], matrix[1, 1]))
    return max(0, math.floor(math.log2(max(step, 1.0)) + 1e-9))


def halved(matrix: Array, times: int) -> Array:
    """Return the matrix into a source that was halved: pixel edges scale, not centres."""
    factor = 0.5 ** times
    shifted = matrix * factor
    shifted[:, 2] += 0.5 * factor - 0.5
    return shifted


def shrink(patch: Patch | None, times: int) -> Patch | None:
    """Halve a patch some times by averaging; a pixel made of invalid ones is invalid."""
    if patch is None or times == 0:
        return patch
    height, width = (max(1, n >> times) for n in patch.rgb.shape[:2])
    rgb = cv2.resize(patch.rgb, (width, height), interpolation=cv2.INTER_AREA)
    if patch.opaque is None:
        return Patch(np.asarray(rgb, np.uint8), None)
    part = cv2.resize((patch.opaque < 255).astype(np.float32), (width, height),
                      interpolation=cv2.INTER_AREA)
    return Patch(np.asarray(rgb, np.uint8), np.where(part > 0, 0, 255).astype(np.uint8))


def window_of(matrix: Array, px: int) -> Window:
    """Return the source pixels a crop needs, including the neighbours for interpolation."""
    n = px - 1.0
    corners = matrix @ np.array([[0, n, 0, n], [0, 0, n, n], [1, 1, 1, 1]])   # (2, 4)
    low, high = np.floor(corners.min(axis=1)), np.floor(corners.max(axis=1))
    return Window(int(low[0]), int(low[1]), int(high[0]) + 2, int(high[1]) + 2)


def warp(patch: Patch | None, matrix: Array, px: int) -> tuple[Image, NDArray[np.bool_], float]:
    """
    Cut the crop out of a patch.

    :param matrix: crop pixel centres -> pixel centres of the patch.
    :returns: image (px, px, 3), black where invalid; valid (px, px); its mean.
    """
    if patch is None:
        return np.zeros((px, px, 3), np.uint8), np.zeros((px, px), bool), 0.0
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    image = np.asarray(cv2.warpAffine(patch.rgb, matrix, (px, px), flags=flags), np.uint8)
    if patch.opaque is None:
        return image, np.ones((px, px), bool), 1.0
    # 255 only where all four neighbours are: any part of a missing one lowers the sum
    opaque = cv2.warpAffine(patch.opaque, matrix, (px, px), flags=flags)
    valid = np.asarray(opaque == 255)
    image[~valid] = 0
    return image, valid, float(valid.mean())
