# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From files of imagery to one map: rasters are warped, tiles are copied byte for byte.

The work goes into a part that a killed run leaves and the next one goes on with.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
import hashlib
import json
from pathlib import Path
import re
from typing import Any, Callable, Iterable, Sequence

import cv2
from loc2_ros.maps.area import Area
from loc2_ros.maps.decode import decode_tile, encode_tile
from loc2_ros.maps.folder import TileFolder
from loc2_ros.maps.guard import BadTile, check_tile
from loc2_ros.maps.imagery import Mosaic, over, RasterImagery, Recent
from loc2_ros.maps.mercator import merc_lat_lon, TILE_PX
from loc2_ros.maps.pmtiles import PmTiles
from loc2_ros.maps.pyramid import Imagery, Pyramid, Tile
from loc2_ros.maps.sources import Source
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.tiles import MBTiles, TileSource
from loc2_ros.maps.values import MapError
from loc2_ros.maps.writer import (check_options, levels, metadata_rows, OVERVIEWS)
import numpy as np

UNKNOWN = 'unknown'
_COMMIT_EVERY = 50
_OPEN_FILES = 32
# What compression makes of exact black, and the least of it that is no shadow
_BLACK, _LEAST_BLACK_PX = 2, 256
_DATE = re.compile(r'\d{4}(-\d\d(-\d\d)?)?')
Bounds = tuple[float, float, float, float]
# (done, of how many)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Origin:
    """
    What a user says about imagery: whose it is, when it was flown, where it is off.

    :param date: ISO, such as 2011-05, or from..to; '' is unknown.
    :param offset_m: (east, north) where the imagery shows a point minus where it is.
    """

    attribution: str = ''
    licence: str = ''
    licence_url: str = ''
    date: str = ''
    offset_m: tuple[float, float] = (0.0, 0.0)
    accepted: str = ''

    def __post_init__(self) -> None:
        ends = self.date.split('..') if self.date else []
        if len(ends) > 2 or not all(_DATE.fullmatch(end) for end in ends):
            raise MapError(f'the date {self.date!r} is unknown; write 2011, 2011-05, 2011-05-17 '
                           'or 2011-05..2011-09')

    def metadata(self) -> dict[str, Any]:
        """Return what goes into the file; what is missing is recorded as unknown."""
        ends = self.date.split('..') if self.date else []
        acquired = {'from': ends[0], 'to': ends[-1]} if ends else None
        return {'attribution': self.attribution, 'licence': self.licence or UNKNOWN,
                'licence_url': self.licence_url or None, 'acquired': acquired,
                'accepted': self.accepted or None, 'map_offset_m': list(self.offset_m)}

    def warnings(self) -> list[str]:
        """Return a sentence for each thing that is missing."""
        missing = {'attribution': self.attribution, 'licence': self.licence, 'date': self.date}
        return [f'the {name} of the imagery is unknown and recorded so; --{name} tells it'
                for name, value in missing.items() if not value]


@dataclass(frozen=True)
class ImportOptions:
    """
    How to import.

    :param zoom: finest level; None takes the coarsest that keeps the detail.
    :param crs: takes the place of what rasters say.
    :param empty: value of all bands where rasters have no imagery.
    :param later_wins: where sources overlap.
    :param append: go on with the map that is there.
    """

    zoom: int | None = None
    webp: bool = False
    quality: int = 90
    crs: str | None = None
    scheme: str | None = None
    empty: int | None = None
    area: Area | None = None
    later_wins: bool = False
    append: bool = False
    overviews: int = OVERVIEWS
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """
    What an import did.

    :param skipped: tiles that could not be read, by reason.
    """

    path: str
    tiles: int
    zooms: tuple[int, ...]
    skipped: int = 0
    warnings: tuple[str, ...] = ()


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
    work = _import_tiles if sources[0].is_tiles else _import_rasters
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
    area, bottom = options.area, max(0, top - options.overviews)
    file = file or TileFile(out, job)
    try:
        before = _start_with(file, out, options, metadata)
        pyramid = Pyramid(file, imagery, detail, top, options.quality, options.webp,
                          area.touches if area is not None else lambda zoom, x, y: True,
                          _merging(options) if before is not None else None)
        branches = len(pyramid.branches(bottom))
        for done in pyramid.build(bottom):
            progress(done, branches)
        bounds = _united(bounds_of(imagery, area), before)
        counts = file.counts()
        rows = metadata_rows(file, bounds, 256, {
            'source_gsd_m': imagery.gsd_m, **metadata}, 'webp' if options.webp else 'jpg')
        file.finish(rows)
    except BaseException:
        file.leave()
        raise
    return Imported(str(out), sum(counts.values()), tuple(counts))


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
        own, lines = _own(source), [source.metadata.get('attribution', ''),
                                    metadata['attribution']]
        metadata['sources'] = [*(own.get('sources') or []), *metadata['sources']]
        metadata['attribution'] = '; '.join(dict.fromkeys(line for line in lines if line))
        return bounds_of_tiles(source)
    finally:
        source.close()


