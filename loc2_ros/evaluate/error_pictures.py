# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A picture of how the errors on a data set are distributed."""

from __future__ import annotations

from collections.abc import Sequence
import math

from loc2_ros.core.values import Array, wrap_pi
from loc2_ros.evaluate.published import Frame
from loc2_ros.evaluate.style import BLUE, GREY, look, new_figure, png, VERMILION
from matplotlib.axes import Axes
import numpy as np


def error_distribution(frames: Sequence[Frame], title: str = '') -> bytes:
    """
    Draw the shares of frames below each error, and where in view of the camera errors lie.

    Frames without a pose count: the curves end at the share that has one.

    :returns: a PNG.
    """
    found = [frame for frame in frames if frame.valid]
    offset = np.array([(f.x - f.x_true, f.y - f.y_true) for f in found]).reshape(-1, 2)
    turn = np.degrees([abs(wrap_pi(f.theta - f.theta_true)) for f in found])
    theta = np.array([f.theta_true for f in found])
    with look():
        figure = new_figure(12.0, 4.2, 0.7, 0.6)
        figure.subplots_adjust(wspace=0.28)
        left, middle, right = figure.subplots(1, 3)
        _cumulative(left, np.linalg.norm(offset, axis=1), len(frames), 'position error (m)',
                    (1.0, 5.0))
        left.set_title(title)
        _cumulative(middle, turn, len(frames), 'heading error (deg)', (1.0, 5.0))
        _scatter(right, offset, theta)
        return png(figure)


def _cumulative(axes: Axes, errors: Array, count: int, label: str,
                marks: tuple[float, ...]) -> None:
    share = np.arange(1, len(errors) + 1) / max(count, 1)
    axes.step(np.sort(errors), share, where='post', color=BLUE)
    for mark in marks:
        axes.axvline(mark, color=GREY, linewidth=0.8, linestyle='--')
    if len(errors):
        median = float(np.median(errors))
        axes.axvline(median, color=VERMILION, linewidth=1.0, label=f'median {median:.2f}')
        axes.legend(loc='lower right')
    axes.set(xlabel=label, ylabel='share of frames', ylim=(0.0, 1.0), xscale='symlog')
    axes.set_xlim(left=0.0)


def _scatter(axes: Axes, offset: Array, theta: Array) -> None:
    """Draw position errors as the driver sees them: ahead is up."""
    c, s = np.cos(theta), np.sin(theta)
    ahead = -c * offset[:, 0] - s * offset[:, 1]
    to_right = c * offset[:, 1] - s * offset[:, 0]
    axes.plot(to_right, ahead, '.', color=BLUE, markersize=3, alpha=0.5)
    reach = math.ceil(float(np.quantile(np.hypot(ahead, to_right), 0.95))) if len(theta) else 1
    axes.set(xlabel='error to the right (m)', ylabel='error ahead (m)', aspect='equal',
             xlim=(-reach, reach), ylim=(-reach, reach))
