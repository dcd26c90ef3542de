# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A seeded synthetic town: streets, markings, houses, trees, hedges, cars, signs and lamps.

``make_town(seed)`` gives the same town for the same seed. The vehicle sees ``town.ground``, the
aerial camera ``town.aerial``: the same place on another day, with other cars. Looks are drawn
anew for each town (domain randomisation), so that a network cannot live off one palette.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

import cv2
from loc2_ros.synthetic.furniture import furnish, park_cars, plant
from loc2_ros.synthetic.habits import draw_habits, Habits
from loc2_ros.synthetic.layers import Kind, Layers, Material, rectangle
from loc2_ros.synthetic.roadway import directions, paint_streets, resample, road_mask
from loc2_ros.synthetic.streets import make_network, Network
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

TEST_SEEDS_FROM = 1_000_000        # never in training, tuning or calibration


@dataclass(frozen=True)
class Town:
    """A town on the day of the drive and on the day of the flight."""

    seed: int
    network: Network
    ground: Layers
    aerial: Layers


def make_town(seed: int, extent_m: float = 320.0, res_m: float = 0.125) -> Town:
    """
    Make the town of a seed.

    :param extent_m: side of the square, centred on the map's origin.
    :param res_m: raster cell of the town.
    """
    rng = np.random.default_rng([7, seed])
    layers = Layers.empty(extent_m, res_m)
    network = make_network(rng, extent_m)
    habits = draw_habits(rng)
    _paint_ground(rng, layers)
    paint_streets(rng, layers, network, habits)
    roads = road_mask(layers)
    _build_houses(rng, layers, network, habits, roads)
    plant(rng, layers, network, habits, roads)
    furnish(rng, layers, network)
    aerial = layers.copy()
    for day in (layers, aerial):
        park_cars(rng, day, network, habits)
    return Town(seed, network, layers, aerial)


def _paint_ground(rng: np.random.Generator, layers: Layers) -> None:
    """Cover the blocks with fields of grass, soil, plants, gravel and yards."""
    kinds = [Material.GRASS, Material.SOIL, Material.PLANTS, Material.GRAVEL, Material.CONCRETE]
    for _ in range(int(layers.half_m ** 2 / 60)):
        centre = rng.uniform(-layers.half_m, layers.half_m, 2)
        patch = rectangle(centre, rng.uniform(0, np.pi), *rng.uniform(3.0, 24.0, 2))
        layers.fill(patch, material=int(rng.choice(kinds, p=[0.35, 0.2, 0.2, 0.1, 0.15])))


def _build_houses(rng: np.random.Generator, layers: Layers, network: Network, habits: Habits,
                  roads: NDArray[np.uint8]) -> None:
    """Line the streets with houses, then fill some yards; nothing overlaps."""
    blocked = roads.copy()
    for street in network.streets:
        line = resample(street.line_m, 1.0)
        tangent, normal = directions(line)
        kerb = street.width_m / 2 + street.pavement_m
        for side in (-1, 1):
            i = int(rng.uniform(2, 12))
            while i < len(line) - 4:
                front, depth = rng.uniform(7.0, 24.0), rng.uniform(7.0, 14.0)
                setback = max(0.2, habits.setback_m + rng.normal(0, 0.6))
                k = min(len(line) - 1, int(i + front / 2))
                centre = line[k] + side * normal[k] * (kerb + setback + depth / 2)
                yaw = math.atan2(tangent[k, 1], tangent[k, 0]) + rng.normal(0, 0.02)
                if rng.random() < 0.85:
                    _build_house(rng, layers, blocked, centre, yaw, (front, depth), habits)
                i += int(front + rng.choice([0.0, 2.0, 5.0, 12.0]))
    for _ in range(int(layers.half_m ** 2 / 350)):
        centre = rng.uniform(-layers.half_m, layers.half_m, 2)
        _build_house(rng, layers, blocked, centre, rng.uniform(0, np.pi),
                     tuple(rng.uniform(3.0, 9.0, 2)), habits, storeys=1)
    roads |= blocked


def _build_house(rng: np.random.Generator, layers: Layers, blocked: NDArray[np.uint8],
                 centre: Array, yaw: float, size: tuple[float, float], habits: Habits,
                 storeys: int | None = None) -> None:
    corners = rectangle(centre, yaw, *size)
    if not layers.is_free(corners, blocked):
        return
    storey = rng.uniform(2.7, 3.4)
    eaves = storey * (storeys or int(rng.integers(habits.storeys[0], habits.storeys[1] + 1)))
    roof = habits.roof_rgb * rng.uniform(0.6, 1.4) + rng.normal(0, 0.04, 3)
    if rng.random() < 0.2:
        roof = np.full(3, rng.uniform(0.2, 0.8)) + rng.normal(0, 0.03, 3)
    wall = habits.wall_rgb * rng.uniform(0.7, 1.2) + rng.normal(0, 0.07, 3)
    facade = np.array([storey, rng.uniform(1.8, 3.6), rng.uniform(0.3, 0.6),
                       rng.uniform(0.0, 1.0)])
    owner = layers.owners.add(Kind.BUILDING, roof, wall, np.array([*centre, yaw]),
                              np.array(size), facade)
    layers.fill(corners, material=Material.OWNED, height_m=eaves, owner=owner)
    cv2.fillPoly(blocked, layers.polygon(rectangle(centre, yaw, size[0] + 1, size[1] + 1)), 1.0,
                 cv2.LINE_8, 4)
    if rng.random() < habits.gable_share:
        _raise_gable(layers, centre, yaw, size, eaves, owner, math.tan(rng.uniform(0.35, 0.85)),
                     hipped=rng.random() < 0.3)


def _raise_gable(layers: Layers, centre: Array, yaw: float, size: tuple[float, float],
                 eaves_m: float, owner: int, slope: float, hipped: bool) -> None:
    rows, cols, x, y = layers.window(centre, math.hypot(*size) / 2)
    mine = layers.owner[rows, cols] == owner
    along = x * math.cos(yaw) + y * math.sin(yaw)
    across = -x * math.sin(yaw) + y * math.cos(yaw)
    rise = (size[1] / 2 - np.abs(across)) * slope
    if hipped:
        rise = np.minimum(rise, (size[0] / 2 - np.abs(along)) * slope)
    height = layers.height_m[rows, cols]
    height[mine] = np.maximum(eaves_m, eaves_m + rise)[mine]
