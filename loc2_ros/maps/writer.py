# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
One georeferenced picture to a pyramid of tiles in one MBTiles file.

Tiles inside are JPEG; where the picture ends they are WebP with alpha, since black would count
as imagery. The file appears whole or not at all.
"""

from __future__ import annotations

from datetime import datetime, timezone
import json
from pathlib import Path
from typing import Any, Mapping

from loc2_ros import __version__
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.mercator import choose_zoom, coarse_gsd_m
from loc2_ros.maps.pyramid import Imagery, inner, Picture, Pyramid
from loc2_ros.maps.tilefile import TileFile
from loc2_ros.maps.tiles import MAX_ZOOM
from loc2_ros.maps.warp import Array, Image
import numpy as np

OVERVIEWS = 3
# A level this much coarser than the picture still counts as keeping its detail
_AUTO_SLACK = 1.05
_STANDARD_ROWS = ('name', 'attribution', 'description', 'type', 'version')


def write_mbtiles_from_local(path: str | Path, rgb: Image, frame: LocalFrame, west_m: float,
                             north_m: float, gsd_m: float, *, zoom: int | None = None,
                             alpha: Image | None = None,
                             metadata: Mapping[str, Any] | None = None, quality: int = 90,
                             overviews: int = OVERVIEWS) -> Path:
    """
    Write a picture that lies in the axes of a map frame, its upper edge along map y = north_m.

    :param rgb: (H, W, 3) uint8.
    :param west_m: map x of the picture's left edge (not of the centre of its first pixel).
    :param zoom: finest level; None takes the coarsest that keeps the detail.
    :param alpha: (H, W) uint8, below 255 where there is no imagery.
    :param metadata: name, attribution, description as text; anything else (licence, acquired
        {from, to}, map_offset_m, sources) goes into the JSON row ``loc2``.
    :param quality: of JPEG and WebP, 1 to 100.
    :raises MapError: if the file cannot be written.
    :raises ValueError: if the picture or its place make no sense.
    """
    _check_picture(rgb, alpha, gsd_m, west_m, north_m)
    height, width = rgb.shape[:2]

    def to_px(lat_lon: Array) -> Array:
        xy = frame.forward(lat_lon[:, 0], lat_lon[:, 1])
        return np.stack([xy[:, 0] - west_m, north_m - xy[:, 1]], axis=1) / gsd_m

    edge = _outline(width * gsd_m, height * gsd_m) * (1.0, -1.0) + (west_m, north_m)
    opaque = np.full((height, width), 255, np.uint8) if alpha is None else inner(alpha)
    picture = Picture(np.ascontiguousarray(rgb), opaque, gsd_m, to_px,
                      np.stack(frame.inverse(edge), axis=1))
    return write_mbtiles(Path(path), picture, zoom, metadata or {}, quality, overviews)


def write_mbtiles(path: Path, picture: Picture, zoom: int | None, metadata: Mapping[str, Any],
                  quality: int, overviews: int) -> Path:
    """Write a picture as MBTiles; see ``write_mbtiles_from_local``."""
    check_options(zoom, quality)
    detail, top = levels(picture, zoom)
    file = TileFile(path)
    try:
        pyramid = Pyramid(file, picture, detail, top, quality)
        for _ in pyramid.build(max(0, top - overviews)):
            pass
        return file.finish(describe(file, picture, top, metadata))
    except BaseException:
        file.leave()
        raise


def check_options(zoom: int | None, quality: int) -> None:
    """Raise ValueError for options out of range."""
    if not 1 <= quality <= 100:
        raise ValueError(f'the quality is 1 to 100, got {quality}')
    if zoom is not None and not 0 <= zoom <= MAX_ZOOM:
        raise ValueError(f'the zoom is 0 to {MAX_ZOOM}, got {zoom}')


def levels(imagery: Imagery, zoom: int | None) -> tuple[int, int]:
    """Return the level at which imagery is cut, and the finest that is stored."""
    lat_deg = float(imagery.outline[:, 0].mean())
    detail = choose_zoom(range(MAX_ZOOM + 1), lat_deg, imagery.gsd_m, slack=_AUTO_SLACK)
    top = detail if zoom is None else zoom
    return max(detail, top), top


def describe(file: TileFile, imagery: Imagery, top: int,
             metadata: Mapping[str, Any]) -> dict[str, str]:
    """Return the rows of the metadata table for what was made of imagery."""
    (south, west), (north, east) = imagery.outline.min(axis=0), imagery.outline.max(axis=0)
    return metadata_rows(file, (west, south, east, north), 256,
                         {'source_gsd_m': imagery.gsd_m, **metadata})


def metadata_rows(file: TileFile, bounds: tuple[float, float, float, float], tile_px: int,
                  metadata: Mapping[str, Any], kind: str = 'jpg') -> dict[str, str]:
    """
    Return the metadata table: the standard names and the JSON row ``loc2``.

    :param bounds: west, south, east, north, degrees.
    """
    west, south, east, north = bounds
    counts = file.counts()
    lat, lon, top = (south + north) / 2, (west + east) / 2, max(counts, default=0)
    own = {'version': 1, 'created_by': f'loc2_ros {__version__}',
           'created': datetime.now(timezone.utc).isoformat(timespec='seconds'),
           'tile_count': sum(counts.values()), 'gsd_m': coarse_gsd_m(lat, top, tile_px),
           'tiles_digest': file.digest(),
           **{k: v for k, v in metadata.items() if k not in _STANDARD_ROWS}}
    standard = {'name': file.path.stem, 'type': 'baselayer', 'version': '1', 'attribution': '',
                **{k: str(metadata[k]) for k in _STANDARD_ROWS if k in metadata}}
    return {**standard, 'format': kind, 'minzoom': str(min(counts, default=top)),
            'maxzoom': str(top), 'bounds': f'{west:.9f},{south:.9f},{east:.9f},{north:.9f}',
            'center': f'{lon:.9f},{lat:.9f},{top}', 'loc2': json.dumps(own)}


def _outline(width_m: float, height_m: float) -> Array:
    """Return points along the edge of a rectangle, (N, 2), y down."""
    t = np.linspace(0.0, 1.0, 33)
    zero, one = np.zeros_like(t), np.ones_like(t)
    sides = [(t, zero), (t, one), (zero, t), (one, t)]
    return np.concatenate([np.stack(s, axis=1) for s in sides]) * (width_m, height_m)


def _check_picture(rgb: Image, alpha: Image | None, gsd_m: float, west_m: float,
                   north_m: float) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or rgb.size == 0:
        raise ValueError(f'a picture is (H, W, 3) uint8, got {rgb.shape} {rgb.dtype}')
    if alpha is not None and (alpha.shape != rgb.shape[:2] or alpha.dtype != np.uint8):
        raise ValueError(f'the alpha of a {rgb.shape[:2]} picture has {alpha.shape}')
    if not (gsd_m > 0 and np.all(np.isfinite([gsd_m, west_m, north_m]))):
        raise ValueError(f'a picture needs a finite place and gsd > 0, got {west_m}, {north_m}, '
                         f'{gsd_m}')
