# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
HTTP for downloads, and whom it may talk to: no private addresses, no provider that forbids it.

An address is looked up once, checked, and connected to as it was checked, so that a name cannot
point elsewhere in between.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
import http.client
import ipaddress
from pathlib import Path
import re
import socket
import ssl
import threading
import time
from typing import Any, Callable, NamedTuple
from urllib.parse import urljoin, urlsplit

from loc2_ros import __version__
from loc2_ros.maps.values import MapError, Refused

TIMEOUT_S = 30.0
# Of a whole answer: a server that sends a byte now and then never times out
_LONGEST_S = 300.0
_MAX_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_BLOCK = 1 << 16

_EXPORT = "if you hold a licence, export with the provider's tool and use loc2 map import"
# Host pattern -> why; as of 2026-11, from the providers' terms of use
_FORBIDDEN: tuple[tuple[str, str], ...] = (
    (r'(.*\.)?(google(apis|usercontent|video)?|gstatic|ggpht)\.([a-z]{2,3}|com?\.[a-z]{2})',
     "Google's terms forbid prefetching, storing and machine interpretation of its imagery"),
    (r'(.*\.)?(virtualearth\.net|bing\.(com|net)|live\.com)',
     'the terms of Bing Maps forbid copies, archives and databases of its imagery'),
    (r'(.*\.)?(arcgisonline\.com|arcgis\.com|esri\.com)',
     "Esri's terms allow World Imagery in a client's cache only and forbid derived data"),
    (r'(.*\.)?mapbox\.(com|cn)',
     "Mapbox's terms allow its imagery in a client's cache only and forbid derived data"),
    (r'(.*\.)?nearmap\.com', "Nearmap's imagery is for holders of a contract only"),
    (r'(.*\.)?(tile\.openstreetmap\.(org|de)|tile\.osm\.org)',
     'the tile servers of OpenStreetMap forbid bulk downloads'),
)


class Unreachable(Exception):
    """A request that failed on the way and may be tried again."""


class Answer(NamedTuple):
    """
    What a server said.

    :param wait_s: what Retry-After asks for, None without one.
    """

    status: int
    kind: str
    body: bytes
    etag: str
    wait_s: float | None


