# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Where the depth of the ground tokens comes from, behind one interface.

Every source answers with one depth per token, planar for a pinhole and range for a panorama, so
the lift does not care which one it was.
"""

from __future__ import annotations

from collections import deque
import math
from threading import Condition
from typing import Callable, Generic, Protocol, TypeVar

from loc2_ros.core.camera import height_above_ground, Mount, project, token_rays
from loc2_ros.core.lift import flat_ground_depth
from loc2_ros.core.panorama import turned_left
from loc2_ros.core.values import Array, Camera, Image, Panorama
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor

Depth = NDArray[np.float32]

# Samples per token cell and axis of a depth image; odd, so that one is the centre
_SAMPLES = 5
# A scan point this much deeper than its cell's nearest belongs to something behind
_BEHIND = 1.3


class DepthSource(Protocol):
    """
    Depth for the tokens of an image.

    ``from_model`` tells that the network's own head is to be used instead of ``tokens``.
    """

    from_model: bool

    def tokens(self, image: Image, mount: Mount, grid_hw: tuple[int, int],
               rays: str = 'centers', rolled_px: int = 0) -> Tensor | None:
        """
        Return the depth of each token at the image's stamp.

        :param grid_hw: rows and columns of the token grid laid over the image.
        :param rays: where in its cell a token looks, as in ``token_rays``.
        :param rolled_px: by how many columns the content of a panorama, and with it its mount,
            has been rolled to the right since it came.
        :returns: (h * w,) float32 metres, row-major, on any device; along the optical axis, or
            along the ray of a panorama. NaN where it is unknown; None when there is nothing for
            this stamp.
        """


class ModelDepth:
    """The network's own depth head."""

    from_model = True

    def tokens(self, image: Image, mount: Mount, grid_hw: tuple[int, int],
               rays: str = 'centers', rolled_px: int = 0) -> Tensor | None:
        """Return None: the network knows."""
        return None


class FlatGround:
    """
    Depth of flat ground under a camera of known height; NaN above the horizon.

    :param camera_height_m: above the ground; 0 takes the mount's, as if base_link were on it.
    :param camera_pitch_rad: pitch the mount does not know of, positive nose down.
    """

    from_model = False

    def __init__(self, camera_height_m: float, camera_pitch_rad: float = 0.0) -> None:
        if not camera_height_m >= 0.0:
            raise ValueError(f'flat ground needs a camera above it, got {camera_height_m} m; '
                             'set depth.camera_height')
        self.camera_height_m = camera_height_m
        self.camera_pitch_rad = camera_pitch_rad

    def tokens(self, image: Image, mount: Mount, grid_hw: tuple[int, int],
               rays: str = 'centers', rolled_px: int = 0) -> Tensor | None:
        """Return where the token rays meet the ground; see `DepthSource`."""
        height = height_above_ground(self.camera_height_m, mount)
        if height is None:
            return None
        looks = torch.from_numpy(token_rays(image.camera, grid_hw, rays))
        return flat_ground_depth(looks, torch.from_numpy(mount.level_R_camera), height,
                                 self.camera_pitch_rad).float()


_Frame = TypeVar('_Frame')


class _Recent(Generic[_Frame]):
    """The last few frames by stamp; filled by callbacks, asked by the worker."""

    def __init__(self, max_offset_s: float, length: int) -> None:
        self.max_offset_ns = int(max_offset_s * 1e9)
        self._frames: deque[tuple[int, _Frame]] = deque(maxlen=length)
        self._changed = Condition()

    def add(self, stamp_ns: int, frame: _Frame) -> None:
        with self._changed:
            self._frames.append((stamp_ns, frame))
            self._changed.notify_all()

    def clear(self) -> None:
        with self._changed:
            self._frames.clear()
            self._changed.notify_all()

    def at(self, stamp_ns: int) -> _Frame | None:
        """Return the frame nearest in time, the newer of two, or None if it is too far."""
        with self._changed:
            frames = list(reversed(self._frames))
        if not frames:
            return None
        stamp, frame = min(frames, key=lambda item: abs(item[0] - stamp_ns))
        return frame if abs(stamp - stamp_ns) <= self.max_offset_ns else None

    def has(self, stamp_ns: int) -> bool:
        """Return whether there is a frame for a stamp."""
        return self.at(stamp_ns) is not None

    def wait(self, stamp_ns: int, timeout_s: float, stopped: Callable[[], bool]) -> None:
        """Wait until there is a frame for a stamp; only the worker may."""
        with self._changed:     # reentrant: `at` takes it again
            self._changed.wait_for(lambda: stopped() or self.has(stamp_ns), timeout_s)


class _FromTopic(Generic[_Frame]):
    """What sources that are filled from messages have in common."""

    from_model = False

    def __init__(self, max_offset_s: float, length: int) -> None:
        self._recent: _Recent[_Frame] = _Recent(max_offset_s, length)
        self.has, self.wait = self._recent.has, self._recent.wait
        self.clear = self._recent.clear     # forget everything, as after a jump of the clock


