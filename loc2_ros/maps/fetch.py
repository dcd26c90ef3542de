# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Many requests to one service: as slow as it likes, as often as needed, remembered on disk."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone
from queue import Empty, Queue
import random
import threading
import time
from typing import Callable, NamedTuple, Sequence

from loc2_ros.maps.guard import BadTile
from loc2_ros.maps.net import Answer, Client, host_of, Unreachable
from loc2_ros.maps.template import KEY_VARIABLE
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.values import MapError, Partial, Refused

Key = tuple[int, int, int]
OK, HOLE, FAILED = 'ok', 'hole', 'failed'
LONGEST_WAIT_S = 600.0
_LONGEST_BACKOFF_S = 60.0
_COMMIT_EVERY = 50
_PATIENCE_S = 1.0
_JUDGED_AFTER, _BEARABLE = 200, 0.05
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_NOTHING_THERE = (204, 404, 410)


@dataclass(frozen=True)
class Pace:
    """
    How hard to press a service.

    :param rate: requests per second, of all workers together.
    :param backoff_s: wait after a first failure; doubled with each further one.
    """

    rate: float = 5.0
    jobs: int = 2
    retries: int = 5
    backoff_s: float = 1.0


class Tally(NamedTuple):
    """What became of the requests of one run, and how many were made."""

    stored: int
    holes: int
    failed: int
    requests: int
    last_error: str


class _Outcome(NamedTuple):
    key: Key
    status: str
    http: int
    blob: bytes
    etag: str
    detail: str


