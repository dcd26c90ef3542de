# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Static transforms: chains, and refusals instead of identities."""

from __future__ import annotations

import math
from types import SimpleNamespace as Message

from loc2_ros.core.values import Array
from loc2_ros.data.tf_tree import matrix_from_pose6, StaticTree, TransformError
import numpy as np
import pytest


def planar(x: float, y: float, yaw: float) -> Array:
    """Build a 4x4 with a rotation about z."""
    matrix = np.eye(4)
    matrix[:2, :2] = [[math.cos(yaw), -math.sin(yaw)], [math.sin(yaw), math.cos(yaw)]]
    matrix[:2, 3] = (x, y)
    return matrix


def tree() -> StaticTree:
    """Build KITTI's chain and a frame that belongs to nothing."""
    made = StaticTree()
    made.add('base_link', 'imu_link', planar(-1.405, 0.32, 0.0))
    made.add('imu_link', 'camera', planar(1.0, 0.0, math.pi / 2))
    made.add('base_link', 'lidar', planar(0.0, 2.0, 0.0))
    made.add('world', 'island', planar(0.0, 0.0, 0.0))
    return made


def test_a_chain_is_multiplied_from_parent_to_child() -> None:
    expected = planar(-1.405, 0.32, 0.0) @ planar(1.0, 0.0, math.pi / 2)
    np.testing.assert_allclose(tree().lookup('base_link', 'camera'), expected, atol=1e-12)


def test_lookups_run_backwards_and_across_branches() -> None:
    made = tree()
    np.testing.assert_allclose(made.lookup('camera', 'base_link'),
                               np.linalg.inv(made.lookup('base_link', 'camera')), atol=1e-12)
    np.testing.assert_allclose(
        made.lookup('lidar', 'camera'),
        np.linalg.inv(planar(0.0, 2.0, 0.0)) @ made.lookup('base_link', 'camera'), atol=1e-12)


def test_a_frame_in_itself_is_the_identity() -> None:
    np.testing.assert_array_equal(tree().lookup('imu_link', 'imu_link'), np.eye(4))


def test_an_unknown_frame_is_named_with_what_is_known() -> None:
    with pytest.raises(TransformError, match="'camera_left' is unknown; known are base_link, cam"):
        tree().lookup('base_link', 'camera_left')
    with pytest.raises(TransformError, match='known are none'):
        StaticTree().lookup('base_link', 'camera')


def test_frames_that_are_apart_are_never_connected_by_an_identity() -> None:
    with pytest.raises(TransformError, match='not connected'):
        tree().lookup('base_link', 'island')


def test_leading_slashes_of_old_bags_do_not_matter() -> None:
    made = StaticTree()
    made.add('/base_link', '/imu_link', np.eye(4))
    assert made.has_parent('imu_link')
    np.testing.assert_array_equal(made.lookup('base_link', 'imu_link'), np.eye(4))


@pytest.mark.parametrize(('parent', 'child'), [
    ('', 'a'), ('a', ''), ('a', 'a'), ('camera', 'base_link'), ('camera', 'imu_link')])
def test_nameless_frames_and_loops_are_refused(parent: str, child: str) -> None:
    with pytest.raises(ValueError, match='two different frames|loop'):
        tree().add(parent, child, np.eye(4))


def test_a_new_parent_replaces_the_old_one() -> None:
    made = tree()
    made.add('base_link', 'camera', planar(5.0, 0.0, 0.0))
    assert made.lookup('base_link', 'camera')[0, 3] == 5.0


def test_a_message_adds_all_its_transforms_and_a_broken_one_raises() -> None:
    def stamped(child: str, x: float) -> Message:
        return Message(header=Message(frame_id='base_link'), child_frame_id=child,
                       transform=Message(translation=Message(x=x, y=0.0, z=0.0),
                                         rotation=Message(x=0.0, y=0.0, z=0.0, w=1.0)))
    made = StaticTree()
    made.add_message(Message(transforms=[stamped('a', 1.0), stamped('b', 2.0)]))
    assert made.lookup('a', 'b')[0, 3] == 1.0
    with pytest.raises(ValueError, match='finite'):
        made.add_message(Message(transforms=[stamped('c', float('nan'))]))


def test_roll_pitch_yaw_turn_about_fixed_axes_in_that_order() -> None:
    matrix = matrix_from_pose6([1.0, 2.0, 3.0, 0.0, 0.0, math.pi / 2])
    np.testing.assert_allclose(matrix @ [1.0, 0.0, 0.0, 1.0], [1.0, 3.0, 3.0, 1.0], atol=1e-12)
    # Rolled left side up, pitched nose down, then turned: x axis by hand
    roll = matrix_from_pose6([0.0, 0.0, 0.0, 0.3, 0.0, 0.0])
    pitch = matrix_from_pose6([0.0, 0.0, 0.0, 0.0, 0.2, 0.0])
    yaw = matrix_from_pose6([0.0, 0.0, 0.0, 0.0, 0.0, -1.1])
    assert (roll @ [0.0, 1.0, 0.0, 1.0])[2] > 0.0 and (pitch @ [1.0, 0.0, 0.0, 1.0])[2] < 0.0
    np.testing.assert_allclose(matrix_from_pose6([0.0, 0.0, 0.0, 0.3, 0.2, -1.1]),
                               yaw @ pitch @ roll, atol=1e-12)
