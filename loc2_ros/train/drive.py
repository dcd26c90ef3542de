# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Training frames from a recording and a map: the poses of the recording are all that is needed.

Images, calibration, mounting and depth come the way they come to the localizer, from the
offline twin of the node; only that what it is asked to localize is kept instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from loc2_ros.core.camera import height_above_ground, map_to_tile, Mount, token_rays
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera, Fix, Image, Pose2, Prior, Reason, Rejection
from loc2_ros.data.images import decode_compressed, encode_jpeg
from loc2_ros.data.pair import DatasetError, make_pair, Pair, Part, resized
from loc2_ros.evaluate.run import run_bag
from loc2_ros.loading import DEPTH_SOURCES, LocalizerSettings
from loc2_ros.maps.store import MapStore, open_store
from loc2_ros.model.contract import Contract
from loc2_ros.model.depth import DepthSource
from loc2_ros.model.inference import MIN_FORWARD
import numpy as np
from numpy.typing import NDArray
import torch


@dataclass(frozen=True)
class Seen:
    """
    One image of a drive, at the network's size.

    :param number: its place among the images of the recording.
    :param rays: (Ng, 3) of a level camera, z = 1; ``depth_m`` (Ng,) along their z axis or None.
    :param height_m: of the camera above the ground, NaN where it is unknown.
    :param map_T_camera: its true pose, x along the view.
    """

    number: int
    stamp_ns: int
    jpeg: NDArray[np.uint8]
    rays: Array
    depth_m: Array | None
    fx_px: float
    height_m: float
    map_T_camera: Pose2


class DriveFrames:
    """The frames of a drive; see `Frames`."""

    repeats = ('ground',)

    def __init__(self, seen: list[Seen], frame: LocalFrame, map_path: str,
                 map_offset_m: tuple[float, float] | None, contract: Contract,
                 max_shift_m: float) -> None:
        self.seen, self.frame = seen, frame
        self.map_path, self.map_offset_m = map_path, map_offset_m
        self.contract, self.max_shift_m = contract, max_shift_m
        self._store: MapStore | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.seen)

    def between(self, first: int, end: int) -> Part:
        """
        Return the frames from one image of the recording to the one before another.

        :raises DatasetError: there is none.
        """
        wanted = [k for k, seen in enumerate(self.seen) if first <= seen.number < end]
        if not wanted:
            raise DatasetError(f'no image from {first} to {end} has a true pose; those that have '
                               f'one are {self.seen[0].number} to {self.seen[-1].number}')
        return Part(self, np.array(wanted, np.int64))

    def name(self, index: int) -> str:
        """Return the stamp of an image."""
        return str(self.seen[index].stamp_ns)

    def pair(self, index: int, rng: np.random.Generator | None, augment: bool = False) -> Pair:
        """Make a sample: a crop that is moved and turned, as in the published protocol."""
        seen, contract = self.seen[index], self.contract
        draw = rng or np.random.default_rng([8, index])
        ahead, left, turn = draw.uniform(-1.0, 1.0, 3)
        pose = seen.map_T_camera
        view = np.array([math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)])
        centre = pose.xy_m - self.max_shift_m * (ahead * view
                                                 + left * np.array([-view[1], view[0]]))
        psi = pose.yaw_rad - turn * math.radians(contract.heading_range_deg)
        crop = self.store.crop(self.frame, centre, psi, contract.tile_m, contract.aerial_px)
        theta, t = map_to_tile(pose, centre, psi)
        ground = decode_compressed(SimpleNamespace(data=seen.jpeg.tobytes()))
        return make_pair(contract, ground, crop.image, seen.depth_m, seen.rays, seen.fx_px,
                         seen.height_m, theta, t, contract.tile_m, rng, augment)

    @property
    def store(self) -> MapStore:
        """Return the map, opened on first use: an open one cannot go to a worker process."""
        if self._store is None:
            self._store = open_store(self.map_path, map_offset_m=self.map_offset_m)
        return self._store

    def __getstate__(self) -> dict[str, Any]:
        """Leave the open map behind."""
        return {**self.__dict__, '_store': None}


@dataclass
class _Collector:
    """Stands in for the localizer and keeps what it was asked to localize."""

    contract: Contract
    depth: DepthSource
    camera_height_m: float
    every: int
    asked: int = 0
    kept: list[tuple[Seen, Mount]] = field(default_factory=list)

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        """Keep an image; the answer only fills the row that brings its true pose."""
        self.asked += 1
        if (self.asked - 1) % self.every == 0:
            self.kept.append((self._seen(image, mount), mount))
        return Rejection(image.stamp_ns, Reason.LOW_SCORE)

    def _seen(self, image: Image, mount: Mount) -> Seen:
        contract = self.contract
        if not isinstance(image.camera, Camera):
            raise DatasetError('training on a drive takes pinhole cameras; set camera.model')
        height, width = contract.ground_hw
        level = token_rays(image.camera, contract.ground_grid,
                           contract.rays) @ mount.level_R_camera.T
        forward = np.maximum(level[:, 2], MIN_FORWARD)
        depth = None if self.depth.from_model else self.depth.tokens(
            image, mount, contract.ground_grid, contract.rays)
        if depth is None and not contract.own_depth:
            raise DatasetError('a model without depth head needs depth for every image; set '
                               'depth.source to image, lidar or flat in params')
        above = height_above_ground(self.camera_height_m, mount)
        return Seen(0, image.stamp_ns, encode_jpeg(resized(image.rgb, height, width)),
                    level / forward[:, None], None if depth is None else
                    np.asarray(depth.cpu().numpy() * forward, np.float64),
                    image.camera.resized(width, height).fx,
                    math.nan if above is None else above, mount.base_T_camera)


def read_drive(bag: Path, settings: Mapping[str, Any], contract: Contract, max_shift_m: float,
               every: int = 1, progress: bool = True) -> DriveFrames:
    """
    Read the images of a recording that have a true pose.

    :param settings: the node's parameters by name, complete; map.path among them.
    :param every: take every so many images.
    :raises BagError, MapError, DatasetError: recording or map cannot be used.
    """
    chosen = LocalizerSettings(depth_source=settings['depth.source'],
                               camera_height=settings['depth.camera_height'],
                               camera_pitch=settings['depth.camera_pitch'],
                               depth_model=settings['depth.model'])
    source = DEPTH_SOURCES[chosen.depth_source](chosen, torch.device('cpu'), torch.float32)
    collector = _Collector(contract, source, chosen.camera_height, every)
    open_store(settings['map.path']).close()    # before the recording is read for nothing
    result = run_bag(bag, settings, lambda frame: collector, progress=progress)
    rows = {row.stamp_ns: (n, row.truth) for n, row in enumerate(result.rows)}
    seen = []
    for image, mount in collector.kept:
        number, pose = rows[image.stamp_ns]
        if pose is not None:
            seen.append(replace(image, number=number, map_T_camera=pose @ mount.base_T_camera))
    if not seen:
        raise DatasetError(f'{bag} has no image with a true pose; it needs fixes and headings '
                           'around its images, or /ground_truth/odom')
    offset = settings['map.offset']
    return DriveFrames(seen, result.frame, settings['map.path'],
                       (offset[0], offset[1]) if offset else None, contract, max_shift_m)
