# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 map download`` and ``loc2 map kitti``: imagery from the network, when it is asked for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
import sys
from typing import Annotated, Optional

from loc2_ros.cli.map_options import (area_of, Attribution, Bar, Bbox, Buffer, Date, FAILED, Json,
                                      Licence, numbers, Offset, origin_of, Out, outcome,
                                      positions, Quiet, tell, tell_map, Track, warn)
from loc2_ros.maps.values import Refused
import typer

_Private = Annotated[bool, typer.Option(
    '--allow-private', help='Let requests go to private and loopback addresses.')]


def download(
    out: Out,
    preset: Annotated[Optional[str], typer.Option(
        help='A service under an open licence; "list" shows them.')] = None,
    year: Annotated[Optional[int], typer.Option(help='Of a preset that has several.')] = None,
    url: Annotated[Optional[str], typer.Option(
        metavar='TEMPLATE', help='A service of your own: {z} {x} {y} {-y} {q} {s} '
        '{switch:a,b} {key}, or {bbox} {proj} {width} {height} for a WMS.')] = None,
    wmts: Annotated[Optional[str], typer.Option(
        metavar='URL', help='Capabilities document of a WMTS: its address, or a file.')] = None,
    layer: Annotated[Optional[str], typer.Option(
        help='Of the WMTS, if it has several.')] = None,
    crs: Annotated[str, typer.Option(help='System to ask a WMS in.')] = 'EPSG:3857',
    bbox: Bbox = None,
    track: Track = None,
    buffer: Buffer = 150.0,
    zoom: Annotated[int, typer.Option(min=0, max=24, help='Level to fetch.')] = 19,
    date: Date = '',
    attribution: Attribution = '',
    licence: Licence = '',
    offset: Offset = None,
    rate: Annotated[float, typer.Option(min=0.01, max=100, help='Requests per second.')] = 5.0,
    jobs: Annotated[int, typer.Option(min=1, max=16, help='Requests at a time.')] = 2,
    retries: Annotated[int, typer.Option(min=0, max=20, help='Of each request.')] = 5,
    max_tiles: Annotated[int, typer.Option(min=1, help='Refuse to ask for more.')] = 20_000,
    dry_run: Annotated[bool, typer.Option(
        '--dry-run', help='Only tell what it would do.')] = False,
    accept_licence: Annotated[bool, typer.Option(
        '--accept-licence', help='Accept the licence of the preset.')] = False,
    retry_failed: Annotated[bool, typer.Option(
        '--retry-failed', help='Only what failed before.')] = False,
    finish: Annotated[bool, typer.Option(
        '--finish', help='Make the map although tiles failed.')] = False,
    allow_private: _Private = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """
    Fetch imagery of a box or along a track; the same command goes on after an interruption.

    No imagery is asked for before tiles, size, time and licence have been told.
    """
    from loc2_ros.maps import download as loads
    from loc2_ros.maps.fetch import Pace
    from loc2_ros.maps.net import Client
    from loc2_ros.maps.presets import preset_of, PRESETS
    from loc2_ros.maps.template import Template
    from loc2_ros.maps.wmts import read_capabilities, template_of

    with outcome():
        if preset == 'list':
            tell({name: asdict(p) for name, p in PRESETS.items()},
                 [f'{p.name:16s} {p.title}; {p.gsd_m} m, {p.licence}' for p in PRESETS.values()],
                 as_json, False)
            return
        if [preset, url, wmts].count(None) != 2:
            raise ValueError('give one of --preset, --url and --wmts')
        area = area_of(bbox, track, buffer)
        if area is None:
            raise ValueError('give the area: --bbox W,S,E,N or --track FILE')
        origin = origin_of(attribution, licence, date, offset)
        client, pace = Client(allow_private), Pace(rate, jobs, retries)
        if preset is not None:
            chosen = preset_of(preset, year)
            low, high = chosen.zooms
            if not low <= zoom <= high:
                raise ValueError(f'{preset} is worth asking for the levels {low} to {high}; '
                                 f'choose one with --zoom, not {zoom}')
            if not accept_licence and not dry_run:
                _ask(f'{chosen.licence} ({chosen.licence_url}), attribution '
                     f'"{chosen.attribution}"')
            service = loads.service_of(chosen, origin_of(
                '', '', date, offset, accepted=loads.accepted_now()))
            if chosen.checked == 'never':
                warn([f'nobody has checked yet that {preset} answers at this address'],
                     quiet or as_json)
        else:
            template = Template(url or '') if wmts is None else template_of(
                read_capabilities(wmts, client), layer, wmts)
            service = loads.Service(template, origin, crs)
        for sample in service.template.samples():
            client.check(sample)
        what = loads.plan(service, area, zoom, pace)
        if dry_run or not as_json:
            tell(asdict(what), what.lines(), as_json, quiet)
        if dry_run:
            return
        loads.refuse_large(what, max_tiles)
        bar = Bar('fetching', quiet or as_json)
        loads.download(service, area, zoom, out, client, pace, bar, failed_only=retry_failed,
                       finish=finish)
        bar.end()
        tell_map(out, 0, (), as_json, quiet)


def kitti(
    drive: Annotated[Path, typer.Option(
        help='A drive in the raw layout of KITTI (with oxts), or a recording of one.')],
    out: Out,
    buffer: Buffer = 150.0,
    archives: Annotated[Optional[Path], typer.Option(
        help='Folder for the archives; default: beside the map.')] = None,
    zoom: Annotated[str, typer.Option(help='Finest level, or auto.')] = 'auto',
    date: Date = '',
    offset: Annotated[str, typer.Option(
        metavar='E,N', help='Metres: where the imagery shows a point minus where it is; by '
        'default what plate motion made of ETRS89 by 2011.')] = '-0.44,-0.36',
    base_url: Annotated[str, typer.Option(
        help='Where the archives lie.')] = 'https://opengeodata.lgl-bw.de/data/dop20/',
    dry_run: Annotated[bool, typer.Option(
        '--dry-run', help='Only name the archives.')] = False,
    accept_licence: Annotated[bool, typer.Option(
        '--accept-licence', help='Accept dl-de/by-2-0.')] = False,
    allow_private: _Private = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch the orthophotos of Baden-Wuerttemberg for a drive of KITTI, import, and verify."""
    from loc2_ros.maps import kitti as lgl
    from loc2_ros.maps.area import Area
    from loc2_ros.maps.download import accepted_now
    from loc2_ros.maps.importer import import_map
    from loc2_ros.maps.job import ImportOptions
    from loc2_ros.maps.net import Client
    from loc2_ros.maps.sources import find_sources
    from loc2_ros.maps.store import open_store
    from loc2_ros.maps.verify import along

    with outcome():
        track = positions(drive)
        names = lgl.archives(track, buffer)
        if dry_run:
            tell({'archives': [base_url + name for name in names]},
                 [base_url.rstrip('/') + '/' + name for name in names], as_json, quiet)
            return
        numbers(offset, 2, '--offset E,N')
        if zoom != 'auto' and not zoom.isdigit():
            raise ValueError('write --zoom auto or a level')
        folder = archives or out.with_name(out.name + '.archives')
        if not accept_licence and not all((folder / name).exists() for name in names):
            _ask(f'{lgl.LICENCE} ({lgl.LICENCE_URL}), attribution "{lgl.ATTRIBUTION}"')
        bar = Bar('fetching', quiet or as_json)
        files = lgl.fetch_archives(names, folder, Client(allow_private), bar, base_url)
        bar.end()
        origin = origin_of(lgl.ATTRIBUTION, lgl.LICENCE, date, offset, lgl.LICENCE_URL,
                           accepted_now())
        options = ImportOptions(zoom=None if zoom == 'auto' else int(zoom), crs=lgl.CRS,
                                area=Area.corridor(track, buffer))
        bar = Bar('importing', quiet or as_json)
        done = import_map(find_sources([str(file) for file in files]), out, origin, options, bar)
        bar.end()
        tell_map(out, done.skipped, done.warnings, as_json, quiet)
        with open_store(out) as store:
            coverage = along(store, track, 60.0)
        if not as_json:
            tell({}, [f'covered: {coverage.fraction:.1%} of {len(coverage.valid)} m'], False,
                 quiet)
        if coverage.fraction < 0.98:
            raise typer.Exit(FAILED)


def _ask(licence: str) -> None:
    """Have a licence accepted on a terminal; without one, that takes an option."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Refused(f'the imagery is under {licence}; accept it with --accept-licence')
    if not typer.confirm(f'The imagery is under {licence}. Accept?'):
        raise Refused('the licence was not accepted')
