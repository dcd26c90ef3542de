# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Raster files as something to cut tiles from, read in large windows, earlier files on top."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from typing import Any, Callable, Hashable, Sequence

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.geo import alpha_band, Geo, IMPORT_DRIVERS, pixels_of, read_patch
from loc2_ros.maps.mercator import merc_px, MERCATOR_END_DEG, TILE_PX
from loc2_ros.maps.pyramid import cut_tile, Imagery, inner, MARGIN_PX, source_T_tile, Tile
from loc2_ros.maps.values import MapError
from loc2_ros.maps.warp import Array, Patch, source_T_px, Window
import numpy as np

# Tiles whose ground is read at once, per side
_METATILE = 8
_SHELF = 8
_EDGE_POINTS = 33


class Recent:
    """The few things used last: open files and pixels are both too dear to keep all of."""

    def __init__(self, room: int = _SHELF) -> None:
        self._room = room
        self._things: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """Return a thing, made now if it was not used lately."""
        if key not in self._things:
            while len(self._things) >= self._room:
                _close(self._things.popitem(last=False)[1])
            self._things[key] = make()
        self._things.move_to_end(key)
        return self._things[key]

    def clear(self) -> None:
        """Close what is open."""
        while self._things:
            _close(self._things.popitem()[1])


def _close(thing: Any) -> None:
    if hasattr(thing, 'close'):
        thing.close()


