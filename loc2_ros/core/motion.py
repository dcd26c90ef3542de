# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How the vehicle moved between two stamps, from odometry: it drifts, but it does not jump.

Where odometry jumps all the same, it was reset: what lies on both sides is not compared.
"""

from __future__ import annotations

from bisect import bisect_left
import math
from threading import RLock
from typing import Callable

from loc2_ros.core.values import Pose2, wrap_pi

# The pose at the second stamp in the axes of the first, None where it is not known
Motion = Callable[[int, int], 'Pose2 | None']

_NS = 1e-9
_MAX_GAP_S = 0.5            # nothing is interpolated across more
_RESTART_S = 2.0            # further back than that is a recording that starts over
# What no vehicle does, beyond which odometry has been reset
MAX_SPEED_MPS, _SLACK_M = 70.0, 3.0
MAX_TURN_RADPS, _SLACK_RAD = 3.0, 0.5

# How far odometry may be off: per metre travelled, and in heading per second
DRIFT_PER_M, DRIFT_RADPS = 0.03, 0.005


class Odometry:
    """
    Poses of base_link in the odometry frame, by stamp; safe under threads.

    :param lookup: answers for a stamp at once (TF does); None: what was added is interpolated.
    :param history_s: poses older than this, seen from the newest, are forgotten.
    """

    def __init__(self, lookup: Callable[[int], Pose2 | None] | None = None,
                 history_s: float = 120.0) -> None:
        self._lookup, self._history_ns = lookup, int(history_s / _NS)
        self._lock = RLock()
        self._stamps: list[int] = []
        self._poses: list[Pose2] = []
        self._breaks: list[tuple[int, int]] = []    # last stamp before a reset, first after
        self.resets = 0

    def add(self, stamp_ns: int, odom_T_base: Pose2) -> None:
        """Take a pose; one that is not newer than the last is ignored."""
        with self._lock:
            if self._stamps and (self._stamps[-1] - stamp_ns) * _NS > _RESTART_S:
                self.clear()
            if self._stamps and stamp_ns <= self._stamps[-1]:
                return
            if self._stamps and not _possible(self._poses[-1].inverse() @ odom_T_base,
                                              (stamp_ns - self._stamps[-1]) * _NS):
                self._breaks.append((self._stamps[-1], stamp_ns))
                self.resets += 1
            self._stamps.append(stamp_ns)
            self._poses.append(odom_T_base)
            old = bisect_left(self._stamps, stamp_ns - self._history_ns)
            del self._stamps[:old], self._poses[:old]
            self._breaks = [b for b in self._breaks if b[1] >= self._stamps[0]]

    def at(self, stamp_ns: int) -> Pose2 | None:
        """Return odom_T_base at a stamp: looked up, else between two poses that were added."""
        found = self._lookup(stamp_ns) if self._lookup is not None else None
        with self._lock:
            if found is None:
                return self._interpolated(stamp_ns)
            # Remembered: what is looked up is soon forgotten there, and shows resets here
            if not self._stamps or stamp_ns > self._stamps[-1]:
                self.add(stamp_ns, found)
            return found

    def between(self, from_ns: int, to_ns: int) -> Pose2 | None:
        """Return the pose at the second stamp in the axes of the first; None across a reset."""
        if from_ns == to_ns:
            return Pose2(0.0, 0.0, 0.0)
        first, last = sorted((from_ns, to_ns))
        before, after = self.at(first), self.at(last)
        if before is None or after is None or self.was_reset(first, last):
            return None
        motion = before.inverse() @ after
        return motion if from_ns < to_ns else motion.inverse()

    def was_reset(self, from_ns: int, to_ns: int) -> bool:
        """Return whether odometry is known to have been reset between two stamps."""
        first, last = sorted((from_ns, to_ns))
        with self._lock:
            return any(a < last and b > first for a, b in self._breaks)

    def reaches(self, stamp_ns: int) -> bool:
        """Return whether a pose at or after a stamp has come, or is not worth waiting for."""
        with self._lock:
            return not self._stamps or self._lookup is not None or self._stamps[-1] >= stamp_ns

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        with self._lock:
            del self._stamps[:], self._poses[:], self._breaks[:]

    def _interpolated(self, stamp_ns: int) -> Pose2 | None:
        j = bisect_left(self._stamps, stamp_ns)
        if j == len(self._stamps):
            return None
        after, b = self._stamps[j], self._poses[j]
        if after == stamp_ns:
            return b
        if j == 0 or (after - self._stamps[j - 1]) * _NS > _MAX_GAP_S or any(
                later == after for _, later in self._breaks):
            return None
        before, a = self._stamps[j - 1], self._poses[j - 1]
        share = (stamp_ns - before) / (after - before)
        return Pose2(a.x_m + share * (b.x_m - a.x_m), a.y_m + share * (b.y_m - a.y_m),
                     a.yaw_rad + share * wrap_pi(b.yaw_rad - a.yaw_rad))


def travelled_m(motion: Pose2) -> float:
    """Return the length of the straight line of a motion."""
    return math.hypot(motion.x_m, motion.y_m)


def _possible(motion: Pose2, seconds: float) -> bool:
    return (travelled_m(motion) <= MAX_SPEED_MPS * seconds + _SLACK_M
            and abs(motion.yaw_rad) <= MAX_TURN_RADPS * seconds + _SLACK_RAD)
