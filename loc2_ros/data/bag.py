# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Reading recordings without ROS: rosbag2 with MCAP or sqlite3, a folder or the bare file, and ROS 1.

Bags of ROS 1 come out as ROS 2 would have recorded them.

Whatever is wrong with a recording ends as ``BagError``: one sentence with a remedy.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
import sqlite3
import struct
from typing import Any

import apsw
from loc2_ros.data.mcap_scan import scan_mcap
from loc2_ros.data.ros1 import from_cdr, ros2_type, to_cdr
from rosbags.highlevel import AnyReader
from rosbags.highlevel.anyreader import AnyReaderError
from rosbags.interfaces import (
    Connection, ConnectionExtRosbag1, ConnectionExtRosbag2, QosDurability, QosHistory,
    QosReliability)
from rosbags.rosbag1 import ReaderError as Reader1Error
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError
from rosbags.typesys import get_typestore, Stores

_ROS1 = '.bag'
_SUFFIXES = ('.mcap', '.db3')
# What rosbags lets through on damaged files, beside its own errors
_READ_ERRORS = (AnyReaderError, ReaderError, Reader1Error, SerdeError, OSError, sqlite3.Error,
                apsw.Error, struct.error, ValueError, TypeError, LookupError, EOFError,
                OverflowError, MemoryError, AssertionError)


class BagError(RuntimeError):
    """A recording that cannot be read; the message names it and says what to do."""


@dataclass(frozen=True)
class TopicQos:
    """
    What a publisher offered: the part of a QoS profile that matters for replaying it.

    :param latched: durability transient local.
    :param depth: history depth; 0 for "keep all".
    """

    reliable: bool = True
    latched: bool = False
    depth: int = 10


@dataclass(frozen=True)
class Topic:
    """One topic of a recording; ``qos`` is None where the bag says nothing."""

    name: str
    msgtype: str
    count: int
    qos: TopicQos | None


@dataclass(frozen=True)
class Record:
    """
    One stored message.

    :param log_ns: when it was recorded, nanoseconds.
    :param data: serialised CDR, exactly as stored.
    """

    topic: Topic
    log_ns: int
    data: bytes
    _decode: Callable[[bytes, str], Any] = field(repr=False)

    @property
    def message(self) -> Any:
        """Deserialise the message; every access does it again."""
        try:
            return self._decode(self.data, self.topic.msgtype)
        except _READ_ERRORS as error:
            raise BagError(f'a message on {self.topic.name} at {self.log_ns} ns cannot be '
                           f'deserialised as {self.topic.msgtype} ({error})') from error


class Bag:
    """
    An open recording; made by ``open_bag``.

    ``left_out`` names the topics of ROS 1 whose type ROS 2 does not have, with that type.
    """

    def __init__(self, path: Path, reader: AnyReader) -> None:
        """Take an open reader."""
        self.path = path
        self._reader = reader
        self.topics: dict[str, Topic] = {}
        self.left_out: dict[str, str] = {}
        for connection in reader.connections:
            self._add(connection)

    @property
    def start_ns(self) -> int:
        """Return the log time of the first message."""
        return self._reader.start_time

    @property
    def end_ns(self) -> int:
        """Return the log time of the last message."""
        return self._reader.end_time - 1 if self._reader.message_count else self.start_ns

    def of_type(self, msgtype: str) -> list[Topic]:
        """Return the topics of one type, for example ``sensor_msgs/msg/NavSatFix``."""
        return [topic for topic in self.topics.values() if topic.msgtype == msgtype]

    def records(self, topics: Collection[str] | None = None) -> Iterator[Record]:
        """
        Yield stored messages in time order.

        :param topics: only these; None for all. Names the bag does not have are ignored.
        :raises BagError: where the recording turns out to be damaged.
        """
        wanted = [c for c in self._reader.connections
                  if c.topic in self.topics and (topics is None or c.topic in topics)]
        if not wanted:
            return
        count = 0
        messages = self._reader.messages(connections=wanted)
        while True:
            try:
                connection, log_ns, raw = next(messages)
                topic = self.topics[connection.topic]
                data = bytes(raw) if self._reader.is2 else to_cdr(raw, topic.msgtype)
            except StopIteration:
                return
            except _READ_ERRORS as error:
                raise BagError(_damaged(self.path, f'{error}; {count} messages before it could '
                                                   f'be read')) from error
            count += 1
            yield Record(topic, log_ns, data, self._reader.deserialize if self._reader.is2
                         else from_cdr)

    def _add(self, connection: Connection) -> None:
        """Register a connection; several publishers of one topic become one."""
        kind: str | None = connection.msgtype
        if not self._reader.is2:
            kind = ros2_type(self._reader.typestore, connection.msgtype)
        if kind is None:
            self.left_out[connection.topic] = connection.msgtype
            return
        before = self.topics.get(connection.topic)
        count = connection.msgcount + (before.count if before else 0)
        qos = _qos(connection) or (before.qos if before else None)
        self.topics[connection.topic] = Topic(connection.topic, kind, count, qos)


