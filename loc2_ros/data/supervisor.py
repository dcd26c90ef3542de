# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What fixes say about each other and about priors, by the parameters of the node.

Not safe under threads by itself: ``PriorIntake`` owns it.
"""

from __future__ import annotations

import math
from typing import Any, Mapping

from loc2_ros.core.motion import Odometry
from loc2_ros.core.predict import Predict
from loc2_ros.core.reseed import Reseeding
from loc2_ros.core.trust import bare, Trust, TrustLimits
from loc2_ros.core.values import Fix, Pose2, Prior, Reason, Rejection, wrap_pi
import numpy as np

_SIGMAS = 3.0
_AGREE_M, _AGREE_RAD = 5.0, math.radians(20.0)      # beyond the deviations
# A heading that is wrong by less is one that the model and its gates can deal with
_MAX_TURN_RAD = math.radians(45.0)
_MOST_RAD = math.radians(30.0)      # the most that deviations add to it
# These say nothing about where the vehicle is
_NOT_ABOUT_THE_PLACE = (Reason.MODEL_ERROR, Reason.NO_DEPTH)


class Supervisor:
    """Judges fixes by those before them, and priors by fixes."""

    def __init__(self, settings: Mapping[str, Any], predict: Predict,
                 odometry: Odometry) -> None:
        """
        Start without any fix.

        :param predict: where a fix puts base_link later.
        """
        self._predict = predict
        self._trust = Trust(predict, TrustLimits(), odometry.was_reset)
        self._last: Fix | None = None
        self._reseeding = Reseeding(0.0, 0)
        self.disagreements = 0      # fixes in a row that the filter's pose is away from
        self.disagreement_m = 0.0   # how far, at the last fix
        self.retune(settings)

    def retune(self, settings: Mapping[str, Any]) -> None:
        """Take changed parameters."""
        self._trust.limits = TrustLimits(
            settings['gate.max_innovation'],
            math.radians(settings['gate.max_innovation_heading']),
            settings['gate.relocate_time'], settings['gate.memory'])
        self._reseeding.period_s = settings['prior.reseed_period']
        self._reseeding.max_rejected = settings['gate.max_consecutive']
        self._max_jump_m = settings['prior.max_jump']
        self._min_distance_m = settings['min_distance']
        self._longest_rest_s = settings['tf.max_age'] / 2.0

    def clear(self) -> None:
        """Forget all fixes."""
        self._trust.clear()
        self._reseeding.clear()
        self._last = None
        self.disagreements = 0

    def wants_gnss(self, stamp_ns: int) -> bool:
        """Return whether a prior should come from GNSS rather than from a filter."""
        return self._reseeding.wants_gnss(stamp_ns)

    def rests(self, stamp_ns: int) -> bool:
        """Return whether base_link has hardly moved since the last fix, by ``min_distance``."""
        last = self._last
        if last is None or not 0 <= (stamp_ns - last.stamp_ns) * 1e-9 < self._longest_rest_s:
            return False
        now = self._predict(last, stamp_ns) if self._min_distance_m > 0.0 else None
        return now is not None and float(np.linalg.norm(
            now.map_T_base.xy_m - last.map_T_base.xy_m)) < self._min_distance_m

    def checked(self, prior: Prior | Rejection) -> Prior | Rejection:
        """Refuse a prior that is far from where the last fixes lead, or far turned."""
        if isinstance(prior, Rejection):
            return prior
        expected = self._trust.predicted(prior.stamp_ns)
        if expected is None:
            return prior
        # Vague claims must not make room for a receiver or a compass that is far off
        jump, turn = _beyond(prior, expected.map_T_base, expected.sigma_xy_m,
                             expected.sigma_yaw_rad, (self._max_jump_m, _MOST_RAD))
        if jump > self._max_jump_m:
            return Rejection(prior.stamp_ns, Reason.PRIOR_JUMP,
                             {'jump_m': jump, 'max_jump_m': self._max_jump_m},
                             'the fix is not where the last poses lead')
        # A wrong heading can lead to one wrong place again and again, which would look like trust
        if turn > _MAX_TURN_RAD:
            return Rejection(prior.stamp_ns, Reason.PRIOR_JUMP,
                             {'turn_deg': math.degrees(turn),
                              'max_turn_deg': math.degrees(_MAX_TURN_RAD)},
                             'the heading is not that to which the last poses lead')
        return prior

    def settle(self, result: Fix | Rejection, prior: Prior,
               own: Prior | None) -> Fix | Rejection:
        """
        Judge the result of an image.

        :param prior: the prior that was used.
        :param own: what a filter would have given; None where there is none.
        """
        if isinstance(result, Fix):
            result = self._trust.judge(result)
        from_gnss = prior.source == 'fix'
        if isinstance(result, Fix):
            self._last = bare(result)
            agrees = own is None or self._compare(result, own)
            self._reseeding.accepted(result.stamp_ns, from_gnss, agrees)
        elif result.reason not in _NOT_ABOUT_THE_PLACE:
            self._reseeding.rejected(result.stamp_ns, from_gnss,
                                     result.reason is Reason.INNOVATION)
        return result

    def _compare(self, fix: Fix, own: Prior) -> bool:
        """Return whether a filter's pose is near a fix, and count where it is not."""
        away, turn = _beyond(own, fix.map_T_base, fix.sigma_xy_m, fix.sigma_yaw_rad)
        near = away <= _AGREE_M and turn <= _AGREE_RAD
        self.disagreement_m = _distance_m(own, fix.map_T_base)
        self.disagreements = 0 if near else self.disagreements + 1
        return near


def _beyond(prior: Prior, pose: Pose2, sigma_xy_m: float, sigma_yaw_rad: float,
            most: tuple[float, float] = (math.inf, math.inf)) -> tuple[float, float]:
    """
    Return how much more than three deviations a prior is away and turned from a pose.

    :param most: the most that three deviations may be, metres and radians.
    """
    away = _distance_m(prior, pose) - min(
        _SIGMAS * math.hypot(prior.sigma_xy_m, sigma_xy_m), most[0])
    if prior.yaw_map_rad is None or prior.sigma_yaw_rad is None:
        return away, -math.inf
    turn = abs(wrap_pi(prior.yaw_map_rad - pose.yaw_rad))
    return away, turn - min(_SIGMAS * math.hypot(prior.sigma_yaw_rad, sigma_yaw_rad), most[1])


def _distance_m(prior: Prior, pose: Pose2) -> float:
    return float(np.linalg.norm(prior.xy_map_m - pose.xy_m))
