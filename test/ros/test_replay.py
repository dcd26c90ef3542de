# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The DDS player: stored bytes and stamps arrive, latched topics reach late joiners."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import threading
import time
from typing import Any

from loc2_ros.data import drive_messages
from loc2_ros.data.bag import open_bag, TopicQos
from loc2_ros.data.bag_writer import BagWriter, make, make_header
from loc2_ros.data.messages import position_from_fix, stamp_ns
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.ros.replay import Player, ReplayError, ReplayOptions
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Imu, NavSatFix
from std_msgs.msg import String
from tf2_msgs.msg import TFMessage

START_NS = 1_317_042_651_168_593_664
IMAGE, FIX, IMU = '/cam/image/compressed', '/gps/fix', '/imu'
LATCHED = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
HASTY = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)


@pytest.fixture(scope='module')
def bag_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write 20 images, fixes and headings over 0.95 s, tf_static without any QoS."""
    path = tmp_path_factory.mktemp('replay') / 'drive.mcap'
    with BagWriter(path) as bag:
        bag.add_topic(IMAGE, 'sensor_msgs/msg/CompressedImage', TopicQos(depth=30))
        bag.add_topic(FIX, 'sensor_msgs/msg/NavSatFix', TopicQos(depth=30))
        bag.add_topic(IMU, 'sensor_msgs/msg/Imu', TopicQos(reliable=False, depth=30))
        bag.add_topic('/tf_static', 'tf2_msgs/msg/TFMessage', None)
        bag.add_topic('/note', 'std_msgs/msg/String', TopicQos(latched=True, depth=1))
        bag.add_topic('/clock', 'rosgraph_msgs/msg/Clock')
        bag.write('/tf_static', START_NS, drive_messages.static_transforms(
            START_NS, np.eye(4), np.eye(4)))
        # Each broadcaster sends its own, and a recorder may hear both in the same instant
        bag.write('/tf_static', START_NS, make('tf2_msgs/msg/TFMessage', transforms=[]))
        bag.write('/note', START_NS, make('std_msgs/msg/String', data='latched'))
        for i in range(20):
            stamp = START_NS + i * 50_000_000
            bag.write('/clock', stamp, make('rosgraph_msgs/msg/Clock', clock=make(
                'builtin_interfaces/msg/Time', sec=1, nanosec=0)))
            bag.write(IMAGE, stamp, make(
                'sensor_msgs/msg/CompressedImage', header=make_header(stamp, 'camera'),
                format='jpeg', data=np.full(200_000, i, np.uint8)))
            bag.write(FIX, stamp, drive_messages.fix(stamp, 49.0, 8.4, 110.0, 0.2))
            bag.write(IMU, stamp, drive_messages.imu(stamp, 0.5, 0.01, 0.0, (0.0, 0.0),
                                                     np.eye(3)))
    return path


class Listener:
    """A node in a thread of its own that keeps what it receives."""

    def __init__(self, context: Any) -> None:
        self.node = Node('listener', context=context)
        self.heard: dict[str, list[Any]] = {}
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin)
        self._thread.start()

    def listen(self, kind: Any, topic: str, qos: QoSProfile) -> list[Any]:
        """Subscribe and return the list that fills."""
        messages = self.heard.setdefault(topic, [])
        self.node.create_subscription(kind, topic, messages.append, qos)
        return messages

    def close(self) -> None:
        """Stop spinning, then destroy."""
        self._stop.set()
        self._thread.join()
        self._executor.shutdown()
        self.node.destroy_node()

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)


@pytest.fixture
def context() -> Iterator[Any]:
    """Start ROS in this process's own domain."""
    made = rclpy.Context()
    rclpy.init(context=made, domain_id=int(os.environ['ROS_DOMAIN_ID']))
    yield made
    rclpy.try_shutdown(context=made)


@pytest.fixture
def listener(context: Any) -> Iterator[Listener]:
    """Make a listener."""
    made = Listener(context)
    yield made
    made.close()


@pytest.fixture
def player_node(context: Any) -> Iterator[Node]:
    """Make the player's node."""
    node = Node('player', context=context)
    yield node
    node.destroy_node()


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Poll until a condition holds or a deadline passes."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def play(node: Node, path: Path, **options: Any) -> Player:
    """Play a recording to whoever listens to the image."""
    settings = {'rate': 2.0, 'wait_for': (IMAGE, FIX), 'wait_s': 10.0, 'tail_s': 0.1, **options}
    with open_bag(path) as bag:
        player = Player(node, bag, ReplayOptions(**settings))
        player.wait()
        assert player.play()
    return player


def test_every_message_arrives_with_its_bytes_and_stamp(
        bag_path: Path, listener: Listener, player_node: Node) -> None:
    images = listener.listen(CompressedImage, IMAGE, QoSProfile(depth=100))
    fixes = listener.listen(NavSatFix, FIX, QoSProfile(depth=100))
    player = play(player_node, bag_path)
    assert eventually(lambda: len(images) == 20 and len(fixes) == 20)
    assert [stamp_ns(m.header.stamp) for m in images] == [
        START_NS + i * 50_000_000 for i in range(20)]
    assert bytes(images[7].data) == bytes([7]) * 200_000
    assert fixes[0].latitude == 49.0
    assert player.published == {IMAGE: 20, FIX: 20, IMU: 20, '/tf_static': 2, '/note': 1}


