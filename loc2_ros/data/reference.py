# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where base_link really was: a ground-truth topic, or the recording's own fix and imu."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
import math
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Pose2
from loc2_ros.data.bag import Bag
from loc2_ros.data.heading_intake import imu_offset_rad
from loc2_ros.data.messages import (
    BadMessage, heading_from_imu, position_from_fix, rotation_from_quaternion, stamp_ns)
from loc2_ros.data.tf_tree import StaticTree, TransformError
from loc2_ros.data.topics import DriveTopics
import numpy as np
from numpy.typing import NDArray

MAX_GAP_S, EDGE_S = 0.5, 0.05
# Poses that are compared, and what the tilt of a vehicle makes of its lever arm
_ENOUGH, _SAME_M = 50, 0.2
GROUND_TRUTH, FIX_IMU = 'ground_truth', 'fix+imu'


@dataclass(frozen=True)
class Reference:
    """
    Poses of base_link in the map frame over time.

    :param name: 'ground_truth' or 'fix+imu'.
    :param stamps_ns: (N,) int64, rising.
    :param map_T_base: (N, 3) x, y, yaw with the yaw unwrapped.
    """

    name: str
    stamps_ns: NDArray[np.int64]
    map_T_base: Array

    def at(self, stamp: int) -> Pose2 | None:
        """Return the pose at a stamp, None unless two poses half a second apart are around it."""
        i = int(np.searchsorted(self.stamps_ns, stamp))
        if i < len(self.stamps_ns) and self.stamps_ns[i] == stamp:
            return Pose2(*self.map_T_base[i].tolist())
        if len(self.stamps_ns) < 2:
            return None
        i = min(max(i, 1), len(self.stamps_ns) - 1)
        before, after = int(self.stamps_ns[i - 1]), int(self.stamps_ns[i])
        # A camera starts and ends some milliseconds before or after the other sensors
        if not before - EDGE_S * 1e9 <= stamp <= after + EDGE_S * 1e9:
            return None
        if after - before > MAX_GAP_S * 1e9:
            return None
        share = (stamp - before) / (after - before)
        pose = (1.0 - share) * self.map_T_base[i - 1] + share * self.map_T_base[i]
        return Pose2(*pose.tolist())


def load_reference(bag: Bag, topics: DriveTopics, tree: StaticTree, frame: LocalFrame,
                   settings: Mapping[str, Any]) -> Reference:
    """
    Read the reference of a recording into a map frame.

    :param frame: the map frame of the run; the truth is moved into it from its own.
    :raises ValueError: the reference cannot be brought to base_link.
    """
    if topics.truth is not None:
        return _from_truth(bag, topics, tree, frame, settings['base_frame'])
    return _from_sensors(bag, topics, tree, frame, settings)


def is_own_reference(bag: Bag, topics: DriveTopics, tree: StaticTree,
                     settings: Mapping[str, Any]) -> bool:
    """
    Tell whether the truth of a recording is its own fixes and headings, as in KITTI, or missing.

    Priors from them are the truth itself then: to be compared with it they need an error.
    """
    frame = origin_of(bag, topics)
    if topics.truth is None or topics.imu is None or frame is None:
        return topics.truth is None
    try:
        truth = load_reference(bag, topics, tree, frame, settings)
        own = load_reference(bag, replace(topics, truth=None), tree, frame, settings)
    except ValueError:      # what a run needs of them is refused there
        return False
    poses = [(truth.at(stamp), pose) for stamp, pose in
             zip(own.stamps_ns[:_ENOUGH].tolist(), own.map_T_base)]
    apart = [float(np.hypot(*(pose[:2] - true.xy_m))) for true, pose in poses if true is not None]
    return bool(apart) and max(apart) < _SAME_M


def origin_of(bag: Bag, topics: DriveTopics) -> LocalFrame | None:
    """Return the datum that a recording states, if any."""
    if topics.origin is None:
        return None
    p = next(bag.records([topics.origin])).message.pose.position
    return LocalFrame(float(p.y), float(p.x), float(p.z))


