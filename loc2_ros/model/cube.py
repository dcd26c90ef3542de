# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A panorama as the six faces of a cube, for networks that know pinhole images only.

Faces overlap, since what a network says near the border of an image is worth less; where they
do, their ranges are blended.
"""

from __future__ import annotations

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
    _, height, width = image.shape
    rays = token_rays(face_camera(side), (side, side))
    wrapped = torch.cat([image[..., -1:], image, image[..., :1]], -1)
    faces = []
    for panorama_R_face in ROTATIONS:
        uv, _ = project(rays @ panorama_R_face.T, Panorama(width, height))
        uv[:, 0] += 1.0         # the column that was put in front
        faces.append(_sample(wrapped, uv, (side, side)))
    return torch.stack(faces)


def merge_faces(planar: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """
    Put the planar depth of the faces together.

    :param planar: (6, n, n) metres, over the field of view of `split_panorama`.
    :returns: (h, w) range along the rays of a panorama, metres.
    """
    side = planar.shape[-1]
    camera = face_camera(side)
    length = np.linalg.norm(token_rays(camera, (side, side)), axis=1).reshape(side, side)
    reach = planar * torch.as_tensor(length).to(planar)
    rays = panorama_rays(size_hw)
    total = torch.zeros(size_hw).to(planar)
    blended = torch.zeros_like(total)
    for depth, panorama_R_face in zip(reach, ROTATIONS):
        local = rays @ panorama_R_face
        with np.errstate(divide='ignore', invalid='ignore'):
            slope = np.abs(local[:, :2]).max(axis=1) / local[:, 2]
        # 1 inside the face proper, falling to 0 at the border of what it overlaps
        share = np.where(local[:, 2] > 0.0, (HALF_FIELD - slope) / (HALF_FIELD - 1.0), 0.0)
        share = np.clip(share, 0.0, 1.0).reshape(size_hw)
        uv, _ = project(local, camera)
        found = _sample(depth[None], np.nan_to_num(uv, nan=-math.inf, neginf=-10.0 * side),
                        size_hw)[0]
        weight = torch.as_tensor(share).to(planar)
        total += weight
        blended += weight * found
    return blended / total


def _sample(image: Tensor, uv_px: Array, size_hw: tuple[int, int]) -> Tensor:
    """Return (C, h, w) of an image (C, H, W) at pixels (h * w, 2), bilinear, clamped."""
    _, height, width = image.shape
    scaled = 2.0 * (uv_px + 0.5) / (width, height) - 1.0
    grid = torch.as_tensor(scaled).to(image).reshape(1, *size_hw, 2)
    return functional.grid_sample(image[None], grid, mode='bilinear', padding_mode='border',
                                  align_corners=False)[0]
