# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The figures of a run, from one row per image; SI units and degrees, None where there is none.

Errors are absolute values over the accepted fixes that have a reference:

- ``position_error_m``: horizontal distance between estimate and truth
- ``along_track_error_m``, ``cross_track_error_m``: its parts along and across the true heading
- ``yaw_error_deg``: difference of headings on the circle
- ``prior_position_error_m``, ``prior_yaw_error_deg``: the same of every prior that was used,
  whether a fix came of it or not
- ``claimed_sigma_xy_m``: median of the root of the mean of the variances of x and y
- ``sigma_error_spearman``: rank correlation of that deviation with the position error
- ``ellipse95_coverage``: share of errors (x, y) inside their claimed 95 % ellipse, chi-square
  5.991 with two degrees of freedom
- ``nees_mean``: mean of e' C^-1 e over (x, y, yaw), divided by 3; 1 is honest, more is boastful
- ``rate_hz``: fixes per wall second between the first and the last fix
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

from loc2_ros.core.values import Array, Pose2
from loc2_ros.evaluate.rows import DROPPED, FIX, Row, UNKNOWN
import numpy as np

CHI2_95_2DOF = 5.991


@dataclass(frozen=True)
class RunFacts:
    """
    What the rows do not tell.

    :param frames: image messages; None: as many as rows.
    :param rejected_by_reason: counts; None: counted from the rows.
    :param fix_wall_s: wall time of each fix, seconds on any clock.
    :param datum: latitude, longitude, height; ``frame_mode`` the axes there, enu or utm.
    :param reference: 'ground_truth' or 'fix+imu'.
    """

    frames: int | None = None
    rejected_by_reason: Mapping[str, int] | None = None
    fix_wall_s: Sequence[float] = ()
    tf_messages: int | None = None
    duplicates: int | None = None
    out_of_order: int | None = None
    stamp_mismatches: int | None = None
    datum: Sequence[float] | None = None
    frame_mode: str = 'enu'
    reference: str | None = None
    model: str | None = None
    device: str | None = None
    seed: int | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def summarize(rows: Sequence[Row], facts: RunFacts) -> dict[str, Any]:
    """Return the content of metrics.json."""
    reasons = _reasons(rows, facts)
    fixes = sum(row.outcome == FIX for row in rows)
    rejected = sum(reasons.values())
    frames = len(rows) if facts.frames is None else facts.frames
    latencies = [row.latency_s for row in rows if row.outcome == FIX and row.latency_s is not None]
    return {
        'frames': frames, 'fixes': fixes, 'rejected': rejected, 'rejected_by_reason': reasons,
        'dropped': frames - fixes - rejected,
        **accuracy(rows),
        'latency_s': _spread(latencies, ('median', 'p95')),
        'rate_hz': _rate(facts.fix_wall_s),
        'tf_messages': facts.tf_messages, 'duplicates': facts.duplicates,
        'out_of_order': facts.out_of_order, 'stamp_mismatches': facts.stamp_mismatches,
        'datum': None if facts.datum is None else list(facts.datum),
        'frame_mode': facts.frame_mode,
        'reference': facts.reference, 'model': facts.model, 'device': facts.device,
        'seed': facts.seed, **facts.extra}


def accuracy(rows: Sequence[Row]) -> dict[str, Any]:
    """Return the figures that compare fixes and priors with the truth."""
    fixes = [row for row in rows if row.estimate is not None and row.truth is not None
             and row.covariance is not None]
    error = _errors([(row.estimate, row.truth) for row in fixes])       # (N, 3)
    distance = np.hypot(error[:, 0], error[:, 1])
    along, cross = _tracks(error, [row.truth for row in fixes])
    claimed = np.array([row.sigma_xy_m for row in fixes], dtype=np.float64)
    prior_distance, prior_yaw = _prior_errors(rows)
    all_claimed = [row.sigma_xy_m for row in rows if row.covariance is not None]
    return {
        'position_error_m': _spread(distance),
        'along_track_error_m': _spread(along), 'cross_track_error_m': _spread(cross),
        'yaw_error_deg': _spread(np.degrees(np.abs(error[:, 2]))),
        'prior_position_error_m': _spread(prior_distance),
        'prior_yaw_error_deg': _spread(np.degrees(prior_yaw)),
        'claimed_sigma_xy_m': _spread(all_claimed, ('median',)),
        'sigma_error_spearman': spearman(claimed, distance),
        'ellipse95_coverage': _coverage(error, fixes),
        'nees_mean': _nees(error, fixes)}


