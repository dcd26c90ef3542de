# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Send transforms that change over time."""

from __future__ import annotations

from typing import Sequence

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import QoSProfile
from tf2_msgs.msg import TFMessage


class TransformBroadcaster:
    """Publish on /tf."""

    def __init__(self, node: Node, qos: QoSProfile | int = 100) -> None:
        self.pub_tf = node.create_publisher(TFMessage, '/tf', qos)

    def sendTransform(  # noqa: N802 (tf2_ros's name)
            self, transform: TransformStamped | Sequence[TransformStamped]) -> None:
        """Send one transform or several in one message."""
        several = transform if isinstance(transform, Sequence) else [transform]
        self.pub_tf.publish(TFMessage(transforms=list(several)))
