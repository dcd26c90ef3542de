# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The parameters of the adapter for recordings of KITTI; no ROS, so that docs can read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from loc2_ros.data.kitti_repair import Sigmas
from loc2_ros.ros.param import Param

_SIGMAS = Sigmas()


def _row(name: str, default: Any, unit: str, description: str, **more: Any) -> Param:
    return Param(name, type(default), default, unit, description, read_only=True, **more)


def _stddev(name: str, default: float, unit: str, description: str) -> Param:
    # RL takes a variance below 1e-9 for certainty
    return _row(f'stddev.{name}', default, unit, description, low=1e-4, high=1000.0)


PARAMS: tuple[Param, ...] = (
    _row('fix_topic', '/kitti/oxts/gps/fix', '',
         'NavSatFix of the recording; becomes /kitti/fix.'),
    _row('imu_topic', '/kitti/oxts/imu', '', 'Imu of the recording; becomes /kitti/imu.'),
    _row('velocity_topic', '/kitti/oxts/gps/vel', '',
         'TwistStamped of the recording; becomes /kitti/twist, with a covariance.'),
    _row('base_frame', 'base_link', '', 'Frame of the vehicle.'),
    _row('imu_frame', 'imu_link', '',
         'Frame of the three topics: taken where a message names none, placed if nobody does.'),
    Param('imu_pose', list, [-1.405, 0.32, 0.93, 0.0, 0.0, 0.0], 'm, rad',
          'x, y, z, roll, pitch, yaw of imu_frame in base_frame.', low=-1000.0, high=1000.0,
          lengths=(6,), read_only=True),
    _row('static_patience', 0.5, 's',
         'How long to wait for somebody else who places imu_frame, from the first message on.',
         low=0.0, high=60.0),
    _stddev('fix', _SIGMAS.fix_m, 'm', 'Per horizontal axis, where a fix has no covariance.'),
    _stddev('velocity', 0.1, 'm/s', 'Per axis of the velocity.'),
    _stddev('orientation', _SIGMAS.orientation_rad, 'rad',
            'Where an Imu has no covariance of its orientation.'),
    _stddev('rate', _SIGMAS.rate_rad_s, 'rad/s',
            'Where an Imu has no covariance of its rates, and for those of the velocity.'),
    _stddev('acceleration', _SIGMAS.acceleration_m_s2, 'm/s2',
            'Where an Imu has no covariance of its accelerations.'),
    _row('reset_odom', 'ekf_odom/reset', '',
         'Service that is called when time goes back; empty: none.'),
    _row('reset_map', 'ekf_map/reset', '', 'The same of the other filter.'),
)


def sigmas_of(settings: Mapping[str, Any]) -> Sigmas:
    """Return what is taken where a message gives no covariance."""
    return Sigmas(settings['stddev.fix'], settings['stddev.orientation'],
                  settings['stddev.rate'], settings['stddev.acceleration'])
