# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""An executor that one bad message does not end."""

from __future__ import annotations

import traceback

from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.logging import get_logger


class LastingExecutor(SingleThreadedExecutor):
    """
    Spins on after a callback that raised, and tells what it raised.

    Callbacks of ours answer bad input themselves; those of rclpy do not: a ``/clock`` before 1970
    makes its time source raise, which would end every node that listens to it.
    """

    def spin_once(self, timeout_sec: float | None = None) -> None:
        """Run one callback; what it raises is logged while the context lives."""
        try:
            super().spin_once(timeout_sec)
        except ExternalShutdownException:
            raise
        except Exception:   # noqa: B902 (whatever a message brings about, the node lives on)
            if not self.context.ok():
                raise
            get_logger('loc2_ros').error(f'a callback failed:\n{traceback.format_exc()}',
                                         throttle_duration_sec=5.0)
