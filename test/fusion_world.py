# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A vehicle whose wheels, gyro and localizer feed the filters of config/ekf.yaml."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
import math
from typing import Any

from loc2_ros.core.values import Array, Fix, Pose2
from loc2_ros.data import drive_messages as build
from loc2_ros.data.bag_writer import make, make_header
from loc2_ros.ros.convert import fix_to_pose
import numpy as np
from replica_ekf import parameters, ReplicaEkf

S = 1_000_000_000
T = 1000 * S
TICK_NS = S // 50               # frequency of the filters
WHEEL_SIGMA, GYRO_SIGMA = 0.1, 0.01     # m/s as kitti_adapter's stddev.velocity, rad/s
BASE_T = {'imu_link': build.kitti_base_T_imu()}
Event = tuple[int, str, Any]    # when it arrives, topic, message


@dataclass(frozen=True)
class Sensors:
    """How wrong wheels and gyro are."""

    scale: float = 1.0
    gyro_bias: float = 0.0      # rad/s
    wheel_hz: int = 25

    def events(self, pose_at: Callable[[int], Pose2], begin_ns: int,
               end_ns: int) -> Iterable[Event]:
        """Yield twist and imu messages of a drive; the wheels know no sideslip."""
        each = 50 // self.wheel_hz
        for k, ns in enumerate(range(begin_ns, end_ns, TICK_NS)):
            moved = pose_at(ns - TICK_NS // 2).inverse() @ pose_at(ns + TICK_NS // 2)
            seconds = TICK_NS * 1e-9
            rate = moved.yaw_rad / seconds
            yield ns, 'imu', build.imu_of(ns, np.eye(3), 1.0, np.array(
                [0.0, 0.0, rate + self.gyro_bias]), np.zeros(3))
            if k % each == 0:
                yield ns, 'twist', twist(ns, self.scale * moved.x_m / seconds)


def twist(ns: int, speed_mps: float, frame: str = 'base_link') -> Any:
    """Return what wheels say."""
    covariance = np.diag([WHEEL_SIGMA ** 2] * 3 + [GYRO_SIGMA ** 2] * 3).ravel()
    velocity = make('geometry_msgs/msg/Twist',
                    linear=make('geometry_msgs/msg/Vector3', x=speed_mps, y=0.0, z=0.0),
                    angular=make('geometry_msgs/msg/Vector3', x=0.0, y=0.0, z=0.0))
    return make('geometry_msgs/msg/TwistWithCovarianceStamped', header=make_header(ns, frame),
                twist=make('geometry_msgs/msg/TwistWithCovariance', twist=velocity,
                           covariance=covariance))


def fix(ns: int, pose: Pose2, sigma_m: float = 0.5, sigma_rad: float = 0.02) -> Any:
    """Return what the node publishes for a fix."""
    covariance = np.diag([sigma_m ** 2, sigma_m ** 2, sigma_rad ** 2])
    return fix_to_pose(Fix(ns, pose, covariance, 0.9, 1.0, 100, 80, 0.0), 'map')


@dataclass
class Track:
    """What a filter said, tick by tick, and how far off it was."""

    ns: list[int] = field(default_factory=list)
    error: list[Array] = field(default_factory=list)    # along, across, yaw: m, m, rad
    sigma_m: list[float] = field(default_factory=list)

    def add(self, ekf: ReplicaEkf, truth: Pose2) -> None:
        """Take note of the state of a filter."""
        off = truth.inverse() @ ekf.pose
        self.ns.append(ekf.ns)
        self.error.append(np.array([off.x_m, off.y_m, off.yaw_rad]))
        self.sigma_m.append(math.sqrt(max(ekf.P[0, 0], ekf.P[1, 1])))

    def bias(self, last_s: float) -> Array:
        """Return the mean error along, across and in yaw of the last seconds."""
        late = np.array(self.ns) > self.ns[-1] - last_s * S
        return np.asarray(np.mean(np.array(self.error)[late], axis=0))

    def distance_m(self, from_ns: int = 0, to_ns: int = 2 ** 62) -> Array:
        """Return how far off the position was at each tick."""
        ns = np.array(self.ns)
        chosen = (ns >= from_ns) & (ns < to_ns)
        return np.asarray(np.linalg.norm(np.array(self.error)[chosen, :2], axis=1))


def follow(ekf: ReplicaEkf, events: Iterable[Event], pose_at: Callable[[int], Pose2],
           begin_ns: int, end_ns: int) -> Track:
    """Let a filter run over events in the order of their arrival."""
    waiting = sorted(events, key=lambda event: event[0])
    track, k = Track(), 0
    for now in range(begin_ns, end_ns, TICK_NS):
        while k < len(waiting) and waiting[k][0] <= now:
            ekf.receive(*waiting[k][1:])
            k += 1
        if ekf.update(now):
            track.add(ekf, pose_at(ekf.ns))
    return track


def ekf_map(**changes: Any) -> ReplicaEkf:
    """Return the filter of the map as shipped, or changed."""
    return ReplicaEkf(parameters('ekf_map', **changes), BASE_T)


def ekf_odom() -> ReplicaEkf:
    """Return the filter of the odometry as shipped."""
    return ReplicaEkf(parameters('ekf_odom'), BASE_T)
