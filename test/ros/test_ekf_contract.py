# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What robot_localization makes of our messages with config/ekf.yaml, on a replica of it."""

from __future__ import annotations

from collections.abc import Callable
import math
from pathlib import Path
import re
from typing import Any

from fusion_world import BASE_T, ekf_map, ekf_odom, fix, follow, S, Sensors, T, Track, twist
from loc2_ros.core.values import Fix, Pose2
from loc2_ros.ros.convert import fix_to_pose
from loc2_ros.ros.params import defaults
from loc2_ros.ros.rules import LATENCY_WARN_S
import numpy as np
import pytest
import rclpy
from replica_ekf import CONFIG, HELD_AT_ZERO, parameters, ReplicaEkf, SIZE, VX, VY, X, Y

NAMES = ('ekf_odom', 'ekf_map')
TOWN_WHEELS = Sensors(scale=1.01, gyro_bias=math.radians(0.01))


def straight(speed_mps: float, start: Pose2 = Pose2(0.0, 0.0, 0.6)) -> Callable[[int], Pose2]:
    """Drive ahead from a place."""
    return lambda ns: start @ Pose2(speed_mps * (ns - T) / S, 0.0, 0.0)


def circle(speed_mps: float, radius_m: float = 60.0) -> Callable[[int], Pose2]:
    """Drive to the left, around."""
    def at(ns: int) -> Pose2:
        angle = speed_mps / radius_m * (ns - T) / S
        return Pose2(radius_m * math.sin(angle), radius_m * (1 - math.cos(angle)), angle)
    return at


