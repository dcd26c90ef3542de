# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What loc2_ros expects of tf2_ros; true of upstream's and of the stand-in."""

from __future__ import annotations

import math
import time as wall

from geometry_msgs.msg import TransformStamped
import pytest
from rclpy.duration import Duration
from rclpy.time import Time
import tf2_ros

NEWEST = Time()


def at(seconds: float) -> Time:
    """Return a time."""
    return Time(nanoseconds=round(seconds * 1e9))


def edge(parent: str, child: str, stamp_s: float = 0.0, x: float = 0.0, y: float = 0.0,
         yaw_deg: float = 0.0) -> TransformStamped:
    """Return the message of a planar transform."""
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = parent, child
    message.header.stamp = at(stamp_s).to_msg()
    message.transform.translation.x, message.transform.translation.y = x, y
    message.transform.rotation.z = math.sin(math.radians(yaw_deg) / 2)
    message.transform.rotation.w = math.cos(math.radians(yaw_deg) / 2)
    return message


def buffer_of(*edges: TransformStamped, static: tuple[TransformStamped, ...] = (),
              ) -> tf2_ros.Buffer:
    """Return a buffer filled by hand."""
    buffer = tf2_ros.Buffer()
    for message in edges:
        buffer.set_transform(message, 'test')
    for message in static:
        buffer.set_transform_static(message, 'test')
    return buffer


def planar(message: TransformStamped) -> tuple[float, float, float]:
    """Return x, y and the yaw in degrees."""
    q = message.transform.rotation
    yaw = math.atan2(2 * (q.w * q.z + q.x * q.y), 1 - 2 * (q.y * q.y + q.z * q.z))
    return (message.transform.translation.x, message.transform.translation.y, math.degrees(yaw))


def stamp_s(message: TransformStamped) -> float:
    """Return the stamp in seconds."""
    return message.header.stamp.sec + message.header.stamp.nanosec * 1e-9


def test_positions_are_interpolated_linearly_and_rotations_by_angle() -> None:
    buffer = buffer_of(edge('odom', 'base', 10.0, x=1.0, y=-2.0, yaw_deg=10.0),
                       edge('odom', 'base', 12.0, x=5.0, y=2.0, yaw_deg=90.0))
    found = buffer.lookup_transform('odom', 'base', at(10.5))
    assert planar(found) == pytest.approx((2.0, -1.0, 30.0))
    assert (found.header.frame_id, found.child_frame_id) == ('odom', 'base')
    assert stamp_s(found) == 10.5


def test_rotations_take_the_shorter_way_round() -> None:
    buffer = buffer_of(edge('odom', 'base', 0.1, yaw_deg=170.0),
                       edge('odom', 'base', 0.3, yaw_deg=-170.0))
    assert abs(planar(buffer.lookup_transform('odom', 'base', at(0.2)))[2]) == pytest.approx(180.0)


def test_the_yaw_of_a_chain_turns_the_lever_arm() -> None:
    # A vehicle at (10, 0) that looks along +y carries a camera 2 m ahead: at (10, 2) in the map
    buffer = buffer_of(edge('map', 'base', 1.0, x=10.0, yaw_deg=90.0),
                       static=(edge('base', 'camera', x=2.0),))
    assert planar(buffer.lookup_transform('map', 'camera', at(1.0))) == pytest.approx(
        (10.0, 2.0, 90.0))


def test_a_lookup_the_other_way_is_the_inverse() -> None:
    buffer = buffer_of(edge('map', 'base', 1.0, x=10.0, yaw_deg=90.0))
    assert planar(buffer.lookup_transform('base', 'map', at(1.0))) == pytest.approx(
        (0.0, 10.0, -90.0))


def test_two_branches_meet_at_their_common_ancestor() -> None:
    buffer = buffer_of(static=(edge('base', 'camera', x=2.0), edge('base', 'imu', x=-1.0)))
    assert planar(buffer.lookup_transform('imu', 'camera', at(7.0))) == pytest.approx(
        (3.0, 0.0, 0.0))


def test_a_branch_meets_its_ancestor_though_the_ancestors_parent_is_unknown_then() -> None:
    buffer = buffer_of(edge('map', 'base', 1.0), static=(edge('base', 'camera', x=2.0),))
    assert planar(buffer.lookup_transform('base', 'camera', at(99.0)))[0] == pytest.approx(2.0)


def test_time_zero_is_the_newest_stamp_that_all_links_have() -> None:
    buffer = buffer_of(edge('map', 'odom', 1.0), edge('map', 'odom', 3.0, x=2.0),
                       edge('odom', 'base', 1.0), edge('odom', 'base', 2.0, x=5.0),
                       static=(edge('base', 'camera'),))
    found = buffer.lookup_transform('map', 'camera', NEWEST)
    assert stamp_s(found) == 2.0
    assert planar(found)[0] == pytest.approx(1.0 + 5.0)


@pytest.mark.parametrize('when, kept', [(0.5, '1.0'), (3.5, '3.0')])
def test_times_outside_the_samples_are_refused_with_both_times(when: float, kept: str) -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0), edge('odom', 'base', 3.0))
    with pytest.raises(tf2_ros.ExtrapolationException) as error:
        buffer.lookup_transform('odom', 'base', at(when))
    assert str(when) in str(error.value)
    assert kept in str(error.value)


def test_a_single_sample_is_valid_at_its_stamp_only() -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0, x=4.0))
    assert planar(buffer.lookup_transform('odom', 'base', at(1.0)))[0] == 4.0
    assert not buffer.can_transform('odom', 'base', at(1.1))


