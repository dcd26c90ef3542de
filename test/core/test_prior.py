# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The prior buffer: interpolation at the image stamp, holding, age, jumps, time going back."""

from __future__ import annotations

import math
from threading import Thread

from hypothesis import given, strategies as st
from loc2_ros.core.prior import PriorBuffer
from loc2_ros.core.values import Prior, Reason, Rejection
import numpy as np
import pytest

S = 10 ** 9
START = 1_317_000_000 * S  # a real epoch: nanoseconds do not fit into a float


def at(seconds: float) -> int:
    return START + round(seconds * 1e9)


def driving(seconds: float = 5.0, rate_hz: float = 10.0, speed: float = 10.0,
            buffer: PriorBuffer | None = None) -> PriorBuffer:
    """Return a buffer of a drive to the east with the heading to match."""
    buffer = buffer or PriorBuffer()
    for k in range(round(seconds * rate_hz) + 1):
        t = k / rate_hz
        buffer.add_position(at(t), np.array([speed * t, 3.0]), 8.0)
        buffer.add_heading(at(t), 0.0, 0.1)
    return buffer


def prior(buffer: PriorBuffer, seconds: float) -> Prior:
    result = buffer.at(at(seconds))
    assert isinstance(result, Prior), str(result)
    return result


def rejection(buffer: PriorBuffer, seconds: float) -> Rejection:
    result = buffer.at(at(seconds))
    assert isinstance(result, Rejection)
    return result


def test_before_any_position_there_is_no_prior() -> None:
    buffer = PriorBuffer()
    buffer.add_heading(at(0), 0.0, 0.1)
    assert rejection(buffer, 0).reason is Reason.NO_PRIOR


def test_between_two_positions_it_is_interpolated_to_the_nanosecond() -> None:
    found = prior(driving(), 2.034)
    assert found.xy_map_m.tolist() == pytest.approx([20.34, 3.0], abs=1e-6)
    assert found.stamp_ns == at(2.034)
    assert found.age_s == pytest.approx(0.034)
    assert found.sigma_xy_m == pytest.approx(8.0)


def test_at_a_measurement_it_is_that_measurement() -> None:
    found = prior(driving(), 2.0)
    assert found.xy_map_m.tolist() == [20.0, 3.0] and found.age_s == 0.0


def test_deviations_are_interpolated_too() -> None:
    buffer = PriorBuffer()
    buffer.add_position(at(0), np.array([0.0, 0.0]), 4.0)
    buffer.add_position(at(1), np.array([1.0, 0.0]), 8.0)
    assert prior(buffer, 0.25).sigma_xy_m == pytest.approx(5.0)


@pytest.mark.parametrize('before_deg, after_deg, middle_deg', [
    (10, 30, 20), (170, -170, 180), (-170, 170, 180), (-10, 10, 0), (179, -179, 180)])
def test_headings_are_interpolated_the_short_way_round(before_deg: float, after_deg: float,
                                                       middle_deg: float) -> None:
    buffer = driving(0.0)
    buffer.clear()
    for t, yaw in ((0.0, before_deg), (0.1, after_deg)):
        buffer.add_position(at(t), np.zeros(2), 1.0)
        buffer.add_heading(at(t), math.radians(yaw), 0.1)
    found = prior(buffer, 0.05).yaw_map_rad
    assert found is not None and -math.pi <= found < math.pi
    assert math.cos(found - math.radians(middle_deg)) == pytest.approx(1.0)


def test_beyond_the_last_position_it_is_held_and_less_sure_by_speed_times_gap() -> None:
    found = prior(driving(speed=10.0), 5.9)
    assert found.xy_map_m.tolist() == pytest.approx([50.0, 3.0])
    assert found.sigma_xy_m == pytest.approx(math.hypot(8.0, 10.0 * 0.9), rel=1e-3)
    assert found.age_s == pytest.approx(0.9)


