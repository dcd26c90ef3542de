# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""How much GNSS and heading have changed, although they leap; fixes moved by that."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import math

from loc2_ros.core.leaps import HEADING, Leaps, POSITION
from loc2_ros.core.predict import by_changes, by_odometry, first_known
from loc2_ros.core.trust import Trust, TrustLimits
from loc2_ros.core.values import Array, Fix, Pose2, Reason, Rejection, wrap_pi
import numpy as np
import pytest

S = 10 ** 9
START = 1_317_000_000 * S


def at(seconds: float) -> int:
    return START + round(seconds * S)


def town(seconds: float) -> Pose2:
    """Drive around blocks: 10 m/s, for 5 s straight and for 5 s along a quarter of a circle."""
    quarters, rest = divmod(seconds, 10.0)
    straight, turn = min(rest, 5.0) * 10.0, max(rest - 5.0, 0.0) * math.pi / 10.0
    radius = 100.0 / math.pi
    step = Pose2(straight, 0.0, 0.0) @ Pose2(radius * math.sin(turn),
                                             radius * (1.0 - math.cos(turn)), turn)
    pose = Pose2(40.0, -30.0, 0.4)
    for _ in range(int(quarters)):
        pose = pose @ Pose2(50.0, 0.0, 0.0) @ Pose2(radius, radius, math.pi / 2.0)
    return pose @ step


def driven(seconds: float, error: Callable[[float], Array], claimed: float,
           rate_hz: float = 10.0) -> Leaps:
    """Return the positions of a drive with a given error."""
    leaps = Leaps(POSITION)
    for k in range(round(seconds * rate_hz) + 1):
        t = k / rate_hz
        leaps.add(at(t), town(t).xy_m + error(t), claimed)
    return leaps


def errors(leaps: Leaps, step_s: float, seconds: float, begin_s: float = 5.0
           ) -> Iterator[tuple[float, float]]:
    """Return (error, claimed deviation) of the changes over a step, all along a drive."""
    for t in np.arange(begin_s, seconds - step_s, 0.5):
        change = leaps.between(at(t), at(t + step_s))
        assert change is not None
        true = town(t + step_s).xy_m - town(t).xy_m
        yield float(np.linalg.norm(change.value - true)), change.sigma


@pytest.mark.parametrize('rate_hz', [1.0, 4.0, 10.0])
def test_what_does_not_leap_changes_as_it_is_measured(rate_hz: float) -> None:
    leaps = driven(60.0, lambda t: np.array([12.0, 9.0]), 1.0, rate_hz)
    assert leaps.count == 0
    for off_m, sigma in errors(leaps, 1.0, 60.0):
        assert off_m < 0.6 and off_m < 3.0 * sigma


@pytest.mark.parametrize(('leap_m', 'claimed'), [(100.0, 1.0), (100.0, 10.0), (30.0, 2.0),
                                                 (3000.0, 5.0)])
def test_a_leap_and_the_way_back_do_not_show_in_the_change(leap_m: float,
                                                           claimed: float) -> None:
    leaps = driven(60.0, lambda t: np.array([0.8, -0.6]) * leap_m * (25.0 <= t < 45.0), claimed)
    assert leaps.count == 2
    for step_s in (1.0, 8.0, 25.0):
        for off_m, _ in errors(leaps, step_s, 60.0):
            assert off_m < 5.0


def test_a_receiver_of_1_hz_that_is_not_punctual_may_leap_as_well() -> None:
    leaps, rng = Leaps(POSITION), np.random.default_rng(8)
    for k in range(61):
        t = k + rng.uniform(0.0, 0.2)
        leaps.add(at(t), town(t).xy_m + np.array([80.0, -60.0]) * (25.0 <= t < 45.0), 2.0)
    assert leaps.count == 2
    for off_m, sigma in errors(leaps, 10.0, 59.0):
        assert off_m < 12.0 and off_m < 4.0 * sigma


@pytest.mark.parametrize('sigma', [1e-200, 1e150, 1.3e154])
def test_no_claim_makes_numbers_that_are_none(sigma: float) -> None:
    leaps = driven(10.0, lambda t: np.zeros(2), sigma)
    change = leaps.between(at(5.0), at(6.0))
    assert change is not None and np.all(np.isfinite(change.value))
    assert 0.0 < change.sigma < 1e7


