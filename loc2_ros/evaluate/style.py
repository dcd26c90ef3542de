# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How pictures look: colours that colour-blind people can tell apart, fonts, halos, arrows.

Colours are those of Okabe and Ito (2008); each thing also has a shape or a width of its own.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
import io
import math
from typing import Any

from loc2_ros.core.values import Array, Pose2
from loc2_ros.evaluate.metrics import CHI2_95_2DOF
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse
import matplotlib.patheffects as effects
from matplotlib.style import context
import numpy as np

# fix, prior, truth, rejected, what does not fit
BLUE, ORANGE, BLACK, VERMILION, GREY = '#0072B2', '#E69F00', '#000000', '#D55E00', '#8C8C8C'
# Readable on greenery, which viridis is not; its dark end is not readable on shadows
CONFIDENCE = ListedColormap(colormaps['plasma'](np.linspace(0.3, 1.0, 256)))

_LOOK: dict[str, Any] = {
    'font.size': 10.0, 'axes.titlesize': 11.0, 'axes.titleweight': 'bold',
    'axes.titlelocation': 'left', 'axes.spines.top': False, 'axes.spines.right': False,
    'axes.grid': True, 'grid.color': '#DDDDDD', 'grid.linewidth': 0.6,
    'axes.axisbelow': True, 'legend.frameon': False, 'figure.dpi': 100}


def look() -> AbstractContextManager[Any]:
    """Draw within this, whatever the user's matplotlibrc says."""
    return context(['default', _LOOK])


def new_figure(width_in: float, height_in: float, left_in: float = 0.1,
               below_in: float = 0.1) -> Figure:
    """Return an empty figure with room for ticks and labels left of and below its axes."""
    # No layout engine and no legend outside: distributions ship a Matplotlib as old as 3.5
    figure = Figure(figsize=(width_in, height_in))
    figure.subplots_adjust(left_in / width_in, below_in / height_in, 1.0, 1.0 - 0.3 / height_in,
                           wspace=0.03, hspace=0.1)
    return figure


def legend_below(figure: Figure, axes: Axes, columns: int = 5) -> None:
    """Explain what is drawn in some axes, below the figure."""
    figure.legend(*axes.get_legend_handles_labels(), loc='upper center',
                  bbox_to_anchor=(0.5, 0.0), ncol=columns)


def png(figure: Figure, dpi: int = 110, whole: bool = False) -> bytes:
    """Return what is drawn as PNG, or the whole figure; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    more: dict[str, Any] = {} if whole else {'bbox_inches': 'tight', 'pad_inches': 0.1}
    figure.savefig(buffer, format='png', dpi=dpi, metadata={'Software': None}, **more)
    return buffer.getvalue()


def halo(width: float = 2.5, colour: str = 'white') -> list[effects.AbstractPathEffect]:
    """Return an outline that keeps a line or text readable on imagery."""
    return [effects.Stroke(linewidth=width, foreground=colour), effects.Normal()]


def credit(axes: Axes, attribution: str) -> None:
    """Say whose imagery it is, in the lower right corner."""
    if attribution:
        axes.text(0.995, 0.008, f'Imagery: {attribution}', transform=axes.transAxes, ha='right',
                  va='bottom', fontsize=7, path_effects=halo(2.0))


def ellipse95(centre_m: Array, covariance_xy: Array, **options: Any) -> Ellipse:
    """Return the ellipse that holds 95 % of what a covariance of (x, y) claims."""
    variances, axes = np.linalg.eigh(covariance_xy)         # ascending
    half = np.sqrt(CHI2_95_2DOF * variances)
    angle = math.degrees(math.atan2(axes[1, 1], axes[0, 1]))
    return Ellipse((float(centre_m[0]), float(centre_m[1])), 2.0 * half[1], 2.0 * half[0],
                   angle=angle, **options)


def draw_arrow(axes: Axes, tail: Array, tip: Array, colour: str, label: str) -> None:
    """Draw a pose as a dot with a pointer, and enter it in the legend."""
    axes.annotate('', xy=tip.tolist(), xytext=tail.tolist(), arrowprops={
        'arrowstyle': '-|>', 'color': colour, 'lw': 2.2, 'mutation_scale': 14,
        'path_effects': halo(4.0), 'shrinkA': 0, 'shrinkB': 0})
    axes.plot(*tail, 'o', color=colour, mec='white', ms=8, label=label)


def ahead(pose: Pose2, metres: float) -> Array:
    """Return the point so far ahead of a pose."""
    return pose.xy_m + metres * np.array([math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)])