def test_a_single_position_is_held_at_the_speed_of_a_car() -> None:
    buffer = PriorBuffer()
    buffer.add_position(at(0), np.array([1.0, 2.0]), 3.0)
    assert prior(buffer, 0.4).sigma_xy_m == pytest.approx(math.hypot(3.0, 6.0))
    assert prior(buffer, 0.0).sigma_xy_m == 3.0


def test_just_before_the_first_position_it_is_held_as_well() -> None:
    assert prior(driving(), -0.3).xy_map_m.tolist() == pytest.approx([0.0, 3.0])


def test_a_prior_older_than_max_age_is_rejected_with_its_age() -> None:
    buffer = driving()
    assert prior(buffer, 6.99)
    stale = rejection(buffer, 7.5)
    assert stale.reason is Reason.PRIOR_STALE
    assert stale.numbers == pytest.approx({'age_s': 2.5, 'max_age_s': 2.0})


def test_in_the_middle_of_a_long_gap_it_is_stale() -> None:
    buffer = driving(1.0)
    buffer.add_position(at(7.0), np.array([70.0, 3.0]), 8.0)
    assert rejection(buffer, 4.0).reason is Reason.PRIOR_STALE
    assert prior(buffer, 6.0).xy_map_m.tolist() == pytest.approx([60.0, 3.0])


def test_neighbours_further_apart_than_speed_explains_are_a_jump() -> None:
    buffer = driving(2.0)
    buffer.add_position(at(2.1), np.array([21.0, 60.0]), 8.0)
    jump = rejection(buffer, 2.05)
    assert jump.reason is Reason.PRIOR_JUMP
    assert jump.numbers['jump_m'] == pytest.approx(57.0 - 1.0, abs=0.1)
    assert rejection(buffer, 2.15).reason is Reason.PRIOR_JUMP  # nor is the far side trusted yet
    buffer.add_position(at(2.2), np.array([22.0, 60.0]), 8.0)
    assert prior(buffer, 2.15).xy_map_m.tolist() == pytest.approx([21.5, 60.0])  # it stayed there


def test_a_fast_drive_with_rare_positions_is_no_jump() -> None:
    assert prior(driving(10.0, rate_hz=1.0, speed=35.0), 4.5)


def test_without_headings_the_prior_has_none() -> None:
    buffer = PriorBuffer()
    buffer.add_position(at(0), np.zeros(2), 1.0)
    assert prior(buffer, 0).yaw_map_rad is None and prior(buffer, 0).sigma_yaw_rad is None


def test_a_stale_heading_counts_as_none() -> None:
    buffer = PriorBuffer()
    buffer.add_heading(at(0), 1.0, 0.1)
    for t in (0.0, 1.0, 2.0, 3.0):
        buffer.add_position(at(t), np.zeros(2), 1.0)
    held = prior(buffer, 1.0)
    assert held.yaw_map_rad == pytest.approx(1.0)
    assert held.sigma_yaw_rad is not None and held.sigma_yaw_rad > 0.1
    assert prior(buffer, 2.5).yaw_map_rad is None


def test_it_reaches_a_stamp_when_every_known_source_does() -> None:
    buffer = PriorBuffer()
    assert not buffer.reaches(at(0))
    buffer.add_position(at(1), np.zeros(2), 1.0)
    assert buffer.reaches(at(1)) and not buffer.reaches(at(1) + 1)
    buffer.add_heading(at(0.5), 0.0, 0.1)
    assert buffer.reaches(at(0.5)) and not buffer.reaches(at(1))


def test_a_bag_that_starts_over_clears_the_past_once() -> None:
    buffer = driving(5.0)
    buffer.add_position(at(0.0), np.array([0.0, 3.0]), 8.0)
    buffer.add_heading(at(0.0), 0.5, 0.1)
    found = prior(buffer, 0.0)
    assert found.xy_map_m.tolist() == [0.0, 3.0] and found.yaw_map_rad == pytest.approx(0.5)
    assert rejection(buffer, 4.0).reason is Reason.PRIOR_STALE


