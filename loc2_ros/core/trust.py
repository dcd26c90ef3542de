# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Whether a fix agrees with the fixes before it, moved by odometry or what there is instead.

Fixes that agree form a chain. One chain leads; a fix of any other is refused, but counts for
its chain. Votes are forgotten by half in ``relocate_s``, so that the majority of the recent past
leads: a wrong chain gives way to the right one, however long it was. The new one must have lasted
as long itself, or a fault soon after the start would outvote the little that was before; and it
must be clearly stronger than one that still gets fixes, or two alternating places would both be
published.

A chain ends when nothing was added to it for ``memory_s``, or when odometry was reset; so no
chain can refuse fixes for longer than that, even if they agree with nothing. Where odometry is
only missing, a chain that had it asks no more than what no vehicle can do.

A fix must also agree with one of ``relocate_s`` ago: each may be a little off the one before, but
not all of them to the same side, or a chain could be dragged anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
import math

from loc2_ros.core.motion import MAX_SPEED_MPS, MAX_TURN_RADPS
from loc2_ros.core.predict import Predict, Predicted, widest_m
from loc2_ros.core.values import Fix, Reason, Rejection, wrap_pi
import numpy as np

_NS = 1e-9
_SIGMAS = 3.0
_MAX_CHAINS = 4             # beside the leader: stray fixes must not push out the one that grows
_FEWEST = 3                 # fixes that can take the lead, none of the leader's between them
_MARGIN = 1.5               # times the votes of a leader that still gets fixes
_EPSILON = 1e-6             # votes are equal up to rounding


@dataclass(frozen=True)
class TrustLimits:
    """
    When two fixes agree: closer than this plus three deviations of what both claim.

    :param max_innovation_m: 0 switches every check off.
    :param relocate_s: in it votes are forgotten by half; the least that a new chain has to last.
    :param memory_s: a chain to which nothing is added ends after this time.
    """

    max_innovation_m: float = 10.0
    max_innovation_rad: float = math.radians(20.0)
    relocate_s: float = 5.0
    memory_s: float = 30.0


@dataclass(frozen=True)
class _Offset:
    """How far a fix is from where it should be, and how far it may be."""

    distance_m: float
    turn_rad: float
    max_distance_m: float
    max_turn_rad: float

    @property
    def agrees(self) -> bool:
        return self.distance_m <= self.max_distance_m and self.turn_rad <= self.max_turn_rad


@dataclass
class _Chain:
    """
    Fixes that agree: since when, the last of them, their votes and their number.

    :param run: how many of them since the last fix of the chain that leads.
    :param anchor: one of them from ``relocate_s`` to twice that before the last; then the next.
    """

    since_ns: int
    last: Fix
    anchor: Fix
    next_anchor: Fix
    votes: float = 1.0
    count: int = 1
    run: int = 1


