# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where the node looks, over DDS: every source, and faults of each; what it publishes then."""

from __future__ import annotations

import math
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Fix, Pose2, Prior
import numpy as np
import pytest
from ros_world import (
    BAG_TIME, DATUM, FakeLocalizer, LATCHED, OFFSET, SECOND, stamp_of, TRUTH, World, yaw_of)
from sensor_msgs.msg import NavSatFix
from std_srvs.srv import Trigger

CAMERA = [1.4, -0.3, 1.6, -math.pi / 2, 0.0, -math.pi / 2 + 0.8]    # ahead, to the right, turned
ODOM = [3.0, 4.0, 0.0, 0.0, 0.0, 0.3]
MS = SECOND // 1000


def believe(image: Any, prior: Prior) -> Fix:
    """Answer as a localizer that finds the vehicle wherever it looks."""
    pose = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad or 0.0)
    return Fix(image.stamp_ns, pose, np.diag([0.25, 0.25, 1e-3]), 0.9, 1.0, 100, 80, 0.0)


def moment(world: World, stamp: int, *, fix: tuple[float, float] | None = (12.5, -7.25),
           yaw: float | None = 0.6, odom: list[float] | None = None) -> None:
    """Send an image and what goes with it; a later image is always 50 ms or more away."""
    for ns in (stamp - 20 * MS, stamp + 20 * MS):
        if odom is not None:
            world.tf('odom', 'base_link', odom, ns)
        if fix is not None:
            world.fix(ns, fix)
        if yaw is not None:
            world.imu(ns, yaw)
    world.image(stamp)


def settled(world: World, node: Any, count: int) -> None:
    """Wait until so many images have their answer."""
    def told() -> bool:
        v = node.stats.values()
        return bool(v['fixes'] + v['rejected'] + v['images_dropped'] >= count)
    world.until(told, f'{count} answers')


def calibrated(world: World, node: Any, camera: list[float] | None = None) -> None:
    """Send calibration and mounting, and wait until the node has them."""
    world.tf_static(pose=camera)
    world.info()
    world.until(lambda: node.session.values()['camera_calibrated']
                and node.session._mounting('camera') is not None, 'calibration and mounting')


def off_m(pose: Any, expected: Pose2) -> float:
    """Return how far a published pose is from one."""
    p = pose.pose.pose.position
    return math.hypot(p.x - expected.x_m, p.y - expected.y_m)


@pytest.mark.parametrize('source', ['fix', 'odometry', 'initialpose'])
def test_from_every_source_the_pose_is_that_of_base_link_at_the_image_s_stamp(
        world: World, source: str) -> None:
    heading = 'imu' if source == 'fix' else 'odometry'
    node = world.start(FakeLocalizer(camera_pose=CAMERA), prior__source=source,
                       prior__heading=heading, odom_frame='odom', prior__wait=0.5)
    calibrated(world, node, CAMERA)
    stamps = []
    for n in range(5):
        stamp = world.now()
        if source == 'odometry':
            for ns in (stamp - 20 * MS, stamp + 20 * MS):
                world.odometry(ns, TRUTH)
        if source == 'initialpose' and n == 0:
            world.initialpose(stamp - 10 * MS, TRUTH)
            world.until(lambda: node.session._intake._sources.seed, 'the initialpose')
        moment(world, stamp, odom=ODOM, **({} if source == 'fix' else {'fix': None, 'yaw': None}))
        stamps.append(stamp)
        poses = world.poses(n + 1)
    assert [stamp_of(p) for p in poses] == stamps == sorted(stamps)
    expected = TRUTH @ OFFSET
    for pose in poses:
        assert pose.header.frame_id == 'map'
        assert off_m(pose, expected) < 1e-3 and pose.pose.pose.position.z == 0.0
        assert abs(math.degrees(yaw_of(pose) - expected.yaw_rad)) < 0.01
        covariance = np.array(pose.pose.covariance).reshape(6, 6)
        assert np.all(np.isfinite(covariance)) and np.array_equal(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance)[0] > 0.0
    assert {p.source for p in node.fake.priors} == {source}
    world.shows('input', 'prior_source', source)


