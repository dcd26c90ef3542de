# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Priors from an EKF, an initialpose, course; looks from GNSS; faults and recovery from them."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

from loc2_ros.core.values import Array, Fix, Pose2, Prior, Reason, Rejection
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.prior_intake import PriorIntake
from loc2_ros.data.tf_tree import matrix_from_pose6
from loc2_ros.ros.params import defaults
import numpy as np
from prior_messages import fix, FRAME, imu, S, stamp, T
import pytest

ODOM = Pose2(-20.0, 7.0, -1.1)      # the odometry frame, as the map sees it
SENSOR = matrix_from_pose6([2.0, 1.0, 0.5, 0.0, 0.0, 0.4])


def mounting(frame_id: str, ns: int) -> Array | None:
    """Know one sensor."""
    return {'sensor': SENSOR}.get(frame_id)


def intake(**changes: Any) -> PriorIntake:
    """Return an intake without TF odometry: a topic gives the motion."""
    settings = {**defaults(), 'odom_frame': '', 'prior.max_jump': 30.0,
                **{k.replace('__', '.'): v for k, v in changes.items()}}
    made = PriorIntake(settings, mounting)
    made.set_frame(FRAME)
    return made


def posed(ns: int, pose: Pose2, frame: str = 'map', child: str = 'base_link',
          variance: tuple[float, float] = (0.25, 1e-4)) -> Any:
    """Return an Odometry or, without its child, a PoseWithCovarianceStamped."""
    covariance = np.diag([variance[0], variance[0], 1.0, 1.0, 1.0, variance[1]]).ravel()
    q = SimpleNamespace(x=0.0, y=0.0, z=math.sin(pose.yaw_rad / 2), w=math.cos(pose.yaw_rad / 2))
    return SimpleNamespace(
        header=SimpleNamespace(stamp=stamp(ns), frame_id=frame), child_frame_id=child,
        pose=SimpleNamespace(covariance=covariance, pose=SimpleNamespace(
            position=SimpleNamespace(x=pose.x_m, y=pose.y_m, z=0.0), orientation=q)))


def truth(ns: int) -> Pose2:
    """Drive north-east at 10 m/s."""
    way = 10.0 * (ns - T) / S
    return Pose2(50.0, 20.0, math.pi / 4) @ Pose2(way, 0.0, 0.0)


def found_at(ns: int, off: Pose2 | None = None) -> Fix:
    """Return the fix of a localizer that is right, or off."""
    pose = truth(ns) @ (off or Pose2(0.0, 0.0, 0.0))
    return Fix(ns, pose, np.diag([0.25, 0.25, 1e-4]), 0.9, 1.0, 100, 80, 0.0)


def asked(made: PriorIntake, ns: int) -> Prior:
    """Return the prior, which must exist."""
    prior = made.at(ns)
    assert isinstance(prior, Prior), prior
    return prior


def refused(made: PriorIntake, ns: int) -> Rejection:
    """Return why there is no prior."""
    rejection = made.at(ns)
    assert isinstance(rejection, Rejection), rejection
    return rejection


def drive(made: PriorIntake, ns: int, gnss: Pose2 | None = None, ekf: Pose2 | None = None,
          odometry: bool = True) -> None:
    """Tell an intake of one moment; ``gnss`` and ``ekf`` are off the truth by so much."""
    if odometry:
        made.odometry.add(ns, ODOM.inverse() @ truth(ns))
    if gnss is not None:
        pose = truth(ns) @ gnss
        made.add_fix(fix(ns, (pose.x_m, pose.y_m)))
    if ekf is not None:
        made.add_odometry(posed(ns, truth(ns) @ ekf))


HERE = Pose2(0.0, 0.0, 0.0)
TENTH = S // 10


# ---- sources ----------------------------------------------------------------------------------

