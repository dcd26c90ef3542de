# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What robot_localization's ekf_node does with what it is sent, in a few lines.

There is no wheel of it, so the contract with it is tested on this: frames, stamps, ``two_d_mode``,
the gate, the floor of variances, late measurements, initial values. Written after its behaviour
(ros2 branch, 2024-03); only what config/ekf.yaml uses. Messages as rclpy and rosbags shape them.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any, Mapping

from loc2_ros.core.values import Array, Pose2, wrap_pi
from loc2_ros.data.messages import rotation_from_quaternion, stamp_ns
import numpy as np
import yaml

CONFIG = Path(__file__).resolve().parents[1] / 'config' / 'ekf.yaml'
SIZE = 15
X, Y, Z, ROLL, PITCH, YAW, VX, VY, VZ, VROLL, VPITCH, VYAW, AX, AY, AZ = range(SIZE)
HELD_AT_ZERO = [Z, ROLL, PITCH, VZ, VROLL, VPITCH, AZ]      # what two_d_mode says it measures
_DEFAULT_NOISE = [0.05, 0.05, 0.06, 0.03, 0.03, 0.06, 0.025, 0.025, 0.04, 0.01, 0.01, 0.02, 0.01,
                  0.01, 0.015]


def parameters(name: str, **changes: Any) -> dict[str, Any]:
    """Return what config/ekf.yaml says to a filter; None removes a parameter."""
    found = {**yaml.safe_load(CONFIG.read_text())[f'/**/{name}']['ros__parameters'], **changes}
    return {key: value for key, value in found.items() if value is not None}


@dataclass(frozen=True)
class Measurement:
    """Values and covariance of the whole state, of which some are measured."""

    ns: int
    values: Array       # (15,)
    covariance: Array   # (15, 15)
    used: list[int]
    gate: float


