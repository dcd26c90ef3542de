# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The last word on a fix: ordered checks, each with its own reason."""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.core.values import Fix, Prior, Reason, Rejection, wrap_pi
import numpy as np


@dataclass(frozen=True)
class Limits:
    """
    What a fix has to keep to be published; a check is switched off as its comment says.

    :raises ValueError: if a range is empty or a number is not one.
    """

    min_valid_fraction: float = 0.8       # of the crop on the map; 0 accepts any
    min_match_mass: float = 0.0           # probability of all matches; 0 accepts any
    min_inliers: int = 20                 # matches that agree; 0 accepts any
    min_score: float = 0.0                # quality in [0, 1]; 0 accepts any
    max_prior_distance_m: float = 50.0    # inf accepts any
    max_sigma_xy_m: float = 30.0          # per axis; inf accepts any
    max_sigma_yaw_rad: float = 1.6        # inf accepts any
    heading_range_rad: float | None = None           # off the prior heading; None accepts any
    scale_range: tuple[float, float] = (0.75, 1.35)  # depth scale; (0, inf) accepts any

    def __post_init__(self) -> None:
        numbers = (self.min_valid_fraction, self.min_match_mass, self.min_inliers, self.min_score,
                   self.max_prior_distance_m, self.max_sigma_xy_m, self.max_sigma_yaw_rad,
                   self.heading_range_rad or 0.0, *self.scale_range)
        if any(math.isnan(n) or n < 0 for n in numbers):
            raise ValueError(f'limits are numbers of at least 0, got {self}')
        if self.scale_range[0] >= self.scale_range[1]:
            raise ValueError(f'the scale range is empty: {self.scale_range}')


def gate(fix: Fix, prior: Prior, limits: Limits) -> Fix | Rejection:
    """
    Pass a fix on, or reject it with the first reason that applies.

    The order goes from evidence (matches, score, scale) to plausibility (prior) to claim
    (covariance). Map coverage is checked before there is a fix, by the pipeline.
    """
    def reject(reason: Reason, **numbers: float) -> Rejection:
        return Rejection(fix.stamp_ns, reason, numbers, evidence=fix.evidence)

    if fix.n_inliers < limits.min_inliers:
        return reject(Reason.FEW_INLIERS, inliers=fix.n_inliers, min_inliers=limits.min_inliers,
                      matches=fix.n_matches)
    # Negated, so that a NaN is refused
    if not fix.score >= limits.min_score:
        return reject(Reason.LOW_SCORE, score=fix.score, min_score=limits.min_score)
    if not limits.scale_range[0] <= fix.scale <= limits.scale_range[1]:
        return reject(Reason.SCALE, scale=fix.scale, low=limits.scale_range[0],
                      high=limits.scale_range[1])
    distance = float(np.linalg.norm(fix.map_T_base.xy_m - prior.xy_map_m))
    if distance > limits.max_prior_distance_m:
        return reject(Reason.FAR_FROM_PRIOR, distance_m=distance,
                      max_prior_distance_m=limits.max_prior_distance_m)
    if limits.heading_range_rad is not None and prior.yaw_map_rad is not None:
        off = abs(wrap_pi(fix.map_T_base.yaw_rad - prior.yaw_map_rad))
        if off > limits.heading_range_rad:
            return reject(Reason.HEADING_OFF, off_deg=math.degrees(off),
                          range_deg=math.degrees(limits.heading_range_rad))
    sigma_xy = math.sqrt(max(fix.covariance[0, 0], fix.covariance[1, 1]))
    if sigma_xy > limits.max_sigma_xy_m or fix.sigma_yaw_rad > limits.max_sigma_yaw_rad:
        return reject(Reason.UNCERTAIN, sigma_xy_m=sigma_xy,
                      sigma_yaw_deg=math.degrees(fix.sigma_yaw_rad))
    return fix
