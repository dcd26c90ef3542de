# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Faults of sensors and clocks over real DDS that no other file has; docs/faults.md lists them all.

In every fault window nothing wrong may be published, and after it poses must be right again.
"""

from __future__ import annotations

import ast
import math
from pathlib import Path
import re
import time
from typing import Any

from fault_tools import answered, believe, error_m, EXPECTED, MS, no_wrong_fix, recovers
import pytest
from ros_world import BAG_TIME, FakeLocalizer, SECOND, stamp_of, TRUTH, World

ROOT = Path(__file__).resolve().parents[2]


def in_bag_time(world: World, fake: FakeLocalizer | None = None, **parameters: Any) -> Any:
    """Start a node in simulated time, with calibration and mounting."""
    node = world.start(fake, use_sim_time=True, prior__wait=0.5, **parameters)
    world.set_clock(node, BAG_TIME)
    world.tf_static()
    world.info()
    world.until(lambda: node.session.values()['camera_calibrated']
                and node.session._mounting('camera') is not None, 'calibration and mounting')
    return node


def moment(world: World, node: Any, stamp: int, *, fix: tuple[float, float] | None = (12.5, -7.25),
           imu: bool = True, yaw: float = 0.6) -> str:
    """Play an image with its sensors at a stamp; return the reason, or 'fix'."""
    done = answered(node)
    world.set_clock(node, stamp)
    for ns in (stamp - 20 * MS, stamp + 20 * MS):
        if fix is not None:
            world.fix(ns, fix)
        if imu:
            world.imu(ns, yaw)
    world.image(stamp)
    world.until(lambda: answered(node) > done, 'an answer')
    return str(node.stats.values()['reason'] or 'fix')


# ---- the camera ---------------------------------------------------------------------------------

def test_a_camera_that_stops_is_an_error_after_five_seconds_until_it_is_back(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from loc2_ros.ros import rules
    node = world.start()
    world.ready(node)
    world.frame()
    world.poses(1)
    assert rules.SILENCE_S == 5.0
    # Not waited for: what is above five seconds is asked of the arrival times
    with node.stats._lock:
        node.stats._arrivals.append(time.monotonic() - 6.0)
    status = world.level('input', 2, 'no image on image_rect for')
    assert float(status[2]['image_silence_s']) > 5.0
    assert len(world.got['pose']) == 1
    recovers(world, node)
    world.level('input', 0)


def test_sixty_images_a_second_on_a_model_that_takes_a_second_cost_only_images(
        world: World) -> None:
    fake = FakeLocalizer()
    fake.delay_s = 1.0
    node = world.start(fake, prior__wait=0.0)
    world.ready(node)
    sent, begun = [], time.monotonic()
    while len(sent) < 180:
        sent.append(world.frame())
        time.sleep(1 / 60)
    world.until(lambda: node.stats.values()['images_received'] == len(sent), 'all images')
    fake.delay_s = 0.0
    world.until(lambda: answered(node) == len(sent), 'all answers')
    most = 2 + time.monotonic() - begun
    world.poses(node.stats.values()['fixes'])
    stamps = [stamp_of(p) for p in world.got['pose']]
    assert stamps == sorted(set(stamps)) and set(stamps) <= set(sent)
    assert 3 <= len(stamps) == node.stats.values()['fixes'] <= most
    # Two turns of the model at most: nothing queues up
    assert node.stats.values()['latency_max_s'] < 5.0
    assert all(error_m(p, EXPECTED) < 1e-3 for p in world.got['pose'])


def test_images_out_of_order_and_twice_give_poses_once_and_in_order(world: World) -> None:
    node = in_bag_time(world)
    start = BAG_TIME + SECOND
    world.set_clock(node, start)
    order = [1, 3, 2, 2, 3, 5, 4, 5, 6, 6, 1, 7]
    for ns in (0, 10):
        world.fix(start + ns * 50 * MS, (12.5, -7.25))
        world.imu(start + ns * 50 * MS, 0.6)
    for n, k in enumerate(order):
        world.image(start + k * 50 * MS)
        world.until(lambda n=n: answered(node) == n + 1, 'an answer')
    assert [stamp_of(p) for p in world.poses(5)] == [start + k * 50 * MS for k in (1, 3, 5, 6, 7)]
    assert node.stats.values()['rejected.bad_stamp'] == 7
    no_wrong_fix(world)


def test_a_calibration_that_changes_while_driving_is_used_from_the_next_image_on(
        world: World) -> None:
    node = world.start()
    world.ready(node)
    for fx in (50.0, 80.0, 120.0):
        world.info(fx=fx)
        world.until(lambda f=fx: getattr(node.session._path.camera, 'fx', 0.0) == f, 'it')
        count = len(world.got['pose'])
        world.frame()
        world.poses(count + 1)
        assert node.fake.calls[-1].camera.fx == fx
    world.info(width=128, height=96)        # not that of the images that come
    world.until(lambda: node.session._path.camera.width == 128, 'it')
    world.frame()
    world.counted('bad_camera_info')
    world.level('input', 2, '128x96')
    count = len(world.got['pose'])
    recovers(world, node)
    assert {c.camera.fx for c in node.fake.calls[-3:]} == {50.0} and count == 3


# ---- priors and time ----------------------------------------------------------------------------

@pytest.mark.parametrize('fault', ['receiver', 'compass'])
def test_without_odometry_a_receiver_100_m_off_or_a_compass_90_degrees_off_is_noticed(
        world: World, fault: str) -> None:
    fake = FakeLocalizer()
    fake.answer = believe
    node = in_bag_time(world, fake)
    told = []
    for n in range(30):
        lost = 10 <= n < 20
        told.append(moment(
            world, node, BAG_TIME + (n + 1) * SECOND // 2,
            fix=(92.5, -67.25) if lost and fault == 'receiver' else (12.5, -7.25),
            yaw=0.6 + math.pi / 2 if lost and fault == 'compass' else 0.6))
    assert told == ['fix'] * 10 + ['prior_jump'] * 10 + ['fix'] * 10
    no_wrong_fix(world, TRUTH)


def test_a_receiver_that_flips_between_two_places_is_not_taken_for_a_fast_vehicle(
        world: World) -> None:
    fake = FakeLocalizer()
    fake.answer = believe
    node = in_bag_time(world, fake)
    told = []
    for n in range(8):
        stamp = BAG_TIME + (n + 1) * SECOND // 5
        world.set_clock(node, stamp)
        for k in range(-3, 3):
            world.fix(stamp + k * 20 * MS, (12.5, 92.75 if k % 2 else -7.25))
        world.imu(stamp + 40 * MS, 0.6)
        done = answered(node)
        world.image(stamp + 10 * MS)
        world.until(lambda d=done: answered(node) > d, 'an answer')
        told.append(node.stats.values()['reason'] or 'fix')
    assert told == ['prior_jump'] * 8
    assert not world.got['pose']


def test_a_clock_that_leaps_an_hour_ahead_uses_no_prior_from_before(world: World) -> None:
    node = in_bag_time(world)
    assert [moment(world, node, BAG_TIME + (n + 1) * SECOND // 5) for n in range(3)] == ['fix'] * 3
    later = BAG_TIME + 3600 * SECOND
    # The camera is back at once, the receiver a little later
    told = [moment(world, node, later + n * SECOND // 5, fix=None, imu=False) for n in range(3)]
    assert told == ['prior_stale'] * 3
    assert len(world.got['pose']) == 3
    told = [moment(world, node, later + n * SECOND // 5) for n in range(3, 6)]
    assert told == ['fix'] * 3
    assert max(p.age_s for p in node.fake.priors) < 0.1
    assert all(error_m(p, EXPECTED) < 1e-3 for p in world.poses(6))
    world.shows('input', 'clock_jumps', '0')


def test_a_bag_that_loops_is_localized_anew_every_time(world: World) -> None:
    node = in_bag_time(world)
    expected = []
    for lap in range(3):
        for n in range(4):
            stamp = BAG_TIME + (n + 1) * SECOND // 2
            assert moment(world, node, stamp) == 'fix', (lap, n)
            expected.append(stamp)
    assert [stamp_of(p) for p in world.poses(12)] == expected
    assert max(p.age_s for p in node.fake.priors) < 0.1
    world.shows('input', 'clock_jumps', '2')
    no_wrong_fix(world)


def test_a_stray_imu_whose_frame_nobody_knows_does_not_hold_up_the_others(world: World) -> None:
    node = world.start()
    world.ready(node)
    world.imu(world.now(), 2.0, frame_id='nowhere')
    world.frame()
    world.poses(1)
    for _ in range(3):
        stamp = world.now()
        world.imu(stamp, 0.4)
        world.imu(stamp + 1, 2.0, frame_id='nowhere')
        world.imu(stamp + 2, 0.4)
        world.until(lambda s=stamp: s + 2 in node.session._intake._sources.gnss._heading.stamps,
                    'the heading after it', 5.0)
    stamp = world.now()
    world.fix(stamp)
    world.imu(stamp, 0.4)
    world.image(stamp)
    world.poses(2)
    assert node.fake.priors[-1].yaw_map_rad == pytest.approx(0.4, abs=1e-3)


# ---- the table ----------------------------------------------------------------------------------

def test_the_table_of_faults_names_tests_that_exist() -> None:
    text = (ROOT / 'docs' / 'faults.md').read_text()
    rows = [line for line in text.splitlines() if re.match(r'\| (?!fault |---)', line)]
    named = [re.findall(r'`(test_\w+\.py)::(test_\w+)`', row) for row in rows]
    assert len(rows) >= 20 and all(named), [r for r, n in zip(rows, named) if not n]
    for file, test in {pair for pairs in named for pair in pairs}:
        found, = ROOT.glob(f'test/**/{file}')
        functions = {node.name for node in ast.walk(ast.parse(found.read_text()))
                     if isinstance(node, ast.FunctionDef)}
        assert test in functions, f'{file} has no {test}'
