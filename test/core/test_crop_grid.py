# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where crops lie: around the prior, or on a grid that keeps the camera within reach."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import given, strategies as st
from loc2_ros.core.camera import map_to_tile
from loc2_ros.core.crop_grid import CropGrid
from loc2_ros.core.values import Pose2, Prior, wrap_pi
import numpy as np
import pytest

TEN = math.radians(10.0)
KITTI10 = CropGrid(True, 20.0, TEN, 20.0, TEN)
NORTH_UP = CropGrid(False, 20.0, 0.0, 20.0)


def prior(sigma_m: float = 2.0, sigma_deg: float | None = 1.0) -> Prior:
    return Prior(1, np.zeros(2), None if sigma_deg is None else 0.0, sigma_m,
                 None if sigma_deg is None else math.radians(sigma_deg))


def test_crops_around_a_view_follow_its_heading_or_the_map() -> None:
    view = Pose2(3.0, -4.0, 0.7)
    assert KITTI10.around(view).psi_rad == pytest.approx(0.7)
    assert NORTH_UP.around(view).psi_rad == 0.0
    assert KITTI10.around(view).xy_m.tolist() == [3.0, -4.0]


def test_north_up_crops_are_centred_on_whole_steps() -> None:
    place = NORTH_UP.shared(Pose2(29.0, -31.0, 2.0), prior(sigma_deg=None))
    assert place is not None
    assert (place.x_m, place.y_m, place.psi_rad) == (20.0, -40.0, 0.0)


def test_crops_that_follow_the_view_have_a_grid_along_its_binned_heading() -> None:
    # 33 degrees: the bin of 30, and 100 m along it are five steps
    c, s = math.cos(math.radians(30)), math.sin(math.radians(30))
    place = KITTI10.shared(Pose2(100 * c + 3 * s, 100 * s - 3 * c, math.radians(33)), prior())
    assert place is not None
    assert math.degrees(place.psi_rad) == pytest.approx(30.0)
    assert place.xy_m == pytest.approx([100 * c, 100 * s])


def test_a_prior_that_needs_the_reach_itself_gets_a_crop_of_its_own() -> None:
    view = Pose2(1.0, 2.0, 0.1)
    assert KITTI10.shared(view, prior(5.0, 2.5)) is not None        # 10 + 2 * 5 m, 5 + 2 * 2.5
    assert KITTI10.shared(view, prior(5.1, 2.5)) is None
    assert KITTI10.shared(view, prior(5.0, 2.6)) is None
    assert KITTI10.shared(view, prior(math.inf, 1.0)) is None
    assert NORTH_UP.shared(view, prior(5.0, None)) is not None
    assert replace(KITTI10, step_rad=0.0).shared(view, prior()) is None
    assert CropGrid(True).shared(view, prior()) is None


@given(st.floats(-5000, 5000), st.floats(-5000, 5000), st.floats(-7, 7),
       st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_the_camera_stays_within_reach_of_a_shared_crop(x: float, y: float, yaw: float, ex: float,
                                                        ey: float, turn: float) -> None:
    """Two standard deviations off the prior, in the axes of the tile."""
    view = Pose2(x, y, yaw)
    place = KITTI10.shared(view, prior(5.0, 2.5))
    assert place is not None
    off = 2 * 5.0 * np.array([ex, ey])
    c, s = math.cos(place.psi_rad), math.sin(place.psi_rad)
    true = Pose2(x + c * off[0] - s * off[1], y + s * off[0] + c * off[1],
                 yaw + math.radians(5.0) * turn)
    theta, t = map_to_tile(true, place.xy_m, place.psi_rad)
    assert np.abs(t).max() <= 20.0 + 1e-6
    assert abs(wrap_pi(theta + math.pi / 2)) <= TEN + 1e-9
    # Neighbours get the very same place, so that a dictionary finds it
    assert KITTI10.shared(Pose2(x, y, yaw), prior()) == place
