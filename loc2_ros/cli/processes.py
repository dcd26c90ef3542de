# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Processes that work together for a while: started, watched, and always stopped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import IO

# 102-214 meet Linux's ephemeral ports; DDS finds participants at 7400 + 250 x domain
DOMAINS = [*range(1, 102), *range(215, 233)]
_PORT_BASE, _PORT_GAIN, _FIRST_UNICAST = 7400, 250, 10
_POLL_S, _TAIL_LINES = 0.1, 12


class ProcessError(RuntimeError):
    """A process ended that should not have, or did not end: what it said last."""


def free_domain() -> int:
    """Return a ROS domain in which nobody on this machine seems to talk."""
    for offset in range(len(DOMAINS)):
        domain = DOMAINS[(os.getpid() + offset) % len(DOMAINS)]
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.bind(('', _PORT_BASE + _PORT_GAIN * domain + _FIRST_UNICAST))
            except OSError:
                continue
            return domain
    raise ProcessError('every ROS domain on this machine is in use')


def ros_environment(domain: int, logs: Path) -> dict[str, str]:
    """Return an environment whose ROS processes see each other and nobody else."""
    env = {**os.environ, 'ROS_DOMAIN_ID': str(domain), 'ROS_LOG_DIR': str(logs / 'ros'),
           'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST', 'PYTHONUNBUFFERED': '1'}
    env.pop('ROS_STATIC_PEERS', None)
    # Wheels have no setup file that would export it
    env.setdefault('AMENT_PREFIX_PATH', sys.prefix)
    return env


class Process:
    """One of them, in a session of its own, with its output in a file."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path,
                 stderr: IO[str] | None = None) -> None:
        self.name, self.log = name, log
        with log.open('wb') as file:
            self._popen = subprocess.Popen(
                list(command), env=dict(env), stdin=subprocess.DEVNULL, stdout=file,
                stderr=stderr or subprocess.STDOUT, start_new_session=True)

    @property
    def code(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._popen.poll()

    def said(self, text: str) -> bool:
        """Return whether its output contains a text."""
        return text in self.log.read_text(errors='replace')

    def error(self, what: str) -> ProcessError:
        """Return an error with the last lines of the output."""
        lines = self.log.read_text(errors='replace').splitlines()[-_TAIL_LINES:]
        quoted = ''.join(f'\n  | {line}' for line in lines) or ' without a word'
        return ProcessError(f'{self.name} {what}; the end of {self.log}:{quoted}')

    def stop(self, patience_s: float = 10.0) -> None:
        """End it: SIGINT, then SIGTERM, then SIGKILL, to the whole session."""
        for sign, wait_s in ((signal.SIGINT, patience_s), (signal.SIGTERM, 3.0),
                             (signal.SIGKILL, 3.0)):
            if self.code is not None:
                return
            try:
                os.killpg(self._popen.pid, sign)
                self._popen.wait(wait_s)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                continue


class Team:
    """Processes of which none outlives the ``with`` block."""

    def __init__(self, env: Mapping[str, str], logs: Path) -> None:
        self._env, self._logs = env, logs
        self._members: list[Process] = []

    def __enter__(self) -> Team:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for process in reversed(self._members):
            process.stop()

    def start(self, name: str, command: Sequence[str], stderr: IO[str] | None = None) -> Process:
        """Start a process; ``stderr`` None sends its errors to the log, too."""
        process = Process(name, command, self._env, self._logs / f'{name}.log', stderr)
        self._members.append(process)
        return process

    def wait_for_words(self, process: Process, text: str, timeout_s: float) -> None:
        """
        Wait until a process says something.

        :raises ProcessError: it, or another one, ended, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while not process.said(text):
            self._check(deadline, process, f'has not said {text!r} after {timeout_s:.0f} s')
            time.sleep(_POLL_S)

    def wait_for_end(self, process: Process, timeout_s: float) -> None:
        """
        Wait until a process ends well; others may end well before it.

        :raises ProcessError: one of them failed, or the time is over.
        """
        deadline = time.monotonic() + timeout_s
        while process.code is None:
            self._check(deadline, process, f'still runs after {timeout_s:.0f} s')
            time.sleep(_POLL_S)
        if process.code:
            raise process.error(f'failed with exit code {process.code}')

    def _check(self, deadline: float, process: Process, late: str) -> None:
        for member in self._members:
            if member.code:
                raise member.error(f'failed with exit code {member.code}')
        if process.code is not None:
            raise process.error('ended too early')
        if time.monotonic() > deadline:
            raise process.error(late)
