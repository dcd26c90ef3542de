# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How much a measured quantity has changed between two stamps, although it leaps now and then.

A receiver or a compass that leaps is wrong from then on, but how it changes stays right. A
Kalman filter of constant velocity tells leaps from motion: one is bridged by the velocity, and
what is measured after it counts from there.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
import math
from operator import attrgetter
from typing import NamedTuple

from loc2_ros.core.values import Array, step_between
import numpy as np

_NS = 1e-9
_STAMP = attrgetter('stamp_ns')
_LEAP_SIGMAS = 5.0
_LEARN = 0.1                # the weight of each new measurement in the noise that they show
_HARDEST = 2.5              # times the acceleration of a kind is the most that there is
_BACK = 5                   # old ones in a row: it is not they that are late, time has gone back
_ROW = 5                    # leaps in a row that are bridged; after so many nothing is known
_FEWEST = 3                 # measurements that make a velocity: before, a leap starts all anew
# Errors wander: what is claimed for a measurement builds up over this time, not at once
_WANDER_S = 10.0
_HISTORY_S = 60.0
_VAGUE = 1e6                # no deviation is larger: squares must stay finite


@dataclass(frozen=True)
class Kind:
    """
    What is measured; units are those of the quantity, per second, per square second.

    :param acceleration: standard deviation of the change of the velocity in a second.
    :param velocity: standard deviation before anything is known.
    :param floor: no measurement is taken to be better than this.
    :param circle: whether it is an angle, radians.
    """

    acceleration: float
    velocity: float
    floor: float
    circle: bool = False


POSITION = Kind(acceleration=4.0, velocity=20.0, floor=0.5)     # metres
HEADING = Kind(acceleration=0.7, velocity=1.0, floor=math.radians(2.0), circle=True)


class Change(NamedTuple):
    """By how much, and the standard deviation per axis."""

    value: Array
    sigma: float


class _State(NamedTuple):
    """The filter after a measurement; all axes share one covariance."""

    stamp_ns: int
    unbroken: int           # counts how often it had to start anew
    x: Array
    v: Array
    xx: float
    xv: float
    vv: float
    claimed: float

    def moved(self, stamp_ns: int, acceleration: float) -> _State:
        dt = (stamp_ns - self.stamp_ns) * _NS
        q = acceleration ** 2
        return self._replace(
            stamp_ns=stamp_ns, x=self.x + dt * self.v,
            xx=self.xx + 2.0 * dt * self.xv + dt ** 2 * self.vv + q * dt ** 4 / 4.0,
            xv=self.xv + dt * self.vv + q * dt ** 3 / 2.0, vv=self.vv + q * dt ** 2)


