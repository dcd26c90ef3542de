# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Turning the view of a panorama by rolling its columns."""

from __future__ import annotations

from dataclasses import replace
import math

from loc2_ros.core.camera import Mount
from loc2_ros.core.values import Array, Image, Pose2
import numpy as np


def turned_left(columns: int, width: int) -> Array:
    """
    Return camera_R_turned (3, 3) of a view whose content went so many columns to the right.

    :param width: columns of the whole panorama.
    """
    c, s = (f(2 * math.pi * columns / width) for f in (math.cos, math.sin))
    # Optical axes of the turned camera in those of the old one: right, down, forward
    return np.array([[c, 0.0, -s], [0.0, 1.0, 0.0], [s, 0.0, c]])


def roll_panorama(image: Image, mount: Mount,
                  turn_rad: float) -> tuple[Image, Mount, int]:
    """
    Turn the view of an equirectangular image, to the nearest column.

    :param turn_rad: how far the new centre column looks to the left of the old one.
    :returns: the rolled image, the mount of a camera that took it as it is now, and by how many
        columns its content went to the right; the mount's heading is that of these columns.
    """
    width = image.rgb.shape[1]
    columns = round(turn_rad * width / (2 * math.pi))
    level = mount.level_R_camera @ turned_left(columns, width)
    yaw = math.atan2(-level[0, 2], level[2, 2])     # of the new view about the vertical
    cy, sy = math.cos(yaw), math.sin(yaw)
    turned_R_level = np.array([[cy, 0.0, sy], [0.0, 1.0, 0.0], [-sy, 0.0, cy]])
    pose = mount.base_T_camera
    return (replace(image, rgb=np.ascontiguousarray(np.roll(image.rgb, columns, axis=1))),
            replace(mount, level_R_camera=turned_R_level @ level,
                    base_T_camera=Pose2(pose.x_m, pose.y_m, pose.yaw_rad + yaw)), columns)
