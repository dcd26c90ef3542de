# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The figures of the published protocols, from one row per frame (model.md 9).

Errors are those of the camera in the tile. Recalls are shares of all frames, so a frame without
a pose counts as missed; means and medians are over the frames that have one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
import csv
from dataclasses import astuple, dataclass, fields
import math
from pathlib import Path
from typing import Any

from loc2_ros.core.values import Array, wrap_pi
import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]

NEAR_M, FAR_M = 1.0, 5.0
NEAR_DEG, FAR_DEG = 1.0, 5.0
SWAPPED_NOTE = ("as the paper's code computes them, with the axes of the tile taken in mixed "
                'order: lateral and longitudinal exchanged where the vehicle points right in the '
                'tile, mixed where the tile is turned')


@dataclass(frozen=True)
class Frame:
    """
    One evaluated frame; angles in radians, positions in metres in the tile, x down, y right.

    :param valid: whether there is a pose; without one the estimate means nothing.
    :param scale: metres in the tile per metre of depth, ``mass`` share of the match probability
        that agrees with the pose.
    """

    name: str
    theta_true: float
    x_true: float
    y_true: float
    valid: bool
    theta: float
    x: float
    y: float
    scale: float
    mass: float


def figures(frames: Sequence[Frame]) -> dict[str, Any]:
    """Return the figures of some frames; None where there is none."""
    table = np.array([astuple(frame)[1:8] for frame in frames], np.float64).reshape(-1, 7)
    found = table[:, 3] > 0
    theta_true, error = table[:, 0], table[:, 5:7] - table[:, 1:3]
    turn = np.abs([wrap_pi(angle) for angle in table[:, 4] - theta_true])
    yaw_deg = np.where(found, np.degrees(turn), math.inf)
    lateral, longitudinal = _parts(error, theta_true)
    swapped_lateral, swapped_longitudinal = _swapped(error, theta_true)
    position = np.linalg.norm(error, axis=1)[found]
    return {
        'frames': len(frames), 'failed': int((~found).sum()),
        'position_m': _spread(position), 'yaw_deg': _spread(yaw_deg[found]),
        'lateral_m': _spread(lateral[found]), 'longitudinal_m': _spread(longitudinal[found]),
        'scale': _spread(np.array([f.scale for f in frames if f.valid])),
        'recall': {
            **_recalls('lateral', lateral, found),
            **_recalls('longitudinal', longitudinal, found),
            'yaw_1deg': _share(yaw_deg <= NEAR_DEG), 'yaw_5deg': _share(yaw_deg <= FAR_DEG)},
        'recall_as_paper_code_swapped': {
            'note': SWAPPED_NOTE, **_recalls('lateral', swapped_lateral, found),
            **_recalls('longitudinal', swapped_longitudinal, found)}}


def _parts(error: Array, theta_true: Array) -> tuple[Array, Array]:
    """Return absolute errors across and along the true heading; forward is (-cos, -sin)."""
    forward = -np.stack([np.cos(theta_true), np.sin(theta_true)], 1)
    return (np.abs(forward[:, 0] * error[:, 1] - forward[:, 1] * error[:, 0]),
            np.abs((forward * error).sum(1)))


def _swapped(error: Array, theta_true: Array) -> tuple[Array, Array]:
    """Return what the paper's code calls lateral and longitudinal (model.md defect B1)."""
    # It dots errors in (row, column) with directions in (column, row)
    return _parts(error[:, ::-1], theta_true)


def _recalls(name: str, values: Array, found: Flags) -> dict[str, float | None]:
    missed = np.where(found, values, math.inf)
    return {f'{name}_{limit:g}m': _share(missed <= limit) for limit in (NEAR_M, FAR_M)}


def _share(hits: Flags) -> float | None:
    return float(np.mean(hits)) if len(hits) else None


def _spread(values: Array) -> dict[str, float | None]:
    if not len(values):
        return {'mean': None, 'median': None}
    return {'mean': float(np.mean(values)), 'median': float(np.median(values))}


def table_lines(title: str, result: dict[str, Any]) -> list[str]:
    """Return a short table for people."""
    def number(value: float | None, unit: str) -> str:
        return '-' if value is None else f'{value:.2f} {unit}'

    def percent(value: float | None) -> str:
        return '-' if value is None else f'{100 * value:.2f} %'

    recall, swapped = result['recall'], result['recall_as_paper_code_swapped']
    lines = [f'{title}: {result["frames"]} frames, {result["failed"]} without a pose']
    for label, key, unit in (('position', 'position_m', 'm'), ('yaw', 'yaw_deg', 'deg')):
        lines.append(f'{label:14}{"mean":>8}{number(result[key]["mean"], unit):>12}'
                     f'{"median":>10}{number(result[key]["median"], unit):>12}')
    for label, key, unit in (('lateral', 'lateral', 'm'), ('longitudinal', 'longitudinal', 'm'),
                             ('yaw', 'yaw', 'deg')):
        lines.append(f'{label:14}{"@1 " + unit:>8}{percent(recall[f"{key}_1{unit}"]):>12}'
                     f'{"@5 " + unit:>10}{percent(recall[f"{key}_5{unit}"]):>12}')
    lines.append('paper code, swapped axes, to compare with its tables:')
    for key in ('lateral', 'longitudinal'):
        lines.append(f'{key:14}{"@1 m":>8}{percent(swapped[f"{key}_1m"]):>12}'
                     f'{"@5 m":>10}{percent(swapped[f"{key}_5m"]):>12}')
    return lines


def write_frames(path: Path, frames: Iterable[Frame]) -> None:
    """Write one row per frame as CSV."""
    part = path.with_suffix('.part')
    with open(part, 'w', newline='', encoding='utf-8') as file:
        writer = csv.writer(file)
        writer.writerow([field.name for field in fields(Frame)])
        for frame in frames:
            writer.writerow([f'{value:.6f}' if isinstance(value, float) else value
                             for value in astuple(frame)])
    part.replace(path)
