# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Thousands of messages of every subscribed type that nobody should send, and a node after it."""

from __future__ import annotations

from functools import partial
import time
from typing import Any, Callable

from fault_tools import answered, error_m, EXPECTED, is_well, recovers
from fuzzed_messages import Fuzz
from geometry_msgs.msg import PoseStamped
from loc2_ros.model.depth import DepthImages, LidarDepth
import numpy as np
import pytest
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message, serialize_message
from ros_world import BAG_TIME, DEADLINE_S, FakeLocalizer, LATCHED, SECOND, World
from sensor_msgs.msg import CompressedImage, Image

IMAGES = ('/image_rect', '/image_rect/compressed')
IMPATIENT = {'prior.wait': 0.0, 'tf.lookup_timeout': 0.0}
# Together they subscribe to everything; each also finds the vehicle by another source
NODES: dict[str, dict[str, Any]] = {
    'fix': {'depth.source': 'image', 'max_image_age': 0.0},
    'odometry': {'prior.source': 'odometry', 'prior.heading': 'odometry', 'odom_frame': 'odom',
                 'depth.source': 'lidar'},
    'initialpose': {'prior.source': 'initialpose', 'prior.heading': 'course',
                    'image_transport': 'compressed'},
    'clock': {'use_sim_time': True, 'map.datum': None}}


def started(world: World, name: str) -> Any:
    """Start one of the nodes with all the subscriptions that its parameters ask for."""
    fake = FakeLocalizer()
    given = {**IMPATIENT, **NODES[name]}
    fake.depth = LidarDepth() if given.get('depth.source') == 'lidar' else DepthImages()
    node = world.start(fake, wait=False, **given)
    if 'image_transport' in given:
        world.connect(CompressedImage, IMAGES[1])
    else:
        world.connect(Image, IMAGES[0])
    return node


def until(condition: Callable[[], bool], what: str) -> None:
    """Wait as the world does, but look more often."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(2e-4)


def feed(world: World, node: Any, messages: dict[str, Any], count: int) -> None:
    """Give each subscription so many messages, through CDR and in the node's own executor."""
    callbacks = {s.topic_name: (s.msg_type, s.callback) for s in node.subscriptions}
    fed = {topic: callbacks[topic] for topic in messages if topic in callbacks}
    assert len(fed) > 5

    def give(topic: str) -> None:
        kind, callback = fed[topic]
        if topic != '/clock':           # that of rclpy raises; ours must not
            callback = callback.__wrapped__
        callback(deserialize_message(serialize_message(messages[topic]()), kind))

    def some() -> None:
        for topic in fed:
            if topic not in IMAGES:
                for _ in range(10):
                    give(topic)
    for _ in range(count // 10):
        done = node.spinner.executor.create_task(some)
        until(done.done, 'the callbacks')
        done.result()
        for topic in set(fed) & set(IMAGES):    # one at a time: the worker shall see each
            for k in range(10):
                if topic == IMAGES[0] and k % 5 == 0:      # sound ones in between
                    world.info()
                    world.fix(time.time_ns())
                    world.imu(time.time_ns())
                before = answered(node)
                done = node.spinner.executor.create_task(partial(give, topic))
                until(lambda b=before: answered(node) > b, 'an answer to the image')
                done.result()


def survives(world: World, name: str, count: int) -> None:
    """Fuzz a node, and assert that it publishes nothing wrong and is as good as new after it."""
    node = started(world, name)
    clock = {'now': BAG_TIME}
    world.now = (lambda: tick(world, node, clock)) if name == 'clock' else world.now
    make = Fuzz(7, (lambda: clock['now']) if name == 'clock' else time.time_ns).by_topic
    if name == 'clock':                 # nothing of this is a place
        feed(world, node, {t: make[t] for t in make if t not in ('/clock', '/fix', *IMAGES)}, 10)
        origin = PoseStamped()
        origin.pose.position.x, origin.pose.position.y = 8.4, 49.0
        world.node.create_publisher(PoseStamped, '/local_xy_origin', LATCHED).publish(origin)
        world.until(lambda: node._datum, 'the datum')
        assert node._datum[0].lat_deg == 49.0
    world.tf_static()
    world.until(lambda: node.session._mounting('camera') is not None, 'the mounting')
    if name == 'initialpose':
        world.initialpose(time.time_ns(), EXPECTED)
    feed(world, node, make, count)
    is_well(world, node)
    for pose in world.got['pose']:
        assert error_m(pose, EXPECTED) < 1e-3
    if 'image_transport' in NODES[name]:
        recovers_compressed(world)
    else:
        recovers(world, node)
    is_well(world, node)
    assert node._datum[0].lat_deg == 49.0


def tick(world: World, node: Any, clock: dict[str, int]) -> int:
    """Let simulated time go on by a tenth of a second."""
    clock['now'] += SECOND // 10
    world.set_clock(node, clock['now'])
    return clock['now']


def recovers_compressed(world: World) -> None:
    """Send what a sound vehicle with a compressed camera and an initialpose sends."""
    import cv2
    good = cv2.imencode('.jpg', np.full((48, 64, 3), 128, np.uint8))[1].tobytes()
    before = len(world.got['pose'])

    def more() -> bool:
        world.tf_static()
        world.info()
        world.initialpose(time.time_ns(), EXPECTED)
        world.jpeg(time.time_ns(), good)
        return len(world.got['pose']) >= before + 3
    world.until(more, 'three poses after the faults')
    for pose in world.got['pose'][before:]:
        assert error_m(pose, EXPECTED) < 1e-3


@pytest.mark.parametrize('name', list(NODES))
def test_a_hundred_fuzzed_messages_of_every_type_do_no_harm(world: World, name: str) -> None:
    survives(world, name, 100)


@pytest.mark.slow
@pytest.mark.parametrize('name', list(NODES))
def test_ten_thousand_fuzzed_messages_of_every_type_do_no_harm(world: World, name: str) -> None:
    survives(world, name, 10_000)


def test_together_the_fuzzed_nodes_subscribe_to_every_type_there_is(world: World) -> None:
    heard = set()
    for given in NODES.values():
        node = world.start(wait=False, **given)
        heard |= {s.topic_name for s in node.subscriptions}
    assert heard == set(Fuzz(0, time.time_ns).by_topic)


def test_fuzzed_messages_over_dds_and_bytes_that_are_no_message_do_no_harm(world: World) -> None:
    node = started(world, 'fix')
    fuzz = Fuzz(11, time.time_ns)
    senders = {}
    for subscription in list(node.subscriptions):
        topic = subscription.topic_name
        qos = LATCHED if topic == '/tf_static' else QoSProfile(depth=100)
        senders[topic] = world.node.create_publisher(subscription.msg_type, topic, qos)
    world.until(lambda: all(s.get_subscription_count() for s in senders.values()), 'the node')
    for n in range(100):
        for topic, sender in senders.items():
            sender.publish((b'\x00\x01\x00\x00' if n % 2 else b'') + fuzz.blob())
            sender.publish(fuzz.by_topic[topic]())
        time.sleep(0.005)
    world.until(lambda: node.stats.values()['images_received'] > 10
                and node.stats.values()['fixes_received'] > 10, 'the messages')
    is_well(world, node)
    recovers(world, node)
    is_well(world, node)
