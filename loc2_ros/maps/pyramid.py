# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Tiles of all levels from imagery, each level halved from the one above it."""

from __future__ import annotations

from typing import Callable, Iterator, NamedTuple, Protocol

import cv2
from loc2_ros.maps.decode import encode_tile
from loc2_ros.maps.mercator import merc_lat_lon, merc_px, TILE_PX
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.values import MapError
from loc2_ros.maps.warp import Array, Image, Project, source_T_px
import numpy as np

# Cubic interpolation reads two pixels to each side
MARGIN_PX = 4
# (zoom, x, y) -> whether a tile is wanted at all
Wanted = Callable[[int, int, int], bool]
# (tile that is there, new one) -> what to keep
Merge = Callable[[bytes, bytes], bytes]


class Tile(NamedTuple):
    """A tile being made: colours and 0..255 of how much of a pixel the imagery covers."""

    rgb: Image
    alpha: Image


class Imagery(Protocol):
    """
    Pictures with a place, to be cut into tiles.

    :ivar gsd_m: ground size of its pixels.
    :ivar outline: (N, 2) latitude and longitude, degrees, of points along its edge.
    """

    @property
    def gsd_m(self) -> float:
        """Return the ground size of the finest pixels."""

    @property
    def outline(self) -> Array:
        """Return points along the edge."""

    def touches(self, zoom: int, x: int, y: int) -> bool:
        """Return whether a tile may hold something."""

    def cut(self, zoom: int, x: int, y: int) -> Tile | None:
        """Return a tile, None where there is nothing."""


class Picture(NamedTuple):
    """
    A picture in memory and where it lies; is ``Imagery``.

    :param alpha: (H, W) uint8, 255 where there is imagery.
    :param to_px: (N, 2) latitude and longitude, degrees -> picture pixels from its edges.
    :param outline: (N, 2) latitude and longitude of points along its edge.
    """

    rgb: Image
    alpha: Image
    gsd_m: float
    to_px: Project
    outline: Array

    def touches(self, zoom: int, x: int, y: int) -> bool:
        """Return whether a tile's box in the picture overlaps the picture."""
        n = TILE_PX
        matrix = source_T_tile(self.to_px, zoom, x, y)
        corners = matrix @ np.array([[-1, n, -1, n], [-1, -1, n, n], [1, 1, 1, 1]])
        low, high = corners.min(axis=1), corners.max(axis=1)
        # Coarse tiles are so large that the matrix bends; their box gets generous
        slack = 0.05 * (high - low)
        height, width = self.alpha.shape
        return bool(np.all(high + slack > 0) and np.all(low - slack < (width, height)))

    def cut(self, zoom: int, x: int, y: int) -> Tile | None:
        """Return a tile, None where there is nothing."""
        height, width = self.alpha.shape
        return cut_tile(self.rgb, self.alpha, (0, 0), (width, height),
                        source_T_tile(self.to_px, zoom, x, y))


class Pyramid:
    """
    Builds tiles branch by branch, which bounds the memory and is what a later run skips.

    :param detail: the level to cut at; from ``top`` on down they are stored.
    :param wanted: which tiles at all.
    :param merge: what to do where the file has a tile already; the new one wins without it.
    """

    def __init__(self, file: TileFile, imagery: Imagery, detail: int, top: int, quality: int,
                 all_webp: bool = False, wanted: Wanted = lambda zoom, x, y: True,
                 merge: Merge | None = None) -> None:
        self._file, self._imagery, self._detail = file, imagery, detail
        self._quality, self._all_webp, self._wanted = quality, all_webp, wanted
        self._merge = merge
        self.top = top

    def branches(self, bottom: int) -> list[tuple[int, int]]:
        """Return the tiles of the coarsest level that have to be made."""
        outline = merc_px(self._imagery.outline[:, 0], self._imagery.outline[:, 1], bottom)
        low = np.floor(outline.min(axis=0) / TILE_PX).astype(int).tolist()
        high = np.floor(outline.max(axis=0) / TILE_PX).astype(int).tolist()
        return [(x, y) for y in range(low[1], high[1] + 1) for x in range(low[0], high[0] + 1)
                if self._wanted(bottom, x, y) and self._imagery.touches(bottom, x, y)]

    def build(self, bottom: int) -> Iterator[int]:
        """Write the levels from ``bottom`` to ``top``; yields after each branch."""
        for number, (x, y) in enumerate(self.branches(bottom)):
            if not self._file.done(bottom, x, y):
                self._make(bottom, x, y)
                self._file.set_done(bottom, x, y)
            yield number + 1
        if not self._file.counts():
            raise MapError(f'the imagery vanishes at zoom {self.top}; choose a finer one')

    def _make(self, zoom: int, x: int, y: int) -> Tile | None:
        """Make a tile and all below it; None where the imagery does not reach."""
        if not (self._imagery.touches(zoom, x, y) and self._wanted(zoom, x, y)):
            return None
        if zoom == self._detail:
            tile = self._imagery.cut(zoom, x, y)
        else:
            tile = _join([self._make(zoom + 1, 2 * x + dx, 2 * y + dy)
                          for dy in (0, 1) for dx in (0, 1)])
        if tile is None or not tile.alpha.any():
            return None
        # Without one whole pixel it could never show anything
        if zoom <= self.top and bool(np.any(tile.alpha == 255)):
            blob = encode_tile(tile.rgb, tile.alpha, self._quality, self._all_webp)
            there = self._file.get(zoom, x, y) if self._merge is not None else None
            if there is not None and self._merge is not None:
                blob = self._merge(there, blob)
            self._file.put(zoom, x, y, blob)
        return tile


