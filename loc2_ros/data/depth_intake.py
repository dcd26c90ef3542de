# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""From depth images and scans to the depth source of a localizer, for node and offline twin."""

from __future__ import annotations

from collections import deque
from typing import Any, Callable, Mapping

from loc2_ros.core.values import Array, Reason
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.depth_messages import decode_depth, points_from_cloud
from loc2_ros.data.messages import stamp_ns

# The parameter that names the topic, by depth.source; other sources need no topic
TOPIC_PARAMETERS = {'image': 'depth_topic', 'lidar': 'points_topic'}
_PENDING = 5        # scans held back until the first image names the camera's frame


class DepthIntake:
    """
    Fills a ``DepthImages`` or a ``LidarDepth``.

    :param settings: the node's parameters by name.
    :param depth: the source; None and sources that need no messages are left alone.
    :param camera_T: (4, 4) from a frame at a stamp to the camera's optical axes; None while the
        camera's frame is unknown; LookupError where nothing connects the two.
    :param decode: reads a depth image.
    """

    def __init__(self, settings: Mapping[str, Any], depth: Any,
                 camera_T: Callable[[str, int], Array | None],
                 decode: Callable[[Any], Any] = decode_depth) -> None:
        self._lidar = settings['depth.source'] == 'lidar'
        self._depth, self._camera_T, self._decode = depth, camera_T, decode
        self._scans: deque[Any] = deque(maxlen=_PENDING)

    def add(self, msg: Any) -> None:
        """
        Take a depth image or a scan.

        :raises BadMessage: it is unreadable, or nobody says where the scanner is.
        """
        if self._lidar:
            self._scans.append(msg)
            self.place()
        elif hasattr(self._depth, 'add'):
            self._depth.add(stamp_ns(msg.header.stamp), self._decode(msg))

    def place(self) -> None:
        """Place scans that wait for the camera's frame; see ``add``."""
        while self._scans and hasattr(self._depth, 'add'):
            msg = self._scans[0]
            stamp = stamp_ns(msg.header.stamp)
            try:
                camera_T_scan = self._camera_T(msg.header.frame_id, stamp)
            except LookupError as error:
                self._scans.popleft()
                raise BadMessage(Reason.NO_TF, f'a scan cannot be placed: {error}') from error
            if camera_T_scan is None:
                return
            self._scans.popleft()
            points = points_from_cloud(msg)
            self._depth.add(stamp, points @ camera_T_scan[:3, :3].T + camera_T_scan[:3, 3])

    def has(self, stamp: int) -> bool:
        """Return whether there is depth for an image, or none is needed."""
        return not hasattr(self._depth, 'has') or self._depth.has(stamp)

    def clear(self) -> None:
        """Forget what has come, after time has jumped."""
        self._scans.clear()
        if hasattr(self._depth, 'clear'):
            self._depth.clear()
