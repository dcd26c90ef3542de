# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The way of one image through the worker: camera, pixels, mounting, prior, pose.

Whatever is wrong with an image comes back as a Rejection, never as an exception.
"""

from __future__ import annotations

from dataclasses import dataclass
import time
from typing import Any, Callable, Mapping, Protocol

from loc2_ros.core.camera import Mount
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera, Fix, Image, Prior, Reason, Rejection
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.images import read_image, read_panorama
from loc2_ros.data.prior_intake import PriorIntake
from loc2_ros.ros.stats import Stats
from loc2_ros.ros.tf import Frames


class Localizer(Protocol):
    """What the node needs of ``pipeline.Localizer``; tests put a fake in its place."""

    frame: LocalFrame

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        """Estimate the pose of base_link in the map."""


@dataclass(frozen=True)
class Job:
    """
    One image on its way to the worker.

    :param epoch: number of clock jumps before it; a result from before a jump is dropped.
    """

    msg: Any
    stamp_ns: int
    epoch: int


@dataclass(frozen=True)
class Outcome:
    """
    What became of an image, and what it was made of, as far as it came.

    :param result: None where the image was not needed.
    :param prior: as it was used.
    """

    result: Fix | Rejection | None
    image: Image | None = None
    prior: Prior | None = None


class FramePath:
    """Everything that the worker does with an image before it publishes."""

    def __init__(self, localizer: Localizer, intake: PriorIntake, frames: Frames, stats: Stats,
                 settings: Mapping[str, Any], info_topic: str) -> None:
        """Keep the parts; ``settings`` are the parameter values."""
        self.localizer, self.settings = localizer, settings
        self._intake, self._frames, self._stats = intake, frames, stats
        self._info_topic = info_topic
        self.camera: Camera | BadMessage | None = None

    def run(self, job: Job, stopped: Callable[[], bool], asked: bool) -> Outcome:
        """
        Localize one image.

        :param stopped: true when waiting has become pointless.
        :param asked: whether somebody wants just this one.
        """
        camera_frame = self.settings['camera_frame'] or job.msg.header.frame_id
        self._frames.ensure_static(camera_frame)
        try:
            image = self._read(job)
        except BadMessage as error:
            return Outcome(self._refused(job, error))
        mount = self._frames.mount(camera_frame, job.stamp_ns)
        self._stats.note(tf_base_camera=isinstance(mount, Mount))
        if isinstance(mount, Rejection):
            return Outcome(mount, image)
        self._wait(job.stamp_ns, stopped)
        if not asked and self._intake.rests(job.stamp_ns):
            return Outcome(None, image)
        prior = self._intake.at(job.stamp_ns)
        if isinstance(prior, Rejection):
            return Outcome(prior, image)
        self._stats.prior(prior)
        result = self._intake.settle(self._localize(image, prior, mount), prior)
        return Outcome(result, image, prior)

    def _read(self, job: Job) -> Image:
        if self.settings['camera.model'] == 'equirectangular':
            return read_panorama(job.msg, job.stamp_ns)
        return read_image(job.msg, self._camera(), job.stamp_ns)

    def _camera(self) -> Camera:
        """Return the camera of the newest camera_info, or raise why there is none."""
        if self.camera is None:
            raise BadMessage(Reason.NO_CAMERA_INFO, f'no camera_info on {self._info_topic} yet')
        if isinstance(self.camera, BadMessage):
            raise self.camera
        return self.camera

    def _wait(self, stamp: int, stopped: Callable[[], bool]) -> None:
        """Wait for what belongs to an image but comes after it: odometry, priors, depth."""
        self._frames.await_odometry(stamp)
        deadline = time.monotonic() + self.settings['prior.wait']
        self._intake.wait(stamp, self.settings['prior.wait'], stopped)
        depth: Any = getattr(self.localizer, 'depth', None)
        if hasattr(depth, 'wait'):
            depth.wait(stamp, max(0.0, deadline - time.monotonic()), stopped)

    def _localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        started = time.monotonic()
        try:
            return self.localizer.localize(image, prior, mount)
        except Exception as error:  # noqa: B902 (whatever a network raises, the node lives on)
            detail = f'{type(error).__name__}: {error}'
            return Rejection(image.stamp_ns, Reason.MODEL_ERROR, detail=detail)
        finally:
            self._stats.note(inference_ms=1e3 * (time.monotonic() - started))

    def _refused(self, job: Job, error: BadMessage) -> Rejection:
        self._stats.note(input_problem=str(error))
        return Rejection(job.stamp_ns, error.reason, error.numbers, str(error))
