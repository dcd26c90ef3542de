# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What is usual in a town: drawn once, so that its places resemble one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Habits:
    """What is usual in this town: drawn once, so that places within a town resemble another."""

    setback_m: float
    storeys: tuple[int, int]
    gable_share: float
    tree_share: float
    hedge_share: float
    parked_share: float
    lane_marks: float
    roof_rgb: Array
    wall_rgb: Array


def draw_habits(rng: np.random.Generator) -> Habits:
    """Draw the habits of a town."""
    low = int(rng.integers(1, 4))
    base = rng.uniform(0.25, 0.6)
    roof = base * np.array([[1.0, 0.55, 0.42], [0.75, 0.75, 0.78], [0.6, 0.5, 0.45],
                            [1.0, 0.75, 0.6]])[rng.integers(4)]
    return Habits(setback_m=float(rng.choice([0.3, 2.0, 4.0, 7.0])),
                  storeys=(low, low + int(rng.integers(1, 4))),
                  gable_share=float(rng.uniform(0.1, 0.95)),
                  tree_share=float(rng.uniform(0.15, 1.0)),
                  hedge_share=float(rng.uniform(0.0, 0.8)),
                  parked_share=float(rng.uniform(0.05, 0.75)),
                  lane_marks=float(rng.uniform(0.3, 1.0)),
                  roof_rgb=roof, wall_rgb=rng.uniform(0.45, 0.85) + rng.normal(0, 0.05, 3))
