# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Downloads from a server on the loopback: polite, resumable, and not to be led astray."""

from __future__ import annotations

import json
from pathlib import Path
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from urllib.parse import parse_qs, urlsplit
import zipfile

import cv2
from loc2_ros.cli.map import app
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps import fetch, net
from loc2_ros.maps.area import Area
from loc2_ros.maps.download import download, Service
from loc2_ros.maps.fetch import Pace
from loc2_ros.maps.net import Client, retry_after_s, Unreachable
from loc2_ros.maps.origin import Origin
from loc2_ros.maps.presets import PRESETS
from loc2_ros.maps.store import open_store
from loc2_ros.maps.template import quadkey, Template
from loc2_ros.maps.values import MapError, Partial, Refused
from map_world import noise_tile, png, shift_px, tile_at, ZOOM
import numpy as np
import pytest
from tile_server import Reply, TileServer
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
CENTRE = tile_at()
# Four by three tiles
BOX = (8.40298, 49.00616, 8.40503, 49.00717)
QUICK = Pace(rate=10_000, jobs=3, retries=3, backoff_s=0.01)
PICTURES = [png(noise_tile(k)) for k in range(12)]
BOMB = (b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + (20000).to_bytes(4, 'big') * 2
        + b'\x08\x02\0\0\0' + bytes(100) + b'IEND')


def _area():
    area = Area.box(*BOX)
    assert area.count(ZOOM) == 12
    return area


def _picture(path):
    z, x, y = (int(part) for part in path.strip('/').split('/')[-3:])
    assert z == ZOOM
    return PICTURES[(x * 4 + y) % 12]


def _good(path, number):
    return Reply(_picture(path))


def _service(server, text='/{z}/{x}/{y}', origin=Origin('Us', 'CC0-1.0', '', '2024'), **more):
    return Service(Template(server.url + text), origin, **more)


def _load(server, out, pace=QUICK, private=True, text='/{z}/{x}/{y}', **options):
    return download(_service(server, text), _area(), ZOOM, Path(out), Client(private, 5.0), pace,
                    **options)


def _tiles_of(path):
    with sqlite3.connect(path) as database:
        return {tuple(row[:3]): row[3] for row in database.execute('SELECT * FROM tiles')}


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_every_tile_comes_once_and_byte_for_byte(tmp_path):
    with TileServer(_good) as server:
        done, tally = _load(server, tmp_path / 'm')
    assert len(server.paths) == len(set(server.paths)) == 12 == done.tiles
    assert (tally.stored, tally.holes, tally.failed) == (12, 0, 0)
    tiles = _tiles_of(tmp_path / 'm')
    came = {f'/{z}/{x}/{(1 << z) - 1 - row}': blob for (z, x, row), blob in tiles.items()}
    assert came == {path: _picture(path) for path in server.paths}
    assert all(h['User-Agent'].startswith('loc2_ros/') for _, _, h in server.log)
    with open_store(tmp_path / 'm') as store:
        info = store.info
        assert store.crop_latlon(49.00666, 8.404, 0.2, 50.0, 250).valid_fraction == 1.0
    assert (info.licence, info.attribution, info.date) == ('CC0-1.0', 'Us', '2024')


def test_404_is_a_hole_and_is_not_asked_for_again(tmp_path):
    gone, broken = [], [True]

    def answer(path, number):
        if int(path[-1]) % 2:
            gone.append(path)
            return Reply(b'<html>', 404, 'text/html')
        return Reply(b'', 500) if broken[0] and not gone[1:] else _good(path, number)

    with TileServer(answer) as server:
        with pytest.raises(Partial):
            _load(server, tmp_path / 'm', Pace(10_000, 1, 0, 0.01))
        broken[0] = False
        asked = len(gone)
        _, tally = _load(server, tmp_path / 'm')
    assert len(gone) == len(set(gone)) and tally.holes == len(gone) - asked
    with open_store(tmp_path / 'm') as store:
        assert store.info.tile_count == 12 - len(gone)


