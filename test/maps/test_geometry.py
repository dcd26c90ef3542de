# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The geometry of crops: against PROJ, against patterns known in world pixels, by hand."""

from __future__ import annotations

import math

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.mercator import (choose_zoom, merc_gsd_m, merc_lat_lon, merc_px,
                                    world_projection)
from loc2_ros.maps.warp import halved, halvings, map_T_px, source_T_px
from map_world import DATUM, PatternSource, pixel_grid, PLACES, shift_px, store_of, ZOOM
import numpy as np
import pytest

HEADINGS_DEG = [0, 45, 90, 135, 180, -135, -90, -10]


def _sines(x, y):
    """Return a smooth pattern with periods of 40 to 64 world pixels."""
    waves = [np.sin(2 * np.pi * x / 40) * np.cos(2 * np.pi * y / 50),
             np.sin(2 * np.pi * (x + y) / 64), np.cos(2 * np.pi * (x - 2 * y) / 100)]
    return 127.0 + 100.0 * np.stack(waves, axis=-1)


def _drawn(x, y):
    return np.rint(_sines(x, y)).astype(np.uint8)


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('xy', [(0.0, 0.0), (10e3, -20e3), (-35e3, 35e3)])
@pytest.mark.parametrize('yaw_deg', [0.0, 33.0])
def test_the_crop_matrix_agrees_with_proj_within_5_mm_point_by_point(place, xy, yaw_deg):
    pyproj = pytest.importorskip('pyproj')
    frame, yaw, px = LocalFrame(*place), math.radians(yaw_deg), 504
    source = source_T_px(world_projection(frame, ZOOM), np.array(xy), yaw, 100.0, px)
    pixels = pixel_grid(px)[:, ::997]
    # Source pixel centres -> edges -> Mercator metres -> degrees -> tangent plane, all by PROJ
    half_world = math.pi * 6378137.0
    world = (source @ pixels + 0.5) * 2 * half_world / (256 * 2 ** ZOOM)
    lon, lat = pyproj.Transformer.from_crs('EPSG:3857', 'EPSG:4326', always_xy=True).transform(
        world[0] - half_world, half_world - world[1])
    x, y, _ = pyproj.Transformer.from_pipeline(
        '+proj=pipeline +step +proj=unitconvert +xy_in=deg +xy_out=rad '
        '+step +proj=cart +ellps=WGS84 +step +proj=topocentric +ellps=WGS84 '
        f'+lat_0={place[0]} +lon_0={place[1]} +h_0={place[2]}').transform(
            lon, lat, np.full_like(lat, place[2]))
    expected = map_T_px(np.array(xy), yaw, 100.0, px) @ pixels
    assert np.hypot(x - expected[0], y - expected[1]).max() < 0.005


@pytest.mark.parametrize('place', PLACES)
def test_mercator_pixels_equal_those_of_proj(place):
    pyproj = pytest.importorskip('pyproj')
    lat, lon = LocalFrame(*place).inverse(np.random.default_rng(1).uniform(-3e4, 3e4, (50, 2)))
    x, y = pyproj.Transformer.from_crs('EPSG:4326', 'EPSG:3857', always_xy=True).transform(
        lon, lat)
    scale = 256 * 2 ** ZOOM / (2 * math.pi * 6378137.0)
    expected = np.stack([x, -y], axis=1) * scale + 128 * 2 ** ZOOM
    np.testing.assert_allclose(merc_px(lat, lon, ZOOM), expected, atol=1e-6)
    np.testing.assert_allclose(merc_lat_lon(merc_px(lat, lon, ZOOM), ZOOM), (lat, lon),
                               atol=1e-11)


def test_the_ground_size_of_a_pixel_is_that_of_the_ellipsoid():
    # kE and kN at 49.007 degrees are 1.52155 and 1.52597, the spherical scale is 1.52446
    east, north = merc_gsd_m(49.007, 19)
    equator = 2 * math.pi * 6378137.0 / (256 * 2 ** 19)
    assert equator / east == pytest.approx(1.52155, abs=2e-5)
    assert equator / north == pytest.approx(1.52597, abs=2e-5)


def test_map_T_px_by_hand():
    # 4 px over 8 m about (10, 20): pixels are 2 m, the first centre is 3 m left and 3 m up
    np.testing.assert_allclose(map_T_px(np.array([10.0, 20.0]), 0.0, 8.0, 4) @ [0, 0, 1],
                               (7.0, 23.0))
    # Turned by 90 degrees the right of the image points to map y, its up to minus x
    turned = map_T_px(np.array([10.0, 20.0]), math.pi / 2, 8.0, 4)
    np.testing.assert_allclose(turned @ [3, 1.5, 1], (10.0, 23.0), atol=1e-12)
    np.testing.assert_allclose(turned @ [1.5, 0, 1], (7.0, 20.0), atol=1e-12)


