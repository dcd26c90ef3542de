# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The recorder: what the node says over DDS becomes rows and figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
import json
import math
import os
from pathlib import Path
import threading
import time
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.utm import UtmFrame
from loc2_ros.core.values import Camera, Fix, Pose2, Prior
from loc2_ros.evaluate.recorded import Heard, HeardPose, Played, played, result_of
from loc2_ros.evaluate.rows import read_csv
from loc2_ros.evaluate.run import run_bag
from loc2_ros.ros.convert import datum_to_msg, fix_to_pose, prior_to_pose, stamp_to_msg
from loc2_ros.ros.params import defaults
from loc2_ros.ros.recorder import Recorder
from loc2_ros.synthetic.drive import DriveFrames, write_drive
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

DATUM = LocalFrame(48.9, 8.4, 110.0)
START_NS = 1_700_000_000_000_000_000
STEP_NS = 200_000_000


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a drive eastwards with 6 images at 5 Hz."""
    t = np.arange(6) * 0.2
    base_T_camera = np.array([[0.0, 0.0, 1.0, 1.2], [-1.0, 0.0, 0.0, 0.0],
                              [0.0, -1.0, 0.0, 1.65], [0.0, 0.0, 0.0, 1.0]])
    frames = DriveFrames(
        START_NS + np.arange(6, dtype=np.int64) * STEP_NS,
        np.stack([10.0 * t, np.zeros(6), np.zeros(6)], -1), np.full(6, 10.0),
        [np.zeros((24, 80, 3), np.uint8)] * 6, Camera(80, 24, 50.0, 50.0, 39.5, 10.0),
        base_T_camera, DATUM, seed=3)
    return write_drive(frames, tmp_path_factory.mktemp('record') / 'drive.mcap')


class Talker:
    """A node that says what loc2 would say, as the test tells it to."""

    def __init__(self, context: Any) -> None:
        self.node = Node('loc2', context=context)
        hasty = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        make = self.node.create_publisher
        self.pose = make(PoseWithCovarianceStamped, '~/pose', 10)
        self.prior = make(PoseWithCovarianceStamped, '~/debug/prior', hasty)
        self.diagnostics = make(DiagnosticArray, '/diagnostics', 10)
        self.origin = make(PoseStamped, 'local_xy_origin', latched)
        self.tf = make(TFMessage, '/tf', 100)
        self.clock = make(Clock, '/clock', hasty)

    def matched(self) -> bool:
        """Return whether the recorder listens to everything."""
        return all(p.get_subscription_count() > 0 for p in (
            self.pose, self.prior, self.diagnostics, self.origin, self.tf, self.clock))

    def fix(self, i: int, dx: float = 1.0) -> None:
        """Publish the fix of image i, off by dx to the east."""
        self.pose.publish(fix_to_pose(Fix(
            START_NS + i * STEP_NS, Pose2(2.0 * i + dx, 0.0, 0.1), np.diag([4.0, 4.0, 0.01]),
            0.9, 1.0, 100, 80, 5.0), 'map'))

    def tick(self, stamp_ns: int) -> None:
        """Publish /clock."""
        self.clock.publish(Clock(clock=stamp_to_msg(stamp_ns)))

    def status(self, **values: Any) -> None:
        """Publish diagnostics of localization."""
        status = DiagnosticStatus(name='loc2: localization', values=[
            KeyValue(key=k.replace('__', '.'), value=str(v)) for k, v in values.items()])
        other = DiagnosticStatus(name='imu: driver', values=[KeyValue(key='fixes', value='99')])
        self.diagnostics.publish(DiagnosticArray(status=[status, other]))


@pytest.fixture
def context() -> Iterator[Any]:
    """Start ROS in this process's own domain."""
    made = rclpy.Context()
    rclpy.init(context=made, domain_id=int(os.environ['ROS_DOMAIN_ID']))
    yield made
    rclpy.try_shutdown(context=made)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Poll until a condition holds or a deadline passes."""
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


@pytest.fixture
def recorded(context: Any) -> Iterator[tuple[Talker, Heard]]:
    """Make a talker and a recorder that listens to it in a thread."""
    talker = Talker(context)
    node = Node('recorder', context=context)
    recorder = Recorder(node)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    stop = threading.Event()
    thread = threading.Thread(target=recorder.spin, args=(executor, 60.0, stop.is_set))
    thread.start()
    assert eventually(talker.matched)
    yield talker, recorder.heard
    stop.set()
    thread.join()
    executor.shutdown()
    node.destroy_node()
    talker.node.destroy_node()


def settings() -> dict[str, Any]:
    """Return the node's defaults."""
    return defaults()


