# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The aerial map as the ground of a picture: a rectangle of any size, pale enough to draw on."""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array
from loc2_ros.maps.values import MapStore
import numpy as np
from numpy.typing import NDArray

PIECE_M = 400.0     # a store cuts squares of at most 500 m
FINEST_M = 0.1


@dataclass(frozen=True)
class Ground:
    """
    A rectangle of the map, north up.

    :param rgb: (H, W, 3) uint8.
    :param extent_m: west, east, south, north of the image's edges in the map frame.
    """

    rgb: NDArray[np.uint8]
    extent_m: tuple[float, float, float, float]


def cut_ground(store: MapStore, frame: LocalFrame, points_m: Array, *, margin_m: float = 25.0,
               least_m: float = 120.0, px: int = 1600) -> Ground:
    """
    Cut what lies around points out of a map; what the map does not cover stays light grey.

    :param points_m: (N, 2) map metres.
    :param least_m: smallest width and height.
    :param px: pixels along the longer side, unless that is finer than 0.1 m.
    """
    low, high = points_m.min(axis=0), points_m.max(axis=0)
    centre, half = (low + high) / 2.0, np.maximum((high - low) / 2.0 + margin_m, least_m / 2.0)
    gsd = max(2.0 * float(half.max()) / px, FINEST_M)
    across, up = (int(n) for n in np.ceil(2.0 * half / gsd))
    side = min(math.ceil(PIECE_M / gsd), max(across, up))       # pixels per piece
    west, north = float(centre[0] - gsd * across / 2.0), float(centre[1] + gsd * up / 2.0)
    rgb = np.full((up, across, 3), 225, np.uint8)
    for top in range(0, up, side):
        for left in range(0, across, side):
            middle = (west + gsd * (left + side / 2.0), north - gsd * (top + side / 2.0))
            crop = store.crop(frame, middle, 0.0, gsd * side, side)
            part = rgb[top:top + side, left:left + side]
            rows, columns = part.shape[:2]
            part[:] = np.where(crop.valid[:rows, :columns, None], crop.image[:rows, :columns],
                               part)
    return Ground(rgb, (west, west + gsd * across, north - gsd * up, north))


def pale(rgb: NDArray[np.uint8], colour: float = 0.55, white: float = 0.22) -> NDArray[np.uint8]:
    """Take colour and contrast out of an image, so that what is drawn on it stands out."""
    grey = rgb.mean(axis=2, keepdims=True)
    dull = colour * rgb + (1.0 - colour) * grey
    return np.asarray((1.0 - white) * dull + 255.0 * white, np.uint8)
