# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Will a drive work on a map? What is damaged, empty, doubled, too coarse, too old or missing."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
import hashlib
import math
from typing import Any
import zlib

import cv2
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.decode import decode_tile
from loc2_ros.maps.guard import BadTile, check_tile
from loc2_ros.maps.preview import paint, write_text
from loc2_ros.maps.tiles import MBTiles, TileSource
from loc2_ros.maps.track import walk
from loc2_ros.maps.values import MapStore, StoreInfo
from loc2_ros.maps.warp import Array, Image, Patch
import numpy as np

# The same bytes this often, without anything to see, is a provider's "no imagery" sign
PLACEHOLDER_COPIES = 3
PLAIN_STDDEV = 8.0
_BLANK_STDDEV = 1.0
# No compressed picture of anything is as small as this
_MAYBE_PLAIN_BYTES = 4096
OLD_YEARS = 5.0
COARSE = 1.1
_LISTED = 20
_PICTURE_PX = 800
_MAX_PICTURE_M = 20_000.0


@dataclass
class TileFacts:
    """What looking at every tile found; lists name at most twenty, counts count all."""

    tiles: int = 0
    corrupt: int = 0
    blank: int = 0
    duplicates: int = 0
    placeholders: int = 0
    changed: int = 0
    examples: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        """Keep an example."""
        if len(self.examples) < _LISTED:
            self.examples.append(text)


@dataclass(frozen=True)
class Coverage:
    """
    How much of a track can be driven on a map.

    :param lat_lon: (N, 2) points about a metre apart, in degrees.
    :param valid: (N,) share of the crop around each that shows imagery.
    :param enough: what the node asks of a crop.
    """

    lat_lon: Array
    valid: Array
    enough: float
    step_m: float

    @property
    def covered(self) -> Any:
        """Return where the node would work, (N,) bool."""
        return self.valid >= self.enough

    @property
    def fraction(self) -> float:
        """Return the share of the track on which it would."""
        return float(self.covered.mean())

    def gaps(self) -> list[dict[str, Any]]:
        """Return the stretches on which it would not: from, to, length, least coverage."""
        found, start = [], None
        flags = [*(not c for c in self.covered), False]
        for k, gap in enumerate(flags):
            if gap and start is None:
                start = k
            elif not gap and start is not None:
                found.append({
                    'from_m': round(start * self.step_m, 1), 'to_m': round(k * self.step_m, 1),
                    'length_m': round((k - start) * self.step_m, 1),
                    'least_valid': round(float(self.valid[start:k].min()), 3),
                    'line': [[round(float(lon), 7), round(float(lat), 7)]
                             for lat, lon in self.lat_lon[start:k]]})
                start = None
        return found

    def geojson(self) -> dict[str, Any]:
        """Return the gaps as features, ready for any map viewer."""
        features = []
        for gap in self.gaps():
            line = gap.pop('line')
            # A line has two points at least
            features.append({'type': 'Feature', 'properties': gap, 'geometry': {
                'type': 'LineString', 'coordinates': line if len(line) > 1 else line * 2}})
        return {'type': 'FeatureCollection', 'features': features}


def along(store: MapStore, track: Array, buffer_m: float, enough: float = 0.8) -> Coverage:
    """
    Cut crops along a track as the node would, and see how much of them is imagery.

    :param track: (N, 2) degrees.
    :param buffer_m: half the side of the crops.
    """
    points = walk(track, 1.0)
    every = max(1, int(buffer_m / 8.0))     # a crop changes little over an eighth of its reach
    at = list(range(0, len(points), every))
    frame = LocalFrame(*map(float, points[0]))
    xy = frame.forward(points[:, 0], points[:, 1])
    size = min(max(2.0 * buffer_m, 5.0), 500.0)
    seen = [store.crop(frame, xy[k], 0.0, size, 128).valid_fraction for k in at]
    return Coverage(points, np.interp(np.arange(len(points)), at, seen), enough, 1.0)


