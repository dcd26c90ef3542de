# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The adapter over real DDS: repaired messages, latched transforms, filters that are reset."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

from geometry_msgs.msg import TwistStamped, TwistWithCovarianceStamped
from loc2_ros.data.bag import open_bag
from loc2_ros.ros.convert import stamp_to_msg
from loc2_ros.ros.kitti_adapter import KittiAdapter
from loc2_ros.ros.param import ParameterError
from loc2_ros.ros.replay import Player, ReplayOptions
import numpy as np
import pytest
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from ros_world import BAG_TIME, LATCHED, SECOND, Spinner, stamp_of, stamped, World
from sensor_msgs.msg import Imu, NavSatFix
from std_srvs.srv import Empty
from tf2_msgs.msg import TFMessage

CONFIG = Path(__file__).resolve().parents[2] / 'config'
ZERO = [0.0] * 9
IMU_POSE = [-1.405, 0.32, 0.93, 0.0, 0.0, 0.0]
KINDS = {'fix': (NavSatFix, '/kitti/oxts/gps/fix', NavSatFix),
         'imu': (Imu, '/kitti/oxts/imu', Imu),
         'twist': (TwistStamped, '/kitti/oxts/gps/vel', TwistWithCovarianceStamped)}
VOLATILE = QoSProfile(depth=100, durability=DurabilityPolicy.VOLATILE)


class Drive:
    """Plays a recording to an adapter and hears what it makes of it."""

    def __init__(self, world: World) -> None:
        """Subscribe; ``start`` starts the adapter."""
        self.world = world
        self.got: dict[str, list[Any]] = {name: [] for name in KINDS}
        self.resets: list[str] = []
        self.adapters: list[KittiAdapter] = []
        node = world.node
        for name, (_, _, made) in KINDS.items():
            node.create_subscription(made, f'/kitti/{name}', self.got[name].append, 100)
        self.publishers = {name: node.create_publisher(kind, topic, 100)
                           for name, (kind, topic, _) in KINDS.items()}

    def start(self, **parameters: Any) -> KittiAdapter:
        """Start an adapter and wait until it is heard; ``__`` in names is a dot."""
        adapter = KittiAdapter(context=self.world.context, parameter_overrides=[
            Parameter(name.replace('__', '.'), value=value)
            for name, value in parameters.items()])
        self.adapters.append(adapter)
        self.world._spinners.append(Spinner(adapter, self.world.context))
        self.world.until(lambda: all(
            p.get_subscription_count() and self.world.node.count_publishers(f'/kitti/{name}')
            for name, p in self.publishers.items()), 'the adapter to listen')
        return adapter

    def filters(self, *names: str) -> None:
        """Offer the services of filters."""
        def answer(name: str) -> Callable[[Any, Any], Any]:
            def reset(request: Any, response: Any) -> Any:
                self.resets.append(name)
                return response
            return reset
        for name in names:
            self.world.node.create_service(Empty, f'{name}/reset', answer(name))
        self.world.until(lambda: all(c.service_is_ready() for a in self.adapters
                                     for c in a._resets), 'the services')

    def send(self, name: str, stamp: int = BAG_TIME, frame: str = 'imu_link',
             **fields: Any) -> Any:
        """Send a message; return it."""
        message = KINDS[name][0]()
        message.header.stamp, message.header.frame_id = stamp_to_msg(stamp), frame
        for field, value in fields.items():
            setattr(message, field, value)
        self.publishers[name].publish(message)
        return message

    def answer(self, name: str, count: int = 1) -> Any:
        """Wait for a number of adapted messages and return the last."""
        self.world.until(lambda: len(self.got[name]) >= count, f'{count} of /kitti/{name}')
        return self.got[name][count - 1]


@pytest.fixture
def drive(world: World) -> Iterator[Drive]:
    made = Drive(world)
    yield made
    for adapter in made.adapters:
        adapter.close()


def heard_late(world: World) -> list[Any]:
    """Return what somebody hears who listens to latched transforms only now, as tf2 does."""
    late: list[Any] = []
    world.node.create_subscription(TFMessage, '/tf_static',
                                   lambda m: late.extend(m.transforms), LATCHED)
    return late


