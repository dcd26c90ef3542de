# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How a town looks on one day: palette, season, sun, sky, camera.

A place keeps its character between the flight and the drive; season, light and wear differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from loc2_ros.synthetic.layers import Material
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Look:
    """
    One day's look; colours are linear-ish RGB in [0, 1].

    :param palette: (10, 3) colour of each ground material.
    :param grain: (10,) strength of its texture.
    :param wear: share of the markings' paint that is gone.
    :param sun: (3,) unit vector towards the sun; east, north, up.
    :param sunlight: (3,) added by direct light, on top of ``ambient``.
    :param leaves: opacity of tree crowns from above; 1 in summer.
    :param foliage: (3,) factor on the colour of trees and hedges.
    """

    palette: Array
    grain: Array
    wear: float
    sun: Array
    sunlight: Array
    ambient: Array
    sky: Array
    haze: float
    leaves: float
    foliage: Array
    gain: float
    gamma: float
    noise: float
    blur_px: float


def draw_palette(rng: np.random.Generator) -> Array:
    """Draw the colours of a place, (10, 3)."""
    grey = np.ones(3)
    palette = np.zeros((10, 3))
    palette[Material.GRASS] = np.array([0.30, 0.40, 0.18]) * rng.uniform(0.6, 1.3)
    palette[Material.SOIL] = np.array([0.45, 0.36, 0.26]) * rng.uniform(0.6, 1.3)
    palette[Material.ASPHALT] = grey * rng.uniform(0.18, 0.5)
    palette[Material.PAVEMENT] = np.array([1.0, 0.96, 0.9]) * rng.uniform(0.3, 0.7)
    palette[Material.MARKING] = grey * rng.uniform(0.75, 1.0)
    palette[Material.CONCRETE] = grey * rng.uniform(0.4, 0.75)
    palette[Material.GRAVEL] = np.array([1.0, 0.95, 0.85]) * rng.uniform(0.4, 0.7)
    palette[Material.PATCH] = palette[Material.ASPHALT] * rng.uniform(0.6, 1.35)
    palette[Material.KERB] = grey * rng.uniform(0.45, 0.8)
    palette[Material.PLANTS] = np.array([0.22, 0.32, 0.14]) * rng.uniform(0.6, 1.3)
    return np.clip(palette + rng.normal(0, 0.025, palette.shape), 0.04, 1.0)


def draw_look(rng: np.random.Generator, palette: Array) -> Look:
    """Draw one day for a place with this palette."""
    season = rng.normal(1.0, [0.18, 0.10, 0.12], 3)
    day = palette * rng.normal(1.0, 0.08, (10, 1)) * rng.normal(1.0, 0.03, (10, 3))
    for green in (Material.GRASS, Material.PLANTS):
        day[green] = palette[green] * season
    azimuth, elevation = rng.uniform(0, 2 * np.pi), rng.uniform(0.45, 1.1)
    sun = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation),
                    np.sin(elevation)])
    strength = rng.choice([0.0, 0.3, 0.7, 1.0])            # overcast to clear
    warm = np.array([1.05, 1.0, 0.92]) + rng.normal(0, 0.03, 3)
    return Look(palette=np.clip(day, 0.03, 1.0), grain=rng.uniform(0.04, 0.22, 10),
                wear=float(rng.uniform(0.0, 0.6)), sun=sun, sunlight=0.75 * strength * warm,
                ambient=(1.0 - 0.5 * strength) * np.array([0.95, 1.0, 1.06]),
                sky=np.clip(np.array([0.65, 0.75, 0.9]) * rng.uniform(0.7, 1.15)
                            + rng.normal(0, 0.05, 3), 0, 1),
                haze=float(rng.uniform(0.0, 0.006)),
                leaves=float(rng.choice([1.0, 1.0, 0.85, 0.4])),
                foliage=np.clip(rng.normal(1.0, [0.2, 0.12, 0.15], 3), 0.5, 1.8),
                gain=float(rng.uniform(0.75, 1.25)), gamma=float(rng.uniform(0.75, 1.2)),
                noise=float(rng.uniform(0.003, 0.02)), blur_px=float(rng.uniform(0.0, 0.9)))
