# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 map``: make, fetch, look into, check, cut, join and hand on aerial maps."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date as Day  # noqa: N812 (an option is called date)
import json
import math
from pathlib import Path
from typing import Annotated, Optional

from loc2_ros.cli import map_drive, map_fetch, map_verify
from loc2_ros.cli.map_options import (area_of, Attribution, Bar, Bbox, Buffer, Crs, Date, Json,
                                      Licence, MapPath, Offset, origin_of, Out, outcome,
                                      positions, Quiet, Scheme, tell, tell_map, Track, warn)
from loc2_ros.maps.values import MapError, StoreInfo
import typer

app = typer.Typer(no_args_is_help=True, help='Make, check and look into aerial maps.')
app.command()(map_fetch.download)
app.command()(map_fetch.kitti)
app.command()(map_verify.verify)
app.command('from-drive')(map_drive.from_drive)


@app.command()
def info(
    map_path: MapPath,
    scheme: Scheme = None,
    crs: Crs = None,
    as_json: Json = False,
) -> None:
    """Print bounds, levels, date, licence and warnings of a map."""
    from loc2_ros.maps.store import open_store
    from loc2_ros.maps.verify import age_years

    with outcome():
        with open_store(map_path, scheme=scheme, crs=crs) as store:
            facts = store.info
        age = age_years(facts, Day.today())
        tell({**asdict(facts), 'age_years': age}, _lines(facts, age), as_json, False)


@app.command()
def crop(
    map_path: MapPath,
    lat: Annotated[float, typer.Option(help='Latitude of the centre, degrees.', min=-90, max=90)],
    lon: Annotated[float, typer.Option(help='Longitude of the centre, degrees.')],
    out: Annotated[Path, typer.Option('--out', '-o', help='PNG file; .json goes beside it.')],
    yaw: Annotated[float, typer.Option(
        help='Direction of the right, degrees from true east, counter-clockwise.')] = 0.0,
    size: Annotated[float, typer.Option(help='Width on the ground, m.', min=5, max=500)] = 100.0,
    px: Annotated[int, typer.Option(help='Width of the picture.', min=16, max=4096)] = 504,
    scheme: Scheme = None,
    crs: Crs = None,
) -> None:
    """Cut a square out of a map: PNG, transparent where there is no imagery, and JSON."""
    from loc2_ros.maps.decode import encode_png
    from loc2_ros.maps.store import open_store

    with outcome():
        if out.suffix.lower() != '.png':
            raise ValueError(f'-o {out}: a name that ends in .png, please; .json goes beside it')
        with open_store(map_path, scheme=scheme, crs=crs) as store:
            cut = store.crop_latlon(lat, lon, math.radians(yaw), size, px)
            facts = store.info
        out.write_bytes(encode_png(cut.image, cut.valid))
        out.with_suffix('.json').write_text(json.dumps({
            'lat_deg': lat, 'lon_deg': lon, 'yaw_true_deg': yaw, 'size_m': size, 'px': px,
            'valid_fraction': cut.valid_fraction, 'source_gsd_m': cut.source_gsd_m,
            'zoom': cut.zoom, 'upsampled': cut.upsampled, 'enu_T_px': cut.map_T_px.tolist(),
            'attribution': facts.attribution, 'map': facts.path}, indent=2) + '\n')
    typer.echo(f'{out}: {cut.valid_fraction:.0%} imagery, {cut.source_gsd_m:.3f} m per pixel'
               + (f', {facts.attribution}' if facts.attribution else ''))


