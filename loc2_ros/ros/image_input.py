# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The image subscription, whose reliability follows the publisher.

Neither fixed choice is right: a best-effort subscription loses most large images of a reliable
publisher, and a reliable one receives nothing from a best-effort publisher.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

_POLICIES = {'reliable': ReliabilityPolicy.RELIABLE, 'best_effort': ReliabilityPolicy.BEST_EFFORT}


class ImageInput:
    """Subscribes to raw or compressed images of any reliability."""

    def __init__(self, node: Node, settings: Mapping[str, Any],
                 callback: Callable[[Any], None]) -> None:
        """Subscribe; with ``auto``, reliable until the publishers say otherwise."""
        self._node, self._callback = node, callback
        compressed = settings['image_transport'] == 'compressed'
        self._type = CompressedImage if compressed else Image
        self.topic = settings['image_topic'] + ('/compressed' if compressed else '')
        self._auto = settings['image_reliability'] == 'auto'
        self.reliability = 'reliable' if self._auto else settings['image_reliability']
        self._subscription = self._subscribe()

    def follow(self) -> None:
        """Subscribe anew if all publishers are of the other kind; call it about once a second."""
        publishers = self._node.get_publishers_info_by_topic(self._subscription.topic_name)
        if not self._auto or not publishers:
            return
        kinds = {info.qos_profile.reliability for info in publishers}
        wanted = 'best_effort' if kinds == {ReliabilityPolicy.BEST_EFFORT} else 'reliable'
        if wanted != self.reliability:
            self._node.get_logger().info(f'{self.topic}: subscribing {wanted}, as it is published')
            self._node.destroy_subscription(self._subscription)
            self.reliability = wanted
            self._subscription = self._subscribe()

    def close(self) -> None:
        """Stop listening."""
        self._node.destroy_subscription(self._subscription)

    def _subscribe(self) -> Any:
        qos = QoSProfile(depth=1, durability=DurabilityPolicy.VOLATILE,
                         reliability=_POLICIES[self.reliability])
        return self._node.create_subscription(self._type, self.topic, self._callback, qos)


def encoding_of(msg: Any) -> str:
    """Return what a raw or compressed image says about its format."""
    return str(msg.format if isinstance(msg, CompressedImage) else msg.encoding)
