# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Send transforms that never change."""

from __future__ import annotations

from typing import Sequence

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from tf2_msgs.msg import TFMessage


class StaticTransformBroadcaster:
    """Publish on /tf_static: one latched message that holds every transform sent so far."""

    def __init__(self, node: Node, qos: QoSProfile | None = None) -> None:
        if qos is None:
            qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.pub_tf = node.create_publisher(TFMessage, '/tf_static', qos)
        self._by_child: dict[str, TransformStamped] = {}

    def sendTransform(  # noqa: N802 (tf2_ros's name)
            self, transform: TransformStamped | Sequence[TransformStamped]) -> None:
        """Send one transform or several, beside all that were sent before."""
        several = transform if isinstance(transform, Sequence) else [transform]
        self._by_child.update((one.child_frame_id, one) for one in several)
        self.pub_tf.publish(TFMessage(transforms=list(self._by_child.values())))
