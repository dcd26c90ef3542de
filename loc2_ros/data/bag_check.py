# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Is a recording fit for the node, and for an EKF beside it? One finding per thing that may be wrong.

Every item is something that existing conversions of KITTI get wrong, or that makes a filter
believe what it must not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
import math
from typing import Any

from loc2_ros.core.values import wrap_pi
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.bag import Bag, BagError, Topic
from loc2_ros.data.images import decode_compressed, decode_raw
from loc2_ros.data.kitti_repair import says_something
from loc2_ros.data.messages import heading_from_imu, position_from_fix, stamp_ns
from loc2_ros.data.recording import tree_of
from loc2_ros.data.reference import load_reference, origin_of
from loc2_ros.data.tf_tree import TransformError
from loc2_ros.data.topics import ADAPTED, COMPRESSED, DriveTopics, find_topics, RAW
import numpy as np

LATE_S = 5.0        # a header stamp further from when it was recorded is of another clock
# How far the truth may be from what fixes and headings say: beyond 3 deviations, and in heading
_SAME_M, _SAME_RAD = 0.5, math.radians(20.0)
_MOVES_MPS = 1.0
_TWISTS = ('geometry_msgs/msg/TwistStamped', 'geometry_msgs/msg/TwistWithCovarianceStamped')
_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Finding:
    """One item: its name, and what is wrong with it, '' if nothing."""

    item: str
    problem: str = ''


def check_bag(bag: Bag, settings: Mapping[str, Any]) -> list[Finding]:
    """
    Check every item.

    :param settings: the node's parameters by name; topics and frames are theirs.
    :raises BagError: there is no camera or no fix to begin with.
    """
    topics = find_topics(bag, settings)
    base = settings['base_frame']
    checks: dict[str, Callable[[], Iterator[str]]] = {
        'images': lambda: _images(bag, topics),
        'calibration': lambda: _calibration(bag, topics),
        'fix covariance': lambda: _fixes(bag, topics),
        'imu covariances': lambda: _headings(bag, topics),
        'velocity': lambda: _velocity(bag),
        'static transforms': lambda: _static(bag, topics, settings),
        'no second parent': lambda: _parents(bag, base),
        'nothing twice': lambda: _twice(bag),
        'truth': lambda: _truth(bag, topics, settings),
        'datum': lambda: _datum(bag, topics),
        'stamps': lambda: _stamps(bag, topics)}
    return [Finding(item, next(check(), '')) for item, check in checks.items()]


def _images(bag: Bag, topics: DriveTopics) -> Iterator[str]:
    info = _first(bag, topics.camera_info)
    for n, record in enumerate(bag.records([topics.image])):
        message = record.message
        if not message.header.frame_id:
            yield f'image {n} on {topics.image} names no frame'
        if record.topic.msgtype == COMPRESSED and not _whole(bytes(message.data)):
            yield f'image {n} on {topics.image} is no whole JPEG or PNG'
        if record.topic.msgtype == RAW and len(message.data) < message.step * message.height:
            yield f'image {n} on {topics.image} holds less than its size says'
        if n == 0:      # decoding all would take minutes
            decode = decode_compressed if record.topic.msgtype == COMPRESSED else decode_raw
            try:
                height, width = decode(message).shape[:2]
            except BadMessage as error:
                yield f'the first image cannot be decoded: {error}'
                return
            if info is not None and (info.height, info.width) != (height, width):
                yield (f'images are {width}x{height}, {topics.camera_info} says '
                       f'{info.width}x{info.height}')


def _whole(data: bytes) -> bool:
    """Tell whether a picture begins and ends as it should; one of another format may."""
    if data.startswith(b'\xff\xd8'):
        return data.rstrip(b'\0').endswith(b'\xff\xd9')
    return bool(data) and (not data.startswith(b'\x89PNG') or b'IEND' in data[-12:])


