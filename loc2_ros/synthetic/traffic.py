# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Other cars on the move: they are in the camera's view and in no aerial photo."""

from __future__ import annotations

from loc2_ros.synthetic.streets import Path
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

CARS = 4
FAR_AWAY_M = 1e4        # where a car is parked that is not there


def roadside_cars(rng: np.random.Generator, path: Path, s_m: float) -> Array:
    """
    Draw the cars around one view at random.

    :param s_m: where on the path the camera is.
    :returns: (CARS, 7) x, y, yaw, length, width, roof height, paint grey.
    """
    cars = np.stack([_body(rng) for _ in range(CARS)])
    for k in range(CARS):
        ahead = rng.uniform(7.0, 45.0)
        oncoming = k > 0
        present = rng.random() < (0.35 if oncoming else 0.45)
        cars[k, :3] = _place(path, s_m + ahead, oncoming) if present else FAR_AWAY_M
    return cars


def traffic(rng: np.random.Generator, path: Path, times_s: Array) -> Array:
    """
    Drive other cars along a path while the vehicle follows it.

    :returns: (T, CARS, 7) as in ``roadside_cars``: one car ahead at a changing distance, the
        others oncoming, again and again.
    """
    ego = path.distances_at(times_s)
    cars = np.repeat(np.stack([_body(rng) for _ in range(CARS)])[None], len(times_s), 0)
    phase, period = rng.uniform(0, 6.3), rng.uniform(15.0, 30.0)
    gap = 24.0 + 16.0 * np.sin(2 * np.pi * times_s / period + phase)
    speeds, spacing = rng.uniform(7.0, 12.0, CARS), rng.uniform(90.0, 220.0, CARS)
    starts = rng.uniform(0.0, 200.0, CARS)
    for i, (t, s) in enumerate(zip(times_s, ego)):
        cars[i, 0, :3] = _place(path, s + gap[i], False) if gap[i] < 32.0 else FAR_AWAY_M
        for k in range(1, CARS):
            ahead = (starts[k] - speeds[k] * t - s) % spacing[k]
            cars[i, k, :3] = _place(path, s + ahead, True) if ahead < 80.0 else FAR_AWAY_M
    return cars


def _body(rng: np.random.Generator) -> Array:
    return np.array([0.0, 0.0, 0.0, rng.uniform(3.8, 4.8), rng.uniform(1.7, 1.9),
                     rng.uniform(1.4, 1.8), rng.choice([0.08, 0.3, 0.6, 0.85])])


def _place(path: Path, s_m: float, oncoming: bool) -> Array:
    if s_m > path.length_m:
        return np.full(3, FAR_AWAY_M)
    xy, yaw, _ = path.at(np.array([s_m]))
    left = np.array([-np.sin(yaw[0]), np.cos(yaw[0])])
    return np.array([*(xy[0] + (3.3 if oncoming else 0.0) * left),
                     yaw[0] + (np.pi if oncoming else 0.0)])
