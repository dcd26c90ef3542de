# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where a vehicle went or will go: positions from CSV, GPX, GeoJSON and KITTI's raw folders."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, Iterable, Iterator
from xml.etree import ElementTree

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.values import MapError, Refused
from loc2_ros.maps.warp import Array
import numpy as np

_LATITUDES = ('lat_deg', 'latitude', 'latitude_deg', 'lat')
_LONGITUDES = ('lon_deg', 'longitude', 'longitude_deg', 'lon', 'lng')
# Positions further apart than this are a gap in the recording, not a straight road
GAP_M = 1000.0
MAX_BYTES = 200 << 20


def read_track(path: Path) -> Array:
    """
    Return the positions of a track, (N, 2) latitude and longitude in degrees, in order.

    :param path: CSV with columns such as lat_deg and lon_deg, GPX, GeoJSON, or a drive of KITTI
        in its raw layout.
    :raises MapError: if there are no positions in it.
    """
    if not path.exists():
        raise MapError(f'{path} does not exist; give a CSV, GPX or GeoJSON file, or a recording')
    readers = {'.csv': _csv, '.gpx': _gpx, '.geojson': _geojson, '.json': _geojson}
    try:
        if path.is_dir():
            found = list(_oxts(path))
        elif path.suffix.lower() in readers:
            if path.stat().st_size > MAX_BYTES:
                raise Refused(f'{path} is larger than {MAX_BYTES >> 20} MB; thin the track out')
            found = list(readers[path.suffix.lower()](path))
        else:
            raise MapError(f'{path} is no track; give a CSV, GPX or GeoJSON file, or a recording')
    except (OSError, ValueError, KeyError, TypeError, csv.Error,
            ElementTree.ParseError) as error:
        raise MapError(f'{path} cannot be read as a track ({error}); repair it') from error
    return sound_positions(found, str(path))


def sound_positions(positions: Iterable[tuple[float, float]], name: str) -> Array:
    """Return the usable positions, (N, 2); :raises MapError: if there are none."""
    lat_lon = np.array(list(positions), np.float64).reshape(-1, 2)
    good = np.all(np.isfinite(lat_lon), axis=1) & (np.abs(lat_lon[:, 0]) <= 90.0) & (
        np.abs(lat_lon[:, 1]) <= 360.0) & np.any(lat_lon != 0.0, axis=1)
    if not good.any():
        raise MapError(f'{name} holds no positions; a CSV needs columns such as lat_deg, lon_deg')
    return lat_lon[good]


def leaps(lat_lon: Array) -> list[str]:
    """Return a sentence where positions are so far apart that ``walk`` leaves a gap."""
    frame = LocalFrame(float(lat_lon[0, 0]), float(lat_lon[0, 1]))
    lengths = np.hypot(*np.diff(frame.forward(lat_lon[:, 0], lat_lon[:, 1]), axis=0).T)
    far = lengths[lengths > GAP_M]
    return [] if not len(far) else [
        f'the track has {len(far)} leaps of more than {GAP_M:.0f} m, {far.sum() / 1000:.1f} km in '
        'all, which are left out; give positions in between']


def walk(lat_lon: Array, step_m: float) -> Array:
    """
    Return points along a track at equal steps, (N, 2); stretches over a gap are left out.

    :param lat_lon: (N, 2) degrees.
    """
    frame = LocalFrame(float(lat_lon[0, 0]), float(lat_lon[0, 1]))
    xy = frame.forward(lat_lon[:, 0], lat_lon[:, 1])
    lengths = np.hypot(*np.diff(xy, axis=0).T)
    points, ahead = [lat_lon[0]], step_m
    for k, length in enumerate(lengths.tolist()):
        if length > GAP_M:
            points.append(lat_lon[k + 1])
            ahead = step_m
            continue
        at = np.arange(ahead, length, step_m)
        points += list(lat_lon[k] + np.outer(at / max(length, 1e-9), lat_lon[k + 1] - lat_lon[k]))
        ahead += len(at) * step_m - length
    return np.array(points + [lat_lon[-1]])


def _csv(path: Path) -> Iterator[tuple[float, float]]:
    with path.open(newline='', encoding='utf-8-sig') as file:
        rows = csv.DictReader(file)
        names = {str(name).strip().lower(): name for name in rows.fieldnames or ()}
        lat = next((names[n] for n in _LATITUDES if n in names), None)
        lon = next((names[n] for n in _LONGITUDES if n in names), None)
        if lat is None or lon is None:
            raise ValueError(f'it has no columns {_LATITUDES[0]} and {_LONGITUDES[0]}')
        # A row without a fix has empty cells
        yield from ((float(row[lat]), float(row[lon])) for row in rows if row[lat] and row[lon])


def parse_xml(text: bytes) -> Any:
    """Return the root; :raises ValueError: for what declares entities, which can be a bomb."""
    if b'<!DOCTYPE' in text or b'<!ENTITY' in text:
        raise ValueError('it declares entities, which none of these files needs')
    return ElementTree.fromstring(text)


def _gpx(path: Path) -> Iterator[tuple[float, float]]:
    for element in parse_xml(path.read_bytes()).iter():
        if element.tag.rsplit('}', 1)[-1] in ('trkpt', 'rtept'):
            yield float(element.attrib['lat']), float(element.attrib['lon'])


def _geojson(path: Path) -> Iterator[tuple[float, float]]:
    def lines(node: Any) -> Iterator[Any]:
        kind = node.get('type')
        if kind == 'FeatureCollection':
            for child in node['features']:
                yield from lines(child)
        elif kind == 'Feature':
            yield from lines(node['geometry'])
        elif kind == 'LineString':
            yield node['coordinates']
        elif kind == 'MultiLineString':
            yield from node['coordinates']

    for line in lines(json.loads(path.read_text(encoding='utf-8'))):
        yield from ((float(point[1]), float(point[0])) for point in line)


def _oxts(folder: Path) -> Iterator[tuple[float, float]]:
    files = sorted(folder.glob('**/oxts/data/*.txt'))
    if not files:
        raise ValueError('the folder has no oxts/data/*.txt')
    for file in files:
        lat, lon = file.read_text().split()[:2]
        yield float(lat), float(lon)