def _import_tiles(sources: list[Source], out: Path, job: str, metadata: dict[str, Any],
                  options: ImportOptions, progress: Progress) -> Imported:
    opened: list[TileSource] = []
    if options.append:
        sources = ([*sources, Source(str(out), out, True)] if options.later_wins
                   else [Source(str(out), out, True), *sources])
    try:
        for source in sources:
            opened.append(open_tiles(Path(source.path), options.scheme))
        # What the user does not say, the maps may know
        known = _joined(opened, [_own(s) for s in opened], [s.file for s in sources])
        for key in ('attribution', 'licence', 'acquired'):
            if metadata[key] in ('', UNKNOWN, None):
                metadata[key] = known[key]
        if not any(metadata['map_offset_m']):
            metadata['map_offset_m'] = known['map_offset_m']
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
            bounds = _united(bounds_of_tiles(source), bounds)
        assert bounds is not None
        if options.area is not None:
            bounds = _within(bounds, options.area.bounds)
        kind = next((s.metadata['format'] for s in sources if s.metadata.get('format')), 'jpg')
        file.finish(metadata_rows(file, bounds, tile_px, metadata, kind))
    except BaseException:
        file.leave()
        raise
    warnings = [w for source in sources for w in source.warnings]
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


def without_black(blob: bytes, open_sides: list[Any], tile_px: int,
                  quality: int) -> bytes | None:
    """
    Return a JPEG tile with the black that comes in from open sides made transparent.

    JPEG has no mask: where a picture ends, other tools leave black, which is no imagery. Tiles
    without such black come back as they are, those of nothing else as None.
    """
    if not open_sides:
        return blob
    rgb = decode_tile(blob, tile_px).rgb
    _, labels = cv2.connectedComponents((rgb.max(axis=-1) <= _BLACK).astype(np.uint8))
    seeds = np.unique(np.concatenate([labels[edge] for edge in open_sides]))
    region = np.isin(labels, seeds[seeds > 0])
    if int(region.sum()) < _LEAST_BLACK_PX:
        return blob
    # Compression smears the edge over a block
    wide = cv2.dilate(region.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    return None if wide.all() else encode_tile(rgb, np.where(wide, 0, 255).astype(np.uint8),
                                               quality)


def laid_over(upper: bytes, lower: bytes, tile_px: int, quality: int) -> bytes:
    """Return a tile with another showing through where it is transparent."""
    patch = decode_tile(upper, tile_px)
    if patch.opaque is None:
        return upper
    below = decode_tile(lower, tile_px)
    full = np.full((tile_px, tile_px), 255, np.uint8)
    tile = Tile(patch.rgb, patch.opaque)
    merged = over(tile, Tile(below.rgb, full if below.opaque is None else below.opaque))
    if merged is tile or merged is None:
        return upper
    return encode_tile(merged.rgb, merged.alpha, quality)


def open_tiles(path: Path, scheme: str | None) -> TileSource:
    """Open a store of tiles to copy from."""
    if path.is_dir():
        return TileFolder(path, scheme)
    if path.suffix.lower() == '.pmtiles':
        return PmTiles(path)
    return MBTiles(path, scheme or 'tms')


def bounds_of(imagery: Imagery, area: Area | None) -> Bounds:
    """Return west, south, east, north of what of imagery lies in an area."""
    (south, west), (north, east) = imagery.outline.min(axis=0), imagery.outline.max(axis=0)
    bounds = (float(west), float(south), float(east), float(north))
    return bounds if area is None else _within(bounds, area.bounds)


def bounds_of_tiles(source: TileSource) -> Bounds:
    """Return what the metadata say, else what the tiles of the finest level span."""
    try:
        west, south, east, north = map(float, source.metadata.get('bounds', '').split(','))
        return west, south, east, north
    except ValueError:
        pass
    top = max(source.zooms)
    xy = np.array([key[1:] for key in source.keys() if key[0] == top])
    lat, lon = merc_lat_lon(np.stack([xy.min(axis=0), xy.max(axis=0) + 1]), top, 1)
    return float(lon[0]), float(lat[1]), float(lon[1]), float(lat[0])


def _united(a: Bounds, b: Bounds | None) -> Bounds:
    if b is None:
        return a
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _within(a: Bounds, b: Bounds) -> Bounds:
    west, south, east, north = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if west >= east or south >= north:
        raise MapError('the imagery does not reach into the area; compare loc2 map info with it')
    return west, south, east, north


def merge_maps(paths: Iterable[Path], out: Path, quality: int = 90,
               progress: Progress = lambda done, of: None) -> Imported:
    """Put maps together, the first on top; attributions are joined."""
    paths = list(paths)
    opened: list[TileSource] = []
    try:
        for path in paths:
            opened.append(open_tiles(path, None))
        owns = [_own(source) for source in opened]
        metadata = _joined(opened, owns, paths)
        job = hashlib.sha256(json.dumps([[str(p.resolve()), s.digest()] for p, s in zip(
            paths, opened)]).encode()).hexdigest()
        return copy_tiles(opened, out, job, metadata, ImportOptions(quality=quality), progress)
    finally:
        for source in opened:
            source.close()


def _own(source: TileSource) -> dict[str, Any]:
    try:
        own = json.loads(source.metadata.get('loc2', '{}'))
    except ValueError:
        return {}
    return own if isinstance(own, dict) else {}


def _joined(opened: list[TileSource], owns: list[dict[str, Any]],
            paths: list[Path]) -> dict[str, Any]:
    """Return the metadata of maps put together; different offsets cannot be joined."""
    offsets = {tuple(own.get('map_offset_m') or (0.0, 0.0)) for own in owns}
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
