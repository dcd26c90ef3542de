# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What tests of faults share: which pose is wrong, and whether a node is well."""

from __future__ import annotations

import math
import threading
from typing import Any

from loc2_ros.core.values import Fix, Pose2, Prior
import numpy as np
from ros_world import OFFSET, SECOND, TRUTH

EXPECTED = TRUTH @ OFFSET
MS = SECOND // 1000
_WRONG_M = 10.0
_CHI2_999 = 13.816      # 99.9 % of two degrees of freedom: -2 ln 0.001


def believe(image: Any, prior: Prior) -> Fix:
    """Answer as a localizer that finds the vehicle wherever it looks: the worst there can be."""
    pose = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad or 0.0)
    return Fix(image.stamp_ns, pose, np.diag([0.25, 0.25, 1e-3]), 0.9, 1.0, 100, 80, 0.0)


def answered(node: Any) -> int:
    """Return how many images have come to an end; cheap enough to be asked all the time."""
    v = node.stats._values
    return int(v['fixes'] + v['rejected'] + v['images_dropped'])


def error_m(msg: Any, truth: Pose2) -> float:
    """Return how far a published pose is from the truth."""
    p = msg.pose.pose.position
    return math.hypot(p.x - truth.x_m, p.y - truth.y_m)


def is_wrong(msg: Any, truth: Pose2) -> bool:
    """Return whether a pose is over 10 m off and outside the 99.9 % ellipse that it claims."""
    p = msg.pose.pose.position
    off = np.array([p.x - truth.x_m, p.y - truth.y_m])
    block = np.array(msg.pose.covariance).reshape(6, 6)[:2, :2]
    outside = float(off @ np.linalg.solve(block, off)) > _CHI2_999
    return not error_m(msg, truth) <= _WRONG_M and outside


def no_wrong_fix(world: Any, truth: Pose2 = EXPECTED) -> None:
    """Assert that nothing wrong has been published so far."""
    assert not [m for m in world.got['pose'] if is_wrong(m, truth)]


def is_well(world: Any, node: Any) -> None:
    """Assert that no thread has died, and that no image ended in an exception."""
    assert node.spinner.thread.is_alive()
    assert 'loc2_worker' in [t.name for t in threading.enumerate() if t.is_alive()]
    assert 'rejected.model_error' not in node.stats.values()


def recovers(world: Any, node: Any, count: int = 3) -> None:
    """Send what a sound vehicle sends until there are poses, and assert that they are right."""
    before = len(world.got['pose'])

    def more() -> bool:
        world.tf_static()
        world.info()
        world.frame(world.now())
        return len(world.got['pose']) >= before + count
    world.until(more, f'{count} poses after the faults', 20.0)
    for pose in world.got['pose'][before:]:
        assert error_m(pose, EXPECTED) < 1e-3
