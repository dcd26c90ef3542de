# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Orthophotos for drives of KITTI: archives of 2 km that the survey of Baden-Wuerttemberg gives away.

The pictures are newer than the drives of 2011.
"""

from __future__ import annotations

from pathlib import Path
import time
from typing import Callable
import zipfile

from loc2_ros.maps.net import Client, host_of, Unreachable
from loc2_ros.maps.track import walk
from loc2_ros.maps.values import MapError, Partial
from loc2_ros.maps.warp import Array
import numpy as np

BASE_URL = 'https://opengeodata.lgl-bw.de/data/dop20/'
CRS = 'EPSG:25832'
ATTRIBUTION = 'Datenquelle: LGL, www.lgl-bw.de'
LICENCE, LICENCE_URL = 'dl-de/by-2-0', 'https://www.govdata.de/dl-de/by-2-0'
_MAX_BYTES = 4 << 30
_RETRIES = 5


def archives(lat_lon: Array, buffer_m: float) -> list[str]:
    """
    Return the names of the archives under a corridor, (N, 2) degrees.

    A name has the lower left corner in km; east is odd and north even.
    """
    try:
        from pyproj import Transformer
    except ImportError as error:
        raise MapError("this needs the extra 'geo'; pip install 'loc2_ros[geo]'") from error
    points = walk(lat_lon, min(buffer_m, 100.0))
    east, north = Transformer.from_crs('EPSG:4326', CRS, always_xy=True).transform(
        points[:, 1], points[:, 0])
    if not (np.all(np.isfinite(east)) and 380e3 < east.mean() < 620e3
            and 5.25e6 < north.mean() < 5.53e6):
        raise MapError('the track is not in Baden-Wuerttemberg; use loc2 map download')
    km = np.stack([east, north], axis=1) / 1000.0                            # (N, 2)
    found: set[tuple[int, int]] = set()
    for shift in buffer_m / 1000.0 * np.array([(-1, -1), (-1, 1), (1, -1), (1, 1)]):
        corner = np.floor((km + shift - (1, 0)) / 2.0).astype(int) * 2 + (1, 0)
        found |= {(int(e), int(n)) for e, n in corner}
    return [f'dop20rgb_32_{e}_{n}_2_bw.zip' for e, n in sorted(found)]


def fetch_archives(names: list[str], folder: Path, client: Client,
                   progress: Callable[[int, int], None], base_url: str = BASE_URL,
                   backoff_s: float = 2.0) -> list[Path]:
    """
    Fetch archives that are not there yet, going on with those that were broken off.

    :raises Partial: a file did not come; the same command goes on.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (folder / name).exists():
            if not zipfile.is_zipfile(folder / name):
                raise MapError(f'{folder / name} is no whole zip archive; remove it, and the same '
                               'command fetches it again')
        else:
            _fetch(base_url.rstrip('/') + '/' + name, folder / name, client, progress, backoff_s)
    return [folder / name for name in names]


def _fetch(url: str, path: Path, client: Client, progress: Callable[[int, int], None],
           backoff_s: float) -> None:
    reason = ''
    for attempt in range(_RETRIES + 1):
        try:
            status = client.save(url, path, progress, _MAX_BYTES)
        except Unreachable as error:
            reason = str(error)
        else:
            if status == 200 and zipfile.is_zipfile(path):
                return
            reason = f'HTTP {status}'
            if status == 200:       # a page that says that the archives have moved, for one
                path.unlink()
                reason = 'what came is no zip archive'
            if status not in (429, 500, 502, 503, 504):
                break
        time.sleep(min(backoff_s * 2 ** attempt, 60.0))
    raise Partial(f'{path.name} did not come from {host_of(url)} ({reason}); the same command '
                  f'goes on, or put the file into {path.parent}')
