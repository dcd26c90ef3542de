# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Depth images and point clouds from messages, without ROS; trouble raises ``BadMessage``."""

from __future__ import annotations

from typing import Any

from loc2_ros.core.values import Array, Reason
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.images import MAX_PIXELS
import numpy as np
from numpy.typing import NDArray

_DEPTH = {'16UC1': ('u2', 1e-3), 'mono16': ('u2', 1e-3), '32FC1': ('f4', 1.0)}
_FLOAT32 = 7                    # sensor_msgs/PointField.FLOAT32


def check_depth_image(msg: Any) -> tuple[str, float]:
    """
    Check a depth image, 16UC1 in millimetres or 32FC1 in metres.

    :returns: NumPy's name of its numbers without byte order, and metres per unit.
    :raises BadMessage: another encoding, no size, or data that does not fit.
    """
    if msg.encoding not in _DEPTH:
        raise BadMessage(Reason.NO_DEPTH, f'depth encoding {msg.encoding!r} is not supported; '
                                          f'supported: {", ".join(_DEPTH)}')
    kind, unit = _DEPTH[msg.encoding]
    width, height, step = int(msg.width), int(msg.height), int(msg.step)
    if not 0 < width * height <= MAX_PIXELS:
        raise BadMessage(Reason.NO_DEPTH, f'the depth image claims {width}x{height} pixels; '
                                          f'allowed are 1 to {MAX_PIXELS}')
    if len(msg.data) < height * step or step < width * np.dtype(kind).itemsize:
        raise BadMessage(Reason.NO_DEPTH, f'the depth image is cut off: {len(msg.data)} bytes '
                                          f'for {height} rows of {step}')
    return kind, unit


def depth_in_metres(raw: Any, unit: float) -> NDArray[np.float32]:
    """Return depth (H, W) float32 in metres, NaN where it is zero, negative or not finite."""
    depth = np.asarray(raw).astype(np.float32) * np.float32(unit)
    depth[~((depth > 0.0) & np.isfinite(depth))] = np.nan
    return np.asarray(depth, dtype=np.float32)


def decode_depth(msg: Any) -> NDArray[np.float32]:
    """Return a depth image as ``depth_in_metres`` does; see ``check_depth_image``."""
    kind, unit = check_depth_image(msg)
    width, height, step = int(msg.width), int(msg.height), int(msg.step)
    kind = ('>' if msg.is_bigendian else '<') + kind
    rows = np.frombuffer(msg.data, np.uint8)[:height * step].reshape(height, step)
    packed = np.ascontiguousarray(rows[:, :width * np.dtype(kind).itemsize])
    return depth_in_metres(packed.view(kind), unit)


def points_from_cloud(msg: Any) -> Array:
    """
    Read x, y, z of a PointCloud2.

    :returns: (N, 3) float64, finite points only.
    :raises BadMessage: no float32 x, y, z, or data that does not fit.
    """
    fields = {f.name: f for f in msg.fields}
    if any(n not in fields or fields[n].datatype != _FLOAT32 for n in 'xyz'):
        raise BadMessage(Reason.NO_DEPTH, 'the point cloud has no float32 fields x, y, z')
    count, step = int(msg.width) * int(msg.height), int(msg.point_step)
    offsets = [int(fields[n].offset) for n in 'xyz']
    if max(offsets) + 4 > step:
        raise BadMessage(Reason.NO_DEPTH, f'the point cloud has a field at byte {max(offsets)} '
                                          f'of points of {step} bytes')
    if count == 0:
        return np.empty((0, 3))
    rows = np.frombuffer(msg.data, np.uint8)
    if int(msg.row_step) != int(msg.width) * step or rows.size < count * step:
        raise BadMessage(Reason.NO_DEPTH, 'the point cloud is cut off or has padded rows')
    order = '>f4' if msg.is_bigendian else '<f4'
    layout = np.dtype({'names': list('xyz'), 'formats': [order] * 3, 'itemsize': step,
                       'offsets': offsets})
    table = np.frombuffer(rows[:count * step].tobytes(), layout)
    xyz = np.stack([table[n].astype(np.float64) for n in 'xyz'], axis=1)
    return xyz[np.all(np.isfinite(xyz), axis=1)]
