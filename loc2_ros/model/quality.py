# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How good a solved pose is: a covariance that can be believed, and a score.

The sandwich covariance (core/covariance.py) gives the shape. Its size is corrected by a log-linear
function of what the solver saw, fitted on towns that training never used, and stored with the
weights; without a calibration the sandwich stands as it is, above the floor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
import math
from typing import Any, Mapping

from loc2_ros.core.covariance import (carry_to_base, floor_covariance, pose_covariance,
                                      rotate_to_map, thinning_factor)
from loc2_ros.core.values import Array
from loc2_ros.model.contract import Contract
from loc2_ros.model.solve import MIN_WEIGHT, Solved
import numpy as np
import torch
from torch import Tensor

DEFAULT_FLOOR = (0.7, 0.7, math.radians(0.5))
FEATURES = ('log_sigma', 'mass', 'log_agreed', 'inlier_ratio', 'log_inliers', 'residual_m',
            'scale_off')


@dataclass(frozen=True)
class Claim:
    """Covariance (3, 3) of base_link's (x, y, yaw) in the map, score in [0, 1], features."""

    covariance: Array
    score: float
    features: dict[str, float]


@dataclass(frozen=True)
class Quality:
    """
    Judges solved poses.

    :param floor: smallest standard deviations (m, m, rad).
    :param scale: the user's factor on the covariance.
    :param position: coefficients, by feature and 'bias', of log of the factor on the position
        deviations; ``heading`` the same for the heading; ``score`` of the log-odds of an error
        below 5 m.
    """

    floor: tuple[float, float, float] = DEFAULT_FLOOR
    scale: float = 1.0
    position: Mapping[str, float] = field(default_factory=dict)
    heading: Mapping[str, float] = field(default_factory=dict)
    score: Mapping[str, float] = field(default_factory=dict)

    @staticmethod
    def of(contract: Contract, floor: tuple[float, ...], scale: float) -> Quality:
        """Return the calibrated judge of a model; () takes the floor that came with it."""
        stored: Mapping[str, Any] = contract.calibration
        x, y, yaw = floor or stored.get('floor', DEFAULT_FLOOR)
        return Quality((x, y, yaw), scale, stored.get('position', {}), stored.get('heading', {}),
                       stored.get('score', {}))

    def judge(self, lifted: Tensor, solved: Solved, cell_m: float, psi_rad: float,
              lever_m: Array, yaw_base_rad: float) -> Claim:
        """
        Judge a solved pose.

        :param lifted: (Ng, 2) ground points the pose was solved from.
        :param lever_m: (2,) camera in base_link.
        """
        tile = self.tile_covariance(lifted, solved, cell_m)
        features = describe(lifted, solved, tile)
        factor = torch.ones(3, dtype=tile.dtype)
        factor[:2] = math.exp(_linear(self.position, features, 0.0))
        factor[2] = math.exp(_linear(self.heading, features, 0.0))
        grown = tile * factor[:, None] * factor[None, :]
        in_map = carry_to_base(rotate_to_map(grown, psi_rad), torch.from_numpy(lever_m),
                               yaw_base_rad)
        covariance = floor_covariance(in_map, self.floor, self.scale).numpy()
        odds = _linear(self.score, features, features['mass'] * 4 - 2)
        return Claim(covariance, 1 / (1 + math.exp(-odds)), features)

    @staticmethod
    def tile_covariance(lifted: Tensor, solved: Solved, cell_m: float) -> Tensor:
        """Return the sandwich covariance of (t_x, t_y, theta) in the tile, uncalibrated."""
        return pose_covariance(
            lifted, solved.tile_m, solved.weight, solved.inlier, solved.similarity,
            cell_m=cell_m, sigma_depth_rel=0.08, sigma_ray_rad=math.radians(0.5),
            correlation=thinning_factor(lifted, solved.tile_m, solved.inlier, cell_m),
            match_variance_m2=solved.spread_m.square(), scale_gain=solved.scale_gain,
            sigma_scale=solved.scale_sigma)


def describe(lifted: Tensor, solved: Solved, tile_covariance: Tensor) -> dict[str, float]:
    """Return the numbers the calibration looks at, all finite."""
    inlier, weight = solved.inlier, solved.weight
    gap = (solved.similarity.apply(lifted) - solved.tile_m).norm(dim=-1)
    total = float((weight * inlier).sum())
    residual = float((gap * weight * inlier).sum()) / total if total > 0 else 5.0
    sigma = math.sqrt(float(tile_covariance[0, 0] + tile_covariance[1, 1]) / 2)
    used = int((weight > MIN_WEIGHT).sum())
    return {'log_sigma': float(np.clip(math.log(max(sigma, 1e-3)), -4.0, 4.0)),
            'mass': float(solved.mass), 'log_agreed': math.log(max(total, 1e-3)),
            'match_mass': float(solved.total), 'inlier_ratio': int(inlier.sum()) / max(used, 1),
            'log_inliers': math.log1p(int(inlier.sum())), 'residual_m': residual,
            'scale_off': min(abs(math.log(max(float(solved.similarity.scale), 1e-3))), 1.0)}


def _linear(coefficients: Mapping[str, float], features: Mapping[str, float],
            default: float) -> float:
    """Return bias plus weighted features, within what an exponential can bear."""
    if not coefficients:
        return float(np.clip(default, -10, 10))
    value = coefficients.get('bias', 0.0) + sum(
        coefficients.get(name, 0.0) * features[name] for name in FEATURES)
    return float(np.clip(value, -10, 10))
