# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What an image rests on, as messages that RViz and Foxglove draw."""

from __future__ import annotations

from functools import lru_cache
import math

from geometry_msgs.msg import Point
from loc2_ros.core.values import Array
from loc2_ros.ros.convert import stamp_to_msg
import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import Image, PointCloud2, PointField
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

CELLS = 64          # fields of the marker per side
BELOW_M = 0.05      # it lies under what stands at height 0
_POINT = np.dtype([(name, np.float32) for name in ('x', 'y', 'z', 'rgb', 'weight')])


def rgb_to_msg(rgb: NDArray[np.uint8], stamp_ns: int, frame_id: str) -> Image:
    """Return (H, W, 3) uint8 RGB as an Image."""
    height, width = rgb.shape[:2]
    msg = Image(width=width, height=height, encoding='rgb8', step=3 * width)
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp_ns), frame_id
    msg.data = np.ascontiguousarray(rgb).tobytes()
    return msg


def points_to_msg(xy_m: Array, rgb: NDArray[np.uint8], weight: Array, stamp_ns: int,
                  frame_id: str) -> PointCloud2:
    """
    Return points on the ground (N, 2) with colours (N, 3) and weights (N,).

    The colour is packed as RViz expects it: the bits of 0x00RRGGBB in a float.
    """
    points = np.zeros(len(xy_m), _POINT)
    points['x'], points['y'], points['weight'] = xy_m[:, 0], xy_m[:, 1], weight
    packed = rgb.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    points['rgb'] = packed.astype(np.uint32).view(np.float32)
    msg = PointCloud2(height=1, width=len(points), point_step=_POINT.itemsize,
                      row_step=points.nbytes, is_dense=True)
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp_ns), frame_id
    msg.fields = [PointField(name=name, offset=4 * i, datatype=PointField.FLOAT32, count=1)
                  for i, name in enumerate(_POINT.names or ())]
    msg.data = points.tobytes()
    return msg


def crop_to_marker(rgb: NDArray[np.uint8], map_T_px: Array, stamp_ns: int,
                   frame_id: str) -> Marker:
    """
    Return a square crop as coloured triangles on the ground.

    Not as a texture: RViz puts each update of one on top of those before, and Foxglove has none.

    :param rgb: (n, n, 3) uint8.
    :param map_T_px: (2, 3), pixel centre (u, v) -> map metres.
    """
    n, px_m = len(rgb), float(np.hypot(*map_T_px[:, 0]))
    msg = Marker(ns='aerial', type=Marker.TRIANGLE_LIST, action=Marker.ADD)
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp_ns), frame_id
    centre = map_T_px @ [(n - 1) / 2.0, (n - 1) / 2.0, 1.0]
    yaw = math.atan2(map_T_px[1, 0], map_T_px[0, 0])        # of what points right in the crop
    msg.pose.position.x, msg.pose.position.y = float(centre[0]), float(centre[1])
    msg.pose.position.z = -BELOW_M
    msg.pose.orientation.z, msg.pose.orientation.w = math.sin(yaw / 2.0), math.cos(yaw / 2.0)
    msg.scale.x = msg.scale.y = msg.scale.z = msg.color.a = 1.0
    corners = _corner_order()
    msg.points = [_corners(n * px_m)[i] for i in corners]
    colours = [ColorRGBA(r=r, g=g, b=b, a=1.0) for r, g, b in _corner_colours(rgb).tolist()]
    msg.colors = [colours[i] for i in corners]
    return msg


@lru_cache(maxsize=4)
def _corners(side_m: float) -> list[Point]:
    """Return the corners of all fields, row by row from the upper left, x right and y up."""
    at = (np.linspace(-0.5, 0.5, CELLS + 1) * side_m).tolist()
    return [Point(x=x, y=-y, z=0.0) for y in at for x in at]


@lru_cache(maxsize=1)
def _corner_order() -> list[int]:
    """Return which corners make the triangles, two per field, seen from above."""
    row = CELLS + 1
    first = (np.arange(CELLS)[:, None] * row + np.arange(CELLS)).reshape(-1, 1)
    corners = first + np.array([0, row, 1, 1, row, row + 1])
    return [int(corner) for corner in corners.ravel()]


def _corner_colours(rgb: NDArray[np.uint8]) -> Array:
    """Return the mean colour around each corner, ((CELLS + 1)^2, 3) from 0 to 1."""
    n = len(rgb)
    # Half a field to each side, and one pixel where a field is smaller
    edges = np.clip(np.rint((np.arange(CELLS + 2) - 0.5) * n / CELLS), 0, n).astype(np.int64)
    low = np.minimum(edges[:-1], n - 1)
    high = np.maximum(edges[1:], low + 1)
    total = np.zeros((n + 1, n + 1, 3))
    total[1:, 1:] = rgb.astype(np.float64).cumsum(axis=0).cumsum(axis=1)
    rows = total[high] - total[low]
    counts = (high - low)[:, None] * (high - low)
    return np.asarray((rows[:, high] - rows[:, low]) / counts[..., None] / 255.0).reshape(-1, 3)
