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
import os
from pathlib import Path
import sqlite3
import threading
import time
from typing import Any, Iterator, Mapping, Protocol

from loc2_ros.maps.guard import BadTile, check_tile, MAX_TILE_BYTES
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
        self._local = threading.local()
        self._all: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self.warnings: list[str] = []
        _refuse_truncated(path)
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
            for zoom, x, row in self._connection().execute(
                    'SELECT zoom_level, tile_column, tile_row FROM tiles'):
                if all(isinstance(n, int) for n in (zoom, x, row)) and 0 <= zoom <= MAX_ZOOM:
                    yield zoom, x, (1 << zoom) - 1 - row if self._flip else row
        except sqlite3.Error as error:
            raise MapError(f'{self._path} is damaged ({error}); copy or import the map '
                           'again') from error

    def whole_check(self) -> list[str]:
        """Return what SQLite finds wrong with the whole file."""
        try:
            found = [str(row[0]) for row in self._connection().execute('PRAGMA quick_check(20)')]
        except sqlite3.Error as error:
            return [str(error)]
        return [] if found == ['ok'] else found

    def checksums(self) -> dict[tuple[int, int, int], int]:
        """Return the checksums that our writer left; empty for other files."""
        try:
            rows = self._connection().execute('SELECT z, x, y, crc32 FROM loc2_crc').fetchall()
        except sqlite3.Error:
            return {}
        return {(z, x, y): crc for z, x, y, crc in rows}

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
        try:
            own = json.loads(self.metadata.get('loc2', '{}'))
        except ValueError:
            return ''
        digest = own.get('tiles_digest') if isinstance(own, dict) else None
        return digest if isinstance(digest, str) else ''

    def close(self) -> None:
        """Close the connections of all threads."""
        with self._lock:
            while self._all:
                self._all.pop().close()

    def _one(self, query: str, zoom: int, x: int, y: int) -> Any:
        row = (1 << zoom) - 1 - y if self._flip else y
        try:
            return self._connection().execute(query, (zoom, x, row)).fetchone()
        except sqlite3.Error as error:
            raise BadTile(f'the database is damaged: {error}') from error

    def _connection(self) -> sqlite3.Connection:
        """Return this thread's connection."""
        connection = getattr(self._local, 'connection', None)
        if connection is None:
            # immutable: no locks and no -wal or -shm files, so read-only media work
            uri = self._path.resolve().as_uri() + '?mode=ro&immutable=1'
            connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            connection.text_factory = lambda raw: raw.decode('utf-8', 'replace')
            if hasattr(connection, 'setlimit'):     # Python 3.11: refuse before reading
                connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_TILE_BYTES)
            self._local.connection = connection
            with self._lock:
                self._all.append(connection)
        return connection

    def _read_metadata(self) -> dict[str, str]:
        try:
            connection = self._connection()
            names = {row[0] for row in connection.execute('SELECT name FROM sqlite_master')}
            if 'tiles' not in names:
                raise MapError(f'{self._path} is a database without a tiles table; give an '
                               'MBTiles file with raster imagery')
            if 'metadata' not in names:
                return {}
            rows = connection.execute('SELECT name, value FROM metadata').fetchall()
        except sqlite3.Error as error:
            raise MapError(f'{self._path} is damaged ({error}); copy or import the map '
                           'again') from error
        return {str(name): str(value) for name, value in rows if value is not None}

    def _find_zooms(self) -> tuple[int, ...]:
        """Ask level by level: the range in the metadata may be wrong and may have gaps."""
        found, failure = [], None
        for zoom in range(MAX_ZOOM + 1):
            try:
                if self._connection().execute('SELECT 1 FROM tiles WHERE zoom_level=? LIMIT 1',
                                              (zoom,)).fetchone():
                    found.append(zoom)
            except sqlite3.Error as error:
                failure = error
        if failure is not None and not found:
            raise MapError(f'{self._path} is damaged ({failure}); copy or import the map again')
        if not found:
            raise MapError(f'{self._path} holds no tiles; import imagery first')
        return tuple(found)

    def _find_tile_px(self) -> int:
        blobs: list[Any] = []
        for zoom in reversed(self.zooms):
            try:
                blobs += [row[0] for row in self._connection().execute(
                    'SELECT tile_data FROM tiles WHERE zoom_level=? LIMIT ?', (zoom, _SAMPLES))]
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
        connection, deadline = self._connection(), time.monotonic() + _CHECK_S
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 10000)
        try:
            found = [str(row[0]) for row in connection.execute('PRAGMA quick_check(1)')]
            if found != ['ok']:
                self.warnings.append(f'the file is damaged in places: {" ".join(found)}')
        except sqlite3.OperationalError as error:
            if 'interrupted' not in str(error):
                self.warnings.append(f'the file is damaged in places: {error}')
        except sqlite3.Error as error:
            self.warnings.append(f'the file is damaged in places: {error}')
        finally:
            connection.set_progress_handler(None, 0)


def _refuse_truncated(path: Path) -> None:
    """Compare the page count in the SQLite header with the file."""
    try:
        with path.open('rb') as file:
            head = file.read(100)
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise MapError(f'{path} cannot be read ({error.strerror}); check the path and its '
                       'permissions') from error
    page = int.from_bytes(head[16:18], 'big')
    # The count is only kept up to date when these two change counters agree
    pages = int.from_bytes(head[28:32], 'big') if head[24:28] == head[92:96] else 0
    if len(head) < 100 or pages * (65536 if page == 1 else page) > size:
        raise MapError(f'{path} is truncated at {size} bytes; copy or import the map again')
