# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Depth from topics reaches the localizer, scans in the camera's axes."""

from __future__ import annotations

import time

from loc2_ros.model.depth import DepthImages, LidarDepth
from loc2_ros.ros.convert import stamp_to_msg
import numpy as np
import pytest
from ros_world import FakeLocalizer, World
from sensor_msgs.msg import Image, PointCloud2, PointField


def test_a_depth_image_reaches_the_localizer_and_a_bad_one_is_told(world: World) -> None:
    fake = FakeLocalizer()
    fake.depth = DepthImages()
    world.start(fake, depth__source='image')
    publisher = world.node.create_publisher(Image, '/depth', 10)
    world.until(publisher.get_subscription_count, 'the node')
    stamp = world.now()
    msg = Image(height=2, width=2, encoding='16UC1', step=4,
                data=np.full((2, 2), 2500, np.uint16).tobytes())
    msg.header.stamp = stamp_to_msg(stamp)
    publisher.publish(msg)
    found = world.until(lambda: [f for f in [fake.depth._recent.at(stamp)] if f is not None],
                        'the depth')
    assert found[0] == pytest.approx(2.5)
    msg.encoding = 'bgr8'
    publisher.publish(msg)
    world.until(lambda: 'depth encoding' in (world.status('input') or (0, '', {}))[2].get(
        'input_problem', ''), 'the complaint')


def test_a_scan_reaches_the_localizer_in_optical_axes(world: World) -> None:
    fake = FakeLocalizer()
    fake.depth = LidarDepth()
    node = world.start(fake, depth__source='lidar', camera_frame='camera')
    publisher = world.node.create_publisher(PointCloud2, '/points', 10)
    world.until(publisher.get_subscription_count, 'the node')
    world.tf_static()       # at 1.4, 0.2, 1.6, looking forward
    world.tf_static('lidar', [0.0, 0.0, 1.6, 0.0, 0.0, 0.0])
    world.until(lambda: node.session._mounting('lidar') is not None
                and node.session._mounting('camera') is not None, 'tf')
    stamp = world.now()
    fields = [PointField(name=n, offset=4 * k, datatype=PointField.FLOAT32, count=1)
              for k, n in enumerate('xyz')]
    msg = PointCloud2(height=1, width=1, fields=fields, point_step=12, row_step=12,
                      data=np.array([11.4, 1.2, 0.0], np.float32).tobytes())
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp), 'lidar'
    publisher.publish(msg)
    found = world.until(lambda: [f for f in [fake.depth._recent.at(stamp)] if f is not None],
                        'the scan')
    assert found[0][0] == pytest.approx([-1.0, 0.0, 10.0], abs=1e-5)    # right, down, forward


def test_a_scan_that_lies_about_its_layout_is_told_and_the_node_lives(world: World) -> None:
    fake = FakeLocalizer()
    fake.depth = LidarDepth()
    world.start(fake, depth__source='lidar', camera_frame='camera', points_topic='/scan')
    publisher = world.node.create_publisher(PointCloud2, '/scan', 10)
    world.until(publisher.get_subscription_count, 'the node')
    world.tf_static()
    fields = [PointField(name=n, offset=4 * k, datatype=PointField.FLOAT32, count=1)
              for k, n in enumerate('xyz')]
    msg = PointCloud2(height=1, width=2, fields=fields, point_step=4, row_step=8, data=bytes(8))
    msg.header.stamp, msg.header.frame_id = stamp_to_msg(world.now()), 'camera'

    def complains() -> bool:
        publisher.publish(msg)
        return 'field at byte 8' in (world.status('input') or (0, '', {}))[2].get(
            'input_problem', '')
    world.until(complains, 'the complaint')


def test_an_image_waits_for_its_depth_as_it_does_for_its_prior(world: World) -> None:
    fake = FakeLocalizer()
    fake.depth = DepthImages()
    node = world.start(fake, depth__source='image', prior__wait=2.0, max_image_age=0.0)
    publisher = world.node.create_publisher(Image, '/depth', 10)
    world.until(publisher.get_subscription_count, 'the node')
    world.ready(node)
    stamp = world.now()
    world.fix(stamp)
    world.imu(stamp)
    world.fix(stamp + 10_000_000)
    world.imu(stamp + 10_000_000)
    world.image(stamp)
    msg = Image(height=2, width=2, encoding='16UC1', step=4,
                data=np.full((2, 2), 2500, np.uint16).tobytes())
    msg.header.stamp = stamp_to_msg(stamp)
    given: list[bool] = []
    fake.localize = lambda image, *rest, old=fake.localize: (
        given.append(fake.depth.has(image.stamp_ns)), old(image, *rest))[1]
    time.sleep(0.3)         # the image has long arrived
    publisher.publish(msg)
    world.until(lambda: given, 'the image')
    assert given == [True]


def test_a_scan_without_points_and_of_impossible_size_does_no_harm(world: World) -> None:
    fake = FakeLocalizer()
    fake.depth = LidarDepth()
    node = world.start(fake, depth__source='lidar', camera_frame='camera')
    world.tf_static()
    world.tf_static('lidar', [0.0, 0.0, 1.6, 0.0, 0.0, 0.0])
    world.until(lambda: node.session._mounting('lidar') is not None
                and node.session._mounting('camera') is not None, 'tf')
    publisher = world.node.create_publisher(PointCloud2, '/points', 10)
    world.until(publisher.get_subscription_count, 'the node')
    fields = [PointField(name=n, offset=4 * k, datatype=PointField.FLOAT32, count=1)
              for k, n in enumerate('xyz')]
    for width, step in ((0, 2 ** 31), (0, 12), (1, 2 ** 31), (2 ** 32 - 1, 2 ** 32 - 1)):
        msg = PointCloud2(height=1, width=width, fields=fields, point_step=step)
        msg.header.stamp = stamp_to_msg(world.now())
        msg.header.frame_id = 'lidar'
        publisher.publish(msg)
    world.until(lambda: 'point cloud' in (world.status('input') or (0, '', {}))[2].get(
        'input_problem', ''), 'the complaint')
    world.info()
    world.until(lambda: world.frame() and world.got['pose'], 'a pose')
