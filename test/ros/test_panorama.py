# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A panorama camera over DDS: no camera_info, its size is the image's."""

from __future__ import annotations

from loc2_ros.core.values import Panorama
from ros_world import CAMERA_POSE, FakeLocalizer, SECOND, stamp_of, World


def test_panoramas_are_localized_without_a_camera_info(world: World) -> None:
    fake = FakeLocalizer()
    node = world.start(fake, camera__model='equirectangular')
    world.tf_static('camera', CAMERA_POSE)
    before = world.now() - SECOND // 10
    world.fix(before)
    world.imu(before)
    world.until(lambda: world.knows(node), 'mounting and prior')
    stamp = world.frame(width=64, height=32, step=192, data=bytes(64 * 32 * 3))
    assert stamp_of(world.poses(1)[0]) == stamp
    assert fake.calls[0].camera == Panorama(64, 32)
    world.shows('input', 'camera_calibrated', 'true')


def test_an_image_of_another_shape_is_refused_with_the_remedy(world: World) -> None:
    node = world.start(FakeLocalizer(), camera__model='equirectangular')
    world.ready(node)
    world.frame()
    world.counted('bad_image')
    assert 'camera.model to pinhole' in world.status('input')[2]['input_problem']