def test_the_claimed_deviation_is_believable_for_white_noise_and_for_errors_that_wander() -> None:
    rng = np.random.default_rng(5)
    waves = rng.uniform(0.0, 2.0 * math.pi, (2, 4))
    rates = np.array([0.03, 0.06, 0.1, 0.2])

    def wandering(t: float) -> Array:
        return 8.0 * np.sum(np.cos(rates * t + waves), axis=1) / 2.0
    noises: list[tuple[Callable[[float], Array], float]] = [
        (lambda t: rng.normal(0.0, 4.0, 2), 4.0), (wandering, 8.0)]
    for noise, claimed in noises:
        leaps = driven(60.0, noise, claimed)
        for step_s in (1.0, 5.0, 20.0):
            found = np.array(list(errors(leaps, step_s, 60.0)))
            assert np.mean(found[:, 0] < 3.0 * found[:, 1]) > 0.97
            assert np.median(found[:, 1]) < 2.0 * claimed       # and says something


def test_a_receiver_that_claims_too_much_is_not_believed_for_long() -> None:
    rng = np.random.default_rng(6)
    leaps = driven(60.0, lambda t: rng.normal(0.0, 6.0, 2), 0.5)
    far = [off > 10.0 + 3.0 * sigma for off, sigma in errors(leaps, 1.0, 60.0, 10.0)]
    assert not any(far)


def test_a_receiver_that_only_leaps_tells_nothing() -> None:
    rng = np.random.default_rng(7)
    leaps = driven(40.0, lambda t: rng.uniform(-1e4, 1e4, 2), 1.0)
    for t in np.arange(5.0, 30.0, 0.5):
        change = leaps.between(at(t), at(t + 5.0))
        assert change is None or change.sigma > 100.0


def test_a_first_place_that_is_wrong_is_soon_forgotten() -> None:
    leaps = driven(30.0, lambda t: np.array([100.0, 0.0]) * (t == 0.0), 2.0, 1.0)
    for off_m, sigma in errors(leaps, 1.0, 30.0, 4.0):
        assert off_m < 3.0 and sigma < 8.0


def test_beyond_the_last_measurement_and_in_gaps() -> None:
    leaps = driven(4.0, lambda t: np.zeros(2), 1.0)
    change = leaps.between(at(3.0), at(5.0))        # 1 s ahead, on the straight
    assert change is not None
    assert change.value == pytest.approx(town(4.0).xy_m - town(2.0).xy_m, abs=0.2)
    assert leaps.between(at(3.0), at(7.5)) is None and leaps.between(at(-0.1), at(1.0)) is None
    leaps.add(at(8.0), town(8.0).xy_m, 1.0)
    leaps.add(at(8.1), town(8.1).xy_m, 1.0)
    assert leaps.between(at(3.0), at(8.05)) is None and leaps.between(at(3.0), at(6.0)) is None
    assert leaps.between(at(8.0), at(8.1)) is not None


def test_late_messages_are_left_and_a_recording_that_starts_over_begins_anew() -> None:
    leaps, same = (driven(4.0, lambda t: np.zeros(2), 1.0) for _ in range(2))
    leaps.add(at(3.5), np.array([1e3, 1e3]), 1.0)
    leaps.add(at(4.0), np.array([1e3, 1e3]), 1.0)
    a, b = leaps.between(at(1.0), at(4.5)), same.between(at(1.0), at(4.5))
    assert a is not None and b is not None and a.value == pytest.approx(b.value)
    leaps.add(at(-100.0), np.array([7.0, 7.0]), 1.0)        # one alone is only very late
    assert leaps.between(at(1.0), at(4.0)) is not None
    for k in range(6):
        leaps.add(at(-99.9 + 0.1 * k), np.array([8.0, 7.0]), 1.0)
    assert leaps.between(at(1.0), at(4.0)) is None
    assert leaps.between(at(-99.5), at(-99.4)) is not None


@pytest.mark.parametrize(('rate_hz', 'gap_s'), [(1.0, 2.0), (2.0, 2.5), (10.0, 2.9)])
def test_a_leap_within_a_short_gap_shows(rate_hz: float, gap_s: float) -> None:
    leaps = Leaps(POSITION)
    for k in range(round(60.0 * rate_hz)):
        t = k / rate_hz
        if not 25.0 - gap_s < t < 25.0:
            leaps.add(at(t), town(t).xy_m + np.array([80.0, -60.0]) * (25.0 <= t < 45.0), 3.0)
    assert leaps.count == 2
    change = leaps.between(at(20.0), at(40.0))
    assert change is not None
    assert np.linalg.norm(change.value - town(40.0).xy_m + town(20.0).xy_m) < 45.0


