# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Rigid transforms as plain tuples, and the samples of one frame over time."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
import math
from typing import NamedTuple

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]  # x, y, z, w


class Rigid(NamedTuple):
    """A transform ``a_T_b``: rotate by the unit quaternion, then translate."""

    t: Vector = (0.0, 0.0, 0.0)
    q: Quaternion = (0.0, 0.0, 0.0, 1.0)

    def __matmul__(self, other: Rigid) -> Rigid:
        """Chain: ``a_T_c = a_T_b @ b_T_c``."""
        x, y, z = rotate(self.q, other.t)
        return Rigid((self.t[0] + x, self.t[1] + y, self.t[2] + z), multiply(self.q, other.q))

    def inverse(self) -> Rigid:
        """Return ``b_T_a``."""
        x, y, z, w = self.q
        q = (-x, -y, -z, w)
        tx, ty, tz = rotate(q, self.t)
        return Rigid((-tx, -ty, -tz), q)


def multiply(a: Quaternion, b: Quaternion) -> Quaternion:
    """Multiply two quaternions: first b, then a."""
    ax, ay, az, aw = a
    bx, by, bz, bw = b
    return (aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
            aw * bw - ax * bx - ay * by - az * bz)


def rotate(q: Quaternion, v: Vector) -> Vector:
    """Rotate a vector by a unit quaternion."""
    x, y, z, _ = multiply(multiply(q, (*v, 0.0)), (-q[0], -q[1], -q[2], q[3]))
    return x, y, z


def slerp(a: Quaternion, b: Quaternion, ratio: float) -> Quaternion:
    """Interpolate along the shorter arc, by angle."""
    dot = sum(i * j for i, j in zip(a, b))
    if dot < 0.0:  # b and -b are one rotation
        b, dot = (-b[0], -b[1], -b[2], -b[3]), -dot
    angle = math.acos(min(dot, 1.0))
    if angle < 1e-6:  # where sin(angle) is angle, the weights are the ratios
        wa, wb = 1.0 - ratio, ratio
    else:
        wa = math.sin((1.0 - ratio) * angle) / math.sin(angle)
        wb = math.sin(ratio * angle) / math.sin(angle)
    x, y, z, w = (wa * i + wb * j for i, j in zip(a, b))
    norm = math.sqrt(x * x + y * y + z * z + w * w)
    return x / norm, y / norm, z / norm, w / norm


class Sample(NamedTuple):
    """A frame's pose in its parent at a stamp."""

    stamp_ns: int
    parent: str
    parent_T_child: Rigid


@dataclass
class Track:
    """The samples of one frame, oldest first; a static one holds a single sample for all time."""

    static: bool = False
    samples: list[Sample] = field(default_factory=list)

    def insert(self, sample: Sample, cache_ns: int) -> bool:
        """Add a sample in order; False if it is older than what the cache keeps."""
        if self.static:
            self.samples = [sample]
            return True
        if self.samples and sample.stamp_ns < self.samples[-1].stamp_ns - cache_ns:
            return False
        at = bisect_left(self.samples, sample.stamp_ns, key=stamp)
        same = at < len(self.samples) and self.samples[at].stamp_ns == sample.stamp_ns
        self.samples[at:at + same] = [sample]  # at one stamp, the later message wins
        del self.samples[:bisect_left(self.samples, self.samples[-1].stamp_ns - cache_ns,
                                      key=stamp)]
        return True

    def at(self, stamp_ns: int) -> Sample | None:
        """Interpolate at a stamp; None outside the samples."""
        if self.static:
            return self.samples[0]
        after = bisect_right(self.samples, stamp_ns, key=stamp)
        if after == 0:
            return None
        older = self.samples[after - 1]
        if older.stamp_ns == stamp_ns:
            return older
        if after == len(self.samples):
            return None
        newer = self.samples[after]
        if newer.parent != older.parent:  # the old parent holds until the new one's first stamp
            return older
        ratio = (stamp_ns - older.stamp_ns) / (newer.stamp_ns - older.stamp_ns)
        a, b = older.parent_T_child, newer.parent_T_child
        x, y, z = (i + ratio * (j - i) for i, j in zip(a.t, b.t))
        return Sample(stamp_ns, older.parent, Rigid((x, y, z), slerp(a.q, b.q, ratio)))


def stamp(sample: Sample) -> int:
    """Return the sort key of a sample."""
    return sample.stamp_ns
