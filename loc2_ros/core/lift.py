# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Camera tokens with depth become points on the ground plane, seen from above.

A token's ray times its depth is a point in the camera; the mount's rotation makes it level
(right, down, forward); the ground plane keeps ``Y = (-forward, right)``: x backward, y right,
metres, origin at the camera.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A ray has to dip below the horizon by this much to meet the ground: 0.06 degrees
_MIN_DIP = 1e-3


def lift_planar(depth_m: Tensor, rays: Tensor, level_R_camera: Tensor) -> Tensor:
    """
    Lift tokens by planar depth, the distance along the optical axis.

    :param depth_m: (..., N), metres.
    :param rays: (N, 3) in optical axes with z = 1.
    :param level_R_camera: (3, 3), from optical axes to level axes of the same heading.
    :returns: (..., N, 2) ground points; where the depth is unknown the point means nothing.
    """
    level = rays.to(depth_m) @ level_R_camera.to(depth_m).T  # (N, 3) right, down, forward
    return depth_m[..., None] * torch.stack((-level[:, 2], level[:, 0]), -1)


def lift_range(range_m: Tensor, rays: Tensor, level_R_camera: Tensor) -> Tensor:
    """
    Lift tokens by range, the distance along the ray; arguments as in `lift_planar`.

    :param rays: (N, 3) in optical axes, any length.
    """
    unit = rays / torch.linalg.vector_norm(rays, dim=-1, keepdim=True)
    return lift_planar(range_m, unit, level_R_camera)


def depth_mask(depth_m: Tensor, max_depth_m: float) -> Tensor:
    """
    Tell which depths can be lifted: finite, positive and short of the limit.

    :returns: bool of the depth's shape. Depth at the limit is sky or clipped, so it is out.
    """
    return torch.isfinite(depth_m) & (depth_m > 0.0) & (depth_m < max_depth_m)


def flat_ground_depth(rays: Tensor, level_R_camera: Tensor, camera_height_m: float,
                      camera_pitch_rad: float = 0.0) -> Tensor:
    """
    Compute where rays meet flat ground.

    :param rays: (N, 3) in optical axes; with z = 1 for planar depth, of unit length for range.
    :param level_R_camera: (3, 3), from optical axes to level axes.
    :param camera_height_m: height of the camera above the ground.
    :param camera_pitch_rad: further pitch the mount does not know of, positive nose down.
    :returns: (N,) depth; NaN for rays at or above the horizon.
    """
    level = rays @ level_R_camera.to(rays).T
    down = math.cos(camera_pitch_rad) * level[:, 1] + math.sin(camera_pitch_rad) * level[:, 2]
    dips = down > _MIN_DIP * torch.linalg.vector_norm(rays, dim=-1)
    nan = torch.full_like(down, math.nan)
    return torch.where(dips, camera_height_m / torch.where(dips, down, 1.0), nan)
