# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A WMS asked in large pieces of its own system, which are warped here.

The pieces lie on a fixed grid of the system, so that a later run finds those it has.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
from loc2_ros.maps.area import Area
from loc2_ros.maps.decode import to_patch
from loc2_ros.maps.guard import BadTile, peek
from loc2_ros.maps.imagery import outline_of, Recent, WindowImagery
from loc2_ros.maps.mercator import coarse_gsd_m, merc_lat_lon, TILE_PX
from loc2_ros.maps.template import Template
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.values import MapError
from loc2_ros.maps.warp import Array, Patch, Window
import numpy as np

CELL_PX = 2048
MAX_CELL_BYTES = 32 << 20
_METRES_PER_DEGREE = 111_320.0
_WORLD_M = 40075016.685578488
_CUBIC_MARGIN_PX = 16


class _Affine(NamedTuple):
    """From pixels to a system, as rasterio names it."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float


class Grid:
    """
    The grid of pieces of a system.

    :param gsd: size of a pixel in units of the system.
    """

    def __init__(self, crs: str, zoom: int, lat_deg: float) -> None:
        try:
            import pyproj
        except ImportError as error:
            raise MapError("a WMS needs the extra 'geo'; pip install 'loc2_ros[geo]'") from error
        try:
            system = pyproj.CRS.from_user_input(crs)
        except pyproj.exceptions.CRSError as error:
            raise MapError(f'the coordinate system {crs} is unknown; give --crs EPSG:25832, '
                           'for one') from error
        self.crs, self._to = crs, pyproj.Transformer.from_crs('EPSG:4326', system,
                                                              always_xy=True)
        # WMS 1.3.0 writes boxes in the order of the system's own axes
        self._north_first = system.axis_info[0].direction.lower() == 'north'
        self.gsd = (_WORLD_M / (TILE_PX << zoom) if system.to_epsg() == 3857
                    else coarse_gsd_m(lat_deg, zoom) / (
                        _METRES_PER_DEGREE if system.is_geographic else 1.0))
        self._side = CELL_PX * self.gsd

    def cells(self, area: Area, zoom: int) -> list[tuple[int, int]]:
        """Return column and row, counted from the south, of the pieces under an area."""
        tiles = np.array(area.tiles(zoom), np.float64)                       # (N, 2)
        steps = np.array([(u, v) for u in (0, 0.5, 1) for v in (0, 0.5, 1)])
        world = (tiles[:, None] + steps).reshape(-1, 2)
        lat, lon = merc_lat_lon(world, zoom, 1)
        xy = np.stack(self._to.transform(lon, lat), axis=1)
        if not np.all(np.isfinite(xy)):
            raise MapError(f'{self.crs} does not reach to the area; give another --crs')
        margin = _CUBIC_MARGIN_PX * self.gsd
        found = {tuple(cell) for shift in (-margin, margin)
                 for cell in np.floor((xy + shift) / self._side).astype(int).tolist()}
        return sorted((int(i), int(j)) for i, j in found)

    def url(self, template: Template, cell: tuple[int, int]) -> str:
        """Return the address of a piece."""
        west, south = cell[0] * self._side, cell[1] * self._side
        east, north = west + self._side, south + self._side
        old = 'version=1.1' in template.text.lower()
        box = ((south, west, north, east) if self._north_first and not old
               else (west, south, east, north))
        return template.piece(box, self.crs, CELL_PX, CELL_PX)

    def imagery(self, file: TileFile, cells: list[tuple[int, int]]) -> CellImagery:
        """Return the pieces that have come as imagery."""
        at = np.array(cells)
        low, high = at.min(axis=0), at.max(axis=0) + 1
        size = tuple(((high - low) * CELL_PX).tolist())
        corner = (float(low[0] * self._side), float(high[1] * self._side))

        def to_px(lat_lon: Array) -> Array:
            x, y = self._to.transform(lat_lon[:, 1], lat_lon[:, 0])
            return np.stack([(x - corner[0]) / self.gsd, (corner[1] - y) / self.gsd], axis=1)

        transform = _Affine(self.gsd, 0.0, corner[0], 0.0, -self.gsd, corner[1])
        outline = outline_of(self._to, transform, size, self.crs)
        return CellImagery(file, (int(low[0]), int(high[1])), size, to_px, outline)


class CellImagery(WindowImagery):
    """Pieces in a part, as one large picture."""

    def __init__(self, file: TileFile, corner: tuple[int, int], size: Any, to_px: Any,
                 outline: Array) -> None:
        self._file, self._corner, self._pieces = file, corner, Recent(6)
        super().__init__('the pieces of the service', size, to_px, outline, Recent(2))

    def _read(self, need: Window) -> Patch | None:
        rgb = np.zeros((need.y1 - need.y0, need.x1 - need.x0, 3), np.uint8)
        opaque = np.zeros(rgb.shape[:2], np.uint8)
        for row in range(need.y0 // CELL_PX, (need.y1 - 1) // CELL_PX + 1):
            for column in range(need.x0 // CELL_PX, (need.x1 - 1) // CELL_PX + 1):
                cell = (self._corner[0] + column, self._corner[1] - 1 - row)
                patch = self._pieces.get(cell, lambda: self._piece(cell))
                if patch is None:
                    continue
                x0, y0 = max(need.x0, column * CELL_PX), max(need.y0, row * CELL_PX)
                x1, y1 = (min(need.x1, (column + 1) * CELL_PX),
                          min(need.y1, (row + 1) * CELL_PX))
                part = (slice(y0 - row * CELL_PX, y1 - row * CELL_PX),
                        slice(x0 - column * CELL_PX, x1 - column * CELL_PX))
                at = (slice(y0 - need.y0, y1 - need.y0), slice(x0 - need.x0, x1 - need.x0))
                rgb[at] = patch.rgb[part]
                opaque[at] = 255 if patch.opaque is None else patch.opaque[part]
        return Patch(rgb, opaque) if opaque.any() else None

    def _piece(self, cell: tuple[int, int]) -> Patch | None:
        row = self._file.execute('SELECT data FROM loc2_cell WHERE z=0 AND x=? AND y=?',
                                 cell).fetchone()
        return None if row is None else decode_cell(row[0])


def check_cell(blob: bytes) -> None:
    """Raise BadTile for what is no piece of the size that was asked for, without decoding it."""
    header = peek(blob)
    if header is None:
        raise BadTile(f'no image but {blob[:80].decode("ascii", "replace")!r}')
    if (header.width, header.height) != (CELL_PX, CELL_PX) or not header.whole:
        raise BadTile(f'{header.width}x{header.height} px or cut off, asked for {CELL_PX} squared')


def decode_cell(blob: bytes) -> Patch:
    """Return the pixels of a piece that passed the check."""
    check_cell(blob)
    raw = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_UNCHANGED)
    if raw is None or raw.shape[:2] != (CELL_PX, CELL_PX) or raw.dtype != np.uint8:
        raise MapError('a piece of the service does not decode; remove the .part and fetch again')
    return to_patch(np.asarray(raw, np.uint8))
