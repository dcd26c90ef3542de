# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Will a drive work on a map: gaps found where they are, tiles told apart, age and detail."""

from __future__ import annotations

from datetime import date
import json
import sqlite3

import cv2
from loc2_ros.cli.map import app
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.area import Area
from loc2_ros.maps.mercator import merc_lat_lon
from loc2_ros.maps.store import open_store
from loc2_ros.maps.track import read_track, walk
from loc2_ros.maps.values import MapError, StoreInfo
from loc2_ros.maps.verify import advice, age_years, along
from loc2_ros.maps.writer import write_mbtiles_from_local
from map_world import (DATUM, jpeg, noise_tile, png, tile_at, tiles_around, write_mbtiles, ZOOM)
import numpy as np
import pytest
from typer.testing import CliRunner

CENTRE = tile_at()
# The middle of the centre tile, 50.2 m wide
LAT, LON = (float(v) for v in merc_lat_lon((np.array(CENTRE) + 0.5), ZOOM, 1))
FRAME = LocalFrame(LAT, LON)
LIVELY = {key: jpeg(noise_tile(k)) for k, key in enumerate(tiles_around(CENTRE, b'', 3))}


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def _track(path, *xy_m):
    rows = ['lat_deg,lon_deg'] + ['{:.9f},{:.9f}'.format(*FRAME.inverse(p)) for p in xy_m]
    path.write_text('\n'.join(rows))
    return path


def _map(path, tiles, **rows):
    west, south, east, north = LON - 0.003, LAT - 0.002, LON + 0.003, LAT + 0.002
    return write_mbtiles(path, tiles, {'bounds': f'{west},{south},{east},{north}', **rows})


def test_a_covered_track_passes_and_a_gap_is_found_where_it_is(tmp_path):
    track = _track(tmp_path / 't.csv', (-110, 0), (110, 0))
    whole = _map(tmp_path / 'whole', LIVELY)
    assert _run('verify', whole, '--track', track, '--buffer', 15).exit_code == 0
    # The tile column right of the centre is missing: ground from 25.1 to 75.3 m east
    holed = _map(tmp_path / 'holed', {k: v for k, v in LIVELY.items() if k[1] != CENTRE[0] + 1})
    gaps, picture = tmp_path / 'gaps.geojson', tmp_path / 'p.png'
    result = _run('verify', holed, '--track', track, '--buffer', 15, '--gaps', gaps, '--picture',
                  picture, '--json')
    facts = json.loads(result.stdout)
    assert result.exit_code == 1 and not facts['passed']
    gap, = facts['gaps']
    # A crop 30 m wide has 80 % of imagery up to 9 m before the hole
    assert gap['from_m'] == pytest.approx(110 + 25.1 - 9, abs=3)
    assert gap['to_m'] == pytest.approx(110 + 75.3 + 9, abs=3)
    assert facts['coverage'] == pytest.approx(1 - 68.2 / 220, abs=0.03)
    feature, = json.loads(gaps.read_text())['features']
    assert feature['geometry']['coordinates'][0][0] == pytest.approx(
        FRAME.inverse((gap['from_m'] - 110, 0))[1], abs=1e-6)
    drawn = cv2.imread(str(picture))
    assert drawn.shape == (800, 800, 3) and (drawn[..., 2] > drawn[..., 1].astype(int) + 100).any()
    assert _run('verify', holed, '--track', track, '--buffer', 15, '--min-coverage', 0.6
                ).exit_code == 0


def test_transparent_ground_does_not_count_as_covered(tmp_path):
    alpha = np.full((800, 800), 255, np.uint8)
    alpha[:, 400:] = 0
    path = write_mbtiles_from_local(tmp_path / 'm', np.full((800, 800, 3), 99, np.uint8), DATUM,
                                    -80.0, 80.0, 0.2, alpha=alpha)
    west, east = (np.stack(DATUM.inverse(np.array([[x, -20.0], [x, 20.0]])), 1)
                  for x in (-50.0, 50.0))
    with open_store(path) as store:
        assert along(store, west, 20.0).fraction == 1.0
        assert along(store, east, 20.0).fraction == 0.0


