# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Camera tokens with depth become points on the ground plane, seen from above.

A token's ray times its depth is a point. Of its level axes (right, down, forward) the ground plane
keeps ``Y = (-forward, right)``: x backward, y right, metres, origin at the camera.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

# A ray has to dip below the horizon by this much to meet the ground: 0.06 degrees
_MIN_DIP = 1e-3


def lift(depth_m: Tensor, level: Tensor) -> Tensor:
    """
    Lift tokens to the ground plane by their depth.

    :param depth_m: (..., N) metres, in lengths of the rays: along the optical axis for rays with
        z = 1 there, along the ray for rays of unit length.
    :param level: (..., N, 3) token rays in level axes, right, down, forward.
    :returns: (..., N, 2) ground points; where the depth is unknown the point means nothing.
    """
    return depth_m[..., None] * torch.stack((-level[..., 2], level[..., 0]), -1)


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
