# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From NavSatFix and Imu messages to the prior of an image, for the node and the offline twin.

Settings are the node's parameters by name (``ros/params.py``). Safe under threads: callbacks
add, the worker waits and asks.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
import math
import threading
from typing import Any, Callable, Mapping

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.prior import PriorBuffer
from loc2_ros.core.values import Array, Prior, Reason, Rejection
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.messages import heading_from_imu, Position, position_from_fix, stamp_ns
import numpy as np

# base_T_frame (4, 4) of a sensor's frame; None while it is unknown
Mounting = Callable[[str], 'Array | None']

_PENDING = 500      # messages held back until the datum or the mounting of the IMU is known


class PriorIntake:
    """Keeps what the prior of an image needs: the datum, positions, headings, lever arms."""

    def __init__(self, settings: Mapping[str, Any], mounting: Mounting) -> None:
        """Start empty; ``mounting`` answers at once, without waiting."""
        self._settings, self._mounting = settings, mounting
        self._changed = threading.Condition()
        self._buffer = PriorBuffer(settings['prior.max_age'], settings['prior.max_jump'])
        self._frame: LocalFrame | None = None
        self._fixes: deque[tuple[int, Position]] = deque(maxlen=_PENDING)
        self._imus: deque[Any] = deque(maxlen=_PENDING)
        self._fix_frame = ''
        self._last_xy = np.zeros(2)
        self._headed = False
        self.lever_unknown = False
        self.sigma_known = True
        self.last_problem = ''

    @property
    def frame(self) -> LocalFrame | None:
        """Return the map frame, None until the datum is known."""
        return self._frame

    def set_frame(self, frame: LocalFrame) -> None:
        """Set the map frame; positions that came before are placed in it."""
        with self._changed:
            self._frame = frame
            while self._fixes:
                self._place(*self._fixes.popleft())
            self._drain()
            self._changed.notify_all()

    def add_fix(self, msg: Any) -> Position:
        """
        Add a NavSatFix and return its position.

        :raises BadMessage: no fix, not a number; it is not used.
        """
        with self._changed:
            position = self._read(lambda: position_from_fix(
                msg, self._settings['prior.position_stddev']))
            self.sigma_known = position.sigma_known
            self._fix_frame = str(msg.header.frame_id)
            stamp = self._read(lambda: _stamp(msg, Reason.NO_PRIOR))
            if self._frame is None:
                self._fixes.append((stamp, position))
            else:
                self._place(stamp, position)
            self._changed.notify_all()
        return position

    def add_imu(self, msg: Any) -> None:
        """
        Add an Imu with an absolute heading.

        :raises BadMessage: no usable orientation; it is not used.
        """
        if self._settings['prior.heading'] != 'imu':
            return
        with self._changed:
            self._read(lambda: _stamp(msg, Reason.NO_HEADING))
            self._read(lambda: self._heading(msg, np.eye(3)))
            self._imus.append(msg)
            self._drain()
            self._changed.notify_all()

    def wait(self, stamp: int, timeout_s: float, stopped: Callable[[], bool]) -> None:
        """Wait until there are priors at or after a stamp; only the worker may."""
        with self._changed:
            self._changed.wait_for(lambda: stopped() or self._reaches(stamp), timeout_s)

    def reaches(self, stamp: int) -> bool:
        """Return whether there are priors at or after a stamp."""
        with self._changed:
            return self._reaches(stamp)

    def at(self, stamp: int) -> Prior | Rejection:
        """Return where base_link probably is at a stamp, lever arm of the antenna included."""
        with self._changed:
            self._drain()
            if self._frame is None:
                return Rejection(stamp, Reason.NO_PRIOR, detail=(
                    'no datum and no good fix yet' + _because(self.last_problem)))
            prior = self._buffer.at(stamp)
            if isinstance(prior, Rejection):
                return replace(prior, detail=prior.detail + _because(self.last_problem))
            return self._of_base(prior)

    def clear(self) -> None:
        """Forget everything but the datum."""
        with self._changed:
            self._buffer.clear()
            self._fixes.clear()
            self._imus.clear()
            self._headed = False
            self.last_problem = ''
            self._changed.notify_all()

    def retune(self, settings: Mapping[str, Any]) -> None:
        """Take changed parameters; what was collected before stays."""
        with self._changed:
            self._settings = settings
            self._buffer.max_age_s = settings['prior.max_age']
            self._buffer.max_jump_m = settings['prior.max_jump']

    def _reaches(self, stamp: int) -> bool:
        self._drain()
        # The first heading often comes just after the first fix: worth the wait, too
        complete = self._headed or self._settings['prior.heading'] != 'imu'
        return self._frame is not None and complete and self._buffer.reaches(stamp)

    def _place(self, stamp: int, position: Position) -> None:
        if self._frame is not None:
            self._last_xy = self._frame.forward(position.lat_deg, position.lon_deg)
            self._buffer.add_position(stamp, self._last_xy, position.sigma_m)
            self.last_problem = ''

    def _drain(self) -> None:
        """Turn held back Imu messages into headings once the mounting and the datum are known."""
        while self._imus and self._frame is not None:
            msg = self._imus[0]
            base_T_imu = self._base_T(str(msg.header.frame_id))
            if base_T_imu is None:
                self.last_problem = f'nobody says how {msg.header.frame_id!r} is mounted (TF)'
                return
            heading = self._heading(msg, base_T_imu[:3, :3])
            # True heading to map heading: the meridians converge
            turn = float(self._frame.convergence_rad(self._last_xy))
            offset = math.radians(self._settings['prior.heading_offset'])
            self._buffer.add_heading(_stamp(msg, Reason.NO_HEADING),
                                     heading.yaw_rad + turn + offset, heading.sigma_rad)
            self._imus.popleft()
            self._headed = True

    def _heading(self, msg: Any, base_R_imu: Array) -> Any:
        sigma = math.radians(self._settings['prior.heading_stddev'])
        return heading_from_imu(msg, sigma, base_R_imu)

    def _of_base(self, prior: Prior) -> Prior:
        """Move a prior from the antenna to base_link."""
        base_T_fix = self._base_T(self._fix_frame)
        self.lever_unknown = base_T_fix is None
        if base_T_fix is None:      # said aloud in diagnostics; metres against a 10 m prior
            return prior
        lever = base_T_fix[:2, 3]
        if prior.yaw_map_rad is None:
            grown = math.hypot(prior.sigma_xy_m, float(np.hypot(*lever)))
            return replace(prior, sigma_xy_m=grown)
        c, s = math.cos(prior.yaw_map_rad), math.sin(prior.yaw_map_rad)
        moved = prior.xy_map_m - np.array([[c, -s], [s, c]]) @ lever
        return replace(prior, xy_map_m=moved)

    def _base_T(self, frame_id: str) -> Array | None:
        """Return how a sensor is mounted; a message without a frame speaks of base_link."""
        return self._mounting(frame_id) if frame_id else np.eye(4)

    def _read(self, reader: Callable[[], Any]) -> Any:
        """Run a reader and keep the sentence of its refusal."""
        try:
            return reader()
        except BadMessage as error:
            self.last_problem = str(error)
            raise


def _stamp(msg: Any, reason: Reason) -> int:
    stamp = stamp_ns(msg.header.stamp)
    if stamp <= 0:
        raise BadMessage(reason, 'the message has no stamp')
    return stamp


def _because(problem: str) -> str:
    return f' ({problem})' if problem else ''
