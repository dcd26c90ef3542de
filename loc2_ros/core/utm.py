# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
UTM as a map frame, for stacks that live in it already.

Grid metres are not ground metres (0.9996 at the central meridian) and grid north is not north:
headings in this frame are grid headings. ``LocalFrame`` is the better choice for new stacks.

Karney, Transverse Mercator with an accuracy of a few nanometers, J. Geodesy 2011: the series of
Krueger to the fourth order in n, which is below a micrometre within a zone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import math
from typing import Any, ClassVar, Mapping

from loc2_ros.core.frames import LocalFrame, WGS84_A_M, WGS84_F
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

_K0, _FALSE_EAST_M, _FALSE_NORTH_M = 0.9996, 500_000.0, 10_000_000.0
_N = WGS84_F / (2.0 - WGS84_F)
_E = math.sqrt(WGS84_F * (2.0 - WGS84_F))
_RADIUS_M = WGS84_A_M / (1 + _N) * (1 + _N ** 2 / 4 + _N ** 4 / 64)
_ALPHA = (_N / 2 - 2 * _N ** 2 / 3 + 5 * _N ** 3 / 16 + 41 * _N ** 4 / 180,
          13 * _N ** 2 / 48 - 3 * _N ** 3 / 5 + 557 * _N ** 4 / 1440,
          61 * _N ** 3 / 240 - 103 * _N ** 4 / 140, 49561 * _N ** 4 / 161280)
_BETA = (_N / 2 - 2 * _N ** 2 / 3 + 37 * _N ** 3 / 96 - _N ** 4 / 360,
         _N ** 2 / 48 + _N ** 3 / 15 - 437 * _N ** 4 / 1440,
         17 * _N ** 3 / 480 - 37 * _N ** 4 / 840, 4397 * _N ** 4 / 161280)


@dataclass(frozen=True)
class UtmFrame(LocalFrame):
    """
    The UTM grid about a datum: x east and y north in the grid, (0, 0) at the datum.

    :ivar zone: that of the datum, for the whole map; ``east_m`` and ``north_m`` are its place in
        the grid, so that x + east_m is an easting.
    :raises ValueError: no datum, or one beyond the reach of UTM, 80 S to 84 N.
    """

    mode: ClassVar[str] = 'utm'
    zone: int = field(init=False)
    east_m: float = field(init=False, default=0.0)
    north_m: float = field(init=False, default=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not -80.0 <= self.lat_deg <= 84.0 or self.yaw_rad:
            raise ValueError('UTM reaches from 80 S to 84 N and is not turned; set '
                             f'map.frame_mode to enu for a datum at {self.lat_deg:g} degrees')
        object.__setattr__(self, 'zone', zone_of(self.lat_deg, self.lon_deg))
        east, north = self.forward(self.lat_deg, self.lon_deg)
        object.__setattr__(self, 'east_m', float(east))
        object.__setattr__(self, 'north_m', float(north))

    @property
    def south(self) -> bool:
        """Return whether northings are those of the southern hemisphere."""
        return self.lat_deg < 0.0

    def forward(self, lat_deg: ArrayLike, lon_deg: ArrayLike) -> Array:
        """Project latitude and longitude to map metres: scalars to (2,), (N,) to (N, 2)."""
        lat = np.radians(np.asarray(lat_deg, np.float64))
        dlon = np.radians((np.asarray(lon_deg, np.float64) - self._meridian_deg + 180.0) % 360.0
                          - 180.0)
        sin = np.sin(lat)
        t = np.sinh(np.arctanh(sin) - _E * np.arctanh(_E * sin))
        xi0 = np.arctan2(t, np.cos(dlon))
        eta0 = np.arctanh(np.sin(dlon) / np.sqrt(1.0 + t ** 2))
        xi = xi0 + sum(a * np.sin(2 * k * xi0) * np.cosh(2 * k * eta0)
                       for k, a in enumerate(_ALPHA, 1))
        eta = eta0 + sum(a * np.cos(2 * k * xi0) * np.sinh(2 * k * eta0)
                         for k, a in enumerate(_ALPHA, 1))
        east = _FALSE_EAST_M + _K0 * _RADIUS_M * eta - self.east_m
        north = self._false_north_m + _K0 * _RADIUS_M * xi - self.north_m
        return np.stack(np.broadcast_arrays(east, north), axis=-1)

    def inverse(self, xy_map_m: ArrayLike) -> tuple[Any, Any]:
        """Return latitude and longitude in degrees of map points, the inverse of ``forward``."""
        xy = np.asarray(xy_map_m, np.float64)
        xi = (xy[..., 1] + self.north_m - self._false_north_m) / (_K0 * _RADIUS_M)
        eta = (xy[..., 0] + self.east_m - _FALSE_EAST_M) / (_K0 * _RADIUS_M)
        xi0 = xi - sum(b * np.sin(2 * k * xi) * np.cosh(2 * k * eta)
                       for k, b in enumerate(_BETA, 1))
        eta0 = eta - sum(b * np.cos(2 * k * xi) * np.sinh(2 * k * eta)
                         for k, b in enumerate(_BETA, 1))
        # From the conformal latitude to the geodetic one
        t = np.sin(xi0) / np.hypot(np.sinh(eta0), np.cos(xi0))
        psi, sin = np.arcsinh(t), np.tanh(np.arcsinh(t))
        for _ in range(6):
            sin = np.tanh(psi + _E * np.arctanh(_E * sin))
        lat = np.degrees(np.arcsin(sin))
        lon = self._meridian_deg + np.degrees(np.arctan2(np.sinh(eta0), np.cos(xi0)))
        lon = (lon + 180.0) % 360.0 - 180.0
        return (float(lat), float(lon)) if xy.ndim == 1 else (lat, lon)

    def convergence_rad(self, xy_map_m: ArrayLike) -> Any:
        """Return what turns a true heading into a grid heading: grid = true + this."""
        lat, lon = self.inverse(xy_map_m)
        dlon = (np.asarray(lon) - self._meridian_deg + 180.0) % 360.0 - 180.0
        gamma = np.arctan(np.tan(np.radians(dlon)) * np.sin(np.radians(lat)))
        return float(gamma) if np.ndim(gamma) == 0 else gamma

    @property
    def _meridian_deg(self) -> float:
        return 6.0 * self.zone - 183.0

    @property
    def _false_north_m(self) -> float:
        return _FALSE_NORTH_M if self.south else 0.0


def zone_of(lat_deg: float, lon_deg: float) -> int:
    """Return the UTM zone of a place; Norway and Svalbard have wider ones."""
    lon = (lon_deg + 180.0) % 360.0 - 180.0
    if 56.0 <= lat_deg < 64.0 and 3.0 <= lon < 12.0:
        return 32
    if lat_deg >= 72.0 and 0.0 <= lon < 42.0:
        return 31 + 2 * int((lon + 3.0) // 12.0)
    return int((lon + 180.0) // 6.0) + 1


# What map.frame_mode may be
FRAME_MODES: Mapping[str, type[LocalFrame]] = {kind.mode: kind for kind in (LocalFrame, UtmFrame)}


def frame_as(mode: str, frame: LocalFrame) -> LocalFrame:
    """
    Return the map frame of a mode at the datum of another frame.

    :raises ValueError: for a mode nobody knows, and beyond the reach of UTM.
    """
    if frame.mode == mode:
        return frame
    if mode not in FRAME_MODES:
        raise ValueError(f'the frame mode {mode!r} is unknown; it is {" or ".join(FRAME_MODES)}')
    return FRAME_MODES[mode](frame.lat_deg, frame.lon_deg, frame.height_m)
