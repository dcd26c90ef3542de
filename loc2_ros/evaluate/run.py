# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The offline twin of the node: a recording goes through the same code, no frame is dropped.

Messages are taken in the order they were recorded. An image waits for its prior as in the
node, up to ``prior.wait``, but in the time of the recording: two runs give the same bytes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
import time
from typing import Any, Protocol

from loc2_ros.core.camera import Mount, mount_from_matrix
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera, Fix, Image, Prior, Reason, Rejection
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.bag import open_bag, Record
from loc2_ros.data.depth_intake import DepthIntake
from loc2_ros.data.images import read_image, read_panorama
from loc2_ros.data.messages import camera_from_info, stamp_ns
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.data.pose_messages import odometry_of_tf
from loc2_ros.data.prior_intake import PriorIntake
from loc2_ros.data.recording import Drive, drive_topics, examine
from loc2_ros.data.reference import Reference
from loc2_ros.data.tf_tree import TransformError
from loc2_ros.evaluate.metrics import RunFacts, summarize, write_metrics
from loc2_ros.evaluate.rows import DROPPED, FIX, PriorRow, Row, write_csv, write_tum
from tqdm import tqdm

_NS = 1_000_000_000
Settings = Mapping[str, Any]
Observer = Callable[[Image, Prior, 'Fix | Rejection'], None]


class Localizer(Protocol):
    """What a run needs of ``pipeline.Localizer``."""

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        """Estimate the pose of base_link in the map."""


@dataclass(frozen=True)
class RunResult:
    """One row per image, and what the rows do not tell."""

    rows: list[Row]
    facts: RunFacts
    frame: LocalFrame

    def metrics(self, **facts: Any) -> dict[str, Any]:
        """Return the content of metrics.json; more facts may be given, such as the model."""
        return summarize(self.rows, replace(self.facts, **facts))

    def write(self, out: Path, **facts: Any) -> dict[str, Any]:
        """Write poses.tum, fixes.csv and metrics.json, and return the metrics."""
        metrics = self.metrics(**facts)
        write_tum(out / 'poses.tum', self.rows)
        write_csv(out / 'fixes.csv', self.rows)
        write_metrics(out / 'metrics.json', metrics)
        return metrics


def run_bag(path: str | Path, settings: Settings,
            make_localizer: Callable[[LocalFrame], Localizer], *,
            noise: PriorNoise | None = None, seed: int = 0, progress: bool = True,
            observer: Observer | None = None) -> RunResult:
    """
    Localize every image of a recording.

    :param settings: parameter values by name, complete.
    :param make_localizer: called once, with the map frame.
    :param noise: error put on the prior; None: 15 m and 8 degrees where the recording is its
        own reference, nothing where it has the truth.
    :param seed: of that default noise.
    :param observer: called with every image that reached the localizer.
    :raises BagError: the recording cannot be read or lacks what is needed.
    """
    with open_bag(path) as bag:
        drive = examine(bag, settings, noise, seed)
        twin = Twin(drive, settings, make_localizer(drive.frame), observer)
        with tqdm(total=drive.images, unit='image', disable=None if progress else True) as bar:
            for record in bag.records(drive_topics(drive.topics)):
                twin.take(record)
                bar.update(len(twin.rows) - bar.n)
            twin.finish()
            bar.update(len(twin.rows) - bar.n)
    frame = drive.frame
    return RunResult(twin.rows, RunFacts(
        fix_wall_s=twin.fix_wall_s, duplicates=0, out_of_order=0, stamp_mismatches=0,
        datum=(frame.lat_deg, frame.lon_deg, frame.height_m), frame_mode=frame.mode,
        reference=drive.reference.name,
        seed=drive.noise.seed if drive.noise else seed), frame)