@pytest.mark.parametrize('place', PLACES)
@pytest.mark.parametrize('yaw_deg', [0.0, 77.0])
def test_a_crop_shows_the_world_pixels_its_matrix_says_within_a_fiftieth_of_a_pixel(place,
                                                                                    yaw_deg):
    frame, px = LocalFrame(*place), 256
    gsd = merc_gsd_m(place[0], ZOOM)[0]
    with store_of(PatternSource(_drawn)) as store:
        crop = store.crop(frame, (123.4, -56.7), math.radians(yaw_deg), px * gsd, px)
    assert crop.valid_fraction == 1.0 and crop.zoom == ZOOM
    ground = (crop.map_T_px @ pixel_grid(px)).T
    world = world_projection(frame, ZOOM)(ground)
    if abs(place[1]) > 179.9:
        # The pattern does not close around the world: x wraps before it is drawn
        world[:, 0] %= 256 * 2 ** ZOOM
    expected = _sines(world[:, 0], world[:, 1])
    assert np.abs(shift_px(crop.image, expected)).max() < 0.02
    assert np.abs(crop.image.reshape(-1, 3) - expected).mean() < 1.0


def test_a_checkerboard_keeps_its_edges_where_they_are():
    # White right of a known meridian: the edge crosses the crop between its two middle columns
    edge = round(merc_px(*DATUM.inverse((0.0, 0.0)), ZOOM)[0])

    def board(x, y):
        return np.where(x[..., None] > edge, 250, 10).astype(np.uint8).repeat(3, axis=2)

    lat, lon = merc_lat_lon((edge, merc_px(*DATUM.inverse((0.0, 0.0)), ZOOM)[1]), ZOOM)
    frame = LocalFrame(float(lat), float(lon), 116.0)
    with store_of(PatternSource(board)) as store:
        crop = store.crop(frame, (0.0, 0.0), 0.0, 256 * merc_gsd_m(float(lat), ZOOM)[0], 256)
    white = (crop.image[..., 0].astype(float) - 10) / 240
    # 128 dark and 128 bright columns; half a pixel dropped would give 127.5
    assert white.sum(axis=1).mean() == pytest.approx(128.0, abs=0.02)


@pytest.mark.parametrize('times', [1, 2, 3])
def test_halving_the_source_moves_nothing(times):
    frame, px = DATUM, 256
    size = px * merc_gsd_m(frame.lat_deg, ZOOM)[0] * 2 ** times * 1.02

    def slow(x, y):
        return np.rint(_sines(x / 8, y / 8)).astype(np.uint8)

    with store_of(PatternSource(slow)) as store:
        crop = store.crop(frame, (0.0, 0.0), 0.4, size, px)
    world = world_projection(frame, ZOOM)((crop.map_T_px @ pixel_grid(px)).T)
    assert crop.source_gsd_m == pytest.approx(merc_gsd_m(frame.lat_deg, ZOOM)[0] * 2 ** times,
                                              rel=0.01)
    assert np.abs(shift_px(crop.image, _sines(*(world / 8).T))).max() < 0.02


def test_halvings_stop_before_detail_is_lost():
    assert [halvings(np.eye(2, 3) * k) for k in (0.5, 1.0, 1.99, 2.0, 3.9, 4.0)] == [
        0, 0, 0, 1, 1, 2]
    # Pixel 0 of the halved image lies between pixels 0 and 1 of the whole one
    np.testing.assert_allclose(halved(np.array([[1.0, 0, 0.5], [0, 1, 0.5]]), 1)[:, 2], 0.0)


def test_a_rotated_crop_equals_the_north_up_crop_rotated():
    import cv2
    with store_of(PatternSource(_drawn)) as store:
        north = store.crop(DATUM, (0.0, 0.0), 0.0, 150.0, 756).image
        turned = store.crop(DATUM, (0.0, 0.0), math.radians(37.0), 100.0, 504).image
    # Looking along 37 degrees turns the content by -37
    matrix = cv2.getRotationMatrix2D((377.5, 377.5), -37.0, 1.0)
    by_hand = cv2.warpAffine(north, matrix, (756, 756))[126:630, 126:630]
    assert np.abs(by_hand.astype(int) - turned).mean() < 2.0


@pytest.mark.parametrize('away_m', [0.0, 10e3, 20e3])
@pytest.mark.parametrize('heading_deg', HEADINGS_DEG)
def test_a_painted_arrow_points_right_in_a_crop_along_its_true_heading(heading_deg, away_m):
    frame = LocalFrame(49.0, 8.4, 100.0)
    lat, lon = frame.inverse((away_m, away_m / 2))
    here = LocalFrame(lat, lon, 100.0)
    # Painted in true directions at the place itself: a bright line through the centre
    arrow = math.radians(heading_deg)

    def paint(x, y):
        true = here.forward(*merc_lat_lon(np.stack([x.ravel(), y.ravel()], -1), ZOOM))
        side = true @ (-math.sin(arrow), math.cos(arrow))
        ahead = true @ (math.cos(arrow), math.sin(arrow))
        line = 250 * np.exp(-(side / 0.6) ** 2) * (ahead > -5)
        return line.reshape(x.shape)[..., None].astype(np.uint8).repeat(3, axis=2)

    with store_of(PatternSource(paint)) as store:
        yaw_map = arrow + frame.convergence_rad((away_m, away_m / 2))
        crop = store.crop(frame, (away_m, away_m / 2), yaw_map, 40.0, 400)
    bright = crop.image[..., 0].astype(float)
    assert bright[:, 350].max() > 200 and bright[:, 50].max() == 0      # it points right
    u = np.arange(210, 390)
    v = (bright[:, u] * np.arange(400)[:, None]).sum(axis=0) / bright[:, u].sum(axis=0)
    slope, at_zero = np.polyfit(u, v, 1)
    assert math.degrees(math.atan(slope)) == pytest.approx(0.0, abs=0.02)
    assert slope * 199.5 + at_zero == pytest.approx(199.5, abs=0.05)


