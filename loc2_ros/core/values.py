# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The values that travel through the localizer: frozen, validated, NumPy only.

Angles are radians, counter-clockwise, in [-pi, pi). Stamps are integer nanoseconds, so that
what is published carries the image's stamp to the nanosecond.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
import math
from typing import Any, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def wrap_pi(angle_rad: float) -> float:
    """Wrap an angle to [-pi, pi)."""
    return (angle_rad + math.pi) % (2.0 * math.pi) - math.pi


def step_between(before: Array, after: Array, circle: bool = False) -> Array:
    """Return how a quantity (N,) has changed; on a circle it is one angle, (1,), the short way."""
    step = after - before
    return np.array([wrap_pi(float(step[0]))]) if circle else step


@dataclass(frozen=True)
class Pose2:
    """
    A planar pose ``a_T_b``: takes coordinates of frame b to frame a.

    :param x_m: position of b's origin in a, metres.
    :param y_m: position of b's origin in a, metres.
    :param yaw_rad: rotation from a's x axis to b's x axis, counter-clockwise.
    """

    x_m: float
    y_m: float
    yaw_rad: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.x_m) and math.isfinite(self.y_m)
                and math.isfinite(self.yaw_rad)):
            raise ValueError(f'a pose must be finite, got {self}')
        object.__setattr__(self, 'yaw_rad', wrap_pi(self.yaw_rad))

    @property
    def xy_m(self) -> Array:
        """Return the position, (2,) float64, metres."""
        return np.array([self.x_m, self.y_m])

    def __matmul__(self, other: Pose2) -> Pose2:
        """Chain: ``a_T_c = a_T_b @ b_T_c``."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return Pose2(self.x_m + c * other.x_m - s * other.y_m,
                     self.y_m + s * other.x_m + c * other.y_m,
                     self.yaw_rad + other.yaw_rad)

    def inverse(self) -> Pose2:
        """Return ``b_T_a``."""
        c, s = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return Pose2(-c * self.x_m - s * self.y_m, s * self.x_m - c * self.y_m, -self.yaw_rad)


@dataclass(frozen=True)
class Camera:
    """
    A rectified pinhole camera, as the left 3x3 block of ``CameraInfo.p`` gives it.

    Pixel (u, v) = (column, row); (0, 0) is the centre of the first pixel, as in OpenCV and ROS.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        numbers = (self.fx, self.fy, self.cx, self.cy)
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f'a camera needs a size, got {self.width}x{self.height}')
        if not all(math.isfinite(n) for n in numbers) or self.fx <= 0 or self.fy <= 0:
            raise ValueError(f'a camera needs finite intrinsics and fx, fy > 0, got {numbers}')

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera of the same image resized to (width, height), not cropped."""
        sx, sy = width / self.width, height / self.height
        # Pixel centres sit at integers here, so scaling happens about the corner at -1/2
        return Camera(width, height, self.fx * sx, self.fy * sy,
                      (self.cx + 0.5) * sx - 0.5, (self.cy + 0.5) * sy - 0.5)


@dataclass(frozen=True)
class Panorama:
    """
    A full equirectangular camera: columns are 360 degrees of azimuth, rows 180 from up to down.

    The centre of the image looks along the optical axis, columns increase clockwise. Its depth
    is range, the distance along the ray; a pinhole's is planar.
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f'a camera needs a size, got {self.width}x{self.height}')

    def resized(self, width: int, height: int) -> Panorama:
        """Return the camera of the same image resized to (width, height), not cropped."""
        return Panorama(width, height)


@dataclass(frozen=True)
class Image:
    """
    One camera image: rectified, or a full panorama.

    :param rgb: (H, W, 3) uint8, RGB.
    :param stamp_ns: time of exposure, nanoseconds.
    :param camera: the camera that took it; its size equals the image's.
    """

    rgb: NDArray[np.uint8]
    stamp_ns: int
    camera: Camera | Panorama

    def __post_init__(self) -> None:
        expected = (self.camera.height, self.camera.width, 3)
        if self.rgb.shape != expected or self.rgb.dtype != np.uint8:
            raise ValueError(f'the camera says {expected} uint8, the image has '
                             f'{self.rgb.shape} {self.rgb.dtype}')


@dataclass(frozen=True)
class Prior:
    """
    Where the vehicle probably is at the stamp of an image: the pose of base_link in the map.

    :param stamp_ns: the time it holds for, nanoseconds.
    :param xy_map_m: (2,) float64, metres.
    :param yaw_map_rad: heading in the map frame; None when no heading source exists.
    :param sigma_xy_m: standard deviation per axis.
    :param sigma_yaw_rad: standard deviation; None exactly when the heading is.
    :param age_s: distance in time to the nearest measurement that went into it.
    :param source: where the position comes from: fix, odometry or initialpose.
    """

    stamp_ns: int
    xy_map_m: Array
    yaw_map_rad: float | None
    sigma_xy_m: float
    sigma_yaw_rad: float | None
    age_s: float = 0.0
    source: str = 'fix'

    def __post_init__(self) -> None:
        if np.shape(self.xy_map_m) != (2,) or not np.all(np.isfinite(self.xy_map_m)):
            raise ValueError(f'a prior needs a finite position, got {self.xy_map_m}')
        if (self.yaw_map_rad is None) != (self.sigma_yaw_rad is None):
            raise ValueError('a prior has both a heading and its deviation, or neither')
        if self.yaw_map_rad is not None and not math.isfinite(self.yaw_map_rad):
            raise ValueError(f'a prior heading must be finite, got {self.yaw_map_rad}')


