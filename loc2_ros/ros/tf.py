# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Transforms: looked up at the stamp that is asked for, sent once per stamp, never made up.

``lookup_transform`` with a timeout polls in wall time and blocks its caller, while the answer
arrives through the executor: only the worker may wait.
"""

from __future__ import annotations

from collections import Counter
import threading
import time
from typing import Any, Mapping

from geometry_msgs.msg import TransformStamped
from loc2_ros.core.camera import Mount, mount_from_matrix
from loc2_ros.core.values import Array, Pose2, Reason, Rejection
from loc2_ros.data.messages import matrix_from_transform, stamp_ns
from loc2_ros.data.pose_messages import planar
from loc2_ros.data.tf_tree import matrix_from_pose6
from loc2_ros.ros.convert import stamp_to_msg, transform_to_msg
import numpy as np
from rclpy.clock import ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.time import Time
import tf2_ros

_POLL_S = 0.02
_STATIC_PATIENCE_S = 1.0     # for somebody else's static transform, from the first image on
_SPOKEN_S = 0.1             # the same, once the camera has been placed on its child frame
_CACHE_NS = 10 * 10 ** 9    # tf2's: what is older than the newest by more is refused there
_BACK = 5                   # refused in a row: it is not they that are late, time has gone back


class MissingTransform(LookupError):
    """TF does not connect two frames at a stamp; the sentence names all three."""


class Transforms(tf2_ros.Buffer):
    """
    A buffer that notices by the stamps of a frame that time has gone back, and starts anew.

    A transform from before a jump of the clock can arrive after it. It would hide all that
    follow, because tf2 measures age by the newest of a frame.
    """

    def __init__(self, node: Node) -> None:
        """Start empty; with the node, so that a backward jump of its clock clears the buffer."""
        self._newest_ns: dict[str, int] = {}
        self._behind: Counter[str] = Counter()
        super().__init__(cache_time=Duration(nanoseconds=_CACHE_NS), node=node)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Insert a transform that is true at its stamp."""
        child, stamp = transform.child_frame_id, stamp_ns(transform.header.stamp)
        if stamp >= self._newest_ns.get(child, stamp) - _CACHE_NS:
            self._newest_ns[child] = max(stamp, self._newest_ns.get(child, stamp))
            del self._behind[child]
        else:
            self._behind[child] += 1
            if self._behind[child] >= _BACK:
                self.clear()
                self._newest_ns[child] = stamp
        super().set_transform(transform, authority)

    def clear(self) -> None:
        """Forget all that changes with time."""
        self._newest_ns.clear()
        self._behind.clear()
        super().clear()


class Frames:
    """The transforms of one node: listener, broadcasters and what is known to be missing."""

    def __init__(self, node: Node, settings: Mapping[str, Any],
                 buffer: Transforms) -> None:
        """
        Start listening.

        :param settings: the parameter values of the node.
        :param buffer: one per node: tf2's buffer offers a service in the node's name.
        """
        self._node, self._settings, self.buffer = node, settings, buffer
        self._listener = tf2_ros.TransformListener(self.buffer, node)
        self._static = tf2_ros.StaticTransformBroadcaster(node)
        self._static_pending = bool(settings['static_tf.child_frame'])

    def clear(self) -> None:
        """Forget all that changes with time."""
        self.buffer.clear()

    def close(self) -> None:
        """Stop listening and sending; forget what will be outdated when it starts again."""
        self._listener.unregister()
        self._node.destroy_publisher(self._static.pub_tf)
        self.buffer.clear()

    def matrix(self, parent: str, child: str, stamp_ns: int, timeout_s: float = 0.0) -> Array:
        """
        Return ``parent_T_child`` at a stamp, (4, 4).

        :param timeout_s: how long to wait; only the worker may.
        :raises MissingTransform: not known in time, or not a transform.
        """
        try:
            found = self.buffer.lookup_transform(
                parent, child, Time(nanoseconds=stamp_ns, clock_type=ClockType.ROS_TIME),
                timeout=Duration(nanoseconds=int(timeout_s * 1e9)))
            return matrix_from_transform(found.transform)
        except (tf2_ros.TransformException, ValueError) as error:
            raise MissingTransform(
                f'no transform {parent} -> {child} at {stamp_ns / 1e9:.6f} s: '
                f'{error}') from error

    def mount(self, camera_frame: str, stamp_ns: int) -> Mount | Rejection:
        """Return how the camera sits on the vehicle at a stamp; waits as the worker may."""
        base = self._settings['base_frame']
        if not camera_frame:
            return Rejection(stamp_ns, Reason.NO_TF, detail='the image header names no frame; '
                                                            'set camera_frame')
        try:
            return mount_from_matrix(self.matrix(base, camera_frame, stamp_ns,
                                                 self._settings['tf.lookup_timeout']))
        except (MissingTransform, ValueError) as error:
            return Rejection(stamp_ns, Reason.NO_TF, detail=str(error))

    def mounting(self, frame_id: str, stamp_ns: int = 0) -> Array | None:
        """Return ``base_T_frame`` (4, 4) of a sensor at once, None where TF does not know it."""
        try:
            return self.matrix(self._settings['base_frame'], frame_id, stamp_ns)
        except MissingTransform:
            return None

    def odometry(self, stamp_ns: int) -> Pose2 | None:
        """Return the planar ``odom_T_base`` at a stamp at once, None where it is not known."""
        return self._odometry(stamp_ns, 0.0)

    def await_odometry(self, stamp_ns: int) -> None:
        """Wait for the odometry of an image, if there is any; only the worker may."""
        odom, base = self._settings['odom_frame'], self._settings['base_frame']
        if odom and self.buffer.can_transform(odom, base, Time()):
            self._odometry(stamp_ns, self._settings['tf.lookup_timeout'])

    def _odometry(self, stamp_ns: int, timeout_s: float) -> Pose2 | None:
        try:
            return planar(self.matrix(self._settings['odom_frame'], self._settings['base_frame'],
                                      stamp_ns, timeout_s))
        except MissingTransform:
            return None

    def ensure_static(self, camera_frame: str) -> None:
        """
        Send the configured static transform if nobody has sent one; the worker calls this.

        :param camera_frame: whoever has placed the camera had the chance to place the rest.
        """
        if not self._static_pending:
            return
        self._static_pending = False
        parent, child = self._settings['base_frame'], self._settings['static_tf.child_frame']
        now = time.monotonic()
        patience, placed = now + _STATIC_PATIENCE_S, None
        while now < patience and (placed is None or now < placed + _SPOKEN_S):
            if self.buffer.can_transform(parent, child, Time()):
                self._node.get_logger().info(f'{parent} -> {child} is known; static_tf not sent')
                return
            if placed is None and camera_frame and self.buffer.can_transform(
                    child, camera_frame, Time()):
                placed = now
            time.sleep(_POLL_S)
            now = time.monotonic()
        message = TransformStamped()
        message.header.frame_id, message.child_frame_id = parent, child
        message.transform = transform_to_msg(matrix_from_pose6(self._settings['static_tf.pose']))
        self.buffer.set_transform_static(message, self._node.get_name())
        self._static.sendTransform(message)
        self._node.get_logger().info(f'nobody sends {parent} -> {child}; sending static_tf')


