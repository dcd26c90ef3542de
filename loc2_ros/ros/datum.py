# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where the map frame has its origin: parameter, else a latched origin, else the first fix."""

from __future__ import annotations

import time
from typing import Any, Callable, Mapping

from geometry_msgs.msg import PoseStamped
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.utm import frame_as
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.messages import Position
from loc2_ros.ros.convert import datum_from_msg
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile

_PATIENCE_S = 3.0       # for a latched origin that somebody publishes but that has not come yet


def datum_from_settings(settings: Mapping[str, Any]) -> LocalFrame | None:
    """Return the map frame that ``map.datum`` asks for; ValueError if it is no place."""
    given = settings['map.datum']
    return None if given is None else frame_as(settings['map.frame_mode'], LocalFrame(*given))


class DatumChooser:
    """Chooses the datum once; it never moves while the node is configured."""

    def __init__(self, node: Node, frame: LocalFrame | None,
                 chosen: Callable[[LocalFrame, str], None], mode: str = 'enu') -> None:
        """
        Listen for a latched origin, unless the datum is known.

        :param chosen: called once with the frame and its source.
        :param mode: of the frame, see ``map.frame_mode``.
        """
        self._node, self._chosen, self._mode = node, chosen, mode
        self._known = frame is not None
        self._first_fix: float | None = None
        latched = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self._subscription = None if self._known else node.create_subscription(
            PoseStamped, 'local_xy_origin', self._on_origin, latched)

    def on_fix(self, position: Position) -> None:
        """Take the first good fix, unless somebody is about to tell the origin."""
        if self._known:
            return
        now = time.monotonic()
        self._first_fix = self._first_fix or now
        awaited = self._node.count_publishers('local_xy_origin') > 0
        if awaited and now - self._first_fix < _PATIENCE_S:
            return
        self._choose(LocalFrame(position.lat_deg, position.lon_deg, position.height_m),
                     'first fix')

    def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _on_origin(self, msg: PoseStamped) -> None:
        if self._known:
            return
        try:
            self._choose(datum_from_msg(msg), 'local_xy_origin')
        except BadMessage as error:
            self._node.get_logger().warning(str(error), throttle_duration_sec=5.0)

    def _choose(self, place: LocalFrame, source: str) -> None:
        try:
            frame = frame_as(self._mode, place)
        except ValueError as error:     # beyond the reach of UTM
            self._node.get_logger().error(str(error), throttle_duration_sec=5.0)
            return
        self._known = True
        self._node.get_logger().info(
            f'datum from {source}: {frame.lat_deg:.8f}, {frame.lon_deg:.8f}, {frame.height_m:.2f}')
        self._chosen(frame, source)
