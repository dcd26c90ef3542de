# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The street network of a synthetic town, and drives along it.

Everything lives in the local map frame: x east, y north, metres.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

PATH_STEP_M = 0.25


@dataclass(frozen=True)
class Street:
    """
    One street between two crossings.

    :param nodes: indices of the crossings at its ends.
    :param line_m: (N, 2) centre line from the first to the second crossing.
    :param width_m: carriageway, kerb to kerb.
    :param pavement_m: width of each pavement; 0 for none.
    """

    nodes: tuple[int, int]
    line_m: Array
    width_m: float
    pavement_m: float


@dataclass(frozen=True)
class Network:
    """Crossings (N, 2) and the streets between them."""

    crossings_m: Array
    streets: tuple[Street, ...]

    def leaving(self, node: int) -> list[tuple[Street, int]]:
        """Return the streets at a crossing, each with the crossing at its other end."""
        ends = [(s, s.nodes) for s in self.streets if node in s.nodes]
        return [(s, b if a == node else a) for s, (a, b) in ends]


def make_network(rng: np.random.Generator, extent_m: float) -> Network:
    """Lay out a bent, incomplete grid of streets that covers the square ``extent_m`` wide."""
    half = extent_m * 0.75
    angle = rng.uniform(0, np.pi / 2)
    lines = [_grid_positions(rng, half) for _ in range(2)]
    nx, ny = len(lines[0]), len(lines[1])
    grid = np.stack(np.meshgrid(lines[0], lines[1], indexing='ij'), -1).reshape(-1, 2)
    grid = grid + rng.normal(0, 4.0, grid.shape)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    crossings = grid @ rotation.T
    widths = [rng.choice([5.5, 6.5, 7.5, 9.0, 11.0, 13.5], len(line)) for line in lines]
    pavement = rng.uniform(1.4, 3.6)
    streets = []
    for i in range(nx):
        for j in range(ny):
            for (k, m), axis in (((i + 1, j), 1), ((i, j + 1), 0)):
                if k < nx and m < ny and rng.random() < 0.88:
                    a, b = i * ny + j, k * ny + m
                    width = widths[axis][j if axis else i]
                    line = _bent_line(rng, crossings[a], crossings[b])
                    streets.append(Street((a, b), line, float(width),
                                          0.0 if rng.random() < 0.06 else float(pavement)))
    return Network(crossings, tuple(streets))


def _grid_positions(rng: np.random.Generator, half_m: float) -> Array:
    gaps = rng.uniform(42.0, 96.0, int(2 * half_m / 42) + 2)
    positions = np.cumsum(gaps) - half_m - rng.uniform(0, 60)
    return positions[positions < half_m + 40]


def _bent_line(rng: np.random.Generator, start: Array, end: Array) -> Array:
    chord = end - start
    normal = np.array([-chord[1], chord[0]]) / np.linalg.norm(chord)
    middle = (start + end) / 2 + normal * rng.normal(0, 3.0)
    s = np.linspace(0, 1, 13)[:, None]
    return (1 - s) ** 2 * start + 2 * s * (1 - s) * middle + s ** 2 * end


@dataclass(frozen=True)
class Path:
    """
    A driven path, one row each ``PATH_STEP_M`` along it.

    :param xy_m: (N, 2) position of the vehicle's base.
    :param yaw_rad: (N,) heading, CCW from east, unwrapped.
    :param speed_mps: (N,) speed that respects curvature and acceleration.
    """

    xy_m: Array
    yaw_rad: Array
    speed_mps: Array

    def at(self, s_m: Array) -> tuple[Array, Array, Array]:
        """Return position (M, 2), heading (M,) and speed (M,) at distances along the path."""
        grid = np.arange(len(self.xy_m)) * PATH_STEP_M
        xy = np.stack([np.interp(s_m, grid, self.xy_m[:, k]) for k in (0, 1)], -1)
        return xy, np.interp(s_m, grid, self.yaw_rad), np.interp(s_m, grid, self.speed_mps)

    @property
    def length_m(self) -> float:
        """Return the length of the path."""
        return (len(self.xy_m) - 1) * PATH_STEP_M

    def distances_at(self, times_s: Array) -> Array:
        """Return how far along the path the vehicle is at each time, (M,) metres."""
        step_s = PATH_STEP_M / np.maximum(self.speed_mps, 0.5)
        elapsed = np.concatenate([[0.0], np.cumsum(step_s[:-1])])
        return np.interp(times_s, elapsed, np.arange(len(elapsed)) * PATH_STEP_M)

    @property
    def duration_s(self) -> float:
        """Return the time the whole path takes."""
        return float(np.sum(PATH_STEP_M / np.maximum(self.speed_mps[:-1], 0.5)))


