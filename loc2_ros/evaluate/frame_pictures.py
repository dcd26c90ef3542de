# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Pictures of one image: its matches, and its ground points laid onto the aerial crop.

Crops are turned by quarters so that the vehicle drives up: left in the image is left in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any

from loc2_ros.core.values import Array, Evidence, Fix, Image, Pose2, Prior, Rejection
from loc2_ros.evaluate.aerial import pale
from loc2_ros.evaluate.style import (
    ahead, BLACK, BLUE, CONFIDENCE, credit, draw_arrow, ellipse95, GREY, halo, legend_below, look,
    new_figure, ORANGE, png, VERMILION)
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.transforms import Affine2D
import numpy as np
from numpy.typing import NDArray

SHOWN = (12, 5)         # at most one match per field of such a grid over the image
GROUND_PX, CROP_PX, GAP_PX = 1000.0, 620.0, 40.0
ARROW_M, MARGIN_M = 5.0, 6.0
FILL = 16               # points between two tokens, per axis
SURFACE_M = 6.0         # neighbouring tokens further apart are not on one surface


@dataclass(frozen=True)
class Frame:
    """
    One localized image.

    :param truth: base_link in the map, None without a reference.
    """

    image: Image
    prior: Prior
    result: Fix | Rejection
    truth: Pose2 | None = None
    attribution: str = ''

    @property
    def evidence(self) -> Evidence | None:
        """Return what the solver saw, None when it was not asked."""
        return self.result.evidence


class Turned:
    """The aerial crop, turned by quarters until a heading points up."""

    def __init__(self, evidence: Evidence, yaw_map_rad: float) -> None:
        self._px_R_map = np.linalg.inv(evidence.map_T_px[:, :2])
        self._origin_m = evidence.map_T_px[:, 2]
        du, dv = self._px_R_map @ [math.cos(yaw_map_rad), math.sin(yaw_map_rad)]
        self._quarters = round(1.0 - math.atan2(-dv, du) / (math.pi / 2.0)) % 4
        self._last = evidence.crop_rgb.shape[0] - 1
        self.rgb: NDArray[np.uint8] = self.turn(evidence.crop_rgb)
        self.px_per_m = float(np.hypot(*self._px_R_map[:, 0]))

    def turn(self, picture: NDArray[Any]) -> NDArray[Any]:
        """Turn something else that lies over the crop, such as (rows, cols) of its cells."""
        return np.rot90(picture, self._quarters)

    @property
    def size(self) -> int:
        """Return the pixels per side."""
        return self._last + 1

    def pixels(self, xy_map_m: Array) -> Array:
        """Return where map points (..., 2) are in the turned crop, pixel centres."""
        uv = (np.asarray(xy_map_m) - self._origin_m) @ self._px_R_map.T
        for _ in range(self._quarters):
            uv = np.stack([uv[..., 1], self._last - uv[..., 0]], -1)
        return np.asarray(uv)

    def transform(self) -> Affine2D:
        """Return map metres -> pixels, for what matplotlib draws in metres."""
        origin, east, north = self.pixels(np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]))
        matrix = np.eye(3)
        matrix[:2] = np.column_stack([east - origin, north - origin, origin])
        return Affine2D(matrix)


def matches(frame: Frame, evidence: Evidence, facts: Mapping[str, str]) -> bytes:
    """
    Draw the camera image beside the aerial crop, with lines between matched places.

    :param facts: what to say about the frame, by name, in order.
    :returns: a PNG.
    """
    crop = Turned(evidence, _heading(frame))
    scale = GROUND_PX / frame.image.camera.width
    lower = frame.image.camera.height * scale
    left = GROUND_PX + GAP_PX
    with look():
        figure = Figure(figsize=(15.0, 15.0 * CROP_PX / (left + CROP_PX)))
        axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0.0, left + CROP_PX),
                               ylim=(CROP_PX, 0.0))
        axes.axis('off')
        axes.imshow(frame.image.rgb, extent=(0.0, GROUND_PX, lower, 0.0), zorder=0)
        axes.imshow(crop.rgb, extent=(left, left + CROP_PX, CROP_PX, 0.0), zorder=0)
        axes.set(xlim=(0.0, left + CROP_PX), ylim=(CROP_PX, 0.0))
        ends = (crop.pixels(evidence.matched_map_m) + 0.5) * CROP_PX / crop.size + [left, 0.0]
        starts = (evidence.ground_uv_px + 0.5) * scale
        _draw_lines(figure, axes, evidence, starts, ends, frame.image.camera.width)
        _write_facts(axes, facts, lower)
        credit(axes, frame.attribution)
        return png(figure, whole=True)


