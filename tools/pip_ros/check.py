# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Send a static transform from one node to another over DDS, and compare /tf's type hash."""

from __future__ import annotations

import os
import sys
import tempfile
import time

# Before rclpy reads them: a place for logs, and no talk to other machines
os.environ.setdefault('ROS_LOG_DIR', tempfile.mkdtemp(prefix='ros_log_'))
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

from geometry_msgs.msg import TransformStamped  # noqa: E402
import rclpy  # noqa: E402
import tf2_ros  # noqa: E402

# Of tf2_msgs/msg/TFMessage in every ROS 2 distribution that has type hashes; bags carry it, too
TYPE_HASH = 'RIHS01_e369d0f05a23ae52508854b66f6aa0437f3449d652e8cbf22d5abe85d020f087'


def main() -> int:
    """Return 0 when the transform arrives and the hash is upstream's."""
    rclpy.init(domain_id=1 + os.getpid() % 100)
    sender, receiver = rclpy.create_node('check_sender'), rclpy.create_node('check_receiver')
    transform = TransformStamped()
    transform.header.frame_id, transform.child_frame_id = 'base_link', 'camera'
    transform.transform.translation.x = 1.5
    transform.transform.rotation.w = 1.0
    broadcaster = tf2_ros.StaticTransformBroadcaster(sender)
    broadcaster.sendTransform(transform)
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, receiver)
    found, deadline = False, time.monotonic() + 20.0
    while not found and time.monotonic() < deadline:
        rclpy.spin_once(receiver, timeout_sec=0.1)
        found = bool(buffer.can_transform('base_link', 'camera', rclpy.time.Time()))
    infos = receiver.get_publishers_info_by_topic('/tf_static')
    type_hash = str(infos[0].topic_type_hash) if infos else 'no publisher was discovered'
    del listener
    rclpy.shutdown()
    if not found:
        print('a static transform did not arrive within 20 s', file=sys.stderr)
    if type_hash != TYPE_HASH:
        print(f'tf2_msgs has type hash {type_hash}, expected {TYPE_HASH}', file=sys.stderr)
    return 0 if found and type_hash == TYPE_HASH else 1


if __name__ == '__main__':
    sys.exit(main())