def _calibration(bag: Bag, topics: DriveTopics) -> Iterator[str]:
    if topics.camera_info is None:
        yield f'there is no camera_info for {topics.image}'
        return
    for record in bag.records([topics.camera_info]):
        k, d, r, p = (np.asarray(getattr(record.message, name), float) for name in 'kdrp')
        p = p.reshape(3, 4)
        if not p[0, 0] > 0 or not np.all(np.isfinite(p)):
            yield f'P of {topics.camera_info} has no focal length'
        if not np.allclose(k.reshape(3, 3), p[:, :3], atol=_TOLERANCE):
            yield 'K is not P[:, :3]: it belongs to images that are not rectified'
        if d.size and np.any(d != 0):
            yield 'D is not 0, though the images are rectified'
        if not np.allclose(r.reshape(3, 3), np.eye(3), atol=_TOLERANCE):
            yield 'R is not the identity, though the images are rectified'
        if np.any(p[:, 3] != 0):
            yield 'P[:, 3] is not 0: the transforms place the camera, and this would do it twice'


def _fixes(bag: Bag, topics: DriveTopics) -> Iterator[str]:
    usable = 0
    for record in bag.records([topics.fix]):
        message = record.message
        if message.status.status >= 0:      # a tunnel is nothing wrong
            try:
                position_from_fix(message, 1.0)
            except BadMessage as error:
                yield f'a fix on {topics.fix} cannot be used: {error}'
            usable += 1
        if not says_something(message.position_covariance):
            yield f'position_covariance on {topics.fix} is zero or unset'
        if message.position_covariance_type == 0:
            yield f'position_covariance_type on {topics.fix} is unknown'
    if not usable:
        yield f'no message on {topics.fix} holds a fix'


def _headings(bag: Bag, topics: DriveTopics) -> Iterator[str]:
    if topics.imu is None:
        yield 'there is no Imu'
        return
    for record in bag.records([topics.imu]):
        for name in ('orientation', 'angular_velocity', 'linear_acceleration'):
            if not says_something(getattr(record.message, f'{name}_covariance')):
                yield (f'{name}_covariance on {topics.imu} is zero or unset: a filter takes it '
                       'for exact')
        try:
            heading_from_imu(record.message, 1.0)
        except BadMessage as error:
            yield f'an orientation on {topics.imu} cannot be used: {error}'


def _velocity(bag: Bag) -> Iterator[str]:
    names = _twists(bag)
    if not names:
        yield 'there are no velocities (TwistStamped): an EKF has nothing to go by'
    for name in names:
        moves = []
        for record in bag.records([name]):
            twist = getattr(record.message.twist, 'twist', record.message.twist)
            if not record.message.header.frame_id:
                yield f'{name} names no frame'
            if not np.all(np.isfinite([*_vector(twist.linear), *_vector(twist.angular)])):
                yield f'{name} holds velocities that are no numbers'
            moves.append(np.abs(_vector(twist.linear)[:2]))
        ahead, aside = np.median(moves, axis=0)
        if aside > max(ahead, _MOVES_MPS):
            yield f'{name} moves sideways: its axes are not those of the vehicle'


def _static(bag: Bag, topics: DriveTopics, settings: Mapping[str, Any]) -> Iterator[str]:
    topic = bag.topics.get('/tf_static')
    if topic is None or topic.count == 0:
        yield 'there is no /tf_static'
        return
    if topic.count != 1:
        yield f'/tf_static has {topic.count} messages; a latched one replaces the one before'
    if topic.qos is None or not topic.qos.latched:
        yield '/tf_static is not latched: who listens late never hears it'
    plain = {**settings, 'static_tf.child_frame': ''}       # nothing that parameters would add
    try:
        tree = tree_of(bag, plain)
        for name in (topics.image, topics.fix, topics.imu, *_twists(bag)):
            message = _first(bag, name)
            if message is not None:
                tree.lookup(settings['base_frame'], message.header.frame_id)
    except (BagError, TransformError) as error:
        yield str(error)


