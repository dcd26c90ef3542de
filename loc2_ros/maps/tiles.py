# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Where tiles come from: an MBTiles file here, a folder of image files in ``folder``.

Both answer one question, ``read(z, x, y)``, with y counted from the north whatever the store
does inside. Nothing is ever listed in full: a country has millions of tiles.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
import sqlite3
from typing import Any, Iterator, Mapping, Protocol

from loc2_ros.maps.guard import BadTile, check_tile
from loc2_ros.maps.sqlite_file import NoAnswer, SqliteFile
from loc2_ros.maps.values import MapError

MAX_ZOOM = 24
_CHECK_S = 0.2
_SAMPLES = 8


class TileSource(Protocol):
    """
    A store of tiles.

    :ivar zooms: levels that hold anything.
    :ivar tile_px: width of a tile; 256 when no tile could be read.
    :ivar metadata: the standard MBTiles names, all text.
    :ivar warnings: one sentence each.
    """

    format: str  # noqa: A003
    zooms: tuple[int, ...]
    tile_px: int
    metadata: Mapping[str, str]
    warnings: list[str]

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return the file of a tile or None; :raises BadTile: if the store is damaged there."""

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the store has the tile, without reading it."""

    def keys(self) -> Iterator[tuple[int, int, int]]:
        """List all tiles, (zoom, x, y); for tools, never while driving."""

    def digest(self) -> str:
        """Return a text that changes with the content."""

    def close(self) -> None:
        """Release files."""


def own_row(metadata: Mapping[str, str]) -> dict[str, Any]:
    """Return the JSON row that our writer leaves; empty without one, and where it is nonsense."""
    try:
        own = json.loads(metadata.get('loc2', '{}'))
    except (RecursionError, ValueError):
        return {}
    return own if isinstance(own, dict) else {}


def is_place(zoom: int, x: int, y: int) -> bool:
    """Return whether the world has such a tile."""
    return 0 <= zoom <= MAX_ZOOM and 0 <= min(x, y) and max(x, y) < 1 << zoom


def tile_size(blobs: list[Any]) -> int | None:
    """Return the width of the first sound tile."""
    for blob in blobs:
        try:
            return check_tile(blob).width
        except BadTile:
            continue
    return None


