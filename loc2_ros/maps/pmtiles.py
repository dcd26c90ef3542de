# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Raster tiles in a PMTiles archive, version 3; to be imported, not to drive with.

After the specification at github.com/protomaps/PMTiles: a header of 127 bytes, directories of
variable-length integers, tiles numbered along a Hilbert curve.
"""

from __future__ import annotations

from pathlib import Path
import struct
from typing import Iterator, Mapping
import zlib

from loc2_ros.maps.guard import BadTile, MAX_TILE_BYTES
from loc2_ros.maps.tiles import MAX_ZOOM, tile_size
from loc2_ros.maps.values import MapError

_HEADER_BYTES = 127
_MAX_DIRECTORY_BYTES = 256 << 20
# Of directories and tiles together: what fits into memory, and an end to directories in circles
_MAX_ENTRIES = 5_000_000
_RASTER_TYPES = {2: 'png', 3: 'jpg', 4: 'webp'}
_NONE, _GZIP = 1, 2
_SAMPLES = 8


class PmTiles:
    """Tiles of an archive; see ``TileSource``."""

    format = 'pmtiles'  # noqa: A003

    def __init__(self, path: Path) -> None:
        self._path = path
        self.warnings: list[str] = []
        try:
            self._file = path.open('rb')
        except OSError as error:
            raise MapError(f'{path} cannot be read ({error.strerror}); check the path and its '
                           'permissions') from error
        try:
            self._read_header()
            self._left = _MAX_ENTRIES
            self._places = dict(self._entries(self._root[0], self._root[1], 0))
        except (struct.error, IndexError, zlib.error, ValueError, OSError,
                OverflowError) as error:
            self._file.close()
            raise MapError(f'{path} is damaged ({error}); fetch it again') from error
        except MapError:
            self._file.close()
            raise
        self.zooms = tuple(sorted({zoom for zoom, _, _ in self._places}))
        if not self.zooms:
            raise MapError(f'{path} holds no tiles; fetch it again')
        some = [key for key in self._places if key[0] == self.zooms[-1]][:_SAMPLES]
        self.tile_px = tile_size([self._sample(key) for key in some]) or 256

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return the file of a tile or None."""
        place = self._places.get((zoom, x, y))
        if place is None:
            return None
        if place[1] > MAX_TILE_BYTES:
            raise BadTile(f'the tile has {place[1]} bytes, more than {MAX_TILE_BYTES}')
        try:
            return self._bytes(self._data + place[0], place[1])
        except (OSError, OverflowError, ValueError) as error:
            raise BadTile(f'the archive is damaged: {error}') from error

    def _sample(self, key: tuple[int, int, int]) -> bytes | None:
        try:
            return self.read(*key)
        except BadTile:
            return None

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the archive has the tile."""
        return (zoom, x, y) in self._places

    def keys(self) -> Iterator[tuple[int, int, int]]:
        """List all tiles."""
        return iter(self._places)

    def digest(self) -> str:
        """Return a text that changes with the content."""
        return f'{zlib.crc32(repr(self._head).encode()):08x}'

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _read_header(self) -> None:
        self._head = self._bytes(0, _HEADER_BYTES)
        if self._head[:7] != b'PMTiles' or self._head[7] != 3:
            raise MapError(f'{self._path} is no PMTiles archive of version 3; convert it')
        offsets = struct.unpack('<8Q', self._head[8:72])
        self._root, self._leaves, self._data = offsets[0:2], offsets[4], offsets[6]
        self._packing, packed, kind = self._head[97], self._head[98], self._head[99]
        if kind not in _RASTER_TYPES:
            raise MapError(f'{self._path} holds no PNG, JPEG or WebP tiles; give a map with '
                           'imagery')
        if self._packing not in (_NONE, _GZIP) or packed not in (0, _NONE):
            raise MapError(f'{self._path} is packed in a way that is not known here; convert it '
                           'to MBTiles')
        west, south, east, north = (n / 1e7 for n in struct.unpack('<4i', self._head[102:118]))
        self.metadata: Mapping[str, str] = {
            'name': self._path.stem, 'format': _RASTER_TYPES[kind],
            'bounds': f'{west},{south},{east},{north}'}

    def _bytes(self, offset: int, count: int) -> bytes:
        self._file.seek(offset)
        data = self._file.read(count)
        if len(data) != count:
            raise ValueError('it ends too early')
        return data

    def _entries(self, offset: int, length: int, depth: int,
                 ) -> Iterator[tuple[tuple[int, int, int], tuple[int, int]]]:
        """Yield (zoom, x, y) and (offset, length) of a directory and those below it."""
        if length > _MAX_DIRECTORY_BYTES or depth > 3:
            raise ValueError('a directory is too large or nested too deeply')
        data = self._bytes(offset, length)
        if self._packing == _GZIP:
            unpacker = zlib.decompressobj(31)
            data = unpacker.decompress(data, _MAX_DIRECTORY_BYTES)
        number, runs, lengths, offsets = _directory(data)
        for tile, run, size, start in zip(number, runs, lengths, offsets):
            self._left -= max(run, 1)
            if self._left < 0:
                raise ValueError(f'it claims more than {_MAX_ENTRIES} tiles')
            if run == 0:
                yield from self._entries(self._leaves + start, size, depth + 1)
            else:
                for k in range(run):
                    yield tile_of(tile + k), (start, size)


def _directory(data: bytes) -> tuple[list[int], list[int], list[int], list[int]]:
    """Return tile numbers, run lengths, lengths and offsets."""
    numbers = _varints(data)
    count = next(numbers)
    if count > len(data):
        raise ValueError('a directory claims more entries than it has bytes')
    tiles, last = [], 0
    for _ in range(count):
        last += next(numbers)
        tiles.append(last)
    runs = [next(numbers) for _ in range(count)]
    lengths = [next(numbers) for _ in range(count)]
    offsets: list[int] = []
    for k in range(count):
        value = next(numbers)
        # 0 means: right behind the one before
        offsets.append(offsets[-1] + lengths[k - 1] if value == 0 and k else value - 1)
    return tiles, runs, lengths, offsets


def _varints(data: bytes) -> Iterator[int]:
    at = 0
    while True:
        value = shift = 0
        while True:
            byte = data[at]         # IndexError: the directory is cut off
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
            if shift > 63:
                raise ValueError('a number in a directory does not end')
        yield value


def tile_of(number: int) -> tuple[int, int, int]:
    """Return (zoom, x, y) of a tile number: levels one after the other, Hilbert order inside."""
    zoom = 0
    while number >= 1 << 2 * zoom:
        number -= 1 << 2 * zoom
        zoom += 1
        if zoom > MAX_ZOOM:
            raise ValueError(f'a tile lies beyond zoom {MAX_ZOOM}')
    x = y = 0
    for k in range(zoom):
        side = 1 << k
        right = 1 & (number >> 1)
        down = 1 & (number ^ right)
        if not down:
            if right:
                x, y = side - 1 - x, side - 1 - y
            x, y = y, x
        x, y = x + side * right, y + side * down
        number >>= 2
    return zoom, x, y
