# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The node over real DDS with a fake localizer: what it publishes, when, with what stamp."""

from __future__ import annotations

import math
import threading
from typing import Any

from loc2_ros.core.values import Prior, Reason, Rejection
import numpy as np
import pytest
from ros_world import (
    BAG_TIME, BEST_EFFORT, DATUM, FakeLocalizer, OFFSET, SECOND, stamp_of, TRUTH, World, yaw_of)
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger


def refuse(image: Any, prior: Prior) -> Rejection:
    """Answer as a localizer that found nothing."""
    return Rejection(image.stamp_ns, Reason.FEW_INLIERS, {'inliers': 3, 'min_inliers': 20})


def test_each_image_gives_one_pose_with_its_stamp_to_the_nanosecond_in_order(world: World) -> None:
    node = world.start()
    world.ready(node)
    stamps = []
    for n in range(5):
        stamps.append(world.frame())
        poses = world.poses(n + 1)
    assert [stamp_of(p) for p in poses] == stamps
    assert {p.header.frame_id for p in poses} == {'map'}
    world.level('localization', 0, 'localized')


@pytest.mark.parametrize('yaw', [0.0, math.pi / 2])
def test_the_pose_is_that_of_base_link_with_a_lever_arm_and_a_turned_camera(
        world: World, yaw: float) -> None:
    camera = [1.4, -0.3, 1.6, -math.pi / 2, 0.0, -math.pi / 2 + yaw]
    node = world.start(FakeLocalizer(camera_pose=camera))
    world.tf_static(pose=camera)
    world.info()
    world.fix(world.now())
    world.until(lambda: world.knows(node) or world.imu(world.now()), 'prior')
    world.frame()
    pose = world.poses(1)[0]
    expected = TRUTH @ OFFSET
    p = pose.pose.pose.position
    assert (p.x, p.y, p.z) == pytest.approx((expected.x_m, expected.y_m, 0.0), abs=1e-3)
    assert yaw_of(pose) == pytest.approx(expected.yaw_rad, abs=1.7e-4)


def test_the_covariance_fills_x_y_yaw_and_says_do_not_fuse_the_rest(world: World) -> None:
    node = world.start()
    world.ready(node)
    world.frame()
    covariance = np.array(world.poses(1)[0].pose.covariance).reshape(6, 6)
    assert np.array_equal(covariance, covariance.T)
    assert np.linalg.eigvalsh(covariance)[0] > 0
    assert np.diag(covariance) == pytest.approx([0.6, 0.5, 1e6, 10.0, 10.0, 0.002])
    assert covariance[0, 5] == pytest.approx(0.01) and covariance[0, 1] == pytest.approx(0.1)
    others = covariance - np.diag(np.diag(covariance))
    assert not others[2:5].any() and not others[:, 2:5].any()


def test_the_same_fix_is_published_in_wgs84_beside_the_datum(world: World) -> None:
    node = world.start()
    world.ready(node)
    stamp = world.frame()
    world.until(lambda: world.got['navsat'], 'a NavSatFix')
    msg = world.got['navsat'][0]
    from loc2_ros.core.frames import LocalFrame
    xy = LocalFrame(*DATUM).forward(msg.latitude, msg.longitude)
    expected = TRUTH @ OFFSET
    assert xy == pytest.approx([expected.x_m, expected.y_m], abs=1e-3)
    assert stamp_of(msg) == stamp and msg.position_covariance_type == 3
    origin = world.until(lambda: world.got['origin'], 'the datum')[0].pose.position
    assert [origin.y, origin.x, origin.z] == pytest.approx(DATUM)


def test_in_utm_prior_pose_and_fix_agree_in_the_grid_about_the_datum(world: World) -> None:
    from loc2_ros.core.utm import UtmFrame
    node = world.start(map__frame_mode='utm')
    world.ready(node)
    world.frame()
    pose = world.poses(1)[0].pose.pose.position
    world.until(lambda: world.got['navsat'] and world.got['prior'], 'a NavSatFix and a prior')
    frame, msg = UtmFrame(*DATUM), world.got['navsat'][0]
    assert frame.forward(msg.latitude, msg.longitude) == pytest.approx([pose.x, pose.y], abs=1e-3)
    # The heading prior, 0.5 from true east in the Imu, is one of the grid
    turned = yaw_of(world.got['prior'][0]) - 0.5
    assert turned == pytest.approx(frame.convergence_rad((0.0, 0.0)), abs=1e-4)
    assert world.level('map', 0, 'map at')[2]['frame_mode'] == 'utm'


