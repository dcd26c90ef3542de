# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What every test can rely on: a private ROS domain, a place for logs, and where real data are.

The environment is set here and not in a script, so that `pytest`, `colcon test` and an editor's
test runner all get the same one.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
import signal
import sys
import tempfile
from typing import IO

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent
# 102-214 meet Linux's ephemeral ports, and those from 233 on do not exist
DOMAINS = [*range(1, 102), *range(215, 233)]


def claim_domain() -> tuple[int, IO[str]]:
    """Return a ROS domain that no other test process on this machine holds, and its lock."""
    folder = Path(tempfile.gettempdir())
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(os.getpid() + offset) % len(DOMAINS)]
        lock = open(folder / f'loc2_ros_test_domain_{os.getuid()}_{domain}', 'w')
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            continue
        return domain, lock
    raise RuntimeError('every ROS domain is taken by another test process')


DOMAIN, LOCK = claim_domain()
LOGS = tempfile.TemporaryDirectory(prefix='loc2_ros_test_log_')

sys.path.insert(0, str(ROOT / 'test'))       # for mini_datasets
os.environ['ROS_DOMAIN_ID'] = str(DOMAIN)
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
os.environ['ROS_LOG_DIR'] = LOGS.name
# Wheels have no setup file that would export it
os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
# Networks in tests are small: more threads only get into each other's way
os.environ.setdefault('OMP_NUM_THREADS', str(min(2, os.cpu_count() or 1)))
os.environ.setdefault('MPLBACKEND', 'Agg')
# A job in the background of a shell ignores Ctrl-C, and so would all that tests start and stop
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# The same examples everywhere, and no example fails for being slow on a busy machine
hypothesis.settings.register_profile('loc2_ros', deadline=None, derandomize=True)
hypothesis.settings.load_profile('loc2_ros')


@pytest.fixture(scope='session')
def real_data() -> Path:
    """Return the folder with real drives, which is beside the repository where it is at all."""
    folder = ROOT.parent / 'shared' / 'data'
    if not folder.is_dir():
        pytest.skip(f'needs real drives in {folder}, which are not part of the repository')
    return folder
