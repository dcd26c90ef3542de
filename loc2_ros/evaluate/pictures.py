# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Pictures of a whole run: the trajectory over the map, the errors over time."""

from __future__ import annotations

from collections.abc import Sequence
import math

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array
from loc2_ros.evaluate.aerial import cut_ground, pale
from loc2_ros.evaluate.metrics import CHI2_95_2DOF
from loc2_ros.evaluate.rows import DROPPED, FIX, Row, UNKNOWN
from loc2_ros.evaluate.style import (
    BLACK, BLUE, credit, ellipse95, halo, legend_below, look, new_figure, ORANGE, png, VERMILION)
from loc2_ros.maps.values import MapStore
from matplotlib.axes import Axes
import numpy as np

ELLIPSES = 30       # more of them hide what is below
SIGMAS_95 = 1.96    # of a single number
GAP_S = 2.0         # lines and bands go on over dropped images, but not over longer gaps


def trajectory(rows: Sequence[Row], store: MapStore, frame: LocalFrame,
               title: str = '') -> bytes:
    """
    Draw prior, fixes with 95 % ellipses, and truth over the aerial map.

    :returns: a PNG.
    :raises ValueError: there is no position in any row.
    """
    truth, prior, fixes = _positions(rows)
    everything = np.concatenate([truth, prior, fixes])
    everything = everything[np.isfinite(everything).all(axis=1)]
    if not len(everything):
        raise ValueError('no row has a position, so there is no trajectory to draw')
    ground = cut_ground(store, frame, everything)
    west, east, south, north = ground.extent_m
    with look():
        height = 10.5 * (north - south) / (east - west)
        figure = new_figure(11.5, min(max(height, 4.0), 11.0) + 1.0, 0.8, 0.6)
        axes = figure.add_subplot()
        axes.grid(False)
        axes.imshow(pale(ground.rgb), extent=ground.extent_m, interpolation='bilinear')
        _draw_tracks(axes, truth, prior, fixes, rows)
        axes.set(xlim=(west, east), ylim=(south, north), aspect='equal',
                 xlabel='east of the datum (m)', ylabel='north of the datum (m)', title=title)
        legend_below(figure, axes)
        credit(axes, store.info.attribution)
        return png(figure)


def errors(rows: Sequence[Row], title: str = '') -> bytes:
    """Draw position and heading errors over time with the 95 % band they claim, as a PNG."""
    seconds = np.array([(row.stamp_ns - rows[0].stamp_ns) * 1e-9 for row in rows])
    refused = np.array([row.outcome not in (FIX, UNKNOWN, DROPPED) for row in rows])
    with look():
        figure = new_figure(11.5, 5.8, 0.8, 0.6)
        position, heading = figure.subplots(2, 1, sharex=True)
        _draw_position(position, seconds, rows)
        _draw_heading(heading, seconds, rows)
        for axes in (position, heading):
            if refused.any():
                axes.plot(seconds[refused], np.full(int(refused.sum()), axes.get_ylim()[0]), 'x',
                          color=VERMILION, ms=6, clip_on=False, label='image without a fix')
            axes.margins(x=0.01)
        heading.set_xlabel('time since the first image (s)')
        position.set_title(title)
        legend_below(figure, position)
        return png(figure)


def _positions(rows: Sequence[Row]) -> tuple[Array, Array, Array]:
    """Return truth, prior and fixes, (N, 2) each, NaN where there is none."""
    nowhere = (math.nan, math.nan)
    found = [[(p.x_m, p.y_m) if p else nowhere for p in poses] for poses in (
        [row.truth for row in rows], [row.prior for row in rows],
        [row.estimate for row in rows])]
    truth, prior, fixes = (np.array(points, np.float64).reshape(-1, 2) for points in found)
    return truth, prior, fixes


def _draw_tracks(axes: Axes, truth: Array, prior: Array, fixes: Array,
                 rows: Sequence[Row]) -> None:
    axes.plot(*prior.T, color=ORANGE, lw=1.2, marker='s', ms=3.5, mec='white', mew=0.4,
              label='prior (GNSS)', path_effects=halo(2.4))
    axes.plot(*truth.T, color=BLACK, lw=2.0, label='ground truth', path_effects=halo(4.5))
    fixed = [row for row in rows if row.estimate is not None and row.covariance is not None]
    for i, row in enumerate(fixed[::max(1, math.ceil(len(fixed) / ELLIPSES))]):
        if row.estimate is not None and row.covariance is not None:
            axes.add_patch(ellipse95(
                row.estimate.xy_m, row.covariance[:2, :2], fc=BLUE + '30', ec=BLUE, lw=1.2,
                zorder=3, label='claimed 95 % ellipse' if i == 0 else None))
    axes.plot(*fixes.T, 'o', color=BLUE, ms=5, mec='white', mew=0.6, label='fix', zorder=4)
    lost = [row.truth.xy_m for row in rows if row.truth is not None and row.estimate is None]
    if lost:
        axes.plot(*np.array(lost).T, 'x', color=VERMILION, ms=4, mew=1.0,
                  label='image without a fix', zorder=4)


