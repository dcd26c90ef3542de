# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""From what a recorder heard to the rows and figures of a run; no ROS in here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.utm import frame_as
from loc2_ros.core.values import Array, Pose2
from loc2_ros.data.bag import open_bag
from loc2_ros.data.messages import stamp_ns
from loc2_ros.data.recording import examine, Settings
from loc2_ros.data.reference import Reference
from loc2_ros.evaluate.metrics import RunFacts
from loc2_ros.evaluate.rows import FIX, PriorRow, Row, UNKNOWN
from loc2_ros.evaluate.run import RunResult
import numpy as np
from numpy.typing import NDArray

_COUNT = 'rejected.'        # what keys of diagnostics that count a reason start with


@dataclass(frozen=True)
class HeardPose:
    """
    One message on ~/pose.

    :param wall_s: when it arrived, on a monotonic clock.
    """

    stamp_ns: int
    wall_s: float
    pose: Pose2
    covariance: Array


@dataclass
class Heard:
    """
    Everything a recorder heard.

    :param priors: the prior as used, by image stamp.
    :param clock: (wall_s, /clock in ns) in order of arrival.
    :param counted_before: the node's counts when the recording began.
    :param values: the newest key-value pairs of the node's diagnostics, all statuses together.
    :param origins: every local_xy_origin.
    :param tf_messages: messages on /tf that contain a transform from the map frame.
    :param tf_parents: parents of each frame seen on /tf and /tf_static.
    """

    poses: list[HeardPose] = field(default_factory=list)
    priors: dict[int, PriorRow] = field(default_factory=dict)
    clock: list[tuple[float, int]] = field(default_factory=list)
    values: dict[str, str] = field(default_factory=dict)
    counted_before: dict[str, int] = field(default_factory=dict)
    origins: list[LocalFrame] = field(default_factory=list)
    tf_messages: int = 0
    tf_parents: dict[str, set[str]] = field(default_factory=dict)

    @property
    def datum(self) -> LocalFrame | None:
        """Return the origin the node says it uses, else the newest that was published."""
        place = self._place
        return place and frame_as(self.values.get('frame_mode', LocalFrame.mode), place)

    @property
    def _place(self) -> LocalFrame | None:
        try:
            lat, lon, height = (float(n) for n in self.values['datum'].split(','))
        except (KeyError, ValueError):
            return self.origins[-1] if self.origins else None
        # Diagnostics are rounded to 0.1 mm; the message itself is exact
        exact = [o for o in self.origins if abs(o.lat_deg - lat) + abs(o.lon_deg - lon) < 1e-8]
        return exact[-1] if exact else LocalFrame(lat, lon, height)

    @property
    def rejected_by_reason(self) -> dict[str, int]:
        """Return the node's own counts, of this recording only."""
        counts, before = self.counts(), self.counted_before
        if any(count > counts.get(reason, 0) for reason, count in before.items()):
            return counts       # the node has started anew meanwhile
        return {reason: count - before.get(reason, 0) for reason, count in counts.items()}

    def counts(self) -> dict[str, int]:
        """Return the node's counts since it was activated."""
        return {key[len(_COUNT):]: int(float(value)) for key, value in self.values.items()
                if key.startswith(_COUNT)}

    def forget_counts(self) -> None:
        """Drop all counts: the node sends them anew."""
        self.values = {k: v for k, v in self.values.items() if not k.startswith(_COUNT)}

    @property
    def tf_roots(self) -> set[str]:
        """Return the frames without a parent; a sound tree has one."""
        parents = {parent for found in self.tf_parents.values() for parent in found}
        return parents - set(self.tf_parents)


@dataclass(frozen=True)
class Played:
    """The recording that was played: its image stamps and its truth."""

    stamps_ns: Sequence[int]
    reference: Reference
    frame: LocalFrame


