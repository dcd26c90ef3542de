# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The demo: towns are made once, processes are watched and always stopped, and it ends well."""

from __future__ import annotations

import json
import os
from pathlib import Path
import signal
import socket
import sys
import time
from typing import Any

from loc2_ros.cli import demo
from loc2_ros.cli.processes import free_domain, ProcessError, ros_environment, Team
from loc2_ros.cli.settings import load_settings
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera
from loc2_ros.evaluate.metrics import RunFacts, summarize, write_metrics
from loc2_ros.synthetic.drive import DriveFrames, write_drive
import numpy as np
import pytest

ENV = dict(os.environ)
STUBBORN = ('import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); '
            'print("ready", flush=True); time.sleep(600)')


def python(code: str) -> list[str]:
    """Return the command that runs a line of Python."""
    return [sys.executable, '-c', code]


def alive(pid: int) -> bool:
    """Return whether a process runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_no_process_outlives_the_block_however_stubborn(tmp_path: Path) -> None:
    with Team(ENV, tmp_path) as team:
        team.start('sleeper', python('import time; time.sleep(600)'))
        stubborn = team.start('stubborn', python(STUBBORN))
        team.wait_for_words(stubborn, 'ready', 60.0)
        stubborn.stop(patience_s=0.2)
        assert stubborn.code == -signal.SIGTERM
    assert all(member.code is not None for member in team._members)


def test_grandchildren_end_with_their_parent(tmp_path: Path) -> None:
    code = ('import subprocess, sys, time; child = subprocess.Popen([sys.executable, "-c", '
            '"import time; time.sleep(600)"]); print("child", child.pid, flush=True); '
            'child.wait()')
    with Team(ENV, tmp_path) as team:
        parent = team.start('parent', python(code))
        team.wait_for_words(parent, 'child', 60.0)
    pid = int((tmp_path / 'parent.log').read_text().split()[1])
    deadline = time.monotonic() + 30.0
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)


def test_a_failure_is_told_with_the_last_lines_of_whoever_failed(tmp_path: Path) -> None:
    with pytest.raises(ProcessError) as caught, Team(ENV, tmp_path) as team:
        waiting = team.start('recorder', python('import time; time.sleep(600)'))
        team.start('node', python('print("no map: set map.path"); raise SystemExit(1)'))
        team.wait_for_end(waiting, 60.0)
    assert 'node failed with exit code 1' in str(caught.value)
    assert '| no map: set map.path' in str(caught.value)


def test_a_process_that_ends_before_its_words_or_runs_too_long_is_an_error(
        tmp_path: Path) -> None:
    with Team(ENV, tmp_path) as team:
        quick = team.start('quick', python('print("something else")'))
        with pytest.raises(ProcessError, match='quick ended too early'):
            team.wait_for_words(quick, 'listening', 60.0)
        slow = team.start('slow', python('import time; time.sleep(600)'))
        with pytest.raises(ProcessError, match='slow still runs after 0 s'):
            team.wait_for_end(slow, 0.0)


def test_a_domain_that_somebody_uses_is_not_taken() -> None:
    first = free_domain()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        somebody.bind(('', 7400 + 250 * first + 10))
        assert free_domain() != first


def test_the_processes_of_a_demo_see_each_other_and_nobody_else(tmp_path: Path) -> None:
    env = ros_environment(17, tmp_path)
    assert env['ROS_DOMAIN_ID'] == '17'
    assert env['ROS_AUTOMATIC_DISCOVERY_RANGE'] == 'LOCALHOST'
    assert env['ROS_LOG_DIR'].startswith(str(tmp_path))


@pytest.fixture
def maker(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replace the making of towns by one that notes the seeds; 13 fails half-way."""
    made: list[int] = []

    def make(seed: int, out: Path, frames: int) -> None:
        made.append(seed)
        out.mkdir(parents=True)
        (out / 'map.mbtiles').touch()
        if seed == 13:
            raise ValueError('interrupted')
        (out / 'drive.mcap').touch()
    monkeypatch.setattr('loc2_ros.synthetic.world.make_world', make)
    return made


