# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
An MBTiles file in the making: ``NAME.part`` until it is whole, then ``NAME``.

What is in the part survives a kill; the same job goes on with it, another one starts afresh.
One process at a time works on it.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from pathlib import Path
import sqlite3
from typing import Any, Mapping
import zlib

from loc2_ros.maps.values import MapError

TABLES = """
    PRAGMA application_id = 0x4d504258;  -- MBTiles, as its specification asks
    CREATE TABLE metadata (name TEXT, value TEXT);
    CREATE TABLE tiles (zoom_level INTEGER, tile_column INTEGER, tile_row INTEGER,
                        tile_data BLOB);
    CREATE UNIQUE INDEX tile_index ON tiles (zoom_level, tile_column, tile_row);
    CREATE TABLE loc2_crc (z INTEGER, x INTEGER, y INTEGER, crc32 INTEGER,
                           PRIMARY KEY (z, x, y)) WITHOUT ROWID;
    CREATE TABLE loc2_job (name TEXT);
    CREATE TABLE loc2_done (z INTEGER, x INTEGER, y INTEGER, PRIMARY KEY (z, x, y));
    CREATE TABLE loc2_fetch (z INTEGER, x INTEGER, y INTEGER, status TEXT, http INTEGER,
                             etag TEXT, fetched TEXT, PRIMARY KEY (z, x, y));
    CREATE TABLE loc2_cell (z INTEGER, x INTEGER, y INTEGER, data BLOB,
                            PRIMARY KEY (z, x, y));
"""
_WORK_TABLES = ('loc2_job', 'loc2_done', 'loc2_fetch', 'loc2_cell')


