# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The debug topics: each message is built only while somebody listens to it.

The worker builds them after the pose was published. They cost the next image its time: a picture
takes a good part of a second.
"""

from __future__ import annotations

from dataclasses import dataclass
import threading
import traceback
from typing import Any, Callable, Mapping

from geometry_msgs.msg import PoseWithCovarianceStamped
from loc2_ros.core.values import Evidence
from loc2_ros.ros.convert import prior_to_pose
from loc2_ros.ros.debug_messages import aerial_marker, lifted_points, png_to_image, rgb_to_image
from loc2_ros.ros.frame_path import Outcome
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import Image, PointCloud2
from visualization_msgs.msg import Marker

# Matplotlib's style is global, and nodes in one process have a worker each
_drawing = threading.Lock()


@dataclass(frozen=True)
class Scene:
    """
    One image with its answer, as the builders of messages take it.

    :param attribution: whose imagery the map is.
    """

    outcome: Outcome
    map_frame: str
    attribution: str = ''

    @property
    def evidence(self) -> Evidence | None:
        """Return what the solver saw, None where the image did not get so far."""
        return self.outcome.result.evidence

    @property
    def stamp_ns(self) -> int:
        """Return the stamp of the image."""
        return self.outcome.result.stamp_ns


def _prior(scene: Scene) -> PoseWithCovarianceStamped | None:
    prior = scene.outcome.prior
    return None if prior is None else prior_to_pose(prior, scene.map_frame)


def _matches(scene: Scene) -> Image | None:
    def draw(frame: Any, seen: Evidence) -> bytes:
        from loc2_ros.evaluate.frame_pictures import matches
        from loc2_ros.evaluate.visualize import describe
        return matches(frame, seen, describe(frame))
    return _picture(scene, draw, scene.outcome.camera_frame)


def _overlay(scene: Scene) -> Image | None:
    def draw(frame: Any, seen: Evidence) -> bytes:
        from loc2_ros.evaluate.frame_pictures import overlay
        return overlay(frame, seen)
    return _picture(scene, draw, scene.map_frame)


def _picture(scene: Scene, draw: Callable[[Any, Evidence], bytes], frame_id: str) -> Image | None:
    """Return what `loc2 visualize` would draw of an image."""
    from loc2_ros.evaluate.frame_pictures import Frame
    seen, outcome = scene.evidence, scene.outcome
    if seen is None or outcome.image is None or outcome.prior is None:
        return None
    frame = Frame(outcome.image, outcome.prior, outcome.result, None, scene.attribution)
    with _drawing:
        png = draw(frame, seen)
    return png_to_image(png, scene.stamp_ns, frame_id)


def _aerial(scene: Scene) -> Image | None:
    seen = scene.evidence
    return None if seen is None else rgb_to_image(seen.crop_rgb, scene.stamp_ns, scene.map_frame)


def _points(scene: Scene) -> PointCloud2 | None:
    seen = scene.evidence
    return None if seen is None else lifted_points(seen, scene.stamp_ns, scene.map_frame)


def _marker(scene: Scene) -> Marker | None:
    seen = scene.evidence
    return None if seen is None else aerial_marker(seen, scene.stamp_ns, scene.map_frame)


@dataclass(frozen=True)
class Topic:
    """
    A debug topic.

    :param build: returns None where there is nothing to show.
    :param reliable: for what RViz subscribes reliably unless told otherwise.
    """

    kind: type
    build: Callable[[Scene], Any]
    reliable: bool = False


TOPICS: Mapping[str, Topic] = {
    'prior': Topic(PoseWithCovarianceStamped, _prior),
    'points': Topic(PointCloud2, _points),
    'aerial': Topic(Image, _aerial),
    'aerial_marker': Topic(Marker, _marker, reliable=True),
    'matches': Topic(Image, _matches),
    'overlay': Topic(Image, _overlay),
}


class Debug:
    """The debug publishers of an active node."""

    def __init__(self, node: Node, settings: Mapping[str, Any],
                 localizer: Callable[[], Any]) -> None:
        """Create the publishers; ``localizer`` tells whose imagery it is."""
        self._node, self._settings, self._localizer = node, settings, localizer
        self._topics = [(topic, node.create_publisher(
            topic.kind, f'~/debug/{name}', QoSProfile(depth=1, reliability=(
                ReliabilityPolicy.RELIABLE if topic.reliable else ReliabilityPolicy.BEST_EFFORT)),
            qos_overriding_options=QoSOverridingOptions.with_default_policies()))
            for name, topic in TOPICS.items()]

    def show(self, outcome: Outcome) -> None:
        """Publish what somebody listens to; a picture that fails costs nothing but itself."""
        if not self._settings['debug.images']:
            return
        wanted = [(t, p) for t, p in self._topics if p.get_subscription_count() > 0]
        if not wanted:
            return
        store = getattr(self._localizer(), 'store', None)
        scene = Scene(outcome, self._settings['map_frame'],
                      '' if store is None else store.info.attribution)
        for topic, publisher in wanted:
            try:
                message = topic.build(scene)
            except Exception:   # noqa: B902 (the pose is out; drawing must not count against it)
                self._node.get_logger().error(
                    f'{publisher.topic_name} cannot be built:\n{traceback.format_exc()}',
                    throttle_duration_sec=10.0)
                continue
            if message is not None and self._node.context.ok():
                publisher.publish(message)

    def close(self) -> None:
        """Destroy the publishers."""
        for _, publisher in self._topics:
            self._node.destroy_publisher(publisher)
