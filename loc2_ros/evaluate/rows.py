# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What became of every image: one row each, written by the offline twin and by the recorder alike.

``fixes.csv`` holds all rows, ``poses.tum`` the accepted poses of base_link in the map frame.
"""

from __future__ import annotations

from collections.abc import Sequence
import csv
from dataclasses import dataclass
import math
import os
from pathlib import Path
from typing import Any

from loc2_ros.core.values import Array, Pose2
import numpy as np

FIX, DROPPED, UNKNOWN = 'fix', 'dropped', 'unknown'

# Upper triangle of the covariance of (x, y, yaw), in m and rad
_COVARIANCE = ('cov_xx', 'cov_xy', 'cov_xyaw', 'cov_yy', 'cov_yyaw', 'cov_yawyaw')
_TRIANGLE = np.triu_indices(3)
COLUMNS = ('stamp_ns', 'outcome', 'x_m', 'y_m', 'yaw_rad', *_COVARIANCE, 'score', 'matches',
           'inliers', 'scale', 'prior_x_m', 'prior_y_m', 'prior_yaw_rad', 'prior_sigma_m',
           'prior_sigma_yaw_rad', 'truth_x_m', 'truth_y_m', 'truth_yaw_rad', 'latency_s', 'detail')


@dataclass(frozen=True)
class PriorRow:
    """A prior as it was used; yaw and its deviation are None without a heading."""

    x_m: float
    y_m: float
    yaw_rad: float | None
    sigma_m: float | None
    sigma_yaw_rad: float | None


@dataclass(frozen=True)
class Row:
    """
    One image.

    :param outcome: 'fix', the reason of its rejection, 'dropped', or 'unknown'.
    :param estimate: base_link in the map; only with a fix.
    :param covariance: (3, 3) of x, y, yaw; only with a fix.
    :param truth: base_link in the map, None without a reference at this stamp.
    :param latency_s: wall seconds from the image to the result.
    :param detail: the sentence of a rejection.
    """

    stamp_ns: int
    outcome: str
    estimate: Pose2 | None = None
    covariance: Array | None = None
    score: float | None = None
    matches: int | None = None
    inliers: int | None = None
    scale: float | None = None
    prior: PriorRow | None = None
    truth: Pose2 | None = None
    latency_s: float | None = None
    detail: str = ''

    @property
    def sigma_xy_m(self) -> float | None:
        """Return the claimed deviation per axis, as ``Fix.sigma_xy_m`` defines it."""
        if self.covariance is None:
            return None
        return math.sqrt((self.covariance[0, 0] + self.covariance[1, 1]) / 2.0)


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write all rows; floats keep every digit."""
    with _replacing(path) as partial, partial.open('w', newline='') as file:
        table = csv.writer(file, lineterminator='\n')
        table.writerow(COLUMNS)
        table.writerows(_cells(row) for row in rows)


def read_csv(path: Path) -> list[Row]:
    """
    Read what ``write_csv`` wrote.

    :raises ValueError: another table.
    """
    with path.open(newline='') as file:
        table = csv.DictReader(file)
        if tuple(table.fieldnames or ()) != COLUMNS:
            raise ValueError(f'{path} is no table of fixes; write it with loc2 run or record')
        return [_row(cells) for cells in table]


def write_tum(path: Path, rows: Sequence[Row]) -> None:
    """Write the accepted poses as lines of ``stamp x y z qx qy qz qw``, stamps to the ns."""
    with _replacing(path) as partial, partial.open('w') as file:
        for row in rows:
            if row.estimate is None:
                continue
            pose, stamp = row.estimate, row.stamp_ns
            qz, qw = math.sin(pose.yaw_rad / 2.0), math.cos(pose.yaw_rad / 2.0)
            file.write(f'{stamp // 10**9}.{stamp % 10**9:09d} {pose.x_m:.6f} {pose.y_m:.6f} 0 '
                       f'0 0 {qz:.9f} {qw:.9f}\n')


class _replacing:
    """A file that takes its name only when it is complete."""

    def __init__(self, path: Path) -> None:
        self._path, self._partial = path, path.with_name(f'.{path.name}.partial')

    def __enter__(self) -> Path:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        return self._partial

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            os.replace(self._partial, self._path)
        else:
            self._partial.unlink(missing_ok=True)


def _cells(row: Row) -> list[Any]:
    """Return the cells of a row; None becomes an empty one."""
    covariance = [None] * 6 if row.covariance is None else row.covariance[_TRIANGLE].tolist()
    prior = row.prior or PriorRow(*[None] * 5)      # type: ignore[arg-type]
    return [row.stamp_ns, row.outcome, *_pose(row.estimate), *covariance, row.score, row.matches,
            row.inliers, row.scale, prior.x_m, prior.y_m, prior.yaw_rad, prior.sigma_m,
            prior.sigma_yaw_rad, *_pose(row.truth), row.latency_s, row.detail]


def _pose(pose: Pose2 | None) -> list[float | None]:
    return [None] * 3 if pose is None else [pose.x_m, pose.y_m, pose.yaw_rad]


def _row(cells: dict[str, str]) -> Row:
    """Parse one row."""
    def number(name: str) -> float | None:
        return float(cells[name]) if cells[name] else None

    def whole(name: str) -> int | None:
        return int(cells[name]) if cells[name] else None

    def pose(prefix: str) -> Pose2 | None:
        xyz = [number(f'{prefix}{name}') for name in ('x_m', 'y_m', 'yaw_rad')]
        return None if None in xyz else Pose2(*xyz)     # type: ignore[arg-type]

    covariance = None
    if cells['cov_xx']:
        covariance = np.zeros((3, 3))
        covariance[_TRIANGLE] = [float(cells[name]) for name in _COVARIANCE]
        covariance = covariance + np.triu(covariance, 1).T
    x, y = number('prior_x_m'), number('prior_y_m')
    prior = None if x is None or y is None else PriorRow(
        x, y, number('prior_yaw_rad'), number('prior_sigma_m'), number('prior_sigma_yaw_rad'))
    return Row(int(cells['stamp_ns']), cells['outcome'], pose(''), covariance, number('score'),
               whole('matches'), whole('inliers'), number('scale'), prior, pose('truth_'),
               number('latency_s'), cells['detail'])
