# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The orthophoto of a town as a GeoTIFF in a projected coordinate system (extra ``geo``)."""

from __future__ import annotations

from pathlib import Path

import cv2
from loc2_ros.core.frames import LocalFrame
import numpy as np
from numpy.typing import NDArray
from pyproj import Transformer
import rasterio
from rasterio.transform import from_origin


def write_geotiff(path: Path, rgb: NDArray[np.uint8], frame: LocalFrame, west_m: float,
                  north_m: float, gsd_m: float, crs: str) -> Path:
    """
    Warp a photo in map axes into a coordinate system; what it does not show is transparent.

    :param rgb: (H, W, 3) uint8, north up in the map frame.
    :param west_m: map x of its left edge; ``north_m`` map y of its upper edge.
    """
    height, width = rgb.shape[:2]
    edge_x = west_m + np.array([0, width, 0, width]) * gsd_m
    edge_y = north_m - np.array([0, 0, height, height]) * gsd_m
    lat, lon = frame.inverse(np.stack([edge_x, edge_y], -1))
    x, y = Transformer.from_crs('EPSG:4326', crs, always_xy=True).transform(lon, lat)
    left, top = float(np.min(x)), float(np.max(y))
    cols = int(np.ceil((np.max(x) - left) / gsd_m))
    rows = int(np.ceil((top - np.min(y)) / gsd_m))
    grid_x, grid_y = np.meshgrid(left + (np.arange(cols) + 0.5) * gsd_m,
                                 top - (np.arange(rows) + 0.5) * gsd_m)
    lon, lat = Transformer.from_crs(crs, 'EPSG:4326', always_xy=True).transform(grid_x, grid_y)
    xy = frame.forward(lat.ravel(), lon.ravel())
    u = ((xy[:, 0] - west_m) / gsd_m - 0.5).reshape(rows, cols).astype(np.float32)
    v = ((north_m - xy[:, 1]) / gsd_m - 0.5).reshape(rows, cols).astype(np.float32)
    photo = cv2.remap(rgb, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT)
    alpha = ((u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)).astype(np.uint8) * 255
    with rasterio.open(path, 'w', driver='GTiff', width=cols, height=rows, count=4,
                       dtype='uint8', crs=crs, transform=from_origin(left, top, gsd_m, gsd_m),
                       photometric='RGB', compress='deflate', tiled=True) as file:
        file.write(np.concatenate([photo, alpha[..., None]], -1).transpose(2, 0, 1))
    return path