def played(path: str | Path, settings: Settings, heard: Heard) -> Played:
    """
    Read what the node was given.

    :raises BagError: the recording cannot be read.
    """
    with open_bag(path) as bag:
        drive = examine(bag, settings, None, frame=heard.datum)
        stamps = [stamp_ns(record.message.header.stamp)
                  for record in bag.records([drive.topics.image])]
    return Played(stamps, drive.reference, drive.frame)


def result_of(heard: Heard, source: Played) -> RunResult:
    """Return one row per image of the recording, and the facts around them."""
    first: dict[int, HeardPose] = {}
    for pose in heard.poses:
        first.setdefault(pose.stamp_ns, pose)
    wall = _WallClock(heard.clock)
    rows = [_row(stamp, first.get(stamp), heard.priors.get(stamp), source.reference, wall)
            for stamp in source.stamps_ns]
    frame = source.frame
    return RunResult(rows, RunFacts(
        frames=len(source.stamps_ns), rejected_by_reason=heard.rejected_by_reason,
        fix_wall_s=[pose.wall_s for pose in first.values()], tf_messages=heard.tf_messages,
        duplicates=len(heard.poses) - len(first), out_of_order=_out_of_order(heard.poses),
        stamp_mismatches=len(set(first) - set(source.stamps_ns)),
        datum=(frame.lat_deg, frame.lon_deg, frame.height_m), frame_mode=frame.mode,
        reference=source.reference.name,
        model=heard.values.get('checkpoint'), device=heard.values.get('device')), frame)


def _row(stamp: int, pose: HeardPose | None, prior: PriorRow | None, reference: Reference,
         wall: _WallClock) -> Row:
    truth = reference.at(stamp)
    if pose is None:
        return Row(stamp, UNKNOWN, prior=prior, truth=truth)
    shown = wall.at(stamp)
    return Row(stamp, FIX, pose.pose, pose.covariance, prior=prior, truth=truth,
               latency_s=None if shown is None else pose.wall_s - shown)


def _out_of_order(poses: Sequence[HeardPose]) -> int:
    """Count poses older than one that came before."""
    newest, count = -1, 0
    for pose in poses:
        count += pose.stamp_ns < newest
        newest = max(newest, pose.stamp_ns)
    return count


class _WallClock:
    """When, on the wall, a recorded time was played."""

    def __init__(self, clock: Sequence[tuple[float, int]]) -> None:
        ticks = dict(sorted((ns, wall) for wall, ns in clock))
        self._ns: NDArray[np.int64] = np.array(list(ticks), np.int64)
        self._wall = np.array(list(ticks.values()), np.float64)

    def at(self, stamp: int) -> float | None:
        """Return the wall time of a stamp; None outside of what was heard."""
        if not len(self._ns) or not self._ns[0] <= stamp <= self._ns[-1]:
            return None
        # Differences first: a float of 1e18 ns has steps of 128 ns
        return float(np.interp(0.0, (self._ns - stamp).astype(np.float64), self._wall))


def summary_lines(metrics: dict[str, Any]) -> list[str]:
    """Return a short table of a run for people."""
    def cell(group: str, name: str, unit: str) -> str:
        value = metrics[group][name]
        return '-' if value is None else f'{value:.2f} {unit}'
    lines = [f'images {metrics["frames"]}: {metrics["fixes"]} fixes, {metrics["rejected"]} '
             f'rejected, {metrics["dropped"]} dropped']
    if metrics['rejected_by_reason']:
        reasons = ', '.join(f'{k} {v}' for k, v in metrics['rejected_by_reason'].items())
        lines.append(f'rejected for: {reasons}')
    lines.append(f'{"":10}{"median":>12}{"95 %":>12}{"prior":>12}   against '
                 f'{metrics["reference"]}')
    for title, group, prior, unit in (
            ('position', 'position_error_m', 'prior_position_error_m', 'm'),
            ('heading', 'yaw_error_deg', 'prior_yaw_error_deg', 'deg')):
        lines.append(f'{title:10}{cell(group, "median", unit):>12}{cell(group, "p95", unit):>12}'
                     f'{cell(prior, "median", unit):>12}')
    return lines
