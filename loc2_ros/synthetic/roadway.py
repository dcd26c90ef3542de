# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Carriageways, pavements and what is painted on them."""

from __future__ import annotations

import math

from loc2_ros.synthetic.habits import Habits
from loc2_ros.synthetic.layers import Layers, Material, rectangle
from loc2_ros.synthetic.streets import Network, Street
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def paint_streets(rng: np.random.Generator, layers: Layers, network: Network,
                  habits: Habits) -> None:
    """Paint pavements, kerbs, carriageways, mended patches and markings of all streets."""
    for street in network.streets:
        if street.pavement_m:
            layers.stroke(street.line_m, street.width_m + 2 * street.pavement_m,
                          Material.PAVEMENT)
    for street in network.streets:
        layers.stroke(street.line_m, street.width_m + 0.3, Material.KERB)
    for street in network.streets:
        layers.stroke(street.line_m, street.width_m, Material.ASPHALT)
    for street in network.streets:
        for _ in range(int(rng.integers(0, 7))):
            at, yaw = _somewhere_on(rng, street, street.width_m * 0.45)
            layers.fill(rectangle(at, yaw, *rng.uniform(0.6, [9.0, 2.5])),
                        material=Material.PATCH)
        _paint_markings(rng, layers, street, habits)


def directions(line: Array) -> tuple[Array, Array]:
    """Return the unit vectors along a line and to its left, (N, 2) each."""
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return tangent, np.stack([-tangent[:, 1], tangent[:, 0]], -1)


def _somewhere_on(rng: np.random.Generator, street: Street,
                  reach_m: float) -> tuple[Array, float]:
    tangent, normal = directions(street.line_m)
    i = int(rng.integers(1, len(street.line_m) - 1))
    at = street.line_m[i] + normal[i] * rng.uniform(-reach_m, reach_m)
    return at, math.atan2(tangent[i, 1], tangent[i, 0])


def _paint_markings(rng: np.random.Generator, layers: Layers, street: Street,
                    habits: Habits) -> None:
    """Paint centre and edge lines, crossings, stop lines, arrows and parking bays."""
    line = resample(street.line_m, 0.5)
    if len(line) < 40:
        return
    tangent, normal = directions(line)
    margin = int((street.width_m / 2 + 5.0) / 0.5)
    inner = slice(margin, len(line) - margin)
    width = rng.choice([0.125, 0.125, 0.25])
    if street.width_m >= 6.5 and rng.random() < habits.lane_marks:
        dash, gap = ((3.0, 6.0), (3.0, 3.0), (6.0, 3.0), (500.0, 0.0))[rng.integers(4)]
        _dashed(layers, line[inner], dash, gap, width)
        if street.width_m > 10.0:
            for side in (-1, 1):
                _dashed(layers, (line + side * normal * street.width_m / 4)[inner], 3, 6, width)
    if rng.random() < 0.45 * habits.lane_marks:
        for side in (-1, 1):
            edge = line + side * normal * (street.width_m / 2 - rng.uniform(0.25, 0.5))
            layers.stroke(edge[inner], width, Material.MARKING)
    if street.width_m >= 7.5 and rng.random() < 0.35:
        side = rng.choice([-1, 1])
        for i in range(margin, len(line) - margin, int(rng.choice([10, 11, 12]))):
            inner_end = line[i] + side * normal[i] * (street.width_m / 2 - 2.1)
            outer_end = line[i] + side * normal[i] * street.width_m / 2
            layers.stroke(np.stack([inner_end, outer_end]), 0.125, Material.MARKING)
    for i, forward in ((margin - 4, 1), (len(line) - margin + 3, -1)):
        _paint_street_end(rng, layers, line[i], tangent[i] * forward, normal[i] * forward, street)


def _paint_street_end(rng: np.random.Generator, layers: Layers, at: Array, tangent: Array,
                      normal: Array, street: Street) -> None:
    choice = rng.random()
    yaw = math.atan2(tangent[1], tangent[0])
    if choice < 0.4:                                                  # zebra crossing
        stripe, depth = rng.choice([0.4, 0.5, 0.6]), rng.uniform(2.5, 4.0)
        for offset in np.arange(-street.width_m / 2 + 0.4, street.width_m / 2 - 0.2, 2 * stripe):
            layers.fill(rectangle(at + normal * offset, yaw, depth, stripe),
                        material=Material.MARKING)
    elif choice < 0.75:                                               # stop line and arrow
        lane = at + normal * street.width_m / 4                      # the lane that arrives here
        layers.fill(rectangle(lane, yaw, rng.uniform(0.3, 0.5), street.width_m / 2 - 0.4),
                    material=Material.MARKING)
        if rng.random() < 0.6:
            tail = lane + tangent * rng.uniform(5.0, 9.0)
            layers.fill(rectangle(tail, yaw, 3.0, 0.25), material=Material.MARKING)
            head = tail - tangent * 1.5
            layers.fill(np.stack([head - tangent * 1.2, head + normal * 0.5, head - normal * 0.5]),
                        material=Material.MARKING)


def resample(line: Array, step_m: float) -> Array:
    """Return points of a line at equal distances."""
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    grid = np.arange(0, s[-1], step_m)
    return np.stack([np.interp(grid, s, line[:, k]) for k in (0, 1)], -1)


def _dashed(layers: Layers, line: Array, dash_m: float, gap_m: float, width_m: float) -> None:
    n, period = max(2, int(dash_m / 0.5)), max(1, int((dash_m + gap_m) / 0.5))
    for i in range(0, len(line) - 2, period):
        layers.stroke(line[i:i + n], width_m, Material.MARKING)


def road_mask(layers: Layers) -> NDArray[np.uint8]:
    """Return 1 on carriageways and pavements, (H, W) uint8."""
    return np.isin(layers.material, [Material.ASPHALT, Material.MARKING, Material.PAVEMENT,
                                     Material.KERB, Material.PATCH]).astype(np.uint8)