def test_what_the_node_says_becomes_rows_and_figures(
        recorded: tuple[Talker, Heard], drive: Path, tmp_path: Path) -> None:
    talker, heard = recorded
    talker.origin.publish(datum_to_msg(DATUM, 'map', START_NS))
    for i in range(4):
        talker.tick(START_NS + i * STEP_NS)
        assert eventually(lambda: len(heard.clock) == i + 1)
        talker.prior.publish(prior_to_pose(Prior(
            START_NS + i * STEP_NS, np.array([2.0 * i, 6.0]), 0.2, 7.0, 0.1), 'map'))
        assert eventually(lambda: len(heard.priors) == i + 1)
        talker.fix(i)
        moved = TransformStamped(child_frame_id='odom')
        moved.header.frame_id = 'map'
        talker.tf.publish(TFMessage(transforms=[moved]))
        assert eventually(lambda: len(heard.poses) == i + 1)
    talker.status(rejected__no_tf=1, fixes=4, checkpoint='mini', device='cpu')
    assert eventually(lambda: 'fixes' in heard.values and heard.tf_messages == 4)

    result = result_of(heard, played(drive, settings(), heard))
    metrics = result.write(tmp_path, seed=7)
    assert (metrics['frames'], metrics['fixes'], metrics['rejected'], metrics['dropped']) \
        == (6, 4, 1, 1)
    assert metrics['rejected_by_reason'] == {'no_tf': 1}
    assert metrics['position_error_m']['median'] == pytest.approx(1.0)
    assert metrics['along_track_error_m']['median'] == pytest.approx(1.0)
    assert metrics['yaw_error_deg']['median'] == pytest.approx(math.degrees(0.1))
    assert metrics['prior_position_error_m']['median'] == pytest.approx(6.0)
    assert metrics['claimed_sigma_xy_m'] == {'median': pytest.approx(2.0)}
    assert (metrics['tf_messages'], metrics['duplicates'], metrics['out_of_order'],
            metrics['stamp_mismatches']) == (4, 0, 0, 0)
    assert 0.0 < metrics['latency_s']['median'] < 10.0 and metrics['rate_hz'] > 0.0
    assert metrics['datum'] == [48.9, 8.4, 110.0] and metrics['reference'] == 'ground_truth'
    assert (metrics['model'], metrics['device'], metrics['seed']) == ('mini', 'cpu', 7)
    assert json.loads((tmp_path / 'metrics.json').read_text()) == metrics
    outcomes = [row.outcome for row in read_csv(tmp_path / 'fixes.csv')]
    assert outcomes == ['fix'] * 4 + ['unknown'] * 2
    assert len((tmp_path / 'poses.tum').read_text().splitlines()) == 4
    assert heard.tf_roots == {'map'}


def test_duplicates_disorder_and_foreign_stamps_are_counted(
        recorded: tuple[Talker, Heard], drive: Path) -> None:
    talker, heard = recorded
    for i in (0, 2, 1, 2, 3):       # 1 comes late, 2 twice
        talker.fix(i)
    talker.pose.publish(fix_to_pose(Fix(START_NS + 17, Pose2(0.0, 0.0, 0.0), np.eye(3), 0.9, 1.0,
                                        10, 10, 0.0), 'map'))
    assert eventually(lambda: len(heard.poses) == 6)
    metrics = result_of(heard, played(drive, settings(), heard)).metrics()
    assert (metrics['duplicates'], metrics['out_of_order'], metrics['stamp_mismatches']) \
        == (1, 2, 1)
    assert metrics['fixes'] == 4


