# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Writing a picture as a map: what comes back, what is not claimed, what survives a failure."""

from __future__ import annotations

import json
import math
import sqlite3
import zlib

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.guard import peek
from loc2_ros.maps.store import MapError, open_store
from loc2_ros.maps.writer import write_mbtiles_from_local
from map_world import DATUM, pixel_grid, shift_px
import numpy as np
import pytest

GSD_M, SIDE = 0.2, 800
WEST_M, NORTH_M = -90.0, 75.0


def _waves(xy_map_m):
    """Return a pattern of map metres, (N, 2) -> (N, 3), with periods of 9 to 20 m."""
    x, y = xy_map_m.T
    waves = [np.sin(2 * np.pi * x / 9) * np.cos(2 * np.pi * y / 11),
             np.sin(2 * np.pi * (x + y) / 14), np.cos(2 * np.pi * (x - 2 * y) / 30)]
    return 127.0 + 90.0 * np.stack(waves, axis=-1)


def _picture():
    column, row = np.meshgrid(np.arange(SIDE) + 0.5, np.arange(SIDE) + 0.5)
    xy = np.stack([WEST_M + GSD_M * column.ravel(), NORTH_M - GSD_M * row.ravel()], axis=1)
    return np.rint(_waves(xy)).astype(np.uint8).reshape(SIDE, SIDE, 3)


FRAMES = [DATUM, LocalFrame(-33.8688, 151.2093, 40.0),
          LocalFrame(64.1466, -21.9426, 30.0, math.radians(30))]


@pytest.fixture(scope='module', params=range(3), ids=['plain', 'south', 'turned frame'])
def written(request, tmp_path_factory):
    frame = FRAMES[request.param]
    path = tmp_path_factory.mktemp('map') / 'map.mbtiles'
    write_mbtiles_from_local(path, _picture(), frame, WEST_M, NORTH_M, GSD_M, quality=95,
                             metadata={'name': 'waves'})
    return path, frame


@pytest.mark.parametrize('yaw_deg, size_m, px', [(0, 80, 400), (123, 80, 400), (40, 100, 256),
                                                 (-60, 100, 128)])
def test_what_is_written_comes_back_within_a_twentieth_of_a_pixel(written, yaw_deg, size_m, px):
    path, frame = written
    with open_store(path) as store:
        crop = store.crop(frame, (-5.0, 3.0), math.radians(yaw_deg), size_m, px)
    expected = _waves((crop.map_T_px @ pixel_grid(px)).T)
    assert crop.valid_fraction == 1.0 and not crop.upsampled
    assert np.abs(shift_px(crop.image, expected)).max() < 0.05


def test_the_mask_ends_where_the_picture_does(written):
    path, frame = written
    with open_store(path) as store:
        crop = store.crop(frame, (WEST_M, NORTH_M), 0.4, 100.0, 500)
    x, y = (crop.map_T_px @ pixel_grid(500)).reshape(2, 500, 500)
    inside = np.minimum(x - WEST_M, NORTH_M - y)        # metres within the picture
    assert not crop.valid[inside < 0].any()
    # Half a pixel of the picture, one of a tile, one of the crop
    assert crop.valid[inside > 0.6].all()
    expected = _waves(np.stack([x.ravel(), y.ravel()], 1)).reshape(500, 500, 3)
    # Border tiles are lossy WebP; what is valid shows the picture and no black bleeds into it
    assert np.abs(crop.image.astype(int) - expected)[crop.valid].mean() < 4.0


def test_holes_in_the_alpha_stay_holes_in_every_level(tmp_path):
    alpha = np.full((SIDE, SIDE), 255, np.uint8)
    row, column = np.mgrid[:SIDE, :SIDE]
    hole = np.hypot(row - 400, column - 300) < 100
    alpha[hole] = 0
    picture = np.full((SIDE, SIDE, 3), 180, np.uint8)
    picture[hole] = 0
    path = write_mbtiles_from_local(tmp_path / 'map', picture, DATUM, WEST_M, NORTH_M, GSD_M,
                                    alpha=alpha)
    centre = np.array([WEST_M + 300 * GSD_M, NORTH_M - 400 * GSD_M])
    with open_store(path) as store:
        for px in (400, 200, 100, 50):
            crop = store.crop(DATUM, centre, 0.0, 80.0, px)
            away = np.hypot(*((crop.map_T_px @ pixel_grid(px)).T - centre).T).reshape(px, px)
            assert not crop.valid[away < 19.9].any()
            assert crop.valid[away > 20.0 + 4 * 80.0 / px + 0.3].all()
            assert np.abs(crop.image[crop.valid].astype(int) - 180).mean() < 2.0


def test_the_finest_level_keeps_the_detail_and_three_overviews_follow(written):
    path, frame = written
    with open_store(path) as store:
        info = store.info
    assert len(info.zooms) == 4 and info.zooms == tuple(range(info.zooms[0], info.zooms[-1] + 1))
    assert 0.5 * GSD_M < info.gsd_m <= 1.05 * GSD_M
    west, south, east, north = info.bounds
    corners = frame.inverse([(WEST_M, NORTH_M), (WEST_M + 160, NORTH_M), (WEST_M, NORTH_M - 160),
                             (WEST_M + 160, NORTH_M - 160)])
    assert (south, north) == pytest.approx((min(corners[0]), max(corners[0])), abs=1e-6)
    assert (west, east) == pytest.approx((min(corners[1]), max(corners[1])), abs=1e-6)


