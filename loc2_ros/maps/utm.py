# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
UTM as a map frame, for stacks that live in it already.

Grid metres are not ground metres (0.9996 at the central meridian) and grid north is not north:
headings in this frame are grid headings. ``LocalFrame`` is the better choice for new ones.

Karney, Transverse Mercator with an accuracy of a few nanometers, J. Geodesy 2011: the series of
Krueger to the fourth order in n, which is below a micrometre within a zone.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

from loc2_ros.core.frames import WGS84_A_M, WGS84_F
from loc2_ros.maps.values import MapError
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
class UtmFrame:
    """
    A zone, moved to an origin; has the methods of ``LocalFrame``.

    :param zone: 1 to 60.
    :param east_m: easting of the frame's origin; ``north_m`` its northing.
    :param south: northings of the southern hemisphere.
    """

    zone: int
    east_m: float = 0.0
    north_m: float = 0.0
    south: bool = False

    def __post_init__(self) -> None:
        if not (1 <= self.zone <= 60 and math.isfinite(self.east_m)
                and math.isfinite(self.north_m)):
            raise MapError(f'a UTM frame has a zone of 1 to 60 and a finite origin, got {self}')

    @classmethod
    def at(cls, lat_deg: float, lon_deg: float) -> UtmFrame:
        """Return the zone of a place with its origin there."""
        zone = cls(int((lon_deg + 180.0) % 360.0 // 6.0) + 1, south=lat_deg < 0.0)
        east, north = zone.forward(lat_deg, lon_deg)
        return cls(zone.zone, float(east), float(north), zone.south)

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
