# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Faults of a vehicle over real DDS that no other file has; docs/faults.md lists them all.

In every fault window nothing wrong may be published, and after it poses must be right again.
"""

from __future__ import annotations

import ast
import os
from pathlib import Path
import re
import threading
import time
from typing import Any

from fault_tools import believe, error_m, EXPECTED, is_well, MS, no_wrong_fix, recovers
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Pose2, Prior, Reason, Rejection
from loc2_ros.maps.store import open_store
from loc2_ros.maps.writer import write_mbtiles_from_local
from loc2_ros.ros.about import load
from loc2_ros.ros.node import Loc2Node
import numpy as np
import pytest
from rclpy.parameter import Parameter
from ros_world import (
    BAG_TIME, DATUM, FakeLocalizer, SECOND, Spinner, stamp_of, TRUTH, World)
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix

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
           imu: bool = True) -> str:
    """Play an image with its sensors at a stamp; return the reason, or 'fix'."""
    done = answered(node)
    world.set_clock(node, stamp)
    for ns in (stamp - 20 * MS, stamp + 20 * MS):
        if fix is not None:
            world.fix(ns, fix)
        if imu:
            world.imu(ns, 0.6)
    world.image(stamp)
    world.until(lambda: answered(node) > done, 'an answer')
    return str(node.stats.values()['reason'] or 'fix')


def answered(node: Any) -> int:
    """Return how many images have come to an end."""
    v = node.stats.values()
    return int(v['fixes'] + v['rejected'] + v['images_dropped'])


# ---- the camera ---------------------------------------------------------------------------------

def test_a_camera_that_stops_is_an_error_after_five_seconds_until_it_is_back(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from loc2_ros.ros import diagnostics
    node = world.start()
    world.ready(node)
    world.frame()
    world.poses(1)
    assert diagnostics.SILENCE_S == 5.0
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

def test_gnss_that_jumps_and_has_no_odometry_beside_it_is_refused_while_it_jumps(
        world: World) -> None:
    fake = FakeLocalizer()

    def near(image: Any, prior: Prior) -> Any:
        """Find the vehicle where it is in the crop, and nothing where it is not."""
        off = float(np.linalg.norm(prior.xy_map_m - TRUTH.xy_m))
        return (Rejection(image.stamp_ns, Reason.FEW_MATCHES) if off > 40.0
                else believe(image, Prior(prior.stamp_ns, TRUTH.xy_m, TRUTH.yaw_rad, 1.0, 0.1)))
    fake.answer = near
    node = in_bag_time(world, fake)
    told = []
    for n in range(15):
        place = (112.5, -7.25) if 5 <= n < 10 else (12.5, -7.25)
        told.append(moment(world, node, BAG_TIME + (n + 1) * SECOND // 2, fix=place))
    assert told[:5] == ['fix'] * 5 and 'fix' not in told[5:10] and told[11:] == ['fix'] * 4
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


# ---- the map ------------------------------------------------------------------------------------

class Photographed(FakeLocalizer):
    """Cuts its crop from a real store, judged as the pipeline does, and then knows the truth."""

    def __init__(self, path: Path) -> None:
        """Open the map without a cache, so that every crop is read from the file."""
        super().__init__()
        self.store, self.seen = open_store(path, cache_mb=0.0), []

    def localize(self, image: Any, prior: Any, mount: Any) -> Any:
        """Refuse what the map does not show."""
        crop = self.store.crop(self.frame, prior.xy_map_m, 0.0, 40.0, 64)
        if crop.valid_fraction < 0.8:
            return Rejection(image.stamp_ns, Reason.MAP_COVERAGE,
                             {'valid_fraction': crop.valid_fraction})
        self.seen.append(float(crop.image.mean()))
        return super().localize(image, prior, mount)

    def close(self) -> None:
        """Close the map."""
        self.store.close()


def grey_map(path: Path, grey: int, datum: list[float] = DATUM) -> Path:
    """Write a map of one colour around a place."""
    photo = np.full((256, 256, 3), grey, np.uint8)
    write_mbtiles_from_local(path, photo, LocalFrame(*datum), -128.0, 128.0, 1.0, metadata={})
    return path


@pytest.mark.parametrize('change', ['replaced', 'elsewhere', 'deleted', 'emptied'])
def test_a_map_that_is_exchanged_while_driving_is_never_seen_black(
        world: World, tmp_path: Path, change: str) -> None:
    path = grey_map(tmp_path / 'map.mbtiles', 90)
    fake = Photographed(path)
    node = world.start(fake)
    world.ready(node)
    world.frame()
    world.poses(1)
    if change in ('replaced', 'elsewhere'):
        os.replace(grey_map(tmp_path / 'other.mbtiles', 200,
                            DATUM if change == 'replaced' else [48.0, 9.0, 0.0]), path)
    elif change == 'deleted':
        path.unlink()
    else:
        empty = tmp_path / 'empty'
        empty.write_bytes(b'')
        os.replace(empty, path)
    for lap in range(2):
        for n in range(3):
            done = answered(node)
            world.frame()
            world.until(lambda d=done: answered(node) > d, 'an answer')
        if lap == 0:                # a new worker, which opens files anew
            assert len(fake.seen) == 4
            node.trigger_deactivate()
            node.trigger_activate()
            world.connect()
            world.ready(node)
    # Of the one map or the other, whole; what the map does not show is refused and told
    assert all(min(abs(grey - 90), abs(grey - 200)) < 3 for grey in fake.seen)
    refused = 7 - len(fake.seen)
    assert refused == node.stats.values().get('rejected.map_coverage', 0)
    if refused:
        world.level('map', 2, 'map_coverage')
    no_wrong_fix(world)


# ---- the model ----------------------------------------------------------------------------------

@pytest.mark.parametrize('error', [
    RuntimeError('cuDNN error'), ValueError('x'), MemoryError(), KeyError('layer'),
    ZeroDivisionError(), AssertionError()], ids=lambda e: type(e).__name__)
def test_whatever_a_model_raises_the_next_image_is_tried_again(
        world: World, error: Exception) -> None:
    fake = FakeLocalizer()
    fake.answer = error
    node = world.start(fake)
    world.ready(node)
    for n in range(2):
        world.frame()
        world.counted('model_error', n + 1)
    world.level('model', 2, type(error).__name__)
    assert not world.got['pose'] and len(fake.calls) == 2
    fake.answer = None
    recovers(world, node)
    world.level('model', 0)


@pytest.mark.slow
def test_the_real_pipeline_tells_a_gpu_out_of_memory_and_goes_on(
        world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    path = grey_map(tmp_path / 'map.mbtiles', 90)
    node = world.start(factory=load, map__path=str(path), device='cpu')
    world.ready(node)
    net = node._localizer.network.model.net
    full = torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')

    def ground(*args: Any, **more: Any) -> Any:
        raise full
    emptied: list[int] = []
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: emptied.append(1))
    monkeypatch.setattr(net, 'ground', ground)
    for n in range(2):
        world.frame()
        world.counted('model_error', n + 1)
    world.level('model', 2, 'the GPU is out of memory; end what else runs on it')
    assert len(emptied) == 2 and not world.got['pose']
    monkeypatch.undo()
    done = answered(node)
    world.frame()
    world.until(lambda: answered(node) > done, 'an answer')
    assert node.stats.values()['rejected.model_error'] == 2
    world.level('model', 0)


# ---- the end, and company -----------------------------------------------------------------------

@pytest.mark.parametrize('end', ['shutdown', 'deactivate', 'destroy'])
def test_an_end_in_the_middle_of_an_image_waits_for_it_and_publishes_nothing_after(
        world: World, end: str) -> None:
    fake = FakeLocalizer()
    fake.gate = threading.Event()
    node = world.start(fake)
    world.ready(node)
    world.frame()
    world.until(lambda: fake.calls, 'an image in the worker')
    threading.Timer(0.3, fake.gate.set).start()
    if end == 'destroy':
        node.close()
    else:
        done = node.spinner.executor.create_task(getattr(node, f'trigger_{end}'))
        world.until(done.done, end)
    assert fake.gate.is_set() and node.session is None
    assert 'loc2_worker' not in [t.name for t in threading.enumerate()]
    values = node.stats.values()
    assert (values['fixes'], values['images_dropped']) == (0, 1)
    assert not world.got['pose']


def test_two_nodes_in_two_namespaces_each_localize_their_own_vehicle(world: World) -> None:
    cars, heard = {}, {}
    for name, truth in (('one', Pose2(5.0, 6.0, 0.3)), ('two', Pose2(-40.0, 20.0, -2.0))):
        fake = FakeLocalizer(truth=truth, offset=Pose2(0.0, 0.0, 0.0))
        node = Loc2Node(localizer_factory=lambda s, f, fake=fake: fake, context=world.context,
                        namespace=name, parameter_overrides=[
                            Parameter('map.datum', value=DATUM),
                            Parameter('odom_frame', value='')])
        assert node.autostart()
        node.spinner = Spinner(node, world.context)
        world._spinners.append(node.spinner)
        world._loc2.append(node)
        cars[name] = (node, truth)
        heard[name] = []
        from geometry_msgs.msg import PoseWithCovarianceStamped
        world.node.create_subscription(PoseWithCovarianceStamped, f'/{name}/loc2/pose',
                                       heard[name].append, 10)
    world.tf_static()
    senders = {name: {topic: world.node.create_publisher(kind, f'/{name}/{topic}', 10)
                      for topic, kind in (('image_rect', Image), ('camera_info', CameraInfo),
                                          ('fix', NavSatFix), ('imu', Imu))} for name in cars}
    world.until(lambda: all(p.get_subscription_count() for s in senders.values()
                            for p in s.values()), 'both nodes')
    names = {'image_rect': 'image', 'camera_info': 'info'}

    def drive() -> bool:
        for name, (_, truth) in cars.items():
            world.publishers.update({names.get(t, t): p for t, p in senders[name].items()})
            world.info()
            stamp = world.now()
            world.fix(stamp, (truth.x_m, truth.y_m))
            world.imu(stamp, truth.yaw_rad)
            world.image(stamp)
            time.sleep(0.01)
        return all(len(got) >= 5 for got in heard.values())
    world.until(drive, 'poses of both')
    for name, (node, truth) in cars.items():
        assert all(error_m(p, truth) < 1e-3 for p in heard[name])
        is_well(world, node)
    assert not world.got['pose']


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
