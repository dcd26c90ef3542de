# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How fast crops are: against GDAL's own warp of the same ground, and with a million tiles.

Milliseconds are told; only ratios of the same run pass or fail, since machines differ.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
import math
from pathlib import Path
import sqlite3
import time
from typing import Any, Callable

import cv2
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.decode import encode_tile
from loc2_ros.maps.importer import import_map
from loc2_ros.maps.job import ImportOptions
from loc2_ros.maps.mercator import merc_lat_lon, merc_px, TILE_PX
from loc2_ros.maps.origin import Origin
from loc2_ros.maps.sources import find_sources
from loc2_ros.maps.store import open_store
from loc2_ros.maps.values import MapError, MapStore
import numpy as np

SIZE_M, PX = 100.26, 504
WARP_RATIO, LARGE_RATIO = 8.0, 1.10
SMALL, LARGE = 1_000, 1_000_000
_CRS, _GSD_M = 'EPSG:25832', 0.2
_WEST, _NORTH = 456_000.0, 5_429_000.0
_ZOOM = 19


@dataclass(frozen=True)
class Times:
    """Milliseconds of the thread's own time, and of the wall."""

    p50_ms: float
    p99_ms: float
    wall_p50_ms: float


@dataclass(frozen=True)
class Result:
    """
    What was measured.

    :param warp_ratio: GDAL's time over ours, warm and rotated, medians.
    :param large_ratio: a crop from a million tiles over one from a thousand, medians.
    """

    times: dict[str, Times]
    import_tiles_per_s: float
    warp_ratio: float
    large_ratio: float

    @property
    def passed(self) -> bool:
        """Return whether the ratios are as they must be."""
        return self.warp_ratio >= WARP_RATIO and self.large_ratio <= LARGE_RATIO

    def as_dict(self) -> dict[str, Any]:
        """Return it for machines."""
        return {**asdict(self), 'passed': self.passed}


def bench(folder: Path, crops: int = 60, side_px: int = 4096, large: int = LARGE,
          say: Callable[[str], None] = lambda text: None) -> Result:
    """
    Measure in an empty folder.

    :param side_px: of the photo that is made up.
    :raises MapError: without the extra ``geo``.
    """
    say('making a photo')
    photo = make_photo(folder / 'photo.tif', side_px)
    say('importing it')
    start = time.process_time()
    done = import_map(find_sources([str(photo)]), folder / 'map.mbtiles', Origin(),
                      ImportOptions())
    rate = done.tiles / (time.process_time() - start)
    say(f'making maps of {SMALL} and {large} tiles')
    small = make_large(folder / 'small.mbtiles', SMALL)
    many = make_large(folder / 'large.mbtiles', large)
    say('cutting crops')
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)        # a thread's own time does not contain that of its helpers
    try:
        times = {**_crops(folder / 'map.mbtiles', photo, crops), **_compare(small, many, crops)}
    finally:
        cv2.setNumThreads(threads)
    return Result(times, rate, times['GDAL warp, warm, rotated'].p50_ms
                  / times['warm, rotated'].p50_ms,
                  times['million tiles'].p50_ms / times['thousand tiles'].p50_ms)


def _crops(map_path: Path, photo: Path, count: int) -> dict[str, Times]:
    frame, radius = _frame(photo)
    rng = np.random.default_rng(0)
    places = rng.uniform(-radius, radius, (count, 2))
    yaws = rng.uniform(-math.pi, math.pi, count)
    times = {}
    with open_store(map_path, cache_mb=512) as store:
        times['cold, rotated'] = _time(lambda k: store.crop(
            frame, places[k], yaws[k], SIZE_M, PX), count)
        times['warm, north up'] = _time(lambda k: store.crop(
            frame, places[k], 0.0, SIZE_M, PX), count)
        times['warm, rotated'] = _time(lambda k: store.crop(
            frame, places[k], yaws[k], SIZE_M, PX), count)
    with open_store(map_path, ahead=True) as store:
        times['along a drive, prefetching'] = _drive(store, frame, radius, 4 * count)
    warp = _gdal(photo, frame)
    for k in range(min(count, 5)):
        warp(places[k], yaws[k])
    times['GDAL warp, warm, rotated'] = _time(lambda k: warp(places[k % 5], yaws[k]),
                                              min(count, 25))
    return times


def _drive(store: MapStore, frame: LocalFrame, radius: float, count: int) -> Times:
    """Time crops a metre apart, the next one prefetched as in the node."""
    start = np.array([-radius, -radius / 2])
    heading = np.array([math.cos(0.4), math.sin(0.4)])
    count = min(count, int(1.6 * radius))

    def cut(k: int) -> None:
        store.crop(frame, start + k * heading, 0.4, SIZE_M, PX)

    return _time(cut, count)


def _time(work: Callable[[int], object], count: int) -> Times:
    return _summary([_once(work, k) for k in range(count)])


def _once(work: Callable[[int], object], k: int) -> tuple[float, float]:
    """Return the seconds of one call: the thread's own, and of the wall."""
    own, wall = time.thread_time(), time.perf_counter()
    work(k)
    return time.thread_time() - own, time.perf_counter() - wall


