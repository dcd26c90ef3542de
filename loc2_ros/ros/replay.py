# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Plays a recording over DDS: the stored bytes, the stored QoS, and /clock.

It stands in for ``ros2 bag play`` where there is none, and puts a known error on fix and imu
where a recording is its own reference, with the code and the seeds of the offline twin.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
import time
from typing import Any

from loc2_ros.data.bag import Bag, Record, Topic, TopicQos
from loc2_ros.data.perturb import PriorNoise
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from rosgraph_msgs.msg import Clock

FIX, IMU = 'sensor_msgs/msg/NavSatFix', 'sensor_msgs/msg/Imu'
TF_STATIC = '/tf_static'
_TF_STATIC_DEPTH = 100      # kitti2bag writes one message per frame and transform
_CLOCK_PERIOD_NS = 10_000_000
_POLL_S = 0.05


class ReplayError(RuntimeError):
    """Playing cannot start; one sentence with the remedy."""


@dataclass(frozen=True)
class ReplayOptions:
    """
    How to play.

    :param rate: seconds of recording per second.
    :param noise: error put on every NavSatFix and Imu; None for none.
    :param remap: recorded topic -> published topic.
    :param wait_for: recorded topics that must have a subscriber first.
    :param wait_s: how long to wait for them; 0 does not wait.
    :param tail_s: how long /clock runs on after the last message.
    """

    rate: float = 1.0
    noise: PriorNoise | None = None
    remap: Mapping[str, str] = field(default_factory=dict)
    wait_for: tuple[str, ...] = ()
    wait_s: float = 0.0
    tail_s: float = 1.0

    def __post_init__(self) -> None:
        if not 0.001 <= self.rate <= 1000.0:
            raise ValueError(f'the rate must lie in 0.001 to 1000, got {self.rate}')


