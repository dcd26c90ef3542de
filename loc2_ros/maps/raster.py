# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A map made of one raster file, GeoTIFF, COG or VRT, in its own coordinate system (extra ``geo``).

A window is read in the file's own pixels, GDAL keeping its blocks, and warped once with the same
matrix as tiles are.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
import threading
from typing import Any, NamedTuple

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.base import StoreBase
from loc2_ros.maps.geo import alpha_band, Geo, pixels_of, read_patch
from loc2_ros.maps.mercator import ZOOM_SLACK
from loc2_ros.maps.values import (check_request, Crop, MapError, MapFrame, probe_points,
                                  StoreInfo, StoreStats)
from loc2_ros.maps.warp import (Array, halved, halvings, map_T_px, Patch, Project, source_T_px,
                                warp, Window, window_of)
import numpy as np
from numpy.typing import ArrayLike


_CHECK_PX, _CHECK_LISTED = 2048, 20


class _Handle(NamedTuple):
    """A dataset, and the lock of the thread that reads it."""

    file: Any
    lock: threading.Lock


class RasterStore(StoreBase):
    """
    Crops from a raster file; implements ``MapStore``.

    :param crs: takes the place of what the file says; needed if it says nothing.
    :raises MapError: if the file is no 8-bit imagery with a known place.
    """

    def __init__(self, path: Path, crs: str | None = None,
                 offset_m: tuple[float, float] = (0.0, 0.0), allow_remote: bool = False) -> None:
        super().__init__()
        self._geo = Geo()
        self._path, self._allow_remote = path, allow_remote
        self._local = threading.local()
        self._all: list[_Handle] = []
        self._lock = threading.Lock()
        self._reads = self._broken = 0
        self._last_error = ''
        self._status = path.stat()
        file = self._handle().file
        try:
            if file.transform.is_identity:
                raise MapError(f'{path} does not say where it lies; put its world file (.tfw) '
                               'beside it')
            self._alpha = alpha_band(path, file)
            self._to_crs, warning = self._geo.transformer(path, crs or file.crs)
            self._to_px = ~file.transform
            self._size = (file.width, file.height)
            self._info = self._describe(file, str(crs or file.crs), offset_m, warning)
        except MapError:
            self.close()
            raise

    def crop(self, frame: MapFrame, xy_map_m: ArrayLike, yaw_map_rad: float, size_m: float,
             px: int) -> Crop:
        """Cut a square out of the map; see ``TileStore.crop``."""
        xy = check_request(xy_map_m, yaw_map_rad, size_m, px)
        placed = map_T_px(xy, yaw_map_rad, size_m, px)
        with self._in_use:
            at = self._shown_at(frame, xy)
            matrix = source_T_px(self._project(frame), at, yaw_map_rad, size_m, px)
            # PROJ answers with infinity where the system does not reach
            if not self._reachable(xy) or not np.all(np.abs(matrix) < 1e9):
                return Crop(*warp(None, placed, px), placed, size_m / px, None, False)
            step = min(np.hypot(*matrix[:, 0]), np.hypot(*matrix[:, 1]))
            times = halvings(matrix)
            matrix = halved(matrix, times)
            patch, origin = self._read(window_of(matrix, px), times)
            matrix[:, 2] -= origin
            gsd = float(size_m / px / step) * 2 ** times
            upsampled = gsd > ZOOM_SLACK * size_m / px
            return Crop(*warp(patch, matrix, px), placed, gsd, None, upsampled)

    def prefetch(self, frame: MapFrame, xy_map_m: ArrayLike, radius_m: float) -> None:
        """Do nothing: GDAL reads when asked."""

    def stats(self) -> StoreStats:
        """Return the counters: windows read as misses, windows that failed as broken."""
        with self._lock:
            return StoreStats(misses=self._reads, broken=self._broken,
                              last_error=self._last_error)

    def whole_check(self) -> list[str]:
        """Read all pixels; returns what could not be read, twenty windows at most."""
        found: list[str] = []
        width, height = self._size
        with self._in_use:
            handle = self._handle()
            for y in range(0, height, _CHECK_PX):
                for x in range(0, width, _CHECK_PX):
                    window = ((y, min(y + _CHECK_PX, height)), (x, min(x + _CHECK_PX, width)))
                    try:
                        with handle.lock, self._geo.safe(self._allow_remote):
                            handle.file.read(window=window)
                    except self._geo.errors as error:
                        found.append(f'rows and columns {window}: {error}')
                        if len(found) >= _CHECK_LISTED:
                            return found
        return found

    def close(self) -> None:
        """Release files; waits for crops under way."""
        super().close()
        with self._lock:
            while self._all:
                self._all.pop().file.close()

    def _covered(self, frame: MapFrame, at: Array, size_m: float, gsd_m: float) -> float:
        """Return the share of 16 x 16 probes that lie within the file."""
        pixels = self._project(frame)(probe_points(at, size_m))
        return float(np.mean(np.all((pixels >= 0) & (pixels <= self._size), axis=1)))

    def _handle(self) -> _Handle:
        """
        Return this thread's dataset; rasterio's are not to be shared.

        Where the name belongs to another file by now, it is the first dataset after all, which
        goes on reading the file that was opened.
        """
        handle: _Handle | None = getattr(self._local, 'handle', None)
        if handle is None:
            with self._lock:
                handle = self._opened() or self._all[0]
                self._all.append(handle)
            self._local.handle = handle
        return handle

    def _opened(self) -> _Handle | None:
        """Return a new dataset of the file, None if it is not there any more."""
        try:
            file = self._geo.dataset(self._path, allow_remote=self._allow_remote)
            same = os.path.samestat(self._path.stat(), self._status)
        except (MapError, OSError):
            if not self._all:
                raise
            return None
        if self._all and not same:
            file.close()
            return None
        return _Handle(file, threading.Lock())

    def _project(self, frame: MapFrame) -> Project:
        """Return the projection of map metres to pixels of the file."""
        def project(xy_map_m: Array) -> Array:
            return pixels_of(self._to_crs, self._to_px, *frame.inverse(xy_map_m))

        return project

    def _read(self, need: Window, times: int) -> tuple[Patch | None, Array]:
        """Read the part of a window, in halved pixels, that lies within the file."""
        step = 1 << times
        x0, y0 = max(need.x0, 0), max(need.y0, 0)
        x1, y1 = min(need.x1, self._size[0] // step), min(need.y1, self._size[1] // step)
        origin = np.array([x0, y0], np.float64)
        if x0 >= x1 or y0 >= y1:
            return None, origin
        window = ((y0 * step, y1 * step), (x0 * step, x1 * step))
        with self._lock:
            self._reads += 1
        try:
            handle = self._handle()
            with handle.lock, self._geo.safe(self._allow_remote):
                patch = read_patch(self._geo, handle.file, window, (y1 - y0, x1 - x0),
                                   self._alpha)
        except self._geo.errors as error:
            with self._lock:
                self._broken += 1
                self._last_error = f'window {window}: {error}'
            return None, origin
        if patch.opaque is None and Window(x0, y0, x1, y1) != need:
            # Beyond the file there is nothing, which only a mask can say
            patch = Patch(patch.rgb, np.full(patch.rgb.shape[:2], 255, np.uint8))
        return patch, origin

    def _describe(self, file: Any, crs: str, offset_m: tuple[float, float],
                  warning: str) -> StoreInfo:
        a, x = file.transform, np.array([0, file.width, 0, file.width])
        y = np.array([0, 0, file.height, file.height])
        lon, lat = self._to_crs.transform(a.a * x + a.b * y + a.c, a.d * x + a.e * y + a.f,
                                          direction='INVERSE')
        if not np.all(np.isfinite([lon, lat])):
            raise MapError(f'{self._path} lies outside its coordinate system; give the right crs')
        bounds = (float(lon.min()), float(lat.min()), float(lon.max()), float(lat.max()))
        frame = LocalFrame((bounds[1] + bounds[3]) / 2, (bounds[0] + bounds[2]) / 2)
        step = source_T_px(self._project(frame), np.zeros(2), 0.0, 100.0, 100)[:, :2]
        tags, status = file.tags(), self._path.stat()
        content = f'{self._path.resolve()} {status.st_size} {status.st_mtime_ns}'
        return StoreInfo(
            path=str(self._path), format=file.driver, name=self._path.stem, bounds=bounds,
            gsd_m=float(1.0 / np.hypot(step[0], step[1]).min()), crs=crs,
            date=tags.get('TIFFTAG_DATETIME'), attribution=tags.get('TIFFTAG_COPYRIGHT', ''),
            offset_m=offset_m, digest=hashlib.sha256(content.encode()).hexdigest()[:16],
            warnings=tuple(w for w in (warning,) if w))


def open_raster(path: Path, *, crs: str | None, map_offset_m: tuple[float, float] | None,
                allow_remote: bool) -> RasterStore:
    """Open a raster as a map; see ``open_store``."""
    east, north = map_offset_m or (0.0, 0.0)
    return RasterStore(path, crs, (float(east), float(north)), allow_remote)
