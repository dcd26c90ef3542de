# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What a user may rely on, over real DDS, with a model of known offset.

The pose is that of base_link to 1 mm and 0.01 degrees with a turned camera on a lever arm. Every
message has the stamp of its image, the map frame, a positive definite finite covariance. There
is one message a frame, in order. Rejections publish nothing but say why.
"""

from __future__ import annotations

import math
from typing import Any

from loc2_ros.core.values import Pose2, Prior, Reason, Rejection
import numpy as np
import pytest
from ros_world import FakeLocalizer, stamp_of, World, yaw_of

DOWN = math.radians(12.0)       # nose down
CAMERAS = {                     # x, y, z, roll, pitch, yaw of the optical frame in base_link
    'ahead': [1.4, -0.3, 1.6, -math.pi / 2, 0.0, -math.pi / 2],
    'to the left': [0.2, 0.9, 1.2, -math.pi / 2, 0.0, 0.0],
    'backwards': [-2.1, 0.4, 2.0, -math.pi / 2, 0.0, math.pi / 2],
    'turned by 37 degrees, nose down': [
        1.1, -0.7, 1.5, -math.pi / 2 - DOWN, 0.0, -math.pi / 2 + math.radians(37.0)]}
TRUTHS = [Pose2(12.5, -7.25, 0.6), Pose2(-20.0, 4.0, 3.1), Pose2(8.0, 14.0, -1.9)]
OFFSET = Pose2(0.5, 0.25, 0.02)


@pytest.mark.parametrize('camera', list(CAMERAS))
def test_the_pose_is_base_links_and_every_message_is_one_a_filter_can_take(
        world: World, camera: str) -> None:
    fake = FakeLocalizer(camera_pose=CAMERAS[camera], offset=OFFSET)
    node = world.start(fake, prior__max_jump=10000.0, gate__max_innovation=0.0)
    world.tf_static(pose=CAMERAS[camera])
    world.info()
    world.fix(world.now())
    world.imu(world.now())
    world.until(lambda: world.knows(node), 'sensors')
    stamps, expected = [], []
    for n in range(9):
        fake.truth = TRUTHS[n % 3]
        stamps.append(world.frame())
        expected.append(fake.truth @ OFFSET)
        world.poses(n + 1)
    world.until(lambda: len(world.got['navsat']) == 9 and len(world.got['tf']) == 9, 'the rest')
    poses = world.got['pose']
    for messages in (poses, world.got['navsat'], world.got['tf']):
        assert [stamp_of(m) for m in messages] == stamps            # one a frame, in order
    assert {m.header.frame_id for m in (*poses, *world.got['tf'])} == {'map'}
    for message, pose in zip(poses, expected):
        p = message.pose.pose.position
        assert math.hypot(p.x - pose.x_m, p.y - pose.y_m) < 1e-3
        turn = (yaw_of(message) - pose.yaw_rad + math.pi) % (2 * math.pi) - math.pi
        assert abs(math.degrees(turn)) < 0.01
        covariance = np.array(message.pose.covariance).reshape(6, 6)
        assert np.isfinite(covariance).all() and np.array_equal(covariance, covariance.T)
        assert np.linalg.eigvalsh(covariance)[0] > 0.0
    for message in world.got['navsat']:
        covariance = np.array(message.position_covariance).reshape(3, 3)
        assert np.isfinite(covariance).all() and np.linalg.eigvalsh(covariance)[0] > 0.0


OF_THE_MODEL = [Reason.MAP_COVERAGE, Reason.NO_HEADING, Reason.NO_DEPTH, Reason.FEW_MATCHES,
                Reason.DEGENERATE, Reason.FEW_INLIERS, Reason.LOW_SCORE, Reason.SCALE,
                Reason.FAR_FROM_PRIOR, Reason.HEADING_OFF, Reason.UNCERTAIN, Reason.MODEL_ERROR]


def test_rejections_publish_nothing_but_say_why(world: World) -> None:
    fake = FakeLocalizer()
    node = world.start(fake, gate__max_consecutive=100)
    world.ready(node)
    world.frame()
    world.poses(1)
    world.until(lambda: world.got['navsat'] and world.got['tf'], 'the rest')
    for reason in OF_THE_MODEL:
        def refuse(image: Any, prior: Prior, reason: Reason = reason) -> Rejection:
            return Rejection(image.stamp_ns, reason, {'measured': 0.25}, 'by the test')
        fake.answer = refuse
        world.frame()
        world.counted(reason.value)
        status = world.level('localization', 1, f'{reason.value}: by the test: measured=0.25')
        assert status[2]['reason'] == reason.value and status[2]['remedy']
    assert [len(world.got[k]) for k in ('pose', 'navsat', 'tf')] == [1, 1, 1]
    fake.answer = None
    world.frame()
    world.poses(2)
    assert 'reason' not in world.level('localization', 0, 'localized')[2]
