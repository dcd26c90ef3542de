# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Where the aerial crop of a frame lies: around its prior, or on a grid that neighbours share.

What the network makes of a crop depends on the crop alone, so frames with the same crop pay for
it once. That costs some of the reach of the weights, which the prior's error needs as well: the
grid is used only where both fit in (model.md 12.2).
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.core.values import Array, Pose2, Prior, wrap_pi
import numpy as np

SIGMAS = 2.0        # a prior is off by no more than this many standard deviations, mostly


@dataclass(frozen=True)
class CropPlace:
    """
    A place for a crop; hashable.

    :param x_m: its centre in the map, ``y_m``.
    :param psi_rad: direction of its right-hand side, counter-clockwise from map x.
    """

    x_m: float
    y_m: float
    psi_rad: float

    @property
    def xy_m(self) -> Array:
        """Return the centre, (2,) float64."""
        return np.array([self.x_m, self.y_m])


@dataclass(frozen=True)
class CropGrid:
    """
    How crops are placed.

    :param heading_up: the expected view looks to the right in the crop; else the map's east does.
    :param step_m: side of the grid of centres, along the sides of the crop; 0: no grid.
    :param step_rad: step of headings, for crops that follow the view.
    :param reach_m: how far from the centre, along its sides, the camera may be.
    :param reach_rad: how far the view may be turned from a crop that follows it.
    """

    heading_up: bool
    step_m: float = 0.0
    step_rad: float = 0.0
    reach_m: float = 20.0
    reach_rad: float = math.pi

    def around(self, view: Pose2) -> CropPlace:
        """Return the place around an expected camera pose."""
        return CropPlace(view.x_m, view.y_m, view.yaw_rad if self.heading_up else 0.0)

    def shared(self, view: Pose2, prior: Prior) -> CropPlace | None:
        """Return the place on the grid, None where the prior is too uncertain for one."""
        if not self.step_m > 0 or self.step_m / 2 + SIGMAS * prior.sigma_xy_m > self.reach_m:
            return None
        psi = 0.0
        if self.heading_up:
            sigma = math.inf if prior.sigma_yaw_rad is None else prior.sigma_yaw_rad
            if not self.step_rad > 0 or self.step_rad / 2 + SIGMAS * sigma > self.reach_rad:
                return None
            psi = wrap_pi(round(view.yaw_rad / self.step_rad) * self.step_rad)
        c, s = math.cos(psi), math.sin(psi)
        right = round((c * view.x_m + s * view.y_m) / self.step_m) * self.step_m
        up = round((c * view.y_m - s * view.x_m) / self.step_m) * self.step_m
        return CropPlace(c * right - s * up, s * right + c * up, psi)