def test_a_town_is_made_once_and_again_for_another_seed_length_or_code(
        maker: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / 'town'
    for seed, frames in ((1, 20), (1, 20), (2, 20), (2, 30), (2, 30)):
        assert demo.make_town(folder, seed, frames) == folder
    assert maker == [1, 2, 2]
    monkeypatch.setattr(demo, '_code_digest', lambda: 'newer')
    demo.make_town(folder, 2, 30)
    assert maker == [1, 2, 2, 2]


def test_a_town_that_was_interrupted_or_lost_a_file_is_made_again(
        maker: list[int], tmp_path: Path) -> None:
    folder = tmp_path / 'town'
    with pytest.raises(ValueError, match='interrupted'):
        demo.make_town(folder, 13, 20)
    demo.make_town(folder, 1, 20)
    (folder / 'drive.mcap').unlink()
    demo.make_town(folder, 1, 20)
    assert maker == [13, 1, 1]


def test_the_parameter_file_of_the_demo_is_valid_and_names_map_and_model(tmp_path: Path) -> None:
    path = demo.write_params(tmp_path, tmp_path / 'town', 'mini')
    settings = load_settings(['kitti', str(path)], [])
    assert settings['map.path'] == str((tmp_path / 'town' / 'map.mbtiles').resolve())
    assert settings['checkpoint'] == 'mini'
    assert settings['image_topic'] == '/kitti/camera_color_left/image_raw'


def test_the_last_words_are_a_table_even_without_a_single_fix(tmp_path: Path) -> None:
    write_metrics(tmp_path / 'metrics.json', summarize([], RunFacts(frames=3)))
    lines = demo.closing_lines(tmp_path)
    assert any('images 3: 0 fixes' in line for line in lines)
    assert lines[-1].endswith('report.html')


@pytest.fixture(scope='module')
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a field with a drive of 3 s across it, and an untrained model."""
    pytest.importorskip('rclpy', reason='needs ROS')
    from loc2_ros.maps.writer import write_mbtiles_from_local
    from loc2_ros.model.contract import Contract
    from loc2_ros.model.loc2 import Loc2Net
    from loc2_ros.model.weights import save_model

    folder, datum = tmp_path_factory.mktemp('demo'), LocalFrame(48.9, 8.4, 110.0)
    rng = np.random.default_rng(0)
    photo = np.kron(rng.integers(0, 255, (50, 50, 3)), np.ones((20, 20, 1))).astype(np.uint8)
    write_mbtiles_from_local(folder / 'map.mbtiles', photo, datum, -100.0, 100.0, 0.2,
                             metadata={'name': 'field', 'attribution': 'nobody'})
    t = np.arange(16) * 0.2
    base_T_camera = np.array([[0.0, 0, 1, 1.2], [-1, 0, 0, 0], [0, -1, 0, 1.65], [0, 0, 0, 1]])
    write_drive(DriveFrames(
        1_700_000_000_000_000_000 + (t * 1e9).astype(np.int64),
        np.stack([5.0 * t, 0.0 * t, 0.0 * t], -1), np.full(16, 5.0),
        rng.integers(0, 255, (16, 48, 160, 3), np.uint8), Camera(160, 48, 95, 95, 79.5, 20.0),
        base_T_camera, datum, 1), folder / 'drive.mcap')
    save_model(Loc2Net(Contract('untrained', ground_hw=(48, 160), aerial_px=128)),
               folder / 'model')
    return folder


@pytest.mark.slow
def test_node_player_and_recorder_account_for_every_image_over_dds(
        small_world: Path, tmp_path: Path) -> None:
    params = demo.write_params(tmp_path, small_world, str(small_world / 'model'))
    bag = small_world / 'drive.mcap'
    demo.drive_through(bag, tmp_path, params, 0.5, 7)
    demo.write_pictures(tmp_path, bag, params, 7)
    metrics: dict[str, Any] = json.loads((tmp_path / 'metrics.json').read_text())
    assert metrics['frames'] == 16 and metrics['seed'] == 7
    assert metrics['fixes'] + metrics['rejected'] + metrics['dropped'] == 16
    assert metrics['fixes'] + metrics['rejected'] > 0
    assert (metrics['duplicates'], metrics['out_of_order'], metrics['stamp_mismatches']) == (
        0, 0, 0)
    assert metrics['reference'] == 'ground_truth'
    for name in ('report.html', 'trajectory.png', 'poses.tum', 'fixes.csv', 'logs/node.log'):
        assert (tmp_path / name).exists()


@pytest.mark.slow
def test_a_node_that_cannot_start_ends_the_demo_with_its_sentence(
        small_world: Path, tmp_path: Path) -> None:
    params = demo.write_params(tmp_path, tmp_path / 'nowhere', str(small_world / 'model'))
    with pytest.raises(ProcessError, match='node failed') as caught:
        demo.drive_through(small_world / 'drive.mcap', tmp_path, params, 1.0, 7)
    assert 'map.mbtiles does not exist' in str(caught.value)


def test_a_folder_that_no_demo_made_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / 'town' / 'precious.txt'
    precious.parent.mkdir()
    precious.write_text('mine')
    with pytest.raises(ValueError, match='precious'):
        demo.make_town(tmp_path / 'town', 1, 20)
    assert precious.read_text() == 'mine'