def test_a_vehicle_that_hardly_moves_is_looked_at_now_and_then_and_when_somebody_asks(
        world: World) -> None:
    node = world.start(odom_frame='odom', use_sim_time=True, prior__wait=0.5, min_distance=2.0)
    world.set_clock(node, BAG_TIME)
    calibrated(world, node)
    used, ask = [], None
    for n in range(24):         # 0.5 m per image, then it stands
        stamp = BAG_TIME + (n + 1) * SECOND // 5
        world.set_clock(node, stamp)
        if n == 22:
            ask = world.ask(Trigger, '/loc2/localize')
            world.until(lambda: node.session._callers, 'the caller')
        moment(world, stamp, odom=[0.5 * min(n, 8), 0.0, 0.0, 0.0, 0.0, 0.0])
        settled(world, node, n + 1)
        if node.stats.values()['fixes'] > len(used):
            used.append(n)
    # Then by half of tf.max_age, which is 12.5 images, so that map -> odom goes on
    assert used == [0, 4, 8, 21, 22]
    assert ask is not None
    world.until(ask.done, 'the answer')
    assert ask.result().success
    assert node.stats.values()['images_dropped'] == 19


def test_gnss_that_stops_is_held_for_max_age_and_taken_up_again(world: World) -> None:
    node = world.start(odom_frame='odom', use_sim_time=True, prior__wait=0.0)
    world.set_clock(node, BAG_TIME)
    calibrated(world, node)
    told = []
    for n in range(10):
        stamp = BAG_TIME + (n + 1) * SECOND
        world.set_clock(node, stamp)
        there = n < 3 or n >= 8
        moment(world, stamp, odom=ODOM, **({} if there else {'fix': None}))
        settled(world, node, n + 1)
        told.append(node.stats.values()['reason'] or 'fix')
    assert told[:4] == ['fix'] * 4 and told[5:8] == ['prior_stale'] * 3
    assert told[8:] == ['fix'] * 2
    assert all(off_m(p, TRUTH @ OFFSET) < 1e-3 for p in world.got['pose'])


def test_gnss_that_jumps_100_m_gets_nothing_published_and_is_taken_up_when_it_returns(
        world: World) -> None:
    fake = FakeLocalizer()
    fake.answer = believe
    node = world.start(fake, odom_frame='odom', use_sim_time=True, prior__wait=0.5)
    world.set_clock(node, BAG_TIME)
    calibrated(world, node)
    told = []
    for n in range(20):
        stamp = BAG_TIME + (n + 1) * SECOND // 2
        world.set_clock(node, stamp)
        moment(world, stamp, odom=ODOM, fix=(12.5, 92.75) if 5 <= n < 15 else (12.5, -7.25))
        settled(world, node, n + 1)
        told.append(node.stats.values()['reason'] or 'fix')
    assert told == ['fix'] * 5 + ['prior_jump'] * 10 + ['fix'] * 5
    assert len(world.poses(10)) == 10
    assert all(off_m(p, TRUTH) < 0.01 for p in world.got['pose'])
    assert node.stats.values()['rejected.prior_jump'] == 10


def test_a_heading_off_by_90_degrees_is_refused_with_its_reason_and_forgiven(
        world: World) -> None:
    fake = FakeLocalizer()
    fake.answer = believe
    node = world.start(fake, odom_frame='odom', use_sim_time=True, prior__wait=0.5)
    world.set_clock(node, BAG_TIME)
    calibrated(world, node)
    for n in range(12):
        stamp = BAG_TIME + (n + 1) * SECOND // 5
        world.set_clock(node, stamp)
        moment(world, stamp, odom=ODOM, yaw=0.6 + (math.pi / 2 if 4 <= n < 8 else 0.0))
        settled(world, node, n + 1)
        if n == 6:
            world.level('localization', 1, 'the heading is not that')
    poses = world.poses(8)
    assert len(poses) == 8
    assert all(abs(yaw_of(p) - 0.6) < 0.01 for p in poses)
    assert node.stats.values()['rejected.prior_jump'] == 4


