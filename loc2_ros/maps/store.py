# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Opening a map: find out what it is, read what it says about itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from loc2_ros.maps.folder import TileFolder
from loc2_ros.maps.mercator import coarse_gsd_m
from loc2_ros.maps.tiles import MBTiles, own_row, TileSource
from loc2_ros.maps.tilestore import TileStore
from loc2_ros.maps.values import Crop, MapError, MapStore, StoreInfo, StoreStats

__all__ = ['Crop', 'MapError', 'MapStore', 'open_store', 'StoreInfo', 'StoreStats', 'TileStore']

_RASTERS = ('.tif', '.tiff', '.vrt')
_SQLITE_MAGIC = b'SQLite format 3\0'


def open_store(path: str | Path, *, cache_mb: float = 64.0, scheme: str | None = None,
               crs: str | None = None, map_offset_m: tuple[float, float] | None = None,
               allow_remote: bool = False, ahead: bool = False) -> MapStore:
    """
    Open a local aerial map.

    :param path: an MBTiles file, a folder of tiles, or a GeoTIFF, COG or VRT (extra ``geo``).
    :param cache_mb: bound of the decoded imagery kept in memory.
    :param scheme: 'xyz' or 'tms' for stores that do not say how they count rows, or lie.
    :param crs: the system of a raster that does not name its own.
    :param map_offset_m: (east, north) where the imagery shows a point minus where it is; None
        takes what the map says.
    :param allow_remote: let a VRT read sources that are no local files.
    :param ahead: decode in the background what the next crop will need if the motion goes on.
    :raises MapError: one sentence and a remedy.
    """
    if not str(path):
        raise MapError('no map is given; set map.path to an MBTiles file')
    if '://' in str(path) or str(path).startswith('/vsi'):
        raise MapError(f'{path} is not a local path; download or import the map first')
    if scheme not in (None, 'xyz', 'tms'):
        raise MapError(f'the scheme {scheme!r} is unknown; use xyz or tms')
    file = Path(path).expanduser()
    if not file.exists():
        raise MapError(f'{path} does not exist; set map.path to an MBTiles file')
    if file.suffix.lower() in _RASTERS:
        # Here, because rasterio is an extra and slow to import
        from loc2_ros.maps.raster import open_raster
        return open_raster(file, crs=crs, map_offset_m=map_offset_m, allow_remote=allow_remote)
    source = _open_tiles(file, scheme)
    info = _describe(file, source)
    if map_offset_m is not None:
        info = replace(info, offset_m=(float(map_offset_m[0]), float(map_offset_m[1])))
    return TileStore(source, info, int(cache_mb * 1e6), ahead)


def _open_tiles(path: Path, scheme: str | None) -> TileSource:
    if path.is_dir():
        return TileFolder(path, scheme)
    try:
        with path.open('rb') as file:
            magic = file.read(16)
    except OSError as error:
        raise MapError(f'{path} cannot be read ({error.strerror}); check the path and its '
                       'permissions') from error
    if magic != _SQLITE_MAGIC:
        raise MapError(f'{path} is no map that can be read here; give MBTiles, a folder of '
                       'tiles, or a GeoTIFF')
    return MBTiles(path, scheme or 'tms')


def _describe(path: Path, source: TileSource) -> StoreInfo:
    """Collect what the metadata say; nonsense counts as unknown."""
    rows, own = source.metadata, own_row(source.metadata)
    bounds = _numbers(rows.get('bounds', ''), 4)
    west_south_east_north = None if bounds is None else (bounds[0], bounds[1], bounds[2],
                                                         bounds[3])
    offset = _numbers(own.get('map_offset_m'), 2) or [0.0, 0.0]
    date, count = _date(own.get('acquired')), own.get('tile_count')
    warnings = list(source.warnings)
    if date is None:
        warnings.append('the date of the imagery is unknown')
    if not own and rows.get('format') in ('jpg', 'jpeg'):
        warnings.append('the map is JPEG without a mask: black at its edges counts as imagery')
    return StoreInfo(
        path=str(path), format=source.format, name=rows.get('name', path.stem),
        bounds=west_south_east_north, zooms=source.zooms, tile_px=source.tile_px,
        gsd_m=None if bounds is None else coarse_gsd_m(
            (bounds[1] + bounds[3]) / 2.0, max(source.zooms), source.tile_px),
        tile_count=count if isinstance(count, int) else None, date=date,
        licence=own.get('licence') if isinstance(own.get('licence'), str) else None,
        attribution=rows.get('attribution', ''), offset_m=(offset[0], offset[1]),
        digest=source.digest(), warnings=tuple(warnings))


def _numbers(value: Any, count: int) -> list[float] | None:
    """Return finite numbers from a list or a comma-separated text."""
    parts = value.split(',') if isinstance(value, str) else value
    try:
        numbers = [float(part) for part in parts]
    except (TypeError, ValueError):
        return None
    sound = len(numbers) == count and all(abs(n) < 1e6 for n in numbers)
    return numbers if sound else None


def _date(acquired: Any) -> str | None:
    """Return an ISO date or interval from {from, to} or a text."""
    if isinstance(acquired, dict):
        ends = [str(acquired[key]) for key in ('from', 'to') if acquired.get(key)]
        return '/'.join(dict.fromkeys(ends)) or None
    return str(acquired) if acquired else None
