# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the node publishes: the pose, the same as NavSatFix, the datum, diagnostics."""

from __future__ import annotations

import threading
from typing import Any, Mapping

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Fix
from loc2_ros.ros.convert import (
    datum_to_msg, datum_to_navsat, diagnostics_to_msg, fix_to_navsat, fix_to_pose)
from loc2_ros.ros.diagnostics import evaluate
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import NavSatFix


class Output:
    """The publishers of an active node."""

    def __init__(self, node: Node, settings: Mapping[str, Any]) -> None:
        """Create the publishers; ``local_xy_origin`` only once there is a datum to tell."""
        self._node, self._settings = node, settings
        overrides = QoSOverridingOptions.with_default_policies
        self._pose = node.create_publisher(
            PoseWithCovarianceStamped, '~/pose', QoSProfile(depth=10),
            qos_overriding_options=overrides())
        self._navsat = node.create_publisher(
            NavSatFix, '~/fix', QoSProfile(depth=10), qos_overriding_options=overrides())
        self._latched: list[Any] = []

    def fix(self, fix: Fix, frame: LocalFrame) -> None:
        """Publish a fix, once, with the image's stamp."""
        self._pose.publish(fix_to_pose(fix, self._settings['map_frame']))
        self._navsat.publish(fix_to_navsat(fix, frame, self._settings['base_frame']))

    def datum(self, frame: LocalFrame, ours: bool) -> None:
        """
        Publish the datum, latched: as local_xy_origin for Mapviz, as a fix for maps in RViz.

        :param ours: nobody else has sent the local_xy_origin.
        """
        map_frame = self._settings['map_frame']
        now_ns = int(self._node.get_clock().now().nanoseconds)
        if ours:
            self._latch(PoseStamped, 'local_xy_origin', datum_to_msg(frame, map_frame, now_ns))
        self._latch(NavSatFix, '~/datum', datum_to_navsat(frame, map_frame, now_ns))

    def _latch(self, kind: Any, topic: str, message: Any) -> None:
        publisher = self._node.create_publisher(
            kind, topic, QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL))
        publisher.publish(message)
        self._latched.append(publisher)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._pose, self._navsat, *self._latched):
            self._node.destroy_publisher(publisher)


class Diagnostics:
    """Publishes the statuses at a period, and at once when a level changes."""

    def __init__(self, node: Node, values: Any) -> None:
        """Remember where the values come from: a function without arguments."""
        self._node, self._values = node, values
        self._lock = threading.Lock()
        self._levels: list[int] = []
        self._publisher = node.create_publisher(DiagnosticArray, '/diagnostics', 10)

    def publish(self) -> None:
        """Publish now."""
        self._publish(only_changes=False)

    def publish_changes(self) -> None:
        """Publish if a level has changed since the last message."""
        self._publish(only_changes=True)

    def _publish(self, only_changes: bool) -> None:
        with self._lock:
            values = self._values()
            # With its namespace: several nodes share the topic
            name = self._node.get_fully_qualified_name().lstrip('/')
            statuses = evaluate(values, name)
            levels = [status.level for status in statuses]
            if only_changes and levels == self._levels:
                return
            self._levels = levels
            now_ns = self._node.get_clock().now().nanoseconds
            hardware = str(values.get('device') or '')
            self._publisher.publish(diagnostics_to_msg(statuses, now_ns, hardware))
