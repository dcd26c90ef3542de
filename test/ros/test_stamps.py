# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Which image stamps are believed."""

from __future__ import annotations

from loc2_ros.core.values import Reason
from loc2_ros.ros.stamps import StampGuard
import pytest

S = 1_000_000_000
NOW = 1000 * S


def guard(**settings: float) -> StampGuard:
    """Return a guard with default settings but for those given."""
    return StampGuard({'max_image_age': 2.0, 'max_rate': 0.0, **settings})


@pytest.mark.parametrize('stamp, reason', [
    (0, Reason.BAD_STAMP), (-5, Reason.BAD_STAMP), (NOW - 3 * S, Reason.IMAGE_STALE),
    (NOW + 3 * S, Reason.BAD_STAMP), (NOW - S, None), (NOW + S, None), (NOW, None)])
def test_a_stamp_must_lie_near_now(stamp: int, reason: Reason | None) -> None:
    problem = guard().problem(stamp, NOW)
    assert (problem.reason if problem else None) == reason


def test_before_simulated_time_begins_and_with_max_image_age_0_any_age_passes() -> None:
    assert guard().problem(5 * S, 0) is None
    assert guard(max_image_age=0.0).problem(5 * S, NOW) is None


def test_stamps_must_grow() -> None:
    judge = guard()
    assert judge.problem(NOW, NOW) is None
    for stamp in (NOW, NOW - 1):
        problem = judge.problem(stamp, NOW)
        assert problem is not None and problem.reason == Reason.BAD_STAMP
    assert judge.problem(NOW + 1, NOW) is None


def test_a_refused_stamp_does_not_move_the_last_one() -> None:
    judge = guard()
    assert judge.problem(NOW + 60 * S, NOW) is not None
    assert judge.problem(NOW, NOW) is None


def test_stamps_that_start_over_are_a_restart_unless_the_clock_says_that_they_are_old() -> None:
    judge = guard(max_image_age=0.0)
    judge.problem(NOW, NOW)
    assert judge.restarts(NOW - 5 * S, NOW)
    assert not judge.restarts(NOW - S // 2, NOW) and not judge.restarts(0, NOW)
    judge = guard()
    judge.problem(NOW, NOW)
    assert not judge.restarts(NOW - 5 * S, NOW)


def test_an_image_that_is_late_by_more_than_a_second_is_no_restart() -> None:
    judge = guard()
    judge.problem(NOW, NOW)
    late = NOW - 3 * S // 2
    assert not judge.restarts(late, NOW)
    problem = judge.problem(late, NOW)
    assert problem is not None and problem.reason == Reason.BAD_STAMP


def test_images_that_ran_ahead_of_the_clock_may_fall_back_to_it() -> None:
    judge = guard()
    judge.problem(NOW + 3 * S // 2, NOW)
    assert judge.restarts(NOW + S // 10, NOW + S // 10)


def test_max_rate_leaves_images_out() -> None:
    judge = guard(max_rate=5.0)
    used = [n for n in range(11) if not judge.skip(NOW + n * S // 10)]
    assert used == [0, 2, 4, 6, 8, 10]
