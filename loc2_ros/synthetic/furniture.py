# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What stands along the streets: trees, hedges, lamps, signs, parked cars."""

from __future__ import annotations

import math

from loc2_ros.synthetic.habits import Habits
from loc2_ros.synthetic.layers import Kind, Layers, Material, rectangle
from loc2_ros.synthetic.roadway import directions, resample
from loc2_ros.synthetic.streets import Network
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def plant(rng: np.random.Generator, layers: Layers, network: Network, habits: Habits,
          roads: NDArray[np.uint8]) -> None:
    """Plant street trees, garden trees and hedges."""
    for street in network.streets:
        line = resample(street.line_m, 1.0)
        tangent, normal = directions(line)
        kerb = street.width_m / 2 + street.pavement_m
        if street.pavement_m > 1.8 and rng.random() < habits.tree_share * 0.6:
            gap, offset = int(rng.integers(7, 16)), street.width_m / 2 + 0.8
            for i in range(6, len(line) - 6, gap):
                for side in (-1, 1):
                    if rng.random() < 0.8:
                        _plant_tree(rng, layers, line[i] + side * normal[i] * offset)
        for side in (-1, 1):
            for i in range(4, len(line) - 14, 10):
                if rng.random() < habits.hedge_share:
                    piece = line[i:i + int(rng.integers(5, 10))]
                    middle = piece[len(piece) // 2] + side * normal[i] * (kerb + 0.6)
                    _plant_hedge(rng, layers, middle, tangent[i], len(piece), roads)
    for _ in range(int(habits.tree_share * layers.half_m ** 2 / 90)):
        at = rng.uniform(-layers.half_m, layers.half_m, 2)
        if layers.is_free(rectangle(at, 0, 1.5, 1.5), roads):
            _plant_tree(rng, layers, at)


def _plant_tree(rng: np.random.Generator, layers: Layers, at: Array) -> None:
    rows, cols, x, y = layers.window(at, 6.0)
    if x.size == 0:
        return
    radius, trunk = rng.uniform(1.2, 4.5), rng.uniform(1.6, 3.0)
    green = np.array([0.18, 0.30, 0.10]) * rng.uniform(0.6, 1.7) + rng.normal(0, 0.035, 3)
    owner = layers.owners.add(Kind.TREE, green, green * 0.8, np.array([*at, 0.0]),
                              np.full(2, 2 * radius))
    lobes = 1.0 + 0.18 * np.sin(rng.integers(3, 7) * np.arctan2(y, x) + rng.uniform(0, 6.3))
    inside = 1.0 - (np.hypot(x, y) / (radius * lobes)) ** 2
    crown = (inside > 0) & (layers.height_m[rows, cols] < trunk + 0.3)
    swell = np.sqrt(np.clip(inside, 0, 1)) * radius * rng.uniform(0.8, 1.4)
    middle = trunk + radius * 0.8
    layers.low_m[rows, cols][crown] = np.maximum(trunk, middle - swell)[crown]
    layers.high_m[rows, cols][crown] = (middle + swell)[crown]
    layers.hanging[rows, cols][crown] = owner
    bark = layers.owners.add(Kind.POLE, np.full(3, 0.2), rng.uniform(0.15, 0.4)
                             * np.array([1.0, 0.85, 0.7]), np.array([*at, 0.0]), np.full(2, 0.4))
    layers.fill(rectangle(at, 0, *[rng.uniform(0.25, 0.5)] * 2), material=Material.OWNED,
                height_m=trunk + 0.4, owner=bark)


def _plant_hedge(rng: np.random.Generator, layers: Layers, middle: Array, tangent: Array,
                 length_m: float, roads: NDArray[np.uint8]) -> None:
    yaw = math.atan2(tangent[1], tangent[0])
    corners = rectangle(middle, yaw, length_m, rng.uniform(0.4, 0.9))
    if not layers.is_free(corners, roads):
        return
    if rng.random() < 0.7:
        colour = np.array([0.15, 0.27, 0.10]) * rng.uniform(0.6, 1.6)
    else:                                                             # a garden wall or fence
        colour = rng.uniform(0.3, 0.8) * np.ones(3) + rng.normal(0, 0.05, 3)
    owner = layers.owners.add(Kind.HEDGE, colour, colour * 0.85, np.array([*middle, yaw]),
                              np.array([length_m, 0.8]))
    layers.fill(corners, material=Material.OWNED, height_m=rng.uniform(0.7, 1.9), owner=owner)


def furnish(rng: np.random.Generator, layers: Layers, network: Network) -> None:
    """Put up lamps and signs along the kerbs."""
    for street in network.streets:
        line = resample(street.line_m, 1.0)
        tangent, normal = directions(line)
        side = rng.choice([-1, 1])
        offset = street.width_m / 2 + 0.5
        grey = np.full(3, rng.uniform(0.2, 0.6))
        for i in range(int(rng.integers(4, 12)), len(line) - 3, int(rng.integers(18, 32))):
            at, height = line[i] + side * normal[i] * offset, rng.uniform(4.5, 8.0)
            _put_pole(layers, at, height, grey)
            yaw = math.atan2(normal[i, 1], normal[i, 0])
            head = layers.owners.add(Kind.POLE, grey, grey, np.array([*at, yaw]),
                                     np.array([1.6, 0.25]))
            layers.hang(rectangle(at - side * normal[i] * 0.7, yaw, 1.6, 0.25), height - 0.15,
                        height + 0.05, head)
        for _ in range(int(rng.integers(0, 4))):
            i = int(rng.integers(3, max(4, len(line) - 3)))
            at = line[min(i, len(line) - 1)] - side * normal[min(i, len(line) - 1)] * offset
            _put_pole(layers, at, 2.9, grey)
            plate = rng.uniform(0.1, 0.9, 3)
            owner = layers.owners.add(Kind.POLE, plate, plate, np.array([*at, 0.0]),
                                      np.array([0.7, 0.2]))
            yaw = math.atan2(normal[min(i, len(line) - 1), 1], normal[min(i, len(line) - 1), 0])
            layers.hang(rectangle(at, yaw, 0.7, 0.2), 2.1, 2.8, owner)


def _put_pole(layers: Layers, at: Array, height_m: float, rgb: Array) -> None:
    owner = layers.owners.add(Kind.POLE, rgb, rgb, np.array([*at, 0.0]), np.full(2, 0.14))
    layers.fill(rectangle(at, 0, 0.14, 0.14), material=Material.OWNED, height_m=height_m,
                owner=owner)


def park_cars(rng: np.random.Generator, layers: Layers, network: Network,
              habits: Habits) -> None:
    """Park cars along the kerbs, others on each day."""
    for street in network.streets:
        if street.width_m < 6.0:
            continue
        line = resample(street.line_m, 1.0)
        tangent, normal = directions(line)
        share = habits.parked_share * rng.uniform(0.3, 1.3)
        for side in (-1, 1):
            for i in range(9, len(line) - 9, 6):
                if rng.random() < share:
                    # In narrow streets cars stand on the kerb and leave room to pass
                    inward = 1.05 if street.width_m >= 9.0 else -0.35
                    at = line[i] + side * normal[i] * (street.width_m / 2 - inward)
                    put_car(rng, layers, at, math.atan2(tangent[i, 1], tangent[i, 0]))


def put_car(rng: np.random.Generator, layers: Layers, at: Array, yaw_rad: float) -> None:
    """Put one car with a random body and colour."""
    paint = rng.choice([0.06, 0.2, 0.45, 0.7, 0.85]) * np.ones(3)
    if rng.random() < 0.35:
        paint = rng.uniform(0.05, 0.7, 3)
    length, width, bonnet, roof = rng.uniform([3.7, 1.65, 0.8, 1.4], [4.9, 1.9, 1.0, 1.75])
    owner = layers.owners.add(Kind.CAR, paint, paint, np.array([*at, yaw_rad]),
                              np.array([length, width]))
    layers.fill(rectangle(at, yaw_rad, length, width), material=Material.OWNED, height_m=bonnet,
                owner=owner)
    shift = np.array([math.cos(yaw_rad), math.sin(yaw_rad)]) * rng.uniform(-0.5, 0.1)
    layers.fill(rectangle(at + shift, yaw_rad, length * 0.5, width * 0.86), height_m=roof)
