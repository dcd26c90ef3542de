# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What diagnostics tell about the map: how far it reaches, how old it is."""

from __future__ import annotations

from pathlib import Path

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.values import StoreInfo
from loc2_ros.ros.about import about_place, edge_m, fell_back
import numpy as np
import pytest


@pytest.mark.parametrize('place_m, expected_m', [
    ([0.0, 0.0], 500.0), ([-490.0, 30.0], 10.0), ([0.0, 480.0], 20.0), ([520.0, 0.0], -20.0),
    ([0.0, -600.0], -100.0)])
def test_the_edge_of_the_map_is_as_far_as_on_the_ground(
        place_m: list[float], expected_m: float) -> None:
    frame = LocalFrame(49.0, 8.4)
    south, west = frame.inverse(np.array([-500.0, -500.0]))
    north, east = frame.inverse(np.array([500.0, 500.0]))
    found = edge_m((west, south, east, north), frame, np.array(place_m))
    assert found == pytest.approx(expected_m, abs=0.1)      # meridians meet: 4 cm in 1 km


def test_the_age_of_the_imagery_is_told_by_the_clock_of_the_node() -> None:
    class Mapped:
        class store:        # noqa: N801 (an attribute of the localizer)
            info = StoreInfo('', 'mbtiles', date='2009-07-01')
    day_s = 86400
    july_2011 = 15156 * day_s       # days from 1970-01-01 to 2011-07-01: 41 years, 10 leap days
    found = about_place(Mapped, None, None, july_2011 * 1_000_000_000)
    assert found['imagery_age_years'] == pytest.approx(730 / 365.25)
    assert about_place(Mapped, None, None, 0)['imagery_age_years'] is None


def test_only_a_gpu_that_is_there_and_was_not_given_up_is_a_fall_back(tmp_path: Path) -> None:
    driver, none = tmp_path / 'version', tmp_path / 'none'
    driver.write_text('NVRM version')
    assert fell_back('auto', 'cpu', driver)
    assert not fell_back('cpu', 'cpu', driver)          # meant
    assert not fell_back('auto', 'cuda', driver)
    assert not fell_back('auto', 'cpu', none)           # nothing was lost