def overlay(frame: Frame, evidence: Evidence) -> bytes:
    """Draw the lifted ground points on the aerial crop: their colours, then their matches."""
    crop = Turned(evidence, _heading(frame))
    lifted, matched = crop.pixels(evidence.lifted_map_m), crop.pixels(evidence.matched_map_m)
    inlier = evidence.inlier
    with look():
        figure = new_figure(13.0, 6.8)
        left, right = figure.subplots(1, 2)
        left.set_title('ground points in the colours of the camera image')
        left.scatter(*lifted.T, c=_colours(frame.image, evidence.ground_uv_px), s=26,
                     edgecolors='white', linewidths=0.2)
        right.set_title('from each ground point to its match')
        for chosen, colour, name in ((~inlier, GREY, 'outlier'), (inlier, VERMILION, 'inlier')):
            right.add_collection(LineCollection(
                np.stack([lifted[chosen], matched[chosen]], 1).tolist(), colors=colour,
                linewidths=0.9, alpha=0.9 if name == 'inlier' else 0.5))
            right.scatter(*lifted[chosen].T, s=7, color=colour, label=f'{name} (ground point)')
        for axes in (left, right):
            _draw_poses(axes, crop, frame)
            _draw_crop(axes, crop, _square(crop, lifted, frame))
        credit(right, frame.attribution)
        legend_below(figure, right)
        return png(figure)


def layout(frame: Frame, evidence: Evidence) -> bytes:
    """
    Draw the camera image as seen from above, on the aerial crop, beside the crop alone.

    :raises ValueError: the layout was not kept.
    """
    if evidence.layout_map_m is None or evidence.layout_uv_px is None:
        raise ValueError('no layout was kept for this image')
    crop = Turned(evidence, _heading(frame))
    xy, uv = _filled(evidence.layout_map_m, evidence.layout_uv_px)
    painted = np.array(crop.rgb)
    place = np.rint(crop.pixels(xy)).astype(np.int64)
    inside = ((place >= 0) & (place < crop.size)).all(axis=1)
    place, uv = place[inside], uv[inside]
    # In the order of the rows, so that what is near covers what is far
    painted[place[:, 1], place[:, 0]] = np.rint(255.0 * _colours(frame.image, uv))
    with look():
        figure = new_figure(13.0, 6.8)
        left, right = figure.subplots(1, 2)
        square = _square(crop, place.astype(np.float64), frame)
        for axes, rgb, name in ((left, painted, 'the camera image from above'),
                                (right, crop.rgb, 'the aerial photo')):
            axes.set_title(name)
            axes.imshow(rgb, zorder=0)
            _draw_poses(axes, crop, frame)
            _draw_crop(axes, crop, square, imagery=False)
        credit(right, frame.attribution)
        legend_below(figure, right)
        return png(figure)


def _filled(xy_m: Array, uv_px: Array) -> tuple[Array, Array]:
    """Return points between neighbouring tokens, (N, 2) each, far rows first."""
    corners = [(slice(None, -1), slice(None, -1)), (slice(None, -1), slice(1, None)),
               (slice(1, None), slice(None, -1)), (slice(1, None), slice(1, None))]
    both = np.concatenate([xy_m, uv_px], -1)
    quads = np.stack([both[part] for part in corners], 2)               # (h - 1, w - 1, 4, 4)
    reach = np.ptp(quads, axis=2)                                       # NaN where one is unknown
    with np.errstate(invalid='ignore'):
        # What is not one surface, or the seam of a panorama, has nothing in between
        whole = (np.hypot(reach[..., 0], reach[..., 1]) < SURFACE_M) & (
            reach[..., 2] < 4 * uv_px.max() / uv_px.shape[1])
    at = (np.arange(FILL) + 0.5) / FILL
    down, across = (part.ravel() for part in np.meshgrid(at, at, indexing='ij'))
    share = np.stack([(1 - down) * (1 - across), (1 - down) * across, down * (1 - across),
                      down * across], -1)                               # (FILL^2, 4)
    points = np.einsum('fk,nkd->nfd', share, quads[whole]).reshape(-1, 4)
    return points[:, :2], points[:, 2:]


