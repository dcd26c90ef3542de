# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Maps of tiles into one map: tiles are copied byte for byte where only one has them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Iterable, Sequence

from loc2_ros.maps.blend import laid_over, without_black
from loc2_ros.maps.folder import TileFolder
from loc2_ros.maps.guard import BadTile, check_tile
from loc2_ros.maps.job import Bounds, Imported, ImportOptions, Progress, united, within
from loc2_ros.maps.mercator import merc_lat_lon
from loc2_ros.maps.origin import UNKNOWN
from loc2_ros.maps.pmtiles import PmTiles
from loc2_ros.maps.sources import Source
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.tiles import MBTiles, own_row, TileSource
from loc2_ros.maps.values import MapError
from loc2_ros.maps.writer import metadata_rows
import numpy as np

_COMMIT_EVERY = 50


def open_tiles(path: Path, scheme: str | None) -> TileSource:
    """Open a store of tiles to copy from."""
    if path.is_dir():
        return TileFolder(path, scheme)
    if path.suffix.lower() == '.pmtiles':
        return PmTiles(path)
    return MBTiles(path, scheme or 'tms')


def import_tiles(sources: list[Source], out: Path, job: str, metadata: dict[str, Any],
                 options: ImportOptions, progress: Progress) -> Imported:
    """Import sources that are tiles already; see ``import_map``."""
    opened: list[TileSource] = []
    if options.append:
        sources = ([*sources, Source(str(out), out, True)] if options.later_wins
                   else [Source(str(out), out, True), *sources])
    try:
        for source in sources:
            opened.append(open_tiles(Path(source.path), options.scheme))
        # What the user does not say, the maps may know
        new = [k for k, s in enumerate(sources) if not options.append or s.file != out]
        known = _joined([opened[k] for k in new], [own_row(opened[k].metadata) for k in new],
                        [sources[k].file for k in new])
        for key in ('attribution', 'licence', 'acquired'):
            if metadata[key] in ('', UNKNOWN, None):
                metadata[key] = known[key]
        if not any(metadata['map_offset_m']):
            metadata['map_offset_m'] = known['map_offset_m']
        for k, source_tiles in enumerate(opened):
            if k not in new:
                add_record(metadata, source_tiles)
        return copy_tiles(opened, out, job, metadata, options, progress)
    finally:
        for source_tiles in opened:
            source_tiles.close()


def copy_tiles(sources: Sequence[TileSource], out: Path, job: str, metadata: dict[str, Any],
               options: ImportOptions, progress: Progress) -> Imported:
    """Copy the tiles of stores into one; where two have a tile, the first is laid on top."""
    if len({source.tile_px for source in sources}) > 1:
        raise MapError('the maps have tiles of different sizes; give those of one size')
    tile_px, skipped = sources[0].tile_px, 0
    wanted = options.area.touches if options.area is not None else lambda zoom, x, y: True
    file = TileFile(out, job)
    try:
        for number, source in enumerate(sources):
            if file.done(-1, number, 0):
                continue
            foreign = 'loc2' not in source.metadata
            for count, key in enumerate(source.keys()):
                if wanted(*key):
                    skipped += not _copy(file, source, key, tile_px, options.quality, foreign)
                if count % _COMMIT_EVERY == 0:
                    file.commit()
                    progress(count, 0)
            file.set_done(-1, number, 0)
        counts = file.counts()
        if not counts:
            raise MapError('none of the tiles could be used; is the area right, are they images?')
        bounds = None
        for source in sources:
            bounds = united(bounds_of_tiles(source), bounds)
        assert bounds is not None
        if options.area is not None:
            bounds = within(bounds, options.area.bounds)
        kind = next((s.metadata['format'] for s in sources if s.metadata.get('format')), 'jpg')
        file.finish(metadata_rows(file, bounds, tile_px, metadata, kind))
    except BaseException:
        file.leave()
        raise
    warnings = [w for source in sources for w in source.warnings]
    ends = sorted({max(source.zooms) for source in sources})
    if len(ends) > 1:
        warnings.append(f'the maps end at the levels {" ".join(map(str, ends))}: where one lacks '
                        'the level that a crop is taken from, the crop is empty; import the '
                        'imagery of all of them at once instead')
    return Imported(str(out), sum(counts.values()), tuple(counts), skipped, tuple(warnings))


def _copy(file: TileFile, source: TileSource, key: tuple[int, int, int], tile_px: int,
          quality: int, foreign: bool) -> bool:
    """Copy one tile; returns whether it could be read."""
    try:
        blob = source.read(*key)
        if blob is None:
            return True
        if check_tile(blob, tile_px).format == 'jpeg' and foreign:
            blob = without_black(blob, _open_sides(source, key), tile_px, quality)
            if blob is None:
                return True
        there = file.get(*key)
        if there is None:
            file.put(*key, blob)
        elif there != blob:
            file.put(*key, laid_over(there, blob, tile_px, quality))
    except BadTile:
        return False
    return True


