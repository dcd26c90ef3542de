# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Course over ground: right on circles, honest about its error."""

from __future__ import annotations

import math

from loc2_ros.core.course import Course, CourseTrack
from loc2_ros.core.values import Array, wrap_pi
import numpy as np
import pytest

S = 10 ** 9


def courses(xy_m: Array, rate_hz: float, sigma_m: float) -> list[Course | None]:
    """Return the course after each position."""
    track = CourseTrack()
    return [track.add(S + round(k / rate_hz * S), xy, sigma_m) for k, xy in enumerate(xy_m)]


def circle(rate_hz: float, seconds: float, speed: float, turn: float) -> tuple[Array, Array]:
    """Return positions and headings."""
    t = np.arange(round(rate_hz * seconds) + 1) / rate_hz
    yaw, r = 0.7 + turn * t, speed / turn
    return np.stack([r * (np.sin(yaw) - math.sin(0.7)), r * (math.cos(0.7) - np.cos(yaw))],
                    -1), yaw


@pytest.mark.parametrize('rate_hz', [1.0, 5.0, 10.0])
@pytest.mark.parametrize('turn', [1e-6, 0.1, -0.1])
def test_on_a_circle_it_is_the_tangent_at_the_newest_position(
        rate_hz: float, turn: float) -> None:
    xy, yaw = circle(rate_hz, 8.0, 8.0, turn)
    found = courses(xy, rate_hz, 1.0)[-1]
    assert found is not None and found.speed_mps == pytest.approx(8.0, rel=0.06)
    off = abs(wrap_pi(found.yaw_rad - float(yaw[-1])))
    assert off < math.radians(3.5) and off < 2.0 * found.sigma_rad


def test_it_needs_four_positions() -> None:
    xy, _ = circle(10.0, 1.0, 8.0, 1e-6)
    found = courses(xy, 10.0, 1.0)
    assert found[:3] == [None] * 3 and found[3] is not None


def test_its_deviation_is_that_of_its_errors() -> None:
    rng, off = np.random.default_rng(3), []
    for _ in range(200):
        xy, yaw = circle(5.0, 3.0, 10.0, rng.uniform(-0.2, 0.2))
        wander = rng.normal(0.0, 1.0, 2) / 30.0 * np.arange(len(xy))[:, None] / 5.0
        found = courses(xy + wander + rng.normal(0.0, 0.2, xy.shape), 5.0, 1.0)[-1]
        assert found is not None
        off.append(wrap_pi(found.yaw_rad - float(yaw[-1])) / found.sigma_rad)
    assert 0.5 < np.std(off) < 1.2


@pytest.mark.parametrize('sigma_m', [1.0, 10.0])
def test_a_jump_among_the_positions_leads_nowhere(sigma_m: float) -> None:
    xy, yaw = circle(10.0, 4.0, 8.0, 1e-6)
    xy[20:] += (0.0, 100.0)
    found = courses(xy, 10.0, sigma_m)
    assert found[19] is not None and found[20:23] == [None] * 3
    for course in found[23:]:
        assert course is not None
        assert wrap_pi(course.yaw_rad - float(yaw[0])) == pytest.approx(0.0, abs=1e-3)