def source_T_tile(to_px: Project, zoom: int, x: int, y: int, tiles: int = 1) -> Array:
    """
    Return the (2, 3) matrix from pixel centres of a tile to those of the source.

    :param to_px: (N, 2) latitude and longitude, degrees -> source pixels from their edges.
    :param tiles: side of a square of tiles whose upper left one is (x, y).
    """
    def project(world_y_up: Array) -> Array:
        lat_lon = merc_lat_lon(world_y_up * (1.0, -1.0), zoom)
        return to_px(np.stack(lat_lon, axis=1))

    side = TILE_PX * tiles
    centre = np.array([TILE_PX * x + side / 2, -(TILE_PX * y + side / 2)])
    return source_T_px(project, centre, 0.0, side, side)


def cut_tile(rgb: Image, alpha: Image, origin: tuple[int, int], size: tuple[int, int],
             matrix: Array) -> Tile | None:
    """
    Warp a tile out of a part of a source.

    :param rgb: (h, w, 3), ``alpha`` (h, w): the part; ``origin`` its first column and row.
    :param size: columns and rows of the whole source.
    :param matrix: pixel centres of the tile -> those of the whole source.

    A window is cut first: OpenCV takes no side above 32767 px. The source ends at the edges of
    its outer pixels, so that neighbouring files leave no seam.
    """
    n, (height, width) = TILE_PX, alpha.shape
    corners = matrix @ np.array([[0, n - 1, 0, n - 1], [0, 0, n - 1, n - 1], [1, 1, 1, 1]])
    low, high = corners.min(axis=1), corners.max(axis=1)
    if np.any(high < -0.5) or np.any(low > np.array(size) - 0.5):
        return None
    x0, y0 = np.clip(np.floor(low).astype(int) - MARGIN_PX - origin, 0, None)
    x1, y1 = np.minimum(np.ceil(high).astype(int) + MARGIN_PX + 1 - origin, (width, height))
    if x0 >= x1 or y0 >= y1:
        return None
    local = matrix - np.array([[0, 0, x0 + origin[0]], [0, 0, y0 + origin[1]]])
    flags = cv2.WARP_INVERSE_MAP
    colour = cv2.warpAffine(rgb[y0:y1, x0:x1], local, (n, n), flags=flags | cv2.INTER_CUBIC,
                            borderMode=cv2.BORDER_REPLICATE)
    cover = np.asarray(cv2.warpAffine(alpha[y0:y1, x0:x1], local, (n, n),
                                      flags=flags | cv2.INTER_LINEAR,
                                      borderMode=cv2.BORDER_REPLICATE), np.uint8)
    if np.any(low < -0.5) or np.any(high > np.array(size) - 0.5):
        u, v = np.meshgrid(np.arange(n), np.arange(n))
        at = np.einsum('ij,jhw->ihw', matrix, np.stack([u, v, np.ones_like(u)]))    # (2, n, n)
        inside = np.all((at >= -0.5) & (at <= np.array(size)[:, None, None] - 0.5), axis=0)
        cover = np.where(inside, cover, np.uint8(0))
    return Tile(np.asarray(colour, np.uint8), cover)


def _join(children: list[Tile | None]) -> Tile | None:
    """Halve four tiles into one; what is not covered takes no part in the colours."""
    if not any(children):
        return None
    n = TILE_PX
    rgb, alpha = np.zeros((2 * n, 2 * n, 3), np.uint8), np.zeros((2 * n, 2 * n), np.uint8)
    for k, child in enumerate(children):
        if child is not None:
            at = (slice(k // 2 * n, k // 2 * n + n), slice(k % 2 * n, k % 2 * n + n))
            rgb[at], alpha[at] = child.rgb, child.alpha
    if bool(np.all(alpha == 255)):
        half = cv2.resize(rgb, (n, n), interpolation=cv2.INTER_AREA)
        return Tile(np.asarray(half, np.uint8), np.full((n, n), 255, np.uint8))
    weight = alpha.astype(np.float32)
    colour = cv2.resize(rgb * weight[..., None], (n, n), interpolation=cv2.INTER_AREA)
    cover = np.asarray(cv2.resize(weight, (n, n), interpolation=cv2.INTER_AREA))
    mean = np.asarray(colour) / np.maximum(cover, 1e-3)[..., None]
    # Rounded down, so that 255 means that all four pixels are whole
    return Tile(np.clip(np.rint(mean), 0, 255).astype(np.uint8), cover.astype(np.uint8))


def inner(alpha: Image) -> Image:
    """Return 255 where the neighbours are imagery too, so that holes colour nothing."""
    whole = np.where(alpha == 255, np.uint8(255), np.uint8(0))
    return np.asarray(cv2.erode(whole, np.ones((3, 3), np.uint8)), np.uint8)
