# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""From a tile service to a local map: plan, fetch politely, go on where it stopped, check."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timezone
import getpass
import hashlib
from pathlib import Path
from typing import Any, Callable

from loc2_ros.maps.area import Area
from loc2_ros.maps.decode import decode_tile
from loc2_ros.maps.fetch import Fetcher, HOLE, Key, Pace, Tally
from loc2_ros.maps.guard import BadTile, check_tile, MAX_TILE_BYTES
from loc2_ros.maps.importer import write_imagery
from loc2_ros.maps.job import Imported, ImportOptions, Progress
from loc2_ros.maps.net import Client, host_of
from loc2_ros.maps.origin import Origin
from loc2_ros.maps.presets import Preset
from loc2_ros.maps.template import Template
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.tiles import MAX_ZOOM
from loc2_ros.maps.values import MapError, Partial, Refused
from loc2_ros.maps.verify import PLACEHOLDER_COPIES, PLAIN_STDDEV, plainness

# What a 256 px JPEG of a town takes, and a piece of a WMS
_TILE_BYTES, _CELL_BYTES = 15_500, 900_000


@dataclass(frozen=True)
class Service:
    """
    Where imagery comes from.

    :param crs: system in which a WMS is asked.
    :param accepted: who accepted the licence of a preset, and when; '' with one's own template.
    """

    template: Template
    origin: Origin
    crs: str = 'EPSG:3857'
    preset: str = ''


@dataclass(frozen=True)
class Plan:
    """What a download will ask for, told before the first request."""

    tiles: int
    requests: int
    megabytes: float
    minutes: float
    licence: str
    attribution: str
    host: str

    def lines(self) -> list[str]:
        """Return it for people."""
        return [f'{self.host}: {self.tiles} tiles, {self.requests} requests, about '
                f'{self.megabytes:.0f} MB in {self.minutes:.0f} min',
                f'licence {self.licence or "unknown"}, attribution '
                f'{self.attribution or "unknown"}']


def service_of(preset: Preset, origin: Origin) -> Service:
    """Return a preset as a service; what the user says of date and offset is kept."""
    named = replace(origin, attribution=preset.attribution, licence=preset.licence,
                    licence_url=preset.licence_url)
    return Service(Template(preset.url), named, preset.crs, preset.name)


def accepted_now() -> str:
    """Return who accepts a licence, and when, for the record."""
    return f'{getpass.getuser()}, {datetime.now(timezone.utc).isoformat(timespec="seconds")}'


def plan(service: Service, area: Area, zoom: int, pace: Pace) -> Plan:
    """Return what a download asks for; asks nobody."""
    if not 0 <= zoom <= MAX_ZOOM:
        raise MapError(f'the zoom is 0 to {MAX_ZOOM}, got {zoom}')
    service.template.level(zoom)        # told now if there is none such
    tiles = area.count(zoom)
    requests, size = tiles, tiles * _TILE_BYTES
    if service.template.is_wms:
        requests = len(_grid(service, area, zoom).cells(area, zoom))
        size = requests * _CELL_BYTES
    return Plan(tiles, requests, size / 1e6, requests / pace.rate / 60.0, service.origin.licence,
                service.origin.attribution, host_of(service.template.samples()[0]))


def download(service: Service, area: Area, zoom: int, out: Path, client: Client, pace: Pace,
             progress: Progress = lambda done, of: None, *, failed_only: bool = False,
             finish: bool = False, quality: int = 90) -> tuple[Imported, Tally]:
    """
    Fetch an area into a map; what has come is kept when it stops.

    :param finish: make the map although tiles failed; they are holes then.
    :raises Partial: some tiles failed; the same call goes on.
    :raises Refused: by us or by the service.
    """
    for sample in service.template.samples():
        client.check(sample)
    work = _download_pieces if service.template.is_wms else _download_tiles
    job = hashlib.sha256(repr((service.template.text, service.crs, zoom, area.bounds,
                               area.count(zoom))).encode()).hexdigest()
    file = TileFile(out, job)
    try:
        return work(service, area, zoom, out, file, Fetching(client, pace, progress, failed_only,
                                                             finish, quality))
    except BaseException:
        file.leave()
        raise


@dataclass(frozen=True)
class Fetching:
    """How a download is done."""

    client: Client
    pace: Pace
    progress: Progress
    failed_only: bool
    finish: bool
    quality: int

    def run(self, file: TileFile, keys: list[Key], url_of: Callable[[Key], str],
            check: Callable[[bytes], object], limit: int,
            put: Callable[[Key, bytes], None]) -> Tally:
        """Fetch keys; :raises Partial: if any failed and that is not to be borne."""
        tally = Fetcher(self.client, url_of, check, limit, self.pace).run(
            file, keys, put, self.progress, self.failed_only)
        left = file.execute("SELECT count(*) FROM loc2_fetch WHERE status='failed'").fetchone()[0]
        if left and not self.finish:
            raise Partial(f'{left} of {len(keys)} requests failed ({tally.last_error}); the same '
                          'command tries them again, --finish makes the map without them')
        return tally


