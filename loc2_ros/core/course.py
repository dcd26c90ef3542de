# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The heading of a vehicle from where its successive positions lead."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
import math

from loc2_ros.core.motion import MAX_SPEED_MPS
from loc2_ros.core.values import Array
import numpy as np

_NS = 1e-9
_SHORT_S, _LONG_S = 2.0, 8.0        # the window, and how far it may reach to find enough
_ENOUGH, _FEWEST = 5, 4             # positions
# Errors of positions wander: what they share over a window does not show in its scatter
_WANDER_S = 30.0
_QUIET = 0.1                        # the scatter is taken to be at least this share of sigma
# Where the course is the heading (the rear axle) may be this far from what is positioned
_LEVER_M = 1.5


@dataclass(frozen=True)
class Course:
    """
    Which way and how fast, at the newest position.

    :param sigma_rad: standard deviation of the direction, as scatter and turning tell.
    """

    yaw_rad: float
    sigma_rad: float
    speed_mps: float


class CourseTrack:
    """The last positions; each new one gives a course once there are enough."""

    def __init__(self) -> None:
        self._points: deque[tuple[int, Array]] = deque()

    def add(self, stamp_ns: int, xy_map_m: Array, sigma_m: float) -> Course | None:
        """
        Take a position and return the course there, None while there are too few.

        One that is not newer is ignored, or starts anew where it is a whole window older.
        """
        points = self._points
        xy = np.asarray(xy_map_m, np.float64)
        if points and stamp_ns <= points[-1][0]:
            if (points[-1][0] - stamp_ns) * _NS <= _SHORT_S:
                return None
            points.clear()
        elif points and not _possible(xy - points[-1][1], (stamp_ns - points[-1][0]) * _NS,
                                      sigma_m):
            points.clear()      # a jump leads nowhere
        points.append((stamp_ns, xy))
        while _stale(points, stamp_ns):
            points.popleft()
        if len(points) < _FEWEST:
            return None
        t = np.array([(stamp - stamp_ns) * _NS for stamp, _ in points])
        return course(t, np.stack([xy for _, xy in points]), sigma_m)

    @property
    def start_ns(self) -> int:
        """Return the stamp of the oldest position in the window."""
        return self._points[0][0]

    def clear(self) -> None:
        """Forget everything."""
        self._points.clear()


def course(t_s: Array, xy_m: Array, sigma_m: float) -> Course:
    """
    Fit motion with constant acceleration and return the course at time zero.

    :param t_s: (N,) seconds, N > 3.
    :param xy_m: (N, 2) positions.
    :param sigma_m: the standard deviation per axis that is claimed for them.
    """
    design = np.stack([np.ones_like(t_s), t_s, t_s ** 2], axis=-1)
    fit, *_ = np.linalg.lstsq(design, xy_m, rcond=None)     # (3, 2)
    residual = xy_m - design @ fit
    scatter = math.sqrt(float(np.sum(residual ** 2)) / (2 * (len(t_s) - 3)))
    scatter = max(scatter, _QUIET * sigma_m)
    spread = float(np.linalg.pinv(design.T @ design)[1, 1])
    sigma_mps = math.hypot(scatter * math.sqrt(spread), sigma_m / _WANDER_S)
    (vx, vy), (ax, ay) = fit[1], 2.0 * fit[2]
    speed = math.hypot(vx, vy)
    if not speed > 0.0:
        return Course(0.0, math.pi, 0.0)
    turn_radps = (vx * ay - vy * ax) / speed ** 2
    sigma = math.hypot(sigma_mps / speed, turn_radps * _LEVER_M / speed)
    return Course(math.atan2(vy, vx), min(sigma, math.pi), speed)


def _possible(step_m: Array, seconds: float, sigma_m: float) -> bool:
    return float(np.hypot(*step_m)) <= MAX_SPEED_MPS * seconds + 3.0 * sigma_m


def _stale(points: deque[tuple[int, Array]], now_ns: int) -> bool:
    """Return whether the oldest position is not needed any more."""
    age_s = (now_ns - points[0][0]) * _NS
    return age_s > _LONG_S or (age_s > _SHORT_S and len(points) > _ENOUGH)