class WindowImagery(ABC):
    """
    Imagery of which windows can be read in its own pixels; is ``Imagery``.

    :ivar name: what it is, for messages.
    :param to_px: (N, 2) latitude and longitude, degrees -> its pixels from the edges.
    """

    def __init__(self, name: str, size: tuple[int, int], to_px: Callable[[Array], Array],
                 outline: Array, shelf: Recent) -> None:
        self.name, self._size, self._to_px, self._shelf = name, size, to_px, shelf
        self.outline = outline
        end = MERCATOR_END_DEG
        world = merc_px(np.clip(outline[:, 0], -end, end), outline[:, 1], 0, 1)     # 0..1
        self._low, self._high = world.min(axis=0), world.max(axis=0)
        self.gsd_m = self._find_gsd()

    def touches(self, zoom: int, x: int, y: int) -> bool:
        """Return whether a tile overlaps the box around the imagery."""
        low = np.array([x, y]) / (1 << zoom)
        return bool(np.all(low < self._high) and np.all(low + 1 / (1 << zoom) > self._low))

    def cut(self, zoom: int, x: int, y: int) -> Tile | None:
        """Return a tile, None where there is nothing."""
        if not self.touches(zoom, x, y):
            return None
        at = (zoom, x // _METATILE, y // _METATILE)
        found = self._shelf.get((id(self), at), lambda: self._metatile(*at))
        if found is None:
            return None
        (rgb, opaque), origin = found
        return cut_tile(rgb, opaque, origin, self._size,
                        source_T_tile(self._to_px, zoom, x, y))

    @abstractmethod
    def _read(self, need: Window) -> Patch | None:
        """Return the pixels of a window within the imagery, None where there is nothing."""

    def _metatile(self, zoom: int, x: int, y: int) -> Any:
        """Return colours and mask under a square of tiles, and the first column and row."""
        matrix = source_T_tile(self._to_px, zoom, x * _METATILE, y * _METATILE, _METATILE)
        if not np.all(np.isfinite(matrix)):
            return None         # PROJ answers with infinity where the system does not reach
        n = TILE_PX * _METATILE
        corners = matrix @ np.array([[0, n, 0, n], [0, 0, n, n], [1, 1, 1, 1]])
        # One matrix for a metatile bends by less than this from those of its tiles
        slack = MARGIN_PX + 8
        low = np.floor(corners.min(axis=1)).astype(int) - slack
        high = np.ceil(corners.max(axis=1)).astype(int) + slack
        need = Window(max(0, int(low[0])), max(0, int(low[1])),
                      min(self._size[0], int(high[0])), min(self._size[1], int(high[1])))
        if need.x0 >= need.x1 or need.y0 >= need.y1:
            return None
        patch = self._read(need)
        if patch is None:
            return None
        opaque = (np.full(patch.rgb.shape[:2], 255, np.uint8) if patch.opaque is None
                  else inner(patch.opaque))
        return (patch.rgb, opaque), (need.x0, need.y0)

    def _find_gsd(self) -> float:
        lat, lon = self.outline.min(axis=0) / 2 + self.outline.max(axis=0) / 2
        frame = LocalFrame(float(lat), float(lon))
        step = source_T_px(lambda xy: self._to_px(np.stack(frame.inverse(xy), axis=1)),
                           np.zeros(2), 0.0, 100.0, 100)[:, :2]
        lengths = np.hypot(step[0], step[1])
        if not np.all(np.isfinite(lengths)) or not np.all(lengths > 0):
            raise MapError(f'{self.name} lies outside its coordinate system; give the right crs')
        return float(1.0 / lengths.max())


class RasterImagery(WindowImagery):
    """
    One raster file.

    :param path: a file, or ``/vsizip/...`` and a member.
    :param crs: takes the place of what the file says.
    :param empty: value of all bands where there is no imagery.
    :param files: keeps files open; ``shelf`` keeps pixels.
    :raises MapError: if it is no 8-bit imagery with a known place.
    """

    def __init__(self, geo: Geo, path: str, crs: str | None, empty: int | None,
                 files: Recent, shelf: Recent) -> None:
        self._geo, self._path, self._empty, self._files = geo, path, empty, files
        file = self._file()
        with geo.safe():
            self._alpha = alpha_band(path, file)
        self.crs = str(crs or file.crs)
        to_crs, warning = geo.transformer(path, crs or file.crs)
        if file.transform.is_identity:
            raise MapError(f'{path} does not say where it lies; put its world file (.tfw, .jgw) '
                           'beside it')
        self.warnings = [f'{path}: {warning}'] if warning else []
        to_px = ~file.transform
        size = (file.width, file.height)
        self.date = file.tags().get('TIFFTAG_DATETIME')
        self.attribution = file.tags().get('TIFFTAG_COPYRIGHT', '')
        super().__init__(path, size, lambda at: pixels_of(to_crs, to_px, at[:, 0], at[:, 1]),
                         outline_of(to_crs, file.transform, size, path), shelf)

    def _file(self) -> Any:
        return self._files.get(self._path, lambda: self._geo.dataset(
            self._path, IMPORT_DRIVERS))

    def _read(self, need: Window) -> Patch | None:
        window = ((need.y0, need.y1), (need.x0, need.x1))
        try:
            with self._geo.safe():
                return read_patch(self._geo, self._file(), window,
                                  (need.y1 - need.y0, need.x1 - need.x0), self._alpha,
                                  self._empty)
        except self._geo.errors as error:
            raise MapError(f'{self._path} is damaged ({error}); fetch it again') from error


class Mosaic:
    """Several pieces of imagery, the earlier on top of the later; is ``Imagery``."""

    def __init__(self, pieces: Sequence[Imagery]) -> None:
        self._pieces = pieces
        self.gsd_m = min(piece.gsd_m for piece in pieces)
        self.outline = np.concatenate([piece.outline for piece in pieces])

    def touches(self, zoom: int, x: int, y: int) -> bool:
        """Return whether any piece does."""
        return any(piece.touches(zoom, x, y) for piece in self._pieces)

    def cut(self, zoom: int, x: int, y: int) -> Tile | None:
        """Return a tile put together of all pieces."""
        tile: Tile | None = None
        for piece in self._pieces:
            if tile is not None and bool(np.all(tile.alpha == 255)):
                break
            tile = over(tile, piece.cut(zoom, x, y))
        return tile


def over(upper: Tile | None, lower: Tile | None) -> Tile | None:
    """Lay a tile over another: the lower one shows where it covers more of a pixel."""
    if upper is None or lower is None:
        return upper or lower
    through = (upper.alpha < 255) & (lower.alpha > upper.alpha)
    if not through.any():
        return upper
    return Tile(np.where(through[..., None], lower.rgb, upper.rgb),
                np.where(through, lower.alpha, upper.alpha))


def outline_of(to_crs: Any, transform: Any, size: tuple[int, int], name: str) -> Array:
    """Return latitude and longitude of points along the edge of a raster, (N, 2)."""
    t = np.linspace(0.0, 1.0, _EDGE_POINTS)
    zero, one = np.zeros_like(t), np.ones_like(t)
    column = np.concatenate([t, t, zero, one]) * size[0]
    row = np.concatenate([zero, one, t, t]) * size[1]
    lon, lat = to_crs.transform(transform.a * column + transform.b * row + transform.c,
                                transform.d * column + transform.e * row + transform.f,
                                direction='INVERSE')
    if not np.all(np.isfinite([lon, lat])):
        raise MapError(f'{name} lies outside its coordinate system; give the right crs')
    return np.stack([lat, lon], axis=1)
