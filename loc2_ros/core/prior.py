# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Where the vehicle probably was when an image was taken, from position and heading messages.

The buffer is filled by the node's callbacks and asked by its worker; a lock keeps them apart.
"""

from __future__ import annotations

from bisect import bisect_left
import math
from threading import Lock

from loc2_ros.core.motion import (
    DRIFT_PER_M, DRIFT_RADPS, MAX_SPEED_MPS, Motion, travelled_m)
from loc2_ros.core.values import (
    Array, Pose2, Prior, Reason, Rejection, step_between, wrap_pi)
import numpy as np

_NS = 1e-9
# Before two messages have shown how fast things change: a car in town
DEFAULT_SPEED_MPS = 15.0
DEFAULT_TURN_RADPS = 0.3
_VAGUE_RAD = math.pi / 2    # a heading less certain than this is none

Heading = tuple[float, float]       # yaw in the map and its deviation, radians


class _Track:
    """Measurements of one quantity in order of their stamps."""

    def __init__(self) -> None:
        self.stamps: list[int] = []
        self.values: list[Array] = []
        self.sigmas: list[float] = []

    def clear(self) -> None:
        """Forget everything."""
        del self.stamps[:], self.values[:], self.sigmas[:]

    def insert(self, stamp_ns: int, value: Array, sigma: float, oldest_ns: int) -> None:
        """Insert in order, replacing an equal stamp, and drop what is too old."""
        i = bisect_left(self.stamps, stamp_ns)
        replaced = slice(i, i + (i < len(self.stamps) and self.stamps[i] == stamp_ns))
        self.stamps[replaced], self.values[replaced] = [stamp_ns], [value]
        self.sigmas[replaced] = [sigma]
        drop = bisect_left(self.stamps, oldest_ns)
        del self.stamps[:drop], self.values[:drop], self.sigmas[:drop]

    def neighbours(self, stamp_ns: int) -> tuple[int, int]:
        """Return the indices before and after; at the ends, the two nearest on that side."""
        after = bisect_left(self.stamps, stamp_ns)
        if after < len(self.stamps) and self.stamps[after] == stamp_ns:
            return after, after
        after = min(max(after, 1), len(self.stamps) - 1)
        return max(after - 1, 0), after

    def age_s(self, stamp_ns: int) -> float:
        """Return the distance in time to the nearest measurement."""
        return min(abs(self.stamps[i] - stamp_ns) for i in self.neighbours(stamp_ns)) * _NS


class PriorBuffer:
    """
    Positions and headings of the last seconds, interpolated at an image's stamp.

    :param max_age_s: the nearest measurement may be this far from the image in time.
    :param max_jump_m: two neighbours may be this much further apart than the speed explains.
    :param history_s: measurements older than this, seen from the newest, are forgotten.
    """

    def __init__(self, max_age_s: float = 2.0, max_jump_m: float = 30.0,
                 history_s: float = 30.0) -> None:
        self.max_age_s = max_age_s
        self.max_jump_m = max_jump_m
        self.history_s = history_s
        self._lock = Lock()
        self._position, self._heading = _Track(), _Track()

    def add_position(self, stamp_ns: int, xy_map_m: Array, sigma_m: float) -> None:
        """Take a position of base_link in the map, metres; (2,) and one sigma per axis."""
        xy = np.asarray(xy_map_m, dtype=np.float64)
        if xy.shape != (2,) or not np.all(np.isfinite(xy)) or not _positive(sigma_m):
            raise ValueError(f'a position needs finite x, y and a deviation, got {xy}, {sigma_m}')
        with self._lock:
            self._add(self._position, stamp_ns, xy, sigma_m)

    def add_heading(self, stamp_ns: int, yaw_map_rad: float, sigma_rad: float) -> None:
        """Take a heading of base_link in the map, counter-clockwise from map x."""
        if not math.isfinite(yaw_map_rad) or not _positive(sigma_rad):
            raise ValueError(f'a heading needs to be finite, got {yaw_map_rad}, {sigma_rad}')
        with self._lock:
            self._add(self._heading, stamp_ns, np.array([wrap_pi(yaw_map_rad)]), sigma_rad)

    def clear(self) -> None:
        """Forget everything, as after a jump of the clock."""
        with self._lock:
            self._position, self._heading = _Track(), _Track()

    def clear_headings(self) -> None:
        """Forget the headings alone, as when they are to come from elsewhere."""
        with self._lock:
            self._heading = _Track()

    def reaches(self, stamp_ns: int) -> bool:
        """Tell whether every known source has a measurement at or after the stamp."""
        with self._lock:
            position = self._position.stamps
            return bool(position) and position[-1] >= stamp_ns and self.headings_reach(stamp_ns)

    def headings_reach(self, stamp_ns: int) -> bool:
        """Tell whether there is a heading at or after the stamp, or none at all."""
        stamps = self._heading.stamps
        return not stamps or stamps[-1] >= stamp_ns

    def heading_at(self, stamp_ns: int, motion: Motion | None = None) -> Heading | None:
        """Return yaw and deviation at a stamp; None where they are stale or say nothing."""
        with self._lock:
            track = self._heading
            if not track.stamps or track.age_s(stamp_ns) > self.max_age_s:
                return None
            turned = _turned(track, stamp_ns, motion)
            if turned is None:
                value, sigma = _interpolate(track, stamp_ns, DEFAULT_TURN_RADPS, circle=True)
                turned = float(value[0]), sigma
            return (wrap_pi(turned[0]), turned[1]) if turned[1] < _VAGUE_RAD else None

    def at(self, stamp_ns: int, motion: Motion | None = None,
           heading: Heading | None = None) -> Prior | Rejection:
        """
        Return the prior at the stamp of an image, or why there is none.

        Between two measurements it is interpolated. Outside, it is moved by odometry as far as
        that is known, else held with a deviation grown by what the vehicle may have done since.
        A stale heading counts as none.

        :param motion: of what the positions are of, from one stamp to another.
        :param heading: yaw and deviation at the stamp, where they come from elsewhere; else
            those of ``add_heading``.
        """
        yaw = heading or self.heading_at(stamp_ns, motion)
        with self._lock:
            track = self._position
            if not track.stamps:
                return Rejection(stamp_ns, Reason.NO_PRIOR)
            age = track.age_s(stamp_ns)
            if age > self.max_age_s:
                return Rejection(stamp_ns, Reason.PRIOR_STALE,
                                 {'age_s': age, 'max_age_s': self.max_age_s})
            jump = _excess(track, *track.neighbours(stamp_ns))
            if jump > self.max_jump_m:
                return Rejection(stamp_ns, Reason.PRIOR_JUMP,
                                 {'jump_m': jump, 'max_jump_m': self.max_jump_m})
            xy, sigma = (_moved(track, stamp_ns, motion, yaw)
                         or _interpolate(track, stamp_ns, DEFAULT_SPEED_MPS))
            return Prior(stamp_ns, xy, yaw and yaw[0], sigma, yaw and yaw[1], age)

    def _add(self, track: _Track, stamp_ns: int, value: Array, sigma: float) -> None:
        if track.stamps and (track.stamps[-1] - stamp_ns) * _NS > self.max_age_s:
            # A bag that starts over, or the clock was set. The other track finds out by itself:
            # one sensor with a wrong stamp must not cost what the other one said
            track.clear()
        newest = max(track.stamps[-1] if track.stamps else stamp_ns, stamp_ns)
        track.insert(stamp_ns, value, sigma, newest - int(self.history_s / _NS))


def _positive(sigma: float) -> bool:
    return math.isfinite(sigma) and sigma > 0.0


def _difference(track: _Track, i: int, j: int, circle: bool = False) -> Array:
    return step_between(track.values[i], track.values[j], circle)


def _rate(track: _Track, i: int, default: float, circle: bool = False) -> float:
    """Return the median rate of change of the ten steps around step i, itself left out."""
    near = (k for k in range(max(i - 5, 0), min(i + 6, len(track.stamps) - 1)) if k != i)
    rates = [float(np.linalg.norm(_difference(track, k, k + 1, circle)))
             / ((track.stamps[k + 1] - track.stamps[k]) * _NS) for k in near]
    return float(np.median(rates)) if rates else default


def _excess(track: _Track, i: int, j: int) -> float:
    """Return how much further two neighbours are apart than the speed explains, metres."""
    gap_s = (track.stamps[j] - track.stamps[i]) * _NS
    # A receiver that jumps at every message must not pass for a fast vehicle
    reach = min(_rate(track, i, DEFAULT_SPEED_MPS), MAX_SPEED_MPS) * gap_s
    return float(np.linalg.norm(_difference(track, i, j))) - reach


def _interpolate(track: _Track, stamp_ns: int, default_rate: float,
                 circle: bool = False) -> tuple[Array, float]:
    """Return value and deviation at the stamp: interpolated inside, held outside."""
    i, j = track.neighbours(stamp_ns)
    before, after = track.stamps[i], track.stamps[j]
    if before < stamp_ns < after:
        share = (stamp_ns - before) / (after - before)
        value = track.values[i] + share * _difference(track, i, j, circle)
        return value, (1.0 - share) * track.sigmas[i] + share * track.sigmas[j]
    nearest = _nearest(track, stamp_ns)
    gap_s = abs(stamp_ns - track.stamps[nearest]) * _NS
    # Outside, no step is under suspicion: j is the end of the track or its second element
    rate = _rate(track, j, default_rate, circle) if gap_s > 0.0 else 0.0
    return track.values[nearest], math.hypot(track.sigmas[nearest], rate * gap_s)


def _nearest(track: _Track, stamp_ns: int) -> int:
    i, j = track.neighbours(stamp_ns)
    return i if abs(stamp_ns - track.stamps[i]) <= abs(stamp_ns - track.stamps[j]) else j


def _since_end(track: _Track, stamp_ns: int, motion: Motion | None) -> tuple[int, Pose2] | None:
    """Return the end of the track that lies nearest, and the motion from there to the stamp."""
    if motion is None or track.stamps[0] <= stamp_ns <= track.stamps[-1]:
        return None
    k = _nearest(track, stamp_ns)
    moved = motion(track.stamps[k], stamp_ns)
    return None if moved is None else (k, moved)


def _turned(track: _Track, stamp_ns: int, motion: Motion | None) -> Heading | None:
    """Return a heading from outside of the track, turned as odometry says; None inside."""
    found = _since_end(track, stamp_ns, motion)
    if found is None:
        return None
    k, moved = found
    drift = DRIFT_RADPS * abs(stamp_ns - track.stamps[k]) * _NS
    return float(track.values[k][0]) + moved.yaw_rad, math.hypot(track.sigmas[k], drift)


def _moved(track: _Track, stamp_ns: int, motion: Motion | None,
           yaw: Heading | None) -> tuple[Array, float] | None:
    """Return a position from outside of the track, moved as odometry says; None inside."""
    found = _since_end(track, stamp_ns, motion)
    if found is None:
        return None
    k, moved = found
    reach = travelled_m(moved)
    if yaw is None:     # how far is known, but not where to
        return track.values[k], math.hypot(track.sigmas[k], reach)
    start = yaw[0] - moved.yaw_rad
    c, s = math.cos(start), math.sin(start)
    xy = track.values[k] + np.array([[c, -s], [s, c]]) @ moved.xy_m
    return xy, math.hypot(track.sigmas[k], math.hypot(DRIFT_PER_M, yaw[1]) * reach)
