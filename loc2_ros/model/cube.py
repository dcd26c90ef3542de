# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A panorama as the six faces of a cube, for networks that know pinhole images only.

Faces overlap, since what a network says near the border of an image is worth less; where they
do, their ranges are blended.
"""

from __future__ import annotations

from functools import lru_cache
import math

from loc2_ros.core.camera import panorama_rays, project, token_rays
from loc2_ros.core.values import Array, Camera, Panorama
import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as functional

HALF_FIELD = 1.2        # tangent of half the field of view: 100 degrees instead of 90


def _face_rotations() -> list[Array]:
    """Return panorama_R_face of forward, right, back, left, up, down; optical axes."""
    turns = [np.array([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]])
             for c, s in ((1.0, 0.0), (0.0, 1.0), (-1.0, 0.0), (0.0, -1.0))]
    tilts = [np.array([[1.0, 0.0, 0.0], [0.0, 0.0, s], [0.0, -s, 0.0]]) for s in (-1.0, 1.0)]
    return turns + tilts


ROTATIONS = _face_rotations()


def face_camera(side: int) -> Camera:
    """Return the pinhole camera of a face of so many pixels."""
    focal = side / 2.0 / HALF_FIELD
    return Camera(side, side, focal, focal, (side - 1) / 2.0, (side - 1) / 2.0)


def split_panorama(image: Tensor, side: int) -> Tensor:
    """
    Cut a panorama (C, H, W) into faces (6, C, side, side).

    :param side: pixels per face.
    """
    wrapped = torch.cat([image[..., -1:], image, image[..., :1]], -1)
    grids = _face_grids(image.shape[-2:], side, image.device)
    return torch.stack([_sample(wrapped, grid) for grid in grids])


def merge_faces(planar: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """
    Put the planar depth of the faces together.

    :param planar: (6, n, n) metres, over the field of view of `split_panorama`.
    :returns: (h, w) range along the rays of a panorama, metres.
    """
    grids, shares, length = _blending(planar.shape[-1], size_hw, planar.device)
    found = torch.stack([_sample(depth[None], grid)[0]
                         for depth, grid in zip(planar * length, grids)])
    return (shares * found).sum(0) / shares.sum(0)


@lru_cache(maxsize=2)
def _face_grids(size_hw: tuple[int, int], side: int, device: torch.device) -> Tensor:
    """Return where the pixels of the faces lie in a panorama with a column more on each side."""
    height, width = size_hw
    rays = token_rays(face_camera(side), (side, side))
    grids = []
    for panorama_R_face in ROTATIONS:
        uv, _ = project(rays @ panorama_R_face.T, Panorama(width, height))
        uv[:, 0] += 1.0         # the column that was put in front
        grids.append(_grid(uv, (height, width + 2), (side, side)))
    return torch.stack(grids).to(device)


@lru_cache(maxsize=2)
def _blending(side: int, size_hw: tuple[int, int],
              device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return where a panorama's pixels lie in the faces, their shares, the faces' ray lengths."""
    camera = face_camera(side)
    length = np.linalg.norm(token_rays(camera, (side, side)), axis=1).reshape(side, side)
    rays = panorama_rays(size_hw)
    grids, shares = [], []
    for panorama_R_face in ROTATIONS:
        local = rays @ panorama_R_face
        with np.errstate(divide='ignore', invalid='ignore'):
            slope = np.abs(local[:, :2]).max(axis=1) / local[:, 2]
        # 1 inside the face proper, falling to 0 at the border of what it overlaps
        share = np.where(local[:, 2] > 0.0, (HALF_FIELD - slope) / (HALF_FIELD - 1.0), 0.0)
        shares.append(np.clip(share, 0.0, 1.0).reshape(size_hw))
        uv, _ = project(local, camera)
        grids.append(_grid(np.nan_to_num(uv, nan=-math.inf, neginf=-10.0 * side), (side, side),
                           size_hw))
    return (torch.stack(grids).to(device), torch.from_numpy(np.stack(shares)).float().to(device),
            torch.from_numpy(length).float().to(device))


def _grid(uv_px: Array, image_hw: tuple[int, int], size_hw: tuple[int, int]) -> Tensor:
    """Return pixels (h * w, 2) of an image in the units of `grid_sample`, (h, w, 2)."""
    height, width = image_hw
    scaled = 2.0 * (uv_px + 0.5) / (width, height) - 1.0
    return torch.from_numpy(scaled).float().reshape(*size_hw, 2)


def _sample(image: Tensor, grid: Tensor) -> Tensor:
    """Return (C, h, w) of an image (C, H, W) at the places of a grid, bilinear, clamped."""
    return functional.grid_sample(image[None], grid[None].to(image), mode='bilinear',
                                  padding_mode='border', align_corners=False)[0]
