# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where a fix puts base_link a little later: by odometry, else by how GNSS and heading changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
import math

from loc2_ros.core.leaps import Change, Leaps
from loc2_ros.core.motion import DRIFT_PER_M, DRIFT_RADPS, Motion, travelled_m
from loc2_ros.core.values import Fix, Pose2
import numpy as np

_NS = 1e-9
_UNKNOWN_RAD = math.pi      # a deviation that says nothing


@dataclass(frozen=True)
class Predicted:
    """Where base_link should be, with standard deviations: the larger one per axis, and yaw."""

    map_T_base: Pose2
    sigma_xy_m: float
    sigma_yaw_rad: float


# Where a fix puts base_link at a stamp; None where nobody knows how it has moved
Predict = Callable[[Fix, int], 'Predicted | None']


def widest_m(fix: Fix) -> float:
    """Return the larger standard deviation per axis."""
    return math.sqrt(max(fix.covariance[0, 0], fix.covariance[1, 1]))


def by_odometry(motion: Motion) -> Predict:
    """Move a fix as odometry says."""
    def predict(fix: Fix, stamp_ns: int) -> Predicted | None:
        moved = motion(fix.stamp_ns, stamp_ns)
        if moved is None:
            return None
        seconds, reach = abs(stamp_ns - fix.stamp_ns) * _NS, travelled_m(moved)
        sigma_xy = float(np.linalg.norm([widest_m(fix), DRIFT_PER_M * reach,
                                         fix.sigma_yaw_rad * reach]))
        return Predicted(fix.map_T_base @ moved, sigma_xy,
                         math.hypot(fix.sigma_yaw_rad, DRIFT_RADPS * seconds))
    return predict


def by_changes(position: Leaps, heading: Leaps) -> Predict:
    """
    Move a fix by as much as GNSS (of the antenna, in the map) and heading have changed.

    Coarser than odometry, but it needs none. Where the heading is not known, the yaw of the
    prediction says nothing.
    """
    def predict(fix: Fix, stamp_ns: int) -> Predicted | None:
        moved = position.between(fix.stamp_ns, stamp_ns)
        if moved is None:
            return None
        turned = (heading.between(fix.stamp_ns, stamp_ns)
                  or Change(np.zeros(1), _UNKNOWN_RAD))
        x, y = fix.map_T_base.xy_m + moved.value
        yaw = fix.map_T_base.yaw_rad + float(turned.value[0])
        return Predicted(Pose2(float(x), float(y), yaw),
                         math.hypot(widest_m(fix), moved.sigma),
                         min(math.hypot(fix.sigma_yaw_rad, turned.sigma), _UNKNOWN_RAD))
    return predict


def first_known(*ways: Predict) -> Predict:
    """Ask several, best first."""
    def predict(fix: Fix, stamp_ns: int) -> Predicted | None:
        found = (way(fix, stamp_ns) for way in ways)
        return next((each for each in found if each is not None), None)
    return predict
