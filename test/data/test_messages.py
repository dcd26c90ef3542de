# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Messages with every trap of practice: what is read, and what is refused with which reason."""

from __future__ import annotations

import math
from types import SimpleNamespace as Message
from typing import Any

from loc2_ros.core.values import Reason
from loc2_ros.data import messages
import numpy as np
import pytest

NAN = float('nan')


def info(**changes: Any) -> Message:
    """Build KITTI's camera_info: K unrectified, P right, P[3] a baseline."""
    fields: dict[str, Any] = {
        'width': 1242, 'height': 375,
        'k': [959.8, 0, 696.0, 0, 956.9, 224.2, 0, 0, 1],
        'p': [721.5, 0, 609.6, 44.9, 0, 720.5, 172.9, 0.2, 0, 0, 1, 0.0]}
    return Message(**{**fields, **changes})


def fix(covariance: Any = (4.0, 0, 0, 0, 16.0, 0, 0, 0, 9.0), kind: int = 2, status: int = 0,
        lat: float = 49.0, lon: float = 8.4, alt: float = 110.0) -> Message:
    """Build a NavSatFix."""
    return Message(status=Message(status=status), latitude=lat, longitude=lon, altitude=alt,
                   position_covariance=list(covariance), position_covariance_type=kind)


def imu(yaw: float = 0.5, variance: float = 0.04, first: float = 0.01, scale: float = 1.0,
        rpy_axis: str = 'z') -> Message:
    """Build an Imu with a rotation about one axis."""
    q = dict.fromkeys('xyzw', 0.0)
    q[rpy_axis], q['w'] = scale * math.sin(yaw / 2), scale * math.cos(yaw / 2)
    return Message(orientation=Message(**q),
                   orientation_covariance=[first, 0, 0, 0, 0.01, 0, 0, 0, variance])


def test_a_stamp_keeps_its_nanoseconds() -> None:
    assert messages.stamp_ns(Message(sec=1317042651, nanosec=168593664)) == 1317042651168593664


def test_the_camera_comes_from_p_and_neither_from_k_nor_with_the_baseline() -> None:
    camera = messages.camera_from_info(info())
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (721.5, 720.5, 609.6, 172.9)
    assert (camera.width, camera.height) == (1242, 375)


@pytest.mark.parametrize('changes', [
    {'p': [0.0] * 12},
    {'p': [NAN, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 0]},
    {'p': [5.0, 0, NAN, 0, 0, 5.0, 1, 0, 0, 0, 1, 0]},
    {'p': [-5.0, 0, 1, 0, 0, 5.0, 1, 0, 0, 0, 1, 0]},
    {'width': 0},
])
def test_an_uncalibrated_camera_is_refused_even_if_k_is_right(changes: dict[str, Any]) -> None:
    with pytest.raises(messages.BadMessage, match='matrix P') as error:
        messages.camera_from_info(info(**changes))
    assert error.value.reason is Reason.BAD_CAMERA_INFO


def test_a_known_covariance_gives_the_mean_deviation_per_horizontal_axis() -> None:
    position = messages.position_from_fix(fix(), default_sigma_m=10.0)
    assert (position.lat_deg, position.lon_deg, position.height_m) == (49.0, 8.4, 110.0)
    assert position.sigma_m == pytest.approx(math.sqrt(10.0)) and position.sigma_known


@pytest.mark.parametrize(('covariance', 'kind'), [
    ((4.0, 0, 0, 0, 4.0, 0, 0, 0, 4.0), 0),     # type UNKNOWN, whatever the numbers say
    ((0.0,) * 9, 2),                            # zeros: kitti2bag
    ((NAN,) * 9, 2),
    ((-1.0,) * 9, 2),
])
def test_an_unknown_covariance_is_replaced_by_the_default(covariance: Any, kind: int) -> None:
    position = messages.position_from_fix(fix(covariance, kind), default_sigma_m=7.0)
    assert position.sigma_m == 7.0 and not position.sigma_known


@pytest.mark.parametrize('changes', [
    {'status': -1}, {'lat': NAN}, {'lon': math.inf}, {'lat': 91.0}, {'lon': 1e9}])
def test_a_fix_without_a_position_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(messages.BadMessage) as error:
        messages.position_from_fix(fix(**changes), 10.0)
    assert error.value.reason is Reason.NO_PRIOR


@pytest.mark.parametrize('height', [NAN, math.inf, 1e300, -9999999.0])
def test_a_missing_or_impossible_height_does_not_matter(height: float) -> None:
    assert messages.position_from_fix(fix(alt=height), 10.0).height_m == 0.0


@pytest.mark.parametrize('yaw', [-3.1, -1.6, -0.1, 0.0, 0.8, 1.6, 2.4, 3.1])
def test_the_heading_is_the_yaw_of_the_imu(yaw: float) -> None:
    heading = messages.heading_from_imu(imu(yaw), default_sigma_rad=0.2)
    assert heading.yaw_rad == pytest.approx(yaw)
    assert heading.sigma_rad == pytest.approx(0.2) and heading.sigma_known


def test_the_mounting_of_the_imu_is_taken_out_of_the_heading() -> None:
    turned = messages.rotation_from_quaternion(imu(math.pi / 2).orientation)    # x points left
    heading = messages.heading_from_imu(imu(2.0), 0.2, base_R_imu=turned)
    assert heading.yaw_rad == pytest.approx(2.0 - math.pi / 2)


@pytest.mark.parametrize('variance', [0.0, NAN, -1.0])
def test_a_heading_variance_of_zero_means_unknown(variance: float) -> None:
    heading = messages.heading_from_imu(imu(variance=variance), default_sigma_rad=0.17)
    assert heading.sigma_rad == 0.17 and not heading.sigma_known


@pytest.mark.parametrize('bad', [imu(first=-1.0), imu(scale=0.0), imu(scale=NAN), imu(scale=2.0)])
def test_an_imu_without_orientation_is_refused(bad: Message) -> None:
    with pytest.raises(messages.BadMessage) as error:
        messages.heading_from_imu(bad, 0.2)
    assert error.value.reason is Reason.NO_HEADING


def test_a_transform_becomes_a_matrix_that_takes_child_to_parent() -> None:
    transform = Message(translation=Message(x=1.0, y=2.0, z=3.0),
                        rotation=imu(math.pi / 2).orientation)
    point = messages.matrix_from_transform(transform) @ [1.0, 0.0, 0.0, 1.0]
    np.testing.assert_allclose(point, [1.0, 3.0, 3.0, 1.0], atol=1e-12)


@pytest.mark.parametrize(('x', 'scale'), [(NAN, 1.0), (0.0, 0.0), (math.inf, 1.0)])
def test_a_broken_transform_raises(x: float, scale: float) -> None:
    transform = Message(translation=Message(x=x, y=0.0, z=0.0),
                        rotation=imu(0.3, scale=scale).orientation)
    with pytest.raises(ValueError, match='transform|rotation'):
        messages.matrix_from_transform(transform)


def test_quaternion_and_rotation_are_inverse_at_every_angle() -> None:
    for axis in 'xyz':
        for angle in (-math.pi, -2.0, -1e-9, 0.0, 0.7, math.pi / 2, 3.0):
            rotation = messages.rotation_from_quaternion(imu(angle, rpy_axis=axis).orientation)
            x, y, z, w = messages.quaternion_from_rotation(rotation)
            back = messages.rotation_from_quaternion(Message(x=x, y=y, z=z, w=w))
            np.testing.assert_allclose(back, rotation, atol=1e-12)
            assert w >= 0.0
