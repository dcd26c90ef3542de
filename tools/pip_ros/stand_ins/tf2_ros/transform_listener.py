# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Fill a buffer from /tf and /tf_static."""

from __future__ import annotations

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage
from tf2_ros.buffer import Buffer


class TransformListener:
    """Subscribe a buffer to the transforms of a node's graph; the node must be spun."""

    def __init__(self, buffer: Buffer, node: Node) -> None:
        self.buffer = buffer
        self.node = node
        # Of their own, so that a callback that waits for a transform can be served
        self.group = ReentrantCallbackGroup()
        self.tf_sub = node.create_subscription(
            TFMessage, '/tf', self.callback, QoSProfile(depth=100), callback_group=self.group)
        self.tf_static_sub = node.create_subscription(
            TFMessage, '/tf_static', self.static_callback,
            QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL),
            callback_group=self.group)

    def callback(self, message: TFMessage) -> None:
        """Take the transforms of a /tf message."""
        for transform in message.transforms:
            self.buffer.set_transform(transform, 'default_authority')

    def static_callback(self, message: TFMessage) -> None:
        """Take the transforms of a /tf_static message."""
        for transform in message.transforms:
            self.buffer.set_transform_static(transform, 'default_authority')

    def unregister(self) -> None:
        """Stop listening."""
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)
