# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Callers of ``~/localize``: they wait for an image, and every one of them is answered."""

from __future__ import annotations

from dataclasses import dataclass
import threading
import time
from typing import Any, Callable

from rclpy.task import Future

PATIENCE_S = 5.0        # for an image; the network may take as long as it needs


@dataclass
class _Caller:
    """
    One who waits; ``coming`` once an image is on its way to the worker.

    :param since_s: monotonic.
    """

    future: Any
    since_s: float
    coming: bool = False


class Callers:
    """
    Those who wait for the answer to an image; safe under threads.

    :param wake: makes the executor look at futures, which it does not when a thread sets them.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._waiting: list[_Caller] = []
        self._closed = ''

    def __bool__(self) -> bool:
        """Return whether anybody waits."""
        return bool(self._waiting)

    def add(self) -> Any:
        """Return a future of (success, sentence)."""
        caller = _Caller(Future(), time.monotonic())
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting.append(caller)
        if closed:
            caller.future.set_result((False, closed))
        return caller.future

    def coming(self, is_coming: bool = True) -> None:
        """Note that an image is on its way, so that nobody's patience ends; or that it is not."""
        with self._lock:
            for caller in self._waiting:
                caller.coming = is_coming

    def take(self) -> Callable[[bool, str], None]:
        """Let all who wait now wait for one image; call what is returned with its answer."""
        with self._lock:
            taken, self._waiting = self._waiting, []
        return lambda success, sentence: self._answer(taken, success, sentence)

    def expire(self, sentence: str, patience_s: float = PATIENCE_S) -> None:
        """Answer those who have waited long while no image came; call it about once a second."""
        before = time.monotonic() - patience_s
        with self._lock:
            tired = [c for c in self._waiting if not c.coming and c.since_s < before]
            self._waiting = [c for c in self._waiting if c not in tired]
        self._answer(tired, False, sentence)

    def close(self, sentence: str) -> None:
        """Answer all, and those who come later at once."""
        with self._lock:
            self._closed = sentence
        self.take()(False, sentence)

    def _answer(self, callers: list[_Caller], success: bool, sentence: str) -> None:
        for caller in callers:
            caller.future.set_result((success, sentence))
        if callers:
            self._wake()
