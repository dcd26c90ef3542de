# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How wrong a GNSS receiver and a heading are among houses: correlated in time, bounded.

The position error of a drive has a median of 8 to 14 m and never exceeds 20 m; the heading
error is uniform in +-10 degrees at every moment. Both change over seconds, not per message.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.core.values import Array
import numpy as np

MAX_ERROR_M = 19.5
MAX_HEADING_ERROR_RAD = math.radians(10.0)
_LENGTH_S, _DIRECTION_S, _HEADING_S = 15.0, 30.0, 4.0
_WAVES = 48


@dataclass(frozen=True)
class SmoothGaussian:
    """
    A random function of time: standard normal at each time, correlated over ``tau_s``.

    A sum of waves with normal weights is exactly normal whatever their frequencies; with normal
    frequencies its correlation is exp(-dt^2 / (2 tau^2)) on average over the draws.
    """

    omega: Array        # (K,) rad/s
    weight: Array       # (2, K)

    @staticmethod
    def draw(rng: np.random.Generator, tau_s: float) -> SmoothGaussian:
        """Draw a function."""
        return SmoothGaussian(rng.normal(0.0, 1.0 / tau_s, _WAVES), rng.normal(size=(2, _WAVES)))

    def __call__(self, t_s: Array) -> Array:
        """Return the values at times (N,)."""
        phase = np.asarray(t_s)[:, None] * self.omega       # (N, K)
        waves = np.cos(phase) @ self.weight[0] + np.sin(phase) @ self.weight[1]
        return np.asarray(waves / math.sqrt(_WAVES))


def position_errors(t_s: Array, rng: np.random.Generator) -> Array:
    """
    Return east and north errors at times (N,) of one drive.

    :returns: (N, 2) metres; the median length lies in 8 to 14 m, none exceeds 19.5 m.
    """
    median = rng.uniform(8.6, 13.4)
    z = SmoothGaussian.draw(rng, _LENGTH_S)(t_s)
    # tanh is odd and rising: the median of z becomes the median of the length
    swing = np.tanh(z - np.median(z))
    above = min(0.7, MAX_ERROR_M / median - 1.0)
    length = median * (1.0 + np.where(swing > 0.0, above, 0.7) * swing)
    direction = rng.uniform(0.0, 2.0 * math.pi) + SmoothGaussian.draw(rng, _DIRECTION_S)(t_s)
    return length[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=-1)


def heading_errors(t_s: Array, rng: np.random.Generator) -> Array:
    """Return heading errors at times (N,), radians, uniform in +-10 degrees at each time."""
    z = SmoothGaussian.draw(rng, _HEADING_S)(t_s)
    # The normal distribution function makes a standard normal uniform in (0, 1): 2 F(z) - 1
    centred = np.array([math.erf(value / math.sqrt(2.0)) for value in z])
    return MAX_HEADING_ERROR_RAD * centred
