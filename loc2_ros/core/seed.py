# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A pose that was known once, moved to the stamp of an image by odometry."""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.core.motion import DRIFT_PER_M, DRIFT_RADPS, Motion, travelled_m
from loc2_ros.core.prior import DEFAULT_SPEED_MPS, DEFAULT_TURN_RADPS
from loc2_ros.core.values import Pose2, Prior, Reason, Rejection


@dataclass(frozen=True)
class Seed:
    """A pose of base_link in the map at a stamp, with standard deviations."""

    stamp_ns: int
    map_T_base: Pose2
    sigma_xy_m: float
    sigma_yaw_rad: float

    def at(self, stamp_ns: int, motion: Motion, max_age_s: float) -> Prior | Rejection:
        """
        Return the prior at a stamp.

        Moved by odometry it does not age, but becomes less certain with the way. Without, it is
        held for ``max_age_s``, in which a car may have gone anywhere near.
        """
        age = abs(stamp_ns - self.stamp_ns) * 1e-9
        moved = motion(self.stamp_ns, stamp_ns)
        if moved is not None:
            reach = travelled_m(moved)
            return self._prior(stamp_ns, self.map_T_base @ moved,
                               math.hypot(DRIFT_PER_M, self.sigma_yaw_rad) * reach,
                               DRIFT_RADPS * age, 0.0)
        if age > max_age_s:
            return Rejection(stamp_ns, Reason.PRIOR_STALE,
                             {'age_s': age, 'max_age_s': max_age_s},
                             'no odometry moves the last pose to the image')
        return self._prior(stamp_ns, self.map_T_base, DEFAULT_SPEED_MPS * age,
                           DEFAULT_TURN_RADPS * age, age)

    def _prior(self, stamp_ns: int, pose: Pose2, more_m: float, more_rad: float,
               age_s: float) -> Prior:
        return Prior(stamp_ns, pose.xy_m, pose.yaw_rad, math.hypot(self.sigma_xy_m, more_m),
                     math.hypot(self.sigma_yaw_rad, more_rad), age_s, 'initialpose')
