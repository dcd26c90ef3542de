# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Time that jumps, transforms that are missing, and who sends which edge of the tree."""

from __future__ import annotations

import threading

from loc2_ros.core.values import Pose2
from loc2_ros.data.messages import matrix_from_transform
from loc2_ros.data.tf_tree import matrix_from_pose6
from loc2_ros.ros.tf import planar_to_matrix, Transforms
import numpy as np
import pytest
from rclpy.time import Time
from ros_world import (
    BAG_TIME, FakeLocalizer, OFFSET, SECOND, stamp_of, stamped, TRUTH, World)


def simulated(world: World, fake: FakeLocalizer | None = None, **parameters: object) -> object:
    """Start a node in a bag's time with calibration and mounting."""
    node = world.start(fake, use_sim_time=True, **parameters)
    world.set_clock(node, BAG_TIME)
    world.tf_static()
    world.info()
    world.fix(BAG_TIME)
    world.imu(BAG_TIME)
    world.until(lambda: world.knows(node), 'sensors')
    return node


def test_after_a_jump_back_no_result_from_before_appears_and_the_next_ones_do(
        world: World) -> None:
    fake = FakeLocalizer()
    fake.gate = threading.Event()
    node = simulated(world, fake)
    world.set_clock(node, BAG_TIME + 10 * SECOND)
    world.frame(BAG_TIME + 10 * SECOND)
    world.until(lambda: fake.calls, 'an image in the worker')
    world.set_clock(node, BAG_TIME)
    fake.gate.set()
    world.until(lambda: node.stats.values()['images_dropped'] == 1, 'the old result dropped')
    stamps = []
    for n in range(3):
        stamps.append(BAG_TIME + (n + 1) * SECOND // 10)
        world.set_clock(node, stamps[-1])
        world.frame(stamps[-1])
        poses = world.poses(n + 1)
    assert [stamp_of(p) for p in poses] == stamps
    world.shows('localization', 'fixes', '3')
    world.shows('input', 'clock_jumps', '1')


def test_a_bag_that_starts_over_without_simulated_time_is_noticed_by_its_stamps(
        world: World) -> None:
    node = world.start(max_image_age=0.0)
    world.tf_static()
    world.info()
    for n, stamp in enumerate((BAG_TIME + 9 * SECOND, BAG_TIME)):
        world.fix(stamp - 1)
        world.imu(stamp - 1)
        world.until(lambda: world.knows(node), 'sensors')
        world.frame(stamp)
        world.until(lambda n=n: node.stats.values()['images_received'] == n + 1, 'the image')
        if n == 1:      # the prior was forgotten with the old time
            world.until(lambda: node.stats.values()['rejected'] or len(world.got['pose']) == 2,
                        'an answer')
            world.frame(stamp + SECOND // 10)
        world.poses(n + 1)
    assert stamp_of(world.got['pose'][-1]) < BAG_TIME + SECOND
    assert node.stats.values()['clock_jumps'] == 1


def test_a_transform_from_before_a_jump_that_comes_after_it_does_not_hide_the_later_ones(
        world: World) -> None:
    node = simulated(world, odom_frame='odom')
    hour = 3600 * SECOND
    world.set_clock(node, BAG_TIME + hour)
    world.set_clock(node, BAG_TIME)                             # and now, too late:
    world.tf('odom', 'base_link', [9.0] * 6, BAG_TIME + hour)
    for n in range(20):
        stamp = BAG_TIME + n * SECOND // 10
        world.set_clock(node, stamp)
        world.tf('odom', 'base_link', [float(n), 0.0, 0.0, 0.0, 0.0, 0.0], stamp)
    world.until(lambda: node.session._frames.odometry(BAG_TIME + 19 * SECOND // 10),
                'odometry of the new time')
    assert node.session._frames.odometry(BAG_TIME + hour) is None


def test_only_several_transforms_in_a_row_from_long_before_say_that_time_has_gone_back(
        world: World) -> None:
    buffer = Transforms(world.node)

    def insert(seconds: float, child: str = 'base_link') -> None:
        buffer.set_transform(stamped('odom', child, [seconds, 0.0, 0.0, 0.0, 0.0, 0.0],
                                     BAG_TIME + int(seconds * SECOND)), 'test')

    def heard(seconds: float) -> bool:
        return bool(buffer.can_transform('odom', 'base_link',
                                         Time(nanoseconds=BAG_TIME + int(seconds * SECOND))))
    for n in range(20):         # two senders, of which one is an hour ahead, or late ones
        insert(n * 0.1)
        insert(3600.0 + n * 0.1)
    assert heard(3601.0) and not heard(1.0)
    insert(4.0)
    insert(3602.0)
    for n in range(4):
        insert(5.0 + n)
        insert(5.0 + n, 'other')        # counted for each frame
    assert heard(3602.0) and not heard(8.0)
    insert(9.0)
    insert(10.0)
    assert heard(9.5) and not heard(3602.0)


def test_without_base_to_camera_it_says_so_and_goes_on_when_it_comes(world: World) -> None:
    node = world.start()
    world.info()
    world.frame()
    status = world.level('input', 2, 'no transform base_link -> camera at')
    assert status[2]['tf_base_camera'] == 'false'
    world.counted('no_tf')
    world.ready(node)
    world.frame()
    world.poses(1)
    world.shows('input', 'tf_base_camera', 'true')


def test_without_odometry_map_to_base_is_sent_once_per_fix_with_its_stamp(world: World) -> None:
    node = world.start()
    world.ready(node)
    stamps = [world.frame()]
    world.poses(1)
    stamps.append(world.frame())
    world.poses(2)
    sent = world.until(lambda: len(world.got['tf']) >= 2 and world.got['tf'], 'map -> base_link')
    assert [(t.header.frame_id, t.child_frame_id, stamp_of(t)) for t in sent] == [
        ('map', 'base_link', stamp) for stamp in stamps]
    expected = planar_to_matrix(TRUTH @ OFFSET)
    assert matrix_from_transform(sent[0].transform) == pytest.approx(expected, abs=1e-6)


def test_with_odometry_map_to_odom_is_that_of_the_image_stamp(world: World) -> None:
    node = simulated(world, odom_frame='odom', tf__rate=50.0)
    stamp = BAG_TIME + SECOND // 2
    odom = [3.0, 4.0, 0.2, 0.02, -0.01, 0.3]
    # Moving: "latest" would be wrong by metres
    world.tf('odom', 'base_link', [0.0] * 6, stamp - SECOND // 5)
    world.tf('odom', 'base_link', odom, stamp)
    world.tf('odom', 'base_link', [9.0, 9.0, 0.0, 0.0, 0.0, 1.0], stamp + SECOND // 5)
    world.set_clock(node, stamp)
    world.frame(stamp)
    world.poses(1)

    def corrections() -> list:
        return [t for t in world.got['tf'] if t.child_frame_id == 'odom']
    for n in range(1, 12):
        world.set_clock(node, stamp + n * SECOND // 20)
    sent = world.until(lambda: len(corrections()) >= 3 and corrections(), 'map -> odom')
    product = matrix_from_transform(sent[-1].transform) @ matrix_from_pose6(odom)
    assert product == pytest.approx(planar_to_matrix(TRUTH @ OFFSET), abs=1e-6)
    stamps = [stamp_of(t) for t in sent]
    assert len(set(stamps)) == len(stamps) and sorted(stamps) == stamps
    assert all(s > stamp for s in stamps)       # ahead by tf.tolerance


def test_without_odometry_at_the_stamp_the_last_correction_stays_until_it_is_too_old(
        world: World) -> None:
    node = simulated(world, odom_frame='odom', tf__max_age=3.0, tf__lookup_timeout=0.05)
    stamp = BAG_TIME + SECOND // 2
    world.tf('odom', 'base_link', [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], stamp - SECOND // 10)
    world.tf('odom', 'base_link', [1.0, 0.0, 0.0, 0.0, 0.0, 0.0], stamp + SECOND // 10)
    world.set_clock(node, stamp)
    world.frame(stamp)
    world.poses(1)
    late = stamp + SECOND
    world.set_clock(node, late)
    world.frame(late)               # no odometry there
    world.poses(2)
    status = world.level('input', 1, 'no transform odom -> base_link at')
    assert status[2]['tf_odom_base'] == '1'

    def corrections() -> list:
        return [t for t in world.got['tf'] if t.child_frame_id == 'odom']

    def go_on(now: int) -> bool:
        world.set_clock(node, now)
        return bool(corrections()) and stamp_of(corrections()[-1]) == now + SECOND // 10
    world.until(lambda: go_on(late + SECOND // 10), 'the old correction with a new stamp')
    identity_of_first = matrix_from_transform(corrections()[0].transform)
    assert matrix_from_transform(corrections()[-1].transform) == pytest.approx(identity_of_first)
    world.set_clock(node, stamp + 4 * SECOND)
    world.set_clock(node, stamp + 5 * SECOND)
    world.level('input', 2, 'too old')
    assert all(stamp_of(t) < stamp + 4 * SECOND for t in corrections())


def test_map_to_odom_is_exact_for_any_odometry() -> None:
    generator = np.random.default_rng(1)
    for _ in range(50):
        base = planar_to_matrix(Pose2(*generator.uniform(-3, 3, 3)))
        odom_T_base = matrix_from_pose6(generator.uniform(-1, 1, 6))
        map_T_odom = base @ np.linalg.inv(odom_T_base)
        assert map_T_odom @ odom_T_base == pytest.approx(base, abs=1e-9)


@pytest.mark.parametrize('sent_by_bag', [True, False])
def test_a_static_transform_from_the_parameters_fills_in_only_where_nobody_sends_it(
        world: World, sent_by_bag: bool) -> None:
    node = world.start(static_tf__child_frame='imu_link',
                       static_tf__pose=[-1.405, 0.32, 0.93, 0.0, 0.0, 0.0])
    world.tf_static('camera', [1.08, -0.25, 0.73, -np.pi / 2, 0.0, -np.pi / 2], 'imu_link')
    if sent_by_bag:
        world.tf_static('imu_link', [-1.0, 0.0, 0.9, 0.0, 0.0, 0.0])
    world.info()
    world.fix(world.now())
    world.imu(world.now())
    world.frame()
    world.poses(1)
    x = -1.0 if sent_by_bag else -1.405
    assert node.session._mounting('imu_link')[0, 3] == pytest.approx(x)

    def heard() -> list[float]:
        return [t.transform.translation.x for t in world.got['tf_static']
                if t.child_frame_id == 'imu_link']
    world.until(heard, 'a transform of imu_link')
    assert set(heard()) == {x}


@pytest.mark.parametrize('source', ['local_xy_origin', 'first fix'])
def test_without_a_datum_it_takes_the_latched_origin_or_the_first_fix(
        world: World, source: str) -> None:
    from geometry_msgs.msg import PoseStamped
    from ros_world import LATCHED
    if source == 'local_xy_origin':
        origin = PoseStamped()
        origin.pose.position.x, origin.pose.position.y = 8.41, 49.01
        publisher = world.node.create_publisher(PoseStamped, '/local_xy_origin', LATCHED)
        publisher.publish(origin)
    node = world.start(map__datum=None)
    world.tf_static()
    world.info()
    world.fix(world.now(), status=-1)
    world.fix(world.now())
    world.imu(world.now())
    world.frame()
    world.poses(1)
    values = world.level('map', 0, 'map at')[2]
    assert values['datum_source'] == source
    expected = (49.01, 8.41) if source == 'local_xy_origin' else (48.99995, 8.40014)
    assert (node.fake.frame.lat_deg, node.fake.frame.lon_deg) == pytest.approx(expected, abs=2e-5)
    if source == 'first fix':
        world.until(lambda: world.got['origin'], 'the datum, latched')
