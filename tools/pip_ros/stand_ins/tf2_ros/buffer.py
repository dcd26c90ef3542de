# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The transform tree over time: what tf2's Buffer does, for as much as loc2_ros needs of it."""

from __future__ import annotations

import math
from threading import RLock
import time as wall
from typing import NamedTuple

from geometry_msgs.msg import TransformStamped
from rclpy.clock import JumpThreshold, TimeJump
from rclpy.duration import Duration
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.time import Time

from tf2_ros.exceptions import (
    ConnectivityException,
    ExtrapolationException,
    InvalidArgumentException,
    LookupException,
    TransformException,
)
from tf2_ros.tracks import Rigid, Sample, Track

NORM_TOLERANCE = 1e-2  # tf2's, on the squared norm of a quaternion
POLL_S = 0.01


class Chain(NamedTuple):
    """The way from a frame to the root at one time: frames passed, with ``frame_T_start``."""

    poses: dict[str, Rigid]
    error: ExtrapolationException | None


class Buffer:
    """
    Hold transforms for a while, and answer what lies between two frames at a time.

    :param cache_time: how far behind a frame's newest sample old ones are kept; 10 s.
    :param node: its clock's backward jumps clear the buffer.
    """

    def __init__(self, cache_time: Duration | None = None, node: Node | None = None) -> None:
        self._cache_ns = 10 * 10**9 if cache_time is None else cache_time.nanoseconds
        self._tracks: dict[str, Track] = {}
        self._frames: set[str] = set()
        self._lock = RLock()
        self._logger = get_logger('tf2_buffer') if node is None else node.get_logger()
        if node is not None:
            threshold = JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1),
                                      on_clock_change=True)
            self._jump_handle = node.get_clock().create_jump_callback(
                threshold, post_callback=self._on_jump)

    def set_transform(self, transform: TransformStamped, authority: str) -> None:
        """Insert a transform that is true at its stamp."""
        self._insert(transform, authority, static=False)

    def set_transform_static(self, transform: TransformStamped, authority: str) -> None:
        """Insert a transform that is true at any time."""
        self._insert(transform, authority, static=True)

    def clear(self) -> None:
        """Forget all dynamic transforms; static ones stay, and all frames remain known."""
        with self._lock:
            self._tracks = {child: track for child, track in self._tracks.items() if track.static}

    def lookup_transform(self, target_frame: str, source_frame: str, time: Time,
                         timeout: Duration = Duration()) -> TransformStamped:
        """
        Return the transform that takes coordinates of the source frame to the target frame.

        :param time: when; ``Time()`` is the newest stamp that all links on the way have.
        :param timeout: how long to wait for it, in wall time.
        :raises TransformException: one of its kinds, when there is none by then.
        """
        deadline = wall.monotonic() + timeout.nanoseconds * 1e-9
        while True:
            try:
                return self._lookup(target_frame, source_frame, time.nanoseconds)
            except TransformException:
                if wall.monotonic() >= deadline:
                    raise
            wall.sleep(POLL_S)

    def can_transform(self, target_frame: str, source_frame: str, time: Time,
                      timeout: Duration = Duration(), return_debug_tuple: bool = False,
                      ) -> bool | tuple[bool, str]:
        """Tell whether `lookup_transform` would succeed, on request with the reason if not."""
        try:
            self.lookup_transform(target_frame, source_frame, time, timeout)
        except TransformException as error:
            return (False, str(error)) if return_debug_tuple else False
        return (True, '') if return_debug_tuple else True

    def _on_jump(self, jump: TimeJump) -> None:
        self._logger.warning('Time jumped backwards or the clock changed: clearing TF buffer')
        self.clear()

    def _insert(self, message: TransformStamped, authority: str, static: bool) -> None:
        """Check a message and file it under its child frame."""
        parent = message.header.frame_id.removeprefix('/')
        child = message.child_frame_id.removeprefix('/')
        t, q = message.transform.translation, message.transform.rotation
        rigid = Rigid((t.x, t.y, t.z), (q.x, q.y, q.z, q.w))
        wrong = ''
        if not parent or not child:
            wrong = 'a frame name is empty'
        elif parent == child:
            wrong = 'the frame is its own parent'
        elif not all(map(math.isfinite, rigid.t + rigid.q)):
            wrong = 'a number is not finite'
        elif abs(sum(x * x for x in rigid.q) - 1.0) > NORM_TOLERANCE:
            wrong = 'the quaternion is not normalized'
        if not wrong:
            with self._lock:
                self._frames |= {parent, child}
                track = self._tracks.get(child)
                if track is None or track.static != static:
                    track = self._tracks[child] = Track(static)
                if not track.insert(Sample(_nanoseconds(message), parent, rigid), self._cache_ns):
                    wrong = 'it is older than the cache'
        if wrong:
            self._logger.error(f'Ignoring the transform from "{child}" to "{parent}" of '
                               f'"{authority}": {wrong}', throttle_duration_sec=1.0)

    def _lookup(self, target: str, source: str, stamp_ns: int) -> TransformStamped:
        """Look up once, without waiting."""
        for name, frame in (('target_frame', target), ('source_frame', source)):
            if not frame or frame.startswith('/'):
                raise InvalidArgumentException(
                    f'Invalid argument "{frame}" passed as {name}: frame names are not empty and '
                    'do not start with a slash')
        with self._lock:
            if target == source:
                return _message(target, source, stamp_ns or self._newest(source), Rigid())
            for name, frame in (('target_frame', target), ('source_frame', source)):
                if frame not in self._frames:
                    raise LookupException(f'"{frame}" passed to lookupTransform argument {name} '
                                          'does not exist.')
            if stamp_ns == 0:
                stamp_ns = self._newest_common(target, source)
            sources, targets = self._climb(source, stamp_ns), self._climb(target, stamp_ns)
            common = next((frame for frame in sources.poses if frame in targets.poses), None)
            if common is not None:
                return _message(target, source, stamp_ns,
                                targets.poses[common].inverse() @ sources.poses[common])
            raise sources.error or targets.error or _unconnected(target, source)

    def _climb(self, start: str, stamp_ns: int) -> Chain:
        """Walk from a frame towards the root, until there is no parent at that time."""
        frame, pose = start, Rigid()
        poses = {frame: pose}
        while (track := self._tracks.get(frame)) is not None:
            sample = track.at(stamp_ns)
            if sample is None:
                return Chain(poses, _extrapolation(track, frame, stamp_ns))
            frame, pose = sample.parent, sample.parent_T_child @ pose
            if frame in poses:
                raise ConnectivityException(f'The transform tree has a loop through "{frame}"')
            poses[frame] = pose
        return Chain(poses, None)

    def _newest(self, frame: str) -> int:
        """Return the newest stamp of a frame; 0 where it is static or without a parent."""
        track = self._tracks.get(frame)
        return 0 if track is None or track.static else track.samples[-1].stamp_ns

    def _newest_common(self, target: str, source: str) -> int:
        """Return the newest stamp that all links between two frames have; 0 if all are static."""
        chains = [self._ancestors(target), self._ancestors(source)]
        common = next((frame for frame in chains[1] if frame in chains[0]), None)
        if common is None:
            raise _unconnected(target, source)
        links = [frame for chain in chains for frame in chain[:chain.index(common)]]
        return min((newest for frame in links if (newest := self._newest(frame))), default=0)

    def _ancestors(self, frame: str) -> list[str]:
        """List a frame and its ancestors by the newest parents."""
        chain = [frame]
        while (track := self._tracks.get(chain[-1])) is not None:
            parent = track.samples[-1].parent
            if parent in chain:
                raise ConnectivityException(f'The transform tree has a loop through "{parent}"')
            chain.append(parent)
        return chain


def _nanoseconds(message: TransformStamped) -> int:
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def _unconnected(target: str, source: str) -> ConnectivityException:
    return ConnectivityException(f'Could not find a connection between "{target}" and "{source}" '
                                 'because they are not part of the same tree.')


def _extrapolation(track: Track, frame: str, stamp_ns: int) -> ExtrapolationException:
    first, last = track.samples[0].stamp_ns, track.samples[-1].stamp_ns
    side, kept, what = (('past', first, 'earliest') if stamp_ns < first
                        else ('future', last, 'latest'))
    return ExtrapolationException(
        f'Lookup would require extrapolation into the {side}. Requested time '
        f'{stamp_ns * 1e-9:.6f} but the {what} data is at time {kept * 1e-9:.6f}, for frame '
        f'"{frame}" in "{track.samples[-1].parent}"')


def _message(target: str, source: str, stamp_ns: int, pose: Rigid) -> TransformStamped:
    message = TransformStamped()
    message.header.frame_id, message.child_frame_id = target, source
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = pose.t
    q.x, q.y, q.z, q.w = pose.q
    return message
