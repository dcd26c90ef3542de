# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A vehicle's motion between the poses at which it took pictures."""

from __future__ import annotations

from dataclasses import dataclass

from loc2_ros.core.values import Array
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Trajectory:
    """
    Poses of base_link in the map, and what lies between and a little around them.

    :param stamps_ns: (N,) int64, rising, N >= 2.
    :param map_T_base: (N, 3) x, y in metres and yaw in radians.
    :param speed_mps: (N,) forward speed.
    """

    stamps_ns: NDArray[np.int64]
    map_T_base: Array
    speed_mps: Array

    def __post_init__(self) -> None:
        n = len(self.stamps_ns)
        if n < 2 or self.map_T_base.shape != (n, 3) or self.speed_mps.shape != (n,):
            raise ValueError(f'a trajectory needs at least two stamps with (N, 3) poses and (N,) '
                             f'speeds, got {n}, {self.map_T_base.shape}, {self.speed_mps.shape}')
        if np.any(np.diff(self.stamps_ns) <= 0):
            raise ValueError('the stamps of a trajectory must rise')
        if not (np.all(np.isfinite(self.map_T_base)) and np.all(np.isfinite(self.speed_mps))):
            raise ValueError('poses and speeds of a trajectory must be finite')

    def at(self, stamps_ns: NDArray[np.int64]) -> tuple[Array, Array, Array]:
        """
        Return poses (M, 3), forward speeds (M,) and yaw rates (M,) at any stamps.

        Positions are cubic (Hermite, with the velocity along the heading), headings linear.
        Outside, speed and heading are held.
        """
        times = (self.stamps_ns - self.stamps_ns[0]) * 1e-9
        t = (stamps_ns - self.stamps_ns[0]) * 1e-9
        yaws = np.unwrap(self.map_T_base[:, 2])
        yaw = np.interp(t, times, yaws)
        speed = np.interp(t, times, self.speed_mps)
        i = np.clip(np.searchsorted(times, t, side='right') - 1, 0, len(times) - 2)
        dt = times[i + 1] - times[i]
        s = np.clip((t - times[i]) / dt, 0.0, 1.0)[:, None]
        velocity = self.speed_mps[:, None] * np.stack([np.cos(yaws), np.sin(yaws)], -1)
        p, q = self.map_T_base[i, :2], self.map_T_base[i + 1, :2]
        m, n = velocity[i] * dt[:, None], velocity[i + 1] * dt[:, None]
        xy = ((2 * s**3 - 3 * s**2 + 1) * p + (s**3 - 2 * s**2 + s) * m
              + (3 * s**2 - 2 * s**3) * q + (s**3 - s**2) * n)
        beyond = t - np.clip(t, 0.0, times[-1])
        xy = xy + (beyond * speed)[:, None] * np.stack([np.cos(yaw), np.sin(yaw)], -1)
        rate = np.where(beyond == 0.0, (yaws[i + 1] - yaws[i]) / dt, 0.0)
        return np.column_stack([xy, yaw]), speed, rate
