# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Faults inside of the node and around its life: map, model, memory, shutdown, a second node."""

from __future__ import annotations

import os
from pathlib import Path
import threading
import time
from typing import Any

from fault_tools import answered, error_m, is_well, no_wrong_fix, recovers
from geometry_msgs.msg import PoseWithCovarianceStamped
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Pose2, Reason, Rejection
from loc2_ros.maps.store import open_store
from loc2_ros.maps.writer import write_mbtiles_from_local
from loc2_ros.ros.about import load
from loc2_ros.ros.node import Loc2Node
import numpy as np
import pytest
from rclpy.parameter import Parameter
from ros_world import DATUM, FakeLocalizer, Spinner, World
from sensor_msgs.msg import CameraInfo, Image, Imu, NavSatFix


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
    net = node.localizer.network.model.net
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


def test_a_heading_that_the_model_needs_is_not_taken_from_it_at_run_time(
        world: World, tmp_path: Path) -> None:
    from rclpy.parameter import Parameter
    node = world.start(factory=load, map__path=str(grey_map(tmp_path / 'map.mbtiles', 90)),
                       device='cpu')

    def asked(source: str) -> Any:
        return node.set_parameters([Parameter('prior.heading', value=source)])[0]
    refused = asked('none')
    assert not refused.successful and 'mini needs a heading prior' in refused.reason
    assert asked('course').successful


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
