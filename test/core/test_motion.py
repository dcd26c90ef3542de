# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Odometry: interpolated, looked up, never compared across a reset; priors moved by it."""

from __future__ import annotations

import math

from loc2_ros.core.motion import Odometry
from loc2_ros.core.prior import PriorBuffer
from loc2_ros.core.seed import Seed
from loc2_ros.core.values import Pose2, Prior, Reason, Rejection
import numpy as np
import pytest

S = 10 ** 9
START = 1_317_000_000 * S


def at(seconds: float) -> int:
    return START + round(seconds * S)


def circling(seconds: float, odometry: Odometry | None = None) -> Odometry:
    """Return odometry of a circle of 20 m to the left at 10 m/s, 50 Hz, from (3, 4, 0.5) on."""
    made = odometry or Odometry()
    start = Pose2(3.0, 4.0, 0.5)
    for k in range(round(seconds * 50) + 1):
        made.add(at(k / 50), start @ arc(k / 50))
    return made


def arc(seconds: float) -> Pose2:
    turn = 0.5 * seconds
    return Pose2(20.0 * math.sin(turn), 20.0 * (1.0 - math.cos(turn)), turn)


def close(found: Pose2 | None, expected: Pose2, metres: float = 1e-3) -> None:
    assert found is not None
    assert found.xy_m == pytest.approx(expected.xy_m, abs=metres)
    assert found.yaw_rad == pytest.approx(expected.yaw_rad, abs=1e-6)


def test_the_motion_between_two_stamps_does_not_depend_on_the_frame_of_odometry() -> None:
    close(circling(4.0).between(at(0.0), at(3.0)), arc(3.0))
    close(circling(4.0).between(at(1.013), at(2.027)), arc(1.014))
    close(circling(4.0).between(at(3.0), at(0.0)), arc(3.0).inverse())


def test_beyond_the_samples_and_in_gaps_nothing_is_known() -> None:
    odometry = circling(1.0)
    odometry.add(at(2.0), Pose2(3.0, 4.0, 0.5) @ arc(2.0))
    assert odometry.at(at(1.5)) is None
    assert odometry.at(at(2.01)) is None and odometry.at(at(-0.01)) is None
    close(odometry.between(at(1.0), at(2.0)), arc(1.0))


def test_nothing_is_compared_across_a_reset() -> None:
    odometry = circling(2.0)
    odometry.add(at(2.02), Pose2(300.0, 0.0, 0.0))
    odometry.add(at(2.04), Pose2(300.2, 0.0, 0.0))
    assert odometry.resets == 1
    assert odometry.between(at(1.0), at(2.04)) is None and odometry.at(at(2.01)) is None
    close(odometry.between(at(1.0), at(2.0)), arc(1.0))
    close(odometry.between(at(2.02), at(2.04)), Pose2(0.2, 0.0, 0.0))


def test_what_was_looked_up_is_remembered_when_it_is_gone() -> None:
    known = {at(0.0): Pose2(1.0, 0.0, 0.0), at(20.0): Pose2(5.0, 0.0, 0.0)}
    odometry = Odometry(known.get)
    assert odometry.at(at(0.0)) is not None
    del known[at(0.0)]
    close(odometry.between(at(0.0), at(20.0)), Pose2(4.0, 0.0, 0.0))
    assert odometry.between(at(0.0), at(21.0)) is None


def test_a_recording_that_starts_over_clears_it() -> None:
    odometry = circling(5.0)
    odometry.add(at(0.0), Pose2(0.0, 0.0, 0.0))
    assert odometry.at(at(4.0)) is None and odometry.resets == 0


@pytest.mark.parametrize('yaw', [0.3, 2.0, -2.9, -1.0])
def test_a_prior_is_moved_forward_by_odometry(yaw: float) -> None:
    buffer, odometry = PriorBuffer(), circling(4.0)
    for k in range(11):
        pose = Pose2(100.0, 50.0, yaw) @ arc(k / 10)
        buffer.add_position(at(k / 10), pose.xy_m, 2.0)
        buffer.add_heading(at(k / 10), pose.yaw_rad, 0.02)
    found = buffer.at(at(2.5), odometry.between)
    assert isinstance(found, Prior)
    expected = Pose2(100.0, 50.0, yaw) @ arc(2.5)
    assert found.xy_map_m == pytest.approx(expected.xy_m, abs=1e-3)
    assert found.yaw_map_rad == pytest.approx(expected.yaw_rad, abs=1e-6)
    assert 2.0 < found.sigma_xy_m < 2.2             # without odometry: hypot(2, 15)
    stale = buffer.at(at(3.1), odometry.between)
    assert isinstance(stale, Rejection) and stale.reason is Reason.PRIOR_STALE


def test_without_a_heading_the_way_is_known_but_not_where_to() -> None:
    buffer, odometry = PriorBuffer(), circling(4.0)
    buffer.add_position(at(0.0), np.array([1.0, 2.0]), 3.0)
    found = buffer.at(at(1.0), odometry.between)
    assert isinstance(found, Prior) and found.xy_map_m.tolist() == [1.0, 2.0]
    chord = math.hypot(*arc(1.0).xy_m)
    assert found.sigma_xy_m == pytest.approx(math.hypot(3.0, chord), abs=1e-3)


def test_a_seed_is_moved_as_long_as_there_is_odometry_and_held_for_max_age_without() -> None:
    seed = Seed(at(0.0), Pose2(7.0, 8.0, 1.0), 1.0, 0.1)
    found = seed.at(at(30.0), circling(30.0).between, 2.0)
    assert isinstance(found, Prior) and found.source == 'initialpose' and found.age_s == 0.0
    assert found.xy_map_m == pytest.approx((seed.map_T_base @ arc(30.0)).xy_m, abs=1e-2)
    held = seed.at(at(1.0), Odometry().between, 2.0)
    assert isinstance(held, Prior) and held.xy_map_m.tolist() == [7.0, 8.0]
    assert held.sigma_xy_m == pytest.approx(math.hypot(1.0, 15.0))
    lost = seed.at(at(2.1), Odometry().between, 2.0)
    assert isinstance(lost, Rejection) and lost.reason is Reason.PRIOR_STALE