def votes(frame: Frame, evidence: Evidence) -> bytes:
    """
    Draw where all pairs of image and crop put the camera, at the solved heading and scale.

    :raises ValueError: the votes were not counted.
    """
    if evidence.votes is None or evidence.map_T_vote is None:
        raise ValueError('no votes were counted for this image')
    crop = Turned(evidence, _heading(frame))
    share = np.asarray(crop.turn(evidence.votes), np.float64)
    rows, cols = evidence.votes.shape
    corners = np.array([[-0.5, -0.5, 1.0], [cols - 0.5, rows - 0.5, 1.0]])
    ends = crop.pixels(corners @ evidence.map_T_vote.T)
    low, high = ends.min(axis=0), ends.max(axis=0)
    most = max(float(share.max()), 1e-12)
    with look():
        figure = new_figure(8.6, 7.6)
        axes = figure.add_axes((0.0, 0.0, 0.84, 0.94))
        axes.set_title('where the matches put the camera')
        axes.imshow(pale(crop.rgb), zorder=0)
        # Cells without votes stay clear; the root shows the weaker peaks as well
        shown = axes.imshow(100.0 * share, extent=(low[0], high[0], high[1], low[1]),
                            cmap=CONFIDENCE, alpha=0.85 * np.sqrt(share / most), zorder=1,
                            interpolation='nearest')
        bar = figure.colorbar(shown, cax=figure.add_axes((0.87, 0.1, 0.025, 0.7)))
        bar.set_label('votes per cell (%)')
        bar.ax.grid(False)
        _draw_poses(axes, crop, frame)
        _draw_crop(axes, crop, (np.full(2, crop.size / 2.0), crop.size / 2.0), imagery=False)
        credit(axes, frame.attribution)
        legend_below(figure, axes)
        return png(figure)


def _heading(frame: Frame) -> float:
    """Return the heading that is to point up."""
    if isinstance(frame.result, Fix):
        return frame.result.map_T_base.yaw_rad
    return frame.prior.yaw_map_rad or 0.0


def _draw_lines(figure: Figure, axes: Axes, evidence: Evidence, starts: Array, ends: Array,
                width: int) -> None:
    """Draw a well spread choice of matches: inliers by confidence, outliers in grey."""
    bound = Normalize(0.0, float(np.quantile(evidence.weight, 0.98)) if len(starts) else 1.0)
    for chosen, style in ((~evidence.inlier, {'colors': GREY, 'linestyles': 'dotted'}),
                          (evidence.inlier, {'cmap': CONFIDENCE, 'norm': bound})):
        rows = _spread(evidence, chosen, width)
        lines = LineCollection(np.stack([starts[rows], ends[rows]], 1).tolist(), linewidths=1.1,
                               alpha=0.9, **style)
        axes.plot(*starts[rows].T, '.', color='white', ms=4, mec='black', mew=0.3)
        axes.plot(*ends[rows].T, '.', color='white', ms=4, mec='black', mew=0.3)
        if 'cmap' in style:
            lines.set_array(evidence.weight[rows])
            bar = figure.colorbar(lines, cax=figure.add_axes((0.33, 0.14, 0.22, 0.025)),
                                  orientation='horizontal')
            bar.set_label('confidence of an inlier; outliers dotted grey')
            bar.ax.grid(False)
        axes.add_collection(lines)


def _spread(evidence: Evidence, chosen: NDArray[np.bool_], width: int) -> NDArray[np.int64]:
    """Return the most confident of the chosen matches in each field of a grid over the image."""
    uv = evidence.ground_uv_px
    height = float(uv[:, 1].max()) + 1.0 if len(uv) else 1.0
    fields = (np.minimum((uv[:, 0] + 0.5) * SHOWN[0] / width, SHOWN[0] - 1).astype(np.int64)
              + SHOWN[0] * (uv[:, 1] * SHOWN[1] / height).astype(np.int64))
    order = np.argsort(-evidence.weight, kind='stable')
    order = order[chosen[order]]
    _, first = np.unique(fields[order], return_index=True)
    return np.asarray(order[first])