def write_metrics(path: Path, metrics: Mapping[str, Any]) -> None:
    """Write metrics.json; what is not a number becomes null."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.partial')
    partial.write_text(json.dumps(_finite(metrics), indent=2) + '\n')
    partial.replace(path)


def spearman(a: Array, b: Array) -> float | None:
    """
    Return the rank correlation of two samples, ties sharing their mean rank.

    :returns: None for fewer than three values or where one sample is constant.
    """
    if len(a) < 3:
        return None
    rank_a, rank_b = _ranks(np.asarray(a)), _ranks(np.asarray(b))
    rank_a, rank_b = rank_a - rank_a.mean(), rank_b - rank_b.mean()
    norm = float(np.linalg.norm(rank_a) * np.linalg.norm(rank_b))
    return float(rank_a @ rank_b) / norm if norm > 0.0 else None


def _ranks(values: Array) -> Array:
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return np.asarray((last - (count - 1) / 2.0)[place])


def _reasons(rows: Sequence[Row], facts: RunFacts) -> dict[str, int]:
    """Return how often each reason was given, the most frequent first."""
    counts = Counter(facts.rejected_by_reason if facts.rejected_by_reason is not None else
                     [r.outcome for r in rows if r.outcome not in (FIX, DROPPED, UNKNOWN)])
    return {reason: count for reason, count in counts.most_common() if count}


def _errors(pairs: Sequence[tuple[Pose2 | None, Pose2 | None]]) -> Array:
    """Return (N, 3) of x, y and yaw, the yaw on the circle."""
    out = np.zeros((len(pairs), 3))
    for i, (estimate, truth) in enumerate(pairs):
        if estimate is not None and truth is not None:
            turn = Pose2(0.0, 0.0, estimate.yaw_rad - truth.yaw_rad).yaw_rad
            out[i] = (estimate.x_m - truth.x_m, estimate.y_m - truth.y_m, turn)
    return out


def _tracks(error: Array, truths: Sequence[Pose2 | None]) -> tuple[Array, Array]:
    """Return absolute errors along and across the true heading."""
    yaw = np.array([truth.yaw_rad if truth else 0.0 for truth in truths], dtype=np.float64)
    c, s = np.cos(yaw), np.sin(yaw)
    return (np.abs(c * error[:, 0] + s * error[:, 1]),
            np.abs(-s * error[:, 0] + c * error[:, 1]))


def _prior_errors(rows: Sequence[Row]) -> tuple[Array, Array]:
    """Return position errors (N,) and, where there is a heading, yaw errors (M,) of priors."""
    used = [(row.prior, row.truth) for row in rows if row.prior and row.truth]
    distance = [np.hypot(p.x_m - t.x_m, p.y_m - t.y_m) for p, t in used]
    yaw = [abs(Pose2(0.0, 0.0, p.yaw_rad - t.yaw_rad).yaw_rad) for p, t in used
           if p.yaw_rad is not None]
    return np.array(distance, dtype=np.float64), np.array(yaw, dtype=np.float64)


def _squares(error: Array, fixes: Sequence[Row], size: int) -> Array:
    """Return e' C^-1 e of the first components."""
    return np.array([e[:size] @ np.linalg.solve(row.covariance[:size, :size], e[:size])
                     for e, row in zip(error, fixes) if row.covariance is not None])


def _coverage(error: Array, fixes: Sequence[Row]) -> float | None:
    return float(np.mean(_squares(error, fixes, 2) <= CHI2_95_2DOF)) if fixes else None


def _nees(error: Array, fixes: Sequence[Row]) -> float | None:
    return float(np.mean(_squares(error, fixes, 3)) / 3.0) if fixes else None


def _spread(values: Any, names: Sequence[str] = ('mean', 'median', 'p95')) -> dict[str, Any]:
    """Return the named statistics, None each for no values."""
    data = np.asarray(values, dtype=np.float64)
    if not data.size:
        return dict.fromkeys(names)
    all_of_them = {'mean': float(data.mean()), 'median': float(np.median(data)),
                   'p95': float(np.percentile(data, 95))}
    return {name: all_of_them[name] for name in names}


def _rate(wall_s: Sequence[float]) -> float | None:
    if len(wall_s) < 2 or max(wall_s) <= min(wall_s):
        return None
    return (len(wall_s) - 1) / (max(wall_s) - min(wall_s))


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