def test_static_transforms_are_valid_at_any_time() -> None:
    buffer = buffer_of(static=(edge('base', 'camera', 5.0, x=2.0),))
    for when in (0.0, 1.0, 5.0, 1e9):
        assert planar(buffer.lookup_transform('base', 'camera', at(when)))[0] == 2.0


def test_a_frame_in_itself_is_the_identity_at_any_time() -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0, x=3.0))
    found = buffer.lookup_transform('base', 'base', at(77.0))
    assert planar(found) == (0.0, 0.0, 0.0)
    assert stamp_s(found) == 77.0


def test_an_unknown_frame_is_named() -> None:
    with pytest.raises(tf2_ros.LookupException, match='camera'):
        buffer_of(edge('odom', 'base', 1.0)).lookup_transform('odom', 'camera', NEWEST)


@pytest.mark.parametrize('when', [0.0, 1.0])
def test_known_frames_that_are_apart_are_not_connected(when: float) -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0), edge('world', 'drone', 1.0))
    with pytest.raises(tf2_ros.ConnectivityException):
        buffer.lookup_transform('odom', 'drone', at(when))


@pytest.mark.parametrize('name', ['', '/base'])
def test_names_that_are_empty_or_absolute_are_invalid(name: str) -> None:
    with pytest.raises(tf2_ros.InvalidArgumentException):
        buffer_of(edge('odom', 'base', 1.0)).lookup_transform('odom', name, NEWEST)


def test_every_failure_is_a_transform_exception() -> None:
    for name in ('Lookup', 'Connectivity', 'Extrapolation', 'InvalidArgument', 'Timeout'):
        assert issubclass(getattr(tf2_ros, f'{name}Exception'), tf2_ros.TransformException)


def test_a_new_parent_replaces_the_old_one_from_its_stamp_on() -> None:
    buffer = buffer_of(edge('map', 'base', 1.0, x=1.0), edge('odom', 'base', 2.0, x=2.0),
                       edge('odom', 'base', 3.0, x=3.0))
    assert planar(buffer.lookup_transform('map', 'base', at(1.0)))[0] == 1.0
    assert planar(buffer.lookup_transform('odom', 'base', at(2.5)))[0] == pytest.approx(2.5)
    assert not buffer.can_transform('map', 'base', at(2.5))


def test_a_second_message_with_one_stamp_wins() -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0, x=1.0), edge('odom', 'base', 1.0, x=2.0))
    assert planar(buffer.lookup_transform('odom', 'base', at(1.0)))[0] == 2.0


def test_messages_out_of_order_are_sorted_in() -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0), edge('odom', 'base', 3.0, x=9.0),
                       edge('odom', 'base', 2.0, x=1.0))
    assert planar(buffer.lookup_transform('odom', 'base', at(1.5)))[0] == pytest.approx(0.5)


def test_the_cache_ends_ten_seconds_behind_the_newest() -> None:
    buffer = buffer_of(*(edge('odom', 'base', float(second)) for second in range(1, 22)))
    assert buffer.can_transform('odom', 'base', at(11.0))
    assert not buffer.can_transform('odom', 'base', at(10.0))
    buffer.set_transform(edge('odom', 'base', 5.0), 'test')
    assert not buffer.can_transform('odom', 'base', at(5.0))


def broken(**change: float) -> TransformStamped:
    """Return a transform with wrong numbers in its rotation or translation."""
    message = edge('odom', 'base', 1.0)
    for name, value in change.items():
        part, axis = name.split('_')
        setattr(getattr(message.transform, part), axis, value)
    return message


@pytest.mark.parametrize('message', [
    broken(rotation_w=0.0), broken(rotation_w=math.nan), broken(translation_x=math.nan),
    broken(translation_y=math.inf), broken(rotation_z=1.0), edge('base', 'base', 1.0)])
def test_messages_with_impossible_content_are_ignored(message: TransformStamped) -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0, x=7.0))
    buffer.set_transform(message, 'test')
    assert planar(buffer.lookup_transform('odom', 'base', at(1.0)))[0] == 7.0


def test_waiting_in_vain_raises_the_underlying_error() -> None:
    buffer = tf2_ros.Buffer()
    start = wall.monotonic()
    with pytest.raises(tf2_ros.LookupException):
        buffer.lookup_transform('odom', 'base', NEWEST, timeout=Duration(seconds=0.05))
    assert wall.monotonic() - start >= 0.05


def test_asking_whether_it_can_be_done_gives_a_truth_value() -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0))
    assert buffer.can_transform('odom', 'base', at(1.0))
    assert not buffer.can_transform('odom', 'base', at(2.0))
    assert not buffer.can_transform('odom', 'camera', NEWEST)


def test_clearing_keeps_static_transforms_and_the_names_of_all_frames() -> None:
    buffer = buffer_of(edge('odom', 'base', 1.0), static=(edge('base', 'camera', x=2.0),))
    buffer.clear()
    assert planar(buffer.lookup_transform('base', 'camera', at(9.0)))[0] == 2.0
    for when in (0.0, 1.0):
        with pytest.raises(tf2_ros.ConnectivityException):
            buffer.lookup_transform('odom', 'base', at(when))
    buffer.set_transform(edge('odom', 'base', 0.5, x=3.0), 'test')
    assert planar(buffer.lookup_transform('odom', 'camera', at(0.5)))[0] == 5.0