def drive_path(rng: np.random.Generator, network: Network, inside_m: float,
               length_m: float) -> Path:
    """
    Drive at random through the network, on the right, without turning back.

    :param inside_m: half the side of the square that the drive stays in.
    :raises ValueError: if no drive of at least half the length exists.
    """
    best = np.zeros((0, 2))
    for _ in range(40):
        line = _random_walk(rng, network, inside_m, length_m)
        if _length(line) > _length(best):
            best = line
        if _length(best) >= length_m + 20.0:
            break
    if _length(best) < length_m / 2:
        raise ValueError(f'the network has no drive of {length_m / 2:.0f} m; '
                         'use a larger extent or another seed')
    return _smooth_path(rng, best, length_m)


def _length(line: Array) -> float:
    return float(np.linalg.norm(np.diff(line, axis=0), axis=1).sum()) if len(line) > 1 else 0.0


def _random_walk(rng: np.random.Generator, network: Network, inside_m: float,
                 length_m: float) -> Array:
    """Chain the right-hand lanes of consecutive streets into one polyline."""
    inside = np.flatnonzero(np.abs(network.crossings_m).max(1) < inside_m)
    if len(inside) == 0:
        return np.zeros((0, 2))
    node, came_from = int(rng.choice(inside)), -1
    pieces: list[Array] = []
    while sum(map(_length, pieces)) < length_m + 20.0:
        options = [(s, n) for s, n in network.leaving(node) if n != came_from and n in inside]
        if not options:
            break
        street, following = options[int(rng.integers(len(options)))]
        line = street.line_m if street.nodes[0] == node else street.line_m[::-1]
        pieces.append(_right_lane(line, street.width_m))
        node, came_from = following, node
    return np.concatenate(pieces) if pieces else np.zeros((0, 2))


def _right_lane(line: Array, width_m: float) -> Array:
    tangent = np.gradient(line, axis=0)
    tangent /= np.linalg.norm(tangent, axis=1, keepdims=True)
    lane = line + 0.2 * width_m * np.stack([tangent[:, 1], -tangent[:, 0]], -1)
    return lane[1:-1]          # leave the crossing itself to the smoothing


def _smooth_path(rng: np.random.Generator, line: Array, length_m: float) -> Path:
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(line, axis=0), axis=1))])
    grid = np.arange(0, min(s[-1], length_m + 10.0), PATH_STEP_M)
    xy = np.stack([np.interp(grid, s, line[:, k]) for k in (0, 1)], -1)
    lateral = _wander(rng, len(grid))
    xy = _gaussian(xy, 3.2 / PATH_STEP_M)
    tangent = np.gradient(xy, axis=0)
    tangent /= np.maximum(np.linalg.norm(tangent, axis=1, keepdims=True), 1e-9)
    xy = xy + lateral[:, None] * np.stack([-tangent[:, 1], tangent[:, 0]], -1)
    # Equal steps again: smoothing cuts corners and so shortens the path
    s = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(xy, axis=0), axis=1))])
    grid = np.arange(0, min(s[-1], length_m), PATH_STEP_M)
    xy = np.stack([np.interp(grid, s, xy[:, k]) for k in (0, 1)], -1)
    tangent = np.gradient(xy, axis=0)
    yaw = np.unwrap(np.arctan2(tangent[:, 1], tangent[:, 0]))
    return Path(xy, yaw, _speeds(rng, yaw))


def _wander(rng: np.random.Generator, n: int) -> Array:
    """Return a slow lateral deviation from the lane's middle, about 0.25 m."""
    noise = _gaussian(rng.normal(size=(n, 1)), 8.0 / PATH_STEP_M)[:, 0]
    return 0.25 * noise / max(float(noise.std()), 1e-9)


def _gaussian(values: Array, sigma: float) -> Array:
    radius = int(3 * sigma)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    padded = np.pad(values, ((radius, radius), (0, 0)), mode='edge')
    return np.stack([np.convolve(padded[:, k], kernel, mode='valid')
                     for k in range(values.shape[1])], -1)


def _speeds(rng: np.random.Generator, yaw_rad: Array) -> Array:
    cruise, lateral, along = rng.uniform(7.5, 11.0), 2.2, 1.6       # m/s, m/s^2, m/s^2
    curvature = np.abs(np.gradient(yaw_rad, PATH_STEP_M))
    speed = np.minimum(cruise, np.sqrt(lateral / np.maximum(curvature, 1e-3)))
    speed = np.maximum(speed, 2.0)
    for order in (range(1, len(speed)), range(len(speed) - 2, -1, -1)):
        step = -1 if order.step > 0 else 1
        for i in order:
            reachable = np.sqrt(speed[i + step] ** 2 + 2 * along * PATH_STEP_M)
            speed[i] = min(speed[i], reachable)
    return speed