def _download_tiles(service: Service, area: Area, zoom: int, out: Path, file: TileFile,
                    how: Fetching) -> tuple[Imported, Tally]:
    sizes: set[int] = set()

    def check(blob: bytes) -> None:
        sizes.add(check_tile(blob, next(iter(sizes), None)).width)

    first = file.execute('SELECT tile_data FROM tiles LIMIT 1').fetchone()
    if first:
        check(first[0])
    keys = [(zoom, x, y) for x, y in area.tiles(zoom)]
    tally = how.run(file, keys, lambda k: service.template.tile(*k), check, MAX_TILE_BYTES,
                    lambda k, blob: file.put(*k, blob))
    holes = drop_placeholders(file, next(iter(sizes), 256))
    counts = file.counts()
    if not counts:
        raise MapError(f'the service has no imagery of the area at zoom {zoom}; try another '
                       'level or another service')
    from loc2_ros.maps.writer import metadata_rows
    rows = metadata_rows(file, area.bounds, next(iter(sizes), 256), {
        **_metadata(service), 'placeholders': holes}, _kind(file))
    file.finish(rows)
    return Imported(str(out), sum(counts.values()), tuple(counts)), tally


def _download_pieces(service: Service, area: Area, zoom: int, out: Path, file: TileFile,
                     how: Fetching) -> tuple[Imported, Tally]:
    # Here, because pyproj is an extra
    from loc2_ros.maps.wms import check_cell, MAX_CELL_BYTES

    grid = _grid(service, area, zoom)
    cells = grid.cells(area, zoom)

    def put(key: Key, blob: bytes) -> None:
        file.execute('INSERT OR REPLACE INTO loc2_cell VALUES (?, ?, ?, ?)', (*key, blob))

    tally = how.run(file, [(0, *cell) for cell in cells],
                    lambda k: grid.url(service.template, k[1:]), check_cell, MAX_CELL_BYTES, put)
    options = ImportOptions(zoom=zoom, area=area, quality=how.quality)
    done = write_imagery(grid.imagery(file, cells), out, '', _metadata(service), options,
                         how.progress, file)
    return done, tally


def _grid(service: Service, area: Area, zoom: int) -> Any:
    from loc2_ros.maps.wms import Grid
    return Grid(service.crs, zoom, (area.bounds[1] + area.bounds[3]) / 2)


def _metadata(service: Service) -> dict[str, Any]:
    # The template as it was given: a key is filled in for requests only
    return {**service.origin.metadata(),
            'sources': [{'url': service.template.text, 'preset': service.preset or None}]}


def _kind(file: TileFile) -> str:
    from loc2_ros.maps.guard import peek
    row = file.execute('SELECT tile_data FROM tiles LIMIT 1').fetchone()
    header = peek(row[0]) if row else None
    return {'jpeg': 'jpg'}.get(header.format, header.format) if header else 'jpg'


def drop_placeholders(file: TileFile, tile_px: int) -> int:
    """Make holes of tiles that say "no imagery": the same bytes thrice, and nothing to see."""
    dropped = 0
    same = file.execute('SELECT crc32, count(*) FROM loc2_crc GROUP BY crc32 HAVING count(*) >= ?',
                        (PLACEHOLDER_COPIES,)).fetchall()
    for crc, _ in same:
        keys = file.execute('SELECT z, x, y FROM loc2_crc WHERE crc32=?', (crc,)).fetchall()
        blobs = [file.get(*key) for key in keys]
        try:
            plain = plainness(decode_tile(blobs[0], tile_px)) < PLAIN_STDDEV
        except BadTile:
            plain = False
        # Equal checksums are no proof
        if not plain or any(blob != blobs[0] for blob in blobs):
            continue
        for key in keys:
            file.drop(*key)
            file.execute('UPDATE loc2_fetch SET status=? WHERE z=? AND x=? AND y=?', (HOLE, *key))
            dropped += 1
    file.commit()
    return dropped


def refuse_large(what: Plan, max_tiles: int) -> None:
    """Raise Refused for more than a user meant to ask for."""
    if what.tiles > max_tiles:
        raise Refused(f'{what.tiles} tiles are more than --max-tiles {max_tiles}; choose a '
                      'smaller area or a coarser level, or raise it')