def test_a_slow_model_takes_the_newest_image_and_every_image_is_accounted_for(
        world: World) -> None:
    fake = FakeLocalizer()
    fake.gate = threading.Event()
    node = world.start(fake, prior__wait=0.0)
    world.ready(node)
    first = world.frame()
    world.until(lambda: fake.calls, 'the first image in the worker')
    for n in range(5):
        last = world.frame()
        world.until(lambda n=n: node.stats.values()['images_received'] == n + 2, 'image')
    fake.gate.set()
    assert [stamp_of(p) for p in world.poses(2)] == [first, last]
    values = node.stats.values()
    assert values['images_received'] == 6 and values['images_dropped'] == 4
    world.shows('input', 'images_dropped', '4')
    world.shows('localization', 'fixes', '2')


def test_services_answer_and_the_clock_moves_while_the_worker_is_busy(world: World) -> None:
    fake = FakeLocalizer()
    fake.gate = threading.Event()
    node = world.start(fake, use_sim_time=True)
    world.set_clock(node, BAG_TIME)
    world.tf_static()
    world.info()
    world.fix(BAG_TIME)
    world.imu(BAG_TIME)
    world.until(lambda: world.knows(node), 'sensors')
    world.frame(BAG_TIME + SECOND // 10)
    world.until(lambda: fake.calls, 'an image in the worker')
    world.set_clock(node, BAG_TIME + SECOND)
    client = world.node.create_client(SetBool, '/loc2/enable')
    assert client.wait_for_service(5.0)
    future = client.call_async(SetBool.Request(data=True))
    world.until(future.done, 'the service')
    fake.gate.set()
    world.poses(1)
    world.shows('localization', 'latency_s', '0.9')
    world.shows('localization', 'latency_max_s', '0.9')


def test_disabled_images_are_dropped_and_reset_forgets_the_prior(world: World) -> None:
    node = world.start()
    world.ready(node)

    def call(kind: Any, name: str, **request: Any) -> Any:
        client = world.node.create_client(kind, name)
        assert client.wait_for_service(5.0)
        future = client.call_async(kind.Request(**request))
        world.until(future.done, name)
        return future.result()
    assert call(SetBool, '/loc2/enable', data=False).message == 'disabled'
    world.frame()
    world.until(lambda: node.stats.values()['images_dropped'] == 1, 'the drop')
    assert call(SetBool, '/loc2/enable', data=True).success
    assert call(Trigger, '/loc2/reset').success
    world.image(world.now())
    world.counted('no_prior')
    world.frame()
    world.poses(1)


def test_rejections_publish_nothing_escalate_after_max_consecutive_and_recover(
        world: World) -> None:
    fake = FakeLocalizer()
    fake.answer = refuse
    node = world.start(fake, gate__max_consecutive=2)
    world.ready(node)
    world.frame()
    world.level('localization', 1, 'few_inliers')
    for n in range(2):
        world.frame()
        world.counted('few_inliers', n + 2)
    status = world.level('localization', 2, '3 images rejected in a row: few_inliers')
    assert status[2]['consecutive_rejected'] == '3' and status[2]['reason'] == 'few_inliers'
    assert world.got['pose'] == [] and world.got['navsat'] == []
    fake.answer = None
    world.frame()
    world.poses(1)
    assert world.level('localization', 0, 'localized')[2]['rejected.few_inliers'] == '3'


def test_a_model_that_raises_is_a_rejection_with_its_words(world: World) -> None:
    fake = FakeLocalizer()
    fake.answer = RuntimeError('CUDA out of memory')
    node = world.start(fake)
    world.ready(node)
    world.frame()
    world.counted('model_error')
    world.level('model', 2, 'CUDA out of memory')
    fake.answer = None
    world.frame()
    world.poses(1)
    world.level('model', 0)


def test_the_prior_is_interpolated_at_the_image_stamp_and_shown_on_request(world: World) -> None:
    fake = FakeLocalizer()
    node = world.start(fake, prior__wait=2.0)
    world.ready(node)
    world.until(lambda: world.node.count_publishers('/loc2/debug/prior')
                and node.count_subscribers('/loc2/debug/prior'), 'the listener')
    stamp = world.now()
    world.fix(stamp - SECOND // 10, (10.0, 0.0))
    world.imu(stamp - SECOND // 10, 3.1)
    world.image(stamp)
    world.until(lambda: node.stats.values()['images_received'], 'the image')
    world.fix(stamp + SECOND // 10, (12.0, 4.0))    # the worker waits for it
    world.imu(stamp + SECOND // 10, -3.1)
    world.poses(1)
    prior = fake.priors[0]
    assert prior.xy_map_m == pytest.approx([11.0, 2.0], abs=1e-6)
    assert abs(prior.yaw_map_rad) == pytest.approx(math.pi, abs=1e-3)   # the short way round
    shown = world.until(lambda: world.got['prior'], 'the debug prior')[0]
    assert stamp_of(shown) == stamp and shown.header.frame_id == 'map'
    assert shown.pose.pose.position.x == pytest.approx(11.0, abs=1e-6)


def test_the_prior_is_carried_from_the_antenna_to_base_link(world: World) -> None:
    fake = FakeLocalizer()
    node = world.start(fake)
    world.tf_static('antenna', [1.0, 2.0, 1.5, 0.0, 0.0, 0.0])
    world.until(lambda: node.session._mounting('antenna') is not None, 'the antenna')
    world.tf_static()
    world.info()
    stamp = world.now()
    for n in (-1, 1):
        world.fix(stamp + n, (10.0, -5.0), frame_id='antenna')
        world.imu(stamp + n, math.pi / 2)
    world.until(lambda: world.knows(node), 'sensors')
    world.image(stamp)
    world.poses(1)
    # Heading north: the antenna, 1 m ahead and 2 m left, is 2 m west and 1 m north of base_link
    assert fake.priors[0].xy_map_m == pytest.approx([12.0, -6.0], abs=1e-3)


def test_an_antenna_that_tf_does_not_know_is_said_aloud(world: World) -> None:
    node = world.start()
    world.ready(node)
    stamp = world.now()
    world.image(stamp)
    world.fix(stamp + 1, frame_id='gps')
    world.imu(stamp + 1)
    world.poses(1)
    world.level('input', 1, 'no transform base_link -> gps')


@pytest.mark.parametrize('policy, expected', [(None, 'BEST_EFFORT'), ('reliable', 'RELIABLE')])
def test_the_qos_of_the_fix_can_be_overridden(
        world: World, policy: str | None, expected: str) -> None:
    given = {'qos_overrides./fix.subscription.reliability': policy} if policy else {}
    world.start(**given)
    infos = world.node.get_subscriptions_info_by_topic('/fix')
    assert [info.qos_profile.reliability.name for info in infos] == [expected]


@pytest.mark.parametrize('first', ['node', 'camera'])
def test_a_best_effort_camera_reaches_a_node_that_listens_with_auto(
        world: World, first: str) -> None:
    node = world.start(wait=False)
    world.connect()
    world.node.destroy_publisher(world.publishers.pop('image'))
    if first == 'camera':
        node.trigger_deactivate()
    world.publishers['image'] = world.node.create_publisher(Image, '/image_rect', BEST_EFFORT)
    if first == 'camera':
        node.trigger_activate()
    world.until(lambda: world.publishers['image'].get_subscription_count(), 'the node to follow')
    world.ready(node)
    world.frame()
    world.poses(1)
    world.shows('input', 'image_qos', 'best_effort')


def test_two_nodes_in_two_namespaces_do_not_meet(world: World) -> None:
    assert world.start(wait=False).get_fully_qualified_name() == '/loc2'
    topics = dict(world.node.get_topic_names_and_types())
    assert all(not name.startswith('/ns') for name in topics)
    from loc2_ros.ros.node import Loc2Node
    other = Loc2Node(localizer_factory=lambda s, f: FakeLocalizer(), context=world.context,
                     namespace='ns')
    assert other.autostart()
    names = [name for name, _ in other.get_publisher_names_and_types_by_node('loc2', '/ns')]
    assert '/ns/loc2/pose' in names and '/loc2/pose' not in names
    subscribed = [n for n, _ in other.get_subscriber_names_and_types_by_node('loc2', '/ns')]
    assert {'/ns/image_rect', '/ns/camera_info', '/ns/fix', '/ns/imu'} <= set(subscribed)
    other.close()
    other.destroy_node()


def test_max_rate_skips_images_and_counts_them(world: World) -> None:
    node = world.start(max_rate=5.0)
    world.ready(node)
    stamp = world.frame()
    world.poses(1)
    world.frame(stamp + 100_000_000)
    world.until(lambda: node.stats.values()['images_dropped'] == 1, 'the skipped image')
    world.frame(stamp + 200_000_000)
    world.poses(2)
