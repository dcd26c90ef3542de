# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
One thread and one slot: the newest frame wins, older ones are dropped and counted.

The executor must stay free: ``/clock``, TF and timers are handled in the thread that runs the
callbacks, so a callback that computes for a second freezes time for a second.
"""

from __future__ import annotations

import threading
from typing import Callable, Generic, TypeVar

T = TypeVar('T')


class Worker(Generic[T]):
    """Run a function on the newest offered job, in a thread of its own."""

    def __init__(self, process: Callable[[T], None], name: str = 'loc2_worker') -> None:
        """Remember the function; the thread, of this name, begins with ``start``."""
        self._process, self._name = process, name
        self._job: T | None = None
        self._running = False
        self._wakeup = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread, once."""
        with self._wakeup:
            if self._thread is not None:
                return
            self._running = True
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def offer(self, job: T) -> bool:
        """Put a job into the slot; return True if an older one was thrown out for it."""
        with self._wakeup:
            replaced = self._job is not None
            self._job = job
            self._wakeup.notify()
        return replaced

    @property
    def waiting(self) -> bool:
        """Return whether a job is in the slot."""
        return self._job is not None

    def clear(self) -> int:
        """Empty the slot and return the number of jobs thrown out (0 or 1)."""
        with self._wakeup:
            thrown = int(self._job is not None)
            self._job = None
        return thrown

    def stop(self) -> int:
        """Join the thread after its present job; return the number of jobs left undone."""
        with self._wakeup:
            self._running = False
            self._wakeup.notify()
            thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        return self.clear()

    def _run(self) -> None:
        while True:
            with self._wakeup:
                self._wakeup.wait_for(lambda: self._job is not None or not self._running)
                if not self._running:
                    return
                job, self._job = self._job, None
            if job is not None:
                self._process(job)
