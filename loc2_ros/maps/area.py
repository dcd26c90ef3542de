# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Which tiles a box or a corridor along a track needs."""

from __future__ import annotations

import math

from loc2_ros.maps.mercator import merc_gsd_m, merc_px, MERCATOR_END_DEG, TILE_PX
from loc2_ros.maps.track import walk
from loc2_ros.maps.values import MapError
from loc2_ros.maps.warp import Array
import numpy as np

# One run works through a list of them
MAX_AREA_TILES = 20_000_000


class Area:
    """
    A part of the world.

    :ivar bounds: west, south, east, north, degrees; east may exceed 180.
    """

    def __init__(self, bounds: tuple[float, float, float, float], track: Array | None = None,
                 buffer_m: float = 0.0) -> None:
        self.bounds = bounds
        self._track, self._buffer_m = track, buffer_m
        self._cells: dict[int, set[tuple[int, int]]] = {}

    @classmethod
    def box(cls, west: float, south: float, east: float, north: float) -> Area:
        """Return a box; :raises MapError: if it is none."""
        if not all(map(math.isfinite, (west, south, east, north))) or not (
                -90 <= south < north <= 90 and abs(west) <= 360 and abs(east) <= 360
                and west != east):
            raise MapError('a box is west,south,east,north in degrees, such as 8.40,49.00,8.42,'
                           f'49.01; got {west},{south},{east},{north}')
        # A box across the antimeridian goes on beyond it
        return cls((west, south, east if east > west else east + 360.0, north))

    @classmethod
    def corridor(cls, lat_lon: Array, buffer_m: float) -> Area:
        """Return what lies within a distance of a track, (N, 2) degrees."""
        if not 0 < buffer_m <= 10_000:
            raise MapError(f'the buffer is above 0 and up to 10000 m, got {buffer_m}')
        lat = float(lat_lon[:, 0].mean())
        dlat = math.degrees(buffer_m / 6.33e6)
        dlon = dlat / max(math.cos(math.radians(lat)), 0.01)
        (south, west), (north, east) = lat_lon.min(axis=0), lat_lon.max(axis=0)
        return cls((float(west - dlon), float(south - dlat), float(east + dlon),
                    float(north + dlat)), lat_lon, buffer_m)

    def touches(self, zoom: int, x: int, y: int) -> bool:
        """Return whether a tile is needed."""
        if self._track is not None:
            return (x, y) in self._set(zoom)
        x0, y0, x1, y1 = self._range(zoom)
        return y0 <= y <= y1 and (x0 <= x <= x1 or x0 <= x + (1 << zoom) <= x1)

    def count(self, zoom: int) -> int:
        """Return the number of tiles, without listing those of a box."""
        if self._track is not None:
            return len(self._set(zoom))
        x0, y0, x1, y1 = self._range(zoom)
        return (x1 - x0 + 1) * (y1 - y0 + 1)

    def tiles(self, zoom: int) -> list[tuple[int, int]]:
        """Return columns and rows, row by row."""
        if self.count(zoom) > MAX_AREA_TILES:
            raise MapError(f'the area has {self.count(zoom)} tiles at zoom {zoom}; choose a '
                           'smaller one')
        if self._track is not None:
            return sorted(self._set(zoom), key=lambda t: (t[1], t[0]))
        x0, y0, x1, y1 = self._range(zoom)
        return [(x % (1 << zoom), y) for y in range(y0, y1 + 1) for x in range(x0, x1 + 1)]

    def _range(self, zoom: int) -> tuple[int, int, int, int]:
        west, south, east, north = self.bounds
        end = MERCATOR_END_DEG
        world = merc_px(np.clip([north, south], -end, end), [west, east], zoom) / TILE_PX
        last = (1 << zoom) - 1
        x0, y0 = np.floor(world[0]).astype(int).tolist()
        # A box that ends on an edge does not need what lies beyond
        x1, y1 = (np.ceil(world[1] - 1e-9).astype(int) - 1).tolist()
        return x0, max(y0, 0), max(x0, min(x1, x0 + last)), min(max(y0, y1), last)

    def _set(self, zoom: int) -> set[tuple[int, int]]:
        if zoom not in self._cells:
            self._cells[zoom] = self._along(zoom)
        return self._cells[zoom]

    def _along(self, zoom: int) -> set[tuple[int, int]]:
        """Return the tiles under squares around points along the track."""
        assert self._track is not None
        lat = float(np.abs(self._track[:, 0]).max())
        gsd = min(merc_gsd_m(min(lat, 85.0), zoom))
        tile_m = gsd * TILE_PX
        # Squares overlap by half, and none spans a tile unseen
        points = walk(self._track, max(min(self._buffer_m, tile_m) / 2, 0.5))
        world = merc_px(points[:, 0], points[:, 1], zoom) / TILE_PX     # (N, 2)
        reach = self._buffer_m / tile_m
        low = np.floor(world - reach).astype(int)
        high = np.floor(world + reach).astype(int)
        spans = np.unique(np.concatenate([low, high], axis=1), axis=0)
        side = 1 << zoom
        return {(x % side, y) for x0, y0, x1, y1 in spans.tolist()
                for y in range(max(y0, 0), min(y1, side - 1) + 1) for x in range(x0, x1 + 1)}
