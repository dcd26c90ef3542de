# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Draw docs/images/transforms.svg: who sends which transform, and what flows where.

Run ``python docs/transforms.py`` after a change.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure

TARGET = Path(__file__).parent / 'images' / 'transforms.svg'
BLUE, ORANGE, GREEN, GREY = '#0072B2', '#B27300', '#007A5A', '#666666'
# Title, and the owner of each edge from map to camera; None: the edge does not exist
CASES = (
    ('ekf:=true', (('ekf_map', GREEN), ('ekf_odom', GREEN))),
    ('your odometry, no EKF', (('loc2', BLUE), ('your odometry', ORANGE))),
    ("neither  (odom_frame: '')", (('loc2', BLUE), None)))
LEVEL = {'map': 6.0, 'odom': 4.0, 'base_link': 2.0, 'sensors': 0.0}


def main(target: Path = TARGET) -> None:
    """Draw the picture."""
    rcParams.update({'font.size': 9.0, 'svg.fonttype': 'none', 'svg.hashsalt': 'loc2',
                     'font.family': 'sans-serif'})
    figure = Figure(figsize=(11.6, 4.2), layout='constrained')
    trees, flow = figure.subplots(1, 2, width_ratios=(1.15, 1))
    for axes, draw in ((trees, draw_trees), (flow, draw_flow)):
        axes.axis('off')
        draw(axes)
    figure.savefig(target, metadata={'Date': None})


def draw_trees(axes: Axes) -> None:
    """Draw the three trees side by side."""
    for k, (title, owners) in enumerate(CASES):
        x = 4.4 * k
        axes.text(x, 7.0, title, ha='center', weight='bold')
        names = [n for n in LEVEL if not (n == 'odom' and owners[1] is None)]
        for name in names:
            box(axes, (x, LEVEL[name]), name, GREY)
        edges = [owner for owner in owners if owner] + [('bag, robot description', GREY)]
        for (owner, color), above, below in zip(edges, names, names[1:]):
            arrow(axes, (x, LEVEL[above] - 0.4), (x, LEVEL[below] + 0.4), color)
            middle = (LEVEL[above] + LEVEL[below]) / 2
            axes.text(x + 0.15, middle, owner, color=color, va='center')
    axes.set(xlim=(-1.4, 11.6), ylim=(-0.7, 7.6))


def draw_flow(axes: Axes) -> None:
    """Draw the messages between localizer and filters."""
    axes.text(4.6, 7.0, 'messages with ekf:=true', ha='center', weight='bold')
    places = {'wheels, gyro': (0.6, 4.0), 'ekf_odom': (4.6, 5.6), 'ekf_map': (4.6, 2.8),
              'camera, GNSS': (0.6, 0.4), 'loc2': (4.6, 0.4)}
    for name, place in places.items():
        box(axes, place, name, BLUE if name == 'loc2' else GREEN if 'ekf' in name else ORANGE)
    arrow(axes, (1.8, 4.2), (3.7, 5.4), ORANGE)
    arrow(axes, (1.8, 3.8), (3.7, 3.0), ORANGE)
    axes.text(1.9, 5.1, 'twist, imu', color=ORANGE, ha='center')
    arrow(axes, (1.8, 0.4), (3.9, 0.4), ORANGE)
    arrow(axes, (4.2, 0.8), (4.2, 2.4), BLUE)
    axes.text(4.05, 1.6, 'loc2/pose\nstamp of the image', color=BLUE, ha='right', va='center')
    arrow(axes, (5.0, 2.4), (5.0, 0.8), GREEN)
    axes.text(5.15, 1.6, 'odometry/global\nprior.source: odometry', color=GREEN, va='center')
    for y, topic in ((5.6, 'odometry/local'), (2.8, 'odometry/global')):
        arrow(axes, (5.5, y), (6.5, y), GREEN)
        axes.text(6.6, y, topic, color=GREEN, va='center')
    axes.set(xlim=(-0.8, 9.4), ylim=(-0.7, 7.6))


def box(axes: Axes, place: tuple[float, float], name: str, color: str) -> None:
    """Draw a name in a box."""
    axes.text(*place, name, ha='center', va='center', color='black',
              bbox={'boxstyle': 'round,pad=0.45', 'facecolor': 'white', 'edgecolor': color})


def arrow(axes: Axes, begin: tuple[float, float], end: tuple[float, float], color: str) -> None:
    """Draw an arrow."""
    axes.annotate('', end, begin, arrowprops={'arrowstyle': '-|>', 'color': color, 'lw': 1.4})


if __name__ == '__main__':
    main()