class MBTiles:
    """Tiles in one SQLite file; ``tiles`` may be a table or a view, rows count from the south."""

    format = 'mbtiles'  # noqa: A003

    def __init__(self, path: Path, scheme: str = 'tms') -> None:
        self._path = path
        self._flip = scheme == 'tms'
        self.warnings: list[str] = []
        self._file = SqliteFile(path)
        log = path.with_name(path.name + '-wal')
        if log.is_file() and log.stat().st_size > 0:
            # immutable reads the file alone; asking SQLite to look into the log would write
            self.warnings.append(f'the map is being written, or a writer was killed: what is in '
                                 f'{log.name} is not seen; finish writing it and open it again')
        try:
            self.metadata: Mapping[str, str] = self._read_metadata()
            self.zooms = self._find_zooms()
            self.tile_px = self._find_tile_px()
            self._quick_check()
        except sqlite3.Error as error:
            self.close()
            raise self._unusable(error) from error
        except MapError:
            self.close()
            raise

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return the file of a tile or None."""
        row = self._one('SELECT tile_data FROM tiles WHERE zoom_level=? AND tile_column=? '
                        'AND tile_row=?', zoom, x, y)
        if row is None or isinstance(row[0], bytes):
            return row[0] if row else None
        raise BadTile('the tile is no blob')

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the store has the tile."""
        try:
            return self._one('SELECT 1 FROM tiles WHERE zoom_level=? AND tile_column=? '
                             'AND tile_row=?', zoom, x, y) is not None
        except BadTile:
            return False

    def keys(self) -> Iterator[tuple[int, int, int]]:
        """List all tiles; :raises MapError: where the index is damaged."""
        try:
            for zoom, x, row in self._file.stream(
                    'SELECT zoom_level, tile_column, tile_row FROM tiles'):
                if all(isinstance(n, int) for n in (zoom, x, row)) and is_place(zoom, x, row):
                    yield zoom, x, (1 << zoom) - 1 - row if self._flip else row
        except sqlite3.Error as error:
            raise self._unusable(error) from error

    def whole_check(self) -> list[str]:
        """Return what SQLite finds wrong with the whole file."""
        try:
            found = [str(row[0]) for row in self._file.rows('PRAGMA quick_check(20)',
                                                            within_s=math.inf)]
        except sqlite3.Error as error:
            return [str(error)]
        return [] if found == ['ok'] else found

    def checksums(self) -> dict[tuple[int, int, int], int]:
        """Return the checksums that our writer left; empty for other files."""
        try:
            return {(z, x, y): crc for z, x, y, crc in self._file.stream(
                'SELECT z, x, y, crc32 FROM loc2_crc')} if self._has_table('loc2_crc') else {}
        except sqlite3.Error:
            return {}

    def digest(self) -> str:
        """Return the hash of all tiles that our writer left, else of size and some pages."""
        known = self._written_digest()
        if known:
            return known
        digest = hashlib.sha256(json.dumps(sorted(self.metadata.items())).encode())
        with self._path.open('rb') as file:
            size = file.seek(0, os.SEEK_END)
            for start in (0, max(0, size - 65536)):
                file.seek(start)
                digest.update(file.read(65536))
        digest.update(str(size).encode())
        return digest.hexdigest()[:16]

    def _written_digest(self) -> str:
        digest = own_row(self.metadata).get('tiles_digest')
        return digest if isinstance(digest, str) else ''

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _one(self, query: str, zoom: int, x: int, y: int) -> Any:
        row = (1 << zoom) - 1 - y if self._flip else y
        try:
            return next(iter(self._file.rows(query, (zoom, x, row))), None)
        except NoAnswer as error:
            raise BadTile(f'the database gives {error}') from error
        except sqlite3.Error as error:
            raise BadTile(f'the database is damaged: {error}') from error

    def _unusable(self, error: sqlite3.Error) -> MapError:
        if isinstance(error, NoAnswer):
            return MapError(f'{self._path} gives {error}: its tiles have no index, or never end; '
                            'take the map from its maker again, or import its imagery')
        return MapError(f'{self._path} is damaged ({error}); copy or import the map again')

    def _has_table(self, name: str) -> bool:
        return bool(self._file.rows("SELECT 1 FROM sqlite_master WHERE type='table' AND name=? "
                                    'LIMIT 1', (name,)))

    def _read_metadata(self) -> dict[str, str]:
        names = {row[0] for row in self._file.rows('SELECT name FROM sqlite_master LIMIT 1000')}
        if 'tiles' not in names:
            raise MapError(f'{self._path} is a database without a tiles table; give an '
                           'MBTiles file with raster imagery')
        if 'metadata' not in names:
            return {}
        rows = self._file.rows('SELECT name, value FROM metadata LIMIT 1000')
        return {str(name): str(value) for name, value in rows if value is not None}

    def _find_zooms(self) -> tuple[int, ...]:
        """Ask level by level: the range in the metadata may be wrong and may have gaps."""
        found, failure = [], None
        for zoom in range(MAX_ZOOM + 1):
            try:
                if self._file.rows('SELECT 1 FROM tiles WHERE zoom_level=? LIMIT 1', (zoom,)):
                    found.append(zoom)
            except NoAnswer:
                raise
            except sqlite3.Error as error:
                failure = error
        if failure is not None and not found:
            raise failure
        if not found:
            raise MapError(f'{self._path} holds no tiles; import imagery first')
        # A tile that nobody has: without an index, and in an endless view, this finds no end
        self._ask_in_vain(found[-1])
        return tuple(found)

    def _ask_in_vain(self, zoom: int) -> None:
        try:
            self._file.rows('SELECT 1 FROM tiles WHERE zoom_level=? AND tile_column=-1 '
                            'AND tile_row=-1 LIMIT 1', (zoom,))
        except NoAnswer:
            raise
        except sqlite3.Error:
            pass            # damage in places is counted tile by tile

    def _find_tile_px(self) -> int:
        blobs: list[Any] = []
        for zoom in reversed(self.zooms):
            try:
                blobs += [row[0] for row in self._file.rows(
                    'SELECT tile_data FROM tiles WHERE zoom_level=? LIMIT ?', (zoom, _SAMPLES))]
            except NoAnswer:
                raise
            except sqlite3.Error:
                continue        # counted tile by tile later
        size = tile_size(blobs)
        if size is None and (self.metadata.get('format') == 'pbf' or any(
                isinstance(b, bytes) and b[:2] == b'\x1f\x8b' for b in blobs)):
            raise MapError(f'{self._path} holds vector tiles; give a map with imagery')
        if size is None:
            self.warnings.append('none of the tiles looked at is a sound JPEG, PNG or WebP image')
        return size or 256

    def _quick_check(self) -> None:
        """Look for damage for a fifth of a second."""
        try:
            found = [str(row[0]) for row in self._file.rows('PRAGMA quick_check(1)',
                                                            within_s=_CHECK_S)]
            if found != ['ok']:
                self.warnings.append(f'the file is damaged in places: {" ".join(found)}')
        except NoAnswer:
            pass
        except sqlite3.Error as error:
            self.warnings.append(f'the file is damaged in places: {error}')