def test_a_message_a_little_late_is_put_in_its_place() -> None:
    buffer = PriorBuffer()
    for t in (0.0, 0.2, 0.1, 0.3):
        buffer.add_position(at(t), np.array([10.0 * t, 0.0]), 1.0)
    assert prior(buffer, 0.15).xy_map_m[0] == pytest.approx(1.5)


def test_a_second_message_of_the_same_stamp_replaces_the_first() -> None:
    buffer = PriorBuffer()
    buffer.add_position(at(0), np.array([1.0, 0.0]), 1.0)
    buffer.add_position(at(0), np.array([2.0, 0.0]), 1.0)
    assert prior(buffer, 0).xy_map_m.tolist() == [2.0, 0.0]


def test_history_is_bounded() -> None:
    buffer = driving(100.0, buffer=PriorBuffer(history_s=10.0))
    assert len(buffer._position.stamps) == len(buffer._heading.stamps) == 101


@pytest.mark.parametrize('xy, sigma', [((math.nan, 0.0), 1.0), ((0.0, math.inf), 1.0),
                                       ((0.0, 0.0), 0.0), ((0.0, 0.0), math.nan)])
def test_measurements_that_are_not_finite_are_refused(xy: tuple[float, float],
                                                      sigma: float) -> None:
    with pytest.raises(ValueError):
        PriorBuffer().add_position(at(0), np.array(xy), sigma)
    with pytest.raises(ValueError):
        PriorBuffer().add_heading(at(0), xy[0] + xy[1], sigma)


@given(st.lists(st.tuples(st.integers(0, 4 * S), st.booleans()), min_size=1, max_size=30),
       st.integers(-S, 5 * S))
def test_messages_in_any_order_give_a_prior_within_their_hull_or_a_reason(
        messages: list[tuple[int, bool]], asked: int) -> None:
    buffer = PriorBuffer(max_jump_m=1e9)
    for stamp, heading in messages:
        if heading:
            buffer.add_heading(START + stamp, 1.0, 0.1)
        else:
            buffer.add_position(START + stamp, np.array([stamp / S, 0.0]), 1.0)
    result = buffer.at(START + asked)
    if isinstance(result, Prior):
        assert -1e-6 <= result.xy_map_m[0] <= 4.0 + 1e-6
        assert result.sigma_xy_m >= 1.0 - 1e-9 and result.age_s <= 2.0
        assert result.yaw_map_rad is None or result.yaw_map_rad == pytest.approx(1.0)
    else:
        assert result.reason in (Reason.NO_PRIOR, Reason.PRIOR_STALE)


def test_two_threads_may_fill_and_ask_at_once() -> None:
    buffer = PriorBuffer(history_s=0.5)
    found: list[type] = []

    def ask() -> None:
        found.extend(type(buffer.at(at(k / 100))) for k in range(500))
    thread = Thread(target=ask)
    thread.start()
    driving(5.0, rate_hz=100.0, buffer=buffer)
    thread.join()
    assert len(found) == 500


def test_one_sensor_with_a_wrong_stamp_does_not_cost_what_the_other_said() -> None:
    buffer = PriorBuffer()
    for k in range(10):
        buffer.add_position((100 + k) * 10 ** 9, np.array([float(k), 0.0]), 1.0)
    buffer.add_heading(1 * 10 ** 9, 0.3, 0.1)
    buffer.add_heading(109 * 10 ** 9, 0.3, 0.1)
    buffer.add_heading(5 * 10 ** 9, 0.3, 0.1)       # back by more than a prior may be old
    found = buffer.at(109 * 10 ** 9)
    assert isinstance(found, Prior) and found.xy_map_m.tolist() == [9.0, 0.0]
    assert found.yaw_map_rad is None
    buffer.add_heading(109 * 10 ** 9, 0.4, 0.1)     # and the next good one is taken
    again = buffer.at(109 * 10 ** 9)
    assert isinstance(again, Prior) and again.yaw_map_rad == pytest.approx(0.4)