def _draw_position(axes: Axes, seconds: Array, rows: Sequence[Row]) -> None:
    fix = np.array([_distance(row.estimate, row.truth) for row in rows])
    prior = np.array([_distance(row.prior, row.truth) for row in rows])
    sigma = np.array([math.nan if row.sigma_xy_m is None else row.sigma_xy_m for row in rows])
    band = math.sqrt(CHI2_95_2DOF) * sigma
    at, reach = _joined(seconds, band)
    axes.fill_between(at, 0.0, reach, color=BLUE, alpha=0.18, lw=0, label='claimed 95 %')
    axes.plot(*_joined(seconds, prior), color=ORANGE, lw=1.6, label='prior')
    axes.plot(*_joined(seconds, fix), 'o-', color=BLUE, lw=0.8, ms=3.5, label='fix')
    axes.set_ylabel('position error (m)')
    _limit(axes, seconds, fix, 0.0, max(_top(prior), _top(band), 1.0))


def _draw_heading(axes: Axes, seconds: Array, rows: Sequence[Row]) -> None:
    fix = np.array([_turn_deg(row.estimate, row.truth) for row in rows])
    prior = np.array([_turn_deg(row.prior, row.truth) for row in rows])
    band = SIGMAS_95 * np.degrees([
        math.nan if row.covariance is None else math.sqrt(row.covariance[2, 2]) for row in rows])
    at, reach = _joined(seconds, band)
    axes.fill_between(at, -reach, reach, color=BLUE, alpha=0.18, lw=0)
    axes.axhline(0.0, color='#666666', lw=0.8)
    axes.plot(*_joined(seconds, prior), color=ORANGE, lw=1.6)
    axes.plot(*_joined(seconds, fix), 'o-', color=BLUE, lw=0.8, ms=3.5)
    axes.set_ylabel('heading error (deg)')
    most = max(_top(np.abs(prior)), _top(band), 1.0)
    _limit(axes, seconds, fix, -most, most)


def _joined(seconds: Array, values: Array) -> tuple[Array, Array]:
    """Return the finite values with their times, and a NaN in each longer gap to part lines."""
    known = np.isfinite(values)
    seconds, values = seconds[known], values[known]
    gaps = np.flatnonzero(np.diff(seconds) > GAP_S) + 1
    return np.insert(seconds, gaps, seconds[gaps]), np.insert(values, gaps, math.nan)


def _limit(axes: Axes, seconds: Array, values: Array, low: float, high: float) -> None:
    """Bound the axis by what is expected; outliers become triangles at its edge."""
    low, high = 1.08 * low, 1.08 * high
    axes.set_ylim(low, high)
    for beyond, edge, shape in ((values > high, high, '^'), (values < low, low, 'v')):
        if beyond.any():
            axes.plot(seconds[beyond], np.full(int(beyond.sum()), edge), shape, color=BLUE, ms=8,
                      mec='white', clip_on=False)


def _top(values: Array) -> float:
    """Return the largest finite value but for the last two percent, 0 if there is none."""
    finite = values[np.isfinite(values)]
    return float(np.percentile(finite, 98)) if finite.size else 0.0


def _distance(pose: object, truth: object) -> float:
    """Return the distance of two things with x_m and y_m, NaN without one of them."""
    if pose is None or truth is None:
        return math.nan
    return math.hypot(pose.x_m - truth.x_m, pose.y_m - truth.y_m)  # type: ignore[attr-defined]


def _turn_deg(pose: object, truth: object) -> float:
    """Return how far a heading is left of the true one, NaN without one of them."""
    yaw, true_yaw = getattr(pose, 'yaw_rad', None), getattr(truth, 'yaw_rad', None)
    if yaw is None or true_yaw is None:
        return math.nan
    return math.degrees((yaw - true_yaw + math.pi) % (2.0 * math.pi) - math.pi)
