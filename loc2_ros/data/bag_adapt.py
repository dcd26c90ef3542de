# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Recordings that kitti2bag or one of its ports made, put right: the items of ``bag_check``.

Pictures and scans pass through byte by byte. What a recording never held is not made up: the
truth is what its own fixes and headings say, and only where it has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.utm import frame_as
from loc2_ros.core.values import Array
from loc2_ros.data import drive_messages as build
from loc2_ros.data.bag import Bag, BagError, open_bag, Topic, TopicQos
from loc2_ros.data.bag_writer import BagWriter, make
from loc2_ros.data.kitti_repair import (
    repair_camera, repair_fix, repair_frame, repair_imu, Sigmas)
from loc2_ros.data.recording import datum_of, tree_of
from loc2_ros.data.reference import load_reference
from loc2_ros.data.tf_tree import TransformError
from loc2_ros.data.topics import ADAPTED, COMPRESSED, DriveTopics, RAW, sensor_topic
import numpy as np
from tqdm import tqdm

TF = '/tf'
_TF_MESSAGE = 'tf2_msgs/msg/TFMessage'
_LIKE_RAW = ('image', 'image_rect')     # what kitti2bag called image_raw before and after
Repair = Callable[[Any], bool]


@dataclass
class Adapted:
    """
    What was done.

    :param repaired: messages that were changed, by topic.
    :param left_out: topics that are not in the result, and why.
    :param images: camera images of all topics.
    """

    images: int = 0
    repaired: dict[str, int] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def adapt_bag(path: Path, out: Path, settings: Mapping[str, Any], sigmas: Sigmas = Sigmas(),
              progress: bool = True) -> Adapted:
    """
    Write a right copy of a recording; it appears when it is whole.

    :param out: a new rosbag2 folder, or a .mcap file.
    :param settings: the node's parameters by name: topics, base_frame and static_tf count.
    :raises BagError: the recording cannot be read, or ``out`` is there already.
    """
    if out.exists():
        raise BagError(f'{out} exists; give another --out, or remove it')
    with open_bag(path) as bag:
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with BagWriter(out) as writer:
                return _Adapter(bag, writer, settings, sigmas).run(progress)
        except (ValueError, TransformError) as error:       # frames that make no tree
            raise BagError(f'{path}: {error}') from error


class _Adapter:
    """Copies one recording."""

    def __init__(self, bag: Bag, writer: BagWriter, settings: Mapping[str, Any],
                 sigmas: Sigmas) -> None:
        self._bag, self._writer, self._settings = bag, writer, settings
        self._base = settings['base_frame']
        self._imu_frame = settings['static_tf.child_frame']
        self._static = _static_transforms(bag, settings)
        self._done = Adapted()
        self._repairs: dict[str, Repair] = {
            'sensor_msgs/msg/CameraInfo': repair_camera,
            'sensor_msgs/msg/NavSatFix': self._then_frame(partial(repair_fix, sigmas=sigmas)),
            'sensor_msgs/msg/Imu': self._then_frame(partial(repair_imu, sigmas=sigmas)),
            'geometry_msgs/msg/TwistStamped': self._then_frame(lambda message: False)}

    def run(self, progress: bool) -> Adapted:
        """Write everything; return what was changed."""
        begin = self._bag.start_ns
        self._latched(build.TF_STATIC, begin, make(
            _TF_MESSAGE, transforms=list(self._static.values())))
        self._write_truth(begin)
        names = self._names()
        with tqdm(total=sum(self._bag.topics[name].count for name in names), unit='message',
                  disable=None if progress else True) as bar:
            for record in self._bag.records(names):
                bar.update()
                name, repair = names[record.topic.name], self._repair_of(record.topic)
                if repair is None:
                    self._writer.write_bytes(name, record.log_ns, record.data)
                    continue
                message = record.message
                changed = repair(message)
                self._count(name, changed)
                if record.topic.name != TF or message.transforms:
                    self._writer.write(name, record.log_ns, message)
        return self._done

    def _repair_of(self, topic: Topic) -> Repair | None:
        return self._drop_parents if topic.name == TF else self._repairs.get(topic.msgtype)

    def _names(self) -> dict[str, str]:
        """Declare the topics that are copied; return new names by old ones."""
        copied = {}
        self._done.left_out.update({name: f'ROS 2 has no {kind}'
                                    for name, kind in self._bag.left_out.items()})
        for topic in self._bag.topics.values():
            name = _renamed(topic, self._bag.topics)
            why = self._unwanted(topic)
            if why is None:
                copied[topic.name] = name
                self._writer.add_topic(name, topic.msgtype, build.LATCHED if name == build.ORIGIN
                                       else topic.qos or TopicQos())
                self._done.images += topic.count if topic.msgtype in (RAW, COMPRESSED) else 0
            elif why:
                self._done.left_out[topic.name] = why
        return copied

    def _unwanted(self, topic: Topic) -> str | None:
        """Return why a topic is not copied, '' where that is no news, None if it is."""
        if topic.name == build.TF_STATIC:
            if topic.count != 1 or topic.qos is None or not topic.qos.latched:
                self._done.repaired[topic.name] = topic.count
            return ''       # written already, in one piece
        if topic.name in ADAPTED:
            return 'the adapter makes it'
        if topic.name == TF and not self._remains():
            return f'it only gave {self._base} or a sensor a second parent'
        if not self._writer.knows(topic.msgtype):
            return f'{topic.msgtype} is no common type'
        return None

    def _then_frame(self, repair: Repair) -> Repair:
        """Repair a message of the oxts, and its frame."""
        def both(message: Any) -> bool:
            return repair(message) | repair_frame(message, self._imu_frame)
        return both

    def _drop_parents(self, message: Any) -> bool:
        """Take out of a TFMessage what others have to say."""
        before = len(message.transforms)
        message.transforms = [t for t in message.transforms if self._may_move(t)]
        return len(message.transforms) != before

    def _may_move(self, transform: Any) -> bool:
        child = transform.child_frame_id.lstrip('/')
        return child != self._base and child not in self._static

    def _remains(self) -> bool:
        return any(self._may_move(t) for record in self._bag.records([TF])
                   for t in record.message.transforms)

    def _write_truth(self, begin: int) -> None:
        """Write what the recording lacks of truth and datum, from its own fixes and headings."""
        topics = DriveTopics('', None, sensor_topic(self._bag, self._settings, 'fix_topic') or '',
                             sensor_topic(self._bag, self._settings, 'imu_topic'), None,
                             build.ORIGIN if build.ORIGIN in self._bag.topics else None)
        if build.TRUTH in self._bag.topics or not topics.fix or topics.imu is None:
            return
        repaired: Any = _Repaired(self._bag, self._repair_of)
        # Recordings keep their truth in true east and north, whatever the map frame is
        frame = frame_as(LocalFrame.mode, datum_of(repaired, topics, self._settings, None))
        reference = load_reference(repaired, topics, tree_of(self._bag, self._settings), frame,
                                   self._settings)
        if not len(reference.stamps_ns):
            return
        if topics.origin is None:
            self._latched(build.ORIGIN, begin, build.origin(begin, frame))
        self._writer.add_topic(build.TRUTH, *build.TOPICS[build.TRUTH])
        for stamp, pose, (speed, rate) in zip(
                reference.stamps_ns.tolist(), reference.map_T_base,
                _motion(reference.stamps_ns, reference.map_T_base)):
            self._writer.write(build.TRUTH, stamp, build.odometry(stamp, pose, speed, rate, 0.09))
            self._count(build.TRUTH, True)

    def _latched(self, name: str, stamp: int, message: Any) -> None:
        self._writer.add_topic(name, *build.TOPICS[name])
        self._writer.write(name, stamp, message)

    def _count(self, name: str, changed: bool) -> None:
        if changed:
            self._done.repaired[name] = self._done.repaired.get(name, 0) + 1


