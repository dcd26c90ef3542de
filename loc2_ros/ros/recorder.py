# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Listens to the node while a recording is played, and keeps what is needed to judge it."""

from __future__ import annotations

from collections.abc import Callable
import math
import time

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from loc2_ros.core.values import Pose2
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.messages import rotation_from_quaternion, stamp_ns
from loc2_ros.evaluate.recorded import Heard, HeardPose
from loc2_ros.evaluate.rows import PriorRow
from loc2_ros.ros.convert import datum_from_msg
import numpy as np
from rclpy.executors import Executor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from tf2_msgs.msg import TFMessage

_X_Y_YAW = np.ix_((0, 1, 5), (0, 1, 5))
_NO_HEADING_VARIANCE = math.pi ** 2 - 1e-6      # what the node writes without a heading


class Recorder:
    """Subscriptions to everything the node says; what they hear is in ``heard``."""

    def __init__(self, node: Node, node_name: str = 'loc2', map_frame: str = 'map') -> None:
        """Start listening."""
        self.heard = Heard()
        self._name, self._map_frame = node_name, map_frame
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        hasty = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        for kind, topic, callback, qos in (
                (PoseWithCovarianceStamped, f'{node_name}/pose', self._on_pose, QoSProfile(
                    depth=100)),
                (PoseWithCovarianceStamped, f'{node_name}/debug/prior', self._on_prior, hasty),
                (DiagnosticArray, '/diagnostics', self._on_diagnostics, QoSProfile(depth=100)),
                (PoseStamped, 'local_xy_origin', self._on_origin, latched),
                (TFMessage, '/tf', self._on_tf, QoSProfile(depth=100)),
                (TFMessage, '/tf_static', self._on_tf_static, latched),
                (Clock, '/clock', self._on_clock, hasty)):
            node.create_subscription(kind, topic, callback, qos)

    def spin(self, executor: Executor, idle_s: float,
             stopped: Callable[[], bool] = lambda: False) -> None:
        """
        Listen until /clock has been silent for a while, told to stop, or ROS is shut down.

        :param idle_s: wall seconds without /clock after it has begun.
        """
        context = executor.context
        while context.ok() and not stopped():
            executor.spin_once(timeout_sec=0.1)
            if self.heard.clock and time.monotonic() - self.heard.clock[-1][0] > idle_s:
                return

    def _on_pose(self, msg: PoseWithCovarianceStamped) -> None:
        covariance = np.asarray(msg.pose.covariance, np.float64).reshape(6, 6)[_X_Y_YAW]
        self.heard.poses.append(HeardPose(
            stamp_ns(msg.header.stamp), time.monotonic(), _planar(msg), covariance))

    def _on_prior(self, msg: PoseWithCovarianceStamped) -> None:
        pose = _planar(msg)
        variance = np.asarray(msg.pose.covariance, np.float64).reshape(6, 6).diagonal()
        heading = variance[5] < _NO_HEADING_VARIANCE
        self.heard.priors[stamp_ns(msg.header.stamp)] = PriorRow(
            pose.x_m, pose.y_m, pose.yaw_rad if heading else None, math.sqrt(variance[0]),
            math.sqrt(variance[5]) if heading else None)

    def _on_diagnostics(self, msg: DiagnosticArray) -> None:
        for status in msg.status:
            if status.name.startswith(f'{self._name}: '):
                if status.name.endswith('localization'):        # counts of zero are not sent
                    self.heard.forget_counts()
                self.heard.values.update({pair.key: pair.value for pair in status.values})

    def _on_origin(self, msg: PoseStamped) -> None:
        try:
            self.heard.origins.append(datum_from_msg(msg))
        except BadMessage:
            pass        # the node says so, and nobody uses it

    def _on_tf(self, msg: TFMessage) -> None:
        self._note_edges(msg)
        self.heard.tf_messages += any(
            t.header.frame_id == self._map_frame for t in msg.transforms)

    def _on_tf_static(self, msg: TFMessage) -> None:
        self._note_edges(msg)

    def _note_edges(self, msg: TFMessage) -> None:
        for t in msg.transforms:
            self.heard.tf_parents.setdefault(t.child_frame_id, set()).add(t.header.frame_id)

    def _on_clock(self, msg: Clock) -> None:
        if not self.heard.clock:
            self.heard.counted_before = self.heard.counts()
        self.heard.clock.append((time.monotonic(), stamp_ns(msg.clock)))


def _planar(msg: PoseWithCovarianceStamped) -> Pose2:
    """Return the planar part of a pose message."""
    rotation = rotation_from_quaternion(msg.pose.pose.orientation)
    position = msg.pose.pose.position
    return Pose2(position.x, position.y, math.atan2(rotation[1, 0], rotation[0, 0]))