def test_429_makes_everybody_wait_as_long_as_the_server_asks(tmp_path):
    def answer(path, number):
        if len(server.log) == 4:
            return Reply(b'', 429, 'text/plain', {'Retry-After': '1'})
        return _good(path, number)

    with TileServer(answer) as server:
        done, tally = _load(server, tmp_path / 'm', Pace(10_000, 1, 3, 0.01))
    assert done.tiles == 12 and tally.requests == 13
    times = [at for at, _, _ in server.log]
    assert times[4] - times[3] >= 0.99


def test_a_server_that_asks_for_too_long_ends_the_run_which_goes_on_later(tmp_path):
    shut = [True]

    def answer(path, number):
        if shut[0] and len(server.log) > 5:
            return Reply(b'', 503, 'text/plain', {'Retry-After': '86400'})
        return _good(path, number)

    with TileServer(answer) as server:
        with pytest.raises(Partial, match='wait for 86400 s'):
            _load(server, tmp_path / 'm', Pace(10_000, 1, 3, 0.01))
        shut[0] = False
        done, tally = _load(server, tmp_path / 'm')
    assert done.tiles == 12 and tally.requests == 7


@pytest.mark.parametrize('bad', [
    Reply(b'', 503), Reply(b'', 500), Reply(PICTURES[0], cut=500), None],
    ids=['503', '500', 'truncated', 'connection broken'])
def test_what_fails_for_a_moment_is_tried_again(tmp_path, bad):
    with TileServer(lambda path, n: bad if n < 2 else _good(path, n)) as server:
        done, tally = _load(server, tmp_path / 'm')
    assert done.tiles == 12 and tally.failed == 0
    assert all(server.paths.count(path) >= 3 for path in server.paths)
    assert all(blob in PICTURES for blob in _tiles_of(tmp_path / 'm').values())


@pytest.mark.parametrize('bad, text', [
    (Reply(b'<html>Please slow down</html>', 200, 'text/html'), 'text/html instead'),
    (Reply(b'<html>Please slow down</html>'), 'no PNG'),
    (Reply(PICTURES[0], kind='application/json'), 'application/json instead'),
    (Reply(BOMB), 'claims 20000x20000'), (Reply(bytes(5 << 20)), 'more than 4 MB'),
    (Reply(PICTURES[0][:-20]), 'truncated'), (Reply(b''), 'empty'),
    (Reply(png(np.zeros((100, 256, 3), np.uint8))), 'claims 256x100'),
    (Reply(b'', 400), 'HTTP 400')],
    ids=['html', 'html as png', 'json', 'bomb', 'huge', 'cut off', 'empty', 'shape', '400'])
def test_what_is_no_tile_is_never_stored_and_asked_for_again_by_the_next_run(tmp_path, bad, text):
    ill = [True]

    def answer(path, number):
        return bad if ill[0] and path.endswith(str(CENTRE[1])) else _good(path, number)

    with TileServer(answer) as server:
        with pytest.raises(Partial, match='same command') as raised:
            _load(server, tmp_path / 'm')
        assert text in str(raised.value) and not (tmp_path / 'm').exists()
        # Not again and again: it is no passing failure
        assert len(server.paths) == 12
        ill[0] = False
        done, tally = _load(server, tmp_path / 'm', failed_only=True)
    assert done.tiles == 12 and tally.requests == 4
    assert all(blob in PICTURES for blob in _tiles_of(tmp_path / 'm').values())


def test_a_map_can_be_made_without_what_failed(tmp_path):
    with TileServer(lambda path, n: Reply(b'', 400) if path.endswith(str(CENTRE[1]))
                    else _good(path, n)) as server:
        done, _ = _load(server, tmp_path / 'm', finish=True)
    assert done.tiles == 8


@pytest.mark.parametrize('status', [401, 403])
def test_a_service_that_wants_no_requests_is_left_alone_at_once(tmp_path, status):
    with TileServer(lambda path, n: Reply(b'', status)) as server:
        with pytest.raises(Refused, match=str(status)):
            _load(server, tmp_path / 'm')
        assert len(server.log) <= QUICK.jobs


