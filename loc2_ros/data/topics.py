# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Which topic of a recording is the camera, the GNSS, the IMU, the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loc2_ros.data.bag import Bag, BagError
from loc2_ros.data.depth_intake import TOPIC_PARAMETERS

TRUTH, ORIGIN, TF_STATIC = '/ground_truth/odom', '/local_xy_origin', '/tf_static'
TF, INITIALPOSE = '/tf', '/initialpose'
# What kitti_adapter publishes beside a player; from a recording as well, a filter would count
# every measurement twice
ADAPTED = ('/kitti/fix', '/kitti/imu', '/kitti/twist')
RAW, COMPRESSED = 'sensor_msgs/msg/Image', 'sensor_msgs/msg/CompressedImage'
CLOUD = 'sensor_msgs/msg/PointCloud2'
_SENSORS = {'fix_topic': 'sensor_msgs/msg/NavSatFix', 'imu_topic': 'sensor_msgs/msg/Imu'}
_SUFFIX = '/compressed'


@dataclass(frozen=True)
class DriveTopics:
    """Topic names of a drive; None for what the recording lacks."""

    image: str
    camera_info: str | None
    fix: str
    imu: str | None
    truth: str | None
    origin: str | None
    depth: str | None = None
    odometry: str | None = None
    initialpose: str | None = None
    tf: str | None = None

    @property
    def image_base(self) -> str:
        """Return the image topic as parameters name it, without the transport."""
        return self.image.removesuffix(_SUFFIX)


def find_topics(bag: Bag, settings: Mapping[str, Any]) -> DriveTopics:
    """
    Choose topics: those the parameters name where the recording has them, else by type.

    :param settings: parameter values by name.
    :raises BagError: no camera or no GNSS, or several and no parameter that decides.
    """
    image = _image(bag, settings)
    fix = sensor_topic(bag, settings, 'fix_topic')
    if fix is None:
        raise BagError(f'{bag.path} has no NavSatFix topic: there is nothing to start from')
    return DriveTopics(
        image, _camera_info(bag, settings, image), fix,
        sensor_topic(bag, settings, 'imu_topic'),
        _present(bag, TRUTH, 'nav_msgs/msg/Odometry'),
        _present(bag, ORIGIN, 'geometry_msgs/msg/PoseStamped'), _depth(bag, settings, image),
        _odometry(bag, settings),
        _present(bag, INITIALPOSE, 'geometry_msgs/msg/PoseWithCovarianceStamped'),
        _present(bag, TF, 'tf2_msgs/msg/TFMessage') if settings['odom_frame'] else None)


def _odometry(bag: Bag, settings: Mapping[str, Any]) -> str | None:
    """Return the odometry that the parameter names; no other: the truth is of the same type."""
    named, kind = _absolute(settings['odometry_topic']), 'nav_msgs/msg/Odometry'
    found = _present(bag, named, kind)
    if found is None and settings['prior.source'] == 'odometry':
        raise BagError(f'{bag.path} has no {kind} on {named} for prior.source odometry; choose '
                       f'one with --param odometry_topic:=NAME')
    return found


def sensor_topic(bag: Bag, settings: Mapping[str, Any], parameter: str) -> str | None:
    """
    Return the topic of ``fix_topic`` or ``imu_topic``: as named, else the only one of its type.

    :raises BagError: there are several.
    """
    return _one(bag, settings, parameter, _SENSORS[parameter])


def _image(bag: Bag, settings: Mapping[str, Any]) -> str:
    """Choose the camera; raw and compressed of one camera are decided by image_transport."""
    wanted = settings.get('image_transport', 'raw') == 'compressed'
    found = {topic.name: topic.msgtype == COMPRESSED
             for kind in (RAW, COMPRESSED) for topic in bag.of_type(kind) if topic.count}
    named = _absolute(settings.get('image_topic', ''))
    cameras = {name.removesuffix(_SUFFIX) for name in found}
    if len(cameras) > 1 and settings.get('depth.source') == 'image':
        cameras -= {_absolute(settings['depth_topic'])}
    if named in cameras:
        cameras = {named}
    elif len(cameras) > 1:
        cameras = {name for name in cameras if not _holds_depth(bag, name)}
    if len(cameras) != 1:
        raise BagError(f'{bag.path} has {_choices(sorted(cameras), "image_topic", "camera")}')
    camera, = cameras
    both = [name for name in (camera, camera + _SUFFIX) if name in found]
    return next((name for name in both if found[name] == wanted), both[0])


def _holds_depth(bag: Bag, name: str) -> bool:
    """Tell whether the images of a topic are depth, by the first of them."""
    if _present(bag, name, RAW) is None:
        return False
    return next(bag.records([name])).message.encoding in ('16UC1', '32FC1')


def _depth(bag: Bag, settings: Mapping[str, Any], image: str) -> str | None:
    """Choose the topic that depth.source needs: the named one, or the only one of its type."""
    source = settings.get('depth.source', 'model')
    if source not in TOPIC_PARAMETERS:
        return None
    kind = RAW if source == 'image' else CLOUD
    name = _one(bag, settings, TOPIC_PARAMETERS[source], kind, image)
    if name is None:
        raise BagError(f'{bag.path} has no {kind} topic for depth.source {source}')
    return name


def _camera_info(bag: Bag, settings: Mapping[str, Any], image: str) -> str | None:
    """Choose the calibration: named, beside the image, or the only one; panoramas have none."""
    if settings.get('camera.model') == 'equirectangular':
        return None
    kind = 'sensor_msgs/msg/CameraInfo'
    named = _absolute(settings.get('camera_info_topic', ''))
    beside = image.removesuffix(_SUFFIX).rsplit('/', 1)[0] + '/camera_info'
    for name in (named, beside):
        if _present(bag, name, kind):
            return name
    return _one(bag, settings, 'camera_info_topic', kind)


def _one(bag: Bag, settings: Mapping[str, Any], parameter: str, kind: str,
         but: str = '') -> str | None:
    """Return the named topic, or the only one of its type, leaving one out."""
    names = [topic.name for topic in bag.of_type(kind) if topic.count and topic.name != but]
    named = _absolute(settings.get(parameter, ''))
    if named in names:
        return named
    if len(names) > 1:
        raise BagError(f'{bag.path} has {_choices(names, parameter, kind)}')
    return names[0] if names else None


def _present(bag: Bag, name: str, kind: str) -> str | None:
    topic = bag.topics.get(name)
    return name if topic is not None and topic.msgtype == kind and topic.count else None


def _absolute(name: str) -> str:
    return name if name.startswith('/') else f'/{name}'


def _choices(names: list[str], parameter: str, what: str) -> str:
    if not names:
        return f'no {what} topic'
    return (f'{len(names)} topics for {what}: {", ".join(names)}; choose one with '
            f'--param {parameter}:=NAME')
