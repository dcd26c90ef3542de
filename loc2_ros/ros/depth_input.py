# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Depth from topics, for ``depth.source: image`` (topic depth) and ``lidar`` (topic points)."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.messages import stamp_ns
from loc2_ros.ros.convert import depth_from_msg, points_from_cloud
from loc2_ros.ros.tf import Frames, MissingTransform
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, PointCloud2


class DepthInput:
    """Fills the depth source of the localizer from a topic; does nothing for other sources."""

    def __init__(self, node: Node, settings: Mapping[str, Any], frames: Frames, depth: Any,
                 camera_frame: Callable[[], str], trouble: Callable[[str], None]) -> None:
        """
        Subscribe to what ``depth.source`` asks for.

        :param depth: ``model.depth.DepthImages`` or ``LidarDepth``.
        :param camera_frame: the optical frame; '' until the first image.
        :param trouble: called with a sentence about an unusable message.
        """
        self._node, self._frames, self._depth = node, frames, depth
        self._camera_frame, self._trouble = camera_frame, trouble
        kinds = {'image': (Image, 'depth', self._on_image),
                 'lidar': (PointCloud2, 'points', self._on_cloud)}
        self._subscription: Any = None
        if settings['depth.source'] in kinds:
            kind, topic, callback = kinds[settings['depth.source']]
            self._subscription = node.create_subscription(
                kind, topic, callback, qos_profile_sensor_data,
                qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def clear(self) -> None:
        """Forget what has come, after time has jumped."""
        if hasattr(self._depth, 'clear'):
            self._depth.clear()

    def close(self) -> None:
        """Stop listening."""
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _on_image(self, msg: Image) -> None:
        try:
            self._depth.add(stamp_ns(msg.header.stamp), depth_from_msg(msg))
        except BadMessage as error:
            self._trouble(str(error))

    def _on_cloud(self, msg: PointCloud2) -> None:
        stamp, camera = stamp_ns(msg.header.stamp), self._camera_frame()
        if not camera:
            return
        try:
            points = points_from_cloud(msg)
            camera_T_cloud = self._frames.matrix(camera, msg.header.frame_id, stamp)
            self._depth.add(stamp, points @ camera_T_cloud[:3, :3].T + camera_T_cloud[:3, 3])
        except (BadMessage, MissingTransform) as error:
            self._trouble(str(error))