class TileFile:
    """
    Tiles on their way into one file; y counts from the north, as everywhere here.

    :param path: the file to be.
    :param job: what is being made; a part left by the same job is gone on with. '' always starts
        afresh, and leaves nothing behind on a failure.
    :raises MapError: if it cannot be written, or another process is at it.
    """

    def __init__(self, path: Path, job: str = '') -> None:
        self.path = path
        self._job = job
        self._part = path.with_name(path.name + '.part')
        self._lock = _Lock(path.with_name(path.name + '.lock'))
        try:
            self._database = self._open()
        except (OSError, sqlite3.Error) as error:
            self._lock.release()
            raise self._failure(error) from error

    def _open(self) -> sqlite3.Connection:
        left = self._left() if self._part.exists() else None
        if left is not None:
            return left
        self._remove()
        database = _connect(self._part)
        # One transaction, so that a part without its tables cannot be left behind
        database.executescript(f'BEGIN;{TABLES}COMMIT;')
        database.execute('INSERT INTO loc2_job VALUES (?)', (self._job,))
        database.commit()
        return database

    def _left(self) -> sqlite3.Connection | None:
        """Return what an earlier run of the same job left, None if there is no such thing."""
        try:
            database = _connect(self._part)
        except sqlite3.DatabaseError:
            return None         # cut off in its first bytes, it holds nothing to keep
        try:
            row = database.execute('SELECT name FROM loc2_job').fetchone()
        except sqlite3.DatabaseError:
            row = None
        if self._job and row == (self._job,):
            return database
        database.close()
        return None

    def put(self, zoom: int, x: int, y: int, blob: bytes) -> None:
        """Add a tile, in place of one that is there."""
        self.execute('INSERT OR REPLACE INTO tiles VALUES (?, ?, ?, ?)',
                     (zoom, x, (1 << zoom) - 1 - y, blob))
        self.execute('INSERT OR REPLACE INTO loc2_crc VALUES (?, ?, ?, ?)',
                     (zoom, x, y, zlib.crc32(blob)))

    def get(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return a tile or None."""
        row = self.execute('SELECT tile_data FROM tiles WHERE zoom_level=? AND tile_column=? '
                           'AND tile_row=?', (zoom, x, (1 << zoom) - 1 - y)).fetchone()
        return row[0] if row else None

    def drop(self, zoom: int, x: int, y: int) -> None:
        """Remove a tile."""
        self.execute('DELETE FROM tiles WHERE zoom_level=? AND tile_column=? AND tile_row=?',
                     (zoom, x, (1 << zoom) - 1 - y))
        self.execute('DELETE FROM loc2_crc WHERE z=? AND x=? AND y=?', (zoom, x, y))

    def execute(self, query: str, values: tuple[Any, ...] = ()) -> sqlite3.Cursor:
        """Run a statement on the part; :raises MapError: when the disk is full, for one."""
        try:
            return self._database.execute(query, values)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def commit(self) -> None:
        """Have what was put survive."""
        try:
            self._database.commit()
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error

    def done(self, zoom: int, x: int, y: int) -> bool:
        """Return whether a piece of the work was finished before."""
        return self.execute('SELECT 1 FROM loc2_done WHERE z=? AND x=? AND y=?',
                            (zoom, x, y)).fetchone() is not None

    def set_done(self, zoom: int, x: int, y: int) -> None:
        """Remember that a piece of the work is finished, and commit."""
        self.execute('INSERT OR REPLACE INTO loc2_done VALUES (?, ?, ?)', (zoom, x, y))
        self.commit()

    def counts(self) -> dict[int, int]:
        """Return the number of tiles per level."""
        return dict(self.execute('SELECT zoom_level, count(*) FROM tiles GROUP BY zoom_level '
                                 'ORDER BY zoom_level').fetchall())

    def digest(self) -> str:
        """Return a hash of what all tiles are; the same for the same content, however made."""
        digest = hashlib.sha256()
        for row in self.execute('SELECT z, x, y, crc32 FROM loc2_crc ORDER BY z, x, y'):
            digest.update(repr(row).encode())
        return digest.hexdigest()[:16]

    def finish(self, rows: Mapping[str, str]) -> Path:
        """Write the metadata, and give the file its name."""
        try:
            self._database.execute('DELETE FROM metadata')
            self._database.executemany('INSERT INTO metadata VALUES (?, ?)', rows.items())
            for table in _WORK_TABLES:
                self._database.execute(f'DROP TABLE {table}')
            self._database.commit()
            # Read-only media cannot hold the side files of a write-ahead log
            self._database.execute('PRAGMA journal_mode=DELETE')
            self._tidy()
            self._database.close()
            _sync(self._part)
            os.replace(self._part, self.path)
            _sync(self.path.parent)
        except (OSError, sqlite3.Error) as error:
            raise self._failure(error) from error
        finally:
            self._lock.release()
        return self.path

    def _tidy(self) -> None:
        """Give back the room that the work took, where there is room to do so."""
        try:
            self._database.execute('VACUUM')
        except sqlite3.OperationalError:
            pass            # it needs as much again; a map with slack is a map all the same

    def leave(self) -> None:
        """Stop here: keep the part for the next run of the same job, if it has a name."""
        try:
            if self._job:
                self._database.commit()
        except sqlite3.Error:
            pass            # the disk is full, for one; what was committed before stays
        finally:
            self._database.close()
            if not self._job:
                self._remove()
            self._lock.release()

    def _remove(self) -> None:
        for suffix in ('', '-wal', '-shm', '-journal'):
            self._part.with_name(self._part.name + suffix).unlink(missing_ok=True)

    def _failure(self, error: Exception) -> MapError:
        return MapError(f'{self.path} cannot be written ({error}); check the folder and the '
                        'space left')


class _Lock:
    """A file beside the part that one process holds; freed by the system when that ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        while True:
            try:
                self._file = open(path, 'w')
            except OSError as error:
                raise MapError(f'{path} cannot be written ({error.strerror}); check the folder '
                               'and the space left') from error
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._file.close()
                raise MapError(f'another process is writing {path.with_suffix("")}; wait for '
                               'it') from error
            # Its last holder may have removed the name in between
            if path.exists() and os.path.samestat(os.fstat(self._file.fileno()), path.stat()):
                return
            self._file.close()

    def release(self) -> None:
        """Let others in; may be called again."""
        if not self._file.closed:
            self._path.unlink(missing_ok=True)
            self._file.close()


def _connect(path: Path) -> sqlite3.Connection:
    # Threads hand tiles to one writer; it may be another than the one that opened the file
    database = sqlite3.connect(path, check_same_thread=False)
    database.execute('PRAGMA journal_mode=WAL')
    database.execute('PRAGMA synchronous=NORMAL')
    return database


def _sync(path: Path) -> None:
    """Have the file on the disk before its name is."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