class Client:
    """
    Requests for any number of threads; connections are kept.

    :param allow_private: talk to loopback and private addresses, as for a tile server at home.
    """

    def __init__(self, allow_private: bool = False, timeout_s: float = TIMEOUT_S) -> None:
        self._allow_private, self._timeout_s = allow_private, timeout_s
        self._local = threading.local()
        self._tls = ssl.create_default_context()

    def get(self, url: str, limit: int) -> Answer:
        """
        Return the answer to a GET, at most ``limit`` bytes of it.

        :raises Refused: where it must not go; :raises Unreachable: where it may be tried again.
        """
        response = self._follow(url, {})
        try:
            body = _read(response, limit)
            _check_length(response, len(body), limit)
        except (OSError, http.client.HTTPException) as error:
            self._forget()
            raise Unreachable(f'the answer broke off ({error or type(error).__name__})'
                              ) from error
        if len(body) > limit:
            self._forget()
        return Answer(response.status, response.headers.get_content_type(), body,
                      response.headers.get('ETag', ''), retry_after_s(
                          response.headers.get('Retry-After')))

    def save(self, url: str, path: Path, progress: Callable[[int, int], None],
             limit: int) -> int:
        """
        Save a file, going on where an earlier try stopped; it appears when it is whole.

        :returns: the HTTP status; nothing is saved unless it is 200.
        :raises Unreachable: with what has come kept in ``PATH.part``; ``MapError`` likewise, if
            the disk is full.
        """
        part = path.with_name(path.name + '.part')
        tag = path.with_name(path.name + '.etag')
        known = tag.read_text() if part.exists() and tag.exists() else ''
        # Without a tag nobody can tell whether the rest still fits
        start = part.stat().st_size if known else 0
        headers = {'Range': f'bytes={start}-', 'If-Range': known} if start else {}
        response = self._follow(url, headers)
        try:
            if response.status not in (200, 206):
                response.read(_BLOCK)
                self._forget()
                if response.status != 416:
                    return response.status
                part.unlink(missing_ok=True)        # more than there is: another file by now
                raise Unreachable('the file has changed on the server')
            start = start if response.status == 206 else 0
            whole = start + int(response.headers.get('Content-Length') or 0)
            if whole > limit:
                raise Refused(f'{url} has {whole >> 20} MB, more than {limit >> 20}')
            with _writing(path):
                tag.write_text(response.headers.get('ETag') or '')
                file = part.open('ab' if start else 'wb', buffering=0)
            with file:
                done = start
                while block := response.read(_BLOCK):
                    with _writing(path):
                        file.write(block)
                    done += len(block)
                    progress(done, whole)
                    if done > limit:
                        raise Refused(f'{url} has more than {limit >> 20} MB')
            if whole > start and done != whole:
                raise Unreachable(f'the answer broke off after {done} of {whole} bytes')
        except http.client.HTTPException as error:
            raise Unreachable(f'the answer broke off ({error})') from error
        except (ConnectionError, TimeoutError) as error:
            raise Unreachable(f'the connection broke ({error})') from error
        finally:
            self._forget()
        part.replace(path)
        tag.unlink(missing_ok=True)
        return 200

    def check(self, url: str) -> None:
        """Raise ``Refused`` for an address whose host must not be asked; asks nobody."""
        parts = urlsplit(url)
        host = (parts.hostname or '').rstrip('.').lower()
        if parts.scheme not in ('http', 'https') or not host:
            raise Refused(f'{url} is no http or https address; give one')
        for pattern, reason in _FORBIDDEN:
            if re.fullmatch(pattern, host):
                raise Refused(f'{host} is not used: {reason}; {_EXPORT}')

    def _follow(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        """Send a request and follow redirects on the same host."""
        first = urlsplit(url).hostname
        for _ in range(_MAX_REDIRECTS + 1):
            self.check(url)
            if urlsplit(url).hostname != first:
                raise Refused(f'{first} redirects to {urlsplit(url).hostname}; use that address '
                              'if you trust it')
            response = self._send(url, headers)
            if response.status not in _REDIRECTS:
                return response
            target = response.headers.get('Location', '')
            response.close()
            self._forget()
            secure, url = urlsplit(url).scheme == 'https', urljoin(url, target)
            if secure and urlsplit(url).scheme == 'http':
                raise Refused(f'{first} redirects from https to http; use that address if you '
                              'trust it')
        raise Refused(f'{first} redirects more than {_MAX_REDIRECTS} times; check the address')

    def _send(self, url: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        parts = urlsplit(url)
        target = (parts.path or '/') + (f'?{parts.query}' if parts.query else '')
        headers = {'User-Agent': f'loc2_ros/{__version__}',
                   'Accept-Encoding': 'identity', **headers}
        while True:
            connection, fresh = self._connection(url)
            try:
                connection.request('GET', target, headers=headers)
                return connection.getresponse()
            except (OSError, http.client.HTTPException) as error:
                self._forget()
                if fresh:       # one that was kept may have been closed by the server
                    raise Unreachable(f'{parts.hostname} does not answer '
                                      f'({error or type(error).__name__})') from error

    def _connection(self, url: str) -> tuple[http.client.HTTPConnection, bool]:
        """Return this thread's connection, and whether it is new."""
        parts = urlsplit(url)
        key = (parts.scheme, parts.hostname, parts.port)
        if getattr(self._local, 'key', None) == key:
            return self._local.connection, False
        self._forget()
        host = parts.hostname or ''
        try:
            port = parts.port or (443 if parts.scheme == 'https' else 80)
        except ValueError as error:
            raise Refused(f'{url} has no valid port; correct it') from error
        address = self._address(host, port)
        made: http.client.HTTPConnection = (
            _PinnedTls(host, port, address, self._timeout_s, self._tls)
            if parts.scheme == 'https' else _Pinned(host, port, address, self._timeout_s))
        self._local.key, self._local.connection = key, made
        return made, True

    def _address(self, host: str, port: int) -> str:
        """Look a name up; every address it has must be a public one."""
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except OSError as error:
            raise Unreachable(f'{host} is not known ({error.strerror or error})') from error
        addresses = [str(entry[4][0]) for entry in found]
        for address in addresses:
            if not self._allow_private and not _is_public(address):
                raise Refused(f'{host} is {address}, an address of a private network; '
                              '--allow-private lets it through')
        return addresses[0]

    def _forget(self) -> None:
        """Close this thread's connection."""
        connection = getattr(self._local, 'connection', None)
        if connection is not None:
            connection.close()
        self._local.key = self._local.connection = None


class _Pinned(http.client.HTTPConnection):
    """A connection to an address that was checked, whatever the name says now."""

    def __init__(self, host: str, port: int, address: str, timeout_s: float) -> None:
        super().__init__(host, port, timeout=timeout_s)
        self._address = address

    def connect(self) -> None:
        """Connect to the address."""
        self.sock = socket.create_connection((self._address, self.port), self.timeout)


class _PinnedTls(_Pinned):
    """The same with TLS; the certificate must be the name's."""

    default_port = 443

    def __init__(self, host: str, port: int, address: str, timeout_s: float,
                 context: ssl.SSLContext) -> None:
        super().__init__(host, port, address, timeout_s)
        self._context = context

    def connect(self) -> None:
        """Connect and shake hands."""
        super().connect()
        self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Tell trouble with the disk from that with the network."""
    try:
        yield
    except OSError as error:
        raise MapError(f'{path} cannot be written ({error.strerror}); make room, and the same '
                       'command goes on where it stopped') from error


def _is_public(text: str) -> bool:
    address: Any = ipaddress.ip_address(text.split('%')[0])
    inner = getattr(address, 'ipv4_mapped', None) or getattr(address, 'sixtofour', None)
    if inner is None and address in ipaddress.ip_network('64:ff9b::/96'):
        inner = ipaddress.ip_address(int(address) & 0xFFFFFFFF)
    return all(a.is_global and not a.is_multicast for a in (address, inner) if a is not None)


def _read(response: http.client.HTTPResponse, limit: int) -> bytes:
    """Return an answer, or one byte more than the limit of it."""
    until = time.monotonic() + _LONGEST_S
    body = bytearray()
    while more := response.read1(min(_BLOCK, limit + 1 - len(body))):
        body += more
        if time.monotonic() > until:
            raise TimeoutError(f'it takes more than {_LONGEST_S:g} s')
    if len(body) <= limit:
        response.read()         # its end, or the connection could not be used again
    return bytes(body)


def _check_length(response: http.client.HTTPResponse, got: int, limit: int) -> None:
    promised = response.headers.get('Content-Length')
    if promised is not None and promised.isdigit() and got < min(int(promised), limit + 1):
        raise http.client.IncompleteRead(b'', int(promised) - got)


def retry_after_s(text: str | None, now: Callable[[], float] = time.time) -> float | None:
    """Return the seconds that Retry-After asks for: a number, or a date."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - now())
    except (TypeError, ValueError):
        return None


def host_of(url: str) -> str:
    """Return the host of an address, for messages."""
    return urlsplit(url).hostname or url