@contextmanager
def open_bag(path: str | Path) -> Iterator[Bag]:
    """
    Open a recording for reading.

    :param path: a rosbag2 folder, a bare .mcap or .db3 file, or a .bag of ROS 1.
    :raises BagError: absent, not a recording, cut off, or empty.
    """
    source = _locate(Path(path))
    try:
        reader = AnyReader([source], default_typestore=get_typestore(Stores.ROS2_JAZZY))
        reader.open()
    except _READ_ERRORS as error:
        raise BagError(_explain(source, str(error))) from error
    try:
        bag = Bag(Path(path), reader)
        if not any(topic.count for topic in bag.topics.values()):
            raise BagError(f'{path} holds no messages')
        yield bag
    finally:
        reader.close()


def _locate(path: Path) -> Path:
    """Return what rosbags can open: the folder with metadata, or the one file."""
    if not path.exists():
        raise BagError(f'there is no bag at {path}')
    if path.is_file():
        if path.name == 'metadata.yaml':
            return path.parent
        if path.suffix not in (*_SUFFIXES, _ROS1):
            raise BagError(f'{path} is no recording: expected a folder, .mcap, .db3 or .bag')
        return path
    if (path / 'metadata.yaml').exists():
        return path
    files = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES)
    if len(files) != 1:
        what = f'{len(files)} storage files but no metadata.yaml' if files else 'no recording'
        raise BagError(f'{path} holds {what}' + (
            f'; make it with: ros2 bag reindex {path}' if files else ''))
    return files[0]


def _explain(source: Path, detail: str) -> str:
    """Say what can still be read of a recording that does not open."""
    file = source
    if source.is_dir():
        files = sorted(p for p in source.iterdir() if p.suffix in _SUFFIXES)
        if not files:
            return f'{source} cannot be read ({detail})'
        file = files[-1]
    if file.suffix != '.mcap':
        return _damaged(file, detail)
    scan = scan_mcap(file)
    if not scan.is_mcap:
        return f'{file} is not an MCAP recording ({detail})'
    return _damaged(file, f'{detail} {scan}')


def _damaged(path: Path, detail: str) -> str:
    """Name the file, the finding and the remedy."""
    remedy = {'.mcap': f'mcap recover {path} -o repaired.mcap',
              _ROS1: f'rosbag reindex {path}'}.get(path.suffix, f'ros2 bag reindex {path}')
    return f'{path} is damaged or cut off ({detail}); repair it with: {remedy}'


def _qos(connection: Connection) -> TopicQos | None:
    """Return the QoS stored for a connection, if any."""
    ext = connection.ext
    if isinstance(ext, ConnectionExtRosbag1):
        return TopicQos(latched=True, depth=1) if ext.latching else None
    if not isinstance(ext, ConnectionExtRosbag2) or not ext.offered_qos_profiles:
        return None
    profiles = ext.offered_qos_profiles
    keep_all = any(q.history is QosHistory.KEEP_ALL for q in profiles)
    return TopicQos(
        # Several publishers: the subscriber that wants most must still be served
        reliable=any(q.reliability is not QosReliability.BEST_EFFORT for q in profiles),
        latched=any(q.durability is QosDurability.TRANSIENT_LOCAL for q in profiles),
        depth=0 if keep_all else max(1, max(q.depth for q in profiles)))