class Reason(Enum):
    """Why a fix was refused; the value is the name used in logs, diagnostics and metrics."""

    NO_PRIOR = 'no_prior'                   # no position prior has arrived yet
    PRIOR_STALE = 'prior_stale'             # older than prior.max_age at the image stamp
    PRIOR_JUMP = 'prior_jump'               # neighbours further apart than speed explains
    NO_HEADING = 'no_heading'               # the model needs a heading prior and there is none
    MAP_COVERAGE = 'map_coverage'           # too little of the crop is on the map
    NO_CAMERA_INFO = 'no_camera_info'       # no camera_info yet
    BAD_CAMERA_INFO = 'bad_camera_info'     # fx = 0, non-finite, or not the image's size
    BAD_IMAGE = 'bad_image'                 # encoding, truncated data, undecodable JPEG
    BAD_STAMP = 'bad_stamp'                 # zero, duplicate or older than the last image
    IMAGE_STALE = 'image_stale'             # older than max_image_age on arrival
    NO_TF = 'no_tf'                         # base -> camera unknown at the stamp
    NO_DEPTH = 'no_depth'                   # the depth source has nothing for this stamp
    FEW_MATCHES = 'few_matches'             # the model finds too little of the image in the crop
    DEGENERATE = 'degenerate'               # the matches do not determine a pose
    FEW_INLIERS = 'few_inliers'             # fewer inliers than gate.min_inliers
    LOW_SCORE = 'low_score'                 # score below gate.min_score
    SCALE = 'scale'                         # the solved depth scale is not believable
    FAR_FROM_PRIOR = 'far_from_prior'       # further away than gate.max_prior_distance
    HEADING_OFF = 'heading_off'             # outside the model's heading range
    UNCERTAIN = 'uncertain'                 # covariance above covariance.ceiling
    INNOVATION = 'innovation'               # off the last fixes as odometry moves them
    MODEL_ERROR = 'model_error'             # the network raised; the message is logged


@dataclass(frozen=True)
class Rejection:
    """
    A fix that was refused: the reason, the numbers behind it, a sentence for people.

    :param stamp_ns: stamp of the image.
    :param numbers: what was measured, by name with unit (``age_s``, ``valid_fraction``).
    """

    stamp_ns: int
    reason: Reason
    numbers: Mapping[str, float] = field(default_factory=dict)
    detail: str = ''
    evidence: Evidence | None = None

    def __str__(self) -> str:
        numbers = ', '.join(f'{k}={v:.3g}' for k, v in self.numbers.items())
        return ': '.join(p for p in (self.reason.value, self.detail, numbers) if p)


@dataclass(frozen=True)
class Fix:
    """
    An accepted pose of base_link in the map at the image's stamp.

    :param covariance: (3, 3) float64 of (x_m, y_m, yaw_rad), symmetric positive definite.
    :param score: quality in [0, 1], larger is better.
    :param scale: solved factor from lifted depth to metres.
    :param n_matches: matches that entered the solver.
    :param n_inliers: matches that agree with the pose.
    :param prior_distance_m: distance from the prior that seeded the crop.
    """

    stamp_ns: int
    map_T_base: Pose2
    covariance: Array
    score: float
    scale: float
    n_matches: int
    n_inliers: int
    prior_distance_m: float
    evidence: Evidence | None = None

    def __post_init__(self) -> None:
        cov = self.covariance
        if np.shape(cov) != (3, 3) or not np.all(np.isfinite(cov)):
            raise ValueError(f'a fix needs a finite 3x3 covariance, got {cov}')
        if not np.allclose(cov, cov.T, rtol=1e-9, atol=1e-12) or np.linalg.eigvalsh(cov)[0] <= 0:
            raise ValueError(f'a covariance must be symmetric positive definite, got {cov}')

    @property
    def sigma_xy_m(self) -> float:
        """Return the standard deviation per axis: root of the mean of the two variances."""
        return math.sqrt((self.covariance[0, 0] + self.covariance[1, 1]) / 2.0)

    @property
    def sigma_yaw_rad(self) -> float:
        """Return the standard deviation of the heading."""
        return math.sqrt(self.covariance[2, 2])


@dataclass(frozen=True)
class Evidence:
    """
    What a fix or a late rejection rests on, kept for pictures and debug topics.

    All arrays have one row per match that entered the solver.

    :param crop_rgb: (n, n, 3) uint8, the aerial crop.
    :param map_T_px: (2, 3) float64, crop pixel centre (u, v) -> map metres.
    :param ground_uv_px: (N, 2) float64, pixel in the camera image.
    :param lifted_map_m: (N, 2) float64, lifted points placed on the map with the solved pose.
    :param matched_map_m: (N, 2) float64, where the network saw the same points on the map.
    :param weight: (N,) float64, match confidence.
    :param inlier: (N,) bool.
    :param timings_s: seconds spent per stage.
    :param layout_map_m: (h, w, 2) every token below the horizon, placed like the lifted points,
        NaN for the others; ``layout_uv_px`` (h, w, 2) its pixel. None unless asked for.
    :param votes: (rows, cols) share of the match probability by where it puts the camera, and
        ``map_T_vote`` (2, 3) from its cells (column, row) to the map; None unless asked for.
    """

    crop_rgb: NDArray[np.uint8]
    map_T_px: Array
    ground_uv_px: Array
    lifted_map_m: Array
    matched_map_m: Array
    weight: Array
    inlier: NDArray[np.bool_]
    timings_s: Mapping[str, float] = field(default_factory=dict)
    numbers: Mapping[str, Any] = field(default_factory=dict)
    layout_map_m: Array | None = None
    layout_uv_px: Array | None = None
    votes: NDArray[np.float32] | None = None
    map_T_vote: Array | None = None
