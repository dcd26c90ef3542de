# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Web-Mercator pixels: integers are pixel edges, y runs down, level z is tile_px * 2^z wide."""

from __future__ import annotations

import math
from typing import Any, Callable, Sequence

from loc2_ros.core.frames import radii_m
from loc2_ros.maps.values import MapFrame
import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

TILE_PX = 256
# Where the Mercator square ends; there are no tiles beyond
MERCATOR_END_DEG = 85.0511287798066
# A level may be this much coarser than asked for: strictness would quadruple the tiles
ZOOM_SLACK = 1.1


def merc_px(lat_deg: ArrayLike, lon_deg: ArrayLike, zoom: int, tile_px: int = TILE_PX) -> Array:
    """Return world pixels (x east, y down) at a zoom: scalars to (2,), (N,) to (N, 2)."""
    lat = np.radians(np.asarray(lat_deg, np.float64))
    world = float(tile_px << zoom)
    x = world * (np.asarray(lon_deg, np.float64) / 360.0 + 0.5)
    y = world * (0.5 - np.arcsinh(np.tan(lat)) / (2.0 * math.pi))
    return np.stack(np.broadcast_arrays(x, y), axis=-1)


def merc_lat_lon(xy_px: ArrayLike, zoom: int, tile_px: int = TILE_PX) -> tuple[Any, Any]:
    """Return latitude and longitude in degrees of world pixels, the inverse of ``merc_px``."""
    xy = np.asarray(xy_px, np.float64) / float(tile_px << zoom)
    lat = np.degrees(np.arctan(np.sinh(2.0 * math.pi * (0.5 - xy[..., 1]))))
    return lat, 360.0 * (xy[..., 0] - 0.5)


def merc_gsd_m(lat_deg: float, zoom: int, tile_px: int = TILE_PX) -> tuple[float, float]:
    """
    Return the ground size of a pixel along east and along north, metres.

    On the ellipsoid: the usual 156543 cos(lat) / 2^z is off by up to 0.8 %.
    """
    lat = math.radians(lat_deg)
    n, m = radii_m(lat)
    pixel = 2.0 * math.pi * math.cos(lat) / float(tile_px << zoom)
    return float(pixel * n), float(pixel * m)


def coarse_gsd_m(lat_deg: float, zoom: int, tile_px: int = TILE_PX) -> float:
    """Return the coarser of the two ground sizes."""
    return max(merc_gsd_m(lat_deg, zoom, tile_px))


def choose_zoom(zooms: Sequence[int], lat_deg: float, target_gsd_m: float,
                tile_px: int = TILE_PX, slack: float = ZOOM_SLACK) -> int:
    """Return the coarsest of the levels that resolves the target, else the finest of them."""
    for zoom in sorted(zooms):
        if coarse_gsd_m(lat_deg, zoom, tile_px) <= slack * target_gsd_m:
            return zoom
    return max(zooms)


def world_projection(frame: MapFrame, zoom: int,
                     tile_px: int = TILE_PX) -> Callable[[Array], Array]:
    """Return the projection of (N, 2) map metres to world pixels, unbroken around the first."""
    world = float(tile_px << zoom)

    def project(xy_map_m: Array) -> Array:
        pixels = merc_px(*frame.inverse(xy_map_m), zoom, tile_px)
        # Across the antimeridian the world goes on beyond its edge
        pixels[:, 0] -= world * np.round((pixels[:, 0] - pixels[0, 0]) / world)
        return pixels

    return project
