# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Trust between fixes: stray ones are refused, and nothing is ever locked out."""

from __future__ import annotations

from collections.abc import Sequence
import math
from typing import Any

from loc2_ros.core.predict import by_odometry
from loc2_ros.core.reseed import Reseeding
from loc2_ros.core.trust import Trust, TrustLimits
from loc2_ros.core.values import Fix, Pose2, Reason, Rejection
import numpy as np
import pytest

S = 10 ** 9
SPEED = 10.0
LIMITS = TrustLimits(max_innovation_m=10.0, max_innovation_rad=math.radians(20.0),
                     relocate_s=5.0, memory_s=30.0)


def stamp(seconds: float) -> int:
    return 1000 * S + round(seconds * S)


def east(from_ns: int, to_ns: int) -> Pose2:
    """Drive east at 10 m/s."""
    return Pose2(SPEED * (to_ns - from_ns) / S, 0.0, 0.0)


def fix(seconds: float, off: tuple[float, float] = (0.0, 0.0), yaw: float = 0.0,
        sigma: float = 0.5) -> Fix:
    """Return a fix beside the truth."""
    return Fix(stamp(seconds), Pose2(SPEED * seconds + off[0], off[1], yaw),
               np.diag([sigma ** 2, sigma ** 2, 1e-4]), 0.9, 1.0, 100, 80, 0.0)


def judged(trust: Trust, fixes: Sequence[Fix]) -> list[bool]:
    """Return which fixes were accepted."""
    return [isinstance(trust.judge(f), Fix) for f in fixes]


def test_a_stray_fix_is_refused_with_its_distance_and_the_next_good_one_is_taken() -> None:
    trust = Trust(by_odometry(east), LIMITS)
    assert judged(trust, [fix(0.1 * k) for k in range(10)]) == [True] * 10
    refused = trust.judge(fix(1.0, (0.0, 30.0)))
    assert isinstance(refused, Rejection) and refused.reason is Reason.INNOVATION
    assert refused.numbers['innovation_m'] == pytest.approx(30.0)
    # 10 m and three deviations of both fixes, 0.5 m each, and 3 % of 1 m of way
    assert refused.numbers['max_innovation_m'] == pytest.approx(12.12, abs=0.01)
    assert isinstance(trust.judge(fix(1.1)), Fix)


def test_a_flipped_heading_is_refused() -> None:
    trust = Trust(by_odometry(east), LIMITS)
    trust.judge(fix(0.0))
    refused = trust.judge(fix(0.1, yaw=math.pi))
    assert isinstance(refused, Rejection)
    assert refused.numbers['innovation_deg'] == pytest.approx(180.0)


def test_an_uncertain_fix_may_be_further_off() -> None:
    trust = Trust(by_odometry(east), LIMITS)
    trust.judge(fix(0.0))
    assert isinstance(trust.judge(fix(0.1, (0.0, 15.0))), Rejection)
    assert isinstance(trust.judge(fix(0.2, (0.0, 15.0), sigma=3.0)), Fix)


@pytest.mark.parametrize('length_s', [1.0, 10.0, 300.0])
def test_a_wrong_chain_however_long_gives_way_within_seconds(length_s: float) -> None:
    trust = Trust(by_odometry(east), LIMITS)
    count = round(10 * length_s)
    assert all(judged(trust, [fix(0.1 * k, (0.0, 40.0)) for k in range(count)]))
    right = judged(trust, [fix(length_s + 0.1 * k) for k in range(100)])
    first = right.index(True)
    assert first <= 52 and all(right[first:])


def test_right_fixes_win_although_wrong_ones_of_the_old_chain_keep_coming() -> None:
    trust = Trust(by_odometry(east), LIMITS)
    judged(trust, [fix(0.1 * k, (0.0, 40.0)) for k in range(100)])
    mixed = [fix(10.0 + 0.1 * k, (0.0, 40.0) if k % 4 == 0 else (0.0, 0.0)) for k in range(200)]
    accepted = judged(trust, mixed)
    right = [a for k, a in enumerate(accepted) if k % 4]
    assert right[-60:] == [True] * 60
    assert not any(a for k, a in enumerate(accepted[-80:], 120) if k % 4 == 0)


def test_stray_fixes_do_not_take_the_lead_however_many() -> None:
    trust, rng = Trust(by_odometry(east), LIMITS), np.random.default_rng(1)
    judged(trust, [fix(0.1 * k) for k in range(30)])
    strays = [fix(3.0 + 0.1 * k, (rng.uniform(30, 500), rng.uniform(30, 500)))
              for k in range(50)]
    assert not any(judged(trust, strays))
    assert isinstance(trust.judge(fix(8.1)), Fix)


def test_fixes_that_agree_with_nothing_are_refused_for_memory_s_at_most() -> None:
    trust = Trust(by_odometry(east), LIMITS)
    trust.judge(fix(0.0))
    scattered = [fix(0.7 * k, (100.0 * k, 50.0 * (k % 7))) for k in range(1, 50)]
    accepted = judged(trust, scattered)
    first = accepted.index(True)
    assert scattered[first].stamp_ns == stamp(30.1)


def test_after_a_tunnel_the_first_fix_is_taken() -> None:
    trust = Trust(by_odometry(east), LIMITS)
    judged(trust, [fix(0.1 * k) for k in range(50)])
    assert isinstance(trust.judge(fix(65.0, (80.0, 20.0))), Fix)