def test_a_server_gone_half_way_costs_nothing_that_came_before(tmp_path):
    def gone(path, number):
        return _good(path, number) if len(server.log) <= 6 else None

    with TileServer(gone) as server:
        with pytest.raises(Partial, match='does not answer|requests failed'):
            _load(server, tmp_path / 'm', Pace(10_000, 1, 1, 0.01))
        port = server.port
    first = server.paths[:6]
    with pytest.raises(Partial, match='does not answer'):     # nobody is there at all
        _load(server, tmp_path / 'm', Pace(10_000, 1, 0, 0.01))
    with TileServer(_good, port) as back:
        done, _ = _load(back, tmp_path / 'm')
    assert done.tiles == 12 and not set(first) & set(back.paths) and len(back.paths) == 6


def test_much_failure_ends_the_run_early(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch, '_JUDGED_AFTER', 4)
    with TileServer(lambda path, n: Reply(b'', 400)) as server:
        with pytest.raises(Partial, match='4 of 4 requests failed'):
            _load(server, tmp_path / 'm', Pace(100, 1, 0, 0.01))
        assert len(server.paths) < 12


def test_the_same_sign_for_nothing_is_a_hole(tmp_path):
    sign = np.full((256, 256, 3), 240, np.uint8)
    cv2.putText(sign, 'no imagery', (60, 120), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (225, 225, 225), 1)
    with TileServer(lambda path, n: Reply(png(sign)) if path.endswith(str(CENTRE[1]))
                    else _good(path, n)) as server:
        done, _ = _load(server, tmp_path / 'm')
    assert done.tiles == 8


@pytest.mark.parametrize('target', [
    'http://169.254.169.254/latest/meta-data', 'https://mt1.google.com/vt/1',
    'http://localhost.example.invalid/', 'file:///etc/passwd', 'ftp://127.0.0.1/x'])
def test_a_redirect_elsewhere_is_refused_and_nobody_is_asked(tmp_path, target):
    with TileServer(lambda path, n: Reply(b'', 302, headers={'Location': target})) as server:
        with pytest.raises(Refused):
            _load(server, tmp_path / 'm')
        assert not (tmp_path / 'm').exists()


def test_redirects_on_the_same_host_are_followed_three_times(tmp_path):
    def answer(path, number):
        hops = path.count('/again')
        return Reply(b'', 302, headers={'Location': '/again' + path}) if hops < limit[0] \
            else _good(path, number)

    limit = [3]
    with TileServer(answer) as server:
        done, _ = _load(server, tmp_path / 'm')
        assert done.tiles == 12
        limit[0] = 4
        with pytest.raises(Refused, match='redirects more than'):
            _load(server, tmp_path / 'n')


def test_private_addresses_are_not_asked_unless_allowed(tmp_path):
    with TileServer(_good) as server:
        with pytest.raises(Refused, match='private network; --allow-private'):
            _load(server, tmp_path / 'm', private=False)
        assert not server.log


@pytest.mark.parametrize('address', [
    '127.0.0.1', '10.1.2.3', '192.168.0.1', '172.16.0.1', '169.254.169.254', '100.64.0.1',
    '[::1]', '[fe80::1]', '[::ffff:10.0.0.1]', '[64:ff9b::a00:1]', '0.0.0.0', '224.0.0.1',
    '2130706433', '0x7f000001'])
def test_no_spelling_of_a_private_address_passes(address):
    with pytest.raises(Refused, match='private network'):
        Client().get(f'http://{address}:9/', 100)


@pytest.mark.parametrize('url', [
    'https://mt1.google.com/vt/lyrs=s&x={x}&y={y}&z={z}',
    'https://{switch:mt0,khms0}.GOOGLE.com:443/{z}/{x}/{y}',
    'https://khms.googleapis.com/{z}/{x}/{y}', 'https://www.google.co.uk./{z}/{x}/{y}',
    'https://user:pw@mt1.google.com/{z}/{x}/{y}',
    'http://ecn.t{switch:0,1}.tiles.virtualearth.net/tiles/a{q}.jpeg?g=1',
    'https://T0.SSL.AK.TILES.VirtualEarth.NET/a{q}', 'https://tiles.bing.com/{q}',
    'https://server.arcgisonline.com/ArcGIS/rest/services/World_Imagery/tile/{z}/{y}/{x}',
    'https://services.arcgisonline.com:8443/{z}/{y}/{x}', 'https://api.mapbox.com/v4/{z}/{x}/{y}',
    'https://tile.openstreetmap.org/{z}/{x}/{y}', 'https://a.tile.openstreetmap.org/{z}/{x}/{y}',
    'https://{switch:example.org,mt1.google.com}/{z}/{x}/{y}'])
