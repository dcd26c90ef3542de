# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A recording through player, node and recorder gives what the offline twin gives."""

from __future__ import annotations

from collections.abc import Iterator
import json
import math
import os
from pathlib import Path
import shutil
import threading
from typing import Any

from loc2_ros.cli.settings import load_settings
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera, Fix, Pose2, Reason, Rejection
from loc2_ros.data.bag import open_bag
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.evaluate.recorded import played, result_of
from loc2_ros.evaluate.run import run_bag, RunResult
from loc2_ros.model.weights import model_folder
from loc2_ros.ros.about import load
from loc2_ros.ros.node import Loc2Node, LocalizerFactory
from loc2_ros.ros.recorder import Recorder
from loc2_ros.ros.replay import Player, ReplayOptions
from loc2_ros.synthetic.drive import DriveFrames, FIX, IMAGE, IMU, INFO, write_drive
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter

IMAGES = 20


class AtPrior:
    """A localizer that answers with its prior, and refuses every fifth image."""

    depth = None

    def __init__(self) -> None:
        self.frame = LocalFrame(0.0, 0.0)

    def localize(self, image: Any, prior: Any, mount: Any) -> Fix | Rejection:
        if prior.yaw_map_rad is None:
            return Rejection(image.stamp_ns, Reason.NO_HEADING)
        if image.stamp_ns // 200_000_000 % 5 == 0:
            return Rejection(image.stamp_ns, Reason.LOW_SCORE)
        pose = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad)
        return Fix(image.stamp_ns, pose, np.diag([90.0, 110.0, 0.03]), 0.5, 1.0, 100, 50, 0.0)


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a curve of 20 images at 5 Hz, 400 m from the datum."""
    t = np.arange(IMAGES) * 0.2
    yaw = 3.0 + 0.1 * t             # through the wrap
    poses = np.stack([400.0 + 80.0 * np.sin(yaw), -80.0 * np.cos(yaw), yaw], -1)
    base_T_camera = np.array([[0.0, 0.0, 1.0, 1.2], [-1.0, 0.0, 0.0, 0.0],
                              [0.0, -1.0, 0.0, 1.65], [0.0, 0.0, 0.0, 1.0]])
    frames = DriveFrames(
        1_700_000_000_000_000_000 + (t * 1e9).astype(np.int64), poses, np.full(IMAGES, 8.0),
        [np.full((48, 160, 3), 10 * i, np.uint8) for i in range(IMAGES)],
        Camera(160, 48, 100.0, 100.0, 79.5, 20.0), base_T_camera, LocalFrame(48.9, 8.4, 110.0),
        seed=8)
    return write_drive(frames, tmp_path_factory.mktemp('twin') / 'drive.mcap')


class Spinning:
    """Nodes that spin in threads, which are joined."""

    def __init__(self) -> None:
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=int(os.environ['ROS_DOMAIN_ID']))
        self._stop = threading.Event()
        self._spun: list[tuple[threading.Thread, SingleThreadedExecutor, Any]] = []

    def spin(self, node: Any) -> None:
        """Spin a node until ``close``."""
        executor = SingleThreadedExecutor(context=self.context)
        executor.add_node(node)

        def turn() -> None:
            while not self._stop.is_set():
                executor.spin_once(timeout_sec=0.05)
        thread = threading.Thread(target=turn)
        thread.start()
        self._spun.append((thread, executor, node))

    def close(self) -> None:
        """Stop in the order that rclpy survives."""
        for _, _, node in self._spun:
            if hasattr(node, 'close'):
                node.close()
        self._stop.set()
        for thread, executor, node in self._spun:
            thread.join()
            executor.shutdown()
            node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def spinning() -> Iterator[Spinning]:
    """Start ROS."""
    made = Spinning()
    yield made
    made.close()


def through_ros(spinning: Spinning, path: Path, settings: dict[str, Any],
                noise: PriorNoise | None, topics: tuple[str, ...], rate: float = 1.0,
                factory: LocalizerFactory = lambda settings, frame: AtPrior()) -> RunResult:
    """Play a recording to a node and record its answers."""
    overrides = [Parameter(name, value=value) for name, value in settings.items()
                 if value is not None]
    node = Loc2Node(localizer_factory=factory, context=spinning.context,
                    parameter_overrides=[*overrides, Parameter('use_sim_time', value=True)])
    assert node.autostart()
    spinning.spin(node)
    recorder_node = Node('recorder', context=spinning.context)
    recorder = Recorder(recorder_node)
    spinning.spin(recorder_node)
    player_node = Node('player', context=spinning.context)
    with open_bag(path) as bag:
        player = Player(player_node, bag, ReplayOptions(
            rate=rate, noise=noise, wait_for=topics, wait_s=15.0, tail_s=2.5))
        player.wait()
        assert player.play()
    player_node.destroy_node()
    return result_of(recorder.heard, played(path, settings, recorder.heard))


def compare(twin: RunResult, node: RunResult) -> int:
    """Compare fixes of both by stamp to 1 mm and 0.001 degrees; return how many there are."""
    pairs = [(a, b) for a, b in zip(twin.rows, node.rows) if b.estimate is not None]
    for a, b in pairs:
        assert a.stamp_ns == b.stamp_ns
        assert a.estimate is not None and b.estimate is not None and b.truth is not None
        assert math.hypot(*(a.estimate.xy_m - b.estimate.xy_m)) < 1e-3
        turn = math.remainder(a.estimate.yaw_rad - b.estimate.yaw_rad, 2.0 * math.pi)
        assert abs(math.degrees(turn)) < 1e-3
        assert a.truth == b.truth
        np.testing.assert_allclose(a.covariance, b.covariance)
    return len(pairs)


def test_node_and_twin_agree_on_every_fix_and_on_the_figures(
        spinning: Spinning, drive: Path) -> None:
    settings = load_settings(['kitti'], [])
    twin = run_bag(drive, settings, lambda frame: AtPrior(), progress=False)
    node = through_ros(spinning, drive, settings, None, (IMAGE, INFO, FIX, IMU))
    a, b = twin.metrics(), node.metrics()
    assert a['fixes'] == 16 and a['rejected_by_reason'] == {'low_score': 4}
    assert compare(twin, node) == b['fixes']
    assert b['frames'] == b['fixes'] + b['rejected'] + b['dropped'] == IMAGES
    assert b['dropped'] <= 8        # a loaded machine may drop some, and says so
    assert (b['duplicates'], b['out_of_order'], b['stamp_mismatches']) == (0, 0, 0)
    assert b['tf_messages'] == b['fixes'] and b['datum'] == a['datum']
    assert b['latency_s']['median'] is not None and b['reference'] == 'ground_truth'


@pytest.mark.slow
def test_kitti_0013_through_the_node_equals_the_twin(
        spinning: Spinning, real_data: Path) -> None:
    path = real_data / 'kitti_0013' / 'mcap'
    noise = PriorNoise(15.0, 8.0, seed=0)
    settings = load_settings(['kitti'], [])
    twin = run_bag(path, settings, lambda frame: AtPrior(), progress=False)
    camera = '/kitti/camera_color_left'
    node = through_ros(spinning, path, settings, noise, (
        f'{camera}/image_raw/compressed', f'{camera}/camera_info', FIX, IMU))
    metrics = node.metrics()
    assert metrics['frames'] == metrics['fixes'] + metrics['rejected'] + metrics['dropped'] == 144
    assert compare(twin, node) == metrics['fixes'] >= 80
    assert metrics['datum'] == twin.metrics()['datum']


@pytest.mark.slow
def test_the_built_in_model_sees_the_same_on_kitti_0013_in_node_and_twin(
        spinning: Spinning, real_data: Path, tmp_path: Path) -> None:
    path, camera = real_data / 'kitti_0013' / 'mcap', '/kitti/camera_color_left'
    # Without its gate: it would refuse nearly all, and here it is not about the error
    copy_of = shutil.copytree(model_folder('mini'), tmp_path / 'ungated')
    config = json.loads((copy_of / 'config.json').read_text())
    (copy_of / 'config.json').write_text(json.dumps({**config, 'gate': {}}))
    ortho = real_data / 'kitti_0013' / 'pseudo_ortho' / 'kitti_0013_pseudo_ortho.mbtiles'
    noise = PriorNoise(15.0, 8.0, seed=0)
    settings = load_settings(['kitti'], [f'map.path:={ortho}', 'map.min_valid_fraction:=0.1',
                                         f'checkpoint:={copy_of}'])
    twin = run_bag(path, settings, lambda frame: load(settings, frame), noise=noise,
                   progress=False)
    node = through_ros(spinning, path, settings, noise, (
        f'{camera}/image_raw/compressed', f'{camera}/camera_info', FIX, IMU), 0.3, load)
    metrics = node.metrics()
    assert metrics['frames'] == metrics['fixes'] + metrics['rejected'] + metrics['dropped'] == 144
    assert compare(twin, node) == metrics['fixes'] >= 40
