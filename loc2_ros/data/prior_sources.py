# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Which of the known positions, filters and earlier poses gives the prior of an image.

Not safe under threads by itself: ``PriorIntake`` owns it.
"""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any, Mapping

from loc2_ros.core.motion import Motion, Odometry
from loc2_ros.core.prior import Heading, PriorBuffer
from loc2_ros.core.seed import Seed
from loc2_ros.core.values import Array, Pose2, Prior, Reason, Rejection
from loc2_ros.data.heading_intake import Mounting
from loc2_ros.data.pose_messages import PoseMeasurement
from loc2_ros.data.supervisor import Supervisor
import numpy as np


class PriorSources:
    """
    What priors are made of.

    ``gnss`` holds positions of the antenna and headings that no filter has touched; the filter
    (an EKF whose output is in the map) poses of base_link, with headings if those are wanted;
    ``seed`` an initialpose, or a fix that was found from it.
    """

    def __init__(self, settings: Mapping[str, Any], mounting: Mounting,
                 odometry: Odometry) -> None:
        self._settings, self._mounting, self._odometry = settings, mounting, odometry
        self._kind = settings['prior.heading']
        ages = settings['prior.max_age'], settings['prior.max_jump']
        self.gnss, self._filter = PriorBuffer(*ages), PriorBuffer(*ages)
        self.seed: Seed | None = None
        self.fix_frame = ''             # where the antenna is
        self.lever_unknown = False

    def clear(self) -> None:
        """Forget everything."""
        self.gnss.clear()
        self._filter.clear()
        self.seed = None

    def retune(self, settings: Mapping[str, Any]) -> None:
        """Take changed parameters; what was collected before stays, but for other headings."""
        self._settings = settings
        for buffer in (self.gnss, self._filter):
            buffer.max_age_s = settings['prior.max_age']
            buffer.max_jump_m = settings['prior.max_jump']
            if settings['prior.heading'] != self._kind:
                buffer.clear_headings()
        self._kind = settings['prior.heading']

    def add_filter(self, found: PoseMeasurement) -> None:
        """Take a pose of a filter in the map."""
        self._filter.add_position(found.stamp_ns, found.pose.xy_m, found.sigma_xy_m)
        if self._kind == 'odometry':
            self._filter.add_heading(found.stamp_ns, found.pose.yaw_rad, found.sigma_yaw_rad)

    def reach(self, stamp: int) -> bool:
        """Return whether all that the prior at a stamp is made of has come."""
        source = self._settings['prior.source']
        if source == 'initialpose':
            here = self.seed is not None and self._odometry.reaches(stamp)
        else:
            here = (self.gnss if source == 'fix' else self._filter).reaches(stamp)
        heading = self._filter if self._kind == 'odometry' else self.gnss
        return here and heading.headings_reach(stamp)

    def choose(self, stamp: int, supervisor: Supervisor) -> Prior | Rejection:
        """Take the prior from the chosen source, or from GNSS where that must be."""
        if self._settings['prior.source'] == 'fix':
            return supervisor.checked(self._certain(self._from_gnss(stamp)))
        own = self.own(stamp)
        if isinstance(own, Rejection) or supervisor.wants_gnss(stamp):
            independent = self._certain(self._from_gnss(stamp))
            if isinstance(independent, Prior):
                return independent
        return own

    def own(self, stamp: int) -> Prior | Rejection:
        """Return the prior of a filter or of earlier fixes, as ``prior.source`` says."""
        return self._certain(self._from_filter(stamp)
                             if self._settings['prior.source'] == 'odometry'
                             else self._from_seed(stamp))

    def _certain(self, found: Prior | Rejection) -> Prior | Rejection:
        """Refuse a prior that does not say where to look."""
        limit = self._settings['gate.max_prior_distance']
        if isinstance(found, Rejection) or found.sigma_xy_m <= limit:
            return found
        return Rejection(found.stamp_ns, Reason.PRIOR_STALE, {
            'stddev_m': found.sigma_xy_m, 'max_stddev_m': limit}, 'the prior is too uncertain')

    def _from_filter(self, stamp: int) -> Prior | Rejection:
        # Its own headings, if they are wanted, are in its buffer
        found = self._filter.at(stamp, self._odometry.between, self._independent_heading(stamp))
        return replace(found, source='odometry') if isinstance(found, Prior) else found

    def _from_seed(self, stamp: int) -> Prior | Rejection:
        if self.seed is None:
            return Rejection(stamp, Reason.NO_PRIOR, detail='no initialpose yet')
        found = self.seed.at(stamp, self._odometry.between, self._settings['prior.max_age'])
        if isinstance(found, Rejection) or self._kind == 'odometry':
            return found
        yaw, sigma = self._independent_heading(stamp) or (None, None)
        return replace(found, yaw_map_rad=yaw, sigma_yaw_rad=sigma)

    def _independent_heading(self, stamp: int) -> Heading | None:
        """Return the heading of Imu or course where that is asked for."""
        if self._kind not in ('imu', 'course'):
            return None
        return self.gnss.heading_at(stamp, self._odometry.between)

    def _from_gnss(self, stamp: int) -> Prior | Rejection:
        """Return the prior of the fixes, carried from the antenna to base_link."""
        base_T_fix = self._mounting(self.fix_frame, stamp) if self.fix_frame else np.eye(4)
        self.lever_unknown = base_T_fix is None
        # Said aloud in diagnostics; metres against a 10 m prior
        lever = np.zeros(2) if base_T_fix is None else base_T_fix[:2, 3]
        heading = (self._filter.heading_at(stamp, self._odometry.between)
                   if self._settings['prior.source'] == 'fix' else None)
        prior = self.gnss.at(stamp, _of_point(self._odometry.between, lever), heading)
        if isinstance(prior, Rejection):
            return prior
        if prior.yaw_map_rad is None:
            grown = math.hypot(prior.sigma_xy_m, float(np.hypot(*lever)))
            return replace(prior, sigma_xy_m=grown)
        c, s = math.cos(prior.yaw_map_rad), math.sin(prior.yaw_map_rad)
        return replace(prior, xy_map_m=prior.xy_map_m - np.array([[c, -s], [s, c]]) @ lever)


def _of_point(motion: Motion, lever: Array) -> Motion:
    """Return the motion of a point of the vehicle from that of base_link."""
    base_T_point = Pose2(float(lever[0]), float(lever[1]), 0.0)

    def moved(from_ns: int, to_ns: int) -> Pose2 | None:
        base = motion(from_ns, to_ns)
        return None if base is None else base_T_point.inverse() @ base @ base_T_point
    return moved
