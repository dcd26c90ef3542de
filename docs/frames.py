# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Draw docs/images/frames.svg, the picture of all frames in docs/conventions.md.

Run ``python docs/frames.py`` after a change; the numbers come from the package itself, so the
picture cannot disagree with the code.
"""

from __future__ import annotations

import math
from pathlib import Path
import sys
from typing import Any

from loc2_ros.core.camera import map_to_tile, tile_points_to_map
from loc2_ros.core.values import Array, Pose2
from matplotlib import rcParams
from matplotlib.axes import Axes
from matplotlib.figure import Figure
import numpy as np

TARGET = Path(__file__).parent / 'images' / 'frames.svg'
BLUE, ORANGE, VERMILION, GREEN, GREY = '#0072B2', '#B27300', '#C04A00', '#007A5A', '#666666'
MAP_T_BASE = Pose2(9.0, 5.0, math.radians(30.0))
BASE_T_CAMERA = Pose2(1.4, 0.3, 0.0)
PRIOR_YAW = math.radians(38.0)
TILE_M = 12.0


def main(target: Path = TARGET) -> None:
    """Draw the picture."""
    rcParams.update({'font.size': 9.0, 'svg.fonttype': 'none', 'svg.hashsalt': 'loc2',
                     'font.family': 'sans-serif'})
    figure = Figure(figsize=(12.4, 9.4), layout='constrained')
    figure.get_layout_engine().set(h_pad=0.15, w_pad=0.05)
    (a, b), (c, d) = figure.subplots(2, 2)
    for axes, draw in ((a, draw_map), (b, draw_tile), (c, draw_ground), (d, draw_camera)):
        axes.set_aspect('equal')
        axes.axis('off')
        draw(axes)
    figure.savefig(target, metadata={'Date': None})


def draw_map(axes: Axes) -> None:
    """Draw map, base_link and camera, with the aerial crop around the prior."""
    title(axes, '1  map (ENU), base_link, camera, crop')
    arrow(axes, (0, 0), (4, 0), GREY, 'x east')
    arrow(axes, (0, 0), (0, 4), GREY, 'y north')
    axes.text(-0.3, -0.9, 'map: datum', color=GREY, ha='center')
    camera = MAP_T_BASE @ BASE_T_CAMERA
    centre = camera.xy_m + [1.2, -1.0]
    corners = [along(Pose2(*centre, PRIOR_YAW), x, y) for x, y in SQUARE * TILE_M / 2]
    axes.add_patch(polygon(corners, ORANGE))
    axes.text(*along(Pose2(*centre, PRIOR_YAW), -0.47 * TILE_M, -0.47 * TILE_M),
              'aerial crop, around the camera\nof the prior, turned by ψ',
              color=ORANGE, rotation=math.degrees(PRIOR_YAW), rotation_mode='anchor')
    vehicle = [along(MAP_T_BASE, x, y) for x, y in SQUARE * [1.9, 0.85] + [0.5, 0]]
    axes.add_patch(polygon(vehicle, BLUE))
    axis(axes, MAP_T_BASE, (4.6, 0), BLUE, 'x forward')
    axis(axes, MAP_T_BASE, (0, 2.4), BLUE, 'y left')
    axes.text(*along(MAP_T_BASE, -1.2, -1.9), 'base_link', color=BLUE)
    axes.plot(*camera.xy_m, 'o', color=VERMILION)
    axes.annotate('camera:\nlever arm (1.4, 0.3) m', camera.xy_m, along(camera, 0.6, 3.6),
                  color=VERMILION, arrowprops={'arrowstyle': '-', 'color': VERMILION})
    axes.plot([MAP_T_BASE.x_m, MAP_T_BASE.x_m + 4.4], [MAP_T_BASE.y_m] * 2, ':', color=GREY)
    turn(axes, MAP_T_BASE.xy_m, 2.6, 0.0, MAP_T_BASE.yaw_rad, 'yaw > 0', BLUE)
    axes.set(xlim=(-2.5, 20), ylim=(-3.6, 14.0))


def draw_tile(axes: Axes) -> None:
    """Draw the crop as an image, with the tile plane and the pose solved in it."""
    title(axes, '2  crop as an image: pixels and tile plane')
    camera = MAP_T_BASE @ BASE_T_CAMERA
    centre = camera.xy_m + [1.2, -1.0]
    theta, t = map_to_tile(camera, centre, PRIOR_YAW)
    half = TILE_M / 2
    axes.add_patch(polygon(SQUARE * half, ORANGE))
    for k in np.linspace(-half, half, 9):
        axes.plot([-half, half], [k, k], [k, k], [-half, half], color=ORANGE, lw=0.4, alpha=0.6)
    axes.text(-half, half + 0.25, 'pixel (u, v) = (0, 0): its centre is half a pixel\n'
              'right of and below this corner', color=ORANGE)
    arrow(axes, (0, 0), (0, -3.4), GREY, 'x down the rows')
    arrow(axes, (0, 0), (3.4, 0), GREY, 'y along the columns = ψ in the map')
    axes.text(-0.2, 0.25, 'tile centre', color=GREY, ha='right')
    point = screen(t)
    forward = screen(t + 4.0 * np.array([-math.cos(theta), -math.sin(theta)]))
    arrow(axes, (0, 0), point, VERMILION, '')
    axes.text(*(np.array(point) + [-0.4, -0.9]), 't', color=VERMILION, weight='bold', ha='right')
    arrow(axes, point, forward, BLUE, 'view = (−cos θ, −sin θ)')
    up = screen(t + [-4.4, 0.0])
    axes.plot(*zip(point, up), ':', color=GREY)
    turn(axes, point, 3.2, math.pi / 2, math.pi / 2 + theta, '', BLUE)
    axes.text(point[0] + 0.5, point[1] + 3.6, f'θ = {math.degrees(theta):.0f}° '
              '(0: view up, > 0: counter-clockwise)', color=BLUE)
    back = tile_points_to_map(t[None], centre, PRIOR_YAW)[0]
    if not np.allclose(back, camera.xy_m):
        raise RuntimeError('the tile and the map disagree')
    axes.text(-half, -half - 0.5, 'yaw of the view in the map = 90° + θ + ψ     '
              f'here 90 − {abs(math.degrees(theta)):.0f} + {math.degrees(PRIOR_YAW):.0f} = '
              f'{math.degrees(camera.yaw_rad):.0f}°', va='top')
    axes.set(xlim=(-7, 12), ylim=(-7.5, 7.5))


def draw_ground(axes: Axes) -> None:
    """Draw the ground plane that tokens are lifted to."""
    title(axes, '3  ground plane Y of the camera, from above')
    axes.plot(0, 0, 'o', color=VERMILION)
    axes.text(-0.4, -0.3, 'camera', color=VERMILION, ha='right')
    arrow(axes, (0, 0), (0, -3), BLUE, 'x backward')
    arrow(axes, (0, 0), (3, 0), BLUE, 'y right')
    arrow(axes, (0, 0), (0, 3.2), GREY, 'view')
    axes.plot([0, -3.4], [0, 8.4], [0, 3.4], [0, 8.4], color=GREY, lw=0.8, ls='--')
    axes.plot(2, 8, '*', color=VERMILION, ms=11)
    axes.text(3.9, 8, 'a point 10 m ahead and 2 m to the right:\nY = (−10, 2)',
              color=VERMILION, va='center')
    axes.plot([0, 2, 2], [8, 8, 0], ':', color=VERMILION)
    axes.text(5.2, 2.2, 'X = s R(θ) Y + t\n\nX  in the tile plane\nY  here, metres before s\n'
              's  scale of the depth\nR  counter-clockwise by θ')
    axes.set(xlim=(-6, 13), ylim=(-4.5, 9.5))


def draw_camera(axes: Axes) -> None:
    """Draw optical and level axes from the side, with planar depth."""
    title(axes, '4  optical and level axes, from the right')
    tilt = math.radians(-14.0)
    view, down = unit(tilt), unit(tilt - math.pi / 2)
    axes.plot([-1.5, 12.5], [-3, -3], color=GREY, lw=1.5)
    axes.text(12.5, -3.45, 'ground', color=GREY, ha='right', va='top')
    axes.plot([0, 0], [0, -3], ':', color=GREY)
    axes.text(0.2, -2.85, 'height', color=GREY)
    arrow(axes, (0, 0), 3.4 * view, VERMILION, '')
    axes.text(4.4, -0.8, 'z forward (optical)', color=VERMILION)
    arrow(axes, (0, 0), 1.9 * down, VERMILION, '')
    axes.text(-0.65, -1.6, 'y down', color=VERMILION, ha='right')
    axes.text(-0.25, 0.3, '⊙ x right, towards you', color=VERMILION, ha='right')
    arrow(axes, (0, 0), (3.6, 0), GREEN, 'forward (level)')
    arrow(axes, (0, 0), (0, -2.4), GREEN, '')
    axes.text(0.2, -2.2, 'down (level)', color=GREEN)
    point = np.array([9.0, -3.0])
    depth = float(point @ view)
    axes.plot([0, point[0]], [0, point[1]], color=GREY, lw=0.8, ls='--')
    foot = depth * view
    axes.plot([3.4 * view[0], foot[0]], [3.4 * view[1], foot[1]], color=VERMILION, lw=0.8, ls='--')
    axes.plot([foot[0], point[0]], [foot[1], point[1]], ':', color=VERMILION)
    axes.plot(*point, '*', color=VERMILION, ms=11)
    axes.text(foot[0] + 0.3, foot[1] + 0.2, 'planar depth: along the optical\naxis, not along '
              'the ray', color=VERMILION)
    axes.text(-3.5, 3.6, 'pixel (u, v) = (column, row); (0, 0) is the centre of the first pixel\n'
              'ray = ((u − cx) / fx, (v − cy) / fy, 1), times depth = point in optical axes')
    axes.set(xlim=(-4, 15), ylim=(-4.2, 5))


SQUARE = np.array([[1, 1], [1, -1], [-1, -1], [-1, 1]], np.float64)


def along(pose: Pose2, x: float, y: float) -> Any:
    """Return a point of a frame in the frame around it."""
    return (pose @ Pose2(x, y, 0.0)).xy_m


def screen(tile: Array) -> tuple[float, float]:
    """Return where a tile point is drawn: rows run down."""
    return float(tile[1]), float(-tile[0])


def unit(angle: float) -> Array:
    """Return the direction of an angle."""
    return np.array([math.cos(angle), math.sin(angle)])


def title(axes: Axes, text: str) -> None:
    """Write the title of a panel."""
    axes.set_title(text, loc='left', weight='bold')


def polygon(corners: Any, colour: str) -> Any:
    """Return a faint polygon."""
    from matplotlib.patches import Polygon
    return Polygon(np.asarray(corners), fc=colour + '18', ec=colour, lw=1.2)


def arrow(axes: Axes, tail: Any, tip: Any, colour: str, text: str) -> None:
    """Draw an arrow with a word beyond its tip."""
    axes.annotate('', tuple(tip), tuple(tail), arrowprops={
        'arrowstyle': '-|>', 'color': colour, 'lw': 1.6, 'shrinkA': 0, 'shrinkB': 0})
    step = np.subtract(tip, tail)
    at = np.add(tip, 0.35 * step / np.hypot(*step))
    sideways = abs(step[0]) > abs(step[1])
    axes.text(*at, text, color=colour, va='center',
              ha=('left' if step[0] > 0 else 'right') if sideways else 'center')


def axis(axes: Axes, pose: Pose2, tip: tuple[float, float], colour: str, text: str) -> None:
    """Draw an axis of a frame."""
    arrow(axes, pose.xy_m, along(pose, *tip), colour, text)


def turn(axes: Axes, centre: Any, radius: float, start: float, end: float, text: str,
         colour: str) -> None:
    """Draw an arc with an arrow head, from one direction to another."""
    angles = np.linspace(start, end, 30)
    points = np.asarray(centre) + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
    axes.plot(*points.T, color=colour, lw=1.0)
    axes.annotate('', points[-1], points[-3], arrowprops={'arrowstyle': '-|>', 'color': colour})
    axes.text(*(points[len(points) // 2] + [0.2, 0.0]), text, color=colour, va='center')


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:]))
