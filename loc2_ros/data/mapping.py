# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From a mapping drive to a map: images, poses and depth of a recording become a mosaic.

Images, calibration, mounting and depth come the way they come to the localizer, from the offline
twin of the node; the poses are the recording's reference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from loc2_ros.core.camera import height_above_ground, Mount, pixel_rays
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera, Fix, Image, Pose2, Prior, Reason, Rejection
from loc2_ros.data.bag import BagError, open_bag
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.data.recording import drive_topics, examine
from loc2_ros.data.reference import Reference
from loc2_ros.evaluate.run import Twin
from loc2_ros.loading import DEPTH_SOURCES, LocalizerSettings
from loc2_ros.maps.ground import flat_ground, Ground, ground_of_points
from loc2_ros.maps.mosaic import look, Mosaic
from loc2_ros.model.depth import DepthImages, DepthSource, FlatGround, LidarDepth
from loc2_ros.model.depth_network import NetworkDepth
import numpy as np
import torch
from tqdm import tqdm

SOURCES = ('flat', 'image', 'lidar', 'network')
# A tilt of half a degree moves flat ground by the square of its distance
FLAT_REACH_M, REACH_M = 12.0, 20.0
_DEPTH_STEP = 2             # pixels of a depth image per point


@dataclass(frozen=True)
class MappedDrive:
    """
    What became of a drive.

    :param frame: the map frame of the mosaic.
    :param used: images that were laid down, ``seen`` all that had a pose and were far enough
        from the last.
    :param reference: where the poses came from.
    :param days: first and last day of the recording, ISO.
    """

    mosaic: Mosaic
    frame: LocalFrame
    used: int
    seen: int
    reference: str
    days: tuple[str, str]


def map_drive(bag: Path, settings: Mapping[str, Any], gsd_m: float = 0.1, reach_m: float = 0.0,
              spacing_m: float = 0.5, progress: bool = True) -> MappedDrive:
    """
    Lay the images of a recording onto the ground.

    :param settings: the node's parameters by name, complete; ``depth.source`` is one of
        `SOURCES`, 'model' counts as flat ground.
    :param reach_m: how far ahead ground is taken from; 0: 12 m of flat ground, else 20 m.
    :param spacing_m: images nearer to the last one that was used are left out.
    :raises BagError: the recording cannot be read, or has no pose.
    """
    source = 'flat' if settings['depth.source'] == 'model' else settings['depth.source']
    settings = {**settings, 'depth.source': source}
    chosen = LocalizerSettings(depth_source=source, depth_model=settings['depth.model'],
                               camera_height=settings['depth.camera_height'])
    depth = DEPTH_SOURCES[source](chosen, torch.device('cpu'), torch.float32)
    reach = reach_m or (FLAT_REACH_M if source == 'flat' else REACH_M)
    with open_bag(bag) as recording:
        drive = examine(recording, settings, PriorNoise(0.0, 0.0, 0))
        if not len(drive.reference.stamps_ns):
            raise BagError(f'{bag} has no poses: it needs /ground_truth/odom, or fixes and '
                           'headings')
        mapper = _Mapper(depth, drive.reference, Mosaic(gsd_m), reach, spacing_m,
                         settings['depth.camera_height'])
        twin = Twin(drive, settings, mapper)
        with tqdm(total=drive.images, unit='image', disable=None if progress else True) as bar:
            for record in recording.records(drive_topics(drive.topics)):
                twin.take(record)
                bar.update(len(twin.rows) - bar.n)
            twin.finish()
    if mapper.used == 0:
        raise BagError(f'no image of {bag} could be used: {_why_none(twin, mapper, source)}')
    stamps = drive.reference.stamps_ns
    days = (_day(int(stamps[0])), _day(int(stamps[-1])))
    return MappedDrive(mapper.mosaic, drive.frame, mapper.used, mapper.seen,
                       drive.reference.name, days)


def _why_none(twin: Twin, mapper: _Mapper, source: str) -> str:
    """Return what happened to most images."""
    if mapper.seen:
        return f'none has a ground in its depth ({source}); is the depth source right?'
    if mapper.asked:
        return 'none has a true pose around its stamp'
    kinds = Counter((row.outcome, row.detail) for row in twin.rows)
    if not kinds:
        return 'there is none'
    (outcome, detail), count = kinds.most_common(1)[0]
    return f'{count} are {outcome}, such as: {detail}'


def _day(stamp_ns: int) -> str:
    return datetime.fromtimestamp(stamp_ns * 1e-9, timezone.utc).date().isoformat()


class _Mapper:
    """Stands in for the localizer and lays down what it is asked to localize."""

    def __init__(self, depth: DepthSource, reference: Reference, mosaic: Mosaic, reach_m: float,
                 spacing_m: float, camera_height_m: float) -> None:
        self.depth, self.mosaic = depth, mosaic
        self._reference, self._reach_m, self._spacing_m = reference, reach_m, spacing_m
        self._height_m, self._last = camera_height_m, np.full(2, np.inf)
        self.used = self.seen = self.asked = 0

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        """Lay an image down; the answer only fills a row."""
        self.asked += 1
        pose = self._reference.at(image.stamp_ns)
        if pose is not None and np.hypot(*(pose.xy_m - self._last)) >= self._spacing_m:
            self.seen += 1
            ground = self._ground(image, mount)
            if ground is not None:
                self._last = pose.xy_m
                self.used += 1
                self._lay(image, mount, pose, ground)
        return Rejection(image.stamp_ns, Reason.LOW_SCORE)

    def _lay(self, image: Image, mount: Mount, map_T_base: Pose2, ground: Ground) -> None:
        self.mosaic.add(look(image, mount, map_T_base @ mount.base_T_camera, ground,
                             self._reach_m, self.mosaic.gsd_m))

    def _ground(self, image: Image, mount: Mount) -> Ground | None:
        height = height_above_ground(self._height_m, mount)
        if isinstance(self.depth, FlatGround):
            if height is None:
                raise BagError(f'the camera is {mount.height_m:.2f} m above base_frame, which is '
                               'no height above the ground; set depth.camera_height')
            return flat_ground(height, self._reach_m)
        points = scene_points(self.depth, image)
        if points is None or not isinstance(image.camera, Camera):
            return None
        return ground_of_points(points, image.camera, mount, self._reach_m, height)


def scene_points(source: DepthSource, image: Image) -> Array | None:
    """Return the points (N, 3) of a scene in optical axes, None where there are none."""
    if isinstance(source, LidarDepth):
        return source.scan(image.stamp_ns)
    depth = None
    if isinstance(source, DepthImages):
        depth = source.image(image.stamp_ns)
    elif isinstance(source, NetworkDepth):
        depth = source.network.metres(image.rgb)
    if depth is None or not isinstance(image.camera, Camera):
        return None
    rows, cols = depth.shape
    v, u = np.mgrid[0:rows:_DEPTH_STEP, 0:cols:_DEPTH_STEP]
    rays = pixel_rays(image.camera.resized(cols, rows), np.stack([u.ravel(), v.ravel()], 1))
    return np.asarray(rays * depth[v.ravel(), u.ravel()][:, None], np.float64)
