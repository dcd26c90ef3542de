# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Serving a map to this machine: tiles as they are, facts, a page that needs nobody else."""

from __future__ import annotations

import http.client
import json
import re
import shutil
import subprocess
import threading

import cv2
from loc2_ros.cli.map import app
from loc2_ros.maps.merge import open_tiles
from loc2_ros.maps.page import PAGE
from loc2_ros.maps.serve import MapServer, overlay_of
from loc2_ros.maps.store import open_store
from map_world import DATUM, jpeg, noise_tile, tile_at, tiles_around, write_mbtiles, ZOOM
import numpy as np
import pytest
from typer.testing import CliRunner

CENTRE = tile_at()
TILES = tiles_around(CENTRE, lambda i, j: jpeg(noise_tile(5 * i + j + 50)))


@pytest.fixture
def server(tmp_path):
    lat, lon = DATUM.inverse((0.0, 0.0))
    path = write_mbtiles(tmp_path / 'map.mbtiles', TILES, {
        'name': 'a map', 'attribution': 'Somebody', 'format': 'jpg',
        'bounds': f'{lon - 0.001},{lat - 0.001},{lon + 0.001},{lat + 0.001}'})
    overlay = overlay_of([[lat, lon], [lat + 1e-4, lon]], [[lat, lon, 8.0, 3.0, 0.5]])
    with open_store(path) as store:
        info = store.info
    source = open_tiles(path, None)
    with MapServer(source, info, overlay, 0) as made:
        threading.Thread(target=made.serve_forever, args=(0.02,), daemon=True).start()
        yield made
        made.shutdown()
    source.close()


def _ask(server, path, method='GET', host=None):
    connection = http.client.HTTPConnection('127.0.0.1', server.server_address[1], timeout=10)
    connection.request(method, path, headers={'Host': host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.headers.get_content_type(), answer.read()


def test_tiles_come_as_they_are_in_the_map(server):
    for (z, x, y), blob in TILES.items():
        assert _ask(server, f'/{z}/{x}/{y}') == (200, 'image/jpeg', blob)
    assert _ask(server, f'/{ZOOM}/{CENTRE[0]}/{CENTRE[1]}.jpg?v=1')[2] == TILES[(ZOOM, *CENTRE)]


@pytest.mark.parametrize('path', [
    '/19/0/0', '/19/-1/0', '/99/0/0', '/2/7/0', '/../../etc/passwd', '/a', '/19/1',
    '/19/1/1/1', '//etc/passwd', '/%2e%2e/x'])
def test_what_is_not_there_is_404(server, path):
    assert _ask(server, path)[0] == 404


def test_the_page_and_its_facts(server):
    assert _ask(server, '/')[:2] == (200, 'text/html')
    facts = json.loads(_ask(server, '/tilejson.json')[2])
    assert (facts['name'], facts['attribution']) == ('a map', 'Somebody')
    assert facts['tiles'] == [f'{server.url}/{{z}}/{{x}}/{{y}}'] and facts['maxzoom'] == ZOOM
    overlay = json.loads(_ask(server, '/overlay.json')[2])
    assert len(overlay['track']) == 2 and overlay['fixes'][0][2:] == [8.0, 3.0, 0.5]


def test_the_page_loads_nothing_from_elsewhere():
    assert not re.search(r'https?://|//[a-z]+\.|src="|@import', PAGE)


def test_others_than_this_machine_get_nothing(server):
    assert server.server_address[0] == '127.0.0.1'
    assert _ask(server, '/', host='evil.example')[0] == 403
    assert _ask(server, '/', host='localhost:1')[0] == 200
    assert _ask(server, '/', 'POST')[0] == 501
    assert _ask(server, '/', 'PUT')[0] == 501


def test_a_taken_port_is_one_sentence(server, tmp_path):
    port = server.server_address[1]
    result = CliRunner().invoke(app, ['serve', str(tmp_path / 'map.mbtiles'), '--port', str(port)])
    assert result.exit_code == 5 and 'another --port' in result.stderr


def test_a_browser_shows_the_tiles_and_the_track(server, tmp_path):
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
    browser = next((found for name in names if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip('needs Chromium, which is not installed')
    picture = tmp_path / 'page.png'
    subprocess.run([browser, '--headless', '--no-sandbox', '--disable-gpu',
                    '--window-size=640,480', '--virtual-time-budget=5000',
                    f'--screenshot={picture}', server.url + '/'], check=True, timeout=120,
                   capture_output=True)
    shown = cv2.imread(str(picture))
    # Beside track and ellipse: tiles of noise, drawn larger and smoothed; a page without is even
    assert shown is not None and shown[60:400, 60:220].std() > 4
    blue = (shown[..., 0] > 200) & (shown[..., 2] < 120)
    assert np.count_nonzero(blue) > 20
