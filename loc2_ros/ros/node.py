# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The node: a lifecycle that starts itself, topics in, poses and transforms out."""

from __future__ import annotations

import functools
import signal
import time
import traceback
from typing import Any, Callable, Mapping

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.values import MapError
from loc2_ros.ros.about import about_map, about_model, about_place, check_model, fell_back, load
from loc2_ros.ros.datum import datum_from_settings
from loc2_ros.ros.declare import declare, values, verdict
from loc2_ros.ros.frame_path import Localizer
from loc2_ros.ros.output import Diagnostics
from loc2_ros.ros.params import ParameterError
from loc2_ros.ros.services import Services
from loc2_ros.ros.session import Session
from loc2_ros.ros.stats import Stats
from loc2_ros.ros.tf import Transforms
import rclpy
from rclpy.clock import Clock, ClockType, JumpThreshold
from rclpy.duration import Duration
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

LocalizerFactory = Callable[[Mapping[str, Any], LocalFrame], Localizer]
_SUCCESS, _FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


class Loc2Node(LifecycleNode):
    """Localizes a vehicle against an aerial map; see README for topics and parameters."""

    def __init__(self, *, localizer_factory: LocalizerFactory = load, **node: Any) -> None:
        """
        Declare everything; nothing runs before ``configure``.

        :param localizer_factory: makes the localizer in ``configure``; tests pass a fake.
        :raises ParameterError: a parameter given at start cannot be used.
        """
        super().__init__('loc2', **node)
        self.settings = declare(self)
        self.localizer: Localizer | None = None
        self.add_on_set_parameters_callback(lambda given: verdict(
            self, given, lambda wanted: check_model(self.localizer, wanted)))
        self.stats = Stats()
        self.tf_buffer = Transforms(self)
        self.session: Session | None = None
        self._factory = localizer_factory
        self.state = 'unconfigured'
        self._about: dict[str, Any] = {}        # what configure found out, for diagnostics
        self._datum: tuple[LocalFrame, str] | None = None
        self._enabled = True
        self.diagnostics = Diagnostics(self, self.values)
        # Wall time: diagnostics and QoS must not stop with a bag's clock
        self._wall = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(self.settings['diagnostics.period'], self._tick, clock=self._wall)
        self.create_timer(1.0, self._follow, clock=self._wall)
        self._keep_alive()
        self.offered = Services(self)
        self._jumps = self.get_clock().create_jump_callback(
            JumpThreshold(min_forward=None, min_backward=Duration(nanoseconds=-1),
                          on_clock_change=True), post_callback=lambda jump: self._on_jump())

    # ---- lifecycle: rclpy swallows exceptions of these callbacks, so each says its own --------

    def autostart(self) -> bool:
        """Configure and activate; return whether the node is active."""
        return (self.trigger_configure() == _SUCCESS and self.trigger_activate() == _SUCCESS)

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load map and model."""
        return self._transition('configure', 'inactive', self._configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Start listening, working and publishing."""
        return self._transition('activate', 'active', self._activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop all that; keep model and map."""
        return self._transition('deactivate', 'inactive', self._deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release model and map."""
        return self._transition('cleanup', 'unconfigured', self._release)

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop and release everything."""
        return self._transition('shutdown', 'finalized', self._release)

    def enable(self, on: bool) -> None:
        """Look at images or drop them, from now on and after the next activation."""
        self._enabled = on
        if self.session is not None:
            self.session.enabled = on

    def close(self) -> None:
        """Stop the worker and release everything; call it before the executor is shut down."""
        self._release()
        self._jumps.unregister()

    def create_subscription(self, msg_type: Any, topic: str, callback: Callable[..., None],
                            *args: Any, **more: Any) -> Any:
        """
        Subscribe; a callback that raises is told, and stops neither its group nor the executor.

        Ours answer bad messages themselves. Those of rclpy do not: a clock before 1970, for one.
        """
        @functools.wraps(callback)
        def lasting(*message: Any) -> None:
            try:
                callback(*message)
            except Exception as error:  # noqa: B902 (no message may end the node)
                problem = f'a message on {topic} cannot be used: {error!r}'
                self.stats.note(input_problem=problem)
                self.get_logger().error(f'{problem}\n{traceback.format_exc()}',
                                        throttle_duration_sec=5.0)
        return super().create_subscription(msg_type, topic, lasting, *args, **more)

    def _keep_alive(self) -> None:
        """Answer a transition that does not exist; rclpy would let it end the executor."""
        service: Any = self._service_change_state
        change = service.callback

        def answer(request: Any, response: Any) -> Any:
            try:
                return change(request, response)
            except RuntimeError as error:       # RCLError is one
                asked = request.transition.label or request.transition.id
                self.get_logger().warning(f'no transition {asked} from here: {error}')
                response.success = False
                return response
        service.callback = answer

    def _transition(self, name: str, reached: str,
                    body: Callable[[], None]) -> TransitionCallbackReturn:
        try:
            body()
        except Exception as error:  # noqa: B902 (rclpy would swallow it without a word)
            sentence = str(error) or type(error).__name__
            self.get_logger().error(f'{name} failed: {sentence}')
            if name == 'configure':
                wrong = 'map_error' if isinstance(error, MapError) else 'model_error'
                self._about[wrong] = sentence
            self.diagnostics.publish()
            return _FAILURE
        self.state = reached
        self.get_logger().info(f'{name}: done')
        self.diagnostics.publish()
        return _SUCCESS

    def _configure(self) -> None:
        started = time.monotonic()
        self.settings.update(values(self))
        self._about = {}
        frame = datum_from_settings(self.settings)
        self._datum = None if frame is None else (frame, 'parameter')
        # The localizer gets its real frame when the datum is known; crops wait for that
        self.localizer = self._factory(self.settings, frame or LocalFrame(0.0, 0.0))
        self._about = {**about_model(self.localizer),
                       'warmup_ms': 1e3 * (time.monotonic() - started)}
        self._about['fell_back_to_cpu'] = fell_back(self.settings['device'],
                                                    self._about.get('device', ''))
        self.get_logger().info(f'loaded {self.settings["checkpoint"]} and the map in '
                               f'{self._about["warmup_ms"] / 1e3:.1f} s')
        if notice := self._about.get('depth_notice'):
            self.get_logger().warning(notice)
        if warnings := about_map(self.localizer).get('map_warnings'):
            self.get_logger().warning(f'{self.settings["map.path"]}: {warnings}')

    def _activate(self) -> None:
        if self.localizer is None:
            raise RuntimeError('nothing is configured')
        self.stats.reset()
        self.session = Session(self, self.localizer, self._datum, self._on_datum)
        self.session.enabled = self._enabled

    def _deactivate(self) -> None:
        session, self.session = self.session, None
        if session is not None:
            session.close()

    def _release(self) -> None:
        self._deactivate()
        localizer: Any = self.localizer
        self.localizer = None
        if hasattr(localizer, 'close'):
            localizer.close()
        self._about, self._datum = {}, None

    # ---- what the session reports -------------------------------------------------------------

    def _on_datum(self, frame: LocalFrame, source: str) -> None:
        self._datum = (frame, source)

    def values(self) -> dict[str, Any]:
        """Return everything that diagnostics show."""
        found = {**self.stats.values(), **self._about, **about_map(self.localizer),
                 'state': self.state, 'path': self.settings['map.path'] or None,
                 'checkpoint': self.settings['checkpoint'], **{k: self.settings[k] for k in (
                     'odom_frame', 'base_frame', 'fix_topic', 'odometry_topic', 'prior.source')}}
        if self._datum is not None:
            frame, source = self._datum
            found['datum'] = f'{frame.lat_deg:.9f}, {frame.lon_deg:.9f}, {frame.height_m:.3f}'
            found['datum_source'], found['frame_mode'] = source, frame.mode
        if self.session is not None:
            found.update(self.session.values())
        found.update(about_place(self.localizer, self._datum[0] if self._datum else None,
                                 found.get('xy_map_m'), self.get_clock().now().nanoseconds))
        limit = self.settings['gate.max_consecutive']
        found['many_rejected'] = found['consecutive_rejected'] > limit
        return found

    # ---- timers, clock ------------------------------------------------------------------------

    def _tick(self) -> None:
        # Polled: Humble has no callback after a parameter was set
        changed = {k: v for k, v in values(self).items() if v != self.settings[k]}
        if changed:
            self.settings.update(changed)
            self.get_logger().info(f'parameters changed: {changed}')
            if self.session is not None:
                self.session.retune()
        self.diagnostics.publish()

    def _follow(self) -> None:
        if self.session is not None:
            self.session.follow()

    def _on_jump(self) -> None:
        self.get_logger().warning('time went backwards: prior, slot and transforms forgotten')
        self.stats.jumped()
        if self.session is not None:
            self.session.restart()


def main(args: list[str] | None = None) -> int:
    """Run the node until it is told to stop; return the exit code."""
    rclpy.init(args=args)
    executor = SingleThreadedExecutor()
    node: Loc2Node | None = None
    code = 0
    try:
        node = Loc2Node()
        executor.add_node(node)
        if node.settings['autostart'] and not node.autostart():
            code = 1
        else:
            executor.spin()
    except (ParameterError, ParameterException) as error:
        rclpy.logging.get_logger('loc2').fatal(str(error))
        code = 1
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except RuntimeError:        # what rclpy raises when SIGTERM comes while the node is made
        if rclpy.ok():
            raise
    finally:
        # Ctrl-C under ros2 launch comes twice; the second must not tear the release apart
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # In this order: a worker or an executor alive at interpreter exit aborts the process
        if node is not None:
            node.close()
        executor.shutdown()
        if node is not None:
            node.destroy_node()
        rclpy.try_shutdown()
    return code
