# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and SIGTERM to a real process at every stage: exit code 0, no traceback, nothing left."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any, Iterator

from builtin_interfaces.msg import Time as TimeMsg
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.writer import write_mbtiles_from_local
import numpy as np
import pytest
from ros_world import BEST_EFFORT, DATUM, World
from rosgraph_msgs.msg import Clock

ROOT = Path(__file__).resolve().parents[2]
# This checkout's, whichever one the environment was made for
RUN = (f'import runpy, sys; sys.path.insert(0, {str(ROOT)!r}); '
       f'runpy.run_path({str(ROOT / "scripts" / "loc2_node")!r}, run_name="__main__")')
SLOW_START_S = 120.0        # torch and the model on a busy machine
STAGES = ('configuring', 'idle', 'inferring')


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Any]:
    """
    Give a starter of node processes, each in a group of its own; none outlives the test.

    One that still runs at the end has been waited for in vain: it says where it hangs.
    """
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        started.append(subprocess.Popen(
            [sys.executable, '-X', 'faulthandler', '-c', RUN, '--ros-args', *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True))
        return started[-1]
    yield start
    for one in started:
        if one.returncode is None:
            os.killpg(one.pid, signal.SIGABRT)
            print(one.communicate(timeout=60)[0], f'exit code {one.returncode}')


def ended(one: subprocess.Popen[str]) -> str:
    """Wait for a clean end, and return what the process has printed."""
    output, _ = one.communicate(timeout=60)
    assert one.returncode == 0, output
    with pytest.raises(ProcessLookupError):     # no child, no helper
        os.killpg(one.pid, 0)
    return output


@pytest.mark.slow
@pytest.mark.parametrize('strokes', [1, 2])
@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM], ids=['int', 'term'])
@pytest.mark.parametrize('stage', STAGES)
def test_a_signal_at_any_stage_ends_the_process_with_0_and_leaves_nothing(
        world: World, process: Any, tmp_path: Path, stage: str, number: signal.Signals,
        strokes: int) -> None:
    grey = np.full((256, 256, 3), 90, np.uint8)
    path = tmp_path / 'map.mbtiles'
    write_mbtiles_from_local(path, grey, LocalFrame(*DATUM), -128.0, 128.0, 1.0, metadata={})
    one = process('-p', f'map.path:={path}', '-p', f'map.datum:={DATUM}', '-p', 'device:=cpu',
                  '-p', "odom_frame:=''")
    world.until(lambda: world.node.count_publishers('/diagnostics'), 'the node', SLOW_START_S)
    if stage != 'configuring':
        world.until(lambda: world.node.count_publishers('/loc2/pose'), 'it active', SLOW_START_S)
    if stage == 'inferring':
        world.connect()
        world.tf_static()
        world.info()

        def busy() -> bool:
            world.frame()
            time.sleep(0.05)
            values = (world.status('model') or (0, '', {}))[2]
            return 'inference_ms' in values
        world.until(busy, 'images in the model', SLOW_START_S)
    for _ in range(strokes):
        os.killpg(one.pid, number)
        if stage == 'inferring':
            world.frame()
        time.sleep(0.03)
    output = ended(one)
    assert 'Traceback' not in output, output


def test_a_clock_from_before_1970_does_not_end_the_process(world: World, process: Any) -> None:
    from lifecycle_msgs.srv import GetState
    one = process('-p', 'autostart:=false', '-p', 'use_sim_time:=true')
    clock = world.node.create_publisher(Clock, '/clock', BEST_EFFORT)
    world.until(clock.get_subscription_count, 'the node', SLOW_START_S)
    for sec in (-1, -2 ** 31, 5, -1):
        clock.publish(Clock(clock=TimeMsg(sec=sec)))
        time.sleep(0.1)
    client = world.node.create_client(GetState, '/loc2/get_state')
    world.until(client.service_is_ready, 'its services')
    calls: list[Any] = []

    def state() -> Any:     # a first call can be lost while the two are being matched
        if not calls or time.monotonic() - calls[-1][0] > 1.0:
            calls.append((time.monotonic(), client.call_async(GetState.Request())))
        return next((f.result().current_state.label for _, f in calls if f.done()), None)
    assert world.until(state, 'its state', 20.0) == 'unconfigured'
    os.killpg(one.pid, signal.SIGINT)
    output = ended(one)
    assert 'a message on /clock cannot be used' in output, output
