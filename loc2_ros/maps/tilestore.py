# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A map made of Web-Mercator tiles: look up, decode, keep, warp."""

from __future__ import annotations

import math
import threading
from typing import NamedTuple

from loc2_ros.maps.base import StoreBase
from loc2_ros.maps.cache import ByteLru, NewestJob
from loc2_ros.maps.decode import decode_tile
from loc2_ros.maps.guard import BadTile
from loc2_ros.maps.mercator import (choose_zoom, coarse_gsd_m, MERCATOR_END_DEG,
                                    world_projection, ZOOM_SLACK)
from loc2_ros.maps.tiles import TileSource
from loc2_ros.maps.values import (check_request, Crop, MapFrame, probe_points, REACH_M,
                                  StoreInfo, StoreStats)
from loc2_ros.maps.warp import (halved, halvings, map_T_px, Patch, Project, shrink, source_T_px,
                                warp, Window, window_of)
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

# What an entry costs beside its pixels; also the price of a remembered hole
_ENTRY_BYTES = 200
_NOT_CACHED = Patch(np.zeros((0, 0, 3), np.uint8), None)
_USUAL_GSD_M = 0.2
# A map that only has levels far finer than asked for must not stall the caller for minutes
_MAX_TILES = 16384


class _Key(NamedTuple):
    zoom: int
    x: int
    y: int