def test_the_map_offset_moves_the_sampling_and_not_the_frame():
    with store_of(PatternSource(_drawn)) as plain, \
            store_of(PatternSource(_drawn), offset_m=(3.0, -2.0)) as moved:
        expected = plain.crop(DATUM, (3.0, -2.0), 0.3, 100.0, 256)
        crop = moved.crop(DATUM, (0.0, 0.0), 0.3, 100.0, 256)
        np.testing.assert_array_equal(crop.image, expected.image)
        np.testing.assert_allclose(crop.map_T_px @ [127.5, 127.5, 1], (0.0, 0.0), atol=1e-9)


def test_the_map_offset_is_east_and_north_even_in_a_turned_frame():
    turned = LocalFrame(DATUM.lat_deg, DATUM.lon_deg, DATUM.height_m, math.radians(90))
    with store_of(PatternSource(_drawn), offset_m=(3.0, -2.0)) as store:
        east_up = store.crop(DATUM, (0.0, 0.0), 0.0, 100.0, 256)
        # Map x points north there: the same picture has its right along minus y
        same = store.crop(turned, (0.0, 0.0), math.radians(-90), 100.0, 256)
    assert np.abs(east_up.image.astype(int) - same.image).max() <= 1


def test_crop_latlon_is_a_crop_in_a_frame_at_the_place():
    with store_of(PatternSource(_drawn)) as store:
        there = store.crop_latlon(49.0, 8.4, 0.2, 100.0, 128)
        frame = store.crop(LocalFrame(49.0, 8.4), (0.0, 0.0), 0.2, 100.0, 128)
    np.testing.assert_array_equal(there.image, frame.image)


@pytest.mark.parametrize('lat_deg, target_m, zoom', [
    (49.0, 100 / 504, 19), (49.0, 0.10, 20), (0.0, 0.2, 20), (49.0, 5.0, 15), (49.0, 0.01, 20)])
def test_the_coarsest_level_that_keeps_the_detail_is_read(lat_deg, target_m, zoom):
    assert choose_zoom(range(15, 21), lat_deg, target_m) == zoom


def test_a_coarse_map_is_upsampled_and_says_so():
    with store_of(PatternSource(_drawn, zooms=(17,))) as store:
        crop = store.crop(DATUM, (0.0, 0.0), 0.0, 100.0, 504)
    assert crop.upsampled and crop.zoom == 17
    assert crop.source_gsd_m == pytest.approx(0.785, abs=0.002)


@pytest.mark.parametrize('request_', [
    ((math.nan, 0.0), 0.0, 100.0, 504), ((0.0, 0.0), math.inf, 100.0, 504),
    ((0.0, 0.0), 0.0, 4.9, 504), ((0.0, 0.0), 0.0, 501.0, 504), ((0.0, 0.0), 0.0, math.nan, 504),
    ((0.0, 0.0), 0.0, 100.0, 15), ((0.0, 0.0), 0.0, 100.0, 5000), ((0.0,), 0.0, 100.0, 504)])
def test_an_impossible_request_raises(request_):
    with store_of(PatternSource(_drawn)) as store:
        with pytest.raises(ValueError, match='a crop'):
            store.crop(DATUM, *request_)


@pytest.mark.parametrize('xy', [(5e5, 5e5), (1e30, 0.0), (-2e6, 3.0)])
def test_a_prior_anywhere_off_the_map_gives_a_black_crop(xy):
    with store_of(PatternSource(lambda x, y: None)) as store:
        crop = store.crop(DATUM, xy, 0.0, 100.0, 64)
        assert crop.valid_fraction == 0.0 and not crop.valid.any() and not crop.image.any()
        assert store.covered(DATUM, xy, 100.0) == 0.0


@pytest.mark.parametrize('lat_deg', [90.0, -90.0, 86.0])
def test_beyond_the_edge_of_mercator_there_are_holes(lat_deg):
    with store_of(PatternSource(_drawn)) as store:
        assert store.crop(LocalFrame(lat_deg, 8.0), (0.0, 0.0), 0.0, 100.0, 64
                          ).valid_fraction == 0.0
