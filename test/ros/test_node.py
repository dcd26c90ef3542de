# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The node over real DDS with a fake localizer: what it publishes, when, and with what stamp."""

import math
import threading
import time

from loc2_ros.core.values import Pose2, Reason, Rejection
import numpy as np
from ros_world import BEST_EFFORT, DATUM, FakeLocalizer, OFFSET, SECOND, stamp_of, TRUTH, yaw_of


def test_each_image_gives_one_pose_with_its_stamp_to_the_nanosecond_in_order(world):
    node = world.start()
    world.ready(node)
    stamps = []
    for n in range(5):
        stamps.append(world.frame())
        poses = world.poses(n + 1)
    assert [stamp_of(p) for p in poses] == stamps
    assert {p.header.frame_id for p in poses} == {'map'}
    world.level('localization', 0, 'localized')
