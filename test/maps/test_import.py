# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Imports: in the right place from any system, safe with odd files, whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import sqlite3
import struct
import subprocess
import sys
import zipfile

import cv2
from geo_world import by_gdal, in_grid, place
from loc2_ros.cli.map import app
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps import tilefile
from loc2_ros.maps.importer import import_map
from loc2_ros.maps.job import ImportOptions
from loc2_ros.maps.mercator import merc_lat_lon
from loc2_ros.maps.origin import Origin
from loc2_ros.maps.sources import find_sources
from loc2_ros.maps.store import open_store
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.values import MapError, Refused
from map_world import (jpeg, noise_tile, png, shift_px, tile_at, tiles_around, write_folder,
                       write_mbtiles)
import numpy as np
import pytest
from typer.testing import CliRunner

rasterio = pytest.importorskip('rasterio', reason="needs the extra 'geo'")
from_origin = pytest.importorskip('rasterio.transform').from_origin

ROOT = Path(__file__).resolve().parents[2]
# Where each system is at home
SYSTEMS = {3857: (49.0069, 8.4037), 25832: (49.0069, 8.4037), 28992: (52.10, 5.40),
           2056: (47.05, 8.30), 32617: (29.69, -81.99)}
LEFT, TOP = 457_000.0, 5_428_000.0      # EPSG:25832, for maps whose place does not matter


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def _import(out, *names, origin=Origin(), **options):
    return import_map(find_sources([str(n) for n in names]), Path(out), origin,
                      ImportOptions(**options))


def _ground(side=1024):
    tiles = side // 256
    rough = np.concatenate([np.concatenate([noise_tile(tiles * i + j) for j in range(tiles)], 1)
                            for i in range(tiles)], 0)
    return cv2.GaussianBlur(rough, (0, 0), 2)


def _write(path, pixels, left=LEFT, top=TOP, gsd=0.2, crs='EPSG:25832', **options):
    """Write pixels (H, W, bands) as a raster."""
    height, width, bands = pixels.shape
    with rasterio.open(path, 'w', driver='GTiff', width=width, height=height, count=bands,
                       dtype='uint8', crs=crs, transform=from_origin(left, top, gsd, gsd),
                       **options) as file:
        file.write(pixels.transpose(2, 0, 1))
    return path


def _grey(value, shape=(400, 400)):
    return np.full((*shape, 3), value, np.uint8)


