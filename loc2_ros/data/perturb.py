# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A known error on the prior, so that a recording can be its own reference.

It is applied to NavSatFix and Imu messages, by the offline twin and by the DDS player with the
same code and the same stamps, so that both see the same prior.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
import math
from types import SimpleNamespace
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.data.messages import (
    quaternion_from_rotation, rotation_from_quaternion, stamp_ns)
import numpy as np

PERIOD_S = 120.0
_KNOWN = 2      # COVARIANCE_TYPE_DIAGONAL_KNOWN


@dataclass(frozen=True)
class PriorNoise:
    """
    An offset of constant length whose direction turns once in 120 s, and a heading offset.

    :param metres: length of the horizontal offset.
    :param degrees: size of the heading offset; the seed chooses its sign.
    :param seed: chooses the direction at time zero and the sign.
    """

    metres: float
    degrees: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not (0.0 <= self.metres <= 1000.0 and 0.0 <= self.degrees <= 180.0):
            raise ValueError(f'prior noise must lie in 0 to 1000 m and 0 to 180 deg, got '
                             f'{self.metres} m and {self.degrees} deg')

    @staticmethod
    def parse(text: str, seed: int = 0) -> PriorNoise:
        """
        Read ``M,DEG``.

        :raises ValueError: not two numbers in range.
        """
        try:
            metres, degrees = (float(part) for part in text.split(','))
        except ValueError as error:
            raise ValueError(f'write prior noise as M,DEG (for example 15,8), not {text!r}') \
                from error
        return PriorNoise(metres, degrees, seed)

    def offset_m(self, stamp: int) -> tuple[float, float]:
        """Return the offset at a stamp (ns), metres east and north."""
        start, _ = self._draw()
        # Integer arithmetic first: a float of 1e18 ns has steps of 128 ns
        turn = stamp % int(PERIOD_S * 1e9) / (PERIOD_S * 1e9)
        angle = start + 2.0 * math.pi * turn
        return self.metres * math.cos(angle), self.metres * math.sin(angle)

    @property
    def heading_offset_rad(self) -> float:
        """Return the heading offset, radians, counter-clockwise."""
        return math.radians(self.degrees) * self._draw()[1]

    def fix(self, message: Any) -> Any:
        """Return a moved copy of a NavSatFix; its covariance says how far it may be off."""
        moved = copy.deepcopy(message)
        lat, lon = float(message.latitude), float(message.longitude)
        if not (abs(lat) <= 90.0 and abs(lon) <= 360.0) or self.metres == 0.0:
            return moved        # broken messages stay as broken as they are; NaN is one
        east, north = self.offset_m(stamp_ns(message.header.stamp))
        moved.latitude, moved.longitude = LocalFrame(lat, lon).inverse([east, north])
        covariance = np.array(message.position_covariance, dtype=np.float64)
        covariance[[0, 4]] += self.metres ** 2 / 2.0
        moved.position_covariance = covariance
        moved.position_covariance_type = _KNOWN
        return moved

    def imu(self, message: Any) -> Any:
        """Return a turned copy of an Imu; its covariance says how far it may be off."""
        turned = copy.deepcopy(message)
        angle = self.heading_offset_rad
        if angle == 0.0 or float(message.orientation_covariance[0]) == -1.0:
            return turned
        half = SimpleNamespace(x=0.0, y=0.0, z=math.sin(angle / 2), w=math.cos(angle / 2))
        try:
            rotation = rotation_from_quaternion(message.orientation)
        except ValueError:
            return turned       # broken messages stay as broken as they are
        xyzw = quaternion_from_rotation(rotation_from_quaternion(half) @ rotation)
        for name, value in zip('xyzw', xyzw):
            setattr(turned.orientation, name, float(value))
        covariance = np.array(message.orientation_covariance, dtype=np.float64)
        covariance[8] += angle ** 2
        turned.orientation_covariance = covariance
        return turned

    def _draw(self) -> tuple[float, float]:
        """Return the direction at time zero and the sign of the heading offset."""
        rng = np.random.default_rng([15, 8, self.seed])
        return float(rng.uniform(0.0, 2.0 * math.pi)), float(rng.choice((-1.0, 1.0)))