@pytest.mark.parametrize('zoom, overviews, zooms', [(17, 3, (14, 15, 16, 17)), (20, 0, (20,))])
def test_the_level_can_be_chosen(tmp_path, zoom, overviews, zooms):
    path = write_mbtiles_from_local(tmp_path / 'map', _picture(), DATUM, WEST_M, NORTH_M, GSD_M,
                                    zoom=zoom, overviews=overviews)
    with open_store(path) as store:
        assert store.info.zooms == zooms
        crop = store.crop(DATUM, (-10.0, 0.0), 0.2, 100.0, 100)
    expected = _waves((crop.map_T_px @ pixel_grid(100)).T)
    assert np.abs(shift_px(crop.image, expected)).max() < 0.1


def test_a_level_at_which_nothing_is_left_is_refused(tmp_path):
    with pytest.raises(MapError, match='choose a finer'):
        write_mbtiles_from_local(tmp_path / 'map', _picture(), DATUM, WEST_M, NORTH_M, GSD_M,
                                 zoom=1)
    assert not list(tmp_path.iterdir())


def test_inner_tiles_are_jpeg_and_border_tiles_webp_with_checksums(written):
    database = sqlite3.connect(written[0])
    rows = database.execute(
        'SELECT tile_data, crc32 FROM tiles JOIN loc2_crc ON z = zoom_level AND x = tile_column '
        'AND y = (1 << z) - 1 - tile_row').fetchall()
    count = database.execute('SELECT count(*) FROM tiles').fetchone()[0]
    database.close()
    assert len(rows) == count
    assert all(zlib.crc32(blob) == crc for blob, crc in rows)
    assert {peek(blob).format for blob, _ in rows} == {'jpeg', 'webp'}


def test_metadata_are_standard_rows_and_one_of_our_own(tmp_path):
    path = write_mbtiles_from_local(
        tmp_path / 'town.mbtiles', _picture(), DATUM, WEST_M, NORTH_M, GSD_M,
        metadata={'name': 'a town', 'attribution': 'nobody', 'licence': 'Apache-2.0',
                  'acquired': {'from': '2022-07-01'}, 'map_offset_m': [0.5, -0.25]})
    database = sqlite3.connect(path)
    rows = dict(database.execute('SELECT name, value FROM metadata'))
    tiles = database.execute('SELECT count(*) FROM tiles').fetchone()[0]
    assert database.execute('PRAGMA journal_mode').fetchone() == ('delete',)
    database.close()
    assert rows['format'] == 'jpg' and rows['type'] == 'baselayer'
    own = json.loads(rows['loc2'])
    assert own['tile_count'] == tiles and own['licence'] == 'Apache-2.0'
    with open_store(path) as store:
        info = store.info
    assert (info.name, info.attribution, info.licence) == ('a town', 'nobody', 'Apache-2.0')
    assert (info.date, info.offset_m, info.warnings) == ('2022-07-01', (0.5, -0.25), ())
    assert info.tile_count == tiles


def test_a_map_appears_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / 'map.mbtiles'
    path.write_bytes(b'the old map')

    def fail(*_):
        raise MapError('the disk is full')

    monkeypatch.setattr('loc2_ros.maps.tilefile.TileFile.put', fail)
    with pytest.raises(MapError, match='disk is full'):
        write_mbtiles_from_local(path, _picture()[:300, :300], DATUM, 0.0, 0.0, GSD_M)
    assert path.read_bytes() == b'the old map'
    assert [p.name for p in tmp_path.iterdir()] == ['map.mbtiles']
    monkeypatch.undo()
    write_mbtiles_from_local(path, _picture()[:300, :300], DATUM, 0.0, 0.0, GSD_M)
    assert [p.name for p in tmp_path.iterdir()] == ['map.mbtiles']
    with open_store(path) as store:
        assert store.info.name == 'map'


def test_a_folder_that_is_not_there_is_a_sentence(tmp_path):
    with pytest.raises(MapError, match='cannot be written'):
        write_mbtiles_from_local(tmp_path / 'no' / 'map', _picture(), DATUM, 0.0, 0.0, GSD_M)


@pytest.mark.parametrize('change', [
    {'rgb': np.zeros((5, 5), np.uint8)}, {'rgb': np.zeros((5, 5, 3))}, {'gsd_m': 0.0},
    {'gsd_m': math.nan}, {'west_m': math.inf}, {'alpha': np.zeros((4, 5), np.uint8)},
    {'quality': 0}, {'zoom': 30}])
def test_a_picture_that_makes_no_sense_is_refused(tmp_path, change):
    arguments = {'rgb': np.zeros((5, 5, 3), np.uint8), 'frame': DATUM, 'west_m': 0.0,
                 'north_m': 0.0, 'gsd_m': 0.2, **change}
    with pytest.raises(ValueError, match='picture|quality|zoom'):
        write_mbtiles_from_local(tmp_path / 'map', **arguments)
    assert not list(tmp_path.iterdir())