def _from_truth(bag: Bag, topics: DriveTopics, tree: StaticTree, frame: LocalFrame,
                base_frame: str) -> Reference:
    """Read /ground_truth/odom, which is in the frame of /local_xy_origin."""
    source = origin_of(bag, topics) or frame
    poses: dict[int, tuple[float, float, float]] = {}
    levers: dict[str, Array] = {}
    for record in bag.records([topics.truth] if topics.truth else []):
        message = record.message
        child = message.child_frame_id or base_frame
        if child not in levers:
            levers[child] = _base_in(tree, child, base_frame)
        p = message.pose.pose.position
        source_T_child = np.eye(4)
        source_T_child[:3, :3] = rotation_from_quaternion(message.pose.pose.orientation)
        source_T_child[:3, 3] = (p.x, p.y, p.z)
        moved = source_T_child @ levers[child]
        poses[stamp_ns(message.header.stamp)] = (
            moved[0, 3], moved[1, 3], math.atan2(moved[1, 0], moved[0, 0]))
    stamps = sorted(poses)
    table = np.array([poses[stamp] for stamp in stamps])
    if source != frame:
        table = _into(table, source, frame)
    return Reference(GROUND_TRUTH, np.array(stamps, np.int64), _unwrapped(table))


def _into(table: Array, source: LocalFrame, frame: LocalFrame) -> Array:
    """Take (N, 3) poses from one local frame to another."""
    lat, lon = source.inverse(table[:, :2])
    xy = frame.forward(lat, lon)
    yaw = table[:, 2] - source.convergence_rad(table[:, :2]) + frame.convergence_rad(xy)
    return np.column_stack([xy, yaw])


def _from_sensors(bag: Bag, topics: DriveTopics, tree: StaticTree, frame: LocalFrame,
                  settings: Mapping[str, Any]) -> Reference:
    """Take the fix as truth, with the lever arm of its frame and the heading of the imu."""
    fixes, headings = _read_sensors(bag, topics, tree, settings)
    if not fixes or not headings:
        return Reference(FIX_IMU, np.zeros(0, np.int64), np.zeros((0, 3)))
    times = np.array(sorted(headings), np.int64)
    yaws = np.unwrap([headings[t] for t in times.tolist()])
    # Only where there are headings on both sides: nothing is extrapolated
    stamps = np.array([t for t in sorted(fixes) if times[0] <= t <= times[-1]], np.int64)
    lat, lon = (np.array([fixes[t][i] for t in stamps.tolist()]) for i in range(2))
    lever = np.array([fixes[t][2] for t in stamps.tolist()]).reshape(-1, 2)
    xy = frame.forward(lat, lon).reshape(-1, 2)
    yaw: Array = np.interp((stamps - times[0]) * 1e-9, (times - times[0]) * 1e-9, yaws)
    offset = imu_offset_rad(settings)
    yaw = yaw + np.asarray(frame.convergence_rad(xy), np.float64) + offset
    c, s = np.cos(yaw), np.sin(yaw)
    base = xy - np.stack([c * lever[:, 0] - s * lever[:, 1],
                          s * lever[:, 0] + c * lever[:, 1]], -1)
    return Reference(FIX_IMU, stamps, _unwrapped(np.column_stack([base, yaw])))


def _read_sensors(bag: Bag, topics: DriveTopics, tree: StaticTree, settings: Mapping[str, Any]
                  ) -> tuple[dict[int, Any], dict[int, float]]:
    """Return (lat, lon, lever arm) and true headings by stamp, leaving unusable ones out."""
    fixes: dict[int, Any] = {}
    headings: dict[int, float] = {}
    mounts: dict[str, Array] = {}
    for record in bag.records([name for name in (topics.fix, topics.imu) if name]):
        message = record.message
        name = message.header.frame_id
        if name not in mounts:
            mounts[name] = _in_base(tree, name, settings['base_frame'])
        try:
            if record.topic.name == topics.fix:
                fix = position_from_fix(message, 1.0)
                fixes[stamp_ns(message.header.stamp)] = (
                    fix.lat_deg, fix.lon_deg, mounts[name][:2, 3])
            else:
                headings[stamp_ns(message.header.stamp)] = heading_from_imu(
                    message, 1.0, mounts[name][:3, :3]).yaw_rad
        except BadMessage:
            continue
    return fixes, headings


def _in_base(tree: StaticTree, frame_id: str, base_frame: str) -> Array:
    """Return ``base_T_frame`` (4, 4)."""
    return np.asarray(np.linalg.inv(_base_in(tree, frame_id, base_frame)), np.float64)


def _base_in(tree: StaticTree, frame_id: str, base_frame: str) -> Array:
    """Return ``frame_T_base`` (4, 4); a message without a frame speaks of base_link."""
    try:
        return tree.lookup(frame_id or base_frame, base_frame)
    except TransformError as error:
        raise ValueError(f'the reference cannot be brought to {base_frame}: {error}; set '
                         f'static_tf.child_frame and static_tf.pose') from error


def _unwrapped(table: Array) -> Array:
    """Make yaw continuous, so that it can be interpolated."""
    out = table.reshape(-1, 3).copy()
    out[:, 2] = np.unwrap(out[:, 2])
    return out
