# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What can be known of a recorded drive before it is played: topics, frames, datum, truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.utm import frame_as
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.bag import Bag, BagError
from loc2_ros.data.messages import position_from_fix
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.data.reference import is_own_reference, load_reference, origin_of, Reference
from loc2_ros.data.tf_tree import matrix_from_pose6, StaticTree
from loc2_ros.data.topics import DriveTopics, find_topics, TF_STATIC

DEFAULT_NOISE = (15.0, 8.0)     # m, deg: where a recording is its own reference
Settings = Mapping[str, Any]


@dataclass(frozen=True)
class Drive:
    """What is known of a recording before its messages are played."""

    topics: DriveTopics
    tree: StaticTree
    frame: LocalFrame
    reference: Reference
    noise: PriorNoise | None
    images: int


def examine(bag: Bag, settings: Settings, noise: PriorNoise | None, seed: int = 0,
            frame: LocalFrame | None = None) -> Drive:
    """
    Find topics, static transforms, datum and reference of a recording.

    :param frame: the map frame where it is known from elsewhere.
    """
    topics = find_topics(bag, settings)
    tree = tree_of(bag, settings)
    if noise is None and is_own_reference(bag, topics, tree, settings):
        noise = PriorNoise(*DEFAULT_NOISE, seed)
    if frame is None:
        frame = datum_of(bag, topics, settings, noise)
    try:
        reference = load_reference(bag, topics, tree, frame, settings)
    except ValueError as error:
        raise BagError(f'{bag.path}: {error}') from error
    return Drive(topics, tree, frame, reference, noise, bag.topics[topics.image].count)


def drive_topics(topics: DriveTopics) -> list[str]:
    """Return the topics that a run plays."""
    return [t for t in (topics.image, topics.camera_info, topics.fix, topics.imu, topics.depth,
                        topics.odometry, topics.initialpose, topics.tf) if t]


def tree_of(bag: Bag, settings: Settings) -> StaticTree:
    """Collect static transforms, and the configured one where nobody sends it."""
    tree = StaticTree()
    for record in bag.records([TF_STATIC]):
        try:
            tree.add_message(record.message)
        except ValueError as error:
            raise BagError(f'{bag.path} has a broken static transform: {error}') from error
    child = settings['static_tf.child_frame']
    if child and not tree.has_parent(child):
        tree.add(settings['base_frame'], child, matrix_from_pose6(settings['static_tf.pose']))
    return tree


def datum_of(bag: Bag, topics: DriveTopics, settings: Settings,
             noise: PriorNoise | None) -> LocalFrame:
    """Choose the map frame as the node does: at the parameter, latched origin, first good fix."""
    return frame_as(settings['map.frame_mode'], _place_of(bag, topics, settings, noise))


def _place_of(bag: Bag, topics: DriveTopics, settings: Settings,
              noise: PriorNoise | None) -> LocalFrame:
    if settings['map.datum']:
        lat, lon, height = settings['map.datum']
        return LocalFrame(lat, lon, height)
    origin = origin_of(bag, topics)
    if origin is not None:
        return origin
    for record in bag.records([topics.fix]):
        try:
            fix = position_from_fix(noise.fix(record.message) if noise else record.message, 1.0)
        except BadMessage:
            continue
        return LocalFrame(fix.lat_deg, fix.lon_deg, fix.height_m)
    raise BagError(f'{bag.path} has no usable fix on {topics.fix}, so there is no datum; set '
                   f'--param map.datum:=[LAT,LON,HEIGHT]')
