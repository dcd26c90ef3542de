# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A drive through a synthetic town with localizer and filters in a closed loop, without DDS.

Wheels and gyro feed both filters of config/ekf.yaml, the filter of the map tells the localizer
where to look (``prior.source: odometry``), and its fixes come back when the network would be done.
GNSS only starts the loop, and looks in now and then; it fails for a minute and comes back biased.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
import heapq
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fusion_world import ekf_map, ekf_odom, follow, S, Sensors, TICK_NS, Track
from loc2_ros.core.values import Array, Fix, Image, Pose2, Prior, Rejection
from loc2_ros.data import drive_messages as build
from loc2_ros.data.bag import Bag, open_bag
from loc2_ros.data.bag_writer import make, make_header
from loc2_ros.data.messages import position_from_fix, stamp_ns
from loc2_ros.data.recording import Drive, drive_topics, examine
from loc2_ros.data.topics import find_topics
from loc2_ros.evaluate.run import Twin
from loc2_ros.loading import load_localizer, LocalizerSettings
from loc2_ros.ros.convert import fix_to_pose
from loc2_ros.ros.params import defaults, localizer_settings
import numpy as np
from replica_ekf import ReplicaEkf

ODOMETRY, TF = '/odometry/global', '/tf'
_TELL = 2                   # of how many ticks the localizer hears: 25 Hz
Judge = Callable[[Image, Prior, 'Fix | Rejection'], None]


@dataclass(frozen=True)
class Gnss:
    """What becomes of the receiver of the recording, by seconds since the first image."""

    out_s: tuple[float, float] = (60.0, 120.0)
    bias_m: tuple[float, float] = (12.0, 9.0)       # from the end of the outage on

    def fix(self, message: Any, seconds: float, drive: Drive) -> Any | None:
        """Return a NavSatFix as the receiver gives it, None while it gives none."""
        if self.out_s[0] <= seconds < self.out_s[1]:
            return None
        if seconds < self.out_s[0]:
            return message
        position = position_from_fix(message, 1.0)
        xy = drive.frame.forward(position.lat_deg, position.lon_deg) + np.array(self.bias_m)
        lat, lon = drive.frame.inverse(xy)
        return replace(message, latitude=float(lat), longitude=float(lon))


@dataclass
class Outcome:
    """What the filters said, and what became of every image."""

    begin_ns: int
    located_ns: int = 0         # since when the filter has had a fix
    fused: Track = field(default_factory=Track)
    gnss_only: Track = field(default_factory=Track)
    rejected: int = 0           # fixes that the gate of the filter refused
    sources: list[str] = field(default_factory=list)        # of the priors of all images
    fixes: list[Any] = field(default_factory=list)          # messages
    off_m: list[float] = field(default_factory=list)        # of the fixes


