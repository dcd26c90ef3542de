# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Tiles of all levels from one picture, each level halved from the one above it."""

from __future__ import annotations

from pathlib import Path
import sqlite3
from typing import Mapping, NamedTuple
import zlib

import cv2
from loc2_ros.maps.decode import encode_tile
from loc2_ros.maps.mercator import merc_lat_lon, merc_px, TILE_PX
from loc2_ros.maps.values import MapError
from loc2_ros.maps.warp import Array, Image, Project, source_T_px
import numpy as np

# Cubic interpolation reads two pixels to each side
_MARGIN_PX = 4


class Tile(NamedTuple):
    """A tile being made: colours and 0..255 of how much of a pixel the picture covers."""

    rgb: Image
    alpha: Image


class Picture(NamedTuple):
    """
    A picture and where it lies.

    :param alpha: (H, W) uint8, 255 where there is imagery.
    :param to_px: (N, 2) latitude and longitude, degrees -> picture pixels from its edges.
    :param outline: (N, 2) latitude and longitude of points along its edge.
    """

    rgb: Image
    alpha: Image
    gsd_m: float
    to_px: Project
    outline: Array


class Pyramid:
    """Builds tiles from the finest level down, one branch at a time to bound the memory."""

    def __init__(self, path: Path, picture: Picture, detail: int, top: int,
                 quality: int) -> None:
        self._picture, self._detail, self._quality = picture, detail, quality
        self.top = top
        self.counts: dict[int, int] = {}
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.executescript("""
            PRAGMA application_id = 0x4d504258;  -- MBTiles, as its specification asks
            PRAGMA journal_mode = OFF;
            CREATE TABLE metadata (name TEXT, value TEXT);
            CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,
                                tile_data BLOB);
            CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row);
            CREATE TABLE loc2_crc (z INTEGER, x INTEGER, y INTEGER, crc32 INTEGER);
            BEGIN;""")

    def build(self, bottom: int) -> None:
        """Write the levels from ``bottom`` to ``top``."""
        try:
            outline = merc_px(self._picture.outline[:, 0], self._picture.outline[:, 1],
                              bottom)
            low = np.floor(outline.min(axis=0) / TILE_PX).astype(int).tolist()
            high = np.floor(outline.max(axis=0) / TILE_PX).astype(int).tolist()
            for y in range(low[1], high[1] + 1):
                for x in range(low[0], high[0] + 1):
                    self._make(bottom, x, y)
            if not self.counts:
                raise MapError(f'the picture vanishes at zoom {self.top}; choose a finer one')
        except BaseException:
            self._database.close()
            raise

    def finish(self, rows: Mapping[str, str]) -> None:
        """Write the metadata and close."""
        self._database.executemany('INSERT INTO metadata VALUES (?, ?)', rows.items())
        self._database.execute('COMMIT')
        self._database.close()

    def _make(self, zoom: int, x: int, y: int) -> Tile | None:
        """Make a tile and all below it; None where the picture does not reach."""
        matrix = self._picture_T_tile(zoom, x, y)
        if not _touches(matrix, self._picture.rgb.shape):
            return None
        if zoom == self._detail:
            tile = _cut(self._picture, matrix)
        else:
            tile = _join([self._make(zoom + 1, 2 * x + dx, 2 * y + dy)
                          for dy in (0, 1) for dx in (0, 1)])
        if tile is None or not tile.alpha.any():
            return None
        if zoom <= self.top:
            self._store(zoom, x, y, encode_tile(tile.rgb, tile.alpha, self._quality))
        return tile

    def _picture_T_tile(self, zoom: int, x: int, y: int) -> Array:
        """Return the (2, 3) matrix from pixel centres of a tile to those of the picture."""
        def project(world_y_up: Array) -> Array:
            lat_lon = merc_lat_lon(world_y_up * (1.0, -1.0), zoom)
            return self._picture.to_px(np.stack(lat_lon, axis=1))

        centre = TILE_PX * np.array([x + 0.5, -(y + 0.5)])
        return source_T_px(project, centre, 0.0, TILE_PX, TILE_PX)

    def _store(self, zoom: int, x: int, y: int, blob: bytes) -> None:
        row = (1 << zoom) - 1 - y
        self._database.execute('INSERT INTO tiles VALUES (?, ?, ?, ?)', (zoom, x, row, blob))
        self._database.execute('INSERT INTO loc2_crc VALUES (?, ?, ?, ?)',
                               (zoom, x, y, zlib.crc32(blob)))
        self.counts[zoom] = self.counts.get(zoom, 0) + 1


def _touches(matrix: Array, shape: tuple[int, ...]) -> bool:
    """Return whether a tile's box in the picture overlaps the picture."""
    n = TILE_PX
    corners = matrix @ np.array([[-1, n, -1, n], [-1, -1, n, n], [1, 1, 1, 1]])
    low, high = corners.min(axis=1), corners.max(axis=1)
    # Coarse tiles are so large that the matrix bends; their box gets generous
    slack = 0.05 * (high - low)
    return bool(np.all(high + slack > 0) and np.all(low - slack < (shape[1], shape[0])))


def _cut(picture: Picture, matrix: Array) -> Tile | None:
    """Warp a tile out of the picture, from a window: OpenCV takes no side above 32767 px."""
    height, width = picture.alpha.shape
    n = TILE_PX
    corners = matrix @ np.array([[0, n, 0, n], [0, 0, n, n], [1, 1, 1, 1]])
    x0, y0 = np.clip(np.floor(corners.min(axis=1)).astype(int) - _MARGIN_PX, 0, None)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + _MARGIN_PX, (width, height))
    if x0 >= x1 or y0 >= y1:
        return None
    local = matrix - np.array([[0, 0, x0], [0, 0, y0]])
    flags = cv2.WARP_INVERSE_MAP
    rgb = cv2.warpAffine(picture.rgb[y0:y1, x0:x1], local, (n, n),
                         flags=flags | cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    alpha = cv2.warpAffine(picture.alpha[y0:y1, x0:x1], local, (n, n),
                           flags=flags | cv2.INTER_LINEAR)
    return Tile(np.asarray(rgb, np.uint8), np.asarray(alpha, np.uint8))


def _join(children: list[Tile | None]) -> Tile | None:
    """Halve four tiles into one; what is not covered takes no part in the colours."""
    if not any(children):
        return None
    n = TILE_PX
    rgb, alpha = np.zeros((2 * n, 2 * n, 3), np.float32), np.zeros((2 * n, 2 * n), np.float32)
    for k, child in enumerate(children):
        if child is not None:
            at = (slice(k // 2 * n, k // 2 * n + n), slice(k % 2 * n, k % 2 * n + n))
            rgb[at], alpha[at] = child.rgb, child.alpha
    colour = cv2.resize(rgb * alpha[..., None], (n, n), interpolation=cv2.INTER_AREA)
    cover = np.asarray(cv2.resize(alpha, (n, n), interpolation=cv2.INTER_AREA))
    mean = np.asarray(colour) / np.maximum(cover, 1e-3)[..., None]
    # Rounded down, so that 255 means that all four pixels are whole
    return Tile(np.clip(np.rint(mean), 0, 255).astype(np.uint8), cover.astype(np.uint8))


def inner(alpha: Image) -> Image:
    """Return 255 where the neighbours are imagery too, so that holes colour nothing."""
    whole = np.where(alpha == 255, np.uint8(255), np.uint8(0))
    return np.asarray(cv2.erode(whole, np.ones((3, 3), np.uint8)), np.uint8)
