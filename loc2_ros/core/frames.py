# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The map frame: an east-north tangent plane on WGS 84 at an explicit datum.

The height is held: every point is projected at the datum's height, whatever a GNSS altitude
says, so that x and y do not stretch with the terrain.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

WGS84_A_M = 6378137.0
WGS84_F = 1.0 / 298.257223563
WGS84_E2 = WGS84_F * (2.0 - WGS84_F)
MAX_HEIGHT_M = 20000.0      # what lies beyond is no vehicle, but a broken altitude
_B_M = WGS84_A_M * (1.0 - WGS84_F)
_EP2 = WGS84_E2 / (1.0 - WGS84_E2)


def radii_m(lat_rad: Any) -> tuple[Any, Any]:
    """Return the radii of curvature (east-west N, north-south M) at a latitude, metres."""
    w2 = 1.0 - WGS84_E2 * np.sin(lat_rad) ** 2
    return WGS84_A_M / np.sqrt(w2), WGS84_A_M * (1.0 - WGS84_E2) / w2 ** 1.5


def geodetic_to_ecef(lat_rad: ArrayLike, lon_rad: ArrayLike, height_m: ArrayLike) -> Array:
    """Return earth-centred coordinates, (..., 3) metres."""
    lat, lon, h = np.broadcast_arrays(*(np.asarray(a, np.float64)
                                        for a in (lat_rad, lon_rad, height_m)))
    n = radii_m(lat)[0]
    p = (n + h) * np.cos(lat)
    return np.stack([p * np.cos(lon), p * np.sin(lon),
                     (n * (1.0 - WGS84_E2) + h) * np.sin(lat)], axis=-1)


def ecef_to_geodetic(ecef_m: Array) -> tuple[Array, Array, Array]:
    """
    Return latitude, longitude (radians) and height (metres) of (..., 3) coordinates.

    Two rounds of Bowring (Survey Review 1976): below 1e-9 m for heights within 100 km.
    """
    x, y, z = ecef_m[..., 0], ecef_m[..., 1], ecef_m[..., 2]
    p = np.hypot(x, y)
    reduced = np.arctan2(z * WGS84_A_M, p * _B_M)
    for _ in range(2):
        lat = np.arctan2(z + _EP2 * _B_M * np.sin(reduced) ** 3,
                         p - WGS84_E2 * WGS84_A_M * np.cos(reduced) ** 3)
        reduced = np.arctan2((1.0 - WGS84_F) * np.sin(lat), np.cos(lat))
    sin_lat = np.sin(lat)
    # This form of the height stays exact at the poles, where p / cos(lat) does not
    height = (p * np.cos(lat) + z * sin_lat
              - WGS84_A_M * np.sqrt(1.0 - WGS84_E2 * sin_lat ** 2))
    return lat, np.arctan2(y, x), height


@dataclass(frozen=True)
class LocalFrame:
    """
    East-north axes at a datum, turned by ``yaw_rad`` about up.

    :param lat_deg: latitude of the origin.
    :param lon_deg: longitude of the origin.
    :param height_m: ellipsoidal height at which every point is taken to lie.
    :param yaw_rad: direction of the frame's x axis, counter-clockwise from east at the datum.
    """

    mode: ClassVar[str] = 'enu'

    lat_deg: float
    lon_deg: float
    height_m: float = 0.0
    yaw_rad: float = 0.0
    _axes: Array = field(init=False, repr=False, compare=False)     # rows: x, y, up in ECEF
    _origin: Array = field(init=False, repr=False, compare=False)   # ECEF, metres

    def __post_init__(self) -> None:
        numbers = (self.lat_deg, self.lon_deg, self.height_m, self.yaw_rad)
        if (not all(math.isfinite(n) for n in numbers) or abs(self.lat_deg) > 90.0
                or abs(self.lon_deg) > 360.0 or abs(self.height_m) > MAX_HEIGHT_M):
            raise ValueError('a datum needs finite numbers, a latitude in [-90, 90], a longitude '
                             f'in [-360, 360] and a height within {MAX_HEIGHT_M:g} m, '
                             f'got {numbers}')
        lat, lon = math.radians(self.lat_deg), math.radians(self.lon_deg)
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        east = np.array([-math.sin(lon), math.cos(lon), 0.0])
        north = np.array([-math.sin(lat) * math.cos(lon), -math.sin(lat) * math.sin(lon),
                          math.cos(lat)])
        axes = np.stack([c * east + s * north, c * north - s * east, np.cross(east, north)])
        object.__setattr__(self, '_axes', axes)
        object.__setattr__(self, '_origin', geodetic_to_ecef(lat, lon, self.height_m))

    def forward(self, lat_deg: ArrayLike, lon_deg: ArrayLike) -> Array:
        """Project latitude and longitude to map metres: scalars to (2,), (N,) to (N, 2)."""
        ecef = geodetic_to_ecef(np.radians(lat_deg), np.radians(lon_deg), self.height_m)
        plane: Array = (ecef - self._origin) @ self._axes[:2].T
        return plane

    def inverse(self, xy_map_m: ArrayLike) -> tuple[Any, Any]:
        """
        Return latitude and longitude in degrees of map points, the inverse of ``forward``.

        :param xy_map_m: (2,) or (N, 2); gives floats or (N,) arrays.

        The drop below the tangent plane is found so that the point lies at the datum's height;
        three rounds leave 4e-9 m within 50 km and 1 cm within 1000 km.
        """
        xy = np.asarray(xy_map_m, np.float64)
        up = -(xy[..., 0] ** 2 + xy[..., 1] ** 2) / (2.0 * WGS84_A_M)
        for _ in range(3):
            lat, lon, height = self._lift(xy, up)
            up = up + self.height_m - height
        lat, lon, _ = self._lift(xy, up)
        if xy.ndim == 1:
            return math.degrees(lat), math.degrees(lon)
        return np.degrees(lat), np.degrees(lon)

    def _lift(self, xy: Array, up: Array) -> tuple[Array, Array, Array]:
        enu = np.concatenate([xy, np.asarray(up)[..., None]], axis=-1)
        return ecef_to_geodetic(enu @ self._axes + self._origin)

    def convergence_rad(self, xy_map_m: ArrayLike) -> Any:
        """
        Return what turns a true heading into a map heading at a point: map = true + this.

        Headings are counter-clockwise from east. Good to 0.001 degrees within 50 km.
        """
        lat, lon = self.inverse(xy_map_m)
        # Across the antimeridian the difference of longitudes is still small
        dlon = (np.asarray(lon) - self.lon_deg + 180.0) % 360.0 - 180.0
        gamma = np.radians(dlon) * np.sin(np.radians(lat)) - self.yaw_rad
        return float(gamma) if np.ndim(gamma) == 0 else gamma