def test_providers_that_forbid_it_are_refused_with_the_reason(tmp_path, monkeypatch, url):
    monkeypatch.setattr('socket.getaddrinfo', lambda *_: pytest.fail('a name was looked up'))
    result = _run('download', '--url', url, '--bbox', ','.join(map(str, BOX)), '-o',
                  tmp_path / 'm')
    assert result.exit_code == 4 and 'loc2 map import' in result.stderr
    assert not list(tmp_path.iterdir())


def test_hosts_that_only_look_alike_are_not():
    for host in ('notgoogle.org', 'google.example.org.invalid', 'basemap.nationalmap.gov',
                 'bing.example.invalid', 'mygoogle.com'):
        Client().check(f'https://{host}/arcgis/rest/google.com/1')


@pytest.mark.parametrize('text, value', [
    ('3', 3.0), ('Wed, 21 Oct 2026 07:28:10 GMT', 10.0), ('soon', None), (None, None),
    ('Wed, 21 Oct 2020 07:28:10 GMT', 0.0)])
def test_retry_after_is_seconds_or_a_date(text, value):
    assert retry_after_s(text, lambda: 1792567680.0) == value


def test_templates_know_their_names_and_no_others(monkeypatch):
    fill = Template('https://{s}.x/{z}/{x}/{y}/{-y}/{q}/{switch:m,n}').tile
    assert fill(3, 5, 2) == 'https://b.x/3/5/2/5/121/n'
    assert quadkey(3, 3, 5) == '213'        # the example of the documentation of quadkeys
    assert Template('x/{TileMatrix}/{TileRow}/{TileCol}').tile(3, 5, 2) == 'x/3/2/5'
    for text in ('{z}/{x}/{y}/{0.__class__}', '{z}/{x}/{y}/{secret}', 'a/{z}/{x}', 'a/b'):
        with pytest.raises(MapError):
            Template(text)
    with pytest.raises(MapError, match='LOC2_MAP_KEY'):
        Template('{z}/{x}/{y}?k={key}')
    monkeypatch.setenv('LOC2_MAP_KEY', 'secret')
    assert Template('{z}/{x}/{y}?k={key}').tile(1, 0, 1) == '1/0/1?k=secret'


def test_a_key_goes_into_requests_and_nowhere_else(tmp_path, monkeypatch):
    monkeypatch.setenv('LOC2_MAP_KEY', 'secret')
    with TileServer(lambda path, n: _good(path.split('?')[0], n)) as server:
        _load(server, tmp_path / 'm', text='/{z}/{x}/{y}?key={key}')
    assert all(path.endswith('?key=secret') for path in server.paths)
    assert b'secret' not in (tmp_path / 'm').read_bytes()


@pytest.mark.parametrize('preset', PRESETS.values(), ids=str)
def test_every_preset_names_licence_attribution_and_check(preset):
    for text in (preset.licence, preset.licence_url, preset.attribution, preset.checked):
        assert text
    years = preset.years or (None,)
    for year in years:
        template = Template(preset.of_year(year).url)
        for sample in template.samples():
            Client().check(sample)      # none of those that are refused
    with pytest.raises(MapError, match='no year'):
        preset.of_year(1900)


def test_the_presets_asked_for_are_there():
    assert {'lgl-bw-dop20', 'lgl-bw-hist', 'nrw-dop', 'bayern-dop20', 'swissimage', 'pdok-ortho',
            'ign-bdortho', 'pnoa', 'usgs-naip'} <= set(PRESETS)


