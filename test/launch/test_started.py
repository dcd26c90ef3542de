# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""localize.launch.py under the real launch, where there is one: it starts, and ends by ^C."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip('launch_ros', reason='launch_ros has no wheel; comes with a ROS distribution')

ROOT = Path(__file__).resolve().parents[2]
CODE = f"""
import signal, sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
signal.signal(signal.SIGINT, signal.default_int_handler)
service = LaunchService()
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(
    PythonLaunchDescriptionSource({str(ROOT / 'launch' / 'localize.launch.py')!r}),
    launch_arguments=[tuple(word.split(':=', 1)) for word in sys.argv[1:]])]))
sys.exit(service.run())
"""
PATIENCE_S = 120.0


@pytest.mark.slow
def test_with_a_recording_node_and_player_start_and_an_interrupt_ends_all(tmp_path: Path) -> None:
    from loc2_ros.synthetic.world import make_world
    make_world(1_000_004, tmp_path, frames=20, progress=False)
    log = tmp_path / 'log'
    with open(log, 'w') as output:
        process = subprocess.Popen(
            [sys.executable, '-c', CODE, f'map:={tmp_path / "map.mbtiles"}', 'params_file:=kitti',
             f'bag:={tmp_path / "drive.mcap"}', 'rate:=0.2'], stdout=output, stderr=output,
            start_new_session=True, env={**os.environ, 'PYTHONUNBUFFERED': '1'})
    try:
        deadline = time.monotonic() + PATIENCE_S
        while 'playing' not in log.read_text() and process.poll() is None:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.5)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0, log.read_text()
        said = log.read_text()
        assert 'Traceback' not in said and 'loc2_node' in said and 'kitti_adapter' in said
        with pytest.raises(ProcessLookupError):     # nobody is left
            os.killpg(process.pid, 0)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
