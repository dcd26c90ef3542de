# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Several nodes in one process, and QoS from a parameter file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from loc2_ros.core.values import Pose2
import pytest
from ros_world import FakeLocalizer, LATCHED, OFFSET, World, yaw_of
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix
from tf2_msgs.msg import TFMessage
import yaml

SENSORS = {'image': (Image, 'image_rect', 10), 'info': (CameraInfo, 'camera_info', 10),
           'fix': (NavSatFix, 'fix', 10), 'imu': (Imu, 'imu', 10),
           'tf_static': (TFMessage, 'tf_static', LATCHED)}


class Car:
    """One of several vehicles, all of whose names are in a namespace."""

    def __init__(self, world: World, name: str, truth: Pose2) -> None:
        self.world, self.name, self.truth = world, name, truth
        self.poses: list[Any] = []
        self.sent: list[Any] = []
        self.node = world.start(FakeLocalizer(truth=truth), wait=False, options={
            'namespace': name, 'cli_args': ['--ros-args', '-r', '/tf:=tf', '-r',
                                            '/tf_static:=tf_static']})
        world.node.create_subscription(PoseWithCovarianceStamped, f'/{name}/loc2/pose',
                                       self.poses.append, 10)
        world.node.create_subscription(TFMessage, f'/{name}/tf',
                                       lambda m: self.sent.extend(m.transforms), 100)
        self.publishers = {key: world.node.create_publisher(kind, f'/{name}/{topic}', qos)
                           for key, (kind, topic, qos) in SENSORS.items()}
        world.until(lambda: all(p.get_subscription_count() for p in self.publishers.values())
                    and world.node.count_publishers(f'/{name}/loc2/pose')
                    and world.node.count_publishers(f'/{name}/tf'), f'{name} to subscribe')

    def drive(self, camera: list[float]) -> int:
        """Send one image with all that belongs to it; return its stamp."""
        self.world.publishers.update(self.publishers)
        self.world.tf_static(pose=camera)
        self.world.info()
        before = self.world.now() - 1_000_000
        self.world.fix(before, (self.truth.x_m, self.truth.y_m))
        self.world.imu(before, self.truth.yaw_rad)
        self.world.until(lambda: self.world.knows(self.node), f'sensors of {self.name}')
        return int(self.world.frame())


def test_two_nodes_in_two_namespaces_localize_independently(world: World) -> None:
    camera = [1.4, 0.2, 1.6, -math.pi / 2, 0.0, -math.pi / 2]
    cars = [Car(world, 'car1', Pose2(12.5, -7.25, 0.6)),
            Car(world, 'car2', Pose2(-3.0, 9.0, -2.0))]
    stamps = [car.drive(camera) for car in cars]
    for car, stamp in zip(cars, stamps):
        world.until(lambda car=car: car.poses and car.sent, f'a pose of {car.name}')
        expected = car.truth @ OFFSET
        assert len(car.poses) == 1
        p = car.poses[0].pose.pose.position
        assert (p.x, p.y) == pytest.approx((expected.x_m, expected.y_m), abs=1e-3)
        assert yaw_of(car.poses[0]) == pytest.approx(expected.yaw_rad, abs=1e-4)
        edge, = car.sent
        assert (edge.header.frame_id, edge.child_frame_id) == ('map', 'base_link')
        assert edge.transform.translation.x == pytest.approx(expected.x_m, abs=1e-3)
        assert edge.header.stamp.nanosec == stamp % 1_000_000_000
    assert world.got['tf'] == [] and world.got['pose'] == []    # nothing outside of namespaces
    names = {status.name for message in world.got['diagnostics'] for status in message.status}
    assert names == {f'{car.name}/loc2: {status}' for car in cars
                     for status in ('input', 'map', 'localization', 'model')}


def test_one_of_two_nodes_in_a_process_can_stop_without_the_other(world: World) -> None:
    camera = [1.4, 0.2, 1.6, -math.pi / 2, 0.0, -math.pi / 2]
    first = Car(world, 'car1', Pose2(12.5, -7.25, 0.6))
    second = Car(world, 'car2', Pose2(-3.0, 9.0, -2.0))
    first.node.trigger_deactivate()
    first.node.trigger_cleanup()
    second.drive(camera)
    world.until(lambda: second.poses, 'a pose')
    assert not first.poses


OVERRIDES = {       # topic, kind of entity, name in the file
    'fix': 'subscription', 'imu': 'subscription', 'odometry': 'subscription',
    'camera_info': 'subscription', 'initialpose': 'subscription', 'loc2/pose': 'publisher',
    'loc2/fix': 'publisher'}


@pytest.mark.parametrize('topic', OVERRIDES)
def test_the_qos_can_be_overridden_from_a_parameter_file(
        world: World, tmp_path: Path, topic: str) -> None:
    kind = OVERRIDES[topic]
    file = tmp_path / 'qos.yaml'
    reliability = 'best_effort' if kind == 'publisher' else 'reliable'
    file.write_text(yaml.safe_dump({'/loc2': {'ros__parameters': {'qos_overrides': {
        f'/{topic}': {kind: {'depth': 37, 'reliability': reliability}}}}}}))
    node = world.start(wait=False, options={
        'cli_args': ['--ros-args', '--params-file', str(file)]})
    if kind == 'subscription':
        found, = (s.qos_profile for s in node.subscriptions if s.topic_name == f'/{topic}')
        infos = world.until(lambda: world.node.get_subscriptions_info_by_topic(f'/{topic}'),
                            topic)
    else:
        found, = (p.qos_profile for p in node.publishers if p.topic_name == f'/{topic}')
        infos = world.until(lambda: world.node.get_publishers_info_by_topic(f'/{topic}'), topic)
    assert found.depth == 37 and found.reliability.name == reliability.upper()
    assert [info.qos_profile.reliability.name for info in infos] == [reliability.upper()]


def test_an_override_that_makes_no_sense_fails_at_activation_with_a_sentence(
        world: World, capfd: pytest.CaptureFixture[str]) -> None:
    node = world.start(activate=False, **{'qos_overrides./fix.subscription.reliability': 'often'})
    assert not node.autostart()
    assert 'activate failed: ' in capfd.readouterr().err
