# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Training as processes: two do what one does, and a killed one is no loss."""

from __future__ import annotations

import csv
import os
from pathlib import Path
import socket
import subprocess
import sys

from loc2_ros.train.processes import share_norms, SharedNorm
import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).parent
# This checkout first, whatever is installed
RUN = [sys.executable, '-c', f'import sys; sys.path[:0] = {[str(ROOT), str(HERE)]}; '
       'import toy_run; toy_run.main()']


def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
    """Start a run on the CPU."""
    environment = {**os.environ, 'ACCELERATE_USE_CPU': 'true', 'CUDA_VISIBLE_DEVICES': '', **more}
    return subprocess.Popen([*RUN, *arguments], env=environment, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[str]) -> None:
    """Wait for a run that has to succeed."""
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output[-3000:]


def losses(folder: Path) -> dict[str, list[float]]:
    with open(folder / 'log.csv', newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [row['step'] for row in rows] == [str(k) for k in range(1, 7)]
    return {key: [float(row[key]) for row in rows] for key in rows[0]}


@pytest.fixture(scope='module')
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[float]]:
    """Return the losses of a run that one process did without interruption."""
    folder = tmp_path_factory.mktemp('alone')
    finish(start(str(folder)))
    found = losses(folder)
    assert set(found) == {'step', 'total', 'tokens', 'cells', 'vce', 'infonce'}
    assert all(min(values) > 0 for values in found.values())
    return found


@pytest.mark.slow
def test_a_killed_run_that_goes_on_gives_the_losses_of_one_that_was_not(
        tmp_path: Path, alone: dict[str, list[float]]) -> None:
    killed = start(str(tmp_path), '--kill-at', '15')        # within the fourth step of six
    killed.communicate(timeout=600)
    assert killed.returncode == -9
    assert not (tmp_path / 'model').exists()
    finish(start(str(tmp_path), '--resume'))
    assert losses(tmp_path) == alone


@pytest.mark.slow
def test_two_processes_give_the_losses_of_one(tmp_path: Path,
                                              alone: dict[str, list[float]]) -> None:
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    pair = [start(str(tmp_path), RANK=str(k), LOCAL_RANK=str(k), WORLD_SIZE='2',
                  LOCAL_WORLD_SIZE='2', MASTER_ADDR='127.0.0.1', MASTER_PORT=port)
            for k in range(2)]
    for process in pair:
        finish(process)
    together = losses(tmp_path)
    for key, values in alone.items():
        # Sums of floats in another order, and what six steps make of it
        assert together[key] == pytest.approx(values, rel=1e-3), key


def test_shared_norms_keep_names_and_values() -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.BatchNorm2d(4), nn.ReLU()))
    with torch.no_grad():
        module[1][0].running_mean.fill_(0.3)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    share_norms(module)
    assert type(module[1][0]) is SharedNorm
    after = module.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[k], before[k]) for k in before)
