# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Everything that priors are made of, as it arrives: fix, imu, odometry, initialpose, datum."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from geometry_msgs.msg import PoseWithCovarianceStamped
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.motion import Odometry
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.messages import stamp_ns
from loc2_ros.data.prior_intake import PriorIntake
from loc2_ros.ros.convert import stamp_to_msg
from loc2_ros.ros.datum import DatumChooser
from loc2_ros.ros.stats import Stats
from loc2_ros.ros.tf import Frames
from nav_msgs.msg import Odometry as OdometryMsg
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Imu, NavSatFix

_BEST_EFFORT, _RELIABLE = ReliabilityPolicy.BEST_EFFORT, ReliabilityPolicy.RELIABLE


class PriorInput:
    """The subscriptions that fill a ``PriorIntake``; their callbacks return at once."""

    def __init__(self, node: Node, settings: Mapping[str, Any], frames: Frames, stats: Stats,
                 trouble: Callable[[str], None]) -> None:
        """
        Make the intake; ``listen`` subscribes.

        :param trouble: called with a sentence about an unusable message.
        """
        self._node, self._settings, self._stats = node, settings, stats
        self._trouble = trouble
        self.intake = PriorIntake(settings, frames.mounting, Odometry(
            frames.odometry if settings['odom_frame'] else None))
        self._fix_status: int | None = None
        self._fix_frame = ''
        self._chooser: DatumChooser | None = None
        self._subscriptions: list[Any] = []

    def listen(self, frame: LocalFrame | None,
               chosen: Callable[[LocalFrame, str], None]) -> None:
        """
        Subscribe.

        :param frame: the map frame, if it is known.
        :param chosen: called once with the map frame and its source, if it is not.
        """
        self._chooser = DatumChooser(self._node, frame, chosen,
                                     self._settings['map.frame_mode'])
        topics = self._settings
        self._subscriptions = [
            self._subscribe(NavSatFix, topics['fix_topic'], self._on_fix, 10),
            self._subscribe(Imu, topics['imu_topic'], self._on_imu, 50),
            self._subscribe(OdometryMsg, topics['odometry_topic'], self._on_odometry, 10),
            self._subscribe(PoseWithCovarianceStamped, 'initialpose', self._on_initialpose, 1,
                            _RELIABLE)]

    def close(self) -> None:
        """Stop listening, and wake a worker that waits for a prior."""
        if self._chooser is not None:
            self._chooser.close()
        for subscription in self._subscriptions:
            self._node.destroy_subscription(subscription)
        self.intake.clear()

    def values(self) -> dict[str, Any]:
        """Return what diagnostics show of it."""
        count, off_m = self.intake.filter_off
        return {'fix_status': self._fix_status, 'fix_frame': self._fix_frame,
                'lever_unknown': self.intake.lever_unknown,
                'sigma_unknown': not self.intake.sigma_known,
                'odometry_resets': self.intake.odometry.resets,
                'filter_off_m': off_m if count >= self._settings['gate.max_consecutive'] else None}

    def _on_fix(self, msg: NavSatFix) -> None:
        self._stats.count('fixes_received')
        self._fix_status, self._fix_frame = int(msg.status.status), msg.header.frame_id
        try:
            position = self.intake.add_fix(msg)
        except BadMessage as error:
            self._trouble(str(error))
            return
        if self._chooser is not None:
            self._chooser.on_fix(position)

    def _on_imu(self, msg: Imu) -> None:
        self._try(lambda: self.intake.add_imu(msg))

    def _on_odometry(self, msg: OdometryMsg) -> None:
        self._stats.count('odometry_received')
        self._try(lambda: self.intake.add_odometry(msg))

    def _on_initialpose(self, msg: PoseWithCovarianceStamped) -> None:
        if stamp_ns(msg.header.stamp) == 0:     # given by hand, and meant for now
            msg.header.stamp = stamp_to_msg(int(self._node.get_clock().now().nanoseconds))
        self._try(lambda: self.intake.add_initialpose(msg))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BadMessage as error:
            self._trouble(str(error))

    def _subscribe(self, kind: Any, topic: str, callback: Callable[[Any], None], depth: int,
                   reliability: ReliabilityPolicy = _BEST_EFFORT) -> Any:
        return self._node.create_subscription(
            kind, topic, callback, QoSProfile(depth=depth, reliability=reliability),
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
