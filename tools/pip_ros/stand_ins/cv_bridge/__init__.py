# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Stand-in for cv_bridge in environments without a ROS distribution: what loc2_ros uses of it."""

from cv_bridge.core import CvBridge, CvBridgeError

__all__ = ['CvBridge', 'CvBridgeError']