def test_a_prior_without_heading_keeps_none(recorded: tuple[Talker, Heard]) -> None:
    talker, heard = recorded
    talker.prior.publish(prior_to_pose(
        Prior(START_NS, np.array([1.0, 2.0]), None, 7.0, None), 'map'))
    assert eventually(lambda: START_NS in heard.priors)
    assert heard.priors[START_NS].yaw_rad is None and heard.priors[START_NS].sigma_m == 7.0


def test_recording_ends_when_the_clock_falls_silent(context: Any) -> None:
    talker, node = Talker(context), Node('recorder', context=context)
    recorder = Recorder(node)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = threading.Thread(target=recorder.spin, args=(executor, 0.5))
    thread.start()
    assert eventually(talker.matched)
    talker.tick(START_NS)
    thread.join(timeout=10.0)
    assert not thread.is_alive() and len(recorder.heard.clock) == 1
    executor.shutdown()
    node.destroy_node()
    talker.node.destroy_node()


def test_the_datum_is_the_one_the_node_uses() -> None:
    heard = Heard(origins=[DATUM, LocalFrame(50.0, 9.0)])
    assert heard.datum == LocalFrame(50.0, 9.0)
    heard.values['datum'] = '48.900000000, 8.400000000, 110.000'
    assert heard.datum is DATUM
    heard.values['datum'] = '47.000000000, 8.400000000, 12.000'
    assert heard.datum == LocalFrame(47.0, 8.4, 12.0)
    heard.values['frame_mode'] = 'utm'
    assert heard.datum == UtmFrame(47.0, 8.4, 12.0)
    assert Heard().datum is None


def test_latency_runs_from_the_moment_the_clock_showed_the_stamp(drive: Path) -> None:
    clock = [(100.0 + 0.01 * k, START_NS + k * 20_000_000) for k in range(60)]     # rate 2
    pose = HeardPose(START_NS + STEP_NS, 100.4, Pose2(0.0, 0.0, 0.0), np.eye(3))
    heard = Heard(poses=[pose], clock=clock)
    source = played(drive, settings(), heard)
    row = result_of(heard, Played([START_NS + STEP_NS], source.reference, source.frame)).rows[0]
    assert row.latency_s == pytest.approx(0.3)      # the stamp was shown at 100.1


def test_rejections_of_an_earlier_drive_are_not_counted_again(
        recorded: tuple[Talker, Heard]) -> None:
    talker, heard = recorded
    talker.status(rejected__no_tf=3, fixes=9)
    assert eventually(lambda: 'fixes' in heard.values)
    talker.tick(START_NS)
    assert eventually(lambda: heard.clock != [])
    talker.status(rejected__no_tf=5, rejected__scale=1, fixes=10)
    assert eventually(lambda: heard.values['fixes'] == '10')
    assert heard.rejected_by_reason == {'no_tf': 2, 'scale': 1}
    talker.status(rejected__scale=2, fixes=1)       # the node has been started anew
    assert eventually(lambda: heard.values['fixes'] == '1')
    assert heard.rejected_by_reason == {'scale': 2}


def test_an_origin_that_is_no_place_does_not_end_the_recording(
        recorded: tuple[Talker, Heard]) -> None:
    talker, heard = recorded
    for height in (float('nan'), 110.0):
        message = datum_to_msg(DATUM, 'map', START_NS)
        message.pose.position.z = height
        talker.origin.publish(message)
    assert eventually(lambda: heard.origins == [DATUM])


def test_nothing_heard_means_everything_dropped(drive: Path) -> None:
    metrics = result_of(Heard(), played(drive, settings(), Heard())).metrics()
    assert (metrics['frames'], metrics['fixes'], metrics['dropped']) == (6, 0, 6)
    assert metrics['rate_hz'] is None


def test_twin_and_recorder_agree_on_images_and_truth(drive: Path) -> None:
    class Refuses:

        def localize(self, image: Any, prior: Any, mount: Any) -> Fix:
            return Fix(image.stamp_ns, Pose2(0.0, 0.0, 0.0), np.eye(3), 0.9, 1.0, 10, 10, 0.0)
    twin = run_bag(drive, settings(), lambda frame: Refuses(), progress=False)
    recorder = result_of(Heard(), played(drive, settings(), Heard()))
    assert [(r.stamp_ns, r.truth) for r in twin.rows] == [
        (r.stamp_ns, r.truth) for r in recorder.rows]
