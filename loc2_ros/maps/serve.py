# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A map on the loopback: slippy tiles for RViz, Mapviz and Foxglove, and a page to look at."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import json
import re
from typing import Any, Mapping

from loc2_ros.maps.export import tilejson
from loc2_ros.maps.guard import BadTile, peek
from loc2_ros.maps.page import PAGE
from loc2_ros.maps.tiles import MAX_ZOOM, TileSource
from loc2_ros.maps.values import MapError, StoreInfo

LOOPBACK = '127.0.0.1'
_TILE = re.compile(r'/(\d{1,2})/(\d{1,8})/(\d{1,8})(\.\w{3,4})?')
_SAFE = {
    # Foxglove runs on another origin; the page itself may load nothing from elsewhere
    'Access-Control-Allow-Origin': '*', 'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy': "default-src 'self'; script-src 'unsafe-inline'; "
                               "style-src 'unsafe-inline'"}


class MapServer(ThreadingHTTPServer):
    """
    Serves a map to this machine.

    :param overlay: what the page draws on top: see ``overlay_of``.
    :param port: 0 takes a free one.
    :raises MapError: if the port is taken.
    """

    daemon_threads = True

    def __init__(self, source: TileSource, info: StoreInfo, overlay: Mapping[str, Any],
                 port: int = 8085) -> None:
        self.source, self.overlay = source, json.dumps(overlay).encode()
        try:
            super().__init__((LOOPBACK, port), _Handler)
        except OSError as error:
            raise MapError(f'port {port} cannot be used ({error.strerror}); give another '
                           '--port') from error
        fields = {**tilejson(source, info), 'tileSize': source.tile_px,
                  'tiles': [f'{self.url}/{{z}}/{{x}}/{{y}}']}
        self.tilejson = json.dumps(fields, indent=2).encode()

    @property
    def url(self) -> str:
        """Return the address."""
        return f'http://{LOOPBACK}:{self.server_address[1]}'


class _Handler(BaseHTTPRequestHandler):
    """Answers GET and nothing else."""

    server: MapServer
    protocol_version = 'HTTP/1.1'
    server_version, sys_version = 'loc2', ''

    def do_GET(self) -> None:  # noqa: N802 (the name is given)
        """Answer."""
        # A page elsewhere whose name was pointed at this machine does not get to read maps
        host = (self.headers.get('Host') or '').rsplit(':', 1)[0]
        path = self.path.partition('?')[0]
        if host not in (LOOPBACK, 'localhost'):
            self._say(403, 'text/plain', b'this map is for this machine only')
        elif path in ('/', '/index.html'):
            self._say(200, 'text/html; charset=utf-8', PAGE.encode())
        elif path == '/tilejson.json':
            self._say(200, 'application/json', self.server.tilejson)
        elif path == '/overlay.json':
            self._say(200, 'application/json', self.server.overlay)
        else:
            self._tile(path)

    def _tile(self, path: str) -> None:
        found = _TILE.fullmatch(path)
        zoom, x, y = (int(n) for n in found.groups()[:3]) if found else (-1, 0, 0)
        blob = None
        if 0 <= zoom <= MAX_ZOOM and max(x, y) < 1 << zoom:
            try:
                blob = self.server.source.read(zoom, x, y)
            except BadTile:
                blob = None
        header = peek(blob) if blob else None
        if blob is None or header is None:
            self._say(404, 'text/plain', b'no tile')
        else:
            self._say(200, f'image/{header.format}', blob)

    def _say(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        for name, value in {'Content-Type': kind, 'Content-Length': str(len(body)),
                            **_SAFE}.items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(body)
        except OSError:
            pass        # a viewer that has scrolled on does not wait

    def log_message(self, *_: Any) -> None:
        """Keep the terminal free."""


def overlay_of(track: Any = None, fixes: Any = (), truth: Any = ()) -> dict[str, Any]:
    """
    Return what the page draws.

    :param track: (N, 2) latitude and longitude of a route, or None.
    :param fixes: of each fix: latitude, longitude, and the half axes (m) and direction (rad,
        counter-clockwise from east) of its 95 % ellipse.
    :param truth: (N, 2) where the vehicle was.
    """
    return {'track': [] if track is None else [[float(a), float(b)] for a, b in track],
            'truth': [[float(a), float(b)] for a, b in truth],
            'fixes': [[float(v) for v in fix] for fix in fixes]}