def test_when_odometry_is_reset_poses_go_on_and_the_old_correction_is_not_sent(
        world: World) -> None:
    node = world.start(odom_frame='odom', use_sim_time=True, prior__wait=0.5, tf__rate=50.0)
    world.set_clock(node, BAG_TIME)
    calibrated(world, node)

    def corrections() -> list[Any]:
        return [t for t in world.got['tf'] if t.child_frame_id == 'odom']
    for n in range(3):
        stamp = BAG_TIME + (n + 1) * SECOND // 5
        world.set_clock(node, stamp)
        moment(world, stamp, odom=[300.0, 0.0, 0.0, 0.0, 0.0, 0.3])
        settled(world, node, n + 1)
    world.set_clock(node, stamp + SECOND // 10)
    before = world.until(corrections, 'map -> odom')[-1]
    node.fake.answer = lambda image, prior: _refuse(image)
    for n in range(3, 5):
        stamp = BAG_TIME + (n + 1) * SECOND // 5
        world.set_clock(node, stamp)
        moment(world, stamp, odom=ODOM)
        settled(world, node, n + 1)
    world.shows('input', 'odometry_resets', '1')
    count = len(corrections())
    for k in range(1, 6):
        world.set_clock(node, stamp + k * 20 * MS)
    assert len(corrections()) == count      # no pose yet, so no correction that holds
    node.fake.answer = None
    stamp = BAG_TIME + 7 * SECOND // 5
    world.set_clock(node, stamp)
    moment(world, stamp, odom=ODOM)
    world.poses(4)
    world.set_clock(node, stamp + SECOND // 10)
    after = world.until(lambda: len(corrections()) > count and corrections(), 'the new one')[-1]
    moved = abs(after.transform.translation.x - before.transform.translation.x)
    assert moved > 200.0 and off_m(world.got['pose'][-1], TRUTH @ OFFSET) < 1e-3
    stamps = [stamp_of(t) for t in corrections()]
    assert stamps == sorted(set(stamps))


def _refuse(image: Any) -> Any:
    from loc2_ros.core.values import Reason, Rejection
    return Rejection(image.stamp_ns, Reason.LOW_SCORE)


@pytest.mark.parametrize('jump_s', [100, -100])
def test_when_the_clock_jumps_nothing_from_before_is_used_and_the_next_images_are(
        world: World, jump_s: int) -> None:
    fake = FakeLocalizer()
    node = world.start(fake, odom_frame='odom', use_sim_time=True, prior__wait=0.5)
    start = BAG_TIME + 200 * SECOND
    world.set_clock(node, start)
    calibrated(world, node)
    stamps = []
    for n in range(6):
        stamp = start + (n + 1) * SECOND // 5 + (jump_s * SECOND if n >= 3 else 0)
        world.set_clock(node, stamp)
        moment(world, stamp, odom=ODOM if n < 3 else [50.0, 9.0, 0.0, 0.0, 0.0, -1.0])
        stamps.append(stamp)
        settled(world, node, n + 1)
    poses = world.poses(6)
    assert [stamp_of(p) for p in poses] == stamps
    assert all(off_m(p, TRUTH @ OFFSET) < 1e-3 for p in poses)
    assert max(p.age_s for p in fake.priors) < 0.1
    assert node.stats.values()['clock_jumps'] == (jump_s < 0)
    assert node.stats.values()['rejected'] == 0


def test_a_tree_that_is_split_gives_no_pose_until_it_is_whole_again(world: World) -> None:
    node = world.start(odom_frame='odom', prior__wait=0.5)
    calibrated(world, node, CAMERA)
    moment(world, world.now(), odom=ODOM)
    world.poses(1)
    world.tf_static('camera', CAMERA, parent='somewhere')       # a second parent takes it away
    world.until(lambda: node.session._mounting('camera') is None, 'the split')
    for n in range(2):
        moment(world, world.now(), odom=ODOM)
        world.counted('no_tf', n + 1)
    world.level('input', 2, 'no transform base_link -> camera at')
    assert len(world.got['pose']) == 1
    world.tf_static('camera', CAMERA)
    world.until(lambda: node.session._mounting('camera') is not None, 'the tree')
    moment(world, world.now(), odom=ODOM)
    world.poses(2)
    world.level('input', 0)


def test_when_another_parent_takes_base_link_the_poses_go_on_and_it_is_said(
        world: World) -> None:
    node = world.start(odom_frame='odom', use_sim_time=True, prior__wait=0.5)
    world.set_clock(node, BAG_TIME)
    calibrated(world, node)
    stamp = BAG_TIME + SECOND // 5
    world.set_clock(node, stamp)
    moment(world, stamp, odom=ODOM)
    world.poses(1)
    for n in range(2, 5):
        stamp = BAG_TIME + n * SECOND // 5
        world.set_clock(node, stamp)
        for ns in (stamp - 50 * MS, stamp + 50 * MS):
            world.tf('world', 'base_link', [9.0, 9.0, 0.0, 0.0, 0.0, 0.0], ns)
        moment(world, stamp)
        world.poses(n)
    world.shows('input', 'tf_odom_base', '3')
    world.level('input', 1, 'no transform odom -> base_link at')
    assert all(off_m(p, TRUTH @ OFFSET) < 1e-3 for p in world.got['pose'])


def test_an_ekf_that_comes_late_takes_over_from_gnss(world: World) -> None:
    node = world.start(odom_frame='odom', prior__source='odometry', prior__wait=0.1)
    calibrated(world, node)
    world.level('input', 1, 'no odometry on odometry yet')
    moment(world, world.now(), odom=ODOM)
    world.poses(1)
    world.shows('input', 'prior_source', 'fix')
    stamp = world.now()
    world.odometry(stamp, Pose2(0.0, 0.0, 0.0), variance=1e8)       # before its first pose
    moment(world, stamp, odom=ODOM)
    world.poses(2)
    assert node.fake.priors[-1].source == 'fix'
    stamp = world.now()
    world.odometry(stamp, TRUTH)
    world.odometry(stamp + 20 * MS, TRUTH)
    moment(world, stamp, odom=ODOM)
    world.poses(3)
    assert node.fake.priors[-1].source == 'odometry'


def test_an_initialpose_given_by_hand_means_now_and_one_in_another_frame_is_refused(
        world: World) -> None:
    node = world.start(prior__source='initialpose', prior__heading='odometry', prior__wait=0.1)
    calibrated(world, node)
    world.initialpose(world.now(), TRUTH, frame_id='odom')
    world.shows('input', 'input_problem', "initialpose is in frame 'odom', not in 'map'")
    world.initialpose(0, TRUTH)
    world.until(lambda: node.session._intake._sources.seed, 'the initialpose')
    world.image(world.now())
    world.poses(1)
    assert node.fake.priors[0].xy_map_m == pytest.approx(TRUTH.xy_m)


@pytest.mark.parametrize('given', [DATUM, None])
def test_the_datum_is_latched_as_a_fix_of_the_map_frame(world: World,
                                                        given: list[float] | None) -> None:
    node = world.start(map__datum=given)
    world.fix(world.now(), (0.0, 0.0))
    world.until(lambda: node.session._intake.frame, 'the datum')
    got: list[NavSatFix] = []
    world.node.create_subscription(NavSatFix, '/loc2/datum', got.append, LATCHED)
    msg = world.until(lambda: got, 'a late listener to hear it')[0]
    assert msg.header.frame_id == 'map'
    assert LocalFrame(*DATUM).forward(msg.latitude, msg.longitude) == pytest.approx(
        [0.0, 0.0], abs=1e-3)