def _parents(bag: Bag, base: str) -> Iterator[str]:
    static: dict[str, str] = {}
    for record in bag.records(['/tf_static']):
        for transform in record.message.transforms:
            child, parent = (name.lstrip('/') for name in (
                transform.child_frame_id, transform.header.frame_id))
            if child == base or static.setdefault(child, parent) != parent:
                yield f'/tf_static gives {child} the parent {parent}, which is not its own'
    for record in bag.records(['/tf']):
        for transform in record.message.transforms:
            child = transform.child_frame_id.lstrip('/')
            if child == base or child in static:
                yield (f'/tf gives {child} the parent {transform.header.frame_id}, which is the '
                       "node's or a static transform's to give")


def _twice(bag: Bag) -> Iterator[str]:
    for name in ADAPTED:
        if name in bag.topics:
            yield f'{name} is for the adapter to make: a filter would take it twice'


def _truth(bag: Bag, topics: DriveTopics, settings: Mapping[str, Any]) -> Iterator[str]:
    base = settings['base_frame']
    if topics.truth is None:
        yield 'there is no /ground_truth/odom to measure with'
        return
    message = _first(bag, topics.truth)
    if message.child_frame_id.lstrip('/') != base:
        yield f'{topics.truth} is the pose of {message.child_frame_id}, not of {base}'
    try:
        frame, tree = origin_of(bag, topics), tree_of(bag, settings)
        if frame is None or topics.imu is None:
            return      # said elsewhere
        truth = load_reference(bag, topics, tree, frame, settings)
        own = load_reference(bag, replace(topics, truth=None), tree, frame, settings)
    except (BagError, ValueError) as error:
        yield f'{topics.truth} cannot be compared with the fixes: {error}'
        return
    if not np.all(np.isfinite(truth.map_T_base)):
        yield f'{topics.truth} holds poses that are no numbers'
    pairs = [(truth.at(stamp), pose) for stamp, pose in
             zip(own.stamps_ns.tolist(), own.map_T_base)]
    off = np.array([[np.hypot(*(pose[:2] - true.xy_m)), abs(wrap_pi(pose[2] - true.yaw_rad))]
                    for true, pose in pairs if true is not None]).reshape(-1, 2)
    if len(own.stamps_ns) and not len(off):
        yield f'no pose of {topics.truth} is of the time of the fixes'
    elif len(off):
        metres, turn = np.median(off, axis=0).tolist()
        sigma = math.sqrt(max(float(_first(bag, topics.fix).position_covariance[0]), 0.0))
        if not metres <= _SAME_M + 3.0 * sigma:
            yield (f'{topics.truth} is {metres:.1f} m from where fixes and their lever arm put '
                   f'{base}: the pose of another frame, or another datum')
        if not turn <= _SAME_RAD:
            yield (f'{topics.truth} is turned by {math.degrees(turn):.0f} deg against '
                   f'{topics.imu}')


def _datum(bag: Bag, topics: DriveTopics) -> Iterator[str]:
    if topics.origin is None:
        yield 'there is no /local_xy_origin: nobody knows where the truth is'
    elif not _latched(bag.topics[topics.origin]):
        yield f'{topics.origin} is not latched'


def _stamps(bag: Bag, topics: DriveTopics) -> Iterator[str]:
    for name in (topics.image, topics.camera_info, topics.fix, topics.imu, topics.truth,
                 *_twists(bag)):
        last = 0
        for record in bag.records([name] if name else []):
            stamp = stamp_ns(record.message.header.stamp)
            if stamp <= last:
                yield f'a stamp on {name} is zero or not after the one before'
            if abs(stamp - record.log_ns) > LATE_S * 1e9:
                yield (f'a message on {name} is stamped {(record.log_ns - stamp) / 1e9:+.0f} s '
                       'before it was recorded: another clock, or a time zone')
            last = stamp


def _twists(bag: Bag) -> list[str]:
    return [t.name for kind in _TWISTS for t in bag.of_type(kind) if t.count]


def _first(bag: Bag, name: str | None) -> Any:
    record = next(bag.records([name]), None) if name else None
    return None if record is None else record.message


def _latched(topic: Topic) -> bool:
    return topic.qos is not None and topic.qos.latched


def _vector(v: Any) -> list[float]:
    return [v.x, v.y, v.z]
