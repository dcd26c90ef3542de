# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Static transforms of recordings that forgot to latch them, or the first of them."""

from __future__ import annotations

from collections.abc import Mapping
import time
from typing import Any

from geometry_msgs.msg import TransformStamped
from loc2_ros.data.tf_tree import matrix_from_pose6
from loc2_ros.ros.convert import transform_to_msg
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from tf2_msgs.msg import TFMessage
import tf2_ros

_POLL_S = 0.1
# kitti2bag sends a message per frame; one that listens only to what comes hears all publishers,
# while tf2 listens to those that latch (rosbag2 issue 1049)
_LIVE = QoSProfile(depth=100, durability=DurabilityPolicy.VOLATILE)


class StaticRelay:
    """Latches what others send on /tf_static without latching it, and places the IMU."""

    def __init__(self, node: Node, settings: Mapping[str, Any]) -> None:
        """
        Listen.

        :param settings: base_frame, imu_frame, imu_pose and static_patience count.
        """
        self._node, self._settings = node, settings
        self._buffer = tf2_ros.Buffer(node=node)
        self._listener = tf2_ros.TransformListener(self._buffer, node)
        self._broadcaster = tf2_ros.StaticTransformBroadcaster(node)
        self._sent: dict[str, TransformStamped] = {}
        self._heard_at: float | None = None
        self._live = node.create_subscription(TFMessage, '/tf_static', self._on_static, _LIVE)
        # Wall time: a recording that has not begun has none
        self._timer = node.create_timer(_POLL_S, self._place_imu,
                                        clock=Clock(clock_type=ClockType.STEADY_TIME))

    def hear(self) -> None:
        """Begin to wait for somebody who places the IMU: its messages have come."""
        if self._heard_at is None:
            self._heard_at = time.monotonic()

    def _on_static(self, message: TFMessage) -> None:
        """Latch what is new of a publisher that does not."""
        publishers = self._node.get_publishers_info_by_topic(self._live.topic_name)
        if all(p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers):
            return
        new = [t for t in message.transforms if self._is_news(t)]
        if new:
            self._send(new)

    def _is_news(self, transform: TransformStamped) -> bool:
        """Tell whether a transform is not what was sent last, its own echo among them."""
        sent = self._sent.get(transform.child_frame_id)
        return sent is None or (
            sent.header.frame_id, sent.transform) != (
            transform.header.frame_id, transform.transform)

    def _place_imu(self) -> None:
        """Say where the IMU sits if nobody has said so in time."""
        base, imu = self._settings['base_frame'], self._settings['imu_frame']
        if self._heard_at is None:
            return
        if self._buffer.can_transform(base, imu, Time()):
            self._timer.cancel()
            return
        if time.monotonic() - self._heard_at < self._settings['static_patience']:
            return
        self._timer.cancel()
        transform = TransformStamped(child_frame_id=imu)
        transform.header.frame_id = base
        transform.transform = transform_to_msg(matrix_from_pose6(self._settings['imu_pose']))
        self._send([transform])
        self._node.get_logger().info(f'nobody sends {base} -> {imu}; sending imu_pose')

    def _send(self, transforms: list[TransformStamped]) -> None:
        for transform in transforms:
            self._sent[transform.child_frame_id] = transform
            self._buffer.set_transform_static(transform, self._node.get_name())
        self._broadcaster.sendTransform(transforms)