def diagonal(flat: Any, side: int) -> list[float]:
    matrix = np.asarray(flat).reshape(side, side)
    assert np.array_equal(matrix, np.diag(matrix.diagonal()))
    return [float(v) for v in matrix.diagonal()]


def test_zero_covariances_are_filled_from_parameters(drive: Drive) -> None:
    drive.start(stddev__fix=2.0, stddev__orientation=0.02, stddev__rate=0.03,
                stddev__acceleration=0.4)
    drive.send('fix', latitude=49.0, longitude=8.4, altitude=112.0)
    drive.send('imu')
    fix, imu = drive.answer('fix'), drive.answer('imu')
    assert diagonal(fix.position_covariance, 3) == pytest.approx([4.0, 4.0, 16.0])
    assert fix.position_covariance_type == NavSatFix.COVARIANCE_TYPE_APPROXIMATED
    assert (fix.latitude, fix.longitude, fix.altitude) == (49.0, 8.4, 112.0)
    assert diagonal(imu.orientation_covariance, 3) == pytest.approx([4e-4] * 3)
    assert diagonal(imu.angular_velocity_covariance, 3) == pytest.approx([9e-4] * 3)
    assert diagonal(imu.linear_acceleration_covariance, 3) == pytest.approx([0.16] * 3)
    assert stamp_of(fix) == stamp_of(imu) == BAG_TIME


def test_a_velocity_gets_a_covariance_and_keeps_frame_stamp_and_values(drive: Drive) -> None:
    drive.start(stddev__velocity=0.2, stddev__rate=0.05)
    sent = TwistStamped()
    sent.twist.linear.x, sent.twist.linear.y, sent.twist.angular.z = 12.0, -0.1, 0.25
    drive.send('twist', BAG_TIME + 7, twist=sent.twist)
    made = drive.answer('twist')
    assert isinstance(made, TwistWithCovarianceStamped) and made.twist.twist == sent.twist
    assert diagonal(made.twist.covariance, 6) == pytest.approx([0.04] * 3 + [0.0025] * 3)
    assert stamp_of(made) == BAG_TIME + 7 and made.header.frame_id == 'imu_link'


def test_what_is_good_is_passed_on_as_it_is(drive: Drive) -> None:
    drive.start()
    own = [0.5, 0.1, 0.0, 0.1, 0.4, 0.0, 0.0, 0.0, 0.3]
    fix = drive.send('fix', frame='antenna', position_covariance=own, position_covariance_type=3)
    imu = drive.send('imu', orientation_covariance=own, angular_velocity_covariance=own,
                     linear_acceleration_covariance=own)
    assert drive.answer('fix') == fix and drive.answer('imu') == imu
    # A sensor that says it measures no orientation goes on saying so
    drive.send('imu', orientation_covariance=[-1.0, *ZERO[1:]])
    imu = drive.answer('imu', 2)
    assert imu.orientation_covariance[0] == -1.0
    assert diagonal(imu.angular_velocity_covariance, 3) == pytest.approx([1e-4] * 3)


@pytest.mark.parametrize('broken', [[float('nan')] * 9, [-0.1, *ZERO[1:4], 1.0, *ZERO[5:8], 1.0],
                                    [1.0, 2.0, 0.0, 2.0, 1.0, 0.0, 0.0, 0.0, 1.0]])
def test_a_covariance_that_is_none_is_replaced(drive: Drive, broken: list[float]) -> None:
    drive.start()
    drive.send('fix', position_covariance=broken, position_covariance_type=2)
    drive.send('imu', orientation_covariance=broken)
    assert diagonal(drive.answer('fix').position_covariance, 3) == pytest.approx(
        [0.09, 0.09, 0.36])
    assert diagonal(drive.answer('imu').orientation_covariance, 3) == pytest.approx([1e-4] * 3)


@pytest.mark.parametrize(('sent', 'made'), [('', 'imu_link'), ('/imu_link', 'imu_link'),
                                            ('gps', 'gps')])
def test_messages_name_a_frame_that_tf2_knows(drive: Drive, sent: str, made: str) -> None:
    drive.start()
    for name in KINDS:
        drive.send(name, frame=sent)
        assert drive.answer(name).header.frame_id == made


