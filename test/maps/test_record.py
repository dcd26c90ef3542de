# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What a map that is added to says of itself afterwards, and what verify says of rasters."""

from __future__ import annotations

import sqlite3
import zipfile

from geo_world import pyproj, rasterio
from loc2_ros.cli.map import app
from loc2_ros.cli.map_options import positions
from loc2_ros.maps.store import open_store
import numpy as np
import pytest
from typer.testing import CliRunner

EAST, NORTH = 456_000.0, 5_428_000.0


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def _photo(path, east_m, gsd_m, px, placed=True):
    noise = np.random.default_rng(1).integers(0, 255, (3, px, px), np.uint8)
    place = {'transform': rasterio.transform.from_origin(east_m, NORTH, gsd_m, gsd_m)}
    with rasterio.open(path, 'w', driver='GTiff', width=px, height=px, count=3, dtype='uint8',
                       crs='EPSG:25832', tiled=True, blockxsize=128, blockysize=128,
                       compress='deflate', **(place if placed else {})) as file:
        file.write(noise)
    return path


def _at(east_m, north_m):
    lon, lat = pyproj.Transformer.from_crs(25832, 4326, always_xy=True).transform(east_m, north_m)
    return lat, lon


@pytest.fixture
def area(tmp_path):
    fine = _photo(tmp_path / 'fine.tif', EAST, 0.2, 512)
    result = _run('import', fine, '-o', tmp_path / 'm', '--licence', 'dl-de/by-2-0', '--date',
                  '2011', '--offset=-0.74,-0.60', '--attribution', 'LGL')
    assert result.exit_code == 0, result.stderr
    return tmp_path / 'm'


def test_what_is_added_to_a_map_does_not_hide_what_the_map_said(area, tmp_path):
    coarse = _photo(tmp_path / 'coarse.tif', EAST + 102.4, 0.5, 256)
    assert _run('import', coarse, '-o', area, '--append', '--date', '2023').exit_code == 0
    with open_store(area) as store:
        assert store.info.offset_m == (-0.74, -0.6)
        assert store.info.licence == 'dl-de/by-2-0; unknown'
        assert store.info.date == '2011/2023' and store.info.attribution == 'LGL'
        # Crops of the usual size are served by one level, which coarser imagery must have
        cut = store.crop_latlon(*_at(EAST + 160, NORTH - 60), 0.0, 50.0, 250)
        assert cut.zoom == 19 and cut.valid_fraction == 1.0


def test_tiles_that_are_added_do_not_hide_it_either(area, tmp_path):
    other = _photo(tmp_path / 'other.tif', EAST + 102.4, 0.2, 512)
    assert _run('import', other, '-o', tmp_path / 'n', '--date', '2023').exit_code == 0
    result = _run('import', tmp_path / 'n', '-o', area, '--append', '--licence', 'CC0-1.0')
    assert result.exit_code == 0, result.stderr
    with open_store(area) as store:
        assert store.info.offset_m == (-0.74, -0.6) and store.info.date == '2011/2023'
        assert store.info.licence == 'dl-de/by-2-0; CC0-1.0'


def test_imagery_of_another_offset_cannot_be_added(area, tmp_path):
    before = area.read_bytes()
    result = _run('import', tmp_path / 'fine.tif', '-o', area, '--append', '--offset', '1,2')
    assert result.exit_code == 5 and 'one map can have only one' in result.stderr
    assert area.read_bytes() == before


def test_a_raster_that_says_not_where_it_lies_is_no_map(tmp_path):
    result = _run('info', _photo(tmp_path / 'p.tif', EAST, 0.2, 256, placed=False))
    assert result.exit_code == 5 and 'does not say where it lies' in result.stderr


def test_damage_in_a_raster_is_found_where_all_of_it_is_read(tmp_path):
    path = _photo(tmp_path / 'p.tif', EAST, 0.2, 512)
    assert _run('verify', path, '--deep').exit_code == 0
    blob = bytearray(path.read_bytes())
    blob[200_000:240_000] = b'\x55' * 40_000
    path.write_bytes(blob)
    assert '--deep' in _run('verify', path).stdout
    result = _run('verify', path, '--deep')
    assert result.exit_code == 1 and 'damage' in result.stdout


def test_gaps_of_no_track_are_a_mistake(area, tmp_path):
    result = _run('verify', area, '--gaps', tmp_path / 'g.json')
    assert result.exit_code == 2 and '--track' in result.stderr


def test_a_preset_is_not_asked_for_levels_it_lacks():
    result = _run('download', '--preset', 'usgs-naip', '--bbox', '-105.0,40.0,-104.99,40.01',
                  '-o', 'm', '--dry-run')
    assert result.exit_code == 2 and '14 to 18' in result.stderr