class Leaps:
    """
    Measurements of one quantity, the leaps taken out.

    :param max_gap_s: over more than this without a measurement, nothing is known.
    """

    def __init__(self, kind: Kind, max_gap_s: float = 3.0) -> None:
        self._kind, self._max_gap_s = kind, max_gap_s
        self.clear()

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        self._states: list[_State] = []
        self._offset: Array = np.zeros(1)
        self._noise = 0.0           # variance, as the measurements show it
        self._believed = self._row = 0      # measurements since the start, leaps since the last
        self._late = 0
        self.count = 0              # leaps

    def add(self, stamp_ns: int, value: Array, sigma: float) -> None:
        """
        Take a measurement; one that is not newer than the last is ignored.

        :param value: (N,).
        :param sigma: the standard deviation per axis that is claimed for it.
        """
        sigma = min(max(sigma, self._kind.floor), _VAGUE)
        ahead_s = (stamp_ns - self._states[-1].stamp_ns) * _NS if self._states else math.inf
        if ahead_s <= 0.0:
            self._late += -ahead_s > self._max_gap_s
            if self._late < _BACK:
                return
            self.clear()            # a recording that starts over
        self._late = 0
        if not self._states or ahead_s > self._max_gap_s:
            self._begin(stamp_ns, value, sigma)
            return
        last = self._states[-1]
        state = last.moved(stamp_ns, self._kind.acceleration)._replace(claimed=sigma)
        # What was learnt is how wrong the claims are
        self._noise = max(self._noise * (sigma / last.claimed) ** 2, self._kind.floor ** 2)
        off = step_between(state.x, value + self._offset, self._kind.circle)
        spread = state.xx + self._noise
        # After a gap the filter is vague, but no vehicle can have done just anything
        pushed = self._kind.acceleration * ahead_s ** 2 / 2.0       # the deviation from that
        hardest = _LEAP_SIGMAS * math.sqrt(spread - pushed ** 2) + _HARDEST * pushed
        limit = min(_LEAP_SIGMAS ** 2 * spread, hardest ** 2)
        self._learn(state, min(float(np.mean(off ** 2)), limit))
        if float(np.sum(off ** 2)) <= limit:
            state = _corrected(state, off, spread)
            self._believed, self._row = self._believed + 1, 0
        elif self._believed >= _FEWEST and self._row < _ROW:
            self._offset = self._offset - off
            self.count, self._row = self.count + 1, self._row + 1
        else:
            self._begin(stamp_ns, value, sigma)
            return
        self._append(state)

    def between(self, from_ns: int, to_ns: int) -> Change | None:
        """Return the change from one stamp to another; None where it is not known."""
        a, b = self._at(from_ns), self._at(to_ns)
        if a is None or b is None or a.unbroken != b.unbroken:
            return None
        share = min(abs(to_ns - from_ns) * _NS / _WANDER_S, math.sqrt(2.0))
        wander = share * max(a.claimed, b.claimed)
        return Change(b.x - a.x, math.sqrt(a.xx + b.xx + wander ** 2))

    def _begin(self, stamp_ns: int, value: Array, sigma: float) -> None:
        unbroken = self._states[-1].unbroken + 1 if self._states else 0
        self._noise = self._noise or sigma ** 2
        self._offset, self._believed, self._row = np.zeros(len(value)), 1, 0
        self._append(_State(stamp_ns, unbroken, np.asarray(value, np.float64),
                            np.zeros(len(value)), max(sigma ** 2, self._noise), 0.0,
                            self._kind.velocity ** 2, sigma))

    def _learn(self, state: _State, square: float) -> None:
        """Learn from how far a measurement is off, as far as the filter is not to blame."""
        shown = max(square - state.xx, self._kind.floor ** 2)
        share = self._noise / (state.xx + self._noise)
        self._noise += _LEARN * share * (shown - self._noise)

    def _append(self, state: _State) -> None:
        self._states.append(state)
        del self._states[:self._since(state.stamp_ns - int(_HISTORY_S / _NS))]

    def _since(self, stamp_ns: int) -> int:
        """Return the index of the first state at or after a stamp."""
        return bisect_left(self._states, stamp_ns, key=_STAMP)

    def _at(self, stamp_ns: int) -> _State | None:
        """Return the filter at a stamp, a little beyond the newest measurement, too."""
        j = self._since(stamp_ns)
        if j < len(self._states) and self._states[j].stamp_ns == stamp_ns:
            return self._states[j]
        if j == 0:
            return None
        before = self._states[j - 1]
        if j == len(self._states):
            late = (stamp_ns - before.stamp_ns) * _NS > self._max_gap_s
            return None if late else before.moved(stamp_ns, self._kind.acceleration)
        after = self._states[j]
        if before.unbroken != after.unbroken:
            return None
        share = (stamp_ns - before.stamp_ns) / (after.stamp_ns - before.stamp_ns)
        return before._replace(stamp_ns=stamp_ns, xx=max(before.xx, after.xx),
                               x=before.x + share * (after.x - before.x))


def _corrected(state: _State, off: Array, spread: float) -> _State:
    gain_x, gain_v = state.xx / spread, state.xv / spread
    return state._replace(
        x=state.x + gain_x * off, v=state.v + gain_v * off, xx=(1.0 - gain_x) * state.xx,
        xv=(1.0 - gain_x) * state.xv, vv=state.vv - gain_v * state.xv)
