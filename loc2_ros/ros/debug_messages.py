# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the solver saw, as messages: pictures, lifted points, the aerial crop on the ground."""

from __future__ import annotations

from geometry_msgs.msg import Point
from loc2_ros.core.values import Array, Evidence
from loc2_ros.ros.convert import decode_png, stamp_to_msg
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

MARKER_CELLS = 64       # per side of the crop
_POINT = np.dtype([(name, '<f4') for name in ('x', 'y', 'z', 'weight')])


def rgb_to_image(rgb: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """Return (H, W, 3) pixels as a message."""
    height, width = rgb.shape[:2]
    msg = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp_ns), frame_id
    msg.data = np.ascontiguousarray(rgb).tobytes()
    return msg


def png_to_image(png: bytes, stamp_ns: int, frame_id: str) -> Image:
    """Return a PNG as a message with its pixels."""
    return rgb_to_image(decode_png(png), stamp_ns, frame_id)


def lifted_points(seen: Evidence, stamp_ns: int, map_frame: str) -> PointCloud2:
    """Return the inliers, lifted to the ground and placed with the solved pose; z is 0."""
    points = np.zeros(int(seen.inlier.sum()), _POINT)
    points['x'], points['y'] = seen.lifted_map_m[seen.inlier].T
    points['weight'] = seen.weight[seen.inlier]
    msg = PointCloud2(height=1, width=len(points), point_step=_POINT.itemsize, is_dense=True,
                      row_step=len(points) * _POINT.itemsize)
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp_ns), map_frame
    msg.fields = [PointField(name=name, offset=4 * n, datatype=PointField.FLOAT32, count=1)
                  for n, name in enumerate(_POINT.names or ())]
    msg.data = points.tobytes()
    return msg


def aerial_marker(seen: Evidence, stamp_ns: int, map_frame: str) -> Marker:
    """
    Return the aerial crop as coloured triangles on the ground.

    Colours rather than the texture of a marker, which not every viewer shows.
    """
    msg = Marker(ns='loc2_aerial', id=0, type=Marker.TRIANGLE_LIST, action=Marker.ADD)
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp_ns), map_frame
    msg.pose.orientation.w = 1.0
    msg.scale.x = msg.scale.y = msg.scale.z = 1.0
    msg.color.a = 1.0
    side = seen.crop_rgb.shape[0]
    edges = np.linspace(0, side, min(MARKER_CELLS, side) + 1).round().astype(np.int64)
    corners = _corners(seen.map_T_px, edges)
    colours = _cell_colours(seen.crop_rgb, edges)
    points, shades = [], []
    for row in range(len(edges) - 1):
        for col in range(len(edges) - 1):
            a, b = corners[row][col], corners[row + 1][col]
            c, d = corners[row + 1][col + 1], corners[row][col + 1]
            points += [a, b, c, a, c, d]        # counter-clockwise from above
            shades += [colours[row][col]] * 6
    msg.points, msg.colors = points, shades
    return msg


def _corners(map_T_px: Array, edges: NDArray[np.int64]) -> list[list[Point]]:
    """Return the corners of the cells on the map, by row and column."""
    # Pixel centres are whole numbers, so a cell begins half a pixel before its first one
    u, v = np.meshgrid(edges - 0.5, edges - 0.5)
    xy = np.stack([u, v, np.ones_like(u)], -1) @ map_T_px.T
    return [[Point(x=x, y=y, z=0.0) for x, y in row] for row in xy.tolist()]


def _cell_colours(rgb: NDArray[np.uint8], edges: NDArray[np.int64]) -> list[list[ColorRGBA]]:
    """Return the mean colour of each cell, by row and column."""
    sums = np.add.reduceat(np.add.reduceat(rgb.astype(np.float64), edges[:-1], 0), edges[:-1], 1)
    sizes = np.diff(edges)
    means = sums / (255.0 * sizes[:, None, None] * sizes[None, :, None])
    return [[ColorRGBA(r=r, g=g, b=b, a=1.0) for r, g, b in row] for row in means.tolist()]
