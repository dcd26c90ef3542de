# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A database that somebody else made, read from any thread and never trusted to come to an end."""

from __future__ import annotations

import math
import os
from pathlib import Path
import sqlite3
import threading
import time
from typing import Any, Callable, Iterator

from loc2_ros.maps.guard import MAX_TILE_BYTES
from loc2_ros.maps.values import MapError

ANSWER_S = 1.0          # an indexed look-up takes microseconds
_STEPS = 10_000         # of SQLite's machine between two looks at the clock: about a millisecond
_BATCH = 1000
Row = tuple[Any, ...]


class NoAnswer(sqlite3.OperationalError):
    """A question that was given up: a view can be endless, and a table can lack an index."""


class SqliteFile:
    """
    One read-only connection for all threads.

    A connection per thread would open the name again, which may belong to another file by then,
    or to none. Questions are short, and decoding happens outside of the lock.

    :raises MapError: if the file cannot be read or is cut off.
    """

    def __init__(self, path: Path) -> None:
        _refuse_truncated(path)
        self._lock = threading.Lock()
        self._until = math.inf
        # immutable: no locks and no -wal or -shm files, so read-only media work
        uri = path.resolve().as_uri() + '?mode=ro&immutable=1'
        try:
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
        except sqlite3.Error as error:
            raise MapError(f'{path} cannot be opened ({error}); check the path and its '
                           'permissions') from error
        self._connection.text_factory = lambda raw: raw.decode('utf-8', 'replace')
        if hasattr(self._connection, 'setlimit'):       # Python 3.11: refuse before reading
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_TILE_BYTES)
        self._connection.set_progress_handler(lambda: time.monotonic() > self._until, _STEPS)

    def rows(self, query: str, values: Row = (), within_s: float = ANSWER_S) -> list[Row]:
        """
        Return the answer to a question that limits the number of rows itself.

        :raises sqlite3.Error: if the file is damaged; ``NoAnswer``: if it takes too long.
        """
        return self._asked(lambda: self._connection.execute(query, values).fetchall(), within_s)

    def stream(self, query: str) -> Iterator[Row]:
        """Yield rows of any number, as ``rows`` answers; others may ask in between."""
        cursor = self._asked(lambda: self._connection.execute(query), ANSWER_S)
        while batch := self._asked(lambda: cursor.fetchmany(_BATCH), ANSWER_S):
            yield from batch

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()

    def _asked(self, ask: Callable[[], Any], within_s: float) -> Any:
        with self._lock:
            self._until = time.monotonic() + within_s
            try:
                return ask()
            except sqlite3.OperationalError as error:
                if 'interrupted' not in str(error):
                    raise
                raise NoAnswer(f'no answer within {within_s:g} s') from error


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
