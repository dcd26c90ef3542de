# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Whether a fix agrees with the fixes before it, moved by odometry.

Fixes that agree form a chain. One chain leads; a fix of any other is refused, but counts for
its chain. Votes are forgotten by half in ``relocate_s``, so that the majority of the recent past
leads: a wrong chain gives way to the right one, however long it was. The new one must have lasted
as long itself, or a fault soon after the start would outvote the little that was before.

A chain ends when nothing was added to it for ``memory_s``, or when odometry was reset; so no
chain can refuse fixes for longer than that, even if they agree with nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math

from loc2_ros.core.motion import DRIFT_PER_M, DRIFT_RADPS, Motion, travelled_m
from loc2_ros.core.values import Fix, Pose2, Reason, Rejection, wrap_pi
import numpy as np

_NS = 1e-9
_SIGMAS = 3.0
_MAX_CHAINS = 4             # beside the leader: stray fixes must not push out the one that grows
_FEWEST = 3                 # fixes that can take the lead
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
class Predicted:
    """Where base_link should be by the last fixes and odometry, with deviations."""

    map_T_base: Pose2
    sigma_xy_m: float
    sigma_yaw_rad: float


@dataclass
class _Chain:
    """Fixes that agree: since when, the last of them, their votes and their number."""

    since_ns: int
    last: Fix
    votes: float = 1.0
    count: int = 1


class Trust:
    """
    Remembers chains of fixes and judges each new one.

    :param motion: of base_link between two stamps.
    """

    def __init__(self, motion: Motion, limits: TrustLimits) -> None:
        self._motion, self.limits = motion, limits
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
        if self._agrees(self._leader, fix):
            _extend(self._leader, fix)
            return fix
        refusal = self._refusal(self._leader, fix)
        chain = self._match(fix)
        if chain is None:
            self._add(_begin(fix))
            return refusal
        if not self._may_lead(chain, self._leader):
            return refusal
        self._others.remove(chain)
        self._others.append(self._leader)
        self._leader = chain
        return fix

    def _may_lead(self, chain: _Chain, leader: _Chain) -> bool:
        lasted_s = (chain.last.stamp_ns - chain.since_ns) * _NS
        return (chain.count >= _FEWEST and lasted_s >= self.limits.relocate_s - _EPSILON
                and chain.votes >= leader.votes - _EPSILON)

    def _forget(self, now_ns: int) -> None:
        """Let votes fade, and end chains that odometry or time has cut off."""
        share = 0.5 ** (max(now_ns - self._judged_ns, 0) * _NS / self.limits.relocate_s)
        self._judged_ns = now_ns
        for chain in [*self._others, *([self._leader] if self._leader else [])]:
            chain.votes *= share
        self._others = [c for c in self._others if self._predict(c, now_ns) is not None]
        if self._leader is not None and self._predict(self._leader, now_ns) is None:
            self._leader = None

    def _match(self, fix: Fix) -> _Chain | None:
        """Return the strongest chain beside the leader that a fix continues, with its vote."""
        agreeing = [c for c in self._others if self._agrees(c, fix)]
        if not agreeing:
            return None
        chain = max(agreeing, key=lambda c: c.votes)
        _extend(chain, fix)
        return chain

    def _add(self, chain: _Chain) -> None:
        self._others.append(chain)
        if len(self._others) > _MAX_CHAINS:
            self._others.remove(min(self._others, key=lambda c: c.votes))

    def _predict(self, chain: _Chain, stamp_ns: int) -> Predicted | None:
        seconds = abs(stamp_ns - chain.last.stamp_ns) * _NS
        moved = self._motion(chain.last.stamp_ns, stamp_ns)
        if moved is None or seconds > self.limits.memory_s:
            return None
        reach, fix = travelled_m(moved), chain.last
        sigma_xy = float(np.linalg.norm([_sigma_xy(fix), DRIFT_PER_M * reach,
                                         fix.sigma_yaw_rad * reach]))
        return Predicted(fix.map_T_base @ moved, sigma_xy,
                         math.hypot(fix.sigma_yaw_rad, DRIFT_RADPS * seconds))

    def _off(self, chain: _Chain, fix: Fix) -> tuple[float, float, float, float]:
        """Return distance and turn from what a chain predicts, and what is allowed of each."""
        expected = self._predict(chain, fix.stamp_ns)
        if expected is None:        # it was there in _forget; only now has it been cut off
            return 0.0, 0.0, math.inf, math.inf
        pose, limits = expected.map_T_base, self.limits
        sigma_xy = math.hypot(_sigma_xy(fix), expected.sigma_xy_m)
        sigma_yaw = math.hypot(fix.sigma_yaw_rad, expected.sigma_yaw_rad)
        return (float(np.linalg.norm(fix.map_T_base.xy_m - pose.xy_m)),
                abs(wrap_pi(fix.map_T_base.yaw_rad - pose.yaw_rad)),
                limits.max_innovation_m + _SIGMAS * sigma_xy,
                limits.max_innovation_rad + _SIGMAS * sigma_yaw)

    def _agrees(self, chain: _Chain, fix: Fix) -> bool:
        distance, turn, max_distance, max_turn = self._off(chain, fix)
        return distance <= max_distance and turn <= max_turn

    def _refusal(self, chain: _Chain, fix: Fix) -> Rejection:
        distance, turn, max_distance, max_turn = self._off(chain, fix)
        return Rejection(fix.stamp_ns, Reason.INNOVATION, {
            'innovation_m': distance, 'max_innovation_m': max_distance,
            'innovation_deg': math.degrees(turn), 'max_innovation_deg': math.degrees(max_turn)},
            evidence=fix.evidence)


def _begin(fix: Fix) -> _Chain:
    return _Chain(fix.stamp_ns, _bare(fix))


def _extend(chain: _Chain, fix: Fix) -> None:
    chain.last, chain.votes, chain.count = _bare(fix), chain.votes + 1.0, chain.count + 1


def _bare(fix: Fix) -> Fix:
    """Return a fix without its pictures, which would be kept as long as the chain."""
    return replace(fix, evidence=None)


def _sigma_xy(fix: Fix) -> float:
    """Return the larger standard deviation per axis."""
    return math.sqrt(max(fix.covariance[0, 0], fix.covariance[1, 1]))