@pytest.fixture(scope='module', params=SYSTEMS)
def imported(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp('import')
    frame = LocalFrame(*SYSTEMS[request.param])
    raster = in_grid(folder / 'photo.tif', _ground(), frame, request.param)
    out = folder / 'map.mbtiles'
    _import(out, raster, quality=97)
    return raster, out


@pytest.mark.parametrize('yaw_deg', [0.0, 37.0, -110.0])
def test_an_import_lies_where_gdal_puts_the_raster_within_a_fifth_of_a_pixel(imported, yaw_deg):
    raster, out = imported
    lat, lon = place(raster)
    # 2 km from the datum, so that convergence and scale matter
    frame = LocalFrame(*LocalFrame(lat, lon).inverse((1500.0, -1400.0)))
    at = frame.forward(lat, lon) + (3.0, -2.0)
    with open_store(out) as store:
        crop = store.crop(frame, at, np.radians(yaw_deg), 100.0, 504)
    expected = by_gdal(raster, frame, crop, 100.0, 504)
    assert crop.valid_fraction == 1.0
    assert np.abs(shift_px(crop.image, expected)).max() < 0.2


@pytest.mark.parametrize('name', [
    'nl_gorinchem_0.25m_epsg28992.tif', 'neon_osbs_0.1m_epsg32617.tif',
    'swisstopo_zurich_0.5m_epsg2056.tif'])
def test_real_photos_import_verify_and_crop(real_data, tmp_path, name):
    photo, out = real_data / 'aerial' / name, tmp_path / 'map.mbtiles'
    assert _run('import', photo, '-o', out, '-q').exit_code == 0
    assert _run('verify', out, '--deep', '-q').exit_code == 0
    frame = LocalFrame(*place(photo))
    with open_store(out) as store, open_store(photo) as raster:
        size = 200 * raster.info.gsd_m
        assert store.info.gsd_m <= 1.05 * raster.info.gsd_m
        for yaw in (0.0, 0.8):
            crop = store.crop(frame, (0.0, 0.0), yaw, size, 200)
            expected = by_gdal(photo, frame, crop, size, 200)[..., :3]
            valid = cv2.erode(crop.valid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            assert valid.mean() > 0.5
            assert np.abs(shift_px(crop.image, expected, valid)).max() < 0.2
    assert (tmp_path / 'map.mbtiles.preview.png').is_file()


def test_a_real_pmtiles_archive_imports_byte_for_byte(real_data, tmp_path):
    out = tmp_path / 'map.mbtiles'
    result = _run('import', real_data / 'aerial' / 'usgs-mt-whitney-8-15-webp-512.pmtiles', '-o',
                  out, '--licence', 'public domain', '--json')
    facts = json.loads(result.stdout)
    assert result.exit_code == 0 and facts['skipped'] == 0
    assert facts['tile_px'] == 512 and facts['zooms'] == list(range(8, 16))
    assert _run('verify', out, '--deep', '-q').exit_code == 0
    # Mount Whitney, and nothing wide of it
    with open_store(out) as store:
        assert store.crop_latlon(36.5786, -118.2920, 0.3, 400.0, 128).valid_fraction == 1.0
        assert store.crop_latlon(37.5786, -118.2920, 0.3, 400.0, 128).valid_fraction == 0.0


def test_a_world_file_and_a_named_system_place_a_picture_that_knows_neither(tmp_path):
    ground = _ground(512)
    known = _write(tmp_path / 'known.tif', ground)
    cv2.imwrite(str(tmp_path / 'plain.png'), ground[..., ::-1])
    # Columns of a world file: steps, then the CENTRE of the first pixel
    world = f'0.2\n0\n0\n-0.2\n{LEFT + 0.1}\n{TOP - 0.1}\n'
    (tmp_path / 'plain.pgw').write_text(world)
    with pytest.raises(MapError, match='names no coordinate system'):
        _import(tmp_path / 'a.mbtiles', tmp_path / 'plain.png')
    _import(tmp_path / 'a.mbtiles', tmp_path / 'plain.png', crs='EPSG:25832')
    _import(tmp_path / 'b.mbtiles', known)
    with open_store(tmp_path / 'a.mbtiles') as a, open_store(tmp_path / 'b.mbtiles') as b:
        assert a.info.digest == b.info.digest
    (tmp_path / 'plain.pgw').unlink()
    with pytest.raises(MapError, match='world file'):
        _import(tmp_path / 'c.mbtiles', tmp_path / 'plain.png', crs='EPSG:25832')


def test_a_zip_as_the_survey_gives_it_is_read_without_unpacking(tmp_path):
    ground = _ground(512)
    known = _write(tmp_path / 'known.tif', ground)
    cv2.imwrite(str(tmp_path / 'dop.tif'), ground[..., ::-1])
    with zipfile.ZipFile(tmp_path / 'dop.zip', 'w') as archive:
        archive.write(tmp_path / 'dop.tif', 'dop20/dop.tif')
        archive.writestr('dop20/dop.tfw', f'0.2\n0\n0\n-0.2\n{LEFT + 0.1}\n{TOP - 0.1}\n')
        archive.writestr('dop20/readme.html', '<p>')
    _import(tmp_path / 'a.mbtiles', tmp_path / 'dop.zip', crs='EPSG:25832')
    _import(tmp_path / 'b.mbtiles', known)
    with open_store(tmp_path / 'a.mbtiles') as a, open_store(tmp_path / 'b.mbtiles') as b:
        assert a.info.digest == b.info.digest
    rows = dict(sqlite3.connect(tmp_path / 'a.mbtiles').execute('SELECT * FROM metadata'))
    record, = json.loads(rows['loc2'])['sources']
    assert record['name'] == 'dop.zip/dop20/dop.tif' and len(record['sha256']) == 64


@pytest.mark.parametrize('member', ['../escape.tif', '/etc/escape.tif', 'a/../../b.tif',
                                    'C:/escape.tif'])
def test_an_archive_with_members_that_lead_out_of_it_is_refused(tmp_path, member):
    with zipfile.ZipFile(tmp_path / 'bad.zip', 'w') as archive:
        archive.writestr(member, b'II*\0')
    result = _run('import', tmp_path / 'bad.zip', '-o', tmp_path / 'm.mbtiles')
    assert result.exit_code == 4 and 'leads out of it' in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ['bad.zip']


def test_an_archive_that_unpacks_to_more_than_any_photo_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / 'bomb.zip', 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('bomb.tif', bytes(300 << 20))
        info = archive.getinfo('bomb.tif')
        assert info.file_size > 900 * info.compress_size
        # What the directory claims is enough: nothing is unpacked to find out
        info.file_size = 40 << 30
    with pytest.raises(Refused, match='from next to nothing'):
        find_sources([str(tmp_path / 'bomb.zip')])


def _vrt(path, source, relative=0, band_extra=''):
    path.write_text(f"""<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:25832</SRS>
        <GeoTransform>457000, 1, 0, 5428000, 0, -1</GeoTransform>
        <VRTRasterBand dataType="Byte" band="1">{band_extra}<SimpleSource>
        <SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>
        <SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>""")
    return path


@pytest.mark.parametrize('source', [
    '/vsicurl/http://127.0.0.1:9/a.tif', 'http://127.0.0.1:9/a.tif', '/vsis3/bucket/a.tif',
    'WMS:http://127.0.0.1:9/?', '&#47;vsicurl&#47;http:&#47;&#47;127.0.0.1:9&#47;a.tif',
    '&lt;GDAL_WMS>&lt;/GDAL_WMS>', 'missing.tif'])
@pytest.mark.parametrize('name', ['map.vrt', 'map.tif'])
def test_a_vrt_that_reads_from_elsewhere_is_refused_whatever_its_name(tmp_path, source, name):
    path = _vrt(tmp_path / name, source)
    result = _run('import', path, '-o', tmp_path / 'm.mbtiles')
    assert result.exit_code == 4 and 'reads from' in result.stderr
    assert not (tmp_path / 'm.mbtiles').exists()


def test_a_vrt_of_a_vrt_and_a_service_in_a_file_are_looked_into(tmp_path):
    _vrt(tmp_path / 'inner.dat', '/vsicurl/http://127.0.0.1:9/a.tif')
    with pytest.raises(Refused, match='inner.dat reads from /vsicurl'):
        _import(tmp_path / 'm', _vrt(tmp_path / 'outer.vrt', 'inner.dat', 1))
    (tmp_path / 'service.xml').write_text('<GDAL_WMS><Service name="TMS"/></GDAL_WMS>')
    with pytest.raises(Refused, match='no VRT'):
        _import(tmp_path / 'm', _vrt(tmp_path / 'outer.vrt', 'service.xml', 1))
    (tmp_path / 'bomb.vrt').write_text('<!DOCTYPE a [<!ENTITY b "b">]><VRTDataset>&b;'
                                       '</VRTDataset>')
    with pytest.raises(MapError, match='entities'):
        _import(tmp_path / 'm', tmp_path / 'bomb.vrt')


def test_a_vrt_of_local_files_is_imported(tmp_path):
    _write(tmp_path / 'part.tif', _grey(90, (64, 64)), gsd=1.0)
    done = _import(tmp_path / 'm', _vrt(tmp_path / 'map.vrt', 'part.tif', 1))
    assert done.tiles > 0


@pytest.mark.parametrize('given, code, text', [
    (['https://example.org/a.tif'], 4, 'download it first'), (['/vsicurl/x'], 4, 'local path'),
    (['missing.tif'], 5, 'does not exist'), (['.'], 5, 'holds no imagery'),
    (['text.tif'], 5, 'no raster'), (['heights.tif'], 5, '8-bit')])
def test_what_is_no_imagery_is_one_sentence(tmp_path, monkeypatch, given, code, text):
    monkeypatch.chdir(tmp_path)
    if given != ['.']:
        (tmp_path / 'text.tif').write_text('this is no raster')
        with rasterio.open('heights.tif', 'w', driver='GTiff', width=8, height=8, count=1,
                           dtype='float32', crs='EPSG:25832',
                           transform=from_origin(LEFT, TOP, 1, 1)) as file:
            file.write(np.ones((1, 8, 8), np.float32))
    result = _run('import', *given, '-o', 'out.mbtiles')
    assert result.exit_code == code and text in result.stderr
    assert result.stderr.count('\n') == 1 and not Path('out.mbtiles').exists()


def test_a_palette_is_shown_in_its_colours_and_a_value_can_mean_nothing(tmp_path):
    index = np.zeros((400, 400, 1), np.uint8)
    index[:, 200:] = 7
    path = tmp_path / 'palette.tif'
    with rasterio.open(path, 'w', driver='GTiff', width=400, height=400, count=1, dtype='uint8',
                       crs='EPSG:25832', transform=from_origin(LEFT, TOP, 0.2, 0.2)) as file:
        file.write(index.transpose(2, 0, 1))
        file.write_colormap(1, {0: (0, 0, 0, 255), 7: (200, 100, 50, 255)})
    _import(tmp_path / 'm', path, empty=0, quality=95)
    with open_store(tmp_path / 'm') as store:
        lat, lon = place(path)
        crop = store.crop_latlon(lat, lon, 0.0, 60.0, 300)
    assert crop.valid_fraction == pytest.approx(0.5, abs=0.02)
    assert np.abs(crop.image[crop.valid].mean(axis=0) - (200, 100, 50)).max() < 3


def test_neighbouring_files_leave_no_seam(tmp_path):
    ground = _ground(512)
    _write(tmp_path / 'west.tif', ground[:, :256])
    _write(tmp_path / 'east.tif', ground[:, 256:], left=LEFT + 256 * 0.2)
    _write(tmp_path / 'whole.tif', ground)
    _import(tmp_path / 'two', tmp_path / 'west.tif', tmp_path / 'east.tif', quality=95)
    _import(tmp_path / 'one', tmp_path / 'whole.tif', quality=95)
    lat, lon = place(tmp_path / 'whole.tif')
    with open_store(tmp_path / 'two') as two, open_store(tmp_path / 'one') as one:
        a, b = (s.crop_latlon(lat, lon, 0.4, 60.0, 300) for s in (two, one))
    assert a.valid_fraction == b.valid_fraction == 1.0
    assert np.abs(a.image.astype(int) - b.image).mean() < 2.0


def test_the_first_source_wins_unless_overwritten_and_a_map_can_be_added_to(tmp_path):
    first = _write(tmp_path / 'first.tif', _grey(50))
    second = _write(tmp_path / 'second.tif', _grey(200, (400, 800)))
    lat, lon = place(first)

    def shades(path):
        with open_store(path) as store:
            return [int(np.median(store.crop_latlon(lat, lon + shift, 0.0, 20.0, 64).image))
                    for shift in (0.0, 0.00109)]       # 80 m further east

    _import(tmp_path / 'a', first, second)
    _import(tmp_path / 'b', first, second, later_wins=True)
    assert shades(tmp_path / 'a') == pytest.approx([50, 200], abs=2)
    assert shades(tmp_path / 'b') == pytest.approx([200, 200], abs=2)
    for name, later_wins, expected in [('c', False, [50, 200]), ('d', True, [200, 200])]:
        _import(tmp_path / name, first, origin=Origin(attribution='First'))
        _import(tmp_path / name, second, append=True, later_wins=later_wins,
                origin=Origin(attribution='Second'))
        assert shades(tmp_path / name) == pytest.approx(expected, abs=2)
        with open_store(tmp_path / name) as store:
            assert store.info.attribution == 'First; Second'


def test_only_the_tiles_of_a_track_are_made(tmp_path):
    raster = _write(tmp_path / 'a.tif', _ground(1024))
    lat, lon = place(raster)
    track = tmp_path / 'track.csv'
    track.write_text(f'stamp,lat_deg,lon_deg\n1,{lat},{lon}\n2,,\n3,{lat + 1e-4},{lon}\n')
    whole, part = _import(tmp_path / 'w', raster), tmp_path / 'p'
    assert _run('import', raster, '-o', part, '--track', track, '--buffer', 30, '-q'
                ).exit_code == 0
    with open_store(part) as store:
        assert store.info.tile_count < whole.tiles
        assert store.crop_latlon(lat, lon, 0.3, 42.0, 210).valid_fraction == 1.0
    assert _run('verify', part, '--track', track, '--buffer', 20, '-q').exit_code == 0


def test_what_is_not_known_is_recorded_as_unknown_and_never_a_refusal(tmp_path):
    raster = _write(tmp_path / 'a.tif', _grey(90))
    result = _run('import', raster, '-o', tmp_path / 'm.mbtiles')
    assert result.exit_code == 0
    for name in ('licence', 'attribution', 'date'):
        assert f'the {name} of the imagery is unknown' in result.stderr
    rows = dict(sqlite3.connect(tmp_path / 'm.mbtiles').execute('SELECT * FROM metadata'))
    assert json.loads(rows['loc2'])['licence'] == 'unknown'
    result = _run('import', raster, '-o', tmp_path / 'm.mbtiles', '--licence', 'CC0-1.0',
                  '--attribution', 'Me', '--date', '2024-05..2024-06', '--offset', '-0.7,0.5')
    assert result.exit_code == 0 and result.stderr == ''
    with open_store(tmp_path / 'm.mbtiles') as store:
        info = store.info
    assert (info.licence, info.attribution, info.date) == ('CC0-1.0', 'Me', '2024-05/2024-06')
    assert info.offset_m == (-0.7, 0.5)


@pytest.mark.parametrize('arguments, code', [
    (['--zoom', 'x'], 2), (['--format', 'gif'], 2), (['--offset', '1'], 2),
    (['--bbox', '1,2,3'], 2), (['--bbox', '8,50,7,49'], 5), (['--date', 'May'], 5),
    (['--crs', 'EPSG:nonsense'], 5), (['--zoom', '1'], 5)])
def test_wrong_options_are_told(tmp_path, arguments, code):
    raster = _write(tmp_path / 'a.tif', _grey(90))
    result = _run('import', raster, '-o', tmp_path / 'm.mbtiles', *arguments)
    assert result.exit_code == code and result.stderr.startswith('loc2 map: ')
    assert not (tmp_path / 'm.mbtiles').exists()


def _tiles_of(path):
    with sqlite3.connect(path) as database:
        return {tuple(row[:3]): row[3] for row in database.execute('SELECT * FROM tiles')}


def test_tiles_are_copied_byte_for_byte_and_broken_ones_left_out(tmp_path):
    centre = tile_at()
    tiles = tiles_around(centre, lambda i, j: (png if i else jpeg)(noise_tile(5 * i + j + 50)))
    source = write_mbtiles(tmp_path / 'a.mbtiles', tiles, {
        'attribution': 'Somebody', 'bounds': '8.4,49,8.41,49.01',
        'loc2': json.dumps({'licence': 'CC0-1.0', 'map_offset_m': [1, 2]})})
    folder = write_folder(tmp_path / 'xyz', tiles)
    _import(tmp_path / 'm1', source)
    _import(tmp_path / 'm2', folder)
    assert _tiles_of(tmp_path / 'm1') == _tiles_of(source) == _tiles_of(tmp_path / 'm2')
    with open_store(tmp_path / 'm1') as store:
        info = store.info
    # What the user does not say, the map knows
    assert (info.attribution, info.licence, info.offset_m) == ('Somebody', 'CC0-1.0', (1.0, 2.0))
    tiles[(19, *centre)] = b'<html>'
    done = _import(tmp_path / 'm3', write_mbtiles(tmp_path / 'b.mbtiles', tiles))
    assert (done.skipped, done.tiles) == (1, len(tiles) - 1)


def test_black_wedges_at_the_rim_of_foreign_jpegs_are_no_imagery(tmp_path):
    centre = tile_at()
    rows, columns = np.mgrid[:256, :256]
    wedge, dark = noise_tile(1) // 2 + 60, noise_tile(2) // 2 + 60
    wedge[columns > 100 + rows // 4] = 0        # reaches the eastern side, where the map ends
    dark[100:140, 100:140] = 0                  # a shadow in the middle is imagery
    tiles = {(19, centre[0] - 1, centre[1]): jpeg(dark), (19, *centre): jpeg(wedge),
             (19, centre[0], centre[1] + 1): jpeg(np.zeros((256, 256, 3), np.uint8))}
    source = write_mbtiles(tmp_path / 'a', tiles, {'format': 'jpg'})
    done = _import(tmp_path / 'm', source)
    assert done.tiles == 2                      # that of nothing but black is gone
    frame = LocalFrame(*(float(v) for v in merc_lat_lon(np.array(centre) + (0.0, 0.5), 19, 1)))
    with open_store(tmp_path / 'm') as store, open_store(source) as before:
        fraction = [s.crop(frame, (0.0, 0.0), 0.0, 48.0, 240).valid_fraction
                    for s in (store, before)]
    # 24 m east of the middle there are 19 to 32 m of imagery, less the smeared edge
    assert fraction[1] == 1.0 and 0.8 < fraction[0] < 1.0
    kept = {key[1]: blob for key, blob in _tiles_of(tmp_path / 'm').items()}
    assert kept[centre[0] - 1] == tiles[(19, centre[0] - 1, centre[1])]
    alpha = cv2.imdecode(np.frombuffer(kept[centre[0]], np.uint8), cv2.IMREAD_UNCHANGED)[..., 3]
    black = columns > 100 + rows // 4
    assert not alpha[black].any() and (alpha[~black] == 255).mean() > 0.8


def test_merge_and_export_give_the_same_tiles_back(tmp_path):
    centre = tile_at()
    west = tiles_around(centre, lambda i, j: jpeg(noise_tile(9 * i + j + 50)))
    east = tiles_around(centre, lambda i, j: jpeg(noise_tile(7 * i + j + 50)))
    west = {key: blob for key, blob in west.items() if key[1] <= centre[0]}
    east = {key: blob for key, blob in east.items() if key[1] >= centre[0]}
    a = write_mbtiles(tmp_path / 'a.mbtiles', west, {'attribution': 'A'})
    b = write_mbtiles(tmp_path / 'b.mbtiles', east, {'attribution': 'B'})
    merged = tmp_path / 'm.mbtiles'
    assert _run('merge', a, b, '-o', merged, '-q').exit_code == 0
    assert _tiles_of(merged) == {**_tiles_of(b), **_tiles_of(a)}
    with open_store(merged) as store:
        assert store.info.attribution == 'A; B'
    assert _run('export', merged, '--xyz', tmp_path / 'xyz', '-q').exit_code == 0
    assert _run('import', tmp_path / 'xyz', '-o', tmp_path / 'again.mbtiles', '-q').exit_code == 0
    assert _tiles_of(tmp_path / 'again.mbtiles') == _tiles_of(merged)
    assert _run('export', merged, '--xyz', tmp_path / 'xyz').exit_code == 5     # it is there
    assert _run('export', merged, '--geotiff', tmp_path / 'm.tif', '-q').exit_code == 0
    with open_store(merged) as store, open_store(tmp_path / 'm.tif') as raster:
        lat, lon = place(tmp_path / 'm.tif')
        one, other = (s.crop_latlon(lat, lon, 0.2, 60.0, 300) for s in (store, raster))
    assert np.abs(shift_px(other.image, one.image)).max() < 0.01


def test_a_transparent_border_lets_the_next_map_through(tmp_path):
    centre = tile_at()
    half = np.dstack([_grey(50, (256, 256)), np.zeros((256, 256), np.uint8)])
    half[:, :128, 3] = 255
    a = write_mbtiles(tmp_path / 'a', {(19, *centre): png(half)})
    b = write_mbtiles(tmp_path / 'b', {(19, *centre): png(_grey(200, (256, 256)))})
    assert _run('merge', a, b, '-o', tmp_path / 'm', '-q').exit_code == 0
    blob, = _tiles_of(tmp_path / 'm').values()
    pixels = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_UNCHANGED)
    assert pixels.shape[2] == 3
    assert [int(pixels[128, u, 0]) for u in (60, 200)] == pytest.approx([50, 200], abs=3)


def test_a_full_disk_leaves_no_map_and_the_same_command_completes(tmp_path, monkeypatch):
    raster, out = _write(tmp_path / 'a.tif', _ground(1024)), tmp_path / 'm.mbtiles'
    connect = tilefile._connect

    def small(path):
        database = connect(path)
        database.execute('PRAGMA max_page_count=30')
        return database

    monkeypatch.setattr(tilefile, '_connect', small)
    result = _run('import', raster, '-o', out)
    assert result.exit_code == 5 and 'the space left' in result.stderr
    assert not out.exists() and (tmp_path / 'm.mbtiles.part').exists()
    monkeypatch.undo()
    assert _run('import', raster, '-o', out, '-q').exit_code == 0
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == ['a.tif', 'm.mbtiles', 'm.mbtiles.preview.png']


def test_a_second_writer_is_told_to_wait(tmp_path):
    raster, out = _write(tmp_path / 'a.tif', _grey(90)), tmp_path / 'm.mbtiles'
    first = TileFile(out, 'first')
    result = _run('import', raster, '-o', out)
    assert result.exit_code == 5 and 'another process is writing' in result.stderr
    first.leave()
    assert _run('import', raster, '-o', out, '-q').exit_code == 0


def test_a_map_in_use_stays_readable_while_it_is_replaced(tmp_path):
    out = tmp_path / 'm.mbtiles'
    _import(out, _write(tmp_path / 'a.tif', _grey(90)))
    lat, lon = place(tmp_path / 'a.tif')
    with open_store(out, cache_mb=0) as store:
        _import(out, _write(tmp_path / 'b.tif', _grey(200)))
        with open_store(out) as again:
            shades = [np.median(s.crop_latlon(lat, lon, 0.0, 30.0, 64).image)
                      for s in (store, again)]
    assert shades == pytest.approx([90, 200], abs=2)


KILLED = """
import sys, time
from pathlib import Path
from loc2_ros.maps import pyramid
from loc2_ros.maps.importer import import_map
from loc2_ros.maps.job import ImportOptions
from loc2_ros.maps.origin import Origin
from loc2_ros.maps.sources import find_sources
raster, out = sys.argv[1:]
done = 0
def progress(branch, of):
    print('branch', branch, of, flush=True)
    if branch == 3:
        time.sleep(600)
import_map(find_sources([raster]), Path(out), Origin(), ImportOptions(overviews=1), progress)
"""


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_killed_import_leaves_no_map_and_goes_on_where_it_was(tmp_path, number):
    raster, out = _write(tmp_path / 'a.tif', _ground(1024)), tmp_path / 'm.mbtiles'
    process = subprocess.Popen([sys.executable, '-c', KILLED, raster, out], cwd=ROOT,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert any(line.startswith('branch 3 ') for line in process.stdout)
    process.send_signal(number)
    process.wait(60)
    assert process.returncode != 0 and not out.exists()
    part = sqlite3.connect(tmp_path / 'm.mbtiles.part')
    before = part.execute('SELECT count(*) FROM loc2_done').fetchone()[0]
    part.close()
    assert before >= 2
    made = []
    _import_counting(raster, out, made)
    _import(tmp_path / 'other.mbtiles', raster, overviews=1)
    with open_store(out) as a, open_store(tmp_path / 'other.mbtiles') as b:
        assert a.info.digest == b.info.digest
    # Branches that were done were not cut again
    assert 0 < len(made) < b.info.tile_count
    assert not list(tmp_path.glob('*.part*')) and not list(tmp_path.glob('*.lock'))


def _import_counting(raster, out, made):
    from loc2_ros.maps.imagery import WindowImagery
    cut = WindowImagery.cut
    try:
        WindowImagery.cut = lambda self, *key: made.append(key) or cut(self, *key)
        _import(out, raster, overviews=1)
    finally:
        WindowImagery.cut = cut


def test_nothing_of_an_import_is_left_where_it_cannot_be_written(tmp_path):
    raster = _write(tmp_path / 'a.tif', _grey(90))
    result = _run('import', raster, '-o', tmp_path / 'no' / 'm.mbtiles')
    assert result.exit_code == 5 and 'cannot be written' in result.stderr


def test_a_part_cut_off_in_its_first_bytes_is_started_afresh(tmp_path):
    raster, out = _write(tmp_path / 'a.tif', _grey(90)), tmp_path / 'm.mbtiles'
    (tmp_path / 'm.mbtiles.part').write_bytes(b'SQLite format 3\0' + os.urandom(50))
    assert _run('import', raster, '-o', out, '-q').exit_code == 0


def _varint(n):
    out = bytearray()
    while n > 0x7F:
        out.append(n & 0x7F | 0x80)
        n >>= 7
    return bytes(out + bytes([n]))


def _pmtiles(path, entries, data=b'', leaves=0, root=None):
    """Write an archive: (tile number, run, length, offset), a run of 0 for a directory."""
    directory = root
    if directory is None:
        numbers = [entries[0][0]] + [b[0] - a[0] for a, b in zip(entries, entries[1:])]
        columns = [numbers, [e[1] for e in entries], [e[2] for e in entries],
                   [e[3] + 1 for e in entries]]
        directory = _varint(len(entries)) + b''.join(_varint(n) for c in columns for n in c)
    head = b'PMTiles\x03' + struct.pack('<8Q', 127, len(directory), 0, 0, 127 + leaves, 0,
                                        127 + len(directory), len(data))
    head = head.ljust(97, b'\0') + bytes([1, 1, 2, 0, 0])
    path.write_bytes(head.ljust(127, b'\0') + directory + data)
    return path


@pytest.mark.parametrize('archive', [
    {'entries': [(0, 50_000_000, 9, 0)]},                               # a run without end
    {'entries': [(k, 0, 40_000, 0) for k in range(5000)]},              # leaves in circles
    {'entries': [], 'root': b'\x01' + b'\xff' * 100_000},               # a number without end
    {'entries': [(0, 0, 9, (1 << 63) - 2)]},                            # beyond any file
])
def test_an_archive_made_to_never_end_is_refused(tmp_path, archive):
    path = _pmtiles(tmp_path / 'bad.pmtiles', **archive)
    result = _run('import', path, '-o', tmp_path / 'm')
    assert result.exit_code == 5 and 'is damaged' in result.stderr
    assert not (tmp_path / 'm').exists()


def test_tiles_of_an_archive_that_lie_beyond_its_end_are_left_out(tmp_path):
    blob = png(noise_tile())
    path = _pmtiles(tmp_path / 'a.pmtiles', [(1, 1, len(blob), 0), (2, 1, 500, 1 << 40)], blob)
    result = _run('import', path, '-o', tmp_path / 'm')
    assert result.exit_code == 0 and '1 tiles could not be read' in result.stderr
    with open_store(tmp_path / 'm') as store:
        assert store.info.tile_count == 1


def test_odd_names_and_places_beyond_the_world_are_passed_over(tmp_path):
    x, y = tile_at()
    tiles = tiles_around((x, y), lambda i, j: png(noise_tile(5 * i + j + 9)), reach=1)
    folder = write_folder(tmp_path / 'xyz', tiles)
    for name in ('19/²', f'19/{x}/²', '19/99999999', '19/1' + '0' * 30, '19/-1'):
        (folder / name).mkdir(exist_ok=True)
    (folder / '19' / '99999999' / '5.png').write_bytes(b'x')
    (folder / '19' / str(x) / '².png').write_bytes(b'x')
    database = write_mbtiles(tmp_path / 'a.mbtiles', tiles, {'bounds': 'nan,nan,nan,nan'})
    with sqlite3.connect(database) as file:
        file.executemany('INSERT INTO tiles VALUES (?, ?, ?, ?)', [
            (19, 1 << 40, 5, b'x'), (19, -3, 5, b'x'), (99, 0, 0, b'x'), ('a', 'b', 'c', b'x')])
    for number, source in enumerate((folder, database)):
        out = tmp_path / f'{number}.mbtiles'
        assert _run('import', source, '-o', out, '-q').exit_code == 0
        with open_store(out) as store:
            assert store.info.tile_count == 9
            west, south, east, north = store.info.bounds
        assert west < 8.4037 < east and south < 49.0069 < north and east - west < 0.003
        assert _run('verify', source, '-q').exit_code == 0


@pytest.mark.parametrize('own', ['{"map_offset_m": 7, "sources": 3, "acquired": [1]}',
                                 '{"map_offset_m": [[1], 2], "licence": {"a": 1}}', '[' * 5000])
def test_a_record_that_makes_no_sense_counts_as_none(tmp_path, own):
    tiles = tiles_around(tile_at(), png(noise_tile()), reach=0)
    a, b = (write_mbtiles(tmp_path / name, tiles, {'loc2': own, 'bounds': '8,49,9,50'})
            for name in 'ab')
    for command in (('info', a), ('merge', a, b, '-o', tmp_path / 'm'),
                    ('import', a, '-o', tmp_path / 'n'),
                    ('import', b, '-o', a, '--append')):
        result = _run(*command)
        assert result.exit_code == 0, (command, result.stderr, result.exception)
