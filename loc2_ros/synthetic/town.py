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
from loc2_ros.synthetic.layers import Kind, Layers, Material, rectangle
from loc2_ros.synthetic.streets import make_network, Network, Street
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


def make_town(seed: int, extent_m: float = 320.0, res_m: float = 0.125) -> Town:
    """
    Make the town of a seed.

    :param extent_m: side of the square, centred on the map's origin.
    :param res_m: raster cell of the town.
    """
    rng = np.random.default_rng([7, seed])
    layers = Layers.empty(extent_m, res_m)
    network = make_network(rng, extent_m)
    habits = _draw_habits(rng)
    _paint_ground(rng, layers)
    _paint_streets(rng, layers, network, habits)
    roads = _road_mask(layers)
    _build_houses(rng, layers, network, habits, roads)
    _plant(rng, layers, network, habits, roads)
    _furnish(rng, layers, network)
    aerial = layers.copy()
    for day in (layers, aerial):
        _park_cars(rng, day, network, habits)
    return Town(seed, network, layers, aerial)


def _draw_habits(rng: np.random.Generator) -> Habits:
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


def _paint_ground(rng: np.random.Generator, layers: Layers) -> None:
    """Cover the blocks with fields of grass, soil, plants, gravel and yards."""
    kinds = [Material.GRASS, Material.SOIL, Material.PLANTS, Material.GRAVEL, Material.CONCRETE]
    for _ in range(int(layers.half_m ** 2 / 60)):
        centre = rng.uniform(-layers.half_m, layers.half_m, 2)
        patch = rectangle(centre, rng.uniform(0, np.pi), *rng.uniform(3.0, 24.0, 2))
        layers.fill(patch, material=int(rng.choice(kinds, p=[0.35, 0.2, 0.2, 0.1, 0.15])))


def _normals(line: Array) -> tuple[Array, Array]:
    tangent = np.gradient(line, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    return tangent, np.stack([-tangent[:, 1], tangent[:, 0]], -1)


def _paint_streets(rng: np.random.Generator, layers: Layers, network: Network,
                   habits: Habits) -> None:
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


def _somewhere_on(rng: np.random.Generator, street: Street,
                  reach_m: float) -> tuple[Array, float]:
    tangent, normal = _normals(street.line_m)
    i = int(rng.integers(1, len(street.line_m) - 1))
    at = street.line_m[i] + normal[i] * rng.uniform(-reach_m, reach_m)
    return at, math.atan2(tangent[i, 1], tangent[i, 0])


def _paint_markings(rng: np.random.Generator, layers: Layers, street: Street,
                    habits: Habits) -> None:
    """Paint centre and edge lines, crossings, stop lines, arrows and parking bays."""
    line = _resample(street.line_m, 0.5)
    if len(line) < 40:
        return
    tangent, normal = _normals(line)
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


def _resample(line: Array, step_m: float) -> Array:
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    grid = np.arange(0, s[-1], step_m)
    return np.stack([np.interp(grid, s, line[:, k]) for k in (0, 1)], -1)


def _dashed(layers: Layers, line: Array, dash_m: float, gap_m: float, width_m: float) -> None:
    n, period = max(2, int(dash_m / 0.5)), max(1, int((dash_m + gap_m) / 0.5))
    for i in range(0, len(line) - 2, period):
        layers.stroke(line[i:i + n], width_m, Material.MARKING)


def _road_mask(layers: Layers) -> NDArray[np.uint8]:
    return np.isin(layers.material, [Material.ASPHALT, Material.MARKING, Material.PAVEMENT,
                                     Material.KERB, Material.PATCH]).astype(np.uint8)


def _build_houses(rng: np.random.Generator, layers: Layers, network: Network, habits: Habits,
                  roads: NDArray[np.uint8]) -> None:
    """Line the streets with houses, then fill some yards; nothing overlaps."""
    blocked = roads.copy()
    for street in network.streets:
        line = _resample(street.line_m, 1.0)
        tangent, normal = _normals(line)
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


def _plant(rng: np.random.Generator, layers: Layers, network: Network, habits: Habits,
           roads: NDArray[np.uint8]) -> None:
    """Plant street trees, garden trees and hedges."""
    for street in network.streets:
        line = _resample(street.line_m, 1.0)
        tangent, normal = _normals(line)
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


def _furnish(rng: np.random.Generator, layers: Layers, network: Network) -> None:
    """Put up lamps and signs along the kerbs."""
    for street in network.streets:
        line = _resample(street.line_m, 1.0)
        tangent, normal = _normals(line)
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


def _park_cars(rng: np.random.Generator, layers: Layers, network: Network,
               habits: Habits) -> None:
    for street in network.streets:
        if street.width_m < 6.0:
            continue
        line = _resample(street.line_m, 1.0)
        tangent, normal = _normals(line)
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
