# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the commands of ``loc2 map`` share: options, exit codes, tracks, how results are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
import json
from pathlib import Path
import sys
from typing import Annotated, Any, Optional, TYPE_CHECKING

from loc2_ros.maps.values import MapError
import typer

if TYPE_CHECKING:
    from loc2_ros.maps.area import Area
    from loc2_ros.maps.origin import Origin
    from loc2_ros.maps.warp import Array

# 1: a check failed; 2: usage; 3, 4 and 5 come with the errors; 130: interrupted
FAILED, USAGE, UNREADABLE, INTERRUPTED = 1, 2, 5, 130
_BAGS = ('.mcap', '.db3', '.bag')
_CHI2_95 = 5.991        # of two axes

MapPath = Annotated[str, typer.Argument(metavar='MAP', help='MBTiles, tile folder or GeoTIFF.')]
Out = Annotated[Path, typer.Option('--out', '-o', metavar='MAP', help='The map to write.')]
Scheme = Annotated[Optional[str], typer.Option(help='Row order of a tile folder: xyz or tms.')]
Crs = Annotated[Optional[str], typer.Option(
    help='System of rasters that do not name their own, or name a wrong one: EPSG:25832.')]
Json = Annotated[bool, typer.Option('--json', help='Print JSON for machines.')]
Quiet = Annotated[bool, typer.Option('--quiet', '-q', help='Only errors.')]
Bbox = Annotated[Optional[str], typer.Option(
    metavar='W,S,E,N', help='Only this box, degrees: west, south, east, north.')]
Track = Annotated[Optional[Path], typer.Option(
    metavar='FILE', help='Along this track: a recording, a run, CSV, GPX, GeoJSON, or a drive '
    'of KITTI.')]
Buffer = Annotated[float, typer.Option(min=1, max=10_000, help='Metres beside the track.')]
Attribution = Annotated[str, typer.Option(help='Whose imagery it is, as its licence asks.')]
Licence = Annotated[str, typer.Option(help='Such as CC-BY-4.0 or dl-de/by-2-0.')]
Date = Annotated[str, typer.Option(
    metavar='DATE', help='When it was flown: 2011, 2011-05, 2011-05..2011-09.')]
Offset = Annotated[Optional[str], typer.Option(
    metavar='E,N', help='Metres: where the imagery shows a point minus where it is.')]


@contextmanager
def outcome() -> Iterator[None]:
    """Turn errors into one sentence and the exit code that belongs to them."""
    try:
        yield
    except MapError as error:
        _fail(str(error), error.exit_code, error)
    except FileNotFoundError as error:
        _fail(f'{error.filename}: {error.strerror}; does its folder exist?', UNREADABLE, error)
    except OSError as error:
        _fail(str(error), UNREADABLE, error)
    except ValueError as error:
        _fail(str(error), USAGE, error)
    except KeyboardInterrupt as error:
        _fail('interrupted; the same command goes on where it stopped', INTERRUPTED, error)


def _fail(text: str, code: int, error: BaseException) -> None:
    typer.echo(f'loc2 map: {" ".join(text.split())}', err=True)
    raise typer.Exit(code) from error


def tell(result: dict[str, Any], lines: list[str], as_json: bool, quiet: bool) -> None:
    """Print a result, for machines or for people."""
    if as_json:
        typer.echo(json.dumps(result, indent=2))
    elif not quiet:
        for line in lines:
            typer.echo(line)


def warn(texts: list[str] | tuple[str, ...], quiet: bool) -> None:
    """Print warnings on stderr."""
    for text in texts if not quiet else ():
        typer.echo(f'warning: {text}', err=True)


def tell_map(out: Path, skipped: int, warnings: tuple[str, ...], as_json: bool,
             quiet: bool) -> None:
    """Tell what was made, and leave a small picture of it that names its source."""
    from loc2_ros.maps.preview import write_preview
    from loc2_ros.maps.store import open_store

    with open_store(out) as store:
        facts = store.info
        preview = write_preview(store, out)
    warn([*warnings, *facts.warnings], quiet or as_json)
    if facts.licence in (None, 'unknown'):
        warn(['the licence of the imagery is unknown and recorded so; --licence tells it'],
             quiet or as_json)
    if not facts.attribution:
        warn(['the attribution of the imagery is unknown; --attribution tells it'],
             quiet or as_json)
    if skipped:
        warn([f'{skipped} tiles could not be read and were left out'], quiet or as_json)
    tell({**asdict(facts), 'skipped': skipped, 'preview': str(preview)},
         [f'wrote {out}: {facts.tile_count} tiles, levels {" ".join(map(str, facts.zooms))}, '
          f'{facts.gsd_m or 0:.3f} m per pixel, {out.stat().st_size / 1e6:.1f} MB'],
         as_json, quiet)


