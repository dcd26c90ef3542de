# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Static transforms of a recording, for runs without ROS: chained or refused, never guessed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from loc2_ros.core.values import Array
from loc2_ros.data.messages import matrix_from_transform
import numpy as np


def matrix_from_pose6(pose: Sequence[float]) -> Array:
    """Return (4, 4) from x, y, z, roll, pitch, yaw (m, rad, about fixed axes, REP 103)."""
    cr, cp, cy = np.cos(np.asarray(pose[3:], np.float64))
    sr, sp, sy = np.sin(np.asarray(pose[3:], np.float64))
    matrix = np.eye(4)
    matrix[:3, :3] = [[cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
                      [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
                      [-sp, cp * sr, cp * cr]]
    matrix[:3, 3] = pose[:3]
    return matrix


class TransformError(LookupError):
    """Two frames that nothing connects; the message names them and what is known."""


class StaticTree:
    """Static transforms, each child with one parent."""

    def __init__(self) -> None:
        """Start without any frame."""
        self._parent: dict[str, tuple[str, Array]] = {}

    def add(self, parent: str, child: str, parent_T_child: Array) -> None:
        """
        Add an edge; a new parent replaces the old one, as in tf2.

        :param parent_T_child: (4, 4).
        :raises ValueError: a frame without a name, a frame that is its own parent, a loop.
        """
        parent, child = parent.lstrip('/'), child.lstrip('/')
        if not parent or not child or parent == child:
            raise ValueError('a transform needs two different frames, '
                             f'got {parent!r} -> {child!r}')
        if child in self._to_root(parent):
            raise ValueError(f'{parent!r} -> {child!r} would close a loop of transforms')
        self._parent[child] = (parent, np.asarray(parent_T_child, dtype=np.float64))

    def add_message(self, message: Any) -> None:
        """Add all transforms of a tf2_msgs/TFMessage; broken ones raise ValueError."""
        for stamped in message.transforms:
            self.add(stamped.header.frame_id, stamped.child_frame_id,
                     matrix_from_transform(stamped.transform))

    def has_parent(self, child: str) -> bool:
        """Return whether somebody has placed this frame."""
        return child.lstrip('/') in self._parent

    def lookup(self, target: str, source: str) -> Array:
        """
        Return ``target_T_source``.

        :returns: (4, 4) float64.
        :raises TransformError: a frame is unknown, or they are not connected.
        """
        to_target, to_source = self._to_root(target), self._to_root(source)
        for name in (target, source):
            if len(self._to_root(name)) == 1 and not self._is_parent(name) and target != source:
                raise TransformError(f'no static transform {target} -> {source}: frame {name!r} '
                                     f'is unknown; known are {self._names()}')
        root, other = list(to_target)[-1], list(to_source)[-1]
        if root != other:
            raise TransformError(f'no static transform {target} -> {source}: {root!r} and '
                                 f'{other!r} are not connected; known are {self._names()}')
        return np.linalg.inv(to_target[root]) @ to_source[root]

    def _to_root(self, frame: str) -> dict[str, Array]:
        """Return ``ancestor_T_frame`` for the frame itself and all its ancestors, in order."""
        name = frame.lstrip('/')
        chain = {name: np.eye(4)}
        while name in self._parent:
            parent, parent_T_child = self._parent[name]
            chain[parent] = parent_T_child @ chain[name]
            name = parent
        return chain

    def _is_parent(self, frame: str) -> bool:
        return any(parent == frame.lstrip('/') for parent, _ in self._parent.values())

    def _names(self) -> str:
        names = sorted({*self._parent, *(parent for parent, _ in self._parent.values())})
        return ', '.join(names) or 'none'
