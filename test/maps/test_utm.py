# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""UTM as a map frame: against PROJ, and a crop in its axes."""

from __future__ import annotations

import math

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.utm import frame_as, UtmFrame, zone_of
from map_world import noise_tile, PatternSource, PLACES, store_of
import numpy as np
import pytest


@pytest.mark.parametrize('place', PLACES)
def test_a_zone_equals_that_of_proj_and_its_inverse(place):
    pyproj = pytest.importorskip('pyproj')
    frame = UtmFrame(*place[:2])
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
    frame = UtmFrame(49.0069, 8.4037)
    assert frame.zone == 32
    assert math.degrees(frame.convergence_rad((0.0, 0.0))) == pytest.approx(-0.45, abs=0.01)


def test_a_crop_in_utm_is_one_in_the_tangent_plane_turned_by_the_convergence():
    lat, lon = 49.0069, 8.4037
    utm, enu = UtmFrame(lat, lon), LocalFrame(lat, lon)
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


@pytest.mark.parametrize('lat', [84.5, -80.5, math.nan])
def test_a_datum_beyond_the_reach_of_utm_is_told(lat):
    with pytest.raises(ValueError, match='UTM|datum'):
        UtmFrame(lat, 8.0)


@pytest.mark.parametrize('lat, lon, zone', [
    (49.0, 8.4, 32), (49.0, 5.999, 31), (0.0, -180.0, 1), (0.0, 180.0, 1), (0.0, 179.9, 60),
    (60.4, 5.3, 32), (55.9, 5.3, 31), (64.0, 5.3, 31),              # Bergen, and around it
    (78.2, 8.9, 31), (78.2, 15.6, 33), (78.2, 21.0, 35), (78.2, 41.9, 37), (78.2, 42.0, 38)])
def test_zones_are_those_of_the_maps_norway_and_svalbard_included(lat, lon, zone):
    assert zone_of(lat, lon) == zone
    assert UtmFrame(lat, lon).zone == zone


def test_a_mode_keeps_the_datum_and_changes_the_axes():
    enu = LocalFrame(49.0069, 8.4037, 116.0)
    utm = frame_as('utm', enu)
    assert (utm.mode, utm.lat_deg, utm.lon_deg, utm.height_m) == ('utm', 49.0069, 8.4037, 116.0)
    with pytest.raises(ValueError, match="'mgrs' is unknown; it is enu or utm"):
        frame_as('mgrs', enu)
    assert utm != enu and frame_as('enu', utm) == enu and frame_as('enu', enu) is enu
    np.testing.assert_allclose(utm.forward(49.0069, 8.4037), 0.0, atol=1e-9)
    # A kilometre north of the datum: 0.9996 of it, and turned by half a degree
    x, y = utm.forward(*enu.inverse((0.0, 1000.0)))
    assert math.hypot(x, y) == pytest.approx(999.7, abs=0.15)
    assert math.degrees(math.atan2(-x, y)) == pytest.approx(-0.45, abs=0.01)