def test_a_dry_run_tells_and_asks_nobody(tmp_path):
    with TileServer(_good) as server:
        url = server.url + '/{z}/{x}/{y}'
        result = _run('download', '--url', url, '--bbox', ','.join(map(str, BOX)), '--dry-run',
                      '-o', tmp_path / 'm', '--rate', 1, '--json')
        plan = json.loads(result.stdout)
        assert result.exit_code == 0 and (plan['tiles'], plan['requests']) == (12, 12)
        assert plan['minutes'] == pytest.approx(0.2) and plan['licence'] == ''
        result = _run('download', '--url', url, '--bbox', ','.join(map(str, BOX)), '-o',
                      tmp_path / 'm', '--max-tiles', 11)
        assert result.exit_code == 4 and '--max-tiles' in result.stderr
        assert not server.log and not list(tmp_path.iterdir())


def test_a_preset_needs_its_licence_accepted(tmp_path):
    box = ','.join(map(str, BOX))
    result = _run('download', '--preset', 'swissimage', '--bbox', box, '-o', tmp_path / 'm')
    assert result.exit_code == 4 and '--accept-licence' in result.stderr
    result = _run('download', '--preset', 'mars', '--bbox', box, '-o', tmp_path / 'm')
    assert result.exit_code == 5 and 'swissimage' in result.stderr
    assert 'swissimage' in _run('download', '--preset', 'list', '-o', 'x').stdout


def test_the_command_fetches_along_a_track(tmp_path):
    track = tmp_path / 'track.gpx'
    track.write_text('<gpx xmlns="http://www.topografix.com/GPX/1/1"><trk><trkseg>'
                     '<trkpt lat="49.0069" lon="8.4037"/><trkpt lat="49.0069" lon="8.4047"/>'
                     '</trkseg></trk></gpx>')
    with TileServer(_good) as server:
        result = _run('download', '--url', server.url + '/{z}/{x}/{y}', '--track', track,
                      '--buffer', 40, '-o', tmp_path / 'm', '--allow-private', '--rate', 100,
                      '--licence', 'CC0-1.0')
    assert result.exit_code == 0, result.stderr
    assert 'the date of the imagery is unknown' in result.stderr
    assert _run('verify', tmp_path / 'm', '--track', track, '--buffer', 40, '-q').exit_code == 0


KILLED = """
import sys
from loc2_ros.cli.map import app
app(['download', '--url', sys.argv[1] + '/{z}/{x}/{y}', '--bbox', sys.argv[2], '-o', sys.argv[3],
     '--allow-private', '--rate', '100', '--jobs', '1', '-q'])
"""


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGINT])
def test_a_killed_download_goes_on_and_ends_as_if_nothing_had_happened(tmp_path, number):
    def slow(path, n):
        if len(server.log) == 8 and not freed:
            process.send_signal(number)
            process.wait(60)
        return _good(path, n)

    freed, box = [], ','.join(map(str, BOX))
    with TileServer(slow) as server:
        process = subprocess.Popen([sys.executable, '-c', KILLED, server.url, box,
                                    tmp_path / 'm'], cwd=ROOT, stderr=subprocess.PIPE, text=True)
        error = process.communicate(timeout=120)[1]
        assert not (tmp_path / 'm').exists()
        before = len(server.paths)
        freed.append(True)
        _load(server, tmp_path / 'other')
        mark = len(server.paths)
        result = _run('download', '--url', server.url + '/{z}/{x}/{y}', '--bbox', box, '-o',
                      tmp_path / 'm', '--allow-private', '--rate', 100, '-q')
        assert result.exit_code == 0, result.stderr
        again = set(server.paths[mark:])
    if number == signal.SIGINT:
        assert process.returncode == 130 and 'goes on where it stopped' in error
        # Only the one that was under way
        assert len(again & set(server.paths[:before])) <= 1
    assert len(again & set(server.paths[:before])) <= 50
    with open_store(tmp_path / 'm') as a, open_store(tmp_path / 'other') as b:
        assert a.info.digest == b.info.digest
    assert not list(tmp_path.glob('*.part*')) and not list(tmp_path.glob('*.lock'))


def _ground(x, y):
    """Return a smooth pattern of metres in a grid."""
    waves = [np.sin(2 * np.pi * x / 21) * np.cos(2 * np.pi * y / 25),
             np.sin(2 * np.pi * (x + y) / 32), np.cos(2 * np.pi * (x - 2 * y) / 60)]
    return np.rint(127 + 90 * np.stack(waves, -1)).astype(np.uint8)


