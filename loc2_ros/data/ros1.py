# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Messages of ROS 1 bags as ROS 2 stores them: the same fields in other bytes."""

from __future__ import annotations

from typing import Any

from rosbags.convert.converter import is_same_wireformat
from rosbags.typesys import get_typestore, Stores
from rosbags.typesys.store import Typestore

_STORE = get_typestore(Stores.ROS2_JAZZY)
_RENAMED = {'tf/msg/tfMessage': 'tf2_msgs/msg/TFMessage'}


def ros2_type(recorded: Typestore, msgtype: str) -> str | None:
    """
    Return what a type of a ROS 1 bag is called now, None where ROS 2 has nothing of its fields.

    :param recorded: the definitions that the bag brings.
    """
    name = _RENAMED.get(msgtype, msgtype)
    try:
        return name if is_same_wireformat(recorded, _STORE, msgtype, name) else None
    except KeyError:        # a type, or one of its parts, that ROS 2 does not have
        return None


def to_cdr(data: bytes, msgtype: str) -> bytes:
    """
    Return a serialised message of ROS 1 as CDR; the header loses its ``seq``.

    :param msgtype: what ``ros2_type`` returned.
    :raises SerdeError: the data is no such message.
    """
    return bytes(_STORE.ros1_to_cdr(data, msgtype))


def from_cdr(data: bytes, msgtype: str) -> Any:
    """Deserialise what ``to_cdr`` returned."""
    return _STORE.deserialize_cdr(data, msgtype)
