# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The services of the node: enable, localize, reload_map, reset.

Those that wait are coroutines in callback groups of their own: one that is pending in the
node's default group would keep every timer from running.
"""

from __future__ import annotations

import threading
from typing import Any, TYPE_CHECKING

from loc2_ros.ros.about import open_map
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

if TYPE_CHECKING:
    from loc2_ros.ros.node import Loc2Node


class Services:
    """Answers in every state of the lifecycle, if only with the reason why not."""

    def __init__(self, node: Loc2Node) -> None:
        """Create the services."""
        self._node = node
        node.create_service(SetBool, '~/enable', self._on_enable)
        node.create_service(Trigger, '~/reset', self._on_reset)
        node.create_service(Trigger, '~/localize', self._on_localize,
                            callback_group=ReentrantCallbackGroup())
        node.create_service(Trigger, '~/reload_map', self._on_reload_map,
                            callback_group=MutuallyExclusiveCallbackGroup())

    def wake(self) -> None:
        """Make the executor look at futures that another thread has set."""
        if self._node.executor is not None:
            self._node.executor.wake()

    def _on_enable(self, request: Any, response: Any) -> Any:
        self._node.enable(request.data)
        response.success, response.message = True, 'enabled' if request.data else 'disabled'
        return response

    def _on_reset(self, request: Any, response: Any) -> Any:
        session = self._node.session
        response.success = session is not None
        response.message = ('prior, slot and transforms forgotten' if session
                            else self._not_active())
        if session is not None:
            session.restart()
        return response

    async def _on_localize(self, request: Any, response: Any) -> Any:
        """Answer with what becomes of the next image, also while disabled."""
        session = self._node.session
        if session is None:
            response.success, response.message = False, self._not_active()
        else:
            response.success, response.message = await session.localize_next()
        return response

    async def _on_reload_map(self, request: Any, response: Any) -> Any:
        """Open map.path again; a map that cannot be used leaves everything as it is."""
        localizer: Any = self._node.localizer
        if not hasattr(localizer, 'exchange'):
            response.success = False
            response.message = f'no map is open: the node is {self._node.state}'
            return response
        answer: Any = Future()
        # A thread: opening reads the file, and the old map must first see its last image end
        threading.Thread(target=self._reload, args=(localizer, answer), daemon=True,
                         name='loc2_reload_map').start()
        response.success, response.message = await answer
        return response

    def _reload(self, localizer: Any, answer: Any) -> None:
        path = self._node.settings['map.path']
        try:
            localizer.exchange(open_map(self._node.settings))
        except Exception as error:  # noqa: B902 (without an answer the service hangs for ever)
            sentence = f'{path} is not taken, the map of before stays: {error}'
            self._node.get_logger().error(sentence)
            answer.set_result((False, sentence))
        else:
            self._node.get_logger().info(f'opened {path} again')
            answer.set_result((True, f'opened {path} again; the datum stays'))
        self.wake()

    def _not_active(self) -> str:
        return f'not active: the node is {self._node.state}'