def test_latched_topics_reach_a_late_joiner_even_if_the_bag_forgot_the_qos(
        bag_path: Path, listener: Listener, player_node: Node) -> None:
    with open_bag(bag_path) as bag:
        Player(player_node, bag, ReplayOptions())
        transforms = listener.listen(TFMessage, '/tf_static', LATCHED)
        notes = listener.listen(String, '/note', LATCHED)
        assert eventually(lambda: len(transforms) == 2 and len(notes) == 1)
    assert notes[0].data == 'latched'


def test_the_clock_runs_from_first_to_last_message_in_steps_of_the_rate(
        bag_path: Path, listener: Listener, player_node: Node) -> None:
    clock = listener.listen(Clock, '/clock', HASTY)
    listener.listen(CompressedImage, IMAGE, QoSProfile(depth=100))
    listener.listen(NavSatFix, FIX, QoSProfile(depth=100))
    started = time.monotonic()
    play(player_node, bag_path, rate=2.0, tail_s=0.2)
    played_s = time.monotonic() - started
    assert eventually(lambda: bool(clock) and stamp_ns(clock[-1].clock) > START_NS + 1.2e9)
    times = np.array([stamp_ns(m.clock) for m in clock])
    assert np.all(np.diff(times) > 0), 'the clock never stands or runs back'
    # The recording's own /clock said 1 s and is not played
    assert times[0] >= START_NS and times[-1] <= START_NS + 1.36e9
    assert np.median(np.diff(times)) <= 20_000_000
    assert played_s >= 0.95 / 2.0


def test_noise_is_the_same_as_that_of_the_offline_twin(
        bag_path: Path, listener: Listener, player_node: Node) -> None:
    noise = PriorNoise(15.0, 8.0, seed=4)
    fixes = listener.listen(NavSatFix, FIX, QoSProfile(depth=100))
    inertial = listener.listen(Imu, IMU, HASTY)
    listener.listen(CompressedImage, IMAGE, QoSProfile(depth=100))
    play(player_node, bag_path, noise=noise, wait_for=(IMAGE, FIX, IMU))
    assert eventually(lambda: len(fixes) == 20 and len(inertial) > 5)
    with open_bag(bag_path) as bag:
        expected = [noise.fix(record.message) for record in bag.records([FIX])]
        turned = [noise.imu(record.message) for record in bag.records([IMU])]
    assert [(m.latitude, m.longitude) for m in fixes] == [
        (m.latitude, m.longitude) for m in expected]
    heard, meant = (position_from_fix(m[0], 99.0).sigma_m for m in (fixes, expected))
    assert heard == meant
    assert inertial[-1].orientation.z == turned[-1].orientation.z


def test_topics_are_published_under_their_new_names(
        bag_path: Path, listener: Listener, player_node: Node) -> None:
    fixes = listener.listen(NavSatFix, '/fix', QoSProfile(depth=100))
    play(player_node, bag_path, remap={FIX: '/fix'}, wait_for=(FIX,))
    assert eventually(lambda: len(fixes) == 20)


def test_waiting_in_vain_ends_with_the_topic_and_a_remedy(
        bag_path: Path, player_node: Node) -> None:
    with open_bag(bag_path) as bag:
        player = Player(player_node, bag, ReplayOptions(wait_for=(IMAGE,), wait_s=0.2))
        with pytest.raises(ReplayError, match=f'{IMAGE} after 0.2 s.*ROS_DOMAIN_ID'):
            player.wait()


def test_a_shutdown_ends_playing(bag_path: Path, context: Any, player_node: Node) -> None:
    with open_bag(bag_path) as bag:
        player = Player(player_node, bag, ReplayOptions(rate=0.01))
        threading.Timer(0.3, lambda: rclpy.try_shutdown(context=context)).start()
        assert player.play() is False


def test_a_type_that_is_not_installed_is_skipped_with_its_name(
        tmp_path: Path, player_node: Node) -> None:
    path = tmp_path / 'odd.mcap'
    with BagWriter(path) as bag:
        bag.add_topic('/note', 'std_msgs/msg/String')
        bag.write('/note', 1, make('std_msgs/msg/String', data='x'))
    with open_bag(path) as bag:
        topic = bag.topics['/note']
        object.__setattr__(topic, 'msgtype', 'no_such_msgs/msg/Thing')
        player = Player(player_node, bag, ReplayOptions(tail_s=0.0))
        assert player.skipped == {'/note': 'no_such_msgs/msg/Thing is not installed'}


@pytest.mark.parametrize('rate', [0.0, -1.0, float('nan'), float('inf')])
def test_a_rate_that_is_none_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match='rate'):
        ReplayOptions(rate=rate)


def test_a_remap_of_the_player_is_not_one_of_the_whole_process(
        monkeypatch: pytest.MonkeyPatch) -> None:
    from loc2_ros.ros.replay_session import ros_node
    monkeypatch.setattr('sys.argv', ['loc2', 'replay', 'b', '--remap', '/tf:=/ground_truth/tf'])
    with ros_node('player') as node:
        assert node.create_publisher(TFMessage, '/tf', 1).topic_name == '/tf'
