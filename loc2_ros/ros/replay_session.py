# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Playing and recording as whole processes: ROS is started, used and shut down in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
import threading
import time
from typing import Any

from loc2_ros.data.bag import open_bag
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.data.recording import DEFAULT_NOISE, tree_of
from loc2_ros.data.reference import is_own_reference
from loc2_ros.data.topics import find_topics
from loc2_ros.evaluate.recorded import Heard, played, result_of
from loc2_ros.ros.recorder import Recorder
from loc2_ros.ros.replay import Player, ReplayOptions
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from tqdm import tqdm

Say = Callable[[str], None]
_HEARING_S = 3.0    # for the first diagnostics of a node that is there
_IDLE_S = 3.0       # longer than diagnostics.period, so that the last counts have come


def replay_bag(path: Path, settings: Mapping[str, Any], *, rate: float, noise: str | None,
               seed: int, wait_s: float, remap: Mapping[str, str], out: Path | None,
               progress: bool, say: Say) -> bool:
    """
    Play a recording.

    :param noise: ``M,DEG``; None for the default.
    :param out: where to record the answers, None for nowhere.
    :returns: False when it was interrupted.
    :raises BagError, ReplayError, ValueError: one sentence with the remedy.
    """
    with open_bag(path) as bag:
        topics = find_topics(bag, settings)
        error = None if noise is None else PriorNoise.parse(noise, seed)
        if noise is None and (topics.truth is None or is_own_reference(
                bag, topics, tree_of(bag, settings), settings)):
            error = PriorNoise(*DEFAULT_NOISE, seed)
            say(f'no truth but fix and imu in the recording: they are moved by {error.metres:g} m '
                f'and {error.degrees:g} deg (--prior-noise 0,0 leaves them alone)')
        wait_for = [t for t in (topics.image, topics.camera_info, topics.fix, topics.imu) if t]
        options = ReplayOptions(rate, error, remap, tuple(wait_for), wait_s)
        with ros_node('loc2_replay') as node, _listening(node, out, settings) as heard:
            player = Player(node, bag, options)
            for name, why in player.skipped.items():
                say(f'not played: {name} ({why})')
            if wait_s > 0:
                say(f'waiting up to {wait_s:g} s for a node that listens')
            player.wait()
            seconds = (bag.end_ns - bag.start_ns) * 1e-9
            say(f'playing {seconds:.1f} s at rate {rate:g}')
            with tqdm(total=round(seconds, 1), unit='s', disable=None if progress else True,
                      bar_format='{l_bar}{bar}| {n:.1f}/{total:.1f} s') as bar:
                done = player.play(lambda now: _advance(bar, now))
    if out is not None:
        write(heard, path, settings, out, error.seed if error else seed)
    return done


def record(path: Path, settings: Mapping[str, Any], out: Path, *, node_name: str = 'loc2',
           idle_s: float = _IDLE_S, seed: int | None = None,
           say: Say = lambda line: None) -> dict[str, Any]:
    """
    Record until the player stops, and write the files of a run.

    :param say: told when everything is subscribed to.
    :returns: the content of metrics.json.
    :raises BagError: the recording that is played cannot be read.
    """
    with ros_node('loc2_record') as node:
        recorder = Recorder(node, node_name, settings['map_frame'])
        executor = SingleThreadedExecutor(context=node.context)
        executor.add_node(node)
        try:
            # Whoever reads this may stop it at once
            say(f'recording what {node_name} says until /clock is silent for {idle_s:g} s or ^C')
            recorder.spin(executor, idle_s)
        except (KeyboardInterrupt, ExternalShutdownException):
            pass        # how a recording is ended by hand
        finally:
            executor.shutdown()
    return write(recorder.heard, path, settings, out, seed)


def write(heard: Heard, path: Path, settings: Mapping[str, Any], out: Path,
          seed: int | None) -> dict[str, Any]:
    """Write poses.tum, fixes.csv and metrics.json of what was heard."""
    return result_of(heard, played(path, settings, heard)).write(out, seed=seed)


@contextmanager
def ros_node(name: str) -> Iterator[Node]:
    """Start ROS with one node, and shut it down in order; SIGINT and SIGTERM shut it down, too."""
    context = rclpy.Context()
    # Not the command line's: rcl would take --remap for its own, and apply it a second time
    rclpy.init(args=[], context=context, signal_handler_options=SignalHandlerOptions.ALL)
    node = Node(name, context=context)
    try:
        yield node
    finally:
        node.destroy_node()
        rclpy.try_shutdown(context=context)


@contextmanager
def _listening(player: Node, out: Path | None, settings: Mapping[str, Any]) -> Iterator[Heard]:
    """Record in a thread of its own while something is played; does nothing without ``out``."""
    if out is None:
        yield Heard()
        return
    node = Node('loc2_record', context=player.context)
    recorder = Recorder(node, 'loc2', settings['map_frame'])
    executor = SingleThreadedExecutor(context=player.context)
    executor.add_node(node)
    stop = threading.Event()
    thread = threading.Thread(target=recorder.spin, args=(executor, _IDLE_S, stop.is_set))
    thread.start()
    patience = time.monotonic() + _HEARING_S
    while not recorder.heard.values and time.monotonic() < patience:
        time.sleep(0.05)        # else the first poses would be missed
    try:
        yield recorder.heard
        thread.join(timeout=2.0 * _IDLE_S)      # the node may still be at its last image
    finally:
        stop.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()


def _advance(bar: Any, seconds: float) -> None:
    bar.update(seconds - bar.n)
