# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Small maps made by hand: patterns known in world pixels, stores made of blobs."""

from __future__ import annotations

from pathlib import Path
import sqlite3

import cv2
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.mercator import merc_px
from loc2_ros.maps.tilestore import TileStore
from loc2_ros.maps.values import StoreInfo
import numpy as np

DATUM = LocalFrame(49.0069, 8.4037, 116.0)
ZOOM = 19
# Latitude, longitude, height: both hemispheres, near the equator, high north, the antimeridian
PLACES = [(49.0069, 8.4037, 116.0), (1.2903, 103.8520, 12.0), (-33.8688, 151.2093, 40.0),
          (64.1466, -21.9426, 30.0), (-17.7134, 179.9995, 5.0)]


class PatternSource:
    """
    Tiles drawn on demand from a function of world pixels; a hole where it gives None.

    :param pattern: (x, y) pixel centres counted from edges, (T, T) each -> (T, T, 3) or
        (T, T, 4) uint8 RGB or RGBA, or None.
    """

    def __init__(self, pattern, zooms=(ZOOM,), tile_px=256):
        self.pattern, self.zooms, self.tile_px = pattern, tuple(zooms), tile_px
        self.format, self.metadata, self.warnings = 'pattern', {}, []
        self.reads = 0

    def read(self, zoom, x, y):
        self.reads += 1
        n = np.arange(self.tile_px) + 0.5
        pixels = self.pattern(*np.meshgrid(x * self.tile_px + n, y * self.tile_px + n))
        return None if pixels is None else png(pixels)

    def has(self, zoom, x, y):
        return self.read(zoom, x, y) is not None

    def digest(self):
        return 'pattern'

    def close(self):
        pass


def png(rgb):
    """Encode RGB or RGBA without loss."""
    order = cv2.COLOR_RGB2BGR if rgb.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
    return cv2.imencode('.png', cv2.cvtColor(rgb, order),
                        [cv2.IMWRITE_PNG_COMPRESSION, 1])[1].tobytes()


def jpeg(rgb, quality=95):
    """Encode RGB as JPEG."""
    return cv2.imencode('.jpg', rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def noise_tile(seed=0):
    """Return a smooth random tile."""
    rough = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8)
    return cv2.GaussianBlur(rough, (0, 0), 3)


def store_of(source, cache_mb=64.0, offset_m=(0.0, 0.0)):
    """Open a source as a store."""
    info = StoreInfo('here', source.format, zooms=source.zooms, tile_px=source.tile_px,
                     offset_m=offset_m)
    return TileStore(source, info, int(cache_mb * 1e6))


def tile_at(frame=DATUM, xy=(0.0, 0.0), zoom=ZOOM, tile_px=256):
    """Return the column and row of the tile under a point."""
    world = merc_px(*frame.inverse(xy), zoom, tile_px)
    return tuple(int(n) for n in np.floor(world / tile_px))


def tiles_around(centre, blob, reach=2):
    """Return a dictionary of (z, x, y) -> blob, one blob for all or a function of (x, y)."""
    return {(ZOOM, centre[0] + i, centre[1] + j): blob(i, j) if callable(blob) else blob
            for i in range(-reach, reach + 1) for j in range(-reach, reach + 1)}


def write_mbtiles(path: Path, tiles, metadata=(), view=False, wal=False):
    """Write tiles, y from the north in, from the south in the file; as a view if asked."""
    database = sqlite3.connect(path)
    if wal:
        database.execute('PRAGMA journal_mode=WAL')
    database.execute('CREATE TABLE metadata (name text, value text)')
    database.executemany('INSERT INTO metadata VALUES (?, ?)', dict(metadata).items())
    rows = [(z, x, (1 << z) - 1 - y, blob) for (z, x, y), blob in tiles.items()]
    if view:
        database.execute('CREATE TABLE images (id integer primary key, data blob)')
        database.execute('CREATE TABLE map (z, c, r, id)')
        for number, (z, c, r, blob) in enumerate(rows):
            database.execute('INSERT INTO images VALUES (?, ?)', (number, blob))
            database.execute('INSERT INTO map VALUES (?, ?, ?, ?)', (z, c, r, number))
        database.execute('CREATE VIEW tiles AS SELECT z AS zoom_level, c AS tile_column, '
                         'r AS tile_row, data AS tile_data FROM map JOIN images USING (id)')
    else:
        database.execute('CREATE TABLE tiles (zoom_level integer, tile_column integer, '
                         'tile_row integer, tile_data blob)')
        database.execute('CREATE UNIQUE INDEX tile_index ON tiles '
                         '(zoom_level, tile_column, tile_row)')
        database.executemany('INSERT INTO tiles VALUES (?, ?, ?, ?)', rows)
    database.commit()
    if wal:
        database.execute('PRAGMA wal_checkpoint(TRUNCATE)')
    database.close()
    return path


def write_folder(root: Path, tiles, tms=False, extension='png'):
    """Write tiles as files."""
    for (z, x, y), blob in tiles.items():
        file = root / str(z) / str(x) / f'{(1 << z) - 1 - y if tms else y}.{extension}'
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(blob)
    return root


def pixel_grid(px):
    """Return all crop pixel centres (u, v, 1) as (3, px * px)."""
    u, v = np.meshgrid(np.arange(px), np.arange(px))
    return np.stack([u.ravel(), v.ravel(), np.ones(px * px)]).astype(float)


def shift_px(image, expected, valid=None):
    """
    Estimate the (u, v) shift of an image against what it should show, pixels.

    Least squares on the gradient of what is expected; for shifts far below its wavelength.
    """
    expected = expected.astype(float).reshape(image.shape)
    difference = image.astype(float) - expected
    dv, du = np.gradient(expected, axis=(0, 1))
    use = np.ones(image.shape[:2], bool) if valid is None else valid.copy()
    use[:2] = use[-2:] = use[:, :2] = use[:, -2:] = False
    slope = np.stack([du[use].ravel(), dv[use].ravel()], axis=1)
    # I(u) = E(u - s), hence the difference is -s times the gradient
    return -np.linalg.lstsq(slope, difference[use].ravel(), rcond=None)[0]