@pytest.mark.parametrize('crs, version, north_first', [
    ('EPSG:25832', '1.3.0', False), ('EPSG:3857', '1.3.0', False), ('EPSG:31467', '1.3.0', True),
    ('EPSG:31467', '1.1.1', False)])
def test_a_wms_is_asked_in_its_own_system_and_warped_here(tmp_path, crs, version, north_first):
    pyproj = pytest.importorskip('pyproj')

    def answer(path, number):
        query = {k.lower(): v[0] for k, v in parse_qs(urlsplit(path).query).items()}
        assert query['srs'] == crs
        box = [float(v) for v in query['bbox'].split(',')]
        west, south, east, north = (box[1], box[0], box[3], box[2]) if north_first else box
        n = int(query['width'])
        t = (np.arange(n) + 0.5) / n
        x, y = np.meshgrid(west + t * (east - west), north - t * (north - south))
        return Reply(png(_ground(x, y)))

    text = f'/wms?VERSION={version}&SRS={{proj}}&BBOX={{bbox}}&WIDTH={{width}}&H={{height}}'
    with TileServer(answer) as server:
        service = _service(server, text, crs=crs)
        download(service, _area(), ZOOM, tmp_path / 'm', Client(True), QUICK)
        assert len(server.paths) <= 4
        count = len(server.paths)
    assert count == len(set(server.paths))
    lat, lon = (BOX[1] + BOX[3]) / 2, (BOX[0] + BOX[2]) / 2
    frame = LocalFrame(lat, lon)
    with open_store(tmp_path / 'm') as store:
        crop = store.crop(frame, (0.0, 0.0), 0.5, 60.0, 300)
    u, v = np.meshgrid(np.arange(300), np.arange(300))
    at = crop.map_T_px @ np.stack([u.ravel(), v.ravel(), np.ones(90000)])
    lat, lon = frame.inverse(at.T)
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    assert crop.valid_fraction == 1.0
    assert np.abs(shift_px(crop.image, _ground(x, y))).max() < 0.2


def test_a_wms_error_in_xml_is_told_in_its_words(tmp_path):
    with TileServer(lambda path, n: Reply(b'<ServiceException>no such layer', 200, 'text/xml')
                    ) as server:
        with pytest.raises(Partial, match='text/xml instead'):
            download(_service(server, '/wms?BBOX={bbox}'), _area(), ZOOM, tmp_path / 'm',
                     Client(True), QUICK)