def test_an_ekf_gives_position_and_heading_interpolated_with_its_deviations() -> None:
    made = intake(prior__source='odometry', prior__heading='odometry')
    for ns in (T, T + S):
        made.add_odometry(posed(ns, truth(ns)))
    prior = asked(made, T + S // 4)
    assert prior.xy_map_m == pytest.approx(truth(T + S // 4).xy_m, abs=1e-9)
    assert prior.yaw_map_rad == pytest.approx(math.pi / 4)
    assert (prior.source, prior.sigma_xy_m) == ('odometry', pytest.approx(0.5))
    assert prior.sigma_yaw_rad == pytest.approx(0.01)


def test_an_ekf_that_places_a_sensor_is_carried_to_base_link() -> None:
    made = intake(prior__source='odometry', prior__heading='odometry')
    sensor = Pose2(2.0, 1.0, 0.4)
    made.add_odometry(posed(T, truth(T) @ sensor, child='sensor'))
    prior = asked(made, T)
    assert prior.xy_map_m == pytest.approx(truth(T).xy_m, abs=1e-9)
    assert prior.yaw_map_rad == pytest.approx(math.pi / 4)
    with pytest.raises(BadMessage, match="nobody says where that is on 'base_link'"):
        made.add_odometry(posed(T + 1, truth(T), child='unknown'))


@pytest.mark.parametrize('variance, told', [(49.0 ** 2, ''), (51.0 ** 2, 'too uncertain'),
                                            (1e300, 'too uncertain')])
def test_a_receiver_that_does_not_know_where_it_is_says_nothing_of_where_to_look(
        variance: float, told: str) -> None:
    made = intake()
    made.add_fix(fix(T, position_covariance=[variance, 0, 0, 0, variance, 0, 0, 0, 1.0]))
    found = made.at(T)
    assert isinstance(found, Rejection) == bool(told) and told in getattr(found, 'detail', '')


def test_covariances_of_zero_are_replaced_by_parameters() -> None:
    made = intake(prior__source='odometry', prior__heading='odometry',
                  prior__position_stddev=7.0, prior__heading_stddev=5.0)
    made.add_odometry(posed(T, truth(T), variance=(0.0, 0.0)))
    prior = asked(made, T)
    assert prior.sigma_xy_m == 7.0
    assert prior.sigma_yaw_rad == pytest.approx(math.radians(5.0))


def test_odometry_in_another_frame_is_no_prior_and_says_so() -> None:
    made = intake(prior__source='odometry')
    with pytest.raises(BadMessage, match="in frame 'odom'"):
        made.add_odometry(posed(T, truth(T), 'odom'))
    assert 'the output of an EKF' in refused(made, T).detail


def test_an_ekf_that_does_not_know_yet_leaves_the_word_to_gnss() -> None:
    made = intake(prior__source='odometry', prior__heading='odometry')
    made.add_imu(imu(T, math.pi / 4))
    made.add_fix(fix(T, (50.0, 20.0)))
    made.add_odometry(posed(T, Pose2(0.0, 0.0, 0.0), variance=(1e8, 10.0)))
    prior = asked(made, T)
    assert prior.source == 'fix' and prior.xy_map_m == pytest.approx([50.0, 20.0], abs=1e-6)
    assert prior.yaw_map_rad == pytest.approx(math.pi / 4, abs=1e-4)
    made.add_odometry(posed(T + 1, truth(T)))
    assert asked(made, T + 1).source == 'odometry'


def test_an_initialpose_is_moved_by_odometry_and_then_each_fix_is() -> None:
    made = intake(prior__source='initialpose', prior__heading='odometry')
    assert 'no initialpose yet' in refused(made, T).detail
    for k in range(200):
        drive(made, T + k * TENTH)
    made.add_initialpose(posed(T, truth(T)))
    late = T + 150 * TENTH
    prior = asked(made, late)
    assert prior.source == 'initialpose'
    assert prior.xy_map_m == pytest.approx(truth(late).xy_m, abs=1e-6)
    assert prior.sigma_xy_m == pytest.approx(math.hypot(0.5, 150.0 * math.hypot(0.03, 0.01)))
    made.settle(found_at(late, Pose2(1.0, 2.0, 0.05)), prior)
    again = asked(made, late + 10 * TENTH)
    assert again.xy_map_m == pytest.approx(
        (truth(late) @ Pose2(1.0, 2.0, 0.05) @ Pose2(10.0, 0.0, 0.0)).xy_m, abs=1e-6)


@pytest.mark.parametrize('message, sentence', [
    (posed(T, truth(T), 'odom'), "in frame 'odom', not in 'map'"),
    (posed(0, truth(T)), 'no stamp')])
def test_an_initialpose_that_cannot_be_used_is_refused(message: Any, sentence: str) -> None:
    made = intake(prior__source='initialpose')
    with pytest.raises(BadMessage, match=sentence):
        made.add_initialpose(message)
    with pytest.raises(BadMessage, match='ignored: prior.source is fix'):
        intake().add_initialpose(posed(T, truth(T)))


@pytest.mark.parametrize('name', ['x', 'y', 'z'])
def test_poses_that_are_no_numbers_are_refused(name: str) -> None:
    made = intake(prior__source='odometry')
    message = posed(T, truth(T))
    setattr(message.pose.pose.position, name, math.nan)
    with pytest.raises(BadMessage, match='not a number'):
        made.add_odometry(message)
    message = posed(T, truth(T))
    message.pose.pose.orientation.w = 0.0
    message.pose.pose.orientation.z = 0.0
    with pytest.raises(BadMessage, match='unit quaternion'):
        made.add_odometry(message)


# ---- headings ---------------------------------------------------------------------------------

def test_a_declination_to_the_east_turns_the_heading_clockwise() -> None:
    made = intake(prior__magnetic_declination=4.0, prior__heading_offset=10.0)
    made.add_fix(fix(T, (0.0, 0.0)))
    made.add_imu(imu(T, 0.5))
    assert asked(made, T).yaw_map_rad == pytest.approx(0.5 + math.radians(6.0), abs=1e-6)


@pytest.mark.parametrize('way', [1.0, -1.0])
def test_the_course_is_the_heading_and_odometry_tells_that_it_reverses(way: float) -> None:
    made = intake(prior__heading='course')
    for k in range(30):
        pose = Pose2(50.0, 20.0, 0.8) @ Pose2(way * 0.5 * k, 0.0, 0.0)
        made.add_odometry(posed(T + k * TENTH, ODOM.inverse() @ pose, 'odom'))
        made.add_fix(fix(T + k * TENTH, (pose.x_m, pose.y_m)))
    prior = asked(made, T + 29 * TENTH)
    assert prior.yaw_map_rad == pytest.approx(0.8, abs=1e-3)
    assert prior.sigma_yaw_rad is not None and 0.005 < prior.sigma_yaw_rad < 0.3


def test_below_the_speed_there_is_no_course() -> None:
    made = intake(prior__heading='course', prior__course_min_speed=6.0)
    for k in range(30):
        made.add_fix(fix(T + k * TENTH, (0.5 * k, 0.0)))
    assert asked(made, T + 29 * TENTH).yaw_map_rad is None


# ---- trust ------------------------------------------------------------------------------------

def settled(made: PriorIntake, ns: int, off: Pose2 | None = None) -> str:
    """Localize one image; return what became of it."""
    prior = made.at(ns)
    if isinstance(prior, Rejection):
        return prior.reason.value
    result = made.settle(found_at(ns, off), prior)
    return prior.source if isinstance(result, Fix) else result.reason.value


class Believer:
    """A localizer that finds the vehicle wherever it looks: the worst that a fault can meet."""

    def __call__(self, made: PriorIntake, ns: int) -> tuple[str, float]:
        prior = made.at(ns)
        if isinstance(prior, Rejection):
            return prior.reason.value, 0.0
        pose = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), math.pi / 4)
        found = made.settle(Fix(ns, pose, np.diag([0.25, 0.25, 1e-4]), 0.9, 1.0, 100, 80, 0.0),
                            prior)
        if isinstance(found, Rejection):
            return found.reason.value, 0.0
        return 'fix', float(np.linalg.norm(pose.xy_m - truth(ns).xy_m))


def test_gnss_that_jumps_100_m_for_20_s_gives_no_wrong_fix_even_to_a_believer() -> None:
    made, believer = intake(prior__heading='none'), Believer()
    told = []
    for k in range(600):
        ns = T + k * TENTH
        drive(made, ns, Pose2(0.0, 100.0, 0.0) if 200 <= k < 400 else HERE)
        told.append(believer(made, ns))
    assert max(off for _, off in told) < 1e-3
    assert {what for what, _ in told[:200]} == {'fix'}
    assert {what for what, _ in told[200:400]} == {'prior_jump'}
    assert {what for what, _ in told[402:]} == {'fix'}


def test_a_receiver_that_insists_is_believed_after_the_memory_has_ended() -> None:
    made, believer = intake(prior__heading='none', gate__memory=10.0), Believer()
    told = []
    for k in range(300):
        drive(made, T + k * TENTH, Pose2(0.0, 100.0, 0.0) if k >= 100 else HERE)
        told.append(believer(made, T + k * TENTH)[0])
    assert told[100:199] == ['prior_jump'] * 99
    assert told[205:] == ['fix'] * 95


def test_gnss_that_stops_is_moved_by_odometry_for_max_age_and_recovers() -> None:
    made = intake(prior__heading='none')
    told = []
    for k in range(1000):
        drive(made, T + k * TENTH, HERE if k <= 100 or k >= 900 else None)
        told.append(settled(made, T + k * TENTH))
    assert told[:121] == ['fix'] * 121
    assert set(told[122:880]) == {'prior_stale'}
    assert told[900:] == ['fix'] * 100


def test_an_ekf_that_confirms_itself_is_found_out_by_the_look_from_gnss() -> None:
    # It is 18 m off with a believing localizer: every fix agrees with it and with those before
    made = intake(prior__source='odometry', prior__heading='none', prior__reseed_period=60.0)
    believer = Believer()
    wrong = Pose2(0.0, 18.0, 0.0)
    told = []
    for k in range(1000):
        drive(made, T + k * TENTH, HERE, wrong)
        told.append(believer(made, T + k * TENTH))
    assert {round(off) for _, off in told[:600]} == {18}
    assert {what for what, _ in told[601:640]} == {'innovation'}
    assert {(what, round(off)) for what, off in told[660:]} == {('fix', 0)}
    count, metres = made.filter_off
    assert count > 300 and metres == pytest.approx(18.0, abs=1e-3)


def test_an_ekf_that_is_right_is_confirmed_by_one_look_per_period() -> None:
    made = intake(prior__source='odometry', prior__heading='none', prior__reseed_period=60.0)
    told = []
    for k in range(1300):
        drive(made, T + k * TENTH, Pose2(3.0, 2.0, 0.0), HERE)
        told.append(settled(made, T + k * TENTH))
    assert [k for k, what in enumerate(told) if what == 'fix'] == [600, 1200]
    assert set(told) == {'fix', 'odometry'} and made.filter_off[0] == 0


def test_an_ekf_lives_through_gnss_that_stops_and_comes_back_biased() -> None:
    made = intake(prior__source='odometry', prior__heading='none', prior__reseed_period=30.0)
    told = []
    for k in range(1500):
        gnss = HERE if k < 300 else None if k < 900 else Pose2(9.0, 12.0, 0.0)
        drive(made, T + k * TENTH, gnss, HERE)
        told.append(settled(made, T + k * TENTH))
    assert set(told) == {'fix', 'odometry'}
    assert told.count('fix') <= 4


def test_odometry_that_is_reset_costs_nothing_but_its_memory() -> None:
    made = intake(prior__heading='none')
    for k in range(100):
        drive(made, T + k * TENTH, HERE)
        assert settled(made, T + k * TENTH) == 'fix'
    for k in range(100, 200):
        ns = T + k * TENTH
        start = truth(T + 100 * TENTH)
        made.add_odometry(posed(ns, start.inverse() @ truth(ns), 'odom'))
        drive(made, ns, HERE, odometry=False)
        assert settled(made, ns) == 'fix'
    assert made.odometry.resets == 1
    assert settled(made, T + 199 * TENTH, Pose2(0.0, 40.0, 0.0)) == 'innovation'


def test_a_heading_off_by_90_degrees_does_not_get_its_fixes_published() -> None:
    made = intake(prior__heading='imu')
    told = []
    for k in range(400):
        ns = T + k * TENTH
        wrong = 100 <= k < 300         # longer than gate.relocate_time, shorter than gate.memory
        drive(made, ns, HERE)
        made.add_imu(imu(ns, math.pi / 4 + (math.pi / 2 if wrong else 0.0)))
        prior = made.at(ns)
        if isinstance(prior, Rejection):
            assert 'heading' in prior.detail
            told.append(prior.reason.value)
            continue
        # A localizer that believes the heading
        turned = Pose2(0.0, 0.0, (prior.yaw_map_rad or 0.0) - math.pi / 4)
        result = made.settle(found_at(ns, turned), prior)
        told.append('fix' if isinstance(result, Fix) else result.reason.value)
    assert set(told[:100]) == set(told[300:]) == {'fix'}
    assert set(told[100:300]) == {'prior_jump'}


@pytest.mark.parametrize('off_deg, refused', [(55.0, False), (75.0, True), (-75.0, True)])
def test_a_heading_off_by_45_degrees_and_three_deviations_is_left_to_the_gates_of_the_model(
        off_deg: float, refused: bool) -> None:
    made = intake(prior__heading='imu')
    drive(made, T, HERE)
    made.add_imu(imu(T, math.pi / 4))
    prior = asked(made, T)
    made.settle(found_at(T, Pose2(0.0, 0.0, 0.0)), prior)
    ns = T + TENTH
    drive(made, ns, HERE)
    made.add_imu(imu(ns, math.pi / 4 + math.radians(off_deg)))
    assert asked(made, T).sigma_yaw_rad == pytest.approx(0.1)      # three of it: 17 degrees
    assert isinstance(made.at(ns), Rejection) == refused


def test_a_fix_from_before_a_jump_of_the_clock_is_not_remembered() -> None:
    made = intake(prior__source='initialpose', prior__heading='odometry')
    drive(made, T)
    made.add_initialpose(posed(T, truth(T)))
    prior = asked(made, T)
    made.clear()
    made.settle(found_at(T), prior)
    assert refused(made, T).reason is Reason.NO_PRIOR


def test_sources_and_headings_may_be_changed_while_running() -> None:
    settings = {**defaults(), 'odom_frame': '', 'prior.heading': 'none'}
    made = PriorIntake(settings, mounting)
    made.set_frame(FRAME)
    drive(made, T, HERE)
    made.add_imu(imu(T, 0.5))
    assert asked(made, T).yaw_map_rad is None
    settings.update({'prior.source': 'odometry', 'prior.heading': 'odometry'})
    made.retune(settings)       # the node changes the values in place
    drive(made, T + 1, HERE, Pose2(1.0, 0.0, 0.0))
    prior = asked(made, T + 1)
    assert prior.source == 'odometry' and prior.yaw_map_rad == pytest.approx(math.pi / 4)
