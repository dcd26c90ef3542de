# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Between a recording of kitti2bag that is played and the filters that are to believe it.

It publishes ``/kitti/fix``, ``/kitti/imu`` and ``/kitti/twist``: covariances filled where they
are zero, frames named, velocities with a covariance. It latches static transforms that the player
does not, places the IMU if nobody does, and resets the filters when time goes back. What is good
already is passed on as it is, so that one set-up serves all recordings.
"""

from __future__ import annotations

import signal
from typing import Any, Callable

from geometry_msgs.msg import TwistStamped, TwistWithCovarianceStamped
from loc2_ros.data.kitti_repair import diagonal, repair_fix, repair_frame, repair_imu
from loc2_ros.data.messages import stamp_ns
from loc2_ros.data.topics import ADAPTED
from loc2_ros.ros.declare import declare
from loc2_ros.ros.kitti_adapter_params import PARAMS, sigmas_of
from loc2_ros.ros.param import ParameterError
from loc2_ros.ros.static_relay import StaticRelay
import rclpy
from rclpy.clock import JumpThreshold
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import Imu, NavSatFix
from std_srvs.srv import Empty

_FIX, _IMU, _TWIST = ADAPTED
_INPUT = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)    # takes what there is
_BACK_S = 1.0       # further back than messages overtake each other


class KittiAdapter(Node):
    """Repairs what is played, message by message; see the module."""

    def __init__(self, **node: Any) -> None:
        """
        Declare, subscribe, and begin.

        :raises ParameterError: a parameter given at start cannot be used.
        """
        super().__init__('kitti_adapter', **node)
        self.settings = declare(self, PARAMS)
        self._sigmas = sigmas_of(self.settings)
        self._last_ns: dict[str, int] = {}
        self._told: set[str] = set()
        self._static = StaticRelay(self, self.settings)
        self._resets = [self.create_client(Empty, self.settings[name])
                        for name in ('reset_odom', 'reset_map') if self.settings[name]]
        self._relay(NavSatFix, 'fix_topic', NavSatFix, _FIX, self._fix)
        self._relay(Imu, 'imu_topic', Imu, _IMU, self._imu)
        self._relay(TwistStamped, 'velocity_topic', TwistWithCovarianceStamped, _TWIST,
                    self._twist)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1),
                          on_clock_change=False),
            post_callback=lambda jump: self.restart('time'))

    def close(self) -> None:
        """Let go of the clock."""
        self._jumps.unregister()

    def restart(self, what: str) -> None:
        """Reset the filters: they would take everything of another lap for too old."""
        self._last_ns.clear()
        self.get_logger().warning(f'{what} went backwards: filters are reset')
        for client in self._resets:
            if not client.service_is_ready():
                self.get_logger().info(f'nobody offers {client.srv_name}')
                continue
            client.call_async(Empty.Request())

    def _relay(self, kind: Any, parameter: str, made: Any, name: str,
               adapt: Callable[[Any], tuple[Any, bool]]) -> None:
        """Publish what a function makes of each message of a topic."""
        topic, publisher = self.settings[parameter], self.create_publisher(made, name, 50)
        if not topic:
            return
        self.create_subscription(
            kind, topic, lambda message: self._on_message(topic, message, adapt, publisher),
            _INPUT)

    def _on_message(self, topic: str, message: Any, adapt: Callable[[Any], tuple[Any, bool]],
                    publisher: Publisher) -> None:
        stamp = stamp_ns(message.header.stamp)
        if 0 < stamp < self._last_ns.get(topic, 0) - _BACK_S * 1e9:
            self.restart(f'a stamp on {topic}')     # where nobody plays /clock
        self._last_ns[topic] = stamp
        self._static.hear()
        made, repaired = adapt(message)
        if repaired and topic not in self._told:
            self._told.add(topic)
            self.get_logger().info(f'{topic} needs repair, see {publisher.topic_name}')
        publisher.publish(made)

    def _fix(self, message: NavSatFix) -> tuple[NavSatFix, bool]:
        return message, self._framed(message) | repair_fix(message, self._sigmas)

    def _imu(self, message: Imu) -> tuple[Imu, bool]:
        return message, self._framed(message) | repair_imu(message, self._sigmas)

    def _twist(self, message: TwistStamped) -> tuple[TwistWithCovarianceStamped, bool]:
        repaired = self._framed(message)
        made = TwistWithCovarianceStamped(header=message.header)
        made.twist.twist = message.twist
        made.twist.covariance = diagonal(*[self.settings['stddev.velocity'] ** 2] * 3,
                                         *[self.settings['stddev.rate'] ** 2] * 3)
        return made, repaired

    def _framed(self, message: Any) -> bool:
        return repair_frame(message, self.settings['imu_frame'])


def main(args: list[str] | None = None) -> int:
    """Run the adapter until it is told to stop; return the exit code."""
    rclpy.init(args=args)
    try:
        node = KittiAdapter()
    except (ParameterError, ParameterException) as error:
        rclpy.logging.get_logger('kitti_adapter').fatal(str(error))
        rclpy.try_shutdown()
        return 1
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        # Ctrl-C under ros2 launch comes twice; the second must not tear the release apart
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        node.close()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
