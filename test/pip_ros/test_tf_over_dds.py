# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Broadcasters and listeners of tf2_ros over real DDS."""

from __future__ import annotations

from typing import Callable, Iterator

from geometry_msgs.msg import TransformStamped
import pytest
import rclpy
from rclpy.clock import ClockType
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, ReliabilityPolicy
from rclpy.time import Time
from rosgraph_msgs.msg import Clock
import tf2_ros

TYPE_HASH = 'RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087'
DEADLINE_S = 20.0


def transform(parent: str, child: str, x: float, stamp_s: int = 1) -> TransformStamped:
    """Return a message without rotation."""
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp.sec = stamp_s
    message.transform.translation.x = x
    message.transform.rotation.w = 1.0
    return message


class Graph:
    """A few nodes in one context, spun only while something is awaited."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.nodes: list[Node] = []

    def node(self, name: str, **parameters: bool) -> Node:
        """Add a node."""
        overrides = [Parameter(key, value=value) for key, value in parameters.items()]
        node = Node(name, context=self.context, parameter_overrides=overrides)
        self.executor.add_node(node)
        self.nodes.append(node)
        return node

    def until(self, done: Callable[[], object]) -> None:
        """Spin until something is true."""
        clock = rclpy.clock.Clock(clock_type=ClockType.STEADY_TIME)
        start = clock.now()
        while not done():
            waited = (clock.now() - start).nanoseconds * 1e-9
            assert waited < DEADLINE_S, 'nothing arrived in time'
            self.executor.spin_once(timeout_sec=0.05)

    def close(self) -> None:
        """End all of it."""
        for node in self.nodes:
            node.destroy_node()
        self.executor.shutdown()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def graph() -> Iterator[Graph]:
    """Return nodes of this test's own."""
    made = Graph()
    yield made
    made.close()


def test_a_late_listener_gets_all_static_transforms_sent_so_far(graph: Graph) -> None:
    broadcaster = tf2_ros.StaticTransformBroadcaster(graph.node('sender'))
    broadcaster.sendTransform(transform('base', 'camera', 1.0))
    broadcaster.sendTransform([transform('base', 'imu', 2.0), transform('base', 'gps', 3.0)])
    broadcaster.sendTransform(transform('base', 'camera', 4.0))  # replaces its first one
    buffer, node = tf2_ros.Buffer(), graph.node('receiver')
    listener = tf2_ros.TransformListener(buffer, node)
    graph.until(lambda: buffer.can_transform('base', 'gps', Time()))
    got = [buffer.lookup_transform('base', frame, Time()).transform.translation.x
           for frame in ('camera', 'imu', 'gps')]
    assert got == [4.0, 2.0, 3.0]
    assert listener is not None


def test_dynamic_transforms_reach_a_listener_that_is_there(graph: Graph) -> None:
    sender, receiver = graph.node('sender'), graph.node('receiver')
    broadcaster = tf2_ros.TransformBroadcaster(sender)
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, receiver)
    graph.until(lambda: sender.count_subscribers('/tf') and receiver.count_publishers('/tf'))

    def arrived() -> bool:
        broadcaster.sendTransform([transform('odom', 'base', 5.0), transform('map', 'odom', 1.0)])
        return bool(buffer.can_transform('map', 'base', Time()))

    graph.until(arrived)
    assert buffer.lookup_transform('map', 'base', Time()).transform.translation.x == 6.0
    assert listener is not None


def test_tf_is_volatile_and_tf_static_is_latched(graph: Graph) -> None:
    node = graph.node('both')
    kept = (tf2_ros.TransformBroadcaster(node), tf2_ros.StaticTransformBroadcaster(node),
            tf2_ros.TransformListener(tf2_ros.Buffer(), node))
    for topic, durability in (('/tf', DurabilityPolicy.VOLATILE),
                              ('/tf_static', DurabilityPolicy.TRANSIENT_LOCAL)):
        graph.until(lambda: node.count_subscribers(topic) and node.count_publishers(topic))
        for end in (*node.get_publishers_info_by_topic(topic),
                    *node.get_subscriptions_info_by_topic(topic)):
            assert end.qos_profile.durability == durability
            assert end.qos_profile.reliability == ReliabilityPolicy.RELIABLE
    assert len(kept) == 3


def test_tf_has_the_type_hash_of_every_distribution(graph: Graph) -> None:
    node = graph.node('sender')
    broadcaster = tf2_ros.TransformBroadcaster(node)
    graph.until(lambda: node.count_publishers('/tf'))
    info, = node.get_publishers_info_by_topic('/tf')
    assert info.topic_type == 'tf2_msgs/msg/TFMessage'
    assert str(info.topic_type_hash) == TYPE_HASH
    assert broadcaster is not None


def test_a_bag_that_starts_again_clears_what_is_dynamic(graph: Graph) -> None:
    node, player = graph.node('localizer', use_sim_time=True), graph.node('player')
    clock = player.create_publisher(Clock, '/clock', 1)
    buffer = tf2_ros.Buffer(node=node)

    def play_to(second: int) -> None:
        def there() -> bool:
            message = Clock()
            message.clock.sec = second
            clock.publish(message)
            return node.get_clock().now().nanoseconds == second * 10**9
        graph.until(there)

    play_to(100)
    buffer.set_transform(transform('odom', 'base', 5.0, stamp_s=100), 'test')
    buffer.set_transform_static(transform('base', 'camera', 1.0), 'test')
    play_to(101)
    assert buffer.can_transform('odom', 'camera', Time())
    play_to(7)
    assert not buffer.can_transform('odom', 'camera', Time())
    assert buffer.can_transform('base', 'camera', Time())