@app.command('import')
def import_(
    sources: Annotated[list[str], typer.Argument(
        metavar='SRC...', help='GeoTIFF, VRT, JPEG 2000, GeoPackage, pictures with world files, '
        '.zip, .mbtiles, .pmtiles, folders and patterns; the first wins where they overlap.')],
    out: Out,
    zoom: Annotated[str, typer.Option(
        help='Finest level, or auto: as fine as the source.')] = 'auto',
    format: Annotated[str, typer.Option(  # noqa: A002 (the option is called --format)
        help='jpeg (borders are WebP with alpha) or webp.')] = 'jpeg',
    quality: Annotated[int, typer.Option(min=1, max=100, help='Of JPEG and WebP.')] = 90,
    crs: Crs = None,
    scheme: Scheme = None,
    empty: Annotated[Optional[int], typer.Option(
        min=0, max=255, help='Value of all bands where rasters have no imagery: 0.')] = None,
    bbox: Bbox = None,
    track: Track = None,
    buffer: Buffer = 150.0,
    date: Date = '',
    attribution: Attribution = '',
    licence: Licence = '',
    offset: Offset = None,
    append: Annotated[bool, typer.Option(help='Add to the map that is there.')] = False,
    overwrite: Annotated[bool, typer.Option(help='Later sources win where they overlap.')] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """
    Make a map of files: rasters in any coordinate system are warped, tiles are copied.

    An interrupted import is gone on with by the same command; the map appears when it is whole.
    """
    from loc2_ros.maps.importer import import_map
    from loc2_ros.maps.job import ImportOptions
    from loc2_ros.maps.sources import find_sources

    with outcome():
        if format not in ('jpeg', 'webp') or not (zoom == 'auto' or zoom.isdigit()):
            raise ValueError('write --format jpeg or webp, and --zoom auto or a level')
        origin = origin_of(attribution, licence, date, offset)
        options = ImportOptions(
            zoom=None if zoom == 'auto' else int(zoom), webp=format == 'webp', quality=quality,
            crs=crs, scheme=scheme, empty=empty, area=area_of(bbox, track, buffer),
            later_wins=overwrite, append=append)
        bar = Bar('importing', quiet or as_json)
        done = import_map(find_sources(sources), out, origin, options, bar)
        bar.end()
        tell_map(out, done.skipped, done.warnings, as_json, quiet)


@app.command()
def merge(
    maps: Annotated[list[Path], typer.Argument(
        metavar='MAP...', help='MBTiles files or folders; the first lies on top.')],
    out: Out,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Put maps together; tiles are copied byte for byte where only one map has them."""
    from loc2_ros.maps.merge import merge_maps

    with outcome():
        for path in maps:
            if not path.exists():
                raise MapError(f'{path} does not exist; give maps to put together')
        done = merge_maps(maps, out)
        tell_map(out, done.skipped, done.warnings, as_json, quiet)


@app.command()
def export(
    map_path: Annotated[Path, typer.Argument(metavar='MAP', help='MBTiles or tile folder.')],
    xyz: Annotated[Optional[Path], typer.Option(help='Write a folder {z}/{x}/{y}.ext.')] = None,
    geotiff: Annotated[Optional[Path], typer.Option(help='Write one GeoTIFF, EPSG:3857.')] = None,
    bbox: Bbox = None,
    scheme: Scheme = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a map as a folder of tiles for viewers, or as a GeoTIFF for GIS."""
    from loc2_ros.maps.export import export_geotiff, export_xyz
    from loc2_ros.maps.merge import open_tiles
    from loc2_ros.maps.store import open_store

    with outcome():
        if (xyz is None) == (geotiff is None):
            raise ValueError('give either --xyz or --geotiff')
        area = area_of(bbox, None, 1.0)
        with open_store(map_path, scheme=scheme) as store:
            facts = store.info
        if not facts.zooms:
            raise MapError(f'{map_path} is a raster already; loc2 map import makes tiles of it')
        source = open_tiles(map_path, scheme)
        try:
            count, broken = (
                export_xyz(source, facts, xyz, area) if xyz is not None else
                export_geotiff(source, facts, geotiff, area) if geotiff is not None else (0, 0))
        finally:
            source.close()
        if broken:
            warn([f'{broken} tiles could not be read and were left out; see loc2 map verify '
                  f'{map_path}'], quiet or as_json)
        tell({'tiles': count, 'skipped': broken, 'out': str(xyz or geotiff)},
             [f'wrote {count} tiles to {xyz or geotiff}'], as_json, quiet)


@app.command()
def serve(
    map_path: Annotated[Path, typer.Argument(metavar='MAP', help='MBTiles or tile folder.')],
    port: Annotated[int, typer.Option(min=0, max=65535, help='0 takes a free one.')] = 8085,
    track: Annotated[Optional[Path], typer.Option(
        metavar='FILE', help='Draw this track; see loc2 map verify.')] = None,
    run: Annotated[Optional[Path], typer.Option(
        metavar='DIR', help='Draw the fixes of this run, with their 95 % ellipses.')] = None,
    scheme: Scheme = None,
    quiet: Quiet = False,
) -> None:
    """
    Show a map to this machine: a page, and tiles for RViz, Mapviz and Foxglove.

    Ends on Ctrl-C. Only programs on this machine can ask.
    """
    from loc2_ros.cli.map_options import run_of
    from loc2_ros.maps.merge import open_tiles
    from loc2_ros.maps.serve import MapServer, overlay_of
    from loc2_ros.maps.store import open_store

    with outcome():
        with open_store(map_path, scheme=scheme) as store:
            facts = store.info
        if not facts.zooms:
            raise MapError(f'{map_path} is a raster; loc2 map import makes tiles of it')
        fixes, truth = run_of(run) if run is not None else ([], [])
        overlay = overlay_of(positions(track) if track is not None else None, fixes, truth)
        source = open_tiles(map_path, scheme)
        try:
            with MapServer(source, facts, overlay, port) as server:
                tell({}, [f'{server.url}/ shows the map, {server.url}/{{z}}/{{x}}/{{y}} are its '
                          'tiles; Ctrl-C ends'], False, quiet)
                server.serve_forever(0.2)
        except KeyboardInterrupt:
            pass
        finally:
            source.close()


def _lines(facts: StoreInfo, age: float | None) -> list[str]:
    """Return the facts as a table."""
    bounds = facts.bounds and '{:.6f} {:.6f} {:.6f} {:.6f}'.format(*facts.bounds)
    flown = facts.date and facts.date + ('' if age is None else f', {age:.1f} years ago')
    rows = {
        'map': facts.path, 'format': f'{facts.format}, {facts.crs}', 'name': facts.name,
        'west south east north': bounds,
        'levels': ' '.join(map(str, facts.zooms)) or 'none, a raster',
        'metres per pixel': facts.gsd_m and f'{facts.gsd_m:.3f}', 'tiles': facts.tile_count,
        'date': flown, 'licence': facts.licence, 'attribution': facts.attribution or None,
        'offset east, north': '{:.2f}, {:.2f} m'.format(*facts.offset_m),
        'digest': facts.digest}
    table = [f'{name:22s} {"unknown" if value is None else value}' for name, value in rows.items()]
    return table + [f'warning: {text}' for text in facts.warnings]