class ReplicaEkf:
    """One filter: ``receive`` messages by topic, ``update`` at its frequency, read the state."""

    def __init__(self, params: Mapping[str, Any],
                 base_T: Mapping[str, Array] | None = None) -> None:
        """
        Start as the node does.

        :param params: its parameters by name; two_d_mode must be on.
        :param base_T: ``base_T_frame`` (4, 4) for every frame that TF knows.
        """
        assert params['two_d_mode'], 'the replica is planar'
        self._params, self._base_T = params, {params['base_link_frame']: np.eye(4),
                                              **(base_T or {})}
        noise = params.get('process_noise_covariance', _DEFAULT_NOISE)
        self._noise_per_s = np.diag(noise)
        self._timeout_ns = int(params.get('sensor_timeout', 1.0 / params['frequency']) * 1e9)
        self._history_ns = int(params.get('history_length', 0.0) * 1e9)
        self._smooth = params.get('smooth_lagged_data', False)
        self._last_ns: dict[str, int] = {}
        self.queue: list[Measurement] = []
        self._done: list[Measurement] = []                              # for replaying
        self._states: list[tuple[int, Array, Array]] = []
        self.x, self.ns = np.zeros(SIZE), 0
        self.P = np.diag(params.get('initial_estimate_covariance', [1e-9] * SIZE))
        self.initialized = False
        self.rejected = self.ignored = 0

    @property
    def pose(self) -> Pose2:
        """Return where base_link is."""
        return Pose2(float(self.x[X]), float(self.x[Y]), float(self.x[YAW]))

    def receive(self, topic: str, message: Any) -> None:
        """Take a message if a parameter names its topic; it counts at the next update."""
        for name, prepare in (('pose0', self._pose), ('twist0', self._twist),
                              ('imu0', self._rate)):
            if self._params.get(name) != topic:
                continue
            ns = stamp_ns(message.header.stamp)
            if ns < self._last_ns.get(name, ns):        # an equal stamp counts once more
                self.ignored += 1
                continue
            self._last_ns[name] = ns
            prepared = prepare(message, name)
            if prepared is None:                        # no transform: dropped without a word
                self.ignored += 1
                continue
            values, covariance = prepared
            used = [i for i, on in enumerate(self._params[f'{name}_config']) if on]
            values[HELD_AT_ZERO] = 0.0                  # cross terms stay as they came
            covariance[HELD_AT_ZERO, HELD_AT_ZERO] = 1e-6
            insort(self.queue, Measurement(
                ns, values, covariance, sorted({*used, *HELD_AT_ZERO}),
                self._params.get(f'{name}_rejection_threshold', math.inf)), key=lambda m: m.ns)

    def update(self, now_ns: int) -> bool:
        """Do what the timer does; return whether there is something to publish."""
        if self.queue and self._smooth and self.initialized and self.queue[0].ns < self.ns:
            self._revert(self.queue[0].ns - 1)
        waiting = bool(self.queue)
        while self.queue and self.queue[0].ns <= now_ns:
            measurement = self.queue.pop(0)
            self._process(measurement)
            if self._smooth:
                self._done.append(measurement)
                if not self.queue or self.queue[0].ns != self.ns:
                    self._states.append((self.ns, self.x.copy(), self.P.copy()))
        if self.initialized and not waiting and now_ns - self.ns >= self._timeout_ns:
            self._predict((now_ns - self.ns) * 1e-9)
            self.ns = now_ns
        oldest = self.ns - self._history_ns
        while self._done and self._done[0].ns < oldest:
            self._done.pop(0)
        while self._states and self._states[0][0] < oldest:
            self._states.pop(0)
        return self.initialized

    def _revert(self, ns: int) -> None:
        """Go back to the last state before a time, or to the oldest there is."""
        k = bisect_right(self._states, ns, key=lambda state: state[0])
        if not self._states:
            return
        self.ns, x, P = self._states[max(k - 1, 0)]
        self.x, self.P = x.copy(), P.copy()
        del self._states[k:]
        again = bisect_right(self._done, ns, key=lambda m: m.ns)
        for measurement in self._done[again:]:
            if measurement.ns >= self.ns:
                insort(self.queue, measurement, key=lambda m: m.ns)
        del self._done[again:]

    def _process(self, measurement: Measurement) -> None:
        if not self.initialized:        # the first one is believed as it is
            used = np.ix_(measurement.used, measurement.used)
            self.x[measurement.used] = measurement.values[measurement.used]
            self.P[used] = measurement.covariance[used]
            self.initialized, self.ns = True, measurement.ns
            return
        if measurement.ns > self.ns:
            self._predict((measurement.ns - self.ns) * 1e-9)
        self._correct(measurement)
        self.ns = max(self.ns, measurement.ns)

    def _predict(self, dt: float) -> None:
        """Constant acceleration along the body's axes, with roll and pitch at zero."""
        c, s = math.cos(self.x[YAW]), math.sin(self.x[YAW])
        F = np.eye(SIZE)
        for row, along, across in ((X, c, -s), (Y, s, c)):
            F[row, [VX, VY]] = along * dt, across * dt
            F[row, [AX, AY]] = 0.5 * along * dt * dt, 0.5 * across * dt * dt
        F[Z, VZ], F[Z, AZ] = dt, 0.5 * dt * dt
        for angle, rate in ((ROLL, VROLL), (PITCH, VPITCH), (YAW, VYAW), (VX, AX), (VY, AY),
                            (VZ, AZ)):
            F[angle, rate] = dt
        J = F.copy()
        step = F[:, [VX, VY, AX, AY]] @ self.x[[VX, VY, AX, AY]]
        J[X, YAW], J[Y, YAW] = -step[Y], step[X]
        self.x = F @ self.x
        self.x[[ROLL, PITCH, YAW]] = [wrap_pi(a) for a in self.x[[ROLL, PITCH, YAW]]]
        self.P = J @ self.P @ J.T + dt * self._noise_per_s

    def _correct(self, measurement: Measurement) -> None:
        used = [i for i in measurement.used if math.isfinite(measurement.values[i])]
        R = measurement.covariance[np.ix_(used, used)].copy()
        floor = np.abs(np.diag(R))      # a negative variance loses its sign, a tiny one is raised
        np.fill_diagonal(R, np.where(floor < 1e-9, 1e-9, floor))
        PHt = self.P[:, used]
        inverse = np.linalg.inv(PHt[used] + R)
        innovation = measurement.values[used] - self.x[used]
        for k, i in enumerate(used):
            if i in (ROLL, PITCH, YAW):
                innovation[k] = wrap_pi(innovation[k])
        if innovation @ inverse @ innovation >= measurement.gate ** 2:
            self.rejected += 1
            return
        K = PHt @ inverse
        self.x = self.x + K @ innovation
        self.x[[ROLL, PITCH, YAW]] = [wrap_pi(a) for a in self.x[[ROLL, PITCH, YAW]]]
        rest = np.eye(SIZE)
        rest[:, used] -= K
        self.P = rest @ self.P @ rest.T + K @ R @ K.T

    def _pose(self, message: Any, name: str) -> tuple[Array, Array] | None:
        # Nobody sends the map in any other frame
        if message.header.frame_id != self._params['world_frame']:
            return None
        p, q = message.pose.pose.position, rotation_from_quaternion(message.pose.pose.orientation)
        values, covariance = np.zeros(SIZE), np.zeros((SIZE, SIZE))
        values[:6] = p.x, p.y, p.z, 0.0, 0.0, math.atan2(q[1, 0], q[0, 0])
        covariance[:6, :6] = np.reshape(message.pose.covariance, (6, 6))
        return values, covariance

    def _twist(self, message: Any, name: str) -> tuple[Array, Array] | None:
        base_T_sensor = self._base_T.get(message.header.frame_id)
        if base_T_sensor is None:
            return None
        twist, R = message.twist.twist, base_T_sensor[:3, :3]
        values, covariance = np.zeros(SIZE), np.zeros((SIZE, SIZE))
        rates = np.array([0.0, 0.0, self.x[VYAW]])      # its own, for the lever arm
        values[6:9] = R @ _xyz(twist.linear) + np.cross(base_T_sensor[:3, 3], rates)
        values[9:12] = R @ _xyz(twist.angular)
        rotation = np.kron(np.eye(2), R)
        covariance[6:12, 6:12] = rotation @ np.reshape(message.twist.covariance,
                                                       (6, 6)) @ rotation.T
        return values, covariance

    def _rate(self, message: Any, name: str) -> tuple[Array, Array] | None:
        base_T_imu = self._base_T.get(message.header.frame_id)
        if base_T_imu is None:
            return None
        values, covariance, R = np.zeros(SIZE), np.zeros((SIZE, SIZE)), base_T_imu[:3, :3]
        values[9:12] = R @ _xyz(message.angular_velocity)
        covariance[9:12, 9:12] = R @ np.reshape(message.angular_velocity_covariance,
                                                (3, 3)) @ R.T
        return values, covariance


def _xyz(vector: Any) -> Array:
    return np.array([vector.x, vector.y, vector.z])