class Valve:
    """Lets requests through at a rate; shut for a while when the service says so."""

    def __init__(self, rate: float, stop: threading.Event) -> None:
        self._gap_s, self._stop = 1.0 / rate, stop
        self._next = 0.0
        self._lock = threading.Lock()

    def wait(self) -> None:
        """Wait for one's turn."""
        with self._lock:
            now = time.monotonic()
            at = max(self._next, now)
            self._next = at + self._gap_s
        self._stop.wait(at - now)

    def shut(self, seconds: float) -> None:
        """Let nobody through for a while."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Fetcher:
    """
    Fetches what a part still lacks.

    :param url_of: the address of a key.
    :param check: raises BadTile for an answer that is not what was asked for.
    :param limit: bytes of an answer.
    """

    def __init__(self, client: Client, url_of: Callable[[Key], str],
                 check: Callable[[bytes], object], limit: int, pace: Pace) -> None:
        self._client, self._url_of, self._check = client, url_of, check
        self._limit, self._pace = limit, pace
        self._stop = threading.Event()
        self._valve = Valve(pace.rate, self._stop)
        self._requests = 0
        self._count = threading.Lock()

    def run(self, file: TileFile, keys: Sequence[Key], put: Callable[[Key, bytes], None],
            progress: Callable[[int, int], None], failed_only: bool = False) -> Tally:
        """
        Fetch the keys that are not there and not known to be holes.

        :raises Refused: 401, 403, or a redirect to where it must not go.
        :raises Partial: too much fails; what has come is kept.
        """
        known = {(z, x, y): status for z, x, y, status in file.execute(
            'SELECT z, x, y, status FROM loc2_fetch')}
        wanted = [k for k in keys if known.get(k) not in (OK, HOLE)
                  and (not failed_only or known.get(k) == FAILED)]
        todo: Queue[Key] = Queue()
        for key in wanted:
            todo.put(key)
        done: Queue[_Outcome | BaseException] = Queue(maxsize=4 * _COMMIT_EVERY)
        workers = [threading.Thread(target=self._work, args=(todo, done), daemon=True)
                   for _ in range(min(self._pace.jobs, len(wanted)))]
        for worker in workers:
            worker.start()
        try:
            return self._collect(file, len(wanted), done, put, progress)
        finally:
            self._stop.set()
            # Whoever hangs on a silent server is not waited for; only this thread writes
            until = time.monotonic() + _PATIENCE_S
            while any(w.is_alive() for w in workers) and time.monotonic() < until:
                _drain(done)
                for worker in workers:
                    worker.join(0.05)
            file.commit()

    def _collect(self, file: TileFile, count: int, done: Queue[_Outcome | BaseException],
                 put: Callable[[Key, bytes], None],
                 progress: Callable[[int, int], None]) -> Tally:
        """Write what the workers bring; the only thread that writes."""
        tally = {OK: 0, HOLE: 0, FAILED: 0}
        error = ''
        for number in range(1, count + 1):
            outcome = done.get()
            if isinstance(outcome, BaseException):
                raise outcome
            if outcome.status == OK:
                put(outcome.key, outcome.blob)
            file.execute('INSERT OR REPLACE INTO loc2_fetch VALUES (?, ?, ?, ?, ?, ?, ?)', (
                *outcome.key, outcome.status, outcome.http, outcome.etag,
                datetime.now(timezone.utc).isoformat(timespec='seconds')))
            tally[outcome.status] += 1
            error = outcome.detail or error
            if number % _COMMIT_EVERY == 0:
                file.commit()
            progress(number, count)
            if number >= _JUDGED_AFTER and tally[FAILED] > _BEARABLE * number:
                raise Partial(f'{tally[FAILED]} of {number} requests failed ({error}); the same '
                              'command goes on later')
        return Tally(tally[OK], tally[HOLE], tally[FAILED], self._requests, error)

    def _work(self, todo: Queue[Key], done: Queue[_Outcome | BaseException]) -> None:
        while not self._stop.is_set():
            try:
                key = todo.get_nowait()
            except Empty:
                return
            try:
                outcome = self._fetch(key)
                if outcome is not None:
                    done.put(outcome)
            except (MapError, OSError, ValueError) as error:
                # The collector is the one that can stop everything
                done.put(error)
                return

    def _fetch(self, key: Key) -> _Outcome | None:
        """Return what became of a key; None if it was stopped."""
        url, status, detail = self._url_of(key), 0, ''
        for attempt in range(self._pace.retries + 1):
            self._valve.wait()
            if self._stop.is_set():
                return None
            with self._count:
                self._requests += 1
            try:
                answer = self._client.get(url, self._limit)
            except Unreachable as error:
                detail, wait = str(error), None
            else:
                status = answer.status
                if status not in _AGAIN:
                    return self._judge(key, answer)
                detail, wait = f'HTTP {status}', answer.wait_s
            self._back_off(attempt, status, wait, host_of(url))
        return _Outcome(key, FAILED, status, b'', '', detail)

    def _judge(self, key: Key, answer: Answer) -> _Outcome:
        """Return what a definite answer means."""
        if answer.status in (401, 403):
            raise Refused(f'the service answers {answer.status}, so it wants no such requests '
                          f'from you; set {KEY_VARIABLE} if it needs a key, or ask its operator')
        if answer.status in _NOTHING_THERE:
            return _Outcome(key, HOLE, answer.status, b'', answer.etag, '')
        detail = ''
        if answer.status != 200:
            detail = f'HTTP {answer.status}'
        elif len(answer.body) > self._limit:
            detail = f'more than {self._limit >> 20} MB'
        elif not (answer.kind.startswith('image/') or answer.kind in (
                'application/octet-stream', 'binary/octet-stream')):
            detail = f'{answer.kind} instead of an image'
        else:
            try:
                self._check(answer.body)
            except BadTile as error:
                detail = str(error)
        return _Outcome(key, FAILED if detail else OK, answer.status, answer.body, answer.etag,
                        detail)

    def _back_off(self, attempt: int, status: int, wait_s: float | None, host: str) -> None:
        if wait_s is not None and wait_s > LONGEST_WAIT_S:
            raise Partial(f'{host} asks to wait for {wait_s:.0f} s; the same command goes on '
                          'then')
        usual = min(self._pace.backoff_s * 2 ** attempt, _LONGEST_BACKOFF_S)
        seconds = wait_s if wait_s is not None else usual * random.uniform(0.5, 1.0)
        if status in (429, 503):
            self._valve.shut(seconds)       # for everybody: it is the service that is busy
        else:
            self._stop.wait(seconds)


def _drain(queue: Queue[_Outcome | BaseException]) -> None:
    """Make room, so that no worker hangs on a full queue."""
    try:
        while True:
            queue.get_nowait()
    except Empty:
        pass