def test_the_kitti_recipe_fetches_imports_and_verifies(tmp_path, monkeypatch):
    rasterio = pytest.importorskip('rasterio')
    drive = tmp_path / 'drive' / 'oxts' / 'data'
    drive.mkdir(parents=True)
    # Where drive 0013 is; 40 m of road
    for k in range(5):
        (drive / f'{k:010d}.txt').write_text(f'49.01{k} 8.42 116.0 0 0 0')
        (drive / f'{k:010d}.txt').write_text(f'{49.0110 + k * 1e-4} 8.4230 116.0 0 0 0')
    plan = _run('kitti', '--drive', tmp_path / 'drive', '--dry-run', '--json', '-o', 'x')
    names = [name.rsplit('/')[-1] for name in json.loads(plan.stdout)['archives']]
    assert names == ['dop20rgb_32_457_5428_2_bw.zip']
    rng = np.random.default_rng(0)
    photo = cv2.resize(rng.integers(0, 255, (200, 200, 3), np.uint8), (1000, 1000))
    with rasterio.open(tmp_path / 'p.tif', 'w', driver='GTiff', width=1000, height=1000, count=3,
                       dtype='uint8') as file:
        file.write(photo.transpose(2, 0, 1))
    with zipfile.ZipFile(tmp_path / 'p.zip', 'w') as archive:
        archive.write(tmp_path / 'p.tif', 'dop.tif')
        archive.writestr('dop.tfw', '2\n0\n0\n-2\n457001\n5429999\n')
    blob = (tmp_path / 'p.zip').read_bytes()

    def answer(path, number):
        start = int(server.log[-1][2].get('Range', 'bytes=0-')[6:-1])
        headers = {'ETag': '"one"'}
        return Reply(blob[start:], 206 if start else 200, 'application/zip', headers,
                     len(blob) // 3 if number == 0 else None)

    monkeypatch.setattr('loc2_ros.maps.kitti.time.sleep', lambda _: None)
    with TileServer(answer) as server:
        arguments = ('kitti', '--drive', tmp_path / 'drive', '-o', tmp_path / 'm.mbtiles',
                     '--base-url', server.url, '--allow-private')
        assert _run(*arguments).exit_code == 4          # the licence
        result = _run(*arguments, '--accept-licence', '--date', '2023')
        assert result.exit_code == 0, result.stderr + result.stdout
        assert 'covered: 100.0%' in result.stdout
        # The second request asked for the rest only
        assert [h.get('Range', '').split('=')[0] for _, _, h in server.log] == ['', 'bytes']
        assert _run(*arguments).exit_code == 0 and len(server.log) == 2
    with open_store(tmp_path / 'm.mbtiles') as store:
        assert store.info.attribution == 'Datenquelle: LGL, www.lgl-bw.de'
        assert store.info.offset_m == (-0.44, -0.36)


def test_a_page_in_the_place_of_an_archive_is_not_kept(tmp_path):
    _oxts_at(tmp_path / 'drive')
    with TileServer(lambda path, n: Reply(b'<html>moved</html>', 200, 'text/html')) as server:
        command = ('kitti', '--drive', tmp_path / 'drive', '-o', tmp_path / 'm.mbtiles',
                   '--base-url', server.url, '--allow-private', '--accept-licence')
        for asked in (1, 2):        # the same command asks again
            result = _run(*command)
            assert result.exit_code == 3 and 'no zip archive' in result.stderr, result.stderr
            assert len(server.log) == asked
        kept = tmp_path / 'm.mbtiles.archives' / 'dop20rgb_32_457_5428_2_bw.zip'
        kept.write_text('<html>saved by hand</html>')
        result = _run(*command)
        assert result.exit_code == 5 and 'remove it' in result.stderr


def _oxts_at(drive):
    (drive / 'oxts' / 'data').mkdir(parents=True)
    (drive / 'oxts' / 'data' / '0000000000.txt').write_text('49.0110 8.4230 116.0 0 0 0')


def test_names_of_archives_follow_the_grid():
    kitti = pytest.importorskip('loc2_ros.maps.kitti')
    pyproj = pytest.importorskip('pyproj')
    to_degrees = pyproj.Transformer.from_crs(25832, 4326, always_xy=True).transform
    for east, north, name in [(457001, 5428001, '457_5428'), (456999, 5428001, '455_5428'),
                              (458999, 5427999, '457_5426'), (459001, 5429999, '459_5428')]:
        lon, lat = to_degrees(east, north)
        assert kitti.archives(np.array([[lat, lon]]), 0.5) == [f'dop20rgb_32_{name}_2_bw.zip']
    with pytest.raises(MapError, match='not in Baden'):
        kitti.archives(np.array([[52.0, 13.0]]), 100.0)


def test_an_answer_that_comes_byte_by_byte_is_given_up(monkeypatch):
    def drip(connection):
        connection.recv(4096)
        connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: image/png\r\n'
                           b'Content-Length: 1000\r\n\r\n')
        for _ in range(600):
            try:
                connection.sendall(b'x')
            except OSError:
                return
            time.sleep(0.05)

    monkeypatch.setattr(net, '_LONGEST_S', 0.3)
    with socket.create_server(('127.0.0.1', 0)) as server:
        threading.Thread(target=lambda: drip(server.accept()[0]), daemon=True).start()
        with pytest.raises(Unreachable, match='more than 0.3 s'):
            Client(True).get(f'http://127.0.0.1:{server.getsockname()[1]}/', 10_000)


def test_connections_are_kept():
    ports = set()
    with TileServer(_good) as server:
        client = Client(True)
        for x in range(3):
            body = client.get(f'{server.url}/{ZOOM}/{x}/1', 1 << 20).body
            assert body == _picture(f'/{ZOOM}/{x}/1')
            ports.add(client._local.connection.sock.getsockname()[1])
    assert len(ports) == 1