def area_of(bbox: str | None, track: Path | None, buffer_m: float) -> Area | None:
    """Return the part of the world that was asked for, None for everything."""
    from loc2_ros.maps.area import Area

    if bbox is not None and track is not None:
        raise ValueError('give either --bbox or --track')
    if bbox is not None:
        return Area.box(*numbers(bbox, 4, '--bbox W,S,E,N'))
    if track is None:
        return None
    from loc2_ros.maps.track import leaps
    lat_lon = positions(track)
    warn(leaps(lat_lon), False)
    return Area.corridor(lat_lon, buffer_m)


def positions(track: Path) -> Array:
    """Return the positions of a track or recording, (N, 2) degrees."""
    from loc2_ros.maps.track import read_track, sound_positions

    if (track / 'fixes.csv').is_file():
        return run_of(track)[1]
    if track.suffix.lower() in _BAGS or (track / 'metadata.yaml').is_file():
        return sound_positions(_fixes(track), str(track))
    return read_track(track)


def _fixes(path: Path) -> Iterator[tuple[float, float]]:
    """Yield the positions of a recording's fixes that have one."""
    from loc2_ros.data.bag import BagError, open_bag

    try:
        with open_bag(path) as bag:
            topics = [t for t in bag.of_type('sensor_msgs/msg/NavSatFix') if t.count]
            if not topics:
                raise MapError(f'{path} has no NavSatFix messages; give another track')
            most = max(topics, key=lambda topic: topic.count)
            for record in bag.records([most.name]):
                message = record.message
                if message.status.status >= 0:
                    yield message.latitude, message.longitude
    except BagError as error:
        raise MapError(str(error)) from error


def run_of(folder: Path) -> tuple[list[list[float]], Array]:
    """
    Return what a run left: its fixes for ``overlay_of``, and where the vehicle was.

    The latter, (N, 2) degrees, is the reference where there is one, else the prior.
    """
    from loc2_ros.core.frames import LocalFrame
    from loc2_ros.core.utm import frame_as
    from loc2_ros.evaluate.rows import read_csv
    import numpy as np

    try:
        metrics = json.loads((folder / 'metrics.json').read_text())
        frame = frame_as(metrics.get('frame_mode', LocalFrame.mode),
                         LocalFrame(*map(float, metrics['datum'])))
        rows = read_csv(folder / 'fixes.csv')
    except (KeyError, TypeError, ValueError) as error:
        raise MapError(f'{folder} is no complete run ({error}); run loc2 run again') from error
    places = [(p.x_m, p.y_m) for row in rows for p in (row.truth or row.prior,) if p is not None]
    if not places:
        raise MapError(f'{folder} holds no positions; give another run')
    fixes = []
    for row in rows:
        if row.estimate is None or row.covariance is None:
            continue
        lat, lon = frame.inverse((row.estimate.x_m, row.estimate.y_m))
        values, vectors = np.linalg.eigh(row.covariance[:2, :2])
        long = vectors[:, 1]
        half = np.sqrt(np.maximum(values, 0.0) * _CHI2_95)
        fixes.append([lat, lon, float(half[1]), float(half[0]),
                      float(np.arctan2(long[1], long[0]))])
    return fixes, np.stack(frame.inverse(np.array(places)), axis=1)


def numbers(text: str, count: int, form: str) -> list[float]:
    """Return numbers separated by commas; ValueError where they are not of that form."""
    try:
        found = [float(part) for part in text.split(',')]
    except ValueError:
        found = []
    if len(found) != count:
        raise ValueError(f'write {form}, not {text!r}')
    return found


def origin_of(attribution: str, licence: str, date: str, offset: str | None,
              licence_url: str = '', accepted: str = '') -> Origin:
    """Return what the user says about imagery."""
    from loc2_ros.maps.origin import Origin

    east, north = numbers(offset, 2, '--offset E,N') if offset is not None else (0.0, 0.0)
    return Origin(attribution, licence, licence_url, date, (east, north), accepted)


class Bar:
    """Progress on a terminal; silent elsewhere."""

    def __init__(self, what: str, quiet: bool) -> None:
        self._what, self._shown = what, not quiet and sys.stderr.isatty()

    def __call__(self, done: int, of: int) -> None:
        """Show how far it is."""
        if self._shown:
            typer.echo(f'\r{self._what} {done}{f"/{of}" if of else ""} ', err=True, nl=False)

    def end(self) -> None:
        """Free the line."""
        if self._shown:
            typer.echo('', err=True)