class MapSender:
    """
    Sends map -> odom at a rate, or map -> base_link once per fix where there is no odometry.

    A fix gives ``map_T_odom = map_T_base @ inverse(odom_T_base)`` at its own stamp; the product
    is sent again with newer stamps until it is too old.
    """

    def __init__(self, node: Node, settings: Mapping[str, Any], frames: Frames) -> None:
        """Start the timer that repeats map -> odom."""
        self._node, self._settings, self._frames = node, settings, frames
        self._broadcaster = tf2_ros.TransformBroadcaster(node)
        self._lock = threading.Lock()
        self._map_T_odom: Array | None = None
        self._fix_ns = 0
        self._sent_ns = 0
        self.missing_odometry = 0
        self.error = ''
        self.too_old = False
        self._timer = (node.create_timer(1.0 / settings['tf.rate'], self.repeat)
                       if settings['odom_frame'] else None)

    def on_fix(self, stamp_ns: int, map_T_base: Pose2) -> None:
        """Take a new fix; the worker calls this, so it may wait for odometry."""
        if not self._settings['publish_tf']:
            return
        odom, base = self._settings['odom_frame'], self._settings['base_frame']
        if not odom:
            with self._lock:
                self._send(base, planar_to_matrix(map_T_base), stamp_ns)
            return
        try:
            odom_T_base = self._frames.matrix(odom, base, stamp_ns,
                                              self._settings['tf.lookup_timeout'])
        except MissingTransform as error:
            # The last map -> odom stays: better an old correction than a made-up one
            self.missing_odometry += 1
            self.error = str(error)
            return
        with self._lock:
            self._map_T_odom = planar_to_matrix(map_T_base) @ np.linalg.inv(odom_T_base)
            self._fix_ns, self.error = stamp_ns, ''

    def repeat(self) -> None:
        """Send map -> odom with a stamp slightly ahead of now, unless the last fix is too old."""
        with self._lock:
            if self._map_T_odom is None or not self._settings['publish_tf']:
                return
            now_ns = self._node.get_clock().now().nanoseconds
            self.too_old = now_ns - self._fix_ns > self._settings['tf.max_age'] * 1e9
            if not self.too_old:
                ahead_ns = int(self._settings['tf.tolerance'] * 1e9)
                self._send(self._settings['odom_frame'], self._map_T_odom, now_ns + ahead_ns)

    def clear(self) -> None:
        """Forget the last fix and the last stamp, after time has jumped."""
        with self._lock:
            self._map_T_odom, self._fix_ns, self._sent_ns = None, 0, 0
            self.too_old, self.error = False, ''

    def forget(self) -> None:
        """Drop the last correction, which was for odometry before its reset."""
        with self._lock:
            self._map_T_odom = None

    def close(self) -> None:
        """Stop sending."""
        if self._timer is not None:
            self._node.destroy_timer(self._timer)
        self._node.destroy_publisher(self._broadcaster.pub_tf)

    def _send(self, child: str, matrix: Array, stamp_ns: int) -> None:
        if stamp_ns <= self._sent_ns:       # never one stamp twice, never backwards
            return
        self._sent_ns = stamp_ns
        message = TransformStamped()
        message.header.stamp = stamp_to_msg(stamp_ns)
        message.header.frame_id, message.child_frame_id = self._settings['map_frame'], child
        message.transform = transform_to_msg(matrix)
        self._broadcaster.sendTransform(message)


def planar_to_matrix(pose: Pose2) -> Array:
    """Return a planar pose as (4, 4), height 0."""
    c, s = np.cos(pose.yaw_rad), np.sin(pose.yaw_rad)
    matrix = np.eye(4)
    matrix[:2, :2] = [[c, -s], [s, c]]
    matrix[:2, 3] = pose.xy_m
    return matrix
