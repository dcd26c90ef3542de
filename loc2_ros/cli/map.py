# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 map``: what an aerial map holds, and a look at a piece of it."""

from __future__ import annotations

from dataclasses import asdict
import json
import math
from pathlib import Path
from typing import Annotated

from loc2_ros.maps.values import MapError, StoreInfo
import typer

app = typer.Typer(no_args_is_help=True, help='Look into aerial maps.')

# A map that cannot be read; 1 is kept for checks that fail
UNREADABLE = 5

MapPath = Annotated[str, typer.Argument(metavar='MAP', help='MBTiles, tile folder or GeoTIFF.')]
Scheme = Annotated[str | None, typer.Option(help='Row order of a tile folder: xyz or tms.')]
Crs = Annotated[str | None, typer.Option(help='System of a GeoTIFF that does not name its own.')]


@app.command()
def info(
    map_path: MapPath,
    scheme: Scheme = None,
    crs: Crs = None,
    as_json: Annotated[bool, typer.Option('--json', help='Print JSON for machines.')] = False,
) -> None:
    """Print bounds, levels, date, licence and warnings of a map."""
    from loc2_ros.maps.store import open_store
    try:
        with open_store(map_path, scheme=scheme, crs=crs) as store:
            facts = store.info
    except MapError as error:
        _fail(error)
    typer.echo(json.dumps(asdict(facts), indent=2) if as_json else '\n'.join(_lines(facts)))


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
    try:
        with open_store(map_path, scheme=scheme, crs=crs) as store:
            cut = store.crop_latlon(lat, lon, math.radians(yaw), size, px)
            facts = store.info
    except MapError as error:
        _fail(error)
    try:
        out.write_bytes(encode_png(cut.image, cut.valid))
        out.with_suffix('.json').write_text(json.dumps({
            'lat_deg': lat, 'lon_deg': lon, 'yaw_true_deg': yaw, 'size_m': size, 'px': px,
            'valid_fraction': cut.valid_fraction, 'source_gsd_m': cut.source_gsd_m,
            'zoom': cut.zoom, 'upsampled': cut.upsampled, 'enu_T_px': cut.map_T_px.tolist(),
            'attribution': facts.attribution, 'map': facts.path}, indent=2) + '\n')
    except OSError as error:
        _fail(error)
    typer.echo(f'{out}: {cut.valid_fraction:.0%} imagery, {cut.source_gsd_m:.3f} m per pixel'
               + (f', {facts.attribution}' if facts.attribution else ''))


def _lines(facts: StoreInfo) -> list[str]:
    """Return the facts as a table."""
    bounds = facts.bounds and '{:.6f} {:.6f} {:.6f} {:.6f}'.format(*facts.bounds)
    rows = {
        'map': facts.path, 'format': f'{facts.format}, {facts.crs}', 'name': facts.name,
        'west south east north': bounds,
        'levels': ' '.join(map(str, facts.zooms)) or 'none, a raster',
        'metres per pixel': facts.gsd_m and f'{facts.gsd_m:.3f}', 'tiles': facts.tile_count,
        'date': facts.date, 'licence': facts.licence, 'attribution': facts.attribution or None,
        'offset east, north': '{:.2f}, {:.2f} m'.format(*facts.offset_m),
        'digest': facts.digest}
    table = [f'{name:22s} {"unknown" if value is None else value}' for name, value in rows.items()]
    return table + [f'warning: {text}' for text in facts.warnings]


def _fail(error: Exception) -> None:
    typer.echo(f'loc2 map: {error}', err=True)
    raise typer.Exit(UNREADABLE) from error
