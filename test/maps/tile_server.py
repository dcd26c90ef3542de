# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A server on the loopback that answers as badly as a test wants."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
import threading
import time
from typing import Callable, NamedTuple


class Reply(NamedTuple):
    """An answer; ``cut`` sends only so many bytes of the body that it promises."""

    body: bytes = b''
    status: int = 200
    kind: str = 'image/png'
    headers: dict = {}
    cut: int | None = None


class TileServer:
    """
    Answers GET with what a function makes of path and number of the request for that path.

    :ivar log: (time, path, headers) of all requests.
    """

    def __init__(self, answer: Callable[[str, int], Reply], port: int = 0) -> None:
        self.answer, self.log = answer, []
        outer, lock = self, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def do_GET(self):  # noqa: N802
                with lock:
                    number = sum(path == self.path for _, path, _ in outer.log)
                    outer.log.append((time.monotonic(), self.path, dict(self.headers)))
                reply = outer.answer(self.path, number)
                if reply is None:           # gone: the connection breaks without an answer
                    self.close_connection = True
                    return
                body = reply.body
                headers = {'Content-Type': reply.kind, 'Content-Length': str(len(body)),
                           **reply.headers}
                self.send_response(reply.status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                try:
                    self.wfile.write(body if reply.cut is None else body[:reply.cut])
                except OSError:
                    pass
                self.close_connection = reply.cut is not None

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(('127.0.0.1', port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    @property
    def url(self):
        return f'http://127.0.0.1:{self.port}'

    @property
    def paths(self):
        return [path for _, path, _ in self.log]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
