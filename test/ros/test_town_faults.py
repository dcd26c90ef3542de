# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The built-in model, wheels and wrong priors: what is published is right, or not published."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from fusion_world import S, Sensors
from loc2_ros.core.values import Fix, Image, Prior, Rejection
from loc2_ros.data.bag import open_bag
from loc2_ros.data.messages import position_from_fix
from loc2_ros.data.recording import Drive
from loc2_ros.synthetic.world import make_world
import numpy as np
import pytest
from town_loop import Gnss, Loop

JUMP_S, TURN_S, IMAGES = (25.0, 45.0), (60.0, 80.0), 100
CHI2_999 = 13.8155          # of two degrees of freedom


@dataclass(frozen=True)
class Jumping(Gnss):
    """A receiver that is 100 m away for 20 s."""

    def fix(self, message: Any, seconds: float, drive: Drive) -> Any:
        """Return what it says."""
        if not JUMP_S[0] <= seconds < JUMP_S[1]:
            return message
        position = position_from_fix(message, 1.0)
        xy = drive.frame.forward(position.lat_deg, position.lon_deg) + np.array([80.0, -60.0])
        lat, lon = drive.frame.inverse(xy)
        return replace(message, latitude=float(lat), longitude=float(lon))


class Faulty(Loop):
    """A drive on which the compass is off by 90 degrees for 20 s; takes note of every answer."""

    answers: list[tuple[float, Fix | Rejection, float, bool]]

    def _deliver(self, name: str, message: Any) -> None:
        if name == self._drive.topics.imu:
            seconds = (message.log_ns - self._out.begin_ns) / S
            if TURN_S[0] <= seconds < TURN_S[1]:
                q = message.message.orientation
                yaw = 2.0 * math.atan2(q.z, q.w) + math.pi / 2.0
                turned = replace(q, x=0.0, y=0.0, z=math.sin(yaw / 2.0), w=math.cos(yaw / 2.0))
                message = SimpleNamespace(topic=message.topic, log_ns=message.log_ns,
                                          message=replace(message.message, orientation=turned))
        super()._deliver(name, message)

    def _on_result(self, image: Image, prior: Prior, result: Fix | Rejection) -> None:
        off_m, wrong = 0.0, False
        if isinstance(result, Fix):
            d = result.map_T_base.xy_m - self._pose_at(image.stamp_ns).xy_m
            off_m = float(np.linalg.norm(d))
            wrong = off_m > 10.0 and float(
                d @ np.linalg.solve(result.covariance[:2, :2], d)) > CHI2_999
        seconds = (image.stamp_ns - self._out.begin_ns) / S
        self.answers.append((seconds, result, off_m, wrong))
        super()._on_result(image, prior, result)


@pytest.mark.slow
@pytest.mark.parametrize('odom_frame', ['odom', ''], ids=['odometry', 'no odometry'])
def test_the_built_in_model_publishes_no_wrong_fix_while_gnss_or_compass_lie(
        tmp_path: Path, odom_frame: str) -> None:
    make_world(1_000_022, tmp_path, frames=IMAGES, rate_hz=1.0, progress=False)
    with open_bag(tmp_path / 'drive.mcap') as bag:
        loop = Faulty(bag, tmp_path / 'map.mbtiles', gnss=Jumping(), prior__source='fix',
                      odom_frame=odom_frame,
                      sensors=Sensors(scale=1.01, gyro_bias=math.radians(0.01)))
        loop.answers = []
        loop.run()
    fixes = [(s, off, wrong) for s, result, off, wrong in loop.answers if isinstance(result, Fix)]
    assert not [f for f in fixes if f[2]]
    for begin, end in (JUMP_S, TURN_S):
        assert not [f for f in fixes if begin + 1.0 <= f[0] < end - 1.0]
        # As soon as it is over, poses are back
        assert len([f for f in fixes if end + 1.0 <= f[0] < end + 11.0]) >= 8
    assert np.median([off for _, off, _ in fixes]) < 1.5
