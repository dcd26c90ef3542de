# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From messages to the prior of an image, and from its fix back, for the node and the offline twin.

Settings are the node's parameters by name (``ros/params.py``). Safe under threads: callbacks
add, the worker waits, asks and settles.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
import math
import threading
from typing import Any, Callable, Mapping

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.leaps import Leaps, POSITION
from loc2_ros.core.motion import Odometry
from loc2_ros.core.predict import by_changes, by_odometry, first_known
from loc2_ros.core.seed import Seed
from loc2_ros.core.values import Array, Fix, Prior, Reason, Rejection
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.heading_intake import HeadingIntake, Mounting
from loc2_ros.data.messages import Position, position_from_fix, stamp_ns
from loc2_ros.data.pose_messages import PoseMeasurement, read_pose
from loc2_ros.data.prior_sources import PriorSources
from loc2_ros.data.supervisor import Supervisor
import numpy as np

_PENDING = 500      # fixes held back until the datum is known


class PriorIntake:
    """Keeps what the prior of an image needs: datum, positions, headings, odometry, fixes."""

    def __init__(self, settings: Mapping[str, Any], mounting: Mounting,
                 odometry: Odometry | None = None) -> None:
        """
        Start empty.

        :param mounting: answers at once, without waiting.
        :param odometry: looks up transforms; None: it is filled by ``add_odometry``.
        """
        self._settings, self._mounting = settings, mounting
        self.odometry = odometry or Odometry()
        self._changed = threading.Condition()
        self._sources = PriorSources(settings, mounting, self.odometry)
        self._headings = HeadingIntake(settings, mounting, self._sources.gnss,
                                       self.odometry.between)
        self._moves = Leaps(POSITION)
        self._supervisor = Supervisor(settings, first_known(
            by_odometry(self.odometry.between),
            by_changes(self._moves, self._headings.turns)), self.odometry)
        self._frame: LocalFrame | None = None
        self._fixes: deque[tuple[int, Position]] = deque(maxlen=_PENDING)
        self._last_xy = np.zeros(2)
        self._epoch = self._asked = 0       # a fix from before a clear must not be remembered
        self.sigma_known = True
        self.last_problem = ''

    @property
    def frame(self) -> LocalFrame | None:
        """Return the map frame, None until the datum is known."""
        return self._frame

    @property
    def lever_unknown(self) -> bool:
        """Return whether nobody says where the antenna is."""
        return self._sources.lever_unknown

    @property
    def filter_off(self) -> tuple[int, float]:
        """Return how many fixes in a row the filter's pose was away from, and how far, metres."""
        return self._supervisor.disagreements, self._supervisor.disagreement_m

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
            position: Position = self._read(lambda: position_from_fix(
                msg, self._settings['prior.position_stddev']))
            self.sigma_known = position.sigma_known
            self._sources.fix_frame = str(msg.header.frame_id)
            stamp = self._read(lambda: _stamp(msg))
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
        with self._changed:
            self._read(lambda: self._headings.add_imu(msg))
            self._drain()
            self._changed.notify_all()

    def add_odometry(self, msg: Any) -> None:
        """
        Add an Odometry: a filter's pose in the map frame, or motion in any other frame.

        :raises BadMessage: it is unusable, or in the wrong frame for a prior.
        """
        with self._changed:
            found: PoseMeasurement = self._read(lambda: self._read_odometry(msg))
            if found.frame_id == self._settings['map_frame']:
                self._sources.add_filter(found)
            elif not self._settings['odom_frame']:      # else TF has it
                self.odometry.add(found.stamp_ns, found.pose)
            self._changed.notify_all()
            self._read(lambda: self._check_frame(found))

    def add_initialpose(self, msg: Any) -> None:
        """
        Start anew from a pose that somebody gave.

        :raises BadMessage: not in the map frame, not finite, or not asked for.
        """
        with self._changed:
            found: PoseMeasurement = self._read(lambda: self._read_initialpose(msg))
            self._sources.seed = Seed(found.stamp_ns, found.pose, found.sigma_xy_m,
                                      found.sigma_yaw_rad)
            self._supervisor.clear()
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
            self._asked = self._epoch
            self._drain()
            self.odometry.at(stamp)     # remembered, so that a reset shows
            if self._frame is None:
                return Rejection(stamp, Reason.NO_PRIOR, detail=(
                    'no datum and no good fix yet' + _because(self.last_problem)))
            prior = self._sources.choose(stamp, self._supervisor)
            if isinstance(prior, Rejection):
                return replace(prior, detail=prior.detail + _because(self.last_problem))
            return prior

    def rests(self, stamp: int) -> bool:
        """Return whether an image is not needed, because base_link has hardly moved."""
        with self._changed:
            return self._supervisor.rests(stamp)

    def settle(self, result: Fix | Rejection, prior: Prior) -> Fix | Rejection:
        """
        Judge what became of the image that was last asked for, and learn from it.

        :returns: the result, or a rejection where a fix contradicts those before it.
        """
        with self._changed:
            if self._asked != self._epoch:      # time has jumped meanwhile: it will be dropped
                return result
            source = self._settings['prior.source']
            own = self._sources.own(prior.stamp_ns) if source == 'odometry' else None
            settled = self._supervisor.settle(result, prior,
                                              own if isinstance(own, Prior) else None)
            if isinstance(settled, Fix) and source == 'initialpose':
                self._sources.seed = Seed(settled.stamp_ns, settled.map_T_base,
                                          settled.sigma_xy_m, settled.sigma_yaw_rad)
            return settled

    def clear(self) -> None:
        """Forget all messages and fixes, as after a jump of the clock; the datum stays."""
        with self._changed:
            self._epoch += 1
            self._fixes.clear()
            for part in (self._sources, self._headings, self._moves, self._supervisor,
                         self.odometry):
                part.clear()
            self.last_problem = ''
            self._changed.notify_all()

    def retune(self, settings: Mapping[str, Any]) -> None:
        """Take changed parameters; what was collected before stays."""
        with self._changed:
            self._settings = settings
            for part in (self._sources, self._headings, self._supervisor):
                part.retune(settings)

    def _reaches(self, stamp: int) -> bool:
        self._drain()
        # The first heading often comes just after the first fix: worth the wait, too
        awaited = self._settings['prior.heading'] == 'imu' and not self._headings.from_imu
        return self._frame is not None and not awaited and self._sources.reach(stamp)

    def _place(self, stamp: int, position: Position) -> None:
        if self._frame is not None:
            self._last_xy = self._frame.forward(position.lat_deg, position.lon_deg)
            self._sources.gnss.add_position(stamp, self._last_xy, position.sigma_m)
            self._headings.add_position(stamp, self._last_xy, position.sigma_m)
            self._moves.add(stamp, self._last_xy, position.sigma_m)
            self.last_problem = ''

    def _drain(self) -> None:
        self.last_problem = (self._headings.drain(self._frame, self._last_xy)
                             or self.last_problem)

    def _read_odometry(self, msg: Any) -> PoseMeasurement:
        child, base = str(msg.child_frame_id).lstrip('/'), self._settings['base_frame']
        if not child or child == base:
            return self._read_pose(msg, None)
        base_T_child = self._mounting(child, stamp_ns(msg.header.stamp))
        if base_T_child is None:
            raise BadMessage(Reason.NO_PRIOR, f'odometry places {child!r}, and nobody says where '
                                              f'that is on {base!r} (TF)')
        return self._read_pose(msg, np.asarray(np.linalg.inv(base_T_child), np.float64))

    def _read_initialpose(self, msg: Any) -> PoseMeasurement:
        source, wanted = self._settings['prior.source'], self._settings['map_frame']
        if source != 'initialpose':
            raise BadMessage(Reason.NO_PRIOR, f'initialpose is ignored: prior.source is {source}')
        found = self._read_pose(msg, None)
        if found.frame_id != wanted:
            raise BadMessage(Reason.NO_PRIOR, f'initialpose is in frame {found.frame_id!r}, not '
                                              f'in {wanted!r}')
        return found

    def _read_pose(self, msg: Any, child_T_base: Array | None) -> PoseMeasurement:
        return read_pose(msg, self._settings['prior.position_stddev'],
                         math.radians(self._settings['prior.heading_stddev']), child_T_base)

    def _check_frame(self, found: PoseMeasurement) -> None:
        wanted = self._settings['map_frame']
        asked = 'odometry' in (self._settings['prior.source'], self._settings['prior.heading'])
        if asked and found.frame_id != wanted:
            raise BadMessage(Reason.NO_PRIOR, f'odometry is in frame {found.frame_id!r}; a prior '
                                              f'needs the output of an EKF in {wanted!r}')

    def _read(self, reader: Callable[[], Any]) -> Any:
        """Run a reader and keep the sentence of its refusal."""
        try:
            return reader()
        except BadMessage as error:
            self.last_problem = str(error)
            raise


def _stamp(msg: Any) -> int:
    stamp = stamp_ns(msg.header.stamp)
    if stamp <= 0:
        raise BadMessage(Reason.NO_PRIOR, 'the message has no stamp')
    return stamp


def _because(problem: str) -> str:
    return f' ({problem})' if problem else ''