def test_what_was_claimed_before_a_receiver_was_ready_hides_no_leap() -> None:
    leaps = Leaps(POSITION)
    for k in range(61):
        leaps.add(at(k), town(k).xy_m + np.array([80.0, -60.0]) * (25 <= k < 45),
                  100.0 if k < 5 else 3.0)
    assert leaps.count == 2


def test_there_and_back_are_opposite() -> None:
    leaps = driven(10.0, lambda t: np.zeros(2), 1.0)
    there, back = leaps.between(at(2.0), at(7.03)), leaps.between(at(7.03), at(2.0))
    assert there is not None and back is not None
    assert there.value == pytest.approx(-back.value) and there.sigma == pytest.approx(back.sigma)


@pytest.mark.parametrize('sign', [1.0, -1.0])
def test_a_compass_that_leaps_by_90_degrees_turns_on_with_the_vehicle(sign: float) -> None:
    leaps = Leaps(HEADING)
    for k in range(601):
        t = 0.1 * k
        off = sign * math.pi / 2.0 * (20.0 <= t < 40.0)
        leaps.add(at(t), np.array([wrap_pi(town(t).yaw_rad + off)]), math.radians(5.0))
    assert leaps.count == 2
    for t in np.arange(1.0, 50.0, 0.5):         # twice around, across +-pi
        change = leaps.between(at(t), at(t + 9.0))
        assert change is not None
        true = town(t + 9.0).yaw_rad - town(t).yaw_rad
        assert abs(wrap_pi(float(change.value[0]) - true)) < math.radians(6.0)


def fix(t: float, off: tuple[float, float] = (0.0, 0.0), turn: float = 0.0) -> Fix:
    pose = town(t)
    return Fix(at(t), Pose2(pose.x_m + off[0], pose.y_m + off[1], pose.yaw_rad + turn),
               np.diag([0.25, 0.25, 1e-3]), 0.9, 1.0, 100, 80, 0.0)


def test_without_odometry_a_wrong_place_is_refused_while_the_receiver_is_off() -> None:
    positions = driven(60.0, lambda t: np.array([80.0, -60.0]) * (25.0 <= t < 45.0), 3.0)
    trust = Trust(by_changes(positions, Leaps(HEADING)), TrustLimits())
    for t in range(60):
        lost = 25 <= t < 45 and t % 3 == 0
        found = trust.judge(fix(float(t), (80.0, -60.0) if lost else (0.3, 0.2)))
        assert isinstance(found, Rejection if lost else Fix), t
        assert not lost or isinstance(found, Rejection) and found.reason is Reason.INNOVATION


def test_without_any_heading_only_the_place_is_compared() -> None:
    positions = driven(10.0, lambda t: np.zeros(2), 1.0)
    trust = Trust(by_changes(positions, Leaps(HEADING)), TrustLimits())
    assert all(isinstance(trust.judge(fix(t, turn=3.0 * t)), Fix) for t in (1.0, 2.0, 3.0))
    headings = Leaps(HEADING)
    for k in range(101):
        headings.add(at(0.1 * k), np.array([town(0.1 * k).yaw_rad]), 0.05)
    strict = Trust(by_changes(positions, headings), TrustLimits())
    assert isinstance(strict.judge(fix(1.0)), Fix)
    assert isinstance(strict.judge(fix(2.0, turn=1.0)), Rejection)
    assert isinstance(strict.judge(fix(7.0)), Fix)


def test_odometry_comes_first_and_gnss_where_it_is_silent() -> None:
    known = [True]
    both = first_known(
        by_odometry(lambda a, b: Pose2(1.0, 2.0, 0.3) if known[0] else None),
        by_changes(driven(10.0, lambda t: np.zeros(2), 1.0), Leaps(HEADING)))
    exact, expected = both(fix(1.0), at(2.0)), town(1.0) @ Pose2(1.0, 2.0, 0.3)
    assert exact is not None and exact.map_T_base.xy_m == pytest.approx(expected.xy_m)
    known[0] = False
    coarse = both(fix(1.0), at(2.0))
    assert coarse is not None
    assert coarse.map_T_base.xy_m == pytest.approx(town(2.0).xy_m, abs=0.3)
    assert coarse.sigma_xy_m > exact.sigma_xy_m
    assert both(fix(1.0), at(50.0)) is None