def test_leaps_of_a_track_are_told(area, tmp_path):
    track = tmp_path / 't.csv'
    places = [_at(EAST + east, NORTH - 50) for east in (40, 45, 3000)]
    track.write_text('lat,lon\n' + ''.join(f'{lat},{lon}\n' for lat, lon in places))
    for command in (('verify', area), ('import', tmp_path / 'fine.tif', '-o', tmp_path / 'n')):
        result = _run(*command, '--track', track)
        assert '1 leaps of more than 1000 m' in result.stderr, result.stderr


def test_maps_of_different_levels_are_told_of(area, tmp_path):
    coarse = _photo(tmp_path / 'coarse.tif', EAST + 102.4, 0.5, 256)
    assert _run('import', coarse, '-o', tmp_path / 'n', '--offset=-0.74,-0.60').exit_code == 0
    result = _run('merge', area, tmp_path / 'n', '-o', tmp_path / 'both')
    assert result.exit_code == 0 and 'end at the levels 18 19' in result.stderr, result.stderr


def test_a_bag_of_ros_1_is_a_track(tmp_path):
    rosbag1 = pytest.importorskip('rosbags.rosbag1')
    typesys = pytest.importorskip('rosbags.typesys')
    types = typesys.get_typestore(typesys.Stores.ROS1_NOETIC)
    kinds, name = types.types, 'sensor_msgs/msg/NavSatFix'
    header = kinds['std_msgs/msg/Header'](
        seq=0, stamp=kinds['builtin_interfaces/msg/Time'](sec=1, nanosec=0), frame_id='gps')
    status = kinds['sensor_msgs/msg/NavSatStatus'](status=0, service=1)
    fix = kinds[name](header=header, status=status, latitude=49.0, longitude=8.4, altitude=0.0,
                      position_covariance=np.zeros(9), position_covariance_type=0)
    with rosbag1.Writer(tmp_path / 'drive.bag') as bag:
        topic = bag.add_connection('/fix', name, typestore=types)
        bag.write(topic, 1_000_000_000, types.serialize_ros1(fix, name))
    assert positions(tmp_path / 'drive.bag').tolist() == [[49.0, 8.4]]


def test_an_export_tells_of_tiles_that_it_could_not_read(area, tmp_path):
    with sqlite3.connect(area) as database:
        database.execute("UPDATE tiles SET tile_data=x'00' WHERE rowid=(SELECT max(rowid) FROM "
                         'tiles WHERE zoom_level=19)')
    for kind, name in (('--xyz', 'd'), ('--geotiff', 'd.tif')):
        result = _run('export', area, kind, tmp_path / name)
        assert result.exit_code == 0 and '1 tiles could not be read' in result.stderr


def test_imagery_beside_the_area_is_told_of_and_leaves_nothing(tmp_path):
    path = _photo(tmp_path / 'p.tif', EAST, 0.2, 256)
    result = _run('import', path, '-o', tmp_path / 'm', '--bbox', '1,2,3,4')
    assert result.exit_code == 5 and 'does not reach into the area' in result.stderr
    assert [p.name for p in tmp_path.iterdir()] == ['p.tif']


@pytest.mark.parametrize('suffix, text', [
    ('.ovr', '<GDAL_WMS><Service name="TMS"/></GDAL_WMS>'),
    ('.msk', '<VRTDataset/>'),
    ('.aux.xml', '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">http://a.test/'
                 'b</MDI></Metadata></PAMDataset>')])
def test_overviews_that_are_read_from_elsewhere_are_refused(tmp_path, suffix, text):
    path = _photo(tmp_path / 'p.tif', EAST, 0.2, 256)
    beside = tmp_path / f'p.tif{suffix}'
    beside.write_text(text)
    with zipfile.ZipFile(tmp_path / 'p.zip', 'w') as archive:
        archive.write(path, 'p.tif')
        archive.write(beside, beside.name)
    for command in (('info', path), ('import', path, '-o', tmp_path / 'm'),
                    ('import', tmp_path / 'p.zip', '-o', tmp_path / 'm')):
        result = _run(*command)
        assert result.exit_code == 4 and 'remove it' in result.stderr, result.stderr


def test_overviews_of_their_own_file_are_welcome(tmp_path):
    path = _photo(tmp_path / 'p.tif', EAST, 0.2, 512)
    with rasterio.Env(TIFF_USE_OVR=True), rasterio.open(path, 'r+') as file:
        file.build_overviews([2, 4])
    assert (tmp_path / 'p.tif.ovr').is_file()
    assert _run('import', path, '-o', tmp_path / 'm').exit_code == 0
