# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What becomes of the answer to an image: published or counted, and said when it changes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Fix, Reason, Rejection
from loc2_ros.ros.output import Output
from loc2_ros.ros.tf import MapSender

if TYPE_CHECKING:
    from loc2_ros.ros.node import Loc2Node


class Results:
    """Publishes fixes, counts rejections, and logs transitions between the two."""

    def __init__(self, node: Loc2Node, output: Output, sender: MapSender) -> None:
        """Keep where results go."""
        self._node, self._output, self._sender = node, output, sender
        self._last_reason: Reason | None = None

    def fix(self, fix: Fix, frame: LocalFrame | None) -> str:
        """Publish a fix and return it as a sentence."""
        if frame is None:
            raise RuntimeError('a fix without a map frame')
        self._output.fix(fix, frame)
        now_ns = int(self._node.get_clock().now().nanoseconds)
        self._node.stats.fixed(fix, (now_ns - fix.stamp_ns) / 1e9)
        self._sender.on_fix(fix.stamp_ns, fix.map_T_base)
        if self._last_reason is not None:
            self._node.get_logger().info('localized again', throttle_duration_sec=2.0)
        self._last_reason = None
        self._node.diagnostics.publish_changes()
        return sentence(fix)

    def reject(self, rejection: Rejection) -> str:
        """Count a rejection and return it as a sentence."""
        self._node.stats.rejected(rejection)
        if rejection.reason != self._last_reason:       # transitions, not repetitions
            self._node.get_logger().warning(f'no fix: {rejection}', throttle_duration_sec=2.0)
        self._last_reason = rejection.reason
        self._node.diagnostics.publish_changes()
        return f'no fix: {rejection}'


def sentence(fix: Fix) -> str:
    """Return a fix for people."""
    pose = fix.map_T_base
    return (f'localized at x {pose.x_m:.2f} m, y {pose.y_m:.2f} m, '
            f'yaw {math.degrees(pose.yaw_rad):.1f} deg; {fix.sigma_xy_m:.2f} m, '
            f'{math.degrees(fix.sigma_yaw_rad):.1f} deg')