def _open_sides(source: TileSource, key: tuple[int, int, int]) -> list[Any]:
    """Return slices of the sides of a tile beyond which the map has none."""
    zoom, x, y = key
    side = 1 << zoom
    around = [((x - 1) % side, y, np.s_[:, 0]), ((x + 1) % side, y, np.s_[:, -1]),
              (x, y - 1, np.s_[0]), (x, y + 1, np.s_[-1])]
    return [edge for x1, y1, edge in around
            if not (0 <= y1 < side and source.has(zoom, x1, y1))]


def merge_maps(paths: Iterable[Path], out: Path, quality: int = 90,
               progress: Progress = lambda done, of: None) -> Imported:
    """Put maps together, the first on top; attributions are joined."""
    paths = list(paths)
    opened: list[TileSource] = []
    try:
        for path in paths:
            opened.append(open_tiles(path, None))
        owns = [own_row(source.metadata) for source in opened]
        metadata = _joined(opened, owns, paths)
        job = hashlib.sha256(json.dumps([[str(p.resolve()), s.digest()] for p, s in zip(
            paths, opened)]).encode()).hexdigest()
        return copy_tiles(opened, out, job, metadata, ImportOptions(quality=quality), progress)
    finally:
        for source in opened:
            source.close()


def bounds_of_tiles(source: TileSource) -> Bounds:
    """Return what the metadata say, else what the tiles of the finest level span."""
    try:
        west, south, east, north = map(float, source.metadata.get('bounds', '').split(','))
        if -360.0 <= west < east <= 360.0 and -90.0 <= south < north <= 90.0:
            return west, south, east, north
    except ValueError:
        pass
    top = max(source.zooms)
    xy = np.array([key[1:] for key in source.keys() if key[0] == top])
    lat, lon = merc_lat_lon(np.stack([xy.min(axis=0), xy.max(axis=0) + 1]), top, 1)
    return float(lon[0]), float(lat[1]), float(lon[1]), float(lat[0])


def _joined(opened: list[TileSource], owns: list[dict[str, Any]],
            paths: list[Path]) -> dict[str, Any]:
    """Return the metadata of maps put together; different offsets cannot be joined."""
    offsets = {_offset_of(own) for own in owns}
    if len(offsets) > 1:
        raise MapError('the maps have different offsets; one map can have only one')
    dates = [own['acquired'] for own in owns if isinstance(own.get('acquired'), dict)]
    ends = sorted(str(d[k]) for d in dates for k in ('from', 'to') if d.get(k))
    known = len(dates) == len(owns) and bool(ends)
    lines = [s.metadata.get('attribution', '') for s in opened]
    licences = [str(own.get('licence') or UNKNOWN) for own in owns]
    return {'attribution': '; '.join(dict.fromkeys(line for line in lines if line)),
            'licence': '; '.join(dict.fromkeys(licences)),
            'acquired': {'from': ends[0], 'to': ends[-1]} if known else None,
            'map_offset_m': list(offsets.pop()),
            'sources': [{'name': p.name, 'digest': s.digest(), 'priority': k}
                        for k, (p, s) in enumerate(zip(paths, opened))]}


def add_record(metadata: dict[str, Any], before: TileSource) -> None:
    """
    Let the record of what is added tell of the map it is added to, too.

    :raises MapError: they have different offsets; one that is not given is that of the map.
    """
    own = own_row(before.metadata)
    there, given = _offset_of(own), tuple(map(float, metadata['map_offset_m']))
    if any(given) and given != there:
        raise MapError(f'the map has the offset {there[0]:g},{there[1]:g}, what is added '
                       f'{given[0]:g},{given[1]:g}; one map can have only one')
    metadata['map_offset_m'] = list(there)
    licences = f'{own.get("licence") or UNKNOWN}; {metadata["licence"]}'.split('; ')
    metadata['licence'] = '; '.join(dict.fromkeys(licences))
    lines = [before.metadata.get('attribution', ''), metadata['attribution']]
    metadata['attribution'] = '; '.join(dict.fromkeys(line for line in lines if line))
    dates = [d for d in (own.get('acquired'), metadata['acquired']) if isinstance(d, dict)]
    ends = sorted(str(d[k]) for d in dates for k in ('from', 'to') if d.get(k))
    known = len(dates) == 2 and bool(ends)
    metadata['acquired'] = {'from': ends[0], 'to': ends[-1]} if known else None
    sources = own.get('sources')
    metadata['sources'] = [*(sources if isinstance(sources, list) else []), *metadata['sources']]


def _offset_of(own: dict[str, Any]) -> tuple[float, float]:
    """Return where imagery is off; none where the record makes no sense, as when it is read."""
    try:
        east, north = map(float, own.get('map_offset_m') or (0.0, 0.0))
    except (TypeError, ValueError):
        return 0.0, 0.0
    return (east, north) if abs(east) < 1e6 and abs(north) < 1e6 else (0.0, 0.0)