def test_a_fix_without_reception_stays_one(drive: Drive) -> None:
    drive.start()
    message = NavSatFix()
    message.status.status = -1
    drive.send('fix', status=message.status, latitude=float('nan'))
    assert drive.answer('fix').status.status == -1


def test_the_imu_is_placed_and_latched_where_nobody_does(drive: Drive, world: World) -> None:
    drive.start(static_patience=0.2)
    assert not world.got['tf_static']       # not before its messages come
    drive.send('imu')
    late = world.until(lambda: world.got['tf_static'], 'base_link -> imu_link')
    assert (late[0].header.frame_id, late[0].child_frame_id) == ('base_link', 'imu_link')
    t = late[0].transform.translation
    assert [t.x, t.y, t.z] == IMU_POSE[:3] and late[0].transform.rotation.w == 1.0
    later = heard_late(world)
    world.until(lambda: later, 'it to be latched')


def test_the_imu_is_not_placed_where_somebody_has(drive: Drive, world: World) -> None:
    world.tf_static('imu_link', [1.0, 2.0, 3.0, 0.0, 0.0, 0.0])
    adapter = drive.start(static_patience=0.3)
    world.until(lambda: adapter._static._buffer.can_transform(
        'base_link', 'imu_link', Time()), 'the transform')
    drive.send('imu')
    world.until(lambda: adapter._static._timer.is_canceled(), 'the adapter to look')
    xs = {t.transform.translation.x for t in world.got['tf_static']}
    assert xs == {1.0} and not adapter._static._sent


def test_transforms_that_are_not_latched_are_latched(drive: Drive, world: World) -> None:
    adapter = drive.start(static_patience=60.0)
    player = world.node.create_publisher(TFMessage, '/tf_static', VOLATILE)
    world.until(lambda: adapter.count_publishers('/tf_static') == 2
                and player.get_subscription_count() >= 1, 'the player')
    # kitti2bag: a message per frame, again and again
    for stamp in range(3):
        for child in ('imu_link', 'camera'):
            player.publish(TFMessage(transforms=[stamped(
                'base_link', child, IMU_POSE, BAG_TIME + stamp * SECOND)]))
    world.until(lambda: {'imu_link', 'camera'} <= adapter._static._sent.keys(), 'both')
    late = heard_late(world)
    world.until(lambda: {'imu_link', 'camera'} <= {t.child_frame_id for t in late}, 'both late')
    # What is said again is not sent again
    assert stamp_of(adapter._static._sent['camera']) == BAG_TIME


def test_latched_transforms_are_left_to_their_owner(drive: Drive, world: World) -> None:
    adapter = drive.start(static_patience=60.0)
    world.tf_static('camera')
    world.until(lambda: world.got['tf_static'], 'the transform')
    world.until(lambda: adapter._static._buffer.can_transform('base_link', 'camera', Time()),
                'the adapter to hear it')
    drive.send('imu')
    drive.answer('imu')     # by now its other ear has heard it, too
    assert not adapter._static._sent


def test_both_filters_are_reset_when_time_goes_back(drive: Drive, world: World) -> None:
    adapter = drive.start(use_sim_time=True)
    drive.filters('ekf_odom', 'ekf_map')
    world.set_clock(adapter, BAG_TIME + 10 * SECOND)
    world.set_clock(adapter, BAG_TIME + 14 * SECOND)
    assert not drive.resets
    world.set_clock(adapter, BAG_TIME)
    world.until(lambda: len(drive.resets) >= 2, 'two resets')
    assert sorted(drive.resets) == ['ekf_map', 'ekf_odom']
    drive.send('imu', BAG_TIME)     # the new lap goes on
    assert stamp_of(drive.answer('imu')) == BAG_TIME


def test_stamps_that_go_back_reset_the_filters_where_nobody_plays_the_clock(
        drive: Drive) -> None:
    drive.start()
    drive.filters('ekf_odom', 'ekf_map')
    for n, seconds in enumerate((10.0, 14.0, 13.5)):      # the last one was only overtaken
        drive.send('imu', BAG_TIME + int(seconds * SECOND))
        drive.answer('imu', n + 1)
    assert not drive.resets
    drive.send('imu', BAG_TIME)
    drive.world.until(lambda: sorted(drive.resets) == ['ekf_map', 'ekf_odom'], 'two resets')