class Trust:
    """
    Remembers chains of fixes and judges each new one.

    :param predict: where a fix puts base_link later.
    :param was_reset: whether odometry was reset between two stamps, where motion is not known.
    """

    def __init__(self, predict: Predict, limits: TrustLimits,
                 was_reset: Callable[[int, int], bool] = lambda from_ns, to_ns: True) -> None:
        self._ask, self.limits, self._was_reset = predict, limits, was_reset
        self.clear()

    def clear(self) -> None:
        """Forget all chains."""
        self._leader: _Chain | None = None
        self._others: list[_Chain] = []
        self._judged_ns = 0

    def predicted(self, stamp_ns: int) -> Predicted | None:
        """Return where the chain that leads expects base_link; None without one."""
        return None if self._leader is None else self._predict(self._leader, stamp_ns)

    def judge(self, fix: Fix) -> Fix | Rejection:
        """Return a fix that agrees with the chain that leads; refuse any other."""
        if not self.limits.max_innovation_m > 0.0:
            return fix
        self._forget(fix.stamp_ns)
        if self._leader is None:
            self._leader, self._others = self._match(fix) or _begin(fix), []
            return fix
        off = self._off(self._leader, fix)
        if off.agrees:
            self._extend(self._leader, fix)
            for other in self._others:
                other.run = 0
            return fix
        refusal = _refusal(fix, off)
        chain = self._match(fix)
        if chain is None:
            self._add(_begin(fix))
            return refusal
        if not self._may_lead(chain, self._leader):
            return refusal
        self._others.remove(chain)
        self._others.append(self._leader)
        self._leader.run, self._leader = 0, chain
        return fix

    def _may_lead(self, chain: _Chain, leader: _Chain) -> bool:
        lasted_s = (chain.last.stamp_ns - chain.since_ns) * _NS
        silent_s = (chain.last.stamp_ns - leader.last.stamp_ns) * _NS
        needed = leader.votes * (1.0 if silent_s >= self.limits.relocate_s else _MARGIN)
        return (chain.run >= _FEWEST and lasted_s >= self.limits.relocate_s - _EPSILON
                and chain.votes >= needed - _EPSILON)

    def _forget(self, now_ns: int) -> None:
        """Let votes fade, and end chains that odometry or time has cut off."""
        share = 0.5 ** (max(now_ns - self._judged_ns, 0) * _NS / self.limits.relocate_s)
        self._judged_ns = now_ns
        for chain in [*self._others, *([self._leader] if self._leader else [])]:
            chain.votes *= share
        self._others = [c for c in self._others if self._lives(c, now_ns)]
        if self._leader is not None and not self._lives(self._leader, now_ns):
            self._leader = None

    def _match(self, fix: Fix) -> _Chain | None:
        """Return the strongest chain beside the leader that a fix continues, with its vote."""
        agreeing = [c for c in self._others if self._off(c, fix).agrees]
        if not agreeing:
            return None
        chain = max(agreeing, key=lambda c: c.votes)
        self._extend(chain, fix)
        return chain

    def _add(self, chain: _Chain) -> None:
        self._others.append(chain)
        if len(self._others) > _MAX_CHAINS:
            self._others.remove(min(self._others, key=lambda c: c.votes))

    def _lives(self, chain: _Chain, now_ns: int) -> bool:
        return self._predict(chain, now_ns) is not None or self._bridged(chain, now_ns)

    def _bridged(self, chain: _Chain, stamp_ns: int) -> bool:
        """Return whether odometry, which a chain had, is missing now without a reset."""
        since_ns = chain.last.stamp_ns
        return (chain.count > 1 and abs(stamp_ns - since_ns) * _NS <= self.limits.memory_s
                and not self._was_reset(since_ns, stamp_ns))

    def _predict(self, chain: _Chain, stamp_ns: int) -> Predicted | None:
        return self._moved(chain.last, stamp_ns)

    def _moved(self, fix: Fix, stamp_ns: int) -> Predicted | None:
        if abs(stamp_ns - fix.stamp_ns) * _NS > self.limits.memory_s:
            return None
        return self._ask(fix, stamp_ns)

    def _off(self, chain: _Chain, fix: Fix) -> _Offset:
        """Return how far a fix is from what a chain predicts, by its last fix or its anchor."""
        off = self._off_last(chain, fix)
        anchored = self._moved(chain.anchor, fix.stamp_ns)
        if anchored is None or not off.agrees:
            return off
        from_anchor = self._compare(fix, anchored)
        return off if from_anchor.agrees else from_anchor

    def _off_last(self, chain: _Chain, fix: Fix) -> _Offset:
        """Return the same by the last fix alone."""
        expected, more_m, more_rad = self._predict(chain, fix.stamp_ns), 0.0, 0.0
        if expected is None:
            if not self._bridged(chain, fix.stamp_ns):      # cut off since _forget
                return _Offset(0.0, 0.0, math.inf, math.inf)
            last, seconds = chain.last, abs(fix.stamp_ns - chain.last.stamp_ns) * _NS
            expected = Predicted(last.map_T_base, widest_m(last), last.sigma_yaw_rad)
            more_m, more_rad = MAX_SPEED_MPS * seconds, MAX_TURN_RADPS * seconds
        return self._compare(fix, expected, more_m, more_rad)

    def _compare(self, fix: Fix, expected: Predicted, more_m: float = 0.0,
                 more_rad: float = 0.0) -> _Offset:
        pose, limits = expected.map_T_base, self.limits
        sigma_xy = math.hypot(widest_m(fix), expected.sigma_xy_m)
        sigma_yaw = math.hypot(fix.sigma_yaw_rad, expected.sigma_yaw_rad)
        return _Offset(float(np.linalg.norm(fix.map_T_base.xy_m - pose.xy_m)),
                       abs(wrap_pi(fix.map_T_base.yaw_rad - pose.yaw_rad)),
                       limits.max_innovation_m + _SIGMAS * sigma_xy + more_m,
                       limits.max_innovation_rad + _SIGMAS * sigma_yaw + more_rad)

    def _extend(self, chain: _Chain, fix: Fix) -> None:
        chain.last, chain.votes = bare(fix), chain.votes + 1.0
        chain.count, chain.run = chain.count + 1, chain.run + 1
        if (fix.stamp_ns - chain.next_anchor.stamp_ns) * _NS >= self.limits.relocate_s:
            chain.anchor, chain.next_anchor = chain.next_anchor, chain.last


def _refusal(fix: Fix, off: _Offset) -> Rejection:
    return Rejection(fix.stamp_ns, Reason.INNOVATION, {
        'innovation_m': off.distance_m, 'max_innovation_m': off.max_distance_m,
        'innovation_deg': math.degrees(off.turn_rad),
        'max_innovation_deg': math.degrees(off.max_turn_rad)}, evidence=fix.evidence)


def _begin(fix: Fix) -> _Chain:
    first = bare(fix)
    return _Chain(fix.stamp_ns, first, first, first)


def bare(fix: Fix) -> Fix:
    """Return a fix without its pictures, which would be kept as long as it is remembered."""
    return replace(fix, evidence=None)