def test_blank_doubled_corrupt_and_placeholder_tiles_are_told_apart(tmp_path):
    sign = np.full((256, 256, 3), 240, np.uint8)
    cv2.putText(sign, 'no imagery', (60, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (180, 180, 180), 1)
    keys = list(LIVELY)
    tiles = {**LIVELY, **dict.fromkeys(keys[:3], png(sign)),
             **dict.fromkeys(keys[3:5], png(np.full((256, 256, 3), 7, np.uint8))),
             keys[5]: LIVELY[keys[6]], keys[7]: b'<html>', keys[8]: LIVELY[keys[8]][:900]}
    result = _run('verify', _map(tmp_path / 'm', tiles), '--json')
    facts = json.loads(result.stdout)['tiles']
    assert result.exit_code == 1
    assert {k: facts[k] for k in ('tiles', 'corrupt', 'blank', 'duplicates', 'placeholders')} == {
        'tiles': 49, 'corrupt': 2, 'blank': 2, 'duplicates': 4, 'placeholders': 3}
    assert any('no PNG' in text for text in facts['examples'])


def test_a_tile_that_is_no_longer_what_was_imported_is_found_by_looking_deep(tmp_path):
    path = write_mbtiles_from_local(tmp_path / 'm', np.full((800, 800, 3), 99, np.uint8), DATUM,
                                    -80.0, 80.0, 0.2)
    assert _run('verify', path, '--deep', '-q').exit_code == 0
    with sqlite3.connect(path) as database:
        zoom, x, row = database.execute(
            'SELECT zoom_level, tile_column, tile_row FROM tiles LIMIT 1').fetchone()
        database.execute('UPDATE tiles SET tile_data=? WHERE zoom_level=? AND tile_column=? '
                         'AND tile_row=?', (jpeg(noise_tile(1)), zoom, x, row))
    database.close()
    assert _run('verify', path, '-q').exit_code == 0
    result = _run('verify', path, '--deep', '--json')
    assert result.exit_code == 1 and json.loads(result.stdout)['tiles']['changed'] == 1


def test_corrupt_pages_are_told_and_nothing_raises(tmp_path):
    path = _map(tmp_path / 'm', LIVELY)
    blob = bytearray(path.read_bytes())
    third, size = len(blob) // 3, len(blob) // 10
    blob[third:third + size] = np.random.default_rng(3).bytes(size)
    path.write_bytes(blob)
    result = _run('verify', path, '--json')
    assert result.exit_code == 1 and json.loads(result.stdout)['damage']
    # What can be read can be saved into a new map
    saved = _run('import', path, '-o', tmp_path / 'saved', '-q')
    assert saved.exit_code in (0, 5)


@pytest.mark.parametrize('flown, years', [
    ('2020', 6.4), ('2020-05', 6.5), ('2019-01/2020-05-17', 6.5), ('2020:05:17 12:00:00', 6.5),
    ('May', None), (None, None)])
def test_age_is_that_of_the_newest(flown, years):
    found = age_years(StoreInfo('m', 'mbtiles', date=flown), date(2026, 11, 17))
    assert found is None if years is None else found == pytest.approx(years, abs=0.06)


def test_coarse_old_and_unlicensed_imagery_is_warned_about():
    today = date(2026, 11, 17)
    good = StoreInfo('m', 'mbtiles', gsd_m=0.2, date='2025-05', licence='CC0-1.0')
    assert advice(good, 0.2, today) == []
    bad = StoreInfo('m', 'mbtiles', gsd_m=0.6, date='2011-05', licence='unknown')
    found = ' '.join(advice(bad, 0.2, today))
    assert '0.60 m per pixel' in found and '15.5 years old' in found and 'licence' in found


def test_tracks_are_read_from_what_people_have(tmp_path):
    expected = [[49.0, 8.4], [49.001, 8.401]]
    files = {
        'a.csv': 'time;x\n', 'b.csv': 'Latitude,Longitude\n49.0,8.4\n,\n49.001,8.401\n',
        'c.gpx': '<gpx><rte><rtept lat="49.0" lon="8.4"/><rtept lat="49.001" lon="8.401"/></rte>'
                 '</gpx>',
        'd.geojson': json.dumps({'type': 'Feature', 'geometry': {
            'type': 'LineString', 'coordinates': [[8.4, 49.0], [8.401, 49.001, 120]]}})}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    for name in ('b.csv', 'c.gpx', 'd.geojson'):
        assert read_track(tmp_path / name).tolist() == expected
    with pytest.raises(MapError, match='no columns'):
        read_track(tmp_path / 'a.csv')
    (tmp_path / 'e.gpx').write_text('<!DOCTYPE x [<!ENTITY a "b">]><gpx>&a;</gpx>')
    with pytest.raises(MapError, match='entities'):
        read_track(tmp_path / 'e.gpx')
    for name in ('missing.csv', 'f.txt'):
        (tmp_path / 'f.txt').write_text('')
        with pytest.raises(MapError, match='does not exist|no track'):
            read_track(tmp_path / name)


def test_a_recording_and_a_raw_drive_are_tracks(real_data):
    from loc2_ros.cli.map_options import positions
    raw = positions(real_data / 'kitti_0013' / 'raw')
    recorded = positions(real_data / 'kitti_0013' / 'mcap')
    assert len(raw) == 144 and np.abs(raw[0] - recorded[0]).max() < 1e-4
    assert len(walk(raw, 1.0)) == pytest.approx(173, abs=3)


def test_walking_keeps_the_step_and_jumps_over_gaps():
    points = np.stack(FRAME.inverse(np.array([(0, 0), (10.5, 0), (10.5, 7), (90e3, 0),
                                              (90e3, 5)])), 1)
    xy = FRAME.forward(*walk(points, 1.0).T)
    near = xy[np.hypot(*xy.T) < 100]
    steps = np.hypot(*np.diff(near, axis=0).T)
    # On the way round the corner the straight distance is shorter
    assert np.all(steps < 1.001) and np.median(steps) == pytest.approx(1.0, abs=1e-3)
    assert len(xy) - len(near) <= 8


def test_an_area_lists_the_tiles_that_it_touches():
    box = Area.box(LON - 1e-9, LAT - 1e-9, LON + 1e-9, LAT + 1e-9)
    assert box.tiles(ZOOM) == [CENTRE] and box.touches(ZOOM, *CENTRE)
    assert not box.touches(ZOOM, CENTRE[0] + 1, CENTRE[1])
    assert box.touches(ZOOM - 3, CENTRE[0] >> 3, CENTRE[1] >> 3)
    track = np.array([[LAT, LON], FRAME.inverse((200.0, 0.0))])
    corridor = Area.corridor(track, 20.0)
    assert corridor.tiles(ZOOM) == [(CENTRE[0] + k, CENTRE[1]) for k in range(5)]
    assert Area.corridor(track, 30.0).count(ZOOM) == 3 * 7      # one to each side
    # Across the antimeridian, from Fiji's west to its east
    fiji = Area.box(179.999, -17.001, -179.999, -17.0)
    assert {x for x, _ in fiji.tiles(12)} == {4095, 0} and fiji.touches(12, 0, 2244)
    with pytest.raises(MapError, match='choose a smaller'):
        Area.box(0, 0, 80, 80).tiles(19)
