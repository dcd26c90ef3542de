# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Player and recorder as the processes they are: they start, match, end on their own or by ^C."""

from __future__ import annotations

from collections.abc import Iterator
import json
import os
from pathlib import Path
import signal
import subprocess
import sys
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera
from loc2_ros.synthetic.drive import DriveFrames, write_drive
import numpy as np
import pytest

pytest.importorskip('rclpy', reason='needs ROS')
CODE = 'from loc2_ros.cli.main import main; main()'


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a drive of 3 s."""
    t = np.arange(12) * 0.2
    base_T_camera = np.array([[0.0, 0.0, 1.0, 1.2], [-1.0, 0.0, 0.0, 0.0],
                              [0.0, -1.0, 0.0, 1.65], [0.0, 0.0, 0.0, 1.0]])
    return write_drive(DriveFrames(
        1_700_000_000_000_000_000 + (t * 1e9).astype(np.int64),
        np.stack([5.0 * t, 0.0 * t, 0.0 * t], -1), np.full(12, 5.0),
        [np.zeros((24, 80, 3), np.uint8)] * 12, Camera(80, 24, 50.0, 50.0, 39.5, 10.0),
        base_T_camera, LocalFrame(48.9, 8.4, 110.0), 1),
        tmp_path_factory.mktemp('processes') / 'drive.mcap')


@pytest.fixture
def start() -> Iterator[Any]:
    """Start verbs as processes of their own; whatever still runs is ended afterwards."""
    running: list[subprocess.Popen[str]] = []

    def make(*arguments: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, '-c', CODE, *arguments], stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True)
        running.append(process)
        return process
    yield make
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_a_recorder_without_a_node_ends_with_the_player_and_says_all_was_dropped(
        start: Any, drive: Path, tmp_path: Path) -> None:
    recorder = start('record', '--bag', str(drive), '--out', str(tmp_path), '--idle', '2')
    assert recorder.stderr.readline().startswith('recording')
    player = start('replay', str(drive), '-q')
    output, error = player.communicate(timeout=60)
    assert player.returncode == 0, error
    output, error = recorder.communicate(timeout=60)
    assert recorder.returncode == 0, error
    assert 'images 12: 0 fixes, 0 rejected, 12 dropped' in output
    metrics = json.loads((tmp_path / 'metrics.json').read_text())
    assert (metrics['frames'], metrics['dropped']) == (12, 12)
    assert metrics['datum'] == [48.9, 8.4, 110.0]


def test_an_interrupt_ends_a_recorder_with_its_files_written(
        start: Any, drive: Path, tmp_path: Path) -> None:
    recorder = start('record', '--bag', str(drive), '--out', str(tmp_path))
    assert recorder.stderr.readline().startswith('recording')
    os.killpg(recorder.pid, signal.SIGINT)
    output, error = recorder.communicate(timeout=30)
    assert recorder.returncode == 0, error
    assert (tmp_path / 'metrics.json').exists() and 'Traceback' not in error


def test_an_interrupt_ends_a_player_with_130(start: Any, drive: Path) -> None:
    player = start('replay', str(drive), '--rate', '0.01', '-q')
    assert player.stderr.readline().startswith('playing')
    os.killpg(player.pid, signal.SIGINT)
    _, error = player.communicate(timeout=30)
    assert player.returncode == 130 and 'Traceback' not in error


def test_a_player_whom_nobody_hears_says_so(start: Any, drive: Path) -> None:
    player = start('replay', str(drive), '--wait-for', '0.5', '-q')
    _, error = player.communicate(timeout=60)
    assert player.returncode == 1
    assert 'nobody subscribes to' in error and 'ROS_DOMAIN_ID' in error
