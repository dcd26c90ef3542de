# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The error put on a prior: its size is exact, its covariance honest, its course repeatable."""

from __future__ import annotations

import math
from types import SimpleNamespace as Message
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.data.messages import heading_from_imu, position_from_fix
from loc2_ros.data.perturb import PriorNoise
import numpy as np
import pytest

NOISE = PriorNoise(15.0, 8.0, seed=3)


def header(seconds: float) -> Message:
    """Build a header some seconds after a drive's start."""
    return Message(stamp=Message(sec=1317042651 + int(seconds), nanosec=int(seconds % 1 * 1e9)))


def fix(seconds: float, lat: float = 49.0, lon: float = 8.4) -> Message:
    """Build a NavSatFix with a good covariance."""
    return Message(header=header(seconds), status=Message(status=0), latitude=lat, longitude=lon,
                   altitude=110.0, position_covariance=np.diag([0.04] * 3).ravel(),
                   position_covariance_type=2)


def imu(yaw: float, first: float = 1e-4) -> Message:
    """Build an Imu that looks along yaw."""
    return Message(header=header(0.0), orientation=Message(
        x=0.0, y=0.0, z=math.sin(yaw / 2), w=math.cos(yaw / 2)),
        orientation_covariance=np.array([first, 0, 0, 0, 1e-4, 0, 0, 0, 1e-4]))


def moved_m(seconds: float, noise: PriorNoise = NOISE) -> Any:
    """Return where a fix at the origin lands, metres east and north."""
    moved = noise.fix(fix(seconds))
    return LocalFrame(49.0, 8.4).forward(moved.latitude, moved.longitude)


@pytest.mark.parametrize('seconds', [0.0, 0.1, 13.7, 60.0, 119.9])
def test_the_offset_has_the_given_length_at_all_times(seconds: float) -> None:
    assert np.linalg.norm(moved_m(seconds)) == pytest.approx(15.0, abs=1e-4)


def test_the_direction_turns_once_in_120_s() -> None:
    np.testing.assert_allclose(moved_m(120.0), moved_m(0.0), atol=1e-4)
    np.testing.assert_allclose(moved_m(60.0), -moved_m(0.0), atol=1e-4)
    step = np.linalg.norm(moved_m(10.1) - moved_m(10.0))
    assert step == pytest.approx(15.0 * 2 * math.pi / 1200, rel=1e-2)


def test_the_seed_chooses_direction_and_sign_and_nothing_else_does() -> None:
    assert NOISE.offset_m(7) == PriorNoise(15.0, 8.0, 3).offset_m(7)
    assert NOISE.offset_m(7) != PriorNoise(15.0, 8.0, 4).offset_m(7)
    signs = {PriorNoise(15.0, 8.0, seed).heading_offset_rad > 0 for seed in range(20)}
    assert signs == {True, False}


@pytest.mark.parametrize('yaw', [-3.0, -1.0, 0.0, 2.0, 3.1])
def test_the_heading_is_turned_by_exactly_the_given_angle(yaw: float) -> None:
    heading = heading_from_imu(NOISE.imu(imu(yaw)), 0.1)
    turned = math.remainder(heading.yaw_rad - yaw, 2 * math.pi)
    assert abs(turned) == pytest.approx(math.radians(8.0))
    assert turned == pytest.approx(NOISE.heading_offset_rad)


def test_the_covariance_covers_the_offset() -> None:
    position = position_from_fix(NOISE.fix(fix(1.0)), 10.0)
    assert position.sigma_known
    assert position.sigma_m == pytest.approx(math.sqrt(0.04 + 15.0 ** 2 / 2))
    heading = heading_from_imu(NOISE.imu(imu(0.0)), 0.1)
    assert heading.sigma_rad == pytest.approx(math.hypot(0.01, math.radians(8.0)))


def test_the_original_message_is_left_alone() -> None:
    message, inertial = fix(1.0), imu(0.5)
    NOISE.fix(message), NOISE.imu(inertial)
    assert message.latitude == 49.0 and message.position_covariance[0] == 0.04
    assert inertial.orientation.z == math.sin(0.25)


def test_no_noise_changes_nothing() -> None:
    none = PriorNoise(0.0, 0.0)
    assert none.fix(fix(1.0)).latitude == 49.0
    assert none.imu(imu(0.5)).orientation.z == math.sin(0.25)


def test_broken_messages_pass_through_as_they_are() -> None:
    assert math.isnan(NOISE.fix(fix(1.0, lat=math.nan)).latitude)
    assert NOISE.imu(imu(0.5, first=-1.0)).orientation.z == math.sin(0.25)
    broken = imu(0.5)
    broken.orientation.w = math.nan
    assert math.isnan(NOISE.imu(broken).orientation.w)


def test_noise_is_written_as_metres_and_degrees() -> None:
    assert PriorNoise.parse('15,8', seed=2) == PriorNoise(15.0, 8.0, 2)
    for text in ('15', '15;8', 'a,b', '1,2,3', '', '-1,3', '1,181', 'nan,0'):
        with pytest.raises(ValueError, match='prior noise'):
            PriorNoise.parse(text)


@pytest.mark.parametrize('lat, lon', [(91.0, 8.4), (math.nan, 8.4), (49.0, math.inf)])
def test_a_fix_that_is_not_on_earth_stays_as_it_is(lat: float, lon: float) -> None:
    moved = NOISE.fix(fix(0.0, lat, lon))
    assert (moved.latitude, moved.longitude) == pytest.approx((lat, lon), nan_ok=True)
