# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What conversions of KITTI get wrong in single messages, put right; what is good stays.

The messages may be those of ROS or of a recording: both have the same fields. Each function
changes its message and tells whether it had to.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any

from loc2_ros.core.values import Array
import numpy as np

_APPROXIMATED = 1       # COVARIANCE_TYPE_APPROXIMATED: a figure of ours, not of the receiver


@dataclass(frozen=True)
class Sigmas:
    """
    Standard deviations that are taken where a message gives none.

    :param fix_m: per horizontal axis; twice that in height, as receivers are.
    """

    fix_m: float = 0.3
    orientation_rad: float = 0.01
    rate_rad_s: float = 0.01
    acceleration_m_s2: float = 0.1


def says_something(covariance: Any) -> bool:
    """Tell whether a flat square covariance is finite and positive definite."""
    flat = np.asarray(covariance, np.float64)
    side = math.isqrt(flat.size)
    if not np.all(np.isfinite(flat)):
        return False
    matrix = flat.reshape(side, side)
    return bool(np.all(matrix.diagonal() > 0)
                and np.linalg.eigvalsh(0.5 * (matrix + matrix.T))[0] > 0)


def repair_frame(message: Any, frame_id: str) -> bool:
    """Name the frame of a message that names none; tf2 knows no leading slash."""
    before = message.header.frame_id
    message.header.frame_id = before.lstrip('/') or frame_id
    return bool(message.header.frame_id != before)


def repair_fix(message: Any, sigmas: Sigmas) -> bool:
    """Fill the covariance of a NavSatFix that is zero, unset, or called unknown."""
    known = message.position_covariance_type != 0
    if known and says_something(message.position_covariance):
        return False
    variance = sigmas.fix_m ** 2
    message.position_covariance = diagonal(variance, variance, 4.0 * variance)
    message.position_covariance_type = _APPROXIMATED
    return True


def repair_imu(message: Any, sigmas: Sigmas) -> bool:
    """Fill the covariances of an Imu that are zero or unset; -1, "not measured", stays."""
    changed = False
    for part, sigma in (('orientation', sigmas.orientation_rad),
                        ('angular_velocity', sigmas.rate_rad_s),
                        ('linear_acceleration', sigmas.acceleration_m_s2)):
        covariance = getattr(message, f'{part}_covariance')
        if covariance[0] != -1.0 and not says_something(covariance):
            setattr(message, f'{part}_covariance', diagonal(*[sigma ** 2] * 3))
            changed = True
    return changed


def repair_camera(message: Any) -> bool:
    """
    Make a CameraInfo that of the rectified image, which its P is.

    Nothing of it is used where P has no focal length: then nothing is changed.
    """
    p = np.array(message.p, np.float64).reshape(3, 4)
    if not (p[0, 0] > 0 and p[1, 1] > 0 and np.all(np.isfinite(p))):
        return False
    p[:, 3] = 0.0       # the transforms have the baseline
    wanted = {'k': p[:, :3].ravel(), 'd': np.zeros(5), 'r': np.eye(3).ravel(), 'p': p.ravel()}
    if all(np.array_equal(getattr(message, name), value) for name, value in wanted.items()):
        return False
    for name, value in wanted.items():
        setattr(message, name, value)
    message.distortion_model = 'plumb_bob'
    return True


def diagonal(*variances: float) -> Array:
    """Return a flat diagonal covariance."""
    return np.diag(variances).ravel()
