# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Writing rosbag2 recordings without ROS, with the QoS of every topic stored in the bag."""

from __future__ import annotations

from pathlib import Path
import shutil
from types import TracebackType
from typing import Any

from loc2_ros.data.bag import TopicQos
from rosbags.interfaces import (
    Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime)
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

_STORE = get_typestore(Stores.ROS2_JAZZY)
_FOREVER = QosTime(9223372036, 854775807)
_PLUGINS = {'.mcap': StoragePlugin.MCAP, '.db3': StoragePlugin.SQLITE3}


def make(msgtype: str, **fields: Any) -> Any:
    """
    Build a message of a Jazzy type.

    :param msgtype: for example ``geometry_msgs/msg/Vector3``.
    """
    return _STORE.types[msgtype](**fields)


def make_stamp(stamp_ns: int) -> Any:
    """Build a ``builtin_interfaces/Time``."""
    return make('builtin_interfaces/msg/Time',
                sec=stamp_ns // 1_000_000_000, nanosec=stamp_ns % 1_000_000_000)


def make_header(stamp_ns: int, frame_id: str) -> Any:
    """Build a ``std_msgs/Header``."""
    return make('std_msgs/msg/Header', stamp=make_stamp(stamp_ns), frame_id=frame_id)


class BagWriter:
    """
    A recording being written, as a context manager; it appears at ``path`` only when complete.

    :param path: ``x.mcap`` or ``x.db3`` makes that one file; any other name a rosbag2 folder
        with MCAP in it. What was there before is replaced.
    """

    def __init__(self, path: str | Path) -> None:
        """Prepare; nothing is written before ``__enter__``."""
        self.path = Path(path)
        self._partial = self.path.with_name(f'.{self.path.name}.partial') / self.path.stem
        plugin = _PLUGINS.get(self.path.suffix, StoragePlugin.MCAP)
        shutil.rmtree(self._partial.parent, ignore_errors=True)
        self._writer = Writer(self._partial, version=9, storage_plugin=plugin)
        self._topics: dict[str, Connection] = {}

    def add_topic(self, name: str, msgtype: str, qos: TopicQos | None = TopicQos()) -> None:
        """Declare a topic; None stores no QoS, as old converters do."""
        self._topics[name] = self._writer.add_connection(
            name, msgtype, typestore=_STORE, offered_qos_profiles=[_profile(qos)] if qos else [])

    @staticmethod
    def knows(msgtype: str) -> bool:
        """Return whether messages of a type can be stored."""
        return msgtype in _STORE.fielddefs

    def write(self, topic: str, log_ns: int, message: Any) -> None:
        """Store a message of a declared topic."""
        connection = self._topics[topic]
        self.write_bytes(topic, log_ns, bytes(_STORE.serialize_cdr(message, connection.msgtype)))

    def write_bytes(self, topic: str, log_ns: int, data: bytes) -> None:
        """Store a message that is serialised already."""
        self._writer.write(self._topics[topic], log_ns, data)

    def __enter__(self) -> BagWriter:
        """Open the partial recording."""
        self._writer.open()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        """Move the finished recording into place, or remove what there is of it."""
        self._writer.__exit__(kind, error, trace)
        try:
            if kind is None:
                self._publish()
        finally:
            shutil.rmtree(self._partial.parent, ignore_errors=True)

    def _publish(self) -> None:
        """Replace the target."""
        if self.path.is_dir():
            shutil.rmtree(self.path)
        if self.path.suffix in _PLUGINS:
            (self._partial / f'{self._partial.name}{self.path.suffix}').replace(self.path)
        else:
            self._partial.replace(self.path)


def _profile(qos: TopicQos) -> Qos:
    """Spell a QoS out as rosbag2 stores it."""
    return Qos(
        history=QosHistory.KEEP_LAST if qos.depth else QosHistory.KEEP_ALL,
        depth=qos.depth,
        reliability=QosReliability.RELIABLE if qos.reliable else QosReliability.BEST_EFFORT,
        durability=QosDurability.TRANSIENT_LOCAL if qos.latched else QosDurability.VOLATILE,
        deadline=_FOREVER, lifespan=_FOREVER, liveliness=QosLiveliness.AUTOMATIC,
        liveliness_lease_duration=_FOREVER, avoid_ros_namespace_conventions=False)
