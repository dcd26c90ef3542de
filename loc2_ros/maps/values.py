# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What map stores give and promise: crops, facts about the imagery, counters, errors."""

from __future__ import annotations

from dataclasses import dataclass
import math
from types import TracebackType
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

SIZE_RANGE_M = (5.0, 500.0)     # above, one matrix per crop is no longer within 11 mm
PX_RANGE = (16, 4096)
# The tangent plane ends somewhere: further from the datum nothing counts as mapped
REACH_M = 1e6
_PROBES = 16


class MapError(Exception):
    """
    A map that cannot be opened or written: one sentence, and what to do about it.

    :cvar exit_code: what the command line ends with.
    """

    exit_code = 5


class Refused(MapError):
    """What will not be done: a licence not accepted, a forbidden host, an unsafe file."""

    exit_code = 4


class Partial(MapError):
    """Some tiles are missing; the same command goes on where it stopped."""

    exit_code = 3


class MapFrame(Protocol):
    """A flat map frame: ``LocalFrame``, or a national grid such as ``UtmFrame``."""

    def forward(self, lat_deg: ArrayLike, lon_deg: ArrayLike) -> NDArray[np.float64]:
        """Project degrees to map metres: scalars to (2,), (N,) to (N, 2)."""

    def inverse(self, xy_map_m: ArrayLike) -> tuple[Any, Any]:
        """Return latitude and longitude, degrees."""

    def convergence_rad(self, xy_map_m: ArrayLike) -> Any:
        """Return what turns a true heading into one of the map."""


@dataclass(frozen=True)
class Crop:
    """
    A square of the map, in the axes asked for.

    :param image: (px, px, 3) uint8 RGB, 0 where invalid.
    :param valid: (px, px) bool: the source pixels behind it exist and are opaque.
    :param valid_fraction: mean of ``valid``.
    :param map_T_px: (2, 3) float64, pixel centre (u, v) -> metres in the map frame.
    :param source_gsd_m: coarser of the east and north ground sizes of the pixels read.
    :param zoom: tile level used; None for a raster.
    :param upsampled: the source is more than a tenth coarser than what was asked for.
    """

    image: NDArray[np.uint8]
    valid: NDArray[np.bool_]
    valid_fraction: float
    map_T_px: NDArray[np.float64]
    source_gsd_m: float
    zoom: int | None
    upsampled: bool


@dataclass(frozen=True)
class StoreInfo:
    """
    What is known about a map; None and '' mean unknown.

    :param bounds: west, south, east, north, degrees.
    :param zooms: tile levels that hold anything; empty for a raster.
    :param gsd_m: ground size of the finest pixels, at the centre of the bounds.
    :param date: when the imagery was flown, ISO 8601, an interval as ``from/to``.
    :param offset_m: (east, north) where the imagery shows a point minus where it is.
    :param digest: changes when the content does; for caches.
    :param warnings: what a user should know, one sentence each.
    """

    path: str
    format: str  # noqa: A003
    name: str = ''
    bounds: tuple[float, float, float, float] | None = None
    zooms: tuple[int, ...] = ()
    tile_px: int | None = None
    gsd_m: float | None = None
    tile_count: int | None = None
    crs: str = 'EPSG:3857'
    date: str | None = None
    licence: str | None = None
    attribution: str = ''
    offset_m: tuple[float, float] = (0.0, 0.0)
    digest: str = ''
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class StoreStats:
    """
    Counters since opening.

    :param hits: tiles found in the cache.
    :param misses: tiles looked up in the store.
    :param holes: look-ups that found nothing.
    :param broken: look-ups that found something unreadable; counted apart from holes.
    """

    hits: int = 0
    misses: int = 0
    holes: int = 0
    broken: int = 0
    cached_bytes: int = 0
    last_error: str = ''


class MapStore(Protocol):
    """A local aerial map; every method may be called from any thread."""

    @property
    def info(self) -> StoreInfo:
        """Return what is known about the map."""

    def crop(self, frame: MapFrame, xy_map_m: ArrayLike, yaw_map_rad: float, size_m: float,
             px: int) -> Crop:
        """Cut a square; see ``TileStore.crop``."""

    def crop_latlon(self, lat_deg: float, lon_deg: float, yaw_true_rad: float, size_m: float,
                    px: int) -> Crop:
        """Cut a square around a place, in a throw-away frame at that place."""

    def covered(self, frame: MapFrame, xy_map_m: ArrayLike, size_m: float) -> float:
        """Return the fraction of a square the index knows, 0..1; decodes nothing."""

    def prefetch(self, frame: MapFrame, xy_map_m: ArrayLike, radius_m: float) -> None:
        """Decode what lies around a point in the background; returns at once."""

    def stats(self) -> StoreStats:
        """Return the counters."""

    def close(self) -> None:
        """Release files and threads; waits for crops under way."""

    def __enter__(self) -> MapStore:
        """Return the store itself."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Close the store."""


def check_request(xy_map_m: ArrayLike, yaw_map_rad: float, size_m: float,
                  px: int) -> NDArray[np.float64]:
    """Return the centre as (2,) float64; :raises ValueError: for an impossible request."""
    xy = np.asarray(xy_map_m, np.float64)
    if xy.shape != (2,) or not np.all(np.isfinite(xy)) or not math.isfinite(yaw_map_rad):
        raise ValueError(f'a crop needs a finite centre and yaw, got {xy}, {yaw_map_rad}')
    if not SIZE_RANGE_M[0] <= size_m <= SIZE_RANGE_M[1]:
        raise ValueError(f'a crop is {SIZE_RANGE_M[0]} to {SIZE_RANGE_M[1]} m wide, got {size_m}')
    if not PX_RANGE[0] <= px <= PX_RANGE[1] or px != int(px):
        raise ValueError(f'a crop is {PX_RANGE[0]} to {PX_RANGE[1]} px wide, got {px}')
    return xy


def east_north_in(frame: MapFrame, xy_map_m: NDArray[np.float64],
                  east_north_m: tuple[float, float]) -> NDArray[np.float64]:
    """Return an east-north offset at a point in the axes of the frame, (2,)."""
    if not any(east_north_m):
        return np.zeros(2)
    angle = frame.convergence_rad(xy_map_m)
    c, s = math.cos(angle), math.sin(angle)
    return np.array([[c, -s], [s, c]]) @ east_north_m


def probe_points(xy_map_m: NDArray[np.float64], size_m: float) -> NDArray[np.float64]:
    """Return 16 x 16 points spread over a north-up square, (256, 2)."""
    steps = size_m * ((np.arange(_PROBES) + 0.5) / _PROBES - 0.5)
    return xy_map_m + np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