class DepthImages(_FromTopic[Depth]):
    """
    Depth images registered to the camera, of any resolution.

    :param max_offset_s: how far the stamps of image and depth may be apart.
    """

    def __init__(self, max_offset_s: float = 0.05, length: int = 10) -> None:
        super().__init__(max_offset_s, length)

    def add(self, stamp_ns: int, depth_m: NDArray[np.floating]) -> None:
        """Take a depth image (H, W) in metres; zero, negative and NaN mean unknown."""
        if depth_m.ndim != 2 or depth_m.size == 0:
            raise ValueError(f'a depth image has two axes, got shape {depth_m.shape}')
        self._recent.add(stamp_ns, np.asarray(depth_m, dtype=np.float32))

    def image(self, stamp_ns: int) -> Depth | None:
        """Return the depth (H, W) that belongs to a camera image, None where there is none."""
        return self._recent.at(stamp_ns)

    def tokens(self, image: Image, mount: Mount, grid_hw: tuple[int, int],
               rays: str = 'centers', rolled_px: int = 0) -> Tensor | None:
        """Return one depth per cell of the image; see `DepthSource`."""
        depth = self._recent.at(image.stamp_ns)
        if depth is None:
            return None
        columns = round(rolled_px * depth.shape[1] / image.camera.width)
        return cell_depths(torch.from_numpy(depth).roll(columns, 1), grid_hw, rays)


class LidarDepth(_FromTopic[Array]):
    """
    Scans, given in the camera's optical axes.

    :param max_offset_s: how far the stamps of image and scan may be apart.
    """

    def __init__(self, max_offset_s: float = 0.06, length: int = 5) -> None:
        super().__init__(max_offset_s, length)

    def add(self, stamp_ns: int, points_camera: NDArray[np.floating]) -> None:
        """Take a scan (N, 3) in optical axes, metres; non-finite points are dropped."""
        points = np.asarray(points_camera, dtype=np.float64)
        if points.ndim != 2 or points.shape[1] != 3:
            raise ValueError(f'a scan has rows of x, y, z, got shape {points.shape}')
        self._recent.add(stamp_ns, points[np.isfinite(points).all(axis=1)])

    def scan(self, stamp_ns: int) -> Array | None:
        """Return the points (N, 3) that belong to a camera image, None where there are none."""
        return self._recent.at(stamp_ns)

    def tokens(self, image: Image, mount: Mount, grid_hw: tuple[int, int],
               rays: str = 'centers', rolled_px: int = 0) -> Tensor | None:
        """Return the depth of one scan point per cell; see `DepthSource`."""
        points = self._recent.at(image.stamp_ns)
        if points is None:
            return None
        # The axes of the view that the image has now
        points = points @ turned_left(rolled_px, image.camera.width)
        return torch.from_numpy(scan_depth(points, image.camera, grid_hw))


def cell_depths(depth_m: Tensor, grid_hw: tuple[int, int], rays: str = 'centers') -> Tensor:
    """
    Reduce a depth image (H, W) to one depth per cell of a grid, on its device.

    :param rays: 'centers' takes the median of the cell; 'edges' its top left pixel, which the
        released weights were trained with (model.md 5, defect B3).
    :returns: (h * w,) float32, row-major, NaN where none is known.
    """
    if rays == 'centers':
        return cell_medians(depth_m, grid_hw)
    row, column = (torch.arange(n, device=depth_m.device) * size // n
                   for n, size in zip(grid_hw, depth_m.shape))
    return _known(depth_m[row[:, None], column[None, :]].reshape(-1)).float()


def cell_medians(depth_m: Tensor, grid_hw: tuple[int, int]) -> Tensor:
    """
    Reduce a depth image (H, W) to one depth per cell of a grid, NaN where none is known.

    :returns: (h * w,) float32, row-major; the mean of both middle samples of an even number.
    """
    h, w = grid_hw
    row, column = (((torch.arange(n * _SAMPLES, device=depth_m.device) + 0.5) * size
                    / (n * _SAMPLES)).long().clamp(max=size - 1)
                   for n, size in zip(grid_hw, depth_m.shape))
    samples = _known(depth_m[row[:, None], column[None, :]])
    samples = samples.reshape(h, _SAMPLES, w, _SAMPLES).transpose(1, 2)
    samples = samples.reshape(h * w, _SAMPLES ** 2).sort(1).values              # NaN last
    known = torch.isfinite(samples).sum(1, keepdim=True)
    low, high = (known - 1).clamp(min=0) // 2, (known // 2).clamp(max=_SAMPLES ** 2 - 1)
    # Of an odd number both are the middle one; of none both are NaN
    high = torch.minimum(high, (known - 1).clamp(min=0))
    return (0.5 * (samples.gather(1, low) + samples.gather(1, high)))[:, 0].float()


def _known(depth_m: Tensor) -> Tensor:
    return torch.where(torch.isfinite(depth_m) & (depth_m > 0.0), depth_m, math.nan)


def scan_depth(points_camera: Array, camera: Camera | Panorama,
               grid_hw: tuple[int, int]) -> Depth:
    """
    Reduce a scan to one depth per cell: of the point next to the cell's centre.

    Points well behind the nearest of their cell are seen past its edge and left out. The
    nearest itself would be biased: on the road it lies at the cell's lower edge.

    :param points_camera: (N, 3) in optical axes, finite.
    :returns: (h * w,) float32, row-major, NaN for empty cells.
    """
    h, w = grid_hw
    uv, z = project(points_camera, camera)
    column, row = (uv[:, 0] + 0.5) * w / camera.width, (uv[:, 1] + 0.5) * h / camera.height
    with np.errstate(invalid='ignore'):
        inside = (z > 0.0) & (column >= 0) & (column < w) & (row >= 0) & (row < h)
    column, row, z = column[inside], row[inside], z[inside]
    cell = row.astype(np.int64) * w + column.astype(np.int64)
    nearest = np.full(h * w, np.inf)
    np.minimum.at(nearest, cell, z)
    off = np.hypot(column % 1.0 - 0.5, row % 1.0 - 0.5)
    off[z > _BEHIND * nearest[cell]] = np.inf
    order = np.lexsort((off, cell))
    cells, first = np.unique(cell[order], return_index=True)
    depth = np.full(h * w, np.nan, dtype=np.float32)
    depth[cells] = z[order][first]
    return depth