def look_at_tiles(source: TileSource, deep: bool = False) -> TileFacts:
    """
    Look at every tile: damaged, blank, doubled.

    :param deep: decode every tile, and compare with the checksums that were left at import;
        otherwise only small ones, which may be plain, are decoded.
    """
    facts, copies = TileFacts(), Counter[bytes]()
    # Of each picture once, however often it is there: how plain it is, or what is wrong
    known: dict[bytes, float | str] = {}
    sums = source.checksums() if deep and isinstance(source, MBTiles) else {}
    for key in source.keys():
        facts.tiles += 1
        name = '/'.join(map(str, key))
        try:
            blob = source.read(*key)
        except BadTile as error:
            facts.corrupt += 1
            facts.note(f'{name}: {error}')
            continue
        digest = hashlib.sha256(blob or b'').digest()[:16]
        copies[digest] += 1
        if digest not in known:
            known[digest] = _look(blob, source.tile_px, deep)
        seen = known[digest]
        if isinstance(seen, str):
            facts.corrupt += 1
            facts.note(f'{name}: {seen}')
        elif seen < _BLANK_STDDEV:
            facts.blank += 1
            facts.note(f'{name}: blank')
        if key in sums and zlib.crc32(blob or b'') != sums[key]:
            facts.changed += 1
            facts.note(f'{name}: not what was imported')
    facts.duplicates = sum(n - 1 for n in copies.values())
    facts.placeholders = sum(n for d, n in copies.items() if n >= PLACEHOLDER_COPIES
                             and _BLANK_STDDEV <= _seen(known[d]) < PLAIN_STDDEV)
    return facts


def _look(blob: bytes | None, tile_px: int, deep: bool) -> float | str:
    """Return how much there is to see in a tile, or what is wrong with it."""
    try:
        if not deep and blob is not None and len(blob) > _MAYBE_PLAIN_BYTES:
            check_tile(blob, tile_px)
            return math.inf
        return plainness(decode_tile(blob, tile_px))
    except BadTile as error:
        return str(error)


def _seen(seen: float | str) -> float:
    return math.inf if isinstance(seen, str) else seen


def plainness(patch: Patch) -> float:
    """Return how much there is to see: the standard deviation of the liveliest channel."""
    pixels = patch.rgb if patch.opaque is None else patch.rgb[patch.opaque > 0]
    return float(pixels.reshape(-1, 3).std(axis=0).max()) if pixels.size else 0.0


def age_years(info: StoreInfo, today: date) -> float | None:
    """Return how old the newest of the imagery is, None where that is unknown."""
    if not info.date:
        return None
    digits = info.date.split('/')[-1].replace(':', '-').split(' ')[0].split('-')
    try:
        parts = [int(part) for part in digits] + [7, 1][len(digits) - 1:]
        return (today - date(*parts[:3])).days / 365.25
    except (ValueError, TypeError):
        return None


def advice(info: StoreInfo, needed_gsd_m: float, today: date) -> list[str]:
    """Return what a user should know before driving: resolution, age, licence."""
    found = list(info.warnings)
    if info.gsd_m is not None and info.gsd_m > COARSE * needed_gsd_m:
        found.append(f'the imagery has {info.gsd_m:.2f} m per pixel, the model was trained with '
                     f'{needed_gsd_m:.2f}; fixes will be worse')
    age = age_years(info, today)
    if age is not None and age > OLD_YEARS:
        found.append(f'the imagery is {age:.1f} years old')
    if not info.licence or info.licence == 'unknown':
        found.append('the licence of the imagery is unknown')
    return found


def picture(store: MapStore, coverage: Coverage, title: str = '') -> Image:
    """Return the track over the map, BGR: green where it is covered, red where it is not."""
    points = coverage.lat_lon
    middle = points.min(axis=0) / 2 + points.max(axis=0) / 2
    frame = LocalFrame(float(middle[0]), float(middle[1]))
    xy = frame.forward(points[:, 0], points[:, 1])
    side = max(2.2 * float(np.abs(xy).max()), 100.0)
    canvas = np.full((_PICTURE_PX, _PICTURE_PX, 3), 40, np.uint8)
    if side < _MAX_PICTURE_M:       # beyond, the imagery would be a few pixels, and take minutes
        paint(store, frame, canvas, side)
    pixels = np.rint(xy * (_PICTURE_PX / side) * (1, -1) + _PICTURE_PX / 2).astype(int)
    for (u, v), good in zip(pixels.tolist(), coverage.covered):
        cv2.circle(canvas, (u, v), 2, (60, 200, 60) if good else (40, 40, 230), -1)
    write_text(canvas, f'{coverage.fraction:.1%} covered   {title}')
    return canvas
