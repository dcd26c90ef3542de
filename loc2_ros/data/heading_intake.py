# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Headings that no filter of ours has touched: from Imu messages, and from where fixes lead.

Not safe under threads by itself: ``PriorIntake`` owns it.
"""

from __future__ import annotations

from collections import deque
import math
from typing import Any, Callable, Mapping

from loc2_ros.core.course import CourseTrack
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.leaps import HEADING, Leaps
from loc2_ros.core.motion import Motion
from loc2_ros.core.prior import PriorBuffer
from loc2_ros.core.values import Array, Reason
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.messages import Heading, heading_from_imu, stamp_ns
import numpy as np

# base_T_frame (4, 4) of a sensor's frame at a stamp; None while it is unknown
Mounting = Callable[[str, int], 'Array | None']

_PENDING = 500      # messages held back until the datum or the mounting of the IMU is known


def imu_offset_rad(settings: Mapping[str, Any]) -> float:
    """
    Return what is added to the yaw of an Imu so that it is true ENU.

    A declination is positive where magnetic north lies east of true north. There a compass,
    which counts clockwise, reads too little, and a yaw, which counts the other way, too much.
    """
    return math.radians(settings['prior.heading_offset']
                        - settings['prior.magnetic_declination'])


class HeadingIntake:
    """Fills the headings of a buffer, as ``prior.heading`` asks for."""

    def __init__(self, settings: Mapping[str, Any], mounting: Mounting, buffer: PriorBuffer,
                 motion: Motion) -> None:
        self._settings, self._kind = settings, settings['prior.heading']
        self._mounting, self._buffer, self._motion = mounting, buffer, motion
        self._imus: deque[Any] = deque(maxlen=_PENDING)
        self._course = CourseTrack()
        self.turns = Leaps(HEADING)
        self.from_imu = False       # whether an Imu has given a heading yet

    def retune(self, settings: Mapping[str, Any]) -> None:
        """Take changed parameters; another source of headings starts anew."""
        self._settings = settings
        if settings['prior.heading'] != self._kind:
            self._kind = settings['prior.heading']
            self.clear()

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._imus.clear()
        self._course.clear()
        self.turns.clear()
        self.from_imu = False

    def add_imu(self, msg: Any) -> None:
        """
        Take an Imu; ``drain`` turns it into a heading.

        :raises BadMessage: no stamp, or no usable orientation.
        """
        if self._kind not in ('imu', 'odometry'):
            return
        if stamp_ns(msg.header.stamp) <= 0:
            raise BadMessage(Reason.NO_HEADING, 'the message has no stamp')
        self._heading(msg, np.eye(3))
        self._imus.append(msg)

    def add_position(self, stamp: int, xy_map_m: Array, sigma_m: float) -> None:
        """Take the position of a fix; several of them have a course."""
        if self._kind != 'course' and (self._kind != 'odometry' or self.from_imu):
            return
        course = self._course.add(stamp, xy_map_m, sigma_m)
        if course is None or course.speed_mps < self._settings['prior.course_min_speed']:
            return
        moved = self._motion(self._course.start_ns, stamp)
        # Only odometry can tell that the vehicle reverses
        backward = moved is not None and moved.x_m < 0.0
        self._add(stamp, course.yaw_rad + (math.pi if backward else 0.0), course.sigma_rad)

    def drain(self, frame: LocalFrame | None, near_xy: Array) -> str:
        """
        Turn held back Imu messages into headings once the mounting and the datum are known.

        :param near_xy: about where the vehicle is, for the convergence of the meridians.
        :returns: what is missing; '' where nothing is.
        """
        if frame is None:
            return ''
        waiting: list[Any] = []
        unknown: set[str] = set()
        for msg in self._imus:
            stamp, frame_id = stamp_ns(msg.header.stamp), str(msg.header.frame_id)
            # A frame is looked up once, and for the newest: there may be hundreds of messages
            asked = frame_id not in unknown or msg is self._imus[-1]
            base_T_imu = self._base_T(frame_id, stamp) if asked else None
            if base_T_imu is None:
                unknown.add(frame_id)
                waiting.append(msg)
                continue
            heading = self._heading(msg, base_T_imu[:3, :3])
            turn = float(frame.convergence_rad(near_xy)) + imu_offset_rad(self._settings)
            self._add(stamp, heading.yaw_rad + turn, heading.sigma_rad)
            self.from_imu = True
            waiting.clear()         # older than a heading that is known, they are not needed
        self._imus = deque(waiting, maxlen=_PENDING)
        return (f'nobody says how {str(waiting[0].header.frame_id)!r} is mounted (TF)'
                if waiting else '')

    def _add(self, stamp: int, yaw_map_rad: float, sigma_rad: float) -> None:
        self._buffer.add_heading(stamp, yaw_map_rad, sigma_rad)
        self.turns.add(stamp, np.array([yaw_map_rad]), sigma_rad)

    def _base_T(self, frame_id: str, stamp: int) -> Array | None:
        return self._mounting(frame_id, stamp) if frame_id else np.eye(4)

    def _heading(self, msg: Any, base_R_imu: Array) -> Heading:
        sigma = math.radians(self._settings['prior.heading_stddev'])
        return heading_from_imu(msg, sigma, base_R_imu)
