# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The worker: one thread, one slot, the newest wins, nothing is lost uncounted."""

from __future__ import annotations

import threading
import time

from loc2_ros.ros.worker import Worker

DEADLINE_S = 5.0


def test_the_newest_job_wins_and_replaced_ones_are_told() -> None:
    done, started, gate = [], threading.Event(), threading.Event()

    def work(job: int) -> None:
        started.set()
        gate.wait(DEADLINE_S)
        done.append(job)
    worker: Worker[int] = Worker(work)
    worker.start()
    assert not worker.offer(1)
    assert started.wait(DEADLINE_S)
    assert [worker.offer(n) for n in (2, 3, 4)] == [False, True, True]
    gate.set()
    end = time.monotonic() + DEADLINE_S
    while len(done) < 2 and time.monotonic() < end:
        time.sleep(0.001)
    assert worker.stop() == 0
    assert done == [1, 4]


def test_stop_waits_for_the_present_job_and_counts_the_one_left() -> None:
    started, gate, done = threading.Event(), threading.Event(), []

    def work(job: int) -> None:
        started.set()
        gate.wait(DEADLINE_S)
        done.append(job)
    worker: Worker[int] = Worker(work)
    worker.start()
    worker.offer(1)
    assert started.wait(DEADLINE_S)
    worker.offer(2)
    threading.Timer(0.05, gate.set).start()
    assert worker.stop() == 1
    assert done == [1]


def test_clear_empties_the_slot_and_a_worker_starts_again() -> None:
    done = threading.Event()
    worker: Worker[int] = Worker(lambda job: done.set())
    assert not worker.offer(1)
    assert worker.clear() == 1 and worker.clear() == 0
    for _ in range(2):
        done.clear()
        worker.start()
        worker.start()
        worker.offer(2)
        assert done.wait(DEADLINE_S)
        worker.stop()
