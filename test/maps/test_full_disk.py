# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A disk without room: nothing half-written, one sentence, and the same command completes.

The commands run as processes that may make no file larger than a limit, as on a full disk.
"""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
import zipfile

from loc2_ros.maps.store import open_store
from map_world import noise_tile, png, write_mbtiles, ZOOM
import pytest
from tile_server import Reply, TileServer

ROOT = Path(__file__).resolve().parents[2]
BOX = '8.40298,49.00616,8.40503,49.00717'       # four by three tiles, of 70 kB each
FULL = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]),) * 2)
from loc2_ros.cli.map import app
app(sys.argv[2:])
"""
ROOM = 1 << 40


def _run(limit, *arguments):
    return subprocess.run([sys.executable, '-c', FULL, str(limit), *map(str, arguments)],
                          cwd=ROOT, capture_output=True, text=True)


def _refused(result, *says):
    assert result.returncode == 5, result.stderr
    assert all(text in result.stderr for text in ('cannot be written', *says)), result.stderr
    # GDAL has lines of its own
    assert 'Traceback' not in result.stderr and result.stderr.splitlines()[-1][:9] == 'loc2 map:'


def _answer(path, number):
    x, y = map(int, path.split('/')[-2:])
    return Reply(png(noise_tile(7 * x + y)))


# While the tables are made, in the middle, and where the last tiles are committed
@pytest.mark.parametrize('limit', [10_000, 400_000, 850_000])
def test_a_download_leaves_no_map_and_the_same_command_completes(tmp_path, limit):
    with TileServer(_answer) as server:
        command = ('download', '--url', server.url + '/{z}/{x}/{y}', '--bbox', BOX,
                   '--allow-private', '-o', tmp_path / 'm', '--rate', 100, '-q')
        _refused(_run(limit, *command), 'the space left')
        assert not (tmp_path / 'm').exists()
        result = _run(ROOM, *command)
        assert result.returncode == 0, result.stderr
    with open_store(tmp_path / 'm') as store:
        assert store.info.zooms == (ZOOM,) and store.info.tile_count == 12
        assert store.crop_latlon(49.00666, 8.404, 0.2, 50.0, 250).valid_fraction == 1.0
    assert sorted(p.name for p in tmp_path.iterdir()) == ['m', 'm.preview.png']


def test_an_archive_goes_on_where_the_disk_was_full(tmp_path):
    pytest.importorskip('pyproj')
    drive = tmp_path / 'drive' / 'oxts' / 'data'
    drive.mkdir(parents=True)
    (drive / '0000000000.txt').write_text('49.0110 8.4230 116.0 0 0 0')
    with zipfile.ZipFile(tmp_path / 'made', 'w') as archive:
        archive.writestr('dop.tif', bytes(range(256)) * 4000)
    blob = (tmp_path / 'made').read_bytes()

    def answer(path, number):
        start = int(server.log[-1][2].get('Range', 'bytes=0-')[6:-1])
        return Reply(blob[start:], 206 if start else 200, 'application/zip', {'ETag': '"one"'})

    folder = tmp_path / 'm.archives'
    with TileServer(answer) as server:
        command = ('kitti', '--drive', tmp_path / 'drive', '-o', tmp_path / 'm', '--base-url',
                   server.url, '--allow-private', '--accept-licence')
        _refused(_run(300_000, *command), 'make room', 'dop20rgb_32_457_5428_2_bw.zip')
        assert [p.suffix for p in sorted(folder.iterdir())] == ['.etag', '.part']
        # It comes whole by the rest of it, and then holds no raster
        result = _run(ROOM, *command)
        assert result.returncode == 5 and 'zip' in result.stderr
        assert [h.get('Range') for _, _, h in server.log] == [None, 'bytes=300000-']
    assert [p.read_bytes() for p in folder.iterdir()] == [blob]


# A GeoTIFF has 1,718,059 bytes: the last of them GDAL writes when it closes the file
@pytest.mark.parametrize('kind, limit', [('--xyz', 50_000), ('--geotiff', 300_000),
                                         ('--geotiff', 1_717_000)])
def test_an_export_is_whole_or_not_there(tmp_path, kind, limit):
    pytest.importorskip('rasterio')
    tiles = {(ZOOM, 274_373 + k % 4, 180_000 + k // 4): png(noise_tile(k)) for k in range(12)}
    source = write_mbtiles(tmp_path / 's.mbtiles', tiles, {'format': 'png'})
    _refused(_run(limit, 'export', source, kind, tmp_path / 'out'), 'the space')
    assert [p.name for p in tmp_path.iterdir()] == ['s.mbtiles']
    assert _run(ROOM, 'export', source, kind, tmp_path / 'out', '-q').returncode == 0


def test_a_merge_leaves_no_map(tmp_path):
    sources = [write_mbtiles(tmp_path / name, {(ZOOM, 274_373 + k, 180_000): png(noise_tile(k))
                                               for k in columns}, {'format': 'png'})
               for name, columns in (('a', range(4)), ('b', range(4, 8)))]
    _refused(_run(300_000, 'merge', *sources, '-o', tmp_path / 'm'), 'the space left')
    assert not (tmp_path / 'm').exists()
    result = _run(ROOM, 'merge', *sources, '-o', tmp_path / 'm', '-q')
    assert result.returncode == 0, result.stderr
    with open_store(tmp_path / 'm') as store:
        assert store.info.tile_count == 8
