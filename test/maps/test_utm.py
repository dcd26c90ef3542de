# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""UTM as a map frame: against PROJ, and a crop in its axes."""

from __future__ import annotations

import math

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.utm import UtmFrame
from loc2_ros.maps.values import MapError
from map_world import noise_tile, PatternSource, PLACES, store_of
import numpy as np
import pytest


@pytest.mark.parametrize('place', PLACES)
def test_a_zone_equals_that_of_proj_and_its_inverse(place):
    pyproj = pytest.importorskip('pyproj')
    frame = UtmFrame.at(*place[:2])
    lat, lon = LocalFrame(*place).inverse(np.random.default_rng(1).uniform(-3e4, 3e4, (50, 2)))
    projection = pyproj.Proj(proj='utm', zone=frame.zone, south=frame.south, ellps='WGS84')
    expected = np.stack(projection(lon, lat), 1) - (frame.east_m, frame.north_m)
    np.testing.assert_allclose(frame.forward(lat, lon), expected, atol=1e-5)
    back = frame.inverse(expected)
    np.testing.assert_allclose(back[0], lat, atol=1e-10)
    np.testing.assert_allclose((back[1] - lon + 180) % 360 - 180, 0.0, atol=1e-10)
    factors = projection.get_factors(lon, lat)
    np.testing.assert_allclose(np.degrees(frame.convergence_rad(expected)),
                               factors.meridian_convergence, atol=2e-3)


def test_karlsruhe_is_half_a_degree_off_north():
    # From the specification: UTM 32 at Karlsruhe, -0.45 degrees
    frame = UtmFrame.at(49.0069, 8.4037)
    assert frame.zone == 32
    assert math.degrees(frame.convergence_rad((0.0, 0.0))) == pytest.approx(-0.45, abs=0.01)


def test_a_crop_in_utm_is_one_in_the_tangent_plane_turned_by_the_convergence():
    lat, lon = 49.0069, 8.4037
    utm, enu = UtmFrame.at(lat, lon), LocalFrame(lat, lon)
    big = np.concatenate([np.concatenate([noise_tile(3 * i + j) for j in range(3)], 1)
                          for i in range(3)], 0)

    def pattern(x, y):
        return big[y.astype(int) % 768, x.astype(int) % 768]

    gamma = utm.convergence_rad((0.0, 0.0))
    with store_of(PatternSource(pattern)) as store:
        a = store.crop(utm, (0.0, 0.0), 0.3, 60.0, 300)
        # The grid is shorter than the ground by 0.04 %, a tenth of a pixel at the rim
        b = store.crop(enu, (0.0, 0.0), 0.3 - gamma, 60.0, 300)
        c = store.crop(enu, (0.0, 0.0), 0.3, 60.0, 300)
    inner = np.s_[50:250, 50:250]
    same = np.abs(a.image[inner].astype(int) - b.image[inner]).mean()
    other = np.abs(a.image[inner].astype(int) - c.image[inner]).mean()
    assert other > 3 * same


@pytest.mark.parametrize('wrong', [{'zone': 0}, {'zone': 61}, {'zone': 32, 'east_m': math.nan}])
def test_what_is_no_zone_is_told(wrong):
    with pytest.raises(MapError, match='zone'):
        UtmFrame(**wrong)