def _write_facts(axes: Axes, facts: Mapping[str, str], lower: float) -> None:
    step = min(30.0, (CROP_PX - lower - 40.0) / max(len(facts), 1))
    for i, (name, value) in enumerate(facts.items()):
        y = lower + 40.0 + i * step
        axes.text(8.0, y, name, va='center', color='#555555')
        axes.text(210.0, y, value, va='center', weight='bold')


def _square(crop: Turned, lifted: Array, frame: Frame) -> tuple[Array, float]:
    """Return the centre and half the side of the square worth showing, in pixels."""
    poses = [frame.prior.xy_map_m, *(pose.xy_m for pose in (frame.truth, _solved(frame)) if pose)]
    inside = np.concatenate([lifted, crop.pixels(np.array(poses))])
    inside = inside[((inside >= 0.0) & (inside <= crop.size)).all(axis=1)]
    if not len(inside):
        return np.full(2, crop.size / 2.0), crop.size / 2.0
    low, high = np.quantile(inside, [0.0, 1.0], axis=0)
    half = min(float((high - low).max()) / 2.0 + MARGIN_M * crop.px_per_m, crop.size / 2.0)
    return np.clip((low + high) / 2.0, half, crop.size - half), half


def _draw_crop(axes: Axes, crop: Turned, square: tuple[Array, float],
               imagery: bool = True) -> None:
    """Draw a square of the crop with a scale bar and an arrow to the north."""
    centre, half = square
    if imagery:
        axes.imshow(crop.rgb, zorder=0)
    axes.axis('off')
    (left, top), (right, bottom) = centre - half - 0.5, centre + half - 0.5
    axes.set(xlim=(left, right), ylim=(bottom, top))
    metres = next(m for m in (20.0, 10.0, 5.0, 2.0, 0.0) if m * crop.px_per_m < 0.7 * half)
    edge = 0.1 * half
    axes.plot([left + edge, left + edge + metres * crop.px_per_m], [bottom - edge] * 2,
              color='black', lw=3, path_effects=halo(5.0), solid_capstyle='butt')
    axes.text(left + edge, bottom - 1.3 * edge, f'{metres:g} m', va='bottom',
              path_effects=halo())
    north = crop.pixels(np.array([[0.0, 0.0], [0.0, 1.0]]))
    north = (north[1] - north[0]) / crop.px_per_m * 0.14 * half
    foot = np.array([right - 2.2 * edge, top + 2.2 * edge])
    axes.annotate('N', xy=(foot - north * 0.4).tolist(), xytext=(foot + north).tolist(),
                  ha='center', va='center', weight='bold', path_effects=halo(),
                  arrowprops={'arrowstyle': '<|-', 'color': 'black', 'path_effects': halo(4.0)})


def _draw_poses(axes: Axes, crop: Turned, frame: Frame) -> None:
    """Draw prior, truth and fix as arrows along the heading, the fix with its ellipse."""
    poses = [('prior', ORANGE, _pose_of(frame.prior)), ('ground truth', BLACK, frame.truth),
             ('fix, 95 % ellipse', BLUE, _solved(frame))]
    if isinstance(frame.result, Fix):
        axes.add_patch(ellipse95(
            frame.result.map_T_base.xy_m, frame.result.covariance[:2, :2], fc=BLUE + '40',
            ec=BLUE, lw=1.5, transform=crop.transform() + axes.transData))
    for name, colour, pose in poses:
        if pose is not None:
            draw_arrow(axes, crop.pixels(pose.xy_m), crop.pixels(ahead(pose, ARROW_M)), colour,
                       name)


def _solved(frame: Frame) -> Pose2 | None:
    """Return the pose of the fix, if it is one."""
    return frame.result.map_T_base if isinstance(frame.result, Fix) else None


def _pose_of(prior: Prior) -> Pose2:
    """Return a prior as a pose; without a heading it is drawn pointing east."""
    return Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad or 0.0)


def _colours(image: Image, uv_px: Array) -> Array:
    """Return the image's colours (N, 3) in 0..1 at pixels (N, 2)."""
    column = np.clip(np.rint(uv_px[:, 0]), 0, image.camera.width - 1).astype(np.int64)
    row = np.clip(np.rint(uv_px[:, 1]), 0, image.camera.height - 1).astype(np.int64)
    return np.asarray(image.rgb[row, column] / 255.0)
