# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Bad input over real DDS: a clear sentence, a reason in diagnostics, and a node that recovers.

Maps and models that cannot be loaded are in test_lifecycle.py.
"""

from __future__ import annotations

from typing import Any, Callable

import cv2
from loc2_ros.core.values import Prior, Reason, Rejection
import numpy as np
import pytest
from ros_world import FakeLocalizer, HEIGHT, SECOND, WIDTH, World
from sensor_msgs.msg import CompressedImage


def recovers(world: World, count: int = 1) -> None:
    """Send good frames until one gives a pose."""
    world.info()
    before = len(world.got['pose'])
    world.until(lambda: world.frame() and len(world.got['pose']) >= before + count, 'a pose')


def test_without_camera_info_it_names_the_topic(world: World) -> None:
    world.start()
    world.tf_static()
    world.frame()
    world.counted('no_camera_info')
    world.level('input', 2, 'no camera_info on camera_info yet')
    recovers(world)
    world.level('input', 0)


@pytest.mark.parametrize('changes, text', [
    ({'fx': 0.0}, 'not calibrated'), ({'fx': float('nan')}, 'not calibrated'),
    ({'width': 32}, 'describes 32x48 pixels, the image has 64x48')])
def test_a_camera_info_that_cannot_be_is_refused(
        world: World, changes: dict[str, Any], text: str) -> None:
    node = world.start()
    world.ready(node)
    world.info(**changes)
    world.until(lambda: world.frame() and node.stats.values().get('rejected.bad_camera_info'),
                'the refusal')
    world.level('input', 2, text)
    recovers(world)
    world.level('input', 0)


@pytest.mark.parametrize('changes, text', [
    ({'encoding': 'bayer_rggb8'}, 'debayer'), ({'encoding': 'yuv9'}, 'not supported'),
    ({'encoding': 'rgb16'}, '8 bit'), ({'data': bytes(100)}, 'cut off'),
    ({'step': 5}, 'step'), ({'width': 0}, '0x48')])
def test_an_image_that_cannot_be_read_is_refused(
        world: World, changes: dict[str, Any], text: str) -> None:
    node = world.start()
    world.ready(node)
    world.frame(**changes)
    world.counted('bad_image')
    world.level('input', 2, text)
    recovers(world)
    world.level('input', 0)


@pytest.mark.parametrize('encoding, channels', [
    ('mono8', 1), ('bgr8', 3), ('rgb8', 3), ('bgra8', 4), ('rgba8', 4)])
def test_every_supported_encoding_gives_the_same_pixels_with_padded_rows(
        world: World, encoding: str, channels: int) -> None:
    fake = FakeLocalizer()
    node = world.start(fake)
    world.ready(node)
    step = channels * WIDTH + 7
    rows = np.full((HEIGHT, step), 99, np.uint8)
    colours = {'r': 10, 'g': 20, 'b': 30, 'a': 255, 'm': 77}
    names = 'm' if encoding == 'mono8' else encoding[:channels]
    for i, name in enumerate(names):
        rows[:, i:channels * WIDTH:channels] = colours[name]
    world.frame(encoding=encoding, step=step, data=rows.tobytes())
    world.poses(1)
    expected = [77, 77, 77] if encoding == 'mono8' else [10, 20, 30]
    assert (fake.calls[0].rgb == expected).all()


def test_a_corrupt_jpeg_is_refused_and_a_good_one_accepted(world: World) -> None:
    node = world.start(image_transport='compressed', wait=False)
    world.connect(CompressedImage, '/image_rect/compressed')
    world.ready(node)
    good = cv2.imencode('.jpg', np.full((HEIGHT, WIDTH, 3), 128, np.uint8))[1].tobytes()
    for n, bad in enumerate((good[:len(good) // 2], b'', b'nonsense', b'\xff\xd8\xff\xe0')):
        stamp = world.now()
        world.jpeg(stamp, bad)
        world.counted('bad_image', n + 1)
    world.level('input', 2, 'bad_image')
    stamp = world.now()
    world.jpeg(stamp, good)
    world.fix(stamp + 1)
    world.imu(stamp + 1)
    world.poses(1)
    world.level('input', 0)


def test_without_a_prior_it_says_that_none_has_come(world: World) -> None:
    world.start()
    world.tf_static()
    world.info()
    world.image(world.now())
    world.counted('no_prior')
    world.level('input', 2, 'no_prior')
    recovers(world)
    world.level('input', 0)


@pytest.mark.parametrize('changes, text', [
    ({'status': -1}, 'NO_FIX'), ({'latitude': float('nan')}, 'not a number'),
    ({'longitude': float('inf')}, 'not a number'), ({'latitude': 91.0}, 'not on Earth')])
def test_a_fix_that_is_none_gives_no_prior(
        world: World, changes: dict[str, Any], text: str) -> None:
    node = world.start()
    world.tf_static()
    world.info()
    world.fix(world.now(), **changes)
    world.until(lambda: node.stats.values()['fixes_received'], 'the fix')
    world.image(world.now())
    world.counted('no_prior')
    world.level('input', 2, text)
    recovers(world)
    world.level('input', 0)


@pytest.mark.parametrize('covariance, kind', [
    ([0.0] * 9, 2), ([4.0] * 9, 0), ([float('nan')] * 9, 2)])
def test_a_fix_without_covariance_gets_the_parameter_and_a_warning(
        world: World, covariance: list[float], kind: int) -> None:
    fake = FakeLocalizer()
    node = world.start(fake, prior__position_stddev=7.0)
    world.ready(node)
    stamp = world.now()
    unknown = {'position_covariance': covariance, 'position_covariance_type': kind}
    world.fix(stamp - 1, **unknown)
    world.fix(stamp + 1, **unknown)
    world.imu(stamp + 1)
    world.until(lambda: node.stats.values()['fixes_received'] == 3, 'the fixes')
    world.image(stamp)
    world.poses(1)
    assert fake.priors[0].sigma_xy_m == pytest.approx(7.0)
    world.level('input', 1, 'no covariance')


def test_a_prior_that_is_too_old_is_refused_with_its_age(world: World) -> None:
    node = world.start(prior__wait=0.0)
    world.ready(node)
    world.fix(world.now() - 5 * SECOND)
    node.session._intake.clear()
    world.fix(world.now() - 5 * SECOND)
    world.until(lambda: node.session._intake._sources.gnss._position.stamps, 'the old prior')
    world.image(world.now())
    world.counted('prior_stale')
    world.level('input', 1, 'prior_stale')
    assert float(world.status('input')[2]['prior_age_s']) == pytest.approx(5.0, abs=1.0)
    recovers(world)
    world.level('input', 0)


def test_a_prior_that_jumps_is_refused(world: World) -> None:
    node = world.start(prior__max_jump=30.0, prior__wait=2.0)
    world.ready(node)
    stamp = world.now()
    world.image(stamp)
    world.fix(stamp + 1, (10.0, 995.0))
    world.imu(stamp + 1)
    world.counted('prior_jump')
    world.level('input', 1, 'jump_m')


def test_a_heading_that_is_none_leaves_the_prior_without_heading(world: World) -> None:
    fake = FakeLocalizer()
    node = world.start(fake, prior__heading='none')
    world.tf_static()
    world.info()
    world.until(lambda: node.session.values()['camera_calibrated']
                and node.session._mounting('camera') is not None, 'sensors')
    world.frame()
    world.poses(1)
    assert fake.priors[0].yaw_map_rad is None


def off_the_map(fraction: float) -> Callable[[Any, Prior], Rejection]:
    """Answer as the localizer does when the map does not cover the crop."""
    return lambda image, prior: Rejection(image.stamp_ns, Reason.MAP_COVERAGE,
                                          {'valid_fraction': fraction})


@pytest.mark.parametrize('fraction', [0.0, 0.4])
def test_a_crop_off_the_map_is_an_error_of_the_map(world: World, fraction: float) -> None:
    fake = FakeLocalizer()
    fake.answer = off_the_map(fraction)
    node = world.start(fake)
    world.ready(node)
    world.frame()
    world.counted('map_coverage')
    status = world.level('map', 2, 'map_coverage')
    assert float(status[2]['valid_fraction']) == fraction
    fake.answer = None
    recovers(world)


@pytest.mark.parametrize('stamp, reason, text', [
    (lambda now: 0, 'bad_stamp', 'no stamp'),
    (lambda now: now - 60 * SECOND, 'image_stale', 'use_sim_time'),
    (lambda now: now + 60 * SECOND, 'bad_stamp', 'future')])
def test_a_stamp_that_cannot_be_is_refused(
        world: World, stamp: Callable[[int], int], reason: str, text: str) -> None:
    node = world.start()
    world.ready(node)
    world.image(stamp(world.now()))
    world.counted(reason)
    world.level('input', 1, text)
    recovers(world)
    world.level('input', 0)


def test_duplicate_and_late_stamps_give_no_second_pose(world: World) -> None:
    node = world.start()
    world.ready(node)
    stamp = world.frame()
    world.poses(1)
    world.image(stamp)
    world.counted('bad_stamp', 1)
    world.image(stamp - SECOND // 10)
    world.counted('bad_stamp', 2)
    world.level('input', 1, 'not after the last one')
    assert len(world.got['pose']) == 1
    recovers(world)


def test_a_parameter_that_is_out_of_range_or_of_a_wrong_type_is_refused_at_run_time(
        world: World) -> None:
    from rclpy.parameter import Parameter
    node = world.start()
    world.ready(node)

    def result(name: str, value: Any) -> Any:
        return node.set_parameters([Parameter(name, value=value)])[0]
    for name, value, text in (('prior.max_age', -1.0, 'out of range'),
                              ('prior.max_age', 3, 'DOUBLE'), ('prior.heading', 'nose', "'imu'"),
                              ('map.path', '/other', 'read-only')):
        refused = result(name, value)
        assert not refused.successful and text in refused.reason
    assert result('prior.max_age', 7.5).successful
    world.until(lambda: node.session._intake._sources.gnss.max_age_s == 7.5,
                'the new value in use')
    recovers(world)
