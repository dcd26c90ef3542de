# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A synthetic town as rasters: what covers the ground, how high it is, and to whom it belongs.

A solid layer stands on the ground (houses, cars, hedges, trunks); a floating layer hangs above it
(tree crowns, signs, lamp heads). Row 0 is the northern edge, columns run east.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import IntEnum

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
FIX = 4            # fractional bits of the polygon coordinates handed to OpenCV


class Material(IntEnum):
    """What the top of a raster cell is made of; a row of the palette, or the owner's colour."""

    GRASS = 0
    SOIL = 1
    ASPHALT = 2
    PAVEMENT = 3
    MARKING = 4
    CONCRETE = 5
    GRAVEL = 6
    PATCH = 7
    KERB = 8
    PLANTS = 9
    OWNED = 10


class Kind(IntEnum):
    """What an owner of raster cells is; decides how its sides look."""

    NOTHING = 0
    BUILDING = 1
    CAR = 2
    HEDGE = 3
    TREE = 4
    POLE = 5


@dataclass
class Owners:
    """
    The things that own cells, one entry each; entry 0 is nobody.

    ``top`` and ``side`` are RGB in [0, 1]; ``frame`` is (centre x, centre y, yaw,
    half length, half width) in the map;
    ``facade`` is (storey height, window pitch, window share, door share) in metres and shares.
    """

    kind: list[int] = field(default_factory=lambda: [int(Kind.NOTHING)])
    top: list[Array] = field(default_factory=lambda: [np.zeros(3)])
    side: list[Array] = field(default_factory=lambda: [np.zeros(3)])
    frame: list[Array] = field(default_factory=lambda: [np.array([0, 0, 0, 1.0, 1.0])])
    facade: list[Array] = field(default_factory=lambda: [np.ones(4)])

    def add(self, kind: Kind, top: Array, side: Array, frame: Array, size: Array,
            facade: Array | None = None) -> int:
        """Add one owner and return its index."""
        self.kind.append(int(kind))
        self.top.append(np.clip(top, 0.02, 0.98))
        self.side.append(np.clip(side, 0.02, 0.98))
        self.frame.append(np.concatenate([frame, size / 2]))
        self.facade.append(np.ones(4) if facade is None else facade)
        return len(self.kind) - 1

    def copy(self) -> Owners:
        """Return an independent copy."""
        return Owners(list(self.kind), list(self.top), list(self.side), list(self.frame),
                      list(self.facade))


@dataclass
class Layers:
    """
    The rasters of one town, all (H, W).

    :param material: uint8, ``Material`` of the solid top.
    :param height_m: float32, top of the solid layer.
    :param owner: int16, who owns the solid layer; 0 for bare ground.
    :param low_m: float32, underside of the floating layer; above ``high_m`` where there is none.
    :param high_m: float32, top of the floating layer; 0 where there is none.
    :param hanging: int16, who owns the floating layer.
    """

    res_m: float
    half_m: float
    material: NDArray[np.uint8]
    height_m: NDArray[np.float32]
    owner: NDArray[np.int16]
    low_m: NDArray[np.float32]
    high_m: NDArray[np.float32]
    hanging: NDArray[np.int16]
    owners: Owners

    @staticmethod
    def empty(extent_m: float, res_m: float) -> Layers:
        """Return bare grass, ``extent_m`` square, centred on the map's origin."""
        n = int(round(extent_m / res_m))
        shape = (n, n)
        return Layers(res_m, n * res_m / 2, np.zeros(shape, np.uint8),
                      np.zeros(shape, np.float32), np.zeros(shape, np.int16),
                      np.full(shape, 99.0, np.float32), np.zeros(shape, np.float32),
                      np.zeros(shape, np.int16), Owners())

    def copy(self) -> Layers:
        """Return an independent copy."""
        arrays = {k: getattr(self, k).copy() for k in
                  ('material', 'height_m', 'owner', 'low_m', 'high_m', 'hanging')}
        return replace(self, owners=self.owners.copy(), **arrays)

    def to_px(self, xy_m: Array) -> Array:
        """Return (column, row) of map points, pixel centres at integers."""
        return np.stack([(xy_m[..., 0] + self.half_m) / self.res_m - 0.5,
                         (self.half_m - xy_m[..., 1]) / self.res_m - 0.5], -1)

    def polygon(self, corners_m: Array) -> NDArray[np.int32]:
        """Return corners as OpenCV fixed-point coordinates."""
        return np.round(self.to_px(corners_m) * (1 << FIX)).astype(np.int32)[None]

    def fill(self, corners_m: Array, *, material: int | None = None, height_m: float | None = None,
             owner: int | None = None) -> None:
        """Paint a convex polygon into the solid layer."""
        corners = self.polygon(corners_m)
        for raster, value in ((self.material, material), (self.height_m, height_m),
                              (self.owner, owner)):
            if value is not None:
                cv2.fillPoly(raster, corners, float(value), cv2.LINE_8, FIX)

    def stroke(self, line_m: Array, width_m: float, material: int) -> None:
        """Paint a line of the given width onto the ground."""
        points = self.polygon(line_m)[0]
        thickness = max(1, int(round(width_m / self.res_m)))
        cv2.polylines(self.material, [points], False, int(material), thickness, cv2.LINE_8, FIX)

    def hang(self, corners_m: Array, low_m: float, high_m: float, owner: int) -> None:
        """Paint a convex polygon into the floating layer."""
        corners = self.polygon(corners_m)
        for raster, value in ((self.low_m, low_m), (self.high_m, high_m), (self.hanging, owner)):
            cv2.fillPoly(raster, corners, float(value), cv2.LINE_8, FIX)

    def window(self, centre_m: Array, radius_m: float) -> tuple[slice, slice, Array, Array]:
        """Return the row and column slices around a point and the cells' offsets from it."""
        n = self.material.shape[0]
        c, r = self.to_px(centre_m)
        k = int(np.ceil(radius_m / self.res_m)) + 1
        rows = slice(max(int(r) - k, 0), min(int(r) + k + 1, n))
        cols = slice(max(int(c) - k, 0), min(int(c) + k + 1, n))
        dx = (np.arange(cols.start, max(cols.stop, cols.start)) - c) * self.res_m
        dy = -(np.arange(rows.start, max(rows.stop, rows.start)) - r) * self.res_m
        x, y = np.meshgrid(dx, dy)
        return rows, cols, x, y

    def is_free(self, corners_m: Array, blocked: NDArray[np.uint8]) -> bool:
        """Return whether no blocked cell lies under the polygon."""
        lo = np.floor(self.to_px(corners_m).min(0)).astype(int)
        hi = np.ceil(self.to_px(corners_m).max(0)).astype(int) + 1
        n = blocked.shape[0]
        if lo.min() < 0 or hi.max() > n:
            return False
        mask = np.zeros((hi[1] - lo[1], hi[0] - lo[0]), np.uint8)
        cv2.fillPoly(mask, self.polygon(corners_m) - (lo * (1 << FIX)).astype(np.int32), 1.0,
                     cv2.LINE_8, FIX)
        return not np.any(blocked[lo[1]:hi[1], lo[0]:hi[0]] & mask)


def rectangle(centre_m: Array, yaw_rad: float, length_m: float, width_m: float) -> Array:
    """Return the corners (4, 2) of a rectangle whose length runs along ``yaw_rad``."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    along = np.array([c, s]) * length_m / 2
    across = np.array([-s, c]) * width_m / 2
    return np.asarray(centre_m) + np.array([along + across, along - across,
                                            -along - across, -along + across])
