# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Depth from topics, for ``depth.source: image`` (depth_topic) and ``lidar`` (points_topic)."""

from __future__ import annotations

from typing import Any, Callable, Mapping

from loc2_ros.core.values import Array
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.depth_intake import DepthIntake, TOPIC_PARAMETERS
from loc2_ros.ros.convert import depth_from_msg
from loc2_ros.ros.tf import Frames
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
        self._node, self._frames = node, frames
        self._camera_frame, self._trouble = camera_frame, trouble
        self._intake = DepthIntake(settings, depth, self._camera_T, depth_from_msg)
        source = settings['depth.source']
        self._subscription: Any = None
        if source in TOPIC_PARAMETERS:
            self._subscription = node.create_subscription(
                Image if source == 'image' else PointCloud2, settings[TOPIC_PARAMETERS[source]],
                lambda msg: self._try(lambda: self._intake.add(msg)), qos_profile_sensor_data,
                qos_overriding_options=QoSOverridingOptions.with_default_policies())

    def place(self) -> None:
        """Place scans that came before the first image named the camera's frame."""
        self._try(self._intake.place)

    def clear(self) -> None:
        """Forget what has come, after time has jumped."""
        self._intake.clear()

    def close(self) -> None:
        """Stop listening; a worker that waits for depth wakes up."""
        self.clear()
        if self._subscription is not None:
            self._node.destroy_subscription(self._subscription)

    def _camera_T(self, frame_id: str, stamp: int) -> Array | None:
        camera = self._camera_frame()
        return self._frames.matrix(camera, frame_id, stamp) if camera else None

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except BadMessage as error:
            self._trouble(str(error))