def test_a_filter_that_is_not_there_does_not_hold_up_the_other(drive: Drive,
                                                               world: World) -> None:
    adapter = drive.start(use_sim_time=True, reset_odom='')
    drive.filters('ekf_map')
    drive.start(use_sim_time=True, reset_odom='nobody/reset', reset_map='')
    for node in (adapter, drive.adapters[1]):
        world.set_clock(node, BAG_TIME + 10 * SECOND)
    world.set_clock(adapter, BAG_TIME)
    world.until(lambda: drive.resets == ['ekf_map'], 'one reset')
    drive.send('imu', BAG_TIME)
    drive.answer('imu', 2)


@pytest.mark.parametrize(('name', 'value', 'sentence'), [
    ('stddev.fix', 1, 'write 1.0, not 1'), ('stddev.rate', 0.0, 'must lie in'),
    ('imu_pose', [1.0, 2.0], 'needs 6 numbers'), ('imu_frame', 7, 'must be text')])
def test_a_parameter_that_cannot_be_used_is_refused(world: World, name: str, value: Any,
                                                    sentence: str) -> None:
    with pytest.raises(ParameterError, match=sentence):
        KittiAdapter(context=world.context, parameter_overrides=[Parameter(name, value=value)])


def test_the_shipped_file_is_taken_by_the_ros_parser(world: World) -> None:
    adapter = KittiAdapter(context=world.context, cli_args=[
        '--ros-args', '--params-file', str(CONFIG / 'kitti_adapter.yaml')])
    assert adapter.get_parameter('use_sim_time').value is True
    assert adapter.settings['imu_pose'] == IMU_POSE
    adapter.close()
    adapter.destroy_node()


def test_the_real_sample_comes_out_fit_for_a_filter(drive: Drive, world: World,
                                                    real_data: Path) -> None:
    drive.start(use_sim_time=True)
    with open_bag(real_data / 'kitti_0013' / 'mcap') as bag:
        node = Node('player', context=world.context)
        world._spinners.append(Spinner(node, world.context))
        player = Player(node, bag, ReplayOptions(rate=20.0, wait_s=10.0, tail_s=0.1, wait_for=(
            '/kitti/oxts/gps/fix', '/kitti/oxts/gps/vel', '/kitti/oxts/imu')))
        player.wait()
        player.play()
    last = world.until(lambda: all(drive.got.values()) and drive.got, 'all three')
    for message in last['imu']:
        for part in ('orientation', 'angular_velocity', 'linear_acceleration'):
            assert np.linalg.eigvalsh(np.reshape(getattr(message, f'{part}_covariance'),
                                                 (3, 3)))[0] > 1e-9
    assert last['fix'][0].position_covariance[0] == pytest.approx(0.0224, abs=0.03)    # its own
    assert last['twist'][0].twist.twist.linear.x > 5.0
    world.until(lambda: any(t.child_frame_id == 'imu_link' for t in world.got['tf_static']),
                'the IMU to be placed')
    assert not [t for t in world.got['tf'] if t.child_frame_id == 'base_link']


def test_as_a_process_it_ends_on_sigint_with_0_and_says_why_it_cannot_start() -> None:
    command = [sys.executable, '-c', 'import sys; from loc2_ros.ros.kitti_adapter import main; '
                                     'sys.exit(main(sys.argv))', '--ros-args', '-p']
    bad = subprocess.run([*command, 'stddev.fix:=1'], capture_output=True, text=True, timeout=60)
    assert bad.returncode == 1 and 'write 1.0, not 1' in bad.stderr
    process = subprocess.Popen([*command, 'use_sim_time:=true'], stderr=subprocess.PIPE, text=True,
                               preexec_fn=lambda: signal.signal(signal.SIGINT,
                                                                signal.default_int_handler))
    try:
        _wait_for_node(process)
        os.kill(process.pid, signal.SIGINT)
        error = process.communicate(timeout=30)[1]
    finally:
        process.kill()
    assert process.returncode == 0 and 'Traceback' not in error


def _wait_for_node(process: subprocess.Popen[str]) -> None:
    world = World()
    try:
        world.until(lambda: 'kitti_adapter' in world.node.get_node_names()
                    or process.poll() is not None, 'the process', 30.0)
    finally:
        world.close()
