# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From files of imagery to one map: rasters are warped, tiles are copied byte for byte.

The work goes into a part that a killed run leaves and the next one goes on with.
"""

from __future__ import annotations

from dataclasses import replace
import hashlib
import json
from pathlib import Path
from typing import Any, Callable, Sequence

from loc2_ros.maps.area import Area
from loc2_ros.maps.blend import laid_over
from loc2_ros.maps.imagery import Mosaic, RasterImagery, Recent
from loc2_ros.maps.job import Bounds, Imported, ImportOptions, Progress, united, within
from loc2_ros.maps.mercator import TILE_PX
from loc2_ros.maps.merge import add_record, bounds_of_tiles, import_tiles, open_tiles
from loc2_ros.maps.origin import Origin
from loc2_ros.maps.pyramid import Imagery, Pyramid
from loc2_ros.maps.sources import Source
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.values import MapError
from loc2_ros.maps.writer import check_options, levels, metadata_rows

_OPEN_FILES = 32


def import_map(sources: Sequence[Source], out: Path, origin: Origin, options: ImportOptions,
               progress: Progress = lambda done, of: None) -> Imported:
    """
    Make a map of sources.

    :raises MapError: nothing is changed then; an interrupted run goes on where it stopped.
    """
    check_options(options.zoom, options.quality)
    if len({source.is_tiles for source in sources}) > 1:
        raise MapError('tiles and rasters cannot be imported together; import each and '
                       'loc2 map merge them')
    if out.exists() and not options.append and out.is_dir():
        raise MapError(f'{out} is a folder; give a file such as area.mbtiles')
    if options.append and not out.exists():
        options = replace(options, append=False)
    ordered = list(reversed(sources)) if options.later_wins else list(sources)
    records = [{'name': s.name, 'sha256': s.sha256(), 'priority': k}
               for k, s in enumerate(ordered)]
    job = _job_name(records, origin, options, out)
    work = import_tiles if sources[0].is_tiles else _import_rasters
    return work(ordered, out, job, {**origin.metadata(), 'sources': records, **options.extra},
                options, progress)


def _job_name(records: list[dict[str, Any]], origin: Origin, options: ImportOptions,
              out: Path) -> str:
    """Return what tells one job from another."""
    stamp = out.stat().st_mtime_ns if options.append else 0
    area = None if options.area is None else options.area.bounds
    text = json.dumps([records, str(origin), str(replace(options, area=None)), area, stamp])
    return hashlib.sha256(text.encode()).hexdigest()


def _import_rasters(sources: list[Source], out: Path, job: str, metadata: dict[str, Any],
                    options: ImportOptions, progress: Progress) -> Imported:
    # Here, because rasterio is an extra and slow to import
    from loc2_ros.maps.geo import Geo
    geo, files, shelf = Geo(), Recent(_OPEN_FILES), Recent()
    try:
        pieces = [RasterImagery(geo, s.path, options.crs, options.empty, files, shelf)
                  for s in sources]
        warnings = list(dict.fromkeys(w for piece in pieces for w in piece.warnings))
        metadata['source_crs'] = sorted({piece.crs for piece in pieces})
        if not metadata['attribution']:
            metadata['attribution'] = next((p.attribution for p in pieces if p.attribution), '')
        imagery = pieces[0] if len(pieces) == 1 else Mosaic(pieces)
        done = write_imagery(imagery, out, job, metadata, options, progress)
    finally:
        shelf.clear()
        files.clear()
    return replace(done, warnings=tuple(warnings))


def write_imagery(imagery: Imagery, out: Path, job: str, metadata: dict[str, Any],
                  options: ImportOptions, progress: Progress,
                  file: TileFile | None = None) -> Imported:
    """Cut imagery into tiles; ``file`` is the part to go on with, if it is open already."""
    detail, top = levels(imagery, options.zoom)
    if options.append and options.zoom is None:
        # One level serves a crop: coarser imagery must reach down to that of the map
        detail, top = levels(imagery, max(top, _finest(out)))
    area, bottom = options.area, max(0, top - options.overviews)
    here = bounds_of(imagery, area)     # told now, and with nothing left behind
    file = file or TileFile(out, job)
    try:
        before = _start_with(file, out, options, metadata)
        pyramid = Pyramid(file, imagery, detail, top, options.quality, options.webp,
                          area.touches if area is not None else lambda zoom, x, y: True,
                          _merging(options) if before is not None else None)
        branches = len(pyramid.branches(bottom))
        for done in pyramid.build(bottom):
            progress(done, branches)
        bounds = united(here, before)
        counts = file.counts()
        rows = metadata_rows(file, bounds, 256, {
            'source_gsd_m': imagery.gsd_m, **metadata}, 'webp' if options.webp else 'jpg')
        file.finish(rows)
    except BaseException:
        file.leave()
        raise
    return Imported(str(out), sum(counts.values()), tuple(counts))


def _finest(path: Path) -> int:
    """Return the finest level of a map of tiles."""
    source = open_tiles(path, None)
    try:
        return max(source.zooms)
    finally:
        source.close()


def _merging(options: ImportOptions) -> Callable[[bytes, bytes], bytes]:
    """Return what is done where the map that is gone on with has a tile."""
    def merge(there: bytes, new: bytes) -> bytes:
        upper, lower = (new, there) if options.later_wins else (there, new)
        return laid_over(upper, lower, TILE_PX, options.quality)

    return merge


def _start_with(file: TileFile, out: Path, options: ImportOptions,
                metadata: dict[str, Any]) -> Bounds | None:
    """Copy the map that is to be gone on with and its origin; returns its bounds."""
    if not options.append:
        return None
    source = open_tiles(out, None)
    try:
        if source.tile_px != TILE_PX:
            raise MapError(f'{out} has tiles of {source.tile_px} px; imagery cannot be added')
        if not file.done(-1, 0, 0):
            for key in source.keys():
                blob = source.read(*key)
                if blob is not None:
                    file.put(*key, blob)
            file.set_done(-1, 0, 0)
        add_record(metadata, source)
        return bounds_of_tiles(source)
    finally:
        source.close()


def bounds_of(imagery: Imagery, area: Area | None) -> Bounds:
    """Return west, south, east, north of what of imagery lies in an area."""
    (south, west), (north, east) = imagery.outline.min(axis=0), imagery.outline.max(axis=0)
    bounds = (float(west), float(south), float(east), float(north))
    return bounds if area is None else within(bounds, area.bounds)