class Twin:
    """The node's state without the node: newest camera, priors, images that wait for one."""

    def __init__(self, drive: Drive, settings: Settings, localizer: Localizer,
                 observer: Observer | None = None) -> None:
        self._drive, self._settings, self._localizer = drive, settings, localizer
        self._observer = observer or (lambda image, prior, result: None)
        self._intake = PriorIntake(settings, self._mounting)
        self._intake.set_frame(drive.frame)
        self._camera: Camera | BadMessage = BadMessage(
            Reason.NO_CAMERA_INFO, f'no camera_info for {drive.topics.image} yet')
        self._depth = DepthIntake(settings, getattr(localizer, 'depth', None), self._camera_T)
        self._camera_frame, self._no_depth = settings['camera_frame'], ''
        self._waiting: deque[Record] = deque()
        self._wait_ns = int(settings['prior.wait'] * _NS)
        self._last_ns = self._used_ns = 0
        self.rows: list[Row] = []
        self.fix_wall_s: list[float] = []

    def take(self, record: Record) -> None:
        """Take the next message; images whose prior is complete are localized."""
        topics, noise, name = self._drive.topics, self._drive.noise, record.topic.name
        try:
            if name == topics.camera_info:
                self._camera = camera_from_info(record.message)
            elif name == topics.fix:
                self._intake.add_fix(noise.fix(record.message) if noise else record.message)
            elif name == topics.imu:
                self._intake.add_imu(noise.imu(record.message) if noise else record.message)
            elif name == topics.odometry:
                self._intake.add_odometry(record.message)
            elif name == topics.initialpose:
                self._intake.add_initialpose(record.message)
            elif name == topics.tf:
                odometry_of_tf(record.message, self._settings['odom_frame'],
                               self._settings['base_frame'], self._drive.tree,
                               self._intake.odometry.add)
            elif name == topics.depth:
                self._depth.add(record.message)
            else:
                self._waiting.append(record)
                if not self._settings['camera_frame']:
                    self._camera_frame = record.message.header.frame_id
                self._depth.place()
        except BadMessage as error:     # an unusable fix or heading: the intake remembers why
            if name == topics.camera_info:
                self._camera = error
            elif name in (topics.depth, topics.image):
                self._no_depth = str(error)
        while self._waiting and self._ready(self._waiting[0], record.log_ns):
            self._process(self._waiting.popleft())

    def finish(self) -> None:
        """Localize what still waits at the end of the recording."""
        while self._waiting:
            self._process(self._waiting.popleft())

    def _ready(self, image: Record, now_ns: int) -> bool:
        """Return whether an image has its prior and depth, or has waited long enough."""
        stamp = stamp_ns(image.message.header.stamp)
        return now_ns > image.log_ns + self._wait_ns or (
            self._intake.reaches(stamp) and self._depth.has(stamp))

    def _process(self, record: Record) -> None:
        """Localize one image and add its row."""
        started = time.perf_counter()
        message = record.message
        stamp = stamp_ns(message.header.stamp)
        if stamp > self._last_ns and self._skipped(stamp):
            self.rows.append(Row(stamp, DROPPED, detail='max_rate'))
            return
        if stamp > self._last_ns and self._intake.rests(stamp):
            self._last_ns = stamp
            self.rows.append(Row(stamp, DROPPED, detail='min_distance'))
            return
        result, prior = self._localize(message, stamp)
        now = time.perf_counter()
        if isinstance(result, Fix):
            self.fix_wall_s.append(now)
        self.rows.append(make_row(stamp, result, prior, self._drive.reference, now - started))

    def _localize(self, message: Any, stamp: int) -> tuple[Fix | Rejection, Prior | None]:
        """Walk the node's path: stamp, pixels, mounting, prior, pose."""
        if stamp <= self._last_ns:
            return Rejection(stamp, Reason.BAD_STAMP, {'behind_s': (self._last_ns - stamp) / _NS},
                             'the stamp is zero or not after the last one'), None
        self._last_ns = stamp
        try:
            image = self._read(message, stamp)
        except BadMessage as error:
            return Rejection(stamp, error.reason, error.numbers, str(error)), None
        try:
            mount = mount_from_matrix(self._drive.tree.lookup(
                self._settings['base_frame'],
                self._settings['camera_frame'] or message.header.frame_id))
        except (TransformError, ValueError) as error:
            return Rejection(stamp, Reason.NO_TF, detail=str(error)), None
        prior = self._intake.at(stamp)
        if isinstance(prior, Rejection):
            return prior, None
        result = self._intake.settle(self._localizer.localize(image, prior, mount), prior)
        if isinstance(result, Rejection) and result.reason is Reason.NO_DEPTH:
            result = replace(result, detail=result.detail or self._no_depth or (
                f'nothing on {self._drive.topics.depth} near the image stamp'))
        self._observer(image, prior, result)
        return result, prior

    def _read(self, message: Any, stamp: int) -> Image:
        if self._settings['camera.model'] == 'equirectangular':
            return read_panorama(message, stamp)
        if isinstance(self._camera, BadMessage):
            raise self._camera
        return read_image(message, self._camera, stamp)

    def _skipped(self, stamp: int) -> bool:
        """Return whether max_rate says to leave an image out."""
        rate = self._settings['max_rate']
        if rate > 0 and self._used_ns and stamp - self._used_ns < 0.999 * _NS / rate:
            return True
        self._used_ns = stamp
        return False

    def _camera_T(self, frame_id: str, stamp: int) -> Any:
        """Answer the depth intake: ``camera_T_frame``, None until the first image."""
        camera = self._camera_frame
        return self._drive.tree.lookup(camera, frame_id) if camera else None

    def _mounting(self, frame_id: str, stamp: int) -> Any:
        """Answer the intake: ``base_T_frame``, or None."""
        try:
            return self._drive.tree.lookup(self._settings['base_frame'], frame_id)
        except TransformError:
            return None


def make_row(stamp: int, result: Fix | Rejection, prior: Prior | None, reference: Reference,
             latency_s: float) -> Row:
    """Return the row of one image."""
    used = None if prior is None else PriorRow(
        float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad, prior.sigma_xy_m,
        prior.sigma_yaw_rad)
    truth = reference.at(stamp)
    if isinstance(result, Rejection):
        return Row(stamp, result.reason.value, prior=used, truth=truth, latency_s=latency_s,
                   detail=str(result))
    return Row(stamp, FIX, result.map_T_base, result.covariance, result.score, result.n_matches,
               result.n_inliers, result.scale, used, truth, latency_s)