class Loop:
    """One drive; ``run`` it once."""

    def __init__(self, bag: Bag, map_path: Path, *, latency_s: float = 1.0,
                 sensors: Sensors = Sensors(), gnss: Gnss = Gnss(), **params: Any) -> None:
        """Load the localizer; ``params`` are those of the node, with ``__`` for a dot."""
        self._settings = {
            **defaults(), 'map.path': str(map_path), 'image_transport': 'compressed',
            'odom_frame': 'odom', 'prior.source': 'odometry', 'odometry_topic': ODOMETRY,
            **{name.replace('__', '.'): value for name, value in params.items()}}
        seen = {**self._settings, 'prior.source': 'fix', 'odom_frame': ''}
        drive = examine(bag, seen, None)
        self._drive = replace(drive, topics=replace(
            find_topics(bag, seen), odometry=ODOMETRY,
            tf=TF if self._settings['odom_frame'] else None))
        self._bag, self._gnss, self._sensors = bag, gnss, sensors
        self._latency_ns = int(latency_s * S)
        self._localizer = load_localizer(LocalizerSettings(
            **localizer_settings(self._settings)), drive.frame)
        self._twin = Twin(self._drive, self._settings, self._localizer, self._on_result)
        self._map, self._odom = ekf_map(), ekf_odom()
        self._alone = ekf_map(pose0='gnss', pose0_config=[True, True] + [False] * 13,
                              pose0_rejection_threshold=None)
        self._coming: list[tuple[int, int, str, Any]] = []
        self._now = self._count = 0
        self._replayed: dict[str, Track] = {}

    def run(self) -> Outcome:
        """Drive from the first image to the last."""
        stamps = [r.log_ns for r in self._bag.records([self._drive.topics.image])]
        self._out = Outcome(stamps[0])
        for ns, name, message in self._sensors.events(self._pose_at, stamps[0] - S // 5,
                                                      stamps[-1] + S // 5):
            self._add(ns, name, message)
        for record in self._bag.records(drive_topics(find_topics(self._bag, {
                **self._settings, 'prior.source': 'fix', 'odom_frame': ''}))):
            self._add(record.log_ns, record.topic.name, record)
        for self._now in range(stamps[0] - S // 5, stamps[-1] + S // 5, TICK_NS):
            while self._coming and self._coming[0][0] <= self._now:
                self._deliver(*heapq.heappop(self._coming)[2:])
            self._tick()
        self._twin.finish()
        self._out.rejected = self._map.rejected
        return self._out

    def replay(self, latency_s: float, **changes: Any) -> Track:
        """Give the fixes of the drive to a filter with another latency, or another filter."""
        asked = repr((latency_s, changes))
        if asked not in self._replayed:
            self._replayed[asked] = self._replay(latency_s, changes)
        return self._replayed[asked]

    def _replay(self, latency_s: float, changes: dict[str, Any]) -> Track:
        begin, end = self._out.begin_ns, self._now
        events = [*self._sensors.events(self._pose_at, begin, end),
                  *((stamp_ns(m.header.stamp) + int(latency_s * S), 'loc2/pose', m)
                    for m in self._out.fixes)]
        return follow(ekf_map(**changes), events, self._pose_at, begin, end)

    def _pose_at(self, ns: int) -> Pose2:
        truth = self._drive.reference.at(ns)
        assert truth is not None
        return truth

    def _add(self, ns: int, name: str, message: Any) -> None:
        self._count += 1
        heapq.heappush(self._coming, (ns, self._count, name, message))

    def _deliver(self, name: str, message: Any) -> None:
        """Hand a message to all who listen to its topic."""
        if name in ('twist', 'imu', 'loc2/pose', 'gnss'):
            for ekf in (self._map, self._odom, self._alone):
                if name != 'loc2/pose' or ekf is self._map:
                    ekf.receive(name, message)
        elif name == self._drive.topics.fix:
            seconds = (message.log_ns - self._out.begin_ns) / S
            found = self._gnss.fix(message.message, seconds, self._drive)
            if found is not None:
                self._tell(name, found)
                self._deliver('gnss', self._antenna(found))
        else:
            self._twin.take(message)

    def _antenna(self, message: Any) -> Any:
        """Return a NavSatFix as the pose that navsat_transform would make of it."""
        ns, position = stamp_ns(message.header.stamp), position_from_fix(message, 10.0)
        # With a heading that favours the receiver
        lever = _turn(self._pose_at(ns).yaw_rad) @ build.kitti_base_T_imu()[:2, 3]
        x, y = self._drive.frame.forward(position.lat_deg, position.lon_deg) - lever
        covariance = np.diag([position.sigma_m ** 2, position.sigma_m ** 2, 1.0])
        return fix_to_pose(Fix(ns, Pose2(float(x), float(y), 0.0), covariance, 1.0, 1.0, 0, 0,
                               0.0), 'map')

    def _tick(self) -> None:
        """Do what the timers of the filters do, and tell the localizer."""
        published = self._map.update(self._now)
        moved = self._odom.update(self._now)
        if moved and self._drive.topics.tf and self._now // TICK_NS % _TELL == 0:
            self._tell(TF, make('tf2_msgs/msg/TFMessage', transforms=[
                build.transform(self._odom.ns, 'odom', 'base_link', _matrix(self._odom))]))
        if published:
            if not self._out.located_ns and self._map.P[0, 0] < 100.0:
                self._out.located_ns = self._now
            if self._now // TICK_NS % _TELL == 0:
                self._tell(ODOMETRY, odometry(self._map))
            self._out.fused.add(self._map, self._pose_at(self._map.ns))
        if self._alone.update(self._now):
            self._out.gnss_only.add(self._alone, self._pose_at(self._alone.ns))

    def _tell(self, topic: str, message: Any) -> None:
        record: Any = SimpleNamespace(topic=SimpleNamespace(name=topic), log_ns=self._now,
                                      message=message)
        self._twin.take(record)

    def _on_result(self, image: Image, prior: Prior, result: Fix | Rejection) -> None:
        self._out.sources.append(prior.source)
        if isinstance(result, Fix):
            off = result.map_T_base.xy_m - self._pose_at(image.stamp_ns).xy_m
            self._out.off_m.append(float(np.linalg.norm(off)))
            self._out.fixes.append(fix_to_pose(result, 'map'))
            self._add(image.stamp_ns + self._latency_ns, 'loc2/pose', self._out.fixes[-1])


def odometry(ekf: ReplicaEkf) -> Any:
    """Return what a filter publishes."""
    message = build.odometry_of(ekf.ns, _matrix(ekf), 0.0, 0.0)
    pose = replace(message.pose, covariance=ekf.P[:6, :6].ravel())
    return replace(message, header=make_header(ekf.ns, 'map'), pose=pose)


def _matrix(ekf: ReplicaEkf) -> Array:
    matrix = np.eye(4)
    matrix[:2, 3] = ekf.pose.xy_m
    matrix[:2, :2] = _turn(ekf.pose.yaw_rad)
    return matrix


def _turn(yaw_rad: float) -> Array:
    c, s = math.cos(yaw_rad), math.sin(yaw_rad)
    return np.array([[c, -s], [s, c]])


@contextmanager
def town_loop(folder: Path, **options: Any) -> Iterator[Loop]:
    """Make the loop of a folder that ``make_world`` has filled."""
    with open_bag(folder / 'drive.mcap') as bag:
        yield Loop(bag, folder / 'map.mbtiles', **options)
