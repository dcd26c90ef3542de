# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The ground that a camera sees: how high it is, where it is known, and what hides it.

Coordinates of a view are those of its upright camera: ahead, left, up, origin at the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
from loc2_ros.core.camera import Mount, project
from loc2_ros.core.values import Array, Camera
import numpy as np
from numpy.typing import NDArray

CELL_M = 0.4               # of the grid of ground heights
STEP_M = 0.3               # what rises higher above its surroundings is no ground
_GAP_CELLS = 7              # holes between scan lines up to so many cells are filled
CELL_PX = 8                  # image pixels per cell of the occlusion test


@dataclass(frozen=True)
class Ground:
    """
    Ground heights around a view.

    :param up_m: (rows, cols) float32 relative to the camera; rows go ahead, columns to the left.
    :param known: (rows, cols) bool.
    :param nearest_m: (h, w) float32 depth of the nearest thing per `CELL_PX` of the image, inf
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


def _grid_shape(reach_m: float) -> tuple[int, int]:
    """Return rows, going ahead, and columns, from right to left."""
    ahead = math.ceil(reach_m / CELL_M)
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
    row = np.clip((view[:, 0] / CELL_M).astype(int), 0, rows - 1)
    col = np.clip((view[:, 1] / CELL_M + cols / 2).astype(int), 0, cols - 1)
    cell = row * cols + col
    lowest, highest = np.full(rows * cols, np.inf), np.full(rows * cols, -np.inf)
    np.minimum.at(lowest, cell, above)
    np.maximum.at(highest, cell, above)
    low = above < lowest[cell] + STEP_M / 2
    count = np.bincount(cell[low], minlength=rows * cols)
    total = np.bincount(cell[low], above[low], minlength=rows * cols)
    thing = (highest > STEP_M).reshape(rows, cols)
    seen = ((count > 0) & (np.abs(lowest) < STEP_M)).reshape(rows, cols) & ~thing
    rise = (total / np.maximum(count, 1)).reshape(rows, cols)
    # Between scan lines the ground goes on as around it
    width = (2 * _GAP_CELLS + 1, 2 * _GAP_CELLS + 1)
    near = cv2.GaussianBlur(seen.astype(np.float32), width, _GAP_CELLS / 3)
    smooth = cv2.GaussianBlur(np.where(seen, rise, 0.0).astype(np.float32), width,
                              _GAP_CELLS / 3) / np.maximum(near, 1e-6)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (_GAP_CELLS, _GAP_CELLS))
    closed = cv2.morphologyEx(seen.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0
    beside = cv2.dilate(thing.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    ahead = (np.arange(rows) + 0.5) * CELL_M
    left = (np.arange(cols) + 0.5 - cols / 2) * CELL_M
    flat = plane[0] * ahead[:, None] + plane[1] * left[None] + plane[2]
    return (flat + smooth).astype(np.float32), closed & ~beside


def _nearest(points: Array, camera: Camera) -> NDArray[np.float32]:
    """Return the depth of the nearest point per block of the image, inf where there is none."""
    uv, depth = project(points, camera)
    h, w = -(-camera.height // CELL_PX), -(-camera.width // CELL_PX)
    with np.errstate(invalid='ignore'):
        inside = ((depth > 0) & (uv[:, 0] >= 0) & (uv[:, 0] < camera.width - 0.5)
                  & (uv[:, 1] >= 0) & (uv[:, 1] < camera.height - 0.5))
    row, col = (uv[inside][:, (1, 0)] / CELL_PX).astype(int).T
    nearest = np.full(h * w, np.inf)
    np.minimum.at(nearest, row * w + col, depth[inside])
    return nearest.reshape(h, w).astype(np.float32)
