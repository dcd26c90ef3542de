# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The map frame: against pyproj, its own inverse, and numbers worked out on paper."""

from __future__ import annotations

import math

from hypothesis import given, settings, strategies as st
from loc2_ros.core.frames import LocalFrame
import numpy as np
import pytest

# Latitude, longitude, height: both hemispheres, near the equator, high north, the antimeridian
PLACES = [(49.0069, 8.4037, 116.0), (1.2903, 103.8520, 12.0), (-33.8688, 151.2093, 40.0),
          (64.1466, -21.9426, 30.0), (-17.7134, 179.9995, 5.0)]


def _points(reach_m: float, count: int = 200) -> np.ndarray:
    return np.random.default_rng(0).uniform(-reach_m, reach_m, (count, 2))


def _topocentric(lat_deg, lon_deg, height_m):
    pyproj = pytest.importorskip('pyproj')
    return pyproj.Transformer.from_pipeline(
        '+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad '
        '+step +proj=cart +ellps=WGS84 +step +proj=topocentric +ellps=WGS84 '
        f'+lat_0={lat_deg} +lon_0={lon_deg} +h_0={height_m}')


@pytest.mark.parametrize('place', PLACES)
def test_forward_equals_the_topocentric_projection_of_proj(place):
    frame = LocalFrame(*place)
    lat, lon = frame.inverse(_points(50e3))
    x, y, _ = _topocentric(*place).transform(lon, lat, np.full_like(lat, place[2]))
    np.testing.assert_allclose(frame.forward(lat, lon), np.stack([x, y], -1), atol=1e-6)


@pytest.mark.parametrize('place', PLACES)
def test_inverse_is_exact_within_50_km(place):
    frame = LocalFrame(*place, yaw_rad=0.7)
    xy = _points(50e3)
    np.testing.assert_allclose(frame.forward(*frame.inverse(xy)), xy, atol=1e-7)


@settings(deadline=None, max_examples=60)
@given(lat=st.floats(-89, 89), lon=st.floats(-180, 180), yaw=st.floats(-4, 4),
       height=st.floats(-400, 5000), x=st.floats(-1e5, 1e5), y=st.floats(-1e5, 1e5))
def test_the_round_trip_holds_anywhere_on_earth(lat, lon, yaw, height, x, y):
    frame = LocalFrame(lat, lon, height, yaw)
    np.testing.assert_allclose(frame.forward(*frame.inverse((x, y))), (x, y), atol=1e-5)


def test_the_datum_is_the_origin_and_scalars_give_scalars():
    frame = LocalFrame(49.0, 8.4, 100.0)
    np.testing.assert_allclose(frame.forward(49.0, 8.4), (0.0, 0.0), atol=1e-9)
    assert frame.forward(49.0, 8.4).shape == (2,)
    assert frame.forward([49.0, 49.1], [8.4, 8.5]).shape == (2, 2)
    lat, lon = frame.inverse((0.0, 0.0))
    assert isinstance(lat, float) and isinstance(lon, float)
    assert (lat, lon) == pytest.approx((49.0, 8.4), abs=1e-12)


def test_north_is_y_and_east_is_x():
    x, y = LocalFrame(0.0, 0.0).forward(0.001, 0.002)
    assert x == pytest.approx(6378137.0 * math.radians(0.002), rel=1e-6)
    # On the equator the meridian's radius is a (1 - e^2), not a
    assert y == pytest.approx(6335439.327 * math.radians(0.001), rel=1e-6)


def test_a_turned_frame_has_its_x_axis_where_its_yaw_says():
    plain, turned = LocalFrame(49.0, 8.4), LocalFrame(49.0, 8.4, yaw_rad=math.radians(30))
    lat, lon = plain.inverse((100 * math.cos(math.radians(30)), 100 * math.sin(math.radians(30))))
    np.testing.assert_allclose(turned.forward(lat, lon), (100.0, 0.0), atol=1e-6)


def test_the_height_is_held_so_terrain_does_not_stretch_the_map():
    # 1000 m of datum height is 1000 / R of scale, 1.57 m in 10 km, and no more
    low, high = LocalFrame(49.0, 8.4, 0.0), LocalFrame(49.0, 8.4, 1000.0)
    ratio = high.forward(49.0, 8.5)[0] / low.forward(49.0, 8.5)[0]
    assert ratio == pytest.approx(1 + 1000 / 6390000, rel=1e-6)


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('xy', [(0.0, 0.0), (10e3, 0.0), (-20e3, 15e3), (3e3, -30e3)])
def test_convergence_turns_a_true_heading_into_a_map_heading(place, xy):
    frame = LocalFrame(*place, yaw_rad=0.2)
    lat, lon = frame.inverse(xy)
    north = frame.forward(lat + 1e-5, lon) - frame.forward(lat - 1e-5, lon)
    map_heading_of_true_north = math.atan2(north[1], north[0])
    expected = math.pi / 2 + frame.convergence_rad(xy)
    assert math.degrees(map_heading_of_true_north - expected) == pytest.approx(0.0, abs=0.001)


def test_convergence_at_10_km_east_of_karlsruhe_is_a_tenth_of_a_degree():
    gamma = math.degrees(LocalFrame(49.0, 8.4).convergence_rad((10e3, 0.0)))
    assert gamma == pytest.approx(0.103, abs=0.001)


@pytest.mark.parametrize('bad', [(91.0, 0.0), (math.nan, 8.0), (49.0, math.inf), (49.0, 1e9),
                                 (49.0, 8.4, 1e300), (49.0, 8.4, -3e4)])
def test_an_impossible_datum_is_refused(bad):
    with pytest.raises(ValueError, match='datum'):
        LocalFrame(*bad)
