# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The cache's bound, the thread that takes only the newest job, and the orderly end."""

from __future__ import annotations

import threading

from hypothesis import given, strategies as st
from loc2_ros.maps.cache import ByteLru, InUse, NewestJob
import pytest


def test_what_was_used_longest_ago_goes_first():
    cache = ByteLru(3)
    for key in 'abc':
        cache.put(key, key.upper(), 1)
    assert cache.get('a', None) == 'A'      # b is now the oldest
    cache.put('d', 'D', 1)
    assert [cache.get(k, None) for k in 'abcd'] == ['A', None, 'C', 'D']


def test_what_is_larger_than_the_cache_is_not_kept():
    cache = ByteLru(10)
    cache.put('small', 1, 4)
    cache.put('large', 2, 11)
    assert cache.get('large', None) is None and cache.get('small', None) == 1


def test_a_cache_of_nothing_keeps_nothing():
    cache = ByteLru(0)
    cache.put('a', 1, 1)
    assert cache.get('a', None) is None and not cache.keeps


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 60))))
def test_the_bound_is_never_exceeded_and_the_count_is_right(puts):
    cache, sizes = ByteLru(100), {}
    for key, size in puts:
        cache.put(key, size, size)
        sizes[key] = size
        held = [cache._entries[k][1] for k in cache._entries]
        assert cache.bytes == sum(held) <= 100
        assert cache.get(key, None) == size


def test_a_newer_job_replaces_one_that_waits():
    started, go, done = threading.Event(), threading.Event(), []

    def work(job):
        started.set()
        go.wait(10)
        done.append(job)

    jobs = NewestJob(work, 'test')
    jobs.submit(1)
    assert started.wait(10)
    for job in (2, 3, 4):
        jobs.submit(job)
    go.set()
    assert jobs.wait(10)
    assert done == [1, 4]
    jobs.close()
    jobs.submit(5)
    assert done == [1, 4]


def test_the_end_waits_for_calls_under_way_and_refuses_new_ones():
    use, order = InUse(), []
    inside, leave = threading.Event(), threading.Event()

    def call():
        with use:
            inside.set()
            leave.wait(10)
            order.append('call')

    def end():
        use.end()
        order.append('end')

    threads = [threading.Thread(target=call)]
    threads[0].start()
    assert inside.wait(10)
    threads.append(threading.Thread(target=end))
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join(10)
    assert order == ['call', 'end']
    with pytest.raises(ValueError, match='closed'), use:
        pass