def driven(pose_at: Callable[[int], Pose2], latency_s: float, *, seconds: int = 15, hz: int = 5,
           sensors: Sensors = Sensors(), **changes: Any) -> tuple[Track, ReplicaEkf]:
    """
    Return what the filter of the map says of a drive whose fixes are right, but late.

    They claim 0.5 m. Without noise, all that is off is bias.
    """
    end, ekf = T + seconds * S, ekf_map(**changes)
    events = [*sensors.events(pose_at, T, end), *(
        (ns + int(latency_s * S), 'loc2/pose', fix(ns, pose_at(ns)))
        for ns in range(T, end, S // hz))]
    return follow(ekf, events, pose_at, T, end), ekf


# ---- late fixes -------------------------------------------------------------------------------

@pytest.mark.parametrize('latency_s', [0.1, 1.0, 3.0])
@pytest.mark.parametrize('route', [straight, circle])
def test_late_fixes_are_put_where_they_belong(route: Any, latency_s: float) -> None:
    track, ekf = driven(route(12.0), latency_s, hz=2)
    assert np.all(np.abs(track.bias(5.0)[:2]) < 0.3) and ekf.rejected == 0


def test_with_a_second_of_latency_the_bias_stays_under_10_cm_at_10_m_per_s() -> None:
    def bias(latency_s: float, sensors: Sensors = Sensors()) -> Any:
        track, _ = driven(circle(10.0), latency_s, seconds=20, hz=2, sensors=sensors)
        return track.bias(12.0)[:2]
    assert np.linalg.norm(bias(1.0)) < 0.1
    # What wheels get wrong since the stamp no filter can know: 1 % of 10 m
    more = bias(1.0, TOWN_WHEELS) - bias(0.0, TOWN_WHEELS)
    assert np.linalg.norm(more) == pytest.approx(0.1, abs=0.02)


def test_without_smoothing_the_bias_is_speed_times_latency() -> None:
    track, _ = driven(straight(12.0), 1.0, smooth_lagged_data=False)
    assert track.bias(5.0)[0] == pytest.approx(-12.0, abs=0.5)
    assert track.sigma_m[-1] < 0.5      # and it does not know


def test_a_history_shorter_than_the_latency_helps_only_as_far_as_it_reaches() -> None:
    track, _ = driven(straight(12.0), 3.0, history_length=0.5)
    assert track.bias(5.0)[0] == pytest.approx(-12.0 * 2.5, abs=1.5)


def test_a_later_fix_is_claimed_less_certain() -> None:
    claims = [driven(straight(12.0), s, hz=2)[0].sigma_m[-1] for s in (0.1, 1.0, 3.0)]
    assert claims == sorted(claims) and claims[2] > 3.0 * claims[0]


# ---- where it begins --------------------------------------------------------------------------

@pytest.mark.parametrize('away_m', [300.0, 5000.0])
def test_the_first_fix_is_taken_wherever_the_datum_is(away_m: float) -> None:
    track, ekf = driven(straight(12.0, Pose2(away_m, away_m, 2.5)), 0.1)
    assert ekf.rejected == 0 and np.all(np.abs(track.bias(5.0)[:2]) < 0.3)


def test_the_default_initial_covariance_locks_every_fix_out() -> None:
    start = straight(12.0, Pose2(300.0, 300.0, 0.6))
    track, ekf = driven(start, 0.1, initial_estimate_covariance=None)
    assert ekf.rejected == 75 and track.distance_m()[-1] > 300.0
    track, _ = driven(start, 0.1, initial_estimate_covariance=None, pose0_rejection_threshold=None)
    assert track.distance_m()[-1] < 1.0


# ---- what is fused ----------------------------------------------------------------------------

def located(**changes: Any) -> ReplicaEkf:
    """Return a filter that has seen its vehicle stand still for a while."""
    pose_at = straight(0.0, Pose2(5.0, 5.0, 0.0))
    return driven(pose_at, 0.1, seconds=3, **changes)[1]


def told(ekf: ReplicaEkf, *messages: Any, topic: str = 'loc2/pose') -> ReplicaEkf:
    """Hand messages over, and let the timer run."""
    for message in messages:
        ekf.receive(topic, message)
    ekf.update(ekf.ns + S)
    return ekf


def test_a_second_copy_of_a_fix_is_fused_a_second_time() -> None:
    one, two = located(), located()
    message = fix(one.ns, Pose2(5.0, 5.0, 0.0))
    assert told(two, message, message).P[X, X] < 0.9 * told(one, message).P[X, X]


def test_a_fix_older_than_the_last_one_is_dropped_and_an_equal_one_is_not() -> None:
    ekf = located()
    newest = fix(ekf.ns, Pose2(5.0, 5.0, 0.0))
    told(ekf, newest)
    count = ekf.ignored
    ekf.receive('loc2/pose', fix(ekf.ns - 2 * S, Pose2(5.0, 5.0, 0.0)))
    assert (ekf.ignored, len(ekf.queue)) == (count + 1, 0)
    ekf.receive('loc2/pose', newest)
    assert len(ekf.queue) == 1


def test_only_poses_in_the_map_and_velocities_in_known_frames_are_used() -> None:
    ekf = located()
    pose = fix(ekf.ns, Pose2(5.0, 5.0, 0.0))
    pose.header.frame_id = 'odom'
    for topic, message in (('loc2/pose', pose), ('twist', twist(ekf.ns, 1.0, 'wheel')),
                           ('elsewhere', fix(ekf.ns, Pose2(0.0, 0.0, 0.0)))):
        ekf.receive(topic, message)
    assert not ekf.queue


def test_a_confident_outlier_is_refused_and_one_within_the_gate_is_not() -> None:
    ekf = located()
    before = ekf.x.copy()
    told(ekf, fix(ekf.ns, Pose2(35.0, 5.0, 0.0)), fix(ekf.ns, Pose2(5.0, 5.0, math.pi)))
    assert ekf.rejected == 2 and ekf.x[:2] == pytest.approx(before[:2], abs=1e-6)
    deviation = math.sqrt(ekf.P[X, X] + 0.25)
    told(ekf, fix(ekf.ns, Pose2(float(ekf.x[X]) + 4.0 * deviation, float(ekf.x[Y]), 0.0)))
    assert ekf.rejected == 2


def test_z_roll_and_pitch_stay_zero_and_our_unknowns_do_not_loosen_them() -> None:
    track, ekf = driven(circle(10.0), 1.0, seconds=5)
    assert np.abs(ekf.x[HELD_AT_ZERO]).max() < 1e-6
    # 1e6 m2 and 10 rad2 in the message, which two_d_mode replaces
    assert ekf.P[HELD_AT_ZERO, HELD_AT_ZERO].max() < 1e-4


def test_the_correlations_of_a_fix_count() -> None:
    covariance = np.array([[4.0, 3.9, 0.0], [3.9, 4.0, 0.0], [0.0, 0.0, 0.01]])
    ekf = ekf_map()
    found = Fix(T + S, Pose2(7.0, 7.0, 0.0), covariance, 0.9, 1.0, 100, 80, 0.0)
    ekf.receive('twist', twist(T, 0.0))
    ekf.receive('loc2/pose', fix_to_pose(found, 'map'))
    ekf.update(T + S)
    assert ekf.P[:2, :2] == pytest.approx(covariance[:2, :2], abs=1e-3)


def test_a_variance_of_zero_is_taken_for_certainty_and_ours_is_never_zero() -> None:
    certain, ours = located(), located()
    message = fix(certain.ns, Pose2(5.3, 5.0, 0.0))
    assert min(message.pose.covariance[i] for i in (0, 7, 35)) > 1e-9
    told(ours, message)
    message.pose.covariance = np.zeros(36)
    told(certain, message)
    assert certain.x[X] == pytest.approx(5.3, abs=1e-3) and ours.x[X] < 5.2


def test_the_lever_arm_of_a_velocity_is_taken_out() -> None:
    # At 0.2 rad/s an IMU 1.4 m behind and 0.3 m left sees 9.94 m/s ahead, 0.28 to the right
    ekf, lever = ekf_odom(), BASE_T['imu_link'][:2, 3]
    for k in range(100):
        ns = T + k * S // 50
        message = twist(ns, 10.0 - 0.2 * lever[1], 'imu_link')
        message.twist.twist.linear.y = 0.2 * lever[0]
        ekf.receive('twist', message)
        ekf.receive('imu', turning(ns, 0.2))
        ekf.update(ns)
    assert ekf.x[[VX, VY]] == pytest.approx([10.0, 0.0], abs=0.02)


def turning(ns: int, rate: float) -> Any:
    """Return an Imu that turns, without any orientation."""
    from loc2_ros.data.drive_messages import imu_of
    message = imu_of(ns, np.eye(3), 1.0, np.array([0.0, 0.0, rate]), np.zeros(3))
    message.orientation_covariance[0] = -1.0
    return message


# ---- the file ---------------------------------------------------------------------------------

@pytest.mark.parametrize('name', NAMES)
def test_every_list_of_the_shipped_file_has_15_entries_and_both_covariances_are_there(
        name: str) -> None:
    values = parameters(name)
    assert {'process_noise_covariance', 'initial_estimate_covariance'} <= set(values)
    lists = {key: value for key, value in values.items() if isinstance(value, list)}
    assert len(lists) >= 4 and {len(value) for value in lists.values()} == {SIZE}
    assert all(value > 0.0 for key in lists if key.endswith('covariance') for value in lists[key])


def test_frames_and_topics_of_the_shipped_file_are_those_of_the_node() -> None:
    node = defaults()
    for name, world in (('ekf_odom', 'odom_frame'), ('ekf_map', 'map_frame')):
        values = parameters(name)
        assert (values['map_frame'], values['odom_frame'], values['base_link_frame']) == (
            node['map_frame'], node['odom_frame'], node['base_frame'])
        assert values['world_frame'] == node[world]
    assert parameters('ekf_map')['pose0'] == 'loc2/pose'
    assert 'pose0' not in parameters('ekf_odom')


def test_the_history_reaches_twice_as_far_as_the_latency_that_diagnostics_warn_of() -> None:
    values = parameters('ekf_map')
    assert values['smooth_lagged_data'] and values['history_length'] >= 2 * LATENCY_WARN_S


def test_every_value_of_the_shipped_file_is_commented() -> None:
    lines = CONFIG.read_text().splitlines()
    for above, line in zip(lines, lines[1:]):
        if re.match(r'    \w+:', line):
            assert '#' in line or above.strip().startswith('#'), line


@pytest.mark.parametrize('name', NAMES)
def test_ros_reads_the_file_in_any_namespace(name: str, tmp_path: Path) -> None:
    context = rclpy.Context()
    rclpy.init(context=context, args=['--ros-args', '--params-file', str(CONFIG)])
    node = rclpy.create_node(name, namespace='/car1/front', context=context,
                             automatically_declare_parameters_from_overrides=True)
    try:
        for key, value in parameters(name).items():
            read = node.get_parameter(key).value
            assert (list(read) if isinstance(value, list) else read) == value, key
    finally:
        node.destroy_node()
        context.shutdown()
