# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 map verify``: tell whether a drive will work on a map."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
import json
from pathlib import Path
from typing import Annotated, Any, Optional

from loc2_ros.cli.map_options import (Crs, FAILED, Json, MapPath, outcome, positions, Quiet,
                                      Scheme, tell, Track, warn)
from loc2_ros.maps.values import MapError, MapStore
import typer


def verify(
    map_path: MapPath,
    track: Track = None,
    buffer: Annotated[float, typer.Option(
        min=2.5, max=250, help='Half the side of the crops along the track, m.')] = 60.0,
    min_coverage: Annotated[float, typer.Option(
        min=0, max=1, help='Share of the track that must be covered.')] = 0.98,
    min_valid_fraction: Annotated[float, typer.Option(
        min=0, max=1, help='Share of a crop that the node asks for.')] = 0.8,
    gsd: Annotated[float, typer.Option(
        min=0.01, max=5, help='Metres per pixel that the model wants.')] = 0.2,
    deep: Annotated[bool, typer.Option(help='Decode every tile and compare checksums.')] = False,
    gaps: Annotated[Optional[Path], typer.Option(
        help='Write gaps along the track as GeoJSON.')] = None,
    picture: Annotated[Optional[Path], typer.Option(
        help='Draw the track over the map: PNG.')] = None,
    scheme: Scheme = None,
    crs: Crs = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """
    Tell whether a drive will work on a map; ends with 1 if it will not.

    Looks for damage, blank, doubled and placeholder tiles, resolution and age, and how much of
    each crop along the track is imagery.
    """
    from loc2_ros.maps import verify as checks
    from loc2_ros.maps.store import open_store
    from loc2_ros.maps.track import leaps

    with outcome():
        if track is None and (gaps is not None or picture is not None):
            raise ValueError('--gaps and --picture tell of a track; give --track FILE')
        result: dict[str, Any] = {'map': map_path}
        with open_store(map_path, scheme=scheme, crs=crs) as store:
            advice = checks.advice(store.info, gsd, date.today())
            damage, facts = _look(store, map_path, scheme, deep)
            result.update({'damage': damage, 'tiles': facts, 'warnings': advice})
            lines = _tile_lines(damage, facts)
            if not store.info.zooms and not deep:
                lines.append('raster        not read as a whole; --deep does')
            passed = not damage and not (facts and (facts['corrupt'] or facts['changed']))
            if track is not None:
                lat_lon = positions(track)
                advice += leaps(lat_lon)
                coverage = checks.along(store, lat_lon, buffer, min_valid_fraction)
                found = coverage.gaps()
                passed &= coverage.fraction >= min_coverage
                result.update({'coverage': coverage.fraction, 'length_m': len(coverage.valid),
                               'gaps': found})
                lines += [f'track         {coverage.fraction:.1%} of {len(coverage.valid)} m '
                          f'covered, {min_coverage:.0%} wanted',
                          *(f'gap           {g["from_m"]:.0f} to {g["to_m"]:.0f} m along the '
                            f'track, down to {g["least_valid"]:.0%} imagery' for g in found)]
                if gaps is not None:
                    gaps.write_text(json.dumps(coverage.geojson()) + '\n')
                if picture is not None:
                    _write_png(picture, checks.picture(store, coverage, store.info.attribution))
        result['passed'] = bool(passed)
        warn(advice, quiet or as_json)
        tell(result, [*lines, 'passed' if passed else 'failed'], as_json, quiet)
    if not passed:
        raise typer.Exit(FAILED)


def _look(store: MapStore, map_path: str, scheme: str | None,
          deep: bool) -> tuple[list[str], dict[str, Any] | None]:
    """Return what is damaged, and what the tiles are like; rasters have none."""
    from loc2_ros.maps.merge import open_tiles
    from loc2_ros.maps.tiles import MBTiles
    from loc2_ros.maps.verify import look_at_tiles

    if not store.info.zooms:
        from loc2_ros.maps.raster import RasterStore
        return store.whole_check() if deep and isinstance(store, RasterStore) else [], None
    source = open_tiles(Path(map_path), scheme)
    try:
        damage = source.whole_check() if isinstance(source, MBTiles) else []
        try:
            return damage, asdict(look_at_tiles(source, deep))
        except MapError as error:
            return [*damage, str(error)], None
    finally:
        source.close()


def _tile_lines(damage: list[str], facts: dict[str, Any] | None) -> list[str]:
    lines = [f'damage        {text}' for text in damage]
    if facts is None:
        return lines
    examples = facts.pop('examples')
    counts = ', '.join(f'{n} {name}' for name, n in facts.items() if name != 'tiles')
    facts['examples'] = examples
    return [*lines, f'tiles         {facts["tiles"]}: {counts}',
            *(f'              {text}' for text in examples)]


def _write_png(path: Path, bgr: Any) -> None:
    from loc2_ros.maps.preview import png_of
    path.write_bytes(png_of(bgr))