class TileStore(StoreBase):
    """
    Crops from a tile source; implements ``MapStore``.

    :param source: where the files of tiles come from.
    :param info: what is known about the map.
    :param cache_bytes: bound of the decoded tiles kept; 0 decodes every time.
    :param ahead: after each crop, prefetch where the next one will be if the motion goes on.
    """

    def __init__(self, source: TileSource, info: StoreInfo, cache_bytes: int,
                 ahead: bool = False) -> None:
        super().__init__()
        self._source = source
        self._info = info
        self._cache: ByteLru[Patch | None] = ByteLru(cache_bytes)
        self._prefetcher: NewestJob[list[_Key]] = NewestJob(self._decode_all, 'map prefetch')
        self._lock = threading.Lock()
        self._hits = self._misses = self._holes = self._broken = 0
        self._last_error = ''
        self._last_zoom: int | None = None
        self._ahead = ahead
        self._last_xy: Array = np.full(2, np.inf)

    def crop(self, frame: MapFrame, xy_map_m: ArrayLike, yaw_map_rad: float, size_m: float,
             px: int) -> Crop:
        """
        Cut a square out of the map.

        :param frame: the map frame.
        :param xy_map_m: (2,) centre.
        :param yaw_map_rad: direction of the image's right, counter-clockwise from map x; 0 has
            map north up.
        :param size_m: width on the ground, 5 to 500.
        :param px: width of the image, 16 to 4096.
        :raises ValueError: for an impossible request; never for what the map holds or lacks.
        """
        xy = check_request(xy_map_m, yaw_map_rad, size_m, px)
        placed = map_T_px(xy, yaw_map_rad, size_m, px)
        with self._in_use:
            at = self._shown_at(frame, xy)
            lat_deg = frame.inverse(at)[0] if self._reachable(xy) else math.inf
            if abs(lat_deg) > MERCATOR_END_DEG:
                return Crop(*warp(None, placed, px), placed, size_m / px, None, False)
            zoom = choose_zoom(self._info.zooms, lat_deg, size_m / px, self._source.tile_px)
            self._last_zoom = zoom
            matrix = source_T_px(self._projection(frame, zoom), at, yaw_map_rad, size_m, px)
            times = min(halvings(matrix), int(math.log2(self._source.tile_px)))
            matrix = halved(matrix, times)
            patch, origin = self._mosaic(zoom, window_of(matrix, px), times)
            matrix[:, 2] -= origin
            gsd = coarse_gsd_m(lat_deg, zoom, self._source.tile_px) * 2 ** times
            upsampled = gsd > ZOOM_SLACK * size_m / px
            cut = Crop(*warp(patch, matrix, px), placed, gsd, zoom, upsampled)
        if self._ahead:
            self._look_ahead(frame, xy, size_m)
        return cut

    def prefetch(self, frame: MapFrame, xy_map_m: ArrayLike, radius_m: float) -> None:
        """Decode the tiles within a square of a radius in the background; newest call wins."""
        xy = np.asarray(xy_map_m, np.float64)
        if not self._cache.keeps or not np.all(np.abs(xy) <= REACH_M) or not radius_m > 0:
            return
        at = self._shown_at(frame, xy)
        zoom = self._last_zoom if self._last_zoom is not None else choose_zoom(
            self._info.zooms, frame.inverse(at)[0], _USUAL_GSD_M, self._source.tile_px)
        reach = radius_m * np.array([[0, 0], [-1, -1], [-1, 1], [1, -1], [1, 1]])
        tiles = np.floor(self._projection(frame, zoom)(at + reach) / self._source.tile_px)
        (x0, y0), (x1, y1) = tiles.min(axis=0).astype(int), tiles.max(axis=0).astype(int)
        self._prefetcher.submit([self._key(zoom, x, y) for y in range(y0, y1 + 1)
                                 for x in range(x0, x1 + 1)])

    def stats(self) -> StoreStats:
        """Return the counters."""
        with self._lock:
            return StoreStats(self._hits, self._misses, self._holes, self._broken,
                              self._cache.bytes, self._last_error)

    def close(self) -> None:
        """Release files and threads; waits for crops under way."""
        self._prefetcher.close()
        super().close()
        self._source.close()

    def _covered(self, frame: MapFrame, at: Array, size_m: float, gsd_m: float) -> float:
        """Return the share of 16 x 16 probes whose tiles exist."""
        zoom = choose_zoom(self._info.zooms, frame.inverse(at)[0], gsd_m, self._source.tile_px)
        pixels = self._projection(frame, zoom)(probe_points(at, size_m))
        tiles = np.floor(pixels / self._source.tile_px).astype(int)
        unique, counts = np.unique(tiles, axis=0, return_counts=True)
        there = [self._has(self._key(zoom, x, y)) for x, y in unique.tolist()]
        return float(counts[there].sum() / counts.sum())

    def _look_ahead(self, frame: MapFrame, xy: Array, size_m: float) -> None:
        """Prefetch around the next centre, as far beyond this one as this is beyond the last."""
        step, self._last_xy = xy - self._last_xy, xy
        # Standing still needs nothing new, and a jump says nothing of the next crop
        if 0.0 < float(np.hypot(*step)) < size_m:
            self.prefetch(frame, xy + step, size_m * math.sqrt(0.5))

    def _mosaic(self, zoom: int, need: Window, times: int) -> tuple[Patch | None, Array]:
        """
        Put together the tiles under a window, each halved some times.

        :returns: the pixels, None if no tile exists, and the centre of the first in the source.
        """
        size = self._source.tile_px >> times
        x0, y0, x1, y1 = (need.x0 // size, need.y0 // size,
                          (need.x1 - 1) // size + 1, (need.y1 - 1) // size + 1)
        origin = np.array([x0 * size, y0 * size], np.float64)
        if (x1 - x0) * (y1 - y0) > _MAX_TILES:
            self._last_error = f'level {zoom} is too fine for a crop of this size'
            return None, origin
        tiles = {(x, y): shrink(self._tile(self._key(zoom, x, y)), times)
                 for y in range(y0, y1) for x in range(x0, x1)}
        if not any(tiles.values()):
            return None, origin
        shape = ((y1 - y0) * size, (x1 - x0) * size)
        rgb = np.zeros((*shape, 3), np.uint8)
        whole = all(tile is not None and tile.opaque is None for tile in tiles.values())
        opaque = None if whole else np.zeros(shape, np.uint8)
        for (x, y), tile in tiles.items():
            if tile is None:
                continue
            at = (slice((y - y0) * size, (y - y0 + 1) * size),
                  slice((x - x0) * size, (x - x0 + 1) * size))
            rgb[at] = tile.rgb
            if opaque is not None:
                opaque[at] = 255 if tile.opaque is None else tile.opaque
        return Patch(rgb, opaque), origin

    def _projection(self, frame: MapFrame, zoom: int) -> Project:
        return world_projection(frame, zoom, self._source.tile_px)

    def _key(self, zoom: int, x: int, y: int) -> _Key:
        return _Key(zoom, int(x) % (1 << zoom), int(y))

    def _tile(self, key: _Key) -> Patch | None:
        """Return a tile from the cache or the source; None for a hole and for a broken one."""
        known = self._cache.get(key, _NOT_CACHED)
        if known is not _NOT_CACHED:
            with self._lock:
                self._hits += 1
            return known
        tile, error = self._load(key)
        self._cache.put(key, tile, _ENTRY_BYTES + (tile.nbytes if tile else 0))
        with self._lock:
            self._misses += 1
            self._holes += tile is None and not error
            self._broken += bool(error)
            self._last_error = error or self._last_error
        return tile

    def _load(self, key: _Key) -> tuple[Patch | None, str]:
        """Return a tile and what is wrong with it."""
        if not 0 <= key.y < 1 << key.zoom:
            return None, ''
        try:
            blob = self._source.read(*key)
            return (None if blob is None else decode_tile(blob, self._source.tile_px)), ''
        except BadTile as error:
            return None, f'tile {key.zoom}/{key.x}/{key.y}: {error}'

    def _has(self, key: _Key) -> bool:
        return 0 <= key.y < 1 << key.zoom and self._source.has(*key)

    def _decode_all(self, keys: list[_Key]) -> None:
        with self._in_use:
            for key in keys:
                self._tile(key)
