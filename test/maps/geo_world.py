# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Pictures in national grids, and what GDAL alone makes of them."""

from __future__ import annotations

import math

import cv2
from map_world import pixel_grid
import numpy as np
import pytest

rasterio = pytest.importorskip('rasterio', reason="needs the extra 'geo'")
pyproj = pytest.importorskip('pyproj', reason="needs the extra 'geo'")
warp = pytest.importorskip('rasterio.warp')
transform = pytest.importorskip('rasterio.transform')


def _topocentric_crs(frame):
    """Return the map frame as a system GDAL can warp to: orthographic at the datum."""
    # On the ellipsoid that is the tangent plane, for points at height 0
    return (f'+proj=ortho +lat_0={frame.lat_deg!r} +lon_0={frame.lon_deg!r} +datum=WGS84 '
            '+units=m +no_defs')


def by_gdal(path, frame, crop, size_m, px, alpha_band=0):
    """Warp a raster to the pixels of a crop, by GDAL alone."""
    m = crop.map_T_px
    # Centres to edges
    corner = m @ (-0.5, -0.5, 1.0)
    edges = transform.Affine(m[0, 0], m[0, 1], corner[0], m[1, 0], m[1, 1], corner[1])
    bands = [1, 2, 3] + ([alpha_band] if alpha_band else [])
    result = np.zeros((len(bands), px, px), np.uint8)
    with rasterio.open(path) as file:
        warp.reproject(rasterio.band(file, bands), result, dst_transform=edges,
                       dst_crs=_topocentric_crs(frame), resampling=warp.Resampling.bilinear,
                       dst_alpha=0)
    return result.transpose(1, 2, 0)


def place(path):
    """Return latitude and longitude of the middle of a raster."""
    with rasterio.open(path) as file:
        x, y = file.xy((file.height - 1) / 2, (file.width - 1) / 2)
        lon, lat = pyproj.Transformer.from_crs(file.crs, 4326, always_xy=True).transform(x, y)
    return lat, lon


def in_grid(path, picture, frame, epsg):
    """Warp a picture of 0.2 m about the datum into a system, point by point with PROJ."""
    to_grid = pyproj.Transformer.from_crs(4326, epsg, always_xy=True)
    x, y = to_grid.transform(frame.lon_deg, frame.lat_deg)
    gsd = 0.2 if epsg != 3857 else 0.2 / math.cos(math.radians(frame.lat_deg))
    left, top = x - 512 * gsd, y + 512 * gsd
    u, v, _ = pixel_grid(1024)
    lon, lat = to_grid.transform(left + (u + 0.5) * gsd, top - (v + 0.5) * gsd,
                                 direction='INVERSE')
    xy = frame.forward(lat, lon)
    source = [((102.4 + sign * axis) / 0.2 - 0.5).reshape(1024, 1024).astype(np.float32)
              for sign, axis in ((1, xy[:, 0]), (-1, xy[:, 1]))]
    image = cv2.remap(picture, *source, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    with rasterio.open(path, 'w', driver='GTiff', width=1024, height=1024, count=3,
                       dtype='uint8', crs=f'EPSG:{epsg}', tiled=True,
                       transform=transform.from_origin(left, top, gsd, gsd)) as file:
        file.write(image.transpose(2, 0, 1))
    return path


def write_raster(path, picture, crs, corner, gsd):
    """Write a picture as GeoTIFF, its upper left corner at a point of the system."""
    with rasterio.open(path, 'w', driver='GTiff', width=picture.shape[1],
                       height=picture.shape[0], count=3, dtype='uint8', crs=crs, tiled=True,
                       blockxsize=128, blockysize=128,
                       transform=transform.from_origin(*corner, gsd, gsd)) as file:
        file.write(picture.transpose(2, 0, 1))
    return path