class Player:
    """Publishers for every topic of an open recording."""

    def __init__(self, node: Node, bag: Bag, options: ReplayOptions) -> None:
        """Create the publishers; latched topics already say what they have to say."""
        self._node, self._bag, self._options = node, bag, options
        self.published: dict[str, int] = {}
        self.skipped: dict[str, str] = {}
        self._now_ns = 0
        self._types: dict[str, Any] = {}
        self._publishers: dict[str, Publisher] = {}
        self._latched: dict[str, int] = {}
        for topic in bag.topics.values():
            self._advertise(topic)
        self._clock = node.create_publisher(Clock, '/clock', QoSProfile(
            depth=1, reliability=ReliabilityPolicy.BEST_EFFORT))
        self._publish_latched()

    def wait(self) -> None:
        """
        Wait until somebody listens.

        :raises ReplayError: nobody does in time.
        """
        deadline = time.monotonic() + self._options.wait_s
        missing = self._unmatched()
        while missing and time.monotonic() < deadline and self._node.context.ok():
            time.sleep(_POLL_S)
            missing = self._unmatched()
        if missing and self._options.wait_s > 0 and self._node.context.ok():
            raise ReplayError(
                f'nobody subscribes to {", ".join(missing)} after {self._options.wait_s:g} s; is '
                f'the node running, with these topics and the same ROS_DOMAIN_ID?')

    def play(self, progress: Callable[[float], None] = lambda seconds: None) -> bool:
        """
        Publish everything at its time.

        :param progress: called with the seconds of recording that have been played.
        :returns: False when ROS was shut down meanwhile.
        """
        try:
            return self._play(progress)
        except RuntimeError:        # what rclpy raises when ROS ends while something is published
            if self._node.context.ok():
                raise
            return False

    def _play(self, progress: Callable[[float], None]) -> bool:
        begin = self._bag.start_ns
        early = dict(self._latched)
        pace = _Pace(begin, self._options.rate)
        for record in self._bag.records(self._publishers):
            if not self._run_clock(pace, record.log_ns):
                return False
            if early.get(record.topic.name, 0):
                early[record.topic.name] -= 1
            else:
                self._publish(record)
            progress((record.log_ns - begin) * 1e-9)
        tail_ns = int(self._options.tail_s * self._options.rate * 1e9)
        return self._run_clock(pace, self._bag.end_ns + tail_ns)

    def _advertise(self, topic: Topic) -> None:
        """Create the publisher of a topic, unless its type is not installed."""
        if topic.name == '/clock':
            self.skipped[topic.name] = 'the player makes its own'
            return
        package, _, name = topic.msgtype.split('/')
        try:
            kind = getattr(import_module(f'{package}.msg'), name)
        except (ImportError, AttributeError):
            self.skipped[topic.name] = f'{topic.msgtype} is not installed'
            return
        self._types[topic.name] = kind
        self._publishers[topic.name] = self._node.create_publisher(
            kind, self._options.remap.get(topic.name, topic.name), qos_profile(topic))

    def _publish_latched(self) -> None:
        """
        Publish the first messages of latched topics at once: listeners need them to start.

        All that were recorded together: each broadcaster of static transforms sends its own.
        """
        names = {name for name, topic in self._bag.topics.items()
                 if name in self._publishers and _latched(topic)}
        first: dict[str, int] = {}
        for record in self._bag.records(names):
            name = record.topic.name
            if len(first) == len(names) and record.log_ns > max(first.values()):
                break
            if first.setdefault(name, record.log_ns) == record.log_ns:
                self._latched[name] = self._latched.get(name, 0) + 1
                self._publish(record)

    def _unmatched(self) -> list[str]:
        """Return the topics somebody must listen to and nobody does."""
        wanted = [name for name in self._options.wait_for if name in self._publishers]
        return [self._publishers[name].topic_name for name in wanted
                if self._publishers[name].get_subscription_count() == 0]

    def _publish(self, record: Record) -> None:
        name, noise = record.topic.name, self._options.noise
        data: Any = record.data
        if noise is not None and record.topic.msgtype in (FIX, IMU):
            message = deserialize_message(record.data, self._types[name])
            data = noise.fix(message) if record.topic.msgtype == FIX else noise.imu(message)
        self._publishers[name].publish(data)
        self.published[name] = self.published.get(name, 0) + 1

    def _run_clock(self, pace: _Pace, until_ns: int) -> bool:
        """Publish /clock at 100 Hz of recorded time, at least every 10 ms, until a time."""
        while self._node.context.ok():
            # A tick is due every 10 ms of wall time, whatever the rate
            step_ns = max(1, int(_CLOCK_PERIOD_NS * self._options.rate))
            tick = min(until_ns, self._now_ns + step_ns) if self._now_ns else pace.begin_ns
            pace.sleep_until(tick)
            if tick > self._now_ns:
                self._now_ns = tick
                message = Clock()
                message.clock.sec, message.clock.nanosec = divmod(tick, 10 ** 9)
                self._clock.publish(message)
            if tick >= until_ns:
                return True
        return False


class _Pace:
    """Recorded time against wall time."""

    def __init__(self, begin_ns: int, rate: float) -> None:
        self.begin_ns, self._rate = begin_ns, rate
        self._started = time.monotonic()

    def sleep_until(self, stamp_ns: int) -> None:
        """Sleep until a time of the recording; late ones do not sleep."""
        due = self._started + (stamp_ns - self.begin_ns) * 1e-9 / self._rate
        delay = due - time.monotonic()
        if delay > 0:
            time.sleep(delay)


def qos_profile(topic: Topic) -> QoSProfile:
    """Return what the recording stores for a topic, with tf_static latched in any case."""
    qos = topic.qos or TopicQos()
    depth = max(qos.depth, _TF_STATIC_DEPTH) if topic.name == TF_STATIC else qos.depth
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST if depth else HistoryPolicy.KEEP_ALL, depth=depth,
        reliability=(ReliabilityPolicy.RELIABLE if qos.reliable
                     else ReliabilityPolicy.BEST_EFFORT),
        durability=(DurabilityPolicy.TRANSIENT_LOCAL if _latched(topic)
                    else DurabilityPolicy.VOLATILE))


def _latched(topic: Topic) -> bool:
    # kitti2bag stores no QoS at all, and tf2 would then receive nothing (rosbag2 issue 1049)
    return topic.name == TF_STATIC or (topic.qos is not None and topic.qos.latched)