def test_without_odometry_or_across_its_reset_nothing_is_compared() -> None:
    known = [True]
    trust = Trust(by_odometry(lambda a, b: east(a, b) if known[0] else None), LIMITS)
    trust.judge(fix(0.0))
    assert isinstance(trust.judge(fix(0.1, (0.0, 50.0))), Rejection)
    known[0] = False
    assert isinstance(trust.judge(fix(0.2, (0.0, 50.0))), Fix)
    known[0] = True
    assert isinstance(trust.judge(fix(0.3, (0.0, 50.0))), Fix)


def test_odometry_that_is_missing_for_an_image_lets_no_stray_fix_in() -> None:
    known, reset = [True], [False]
    trust = Trust(by_odometry(lambda a, b: east(a, b) if known[0] else None), LIMITS,
                  lambda a, b: reset[0])
    judged(trust, [fix(0.1 * k) for k in range(10)])
    known[0] = False
    assert judged(trust, [fix(1.0, (0.0, 50.0)), fix(1.1, yaw=math.pi)]) == [False, False]
    assert isinstance(trust.judge(fix(1.2)), Fix)
    assert isinstance(trust.judge(fix(2.2, (40.0, 0.0))), Fix)     # nobody knows any better
    reset[0] = True
    assert isinstance(trust.judge(fix(2.3, (0.0, 500.0))), Fix)


@pytest.mark.parametrize('period_s', [0.1, 0.5, 1.0, 3.0])
@pytest.mark.parametrize('off', [{'off': (0.0, 30.0)}, {'yaw': math.pi}])
def test_of_two_places_that_alternate_only_the_first_is_published(
        period_s: float, off: dict[str, Any]) -> None:
    trust = Trust(by_odometry(east), LIMITS)
    accepted = judged(trust, [fix(period_s * k, **(off if k % 2 else {})) for k in range(200)])
    assert accepted == [True, False] * 100


@pytest.mark.parametrize('drift_mps', [5.0, 20.0])
def test_a_chain_cannot_be_dragged_away_step_by_step(drift_mps: float) -> None:
    trust = Trust(by_odometry(east), LIMITS)
    judged(trust, [fix(0.1 * k) for k in range(100)])
    dragged = [fix(10.0 + 0.1 * k, (0.0, 0.1 * k * drift_mps)) for k in range(300)]
    accepted = judged(trust, dragged)
    off = [0.1 * k * drift_mps for k, a in enumerate(accepted) if a]
    assert max(off) < 30.0


def test_fixes_that_scatter_and_odometry_that_slips_are_all_taken() -> None:
    rng = np.random.default_rng(3)
    slipping = by_odometry(
        lambda a, b: Pose2(1.02 * SPEED * (b - a) / S, 0.0, 0.003 * (b - a) / S))
    trust = Trust(slipping, LIMITS)
    fixes = [fix(0.2 * k, tuple(rng.normal(0.0, 1.5, 2)), rng.normal(0.0, 0.03), sigma=1.5)
             for k in range(1000)]
    assert all(judged(trust, fixes))


def test_zero_switches_it_off() -> None:
    trust = Trust(by_odometry(east), TrustLimits(max_innovation_m=0.0))
    assert judged(trust, [fix(0.1 * k, (0.0, 1000.0 * k)) for k in range(5)]) == [True] * 5


def test_slow_images_are_judged_as_fast_ones() -> None:
    trust = Trust(by_odometry(east), LIMITS)
    judged(trust, [fix(2.0 * k, (0.0, 40.0)) for k in range(30)])
    right = judged(trust, [fix(60.0 + 2.0 * k) for k in range(6)])
    assert right == [False, False, False, True, True, True]     # 6 s are the first above 5


def test_a_fault_soon_after_the_start_does_not_outvote_the_little_that_was_before() -> None:
    trust = Trust(by_odometry(east), LIMITS)
    assert all(judged(trust, [fix(0.1 * k) for k in range(4)]))
    assert not any(judged(trust, [fix(0.4 + 0.1 * k, yaw=math.pi / 2) for k in range(40)]))
    assert isinstance(trust.judge(fix(4.5)), Fix)


# ---- when to look from GNSS -------------------------------------------------------------------

def test_every_period_one_look_from_gnss_is_enough_while_the_filter_agrees() -> None:
    reseeding = Reseeding(180.0, 5)
    looks = []
    for k in range(4000):
        now = stamp(0.1 * k)
        looks.append(reseeding.wants_gnss(now))
        reseeding.accepted(now, looks[-1], agrees=True)
    assert [k for k, look in enumerate(looks) if look] == [1800, 3600]


def test_rejections_in_a_row_make_it_look_and_give_up_looking() -> None:
    reseeding = Reseeding(180.0, 5)
    looks = []
    for k in range(16):
        looks.append(reseeding.wants_gnss(stamp(k)))
        reseeding.rejected(stamp(k), looks[-1], contradicts=False)
    assert looks == [False] * 5 + [True] * 5 + [False] * 5 + [True]


def test_what_contradicts_the_filter_from_gnss_is_no_reason_to_go_back_to_it() -> None:
    reseeding = Reseeding(180.0, 5)
    for k in range(5):
        assert not reseeding.wants_gnss(stamp(k))
        reseeding.rejected(stamp(k), False, contradicts=False)
    for k in range(5, 50):
        assert reseeding.wants_gnss(stamp(k))
        reseeding.rejected(stamp(k), True, contradicts=True)
    reseeding.accepted(stamp(50), True, agrees=False)
    assert reseeding.wants_gnss(stamp(51))
    reseeding.accepted(stamp(51), True, agrees=True)
    assert not reseeding.wants_gnss(stamp(52))