def _summary(took: list[tuple[float, float]]) -> Times:
    own, wall = 1e3 * np.array(took).T
    return Times(float(np.percentile(own, 50)), float(np.percentile(own, 99)),
                 float(np.median(wall)))


def _compare(small: Path, large: Path, count: int) -> dict[str, Times]:
    """Time both in turns, so that what disturbs the machine disturbs both."""
    times: dict[str, list[tuple[float, float]]] = {'thousand tiles': [], 'million tiles': []}
    with open_store(small, cache_mb=0) as a, open_store(large, cache_mb=0) as b:
        frames = [_middle(store) for store in (a, b)]
        rng = np.random.default_rng(1)
        for k in range(count + 3):
            at, yaw = rng.uniform(-150, 150, 2), rng.uniform(-3, 3)
            for name, store, frame in zip(times, (a, b), frames):
                took = _once(lambda _: store.crop(frame, at, yaw, SIZE_M, PX), k)
                if k >= 3:          # the first ones wait for the disk
                    times[name].append(took)
    return {name: _summary(took) for name, took in times.items()}


def _middle(store: MapStore) -> LocalFrame:
    bounds = store.info.bounds
    assert bounds is not None
    return LocalFrame((bounds[1] + bounds[3]) / 2, (bounds[0] + bounds[2]) / 2)


def make_photo(path: Path, side_px: int) -> Path:
    """Write an invented photo in EPSG:25832, tiled as orthophotos are."""
    try:
        import rasterio
        from rasterio.transform import from_origin
    except ImportError as error:
        raise MapError("the benchmark needs the extra 'geo'; pip install 'loc2_ros[geo]'"
                       ) from error
    rough = np.random.default_rng(0).integers(0, 256, (side_px // 8, side_px // 8, 3), np.uint8)
    photo = cv2.resize(rough, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    with rasterio.open(path, 'w', driver='GTiff', width=side_px, height=side_px, count=3,
                       dtype='uint8', crs=_CRS, tiled=True, blockxsize=256, blockysize=256,
                       compress='jpeg', photometric='YCBCR',
                       transform=from_origin(_WEST, _NORTH, _GSD_M, _GSD_M)) as file:
        file.write(photo.transpose(2, 0, 1))
    return path


def _frame(photo: Path) -> tuple[LocalFrame, float]:
    """Return a frame in the middle of the photo, and how far crops may lie from it."""
    with open_store(photo) as store:
        frame = _middle(store)
    import rasterio
    with rasterio.open(photo) as file:
        half = file.width * _GSD_M / 2
    return frame, half - SIZE_M


def _gdal(photo: Path, frame: LocalFrame) -> Callable[[Any, float], object]:
    """Return what cuts a crop by a WarpedVRT alone."""
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.transform import Affine
    from rasterio.vrt import WarpedVRT
    crs = (f'+proj=ortho +lat_0={frame.lat_deg!r} +lon_0={frame.lon_deg!r} +datum=WGS84 '
           '+units=m +no_defs')
    file, gsd = rasterio.open(photo), SIZE_M / PX

    def cut(at: Any, yaw: float) -> object:
        transform = (Affine.translation(float(at[0]), float(at[1]))
                     @ Affine.rotation(math.degrees(yaw)) @ Affine.scale(gsd, -gsd)
                     @ Affine.translation(-PX / 2, -PX / 2))
        with WarpedVRT(file, crs=crs, transform=transform, width=PX, height=PX,
                       resampling=Resampling.bilinear) as warped:
            return warped.read()

    return cut


def make_large(path: Path, count: int) -> Path:
    """Write a map of many tiles that are all the same; as a view, as deduplicating tools do."""
    side = math.isqrt(count)
    blob = encode_tile(cv2.GaussianBlur(np.random.default_rng(0).integers(
        0, 256, (TILE_PX, TILE_PX, 3), np.uint8), (0, 0), 3), None, 85)
    x0, y0 = (np.floor(merc_px(49.0, 8.4, _ZOOM) / TILE_PX)).astype(int).tolist()
    database = sqlite3.connect(path)
    with database:
        database.executescript("""
            PRAGMA journal_mode = OFF;
            CREATE TABLE metadata (name TEXT, value TEXT);
            CREATE TABLE images (id INTEGER PRIMARY KEY, data BLOB);
            CREATE TABLE map (z INTEGER, x INTEGER, y INTEGER, id INTEGER);
            CREATE VIEW tiles AS SELECT z AS zoom_level, x AS tile_column, y AS tile_row,
                data AS tile_data FROM map JOIN images USING (id);""")
        database.execute('INSERT INTO images VALUES (1, ?)', (blob,))
        database.executemany('INSERT INTO map VALUES (?, ?, ?, 1)', (
            (_ZOOM, x0 + k % side, (1 << _ZOOM) - 1 - y0 - k // side) for k in range(count)))
        database.execute('CREATE UNIQUE INDEX place ON map (z, x, y)')
        lat, lon = merc_lat_lon(np.array([[x0, y0], [x0 + side, y0 + count // side]]), _ZOOM, 1)
        database.execute('INSERT INTO metadata VALUES (?, ?)', (
            'bounds', f'{lon[0]},{lat[1]},{lon[1]},{lat[0]}'))
        database.execute("INSERT INTO metadata VALUES ('format', 'jpg')")
    database.close()
    return path
