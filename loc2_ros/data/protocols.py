# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The ground truth and the error axes of the benchmarks, as small formulas (model.md section 9).

Poses are ``theta`` (ground to tile) and ``t`` (camera in the tile: x down the rows, y along the
columns), as everywhere; what the lists of a benchmark hold is turned into them here.
"""

from __future__ import annotations

import math

from loc2_ros.core.values import Array
import numpy as np

KITTI_SHIFT_M = 20.0
# At the 640 px of the published tiles
VIGOR_M_PER_PX = {'NewYork': 0.113248, 'Seattle': 0.100817, 'SanFrancisco': 0.118141,
                  'Chicago': 0.111262}


def kitti_ground_truth(shift_x: float, shift_y: float, turn: float,
                       range_deg: float) -> tuple[float, float, Array]:
    """
    Return what a line of a KITTI test list means.

    :param shift_x: share of 20 m by which the camera sits ahead of the tile centre.
    :param shift_y: the same to the left.
    :param turn: share of the range by which the tile is turned beyond the heading.
    :param range_deg: 10 or 180.
    :returns: the injected turn and theta, radians; t (2,), metres.
    """
    injected = turn * math.radians(range_deg)
    c, s = math.cos(injected), math.sin(injected)
    t = KITTI_SHIFT_M * np.array([-(shift_y * c + shift_x * s), shift_x * c - shift_y * s])
    return injected, injected - math.pi / 2, t


def vigor_ground_truth(delta_row_px: float, delta_col_px: float, city: str) -> Array:
    """
    Return t (2,), metres, of a VIGOR label: its deltas point from the camera to the centre.

    :param delta_row_px: first number of the label, pixels of the published 640; rows up.
    :param delta_col_px: second number; columns to the left.
    """
    if city not in VIGOR_M_PER_PX:
        raise ValueError(f'VIGOR has no city {city!r}; it has {", ".join(VIGOR_M_PER_PX)}')
    return np.array([delta_row_px, -delta_col_px]) * VIGOR_M_PER_PX[city]


def vigor_theta(roll_px: int, width_px: int) -> float:
    """Return theta, radians, of a north-aligned panorama rolled to the right by whole pixels."""
    return 2.0 * math.pi * roll_px / width_px


def along_across(theta_rad: float, error_tile_m: Array) -> tuple[float, float]:
    """
    Split a position error into its parts along and across the true direction of the view.

    :param theta_rad: true rotation from ground to tile.
    :param error_tile_m: (2,) in the tile, x down the rows, y along the columns.
    :returns: longitudinal and lateral error, metres, both positive.
    """
    forward = np.array([-math.cos(theta_rad), -math.sin(theta_rad)])
    along = float(forward @ error_tile_m)
    across = float(forward[0] * error_tile_m[1] - forward[1] * error_tile_m[0])
    return abs(along), abs(across)
