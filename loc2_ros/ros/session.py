# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""An active node: its subscriptions, its worker, its publishers, from activate to deactivate."""

from __future__ import annotations

from contextlib import ExitStack
import traceback
from typing import Any, Callable, TYPE_CHECKING

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Fix, Reason, Rejection
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.messages import camera_from_info, stamp_ns
from loc2_ros.ros.about import attribution
from loc2_ros.ros.asked import Callers, PATIENCE_S
from loc2_ros.ros.debug import Debug
from loc2_ros.ros.depth_input import DepthInput
from loc2_ros.ros.frame_path import FramePath, Job, Localizer
from loc2_ros.ros.image_input import encoding_of, ImageInput
from loc2_ros.ros.output import Output
from loc2_ros.ros.prior_input import PriorInput
from loc2_ros.ros.results import Results
from loc2_ros.ros.stamps import StampGuard
from loc2_ros.ros.tf import Frames, MapSender
from loc2_ros.ros.worker import Worker
from rclpy.logging import get_logger
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.qos_overriding_options import QoSOverridingOptions
from sensor_msgs.msg import CameraInfo

if TYPE_CHECKING:
    from loc2_ros.ros.node import Loc2Node


class Session:
    """Everything that exists only while the node is active."""

    def __init__(self, node: Loc2Node, localizer: Localizer, datum: tuple[LocalFrame, str] | None,
                 on_datum: Callable[[LocalFrame, str], None]) -> None:
        """Start listening; ``datum`` is None until it is known."""
        self.enabled = True
        self._node, self._on_datum = node, on_datum
        self._stats, self._settings = node.stats, node.settings
        self._epoch, self._open = 0, True
        self._stamps = StampGuard(self._settings)
        self._camera_frame = self._settings['camera_frame']
        self._resets = 0        # of odometry, as far as they have been answered
        with ExitStack() as made:       # what was made is closed if the rest cannot be made
            self._make(node, localizer, datum, made.callback)
            self._made = made.pop_all()

    def _make(self, node: Loc2Node, localizer: Localizer, datum: tuple[LocalFrame, str] | None,
              at_end: Callable[..., Any]) -> None:
        """Make all parts; they are closed in the reverse order."""
        self._output = Output(node, self._settings)
        at_end(self._output.close)
        self._frames = Frames(node, self._settings, node.tf_buffer)
        at_end(self._frames.close)
        self._sender = MapSender(node, self._settings, self._frames)
        at_end(self._sender.close)
        self._results = Results(node, self._output, self._sender)
        self._debug = Debug(node, self._settings, lambda: attribution(localizer))
        at_end(self._debug.close)
        self._callers = Callers(node.offered.wake)
        at_end(self._callers.close, 'the node was deactivated before an image was localized')
        self._skipped: Job | None = None    # the newest image, if nobody has looked at it
        self._priors = PriorInput(node, self._settings, self._frames, self._stats, self._trouble)
        self._intake = self._priors.intake
        self._path = FramePath(localizer, self._intake, self._frames, self._stats,
                               self._settings, self._settings['camera_info_topic'])
        self._worker: Worker[Job] = Worker(self._work)
        if datum is not None:
            self._use_datum(*datum)
        self._worker.start()
        at_end(lambda: self._stats.dropped(self._worker.stop()))
        self._depth = DepthInput(node, self._settings, self._frames,
                                 getattr(localizer, 'depth', None), lambda: self._camera_frame,
                                 self._trouble)
        at_end(self._depth.close)
        at_end(self._priors.close)      # wakes a worker that waits for a prior
        self._priors.listen(datum[0] if datum else None, self._use_datum)
        info = node.create_subscription(
            CameraInfo, self._settings['camera_info_topic'], self._on_camera_info,
            QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT),
            qos_overriding_options=QoSOverridingOptions.with_default_policies())
        at_end(node.destroy_subscription, info)
        self.images = ImageInput(node, self._settings, self._on_image)
        at_end(self.images.close)

    def close(self) -> None:
        """Stop listening, join the worker, then stop publishing."""
        self._open = False
        self._made.close()
        # After SIGINT the node's own logger has lost its /rosout
        alive = self._node.context.ok()
        (self._node.get_logger() if alive else get_logger('loc2_ros')).info(self._stats.summary())

    def restart(self) -> None:
        """Forget everything that depends on time; results still on their way are dropped."""
        self._epoch += 1
        self._skipped = None
        self._callers.coming(False)
        self._stats.dropped(self._worker.clear())
        self._stamps.clear()
        self._frames.clear()
        self._intake.clear()
        self._sender.clear()
        self._depth.clear()

    def retune(self) -> None:
        """Take changed parameters."""
        self._intake.retune(self._settings)

    def localize_next(self) -> Any:
        """Return a future of (success, sentence) about the newest image, or else the next."""
        future = self._callers.add()
        job, self._skipped = self._skipped, None
        limit_s = self._settings['max_image_age']
        if job is not None and not 0 < limit_s < (self._now_ns() - job.stamp_ns) / 1e9:
            self._stats.dropped(-1)     # it was counted when it was skipped
            self._offer(job)
        elif self._worker.waiting:
            self._callers.coming()
        return future

    def follow(self) -> None:
        """Do what is due about once a second: follow the camera, end somebody's patience."""
        self.images.follow()
        self._callers.expire(f'no image on {self.images.topic} for {PATIENCE_S:.0f} s')

    def values(self) -> dict[str, Any]:
        """Return what diagnostics show of it."""
        missing = self._sender.missing_odometry
        return {
            'image_topic': self.images.topic, 'image_qos': self.images.reliability,
            'camera_calibrated': (
                self._settings['camera.model'] == 'equirectangular'     # needs no calibration
                or not isinstance(self._path.camera, (BadMessage, type(None)))),
            'tf_odom_base': missing if self._settings['odom_frame'] else None,
            'tf_error': self._sender.error or None, 'tf_stale': self._sender.too_old,
            **self._priors.values()}

    # ---- callbacks: they return within milliseconds -------------------------------------------

    def _on_image(self, msg: Any) -> None:
        stamp, now = stamp_ns(msg.header.stamp), self._now_ns()
        self._stats.image((now - stamp) / 1e9, encoding_of(msg))
        if self._stamps.restarts(stamp, now):
            self._node.get_logger().warning('image stamps start over: taken as a jump of time')
            self._stats.jumped()
            self.restart()
        problem = self._stamps.problem(stamp, now)
        if problem is not None:
            self._callers.take()(False, self._results.reject(problem))
            return
        if not self._settings['camera_frame']:
            self._camera_frame = msg.header.frame_id
        self._depth.place()
        job = Job(msg, stamp, self._epoch)
        if not self._callers and (not self.enabled or self._stamps.skip(stamp)):
            self._skipped = job
            self._stats.dropped()
        else:
            self._skipped = None
            self._offer(job)

    def _offer(self, job: Job) -> None:
        self._callers.coming()
        if self._worker.offer(job):
            self._stats.dropped()

    def _on_camera_info(self, msg: CameraInfo) -> None:
        try:
            self._path.camera = camera_from_info(msg)
        except BadMessage as error:
            self._path.camera = error
            self._trouble(str(error))

    # ---- the worker ---------------------------------------------------------------------------

    def _work(self, job: Job) -> None:
        """Localize one image and publish; runs in the worker thread."""
        asked = bool(self._callers)
        answer = self._callers.take()
        try:
            answer(*self._localize(job, asked))
        except Exception:   # noqa: B902 (a dead worker would be a silent node)
            detail = traceback.format_exc()
            last = detail.strip().splitlines()[-1]
            answer(False, last)
            if self._node.context.ok():
                self._node.get_logger().error(f'the worker failed:\n{detail}')
                self._results.reject(Rejection(job.stamp_ns, Reason.MODEL_ERROR, detail=last))

    def _localize(self, job: Job, asked: bool) -> tuple[bool, str]:
        """Return whether there is a fix, and the sentence about it."""
        def stopped() -> bool:
            return not self._open or job.epoch != self._epoch
        outcome = self._path.run(job, stopped, asked)
        self._answer_resets()
        if stopped() or not self._node.context.ok():
            self._stats.dropped()       # from before a jump of time, or nobody is left
            return False, 'the result was dropped: time jumped, or the node was deactivated'
        if outcome.result is None:
            self._stats.dropped()
            return False, 'the image was not needed: base_link has moved less than min_distance'
        if isinstance(outcome.result, Fix):
            said = self._results.fix(outcome.result, self._intake.frame)
        else:
            said = self._results.reject(outcome.result)
        if outcome.image is not None and outcome.prior is not None:
            self._debug.show(outcome.image, outcome.prior, outcome.result)
        return isinstance(outcome.result, Fix), said

    def _answer_resets(self) -> None:
        """Stop sending a map -> odom that belongs to odometry before its reset."""
        resets = self._intake.odometry.resets
        if resets != self._resets:
            self._resets = resets
            self._sender.forget()
            self._node.get_logger().warning('odometry jumped: taken as its reset')

    # ---- helpers ------------------------------------------------------------------------------

    def _use_datum(self, frame: LocalFrame, source: str) -> None:
        self._path.localizer.frame = frame
        self._intake.set_frame(frame)
        self._output.datum(frame, ours=source != 'local_xy_origin')
        self._on_datum(frame, source)

    def _mounting(self, frame_id: str) -> Array | None:
        return self._frames.mounting(frame_id)

    def _trouble(self, sentence: str) -> None:
        self._stats.note(input_problem=sentence)
        self._node.get_logger().warning(sentence, throttle_duration_sec=5.0)

    def _now_ns(self) -> int:
        return int(self._node.get_clock().now().nanoseconds)
