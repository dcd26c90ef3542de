# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Pictures of each image in ROS: matches, overlay, the aerial crop, the lifted points.

Each is built only while somebody subscribes, in a thread of its own: pictures take longer than
poses, and then the newest wins. They are those that ``loc2 visualize`` draws.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping

from geometry_msgs.msg import PoseWithCovarianceStamped
from loc2_ros.core.values import Evidence, Fix, Image, Prior, Rejection
from loc2_ros.data.images import decode_compressed
from loc2_ros.ros.convert import prior_to_pose
from loc2_ros.ros.debug_messages import crop_to_marker, points_to_msg, rgb_to_msg
from loc2_ros.ros.worker import Worker
import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, PointCloud2
from sensor_msgs.msg import Image as ImageMsg
from visualization_msgs.msg import Marker

_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)


class Debug:
    """
    The debug topics of an active node.

    :param attribution: whose imagery it is, at the time of asking.
    """

    def __init__(self, node: Node, settings: Mapping[str, Any],
                 attribution: Callable[[], str]) -> None:
        self._node, self._settings, self._attribution = node, settings, attribution
        self._prior = node.create_publisher(PoseWithCovarianceStamped, '~/debug/prior', _QOS)
        kinds = {'matches': (ImageMsg, self._matches), 'overlay': (ImageMsg, self._overlay),
                 'aerial': (ImageMsg, self._aerial), 'points': (PointCloud2, self._points),
                 'aerial_marker': (Marker, self._marker)}
        self._topics = [(node.create_publisher(kind, f'~/debug/{name}', _QOS), build)
                        for name, (kind, build) in kinds.items()]
        self._worker: Worker[tuple[Image, Prior, Fix | Rejection]] = Worker(
            self._build, 'loc2_debug')
        self._worker.start()

    def show(self, image: Image, prior: Prior, result: Fix | Rejection) -> None:
        """Take an image with what became of it; returns at once."""
        if self._settings['debug.images'] and self._prior.get_subscription_count():
            self._prior.publish(prior_to_pose(prior, self._settings['map_frame']))
        if result.evidence is not None and self._listeners():
            self._worker.offer((image, prior, result))

    def close(self) -> None:
        """Finish the picture at hand and stop."""
        self._worker.stop()
        for publisher in (self._prior, *(publisher for publisher, _ in self._topics)):
            self._node.destroy_publisher(publisher)

    def _listeners(self) -> list[tuple[Any, Callable[..., Any]]]:
        if not self._settings['debug.images']:
            return []
        return [topic for topic in self._topics if topic[0].get_subscription_count()]

    def _build(self, job: tuple[Image, Prior, Fix | Rejection]) -> None:
        for publisher, build in self._listeners():
            if not self._node.context.ok():
                return
            try:
                publisher.publish(build(*job))
            except Exception as error:  # noqa: B902 (a picture must never cost a pose)
                self._node.get_logger().warning(
                    f'{publisher.topic_name}: {type(error).__name__}: {error}',
                    throttle_duration_sec=10.0)

    def _matches(self, image: Image, prior: Prior, result: Fix | Rejection) -> ImageMsg:
        # Here, not above: matplotlib takes a second, and most nodes never draw
        from loc2_ros.evaluate.frame_pictures import Frame, matches
        from loc2_ros.evaluate.visualize import describe
        frame = Frame(image, prior, result, attribution=self._attribution())
        return self._picture(matches(frame, _seen(result), describe(frame)), result)

    def _overlay(self, image: Image, prior: Prior, result: Fix | Rejection) -> ImageMsg:
        from loc2_ros.evaluate.frame_pictures import Frame, overlay
        frame = Frame(image, prior, result, attribution=self._attribution())
        return self._picture(overlay(frame, _seen(result)), result)

    def _picture(self, png: bytes, result: Fix | Rejection) -> ImageMsg:
        rgb = decode_compressed(CompressedImage(format='png', data=png))
        return rgb_to_msg(rgb, result.stamp_ns, self._settings['map_frame'])

    def _aerial(self, image: Image, prior: Prior, result: Fix | Rejection) -> ImageMsg:
        return rgb_to_msg(_seen(result).crop_rgb, result.stamp_ns, self._settings['map_frame'])

    def _points(self, image: Image, prior: Prior, result: Fix | Rejection) -> PointCloud2:
        seen = _seen(result)
        height, width = image.rgb.shape[:2]
        uv = np.rint(seen.ground_uv_px[seen.inlier]).astype(np.int64).clip(
            0, [width - 1, height - 1])
        return points_to_msg(seen.lifted_map_m[seen.inlier], image.rgb[uv[:, 1], uv[:, 0]],
                             seen.weight[seen.inlier], result.stamp_ns,
                             self._settings['map_frame'])

    def _marker(self, image: Image, prior: Prior, result: Fix | Rejection) -> Marker:
        seen = _seen(result)
        return crop_to_marker(seen.crop_rgb, seen.map_T_px, result.stamp_ns,
                              self._settings['map_frame'])


def _seen(result: Fix | Rejection) -> Evidence:
    if result.evidence is None:
        raise ValueError('the image was rejected before the solver')
    return result.evidence
