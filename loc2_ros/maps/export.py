# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A map as a folder of tiles for viewers, or as one GeoTIFF for GIS."""

from __future__ import annotations

import json
import os
from pathlib import Path
import shutil

from loc2_ros.maps.area import Area
from loc2_ros.maps.decode import decode_tile
from loc2_ros.maps.guard import BadTile, peek
from loc2_ros.maps.tiles import TileSource
from loc2_ros.maps.values import MapError, StoreInfo
import numpy as np

_MAX_SIDE_PX = 60_000
_SUFFIX = {'jpeg': 'jpg', 'png': 'png', 'webp': 'webp'}
_HALF_WORLD_M = 20037508.342789244


def export_xyz(source: TileSource, info: StoreInfo, out: Path,
               area: Area | None) -> tuple[int, int]:
    """
    Write tiles as ``{z}/{x}/{y}.ext`` and a ``tilejson.json``, byte for byte.

    :returns: the number of tiles, and of those that could not be read.
    :raises MapError: if the folder is there; it appears whole or not at all.
    """
    if out.exists():
        raise MapError(f'{out} exists already; give another folder or remove it')
    part = out.with_name(out.name + '.part')
    shutil.rmtree(part, ignore_errors=True)
    count = broken = 0
    try:
        for zoom, x, y in source.keys():
            if area is not None and not area.touches(zoom, x, y):
                continue
            try:
                blob = source.read(zoom, x, y)
            except BadTile:
                broken += 1
                continue
            header = peek(blob) if blob else None
            if blob is None or header is None:
                broken += 1
                continue
            file = part / str(zoom) / str(x) / f'{y}.{_SUFFIX[header.format]}'
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(blob)
            count += 1
        if not count:
            raise MapError('no tile lies in the area; compare loc2 map info with it')
        (part / 'tilejson.json').write_text(json.dumps(tilejson(source, info), indent=2) + '\n')
        os.replace(part, out)
    except OSError as error:
        raise MapError(f'{out} cannot be written ({error.strerror}); check the folder and the '
                       'space left') from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return count, broken


def tilejson(source: TileSource, info: StoreInfo) -> dict[str, object]:
    """Return what TileJSON 3.0 says about a map, and what only our own tools read."""
    fields: dict[str, object] = {
        'tilejson': '3.0.0', 'scheme': 'xyz', 'name': info.name,
        'attribution': info.attribution, 'minzoom': min(info.zooms, default=0),
        'maxzoom': max(info.zooms, default=0),
        'tiles': [f'{{z}}/{{x}}/{{y}}.{_SUFFIX.get(source.metadata.get("format", ""), "jpg")}']}
    if info.bounds is not None:
        fields['bounds'] = list(info.bounds)
    if 'loc2' in source.metadata:
        fields['loc2'] = source.metadata['loc2']
    return fields


def export_geotiff(source: TileSource, info: StoreInfo, out: Path,
                   area: Area | None) -> tuple[int, int]:
    """
    Write the finest level as a GeoTIFF in EPSG:3857 with alpha (extra ``geo``).

    :returns: the number of tiles, and of those that could not be read.
    """
    try:
        import rasterio
        from rasterio.transform import from_origin
    except ImportError as error:
        raise MapError("a GeoTIFF needs the extra 'geo'; pip install 'loc2_ros[geo]'") from error
    zoom, side = max(info.zooms), source.tile_px
    keys = [k for k in source.keys() if k[0] == zoom and (area is None or area.touches(*k))]
    if not keys:
        raise MapError('no tile lies in the area; compare loc2 map info with it')
    at = np.array(keys)[:, 1:]
    low, high = at.min(axis=0), at.max(axis=0) + 1
    width, height = ((high - low) * side).tolist()
    if max(width, height) > _MAX_SIDE_PX:
        raise MapError(f'the picture would be {width}x{height} px; choose a smaller --bbox')
    gsd = 2 * _HALF_WORLD_M / (side << zoom)
    corner = from_origin(low[0] * side * gsd - _HALF_WORLD_M,
                         _HALF_WORLD_M - low[1] * side * gsd, gsd, gsd)
    part, broken = out.with_name(out.name + '.part'), 0

    def window_of(key: tuple[int, int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
        column, row = (int(n) for n in (key[1:] - low) * side)
        return (row, row + side), (column, column + side)

    try:
        with rasterio.open(part, 'w', driver='GTiff', width=width, height=height, count=4,
                           dtype='uint8', crs='EPSG:3857', transform=corner, tiled=True,
                           blockxsize=side, blockysize=side, compress='deflate',
                           photometric='RGB', alpha='YES', BIGTIFF='IF_SAFER') as file:
            file.update_tags(TIFFTAG_COPYRIGHT=info.attribution)
            for key in keys:
                try:
                    patch = decode_tile(source.read(*key), side)
                except BadTile:
                    broken += 1
                    continue
                alpha = np.full((side, side), 255, np.uint8) if patch.opaque is None \
                    else patch.opaque
                file.write(np.dstack([patch.rgb, alpha]).transpose(2, 0, 1),
                           window=window_of(key))
        # What does not fit on the disk at the very end, GDAL loses without a word
        with rasterio.open(part) as file:
            for key in keys:
                file.read(window=window_of(key))
        os.replace(part, out)
    except (OSError, rasterio.errors.RasterioError) as error:
        raise MapError(f'{out} cannot be written ({error}); check the folder and the space '
                       'left') from error
    finally:
        part.unlink(missing_ok=True)
    return len(keys) - broken, broken