class _Repaired:
    """A recording whose messages are as they will be written."""

    def __init__(self, bag: Bag, repair_of: Callable[[Topic], Repair | None]) -> None:
        self.path, self._bag, self._repair_of = bag.path, bag, repair_of

    def records(self, topics: list[str]) -> Iterator[Any]:
        for record in self._bag.records(topics):
            message, repair = record.message, self._repair_of(record.topic)
            if repair is not None:
                repair(message)
            yield SimpleNamespace(topic=record.topic, log_ns=record.log_ns, message=message)


def _static_transforms(bag: Bag, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the last transform of every frame but the base, and the base's if it is missing."""
    found: dict[str, Any] = {}
    for record in bag.records([build.TF_STATIC]):
        for transform in record.message.transforms:
            transform.header.frame_id = transform.header.frame_id.lstrip('/')
            transform.child_frame_id = transform.child_frame_id.lstrip('/')
            found[transform.child_frame_id] = transform
    found.pop(settings['base_frame'], None)
    child = settings['static_tf.child_frame']
    if child and child not in found:
        base_T_child = tree_of(bag, settings).lookup(settings['base_frame'], child)
        found = {child: build.transform(bag.start_ns, settings['base_frame'], child,
                                        base_T_child), **found}
    return found


def _renamed(topic: Topic, topics: Mapping[str, Topic]) -> str:
    """Call the images of kitti2bag image_raw, whichever of its versions wrote them."""
    kinds = {RAW: '', COMPRESSED: '/compressed'}
    if topic.msgtype not in kinds:
        return topic.name
    suffix = kinds[topic.msgtype]
    camera, _, last = topic.name.removesuffix(suffix).rpartition('/')
    name = f'{camera}/image_raw{suffix}'
    known = topic.name.startswith('/kitti/') and last in _LIKE_RAW and name not in topics
    return name if known else topic.name


def _motion(stamps_ns: Any, poses: Array) -> Iterator[tuple[float, float]]:
    """Yield forward speed and yaw rate of poses (N, 3), by differences."""
    rates = np.zeros_like(poses)                                            # (N, 3) per second
    if len(poses) > 1:
        rates[:] = np.gradient(poses, (stamps_ns - stamps_ns[0]) * 1e-9, axis=0)
    for yaw, (east, north, turn) in zip(poses[:, 2].tolist(), rates.tolist()):
        yield math.cos(yaw) * east + math.sin(yaw) * north, turn
