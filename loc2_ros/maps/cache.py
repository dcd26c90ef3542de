# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A cache bounded in bytes, one thread that fills it ahead of the vehicle, an orderly end."""

from __future__ import annotations

from collections import OrderedDict
import threading
from typing import Callable, Generic, Hashable, TypeVar

Value = TypeVar('Value')
Job = TypeVar('Job')


class ByteLru(Generic[Value]):
    """
    A dictionary that forgets what was used longest ago, for any number of threads.

    :param limit_bytes: never exceeded; 0 keeps nothing.
    """

    def __init__(self, limit_bytes: int) -> None:
        self._limit = limit_bytes
        self._entries: OrderedDict[Hashable, tuple[Value, int]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    @property
    def bytes(self) -> int:  # noqa: A003
        """Return how much is held now."""
        return self._bytes

    @property
    def keeps(self) -> bool:
        """Return whether anything is ever kept."""
        return self._limit > 0

    def get(self, key: Hashable, default: Value) -> Value:
        """Return the value and mark it as used, or the default."""
        with self._lock:
            if key not in self._entries:
                return default
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def __contains__(self, key: Hashable) -> bool:
        """Return whether a value is held, without marking it as used."""
        with self._lock:
            return key in self._entries

    def put(self, key: Hashable, value: Value, size_bytes: int) -> None:
        """Keep a value, at the cost of the least recently used ones."""
        if size_bytes > self._limit:
            return
        with self._lock:
            self._bytes += size_bytes - self._entries.pop(key, (value, 0))[1]
            while self._bytes > self._limit:
                self._bytes -= self._entries.popitem(last=False)[1][1]
            self._entries[key] = (value, size_bytes)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._entries.clear()
            self._bytes = 0


class NewestJob(Generic[Job]):
    """
    A daemon thread with a queue of length one: a newer job replaces one that waits.

    :param work: called with each job that was not replaced; must not raise.
    """

    def __init__(self, work: Callable[[Job], None], name: str) -> None:
        self._work = work
        self._name = name
        self._waiting: list[Job] = []
        self._busy = False
        self._closed = False
        self._change = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, job: Job) -> None:
        """Hand over a job and return at once; the thread starts with the first."""
        with self._change:
            if self._closed:
                return
            self._waiting = [job]
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            self._change.notify_all()

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing waits or runs; returns whether that came about."""
        with self._change:
            return self._change.wait_for(lambda: not self._waiting and not self._busy, timeout_s)

    def close(self) -> None:
        """Drop what waits, finish what runs, end the thread."""
        with self._change:
            self._closed = True
            self._waiting = []
            self._change.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._change:
                self._change.wait_for(lambda: self._closed or bool(self._waiting))
                if self._closed:
                    return
                job = self._waiting.pop()
                self._busy = True
            try:
                self._work(job)
            finally:
                with self._change:
                    self._busy = False
                    self._change.notify_all()


class InUse:
    """Keeps a store from closing under a call: ``with in_use: ...`` around every call."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._calls = 0
        self._ended = False

    def __enter__(self) -> None:
        with self._change:
            if self._ended:
                raise ValueError('the map store is closed')
            self._calls += 1

    def __exit__(self, *_: object) -> None:
        with self._change:
            self._calls -= 1
            self._change.notify_all()

    def end(self) -> None:
        """Refuse new calls and wait for those under way."""
        with self._change:
            self._ended = True
            self._change.wait_for(lambda: self._calls == 0)
