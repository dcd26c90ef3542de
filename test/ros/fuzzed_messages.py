# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Messages of every subscribed type that no sane sensor sends, the same ones for the same seed."""

from __future__ import annotations

from builtin_interfaces.msg import Time as TimeMsg
import cv2
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
import numpy as np
from ros_world import SECOND
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import (
    CameraInfo, CompressedImage, Image, Imu, NavSatFix, PointCloud2, PointField)
from tf2_msgs.msg import TFMessage

NUMBERS = [0.0, -0.0, 1.0, -1.0, 1e-320, 1e-30, 0.5, 90.0, -91.0, 361.0, 1e9, -1e9, 1e154, 1e308,
           -1e308, float('nan'), float('inf'), float('-inf')]
BROKEN = [float('nan'), float('inf'), float('-inf')]
SIZES = [0, 1, 2, 47, 48, 63, 64, 65, 1000, 65535, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1]
FRAMES = ['', '/', '//', 'camera', '/camera', 'base_link', 'map', 'odom', 'x' * 300, 'a b', 'ü\n',
          '../..', 'nowhere', '{0}', '%s']
ENCODINGS = ['', 'rgb8', 'bgr8', 'mono8', 'rgba8', 'bgra8', 'rgb16', 'mono16', '16UC1', '32FC1',
             '64FC4', 'bayer_rggb8', 'yuv422', 'RGB8', '8UC3', '8UC', 'x' * 300, '{', 'ü']
FORMATS = ['', 'jpeg', 'png', 'rgb8; jpeg compressed bgr8', 'tiff', 'x' * 300, '{}']
_JPEG = cv2.imencode('.jpg', np.full((48, 64, 3), 90, np.uint8))[1].tobytes()
_PNG = cv2.imencode('.png', np.full((48, 64, 3), 90, np.uint8))[1].tobytes()


class Fuzz:
    """
    Draws messages.

    Frames that hold the vehicle together never get a transform that could be true: that would be
    a lie, which nobody can see, and no fault.

    :param now: returns the present stamp in nanoseconds.
    """

    def __init__(self, seed, now):
        self.rng, self._now = np.random.default_rng(seed), now
        self.by_topic = {
            '/image_rect': self.image, '/image_rect/compressed': self.compressed,
            '/camera_info': self.info, '/fix': self.fix, '/imu': self.imu,
            '/odometry': self.odometry, '/initialpose': self.initialpose, '/tf': self.tf,
            '/tf_static': self.tf, '/local_xy_origin': self.origin, '/clock': self.clock,
            '/depth': self.depth, '/points': self.cloud}

    def pick(self, values):
        """Return one of some values."""
        return values[int(self.rng.integers(len(values)))]

    def number(self, usual=1.0):
        """Return a number: extreme half of the time, else of a usual size."""
        if self.rng.random() < 0.5:
            return float(self.pick(NUMBERS))
        return float(self.rng.normal(0.0, usual))

    def numbers(self, count, usual=1.0):
        """Return several, now and then all zero."""
        if self.rng.random() < 0.2:
            return [0.0] * count
        return [self.number(usual) for _ in range(count)]

    def stamp(self):
        """Return a stamp: near now, none, before 1970, of the far future, jumping about."""
        at = self._now() + int(self.rng.normal(0.0, 0.5) * SECOND)
        near = TimeMsg(sec=at // SECOND, nanosec=at % SECOND)
        odd = [TimeMsg(), TimeMsg(sec=-1), TimeMsg(sec=-2 ** 31, nanosec=2 ** 32 - 1),
               TimeMsg(sec=2 ** 31 - 1, nanosec=2 ** 32 - 1), TimeMsg(sec=1),
               TimeMsg(sec=at // SECOND + 3600), TimeMsg(sec=at // SECOND - 3600),
               TimeMsg(sec=at // SECOND, nanosec=2 ** 32 - 1)]
        return near if self.rng.random() < 0.6 else self.pick(odd)

    def header(self, msg, *frames):
        """Fill the header of a message."""
        msg.header.stamp = self.stamp()
        msg.header.frame_id = self.pick([*FRAMES, *frames])
        return msg

    def blob(self, usual=None):
        """Return bytes: none, a few, or what is usual with some of them changed or lost."""
        if usual is None or self.rng.random() < 0.3:
            return self.rng.bytes(int(self.pick([0, 1, 3, 100, 9216])))
        changed = bytearray(usual[:int(self.rng.integers(len(usual) + 1))]
                            if self.rng.random() < 0.5 else usual)
        for _ in range(int(self.rng.integers(4))):
            if changed:
                changed[int(self.rng.integers(len(changed)))] = int(self.rng.integers(256))
        return bytes(changed)

    def image(self):
        """Return an Image; sizes and steps claim what they like, now and then the truth."""
        msg = Image(width=self.pick(SIZES), height=self.pick(SIZES), step=self.pick(SIZES),
                    encoding=self.pick(ENCODINGS), is_bigendian=self.pick([0, 1, 255]))
        if self.rng.random() < 0.5:
            msg.width, msg.height = 64, 48
            msg.step = self.pick([192, 193, 191, 64, 0])
        msg.data = self.blob(bytes(9216))
        if self.rng.random() < 0.4:
            msg.width, msg.height, msg.step, msg.encoding = 64, 48, 192, 'rgb8'
            msg.data = bytes(9216)
        return self.header(msg, 'camera', 'camera', 'camera')

    def compressed(self):
        """Return a CompressedImage, whole, torn or something else."""
        msg = CompressedImage(format=self.pick(FORMATS), data=self.blob(self.pick([_JPEG, _PNG])))
        return self.header(msg, 'camera', 'camera')

    def info(self):
        """Return a CameraInfo."""
        msg = CameraInfo(width=self.pick(SIZES), height=self.pick(SIZES),
                         distortion_model=self.pick(ENCODINGS), d=self.numbers(5))
        msg.k, msg.r, msg.p = self.numbers(9, 50.0), self.numbers(9), self.numbers(12, 50.0)
        if self.rng.random() < 0.5:     # sound, or no image would get as far as the worker
            msg.width, msg.height = 64, 48
            msg.p = [50.0, 0.0, 31.5, 0.0, 0.0, 50.0, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
        return self.header(msg)

    def fix(self):
        """Return a NavSatFix."""
        msg = NavSatFix(latitude=self.number(40.0), longitude=self.number(90.0),
                        altitude=self.number(100.0))
        if self.rng.random() < 0.5:
            msg.latitude, msg.longitude = 49.0 + self.rng.normal(0.0, 1e-3), 8.4
        msg.status.status = int(self.pick([-128, -2, -1, 0, 1, 2, 127]))
        msg.status.service = int(self.pick([0, 1, 65535]))
        msg.position_covariance = self.numbers(9)
        msg.position_covariance_type = int(self.pick([0, 1, 2, 3, 255]))
        return self.header(msg)

    def quaternion(self, q):
        """Fill a quaternion: none, not of unit length, or one."""
        values = self.numbers(4)
        if self.rng.random() < 0.3:
            values = self.rng.normal(size=4)
            values = values / np.linalg.norm(values)
        q.x, q.y, q.z, q.w = (float(v) for v in values)

    def imu(self):
        """Return an Imu."""
        msg = Imu()
        self.quaternion(msg.orientation)
        msg.orientation_covariance = self.numbers(9)
        msg.angular_velocity.z = self.number()
        return self.header(msg)

    def _pose(self, msg):
        p = msg.pose.pose.position
        p.x, p.y, p.z = self.numbers(3, 100.0)
        self.quaternion(msg.pose.pose.orientation)
        msg.pose.covariance = self.numbers(36)
        return self.header(msg, 'map', 'odom')

    def odometry(self):
        """Return an Odometry."""
        return self._pose(Odometry(child_frame_id=self.pick(FRAMES)))

    def initialpose(self):
        """Return a PoseWithCovarianceStamped."""
        return self._pose(PoseWithCovarianceStamped())

    def tf(self):
        """Return a TFMessage of up to three transforms."""
        return TFMessage(transforms=[self._transform() for _ in range(self.rng.integers(4))])

    def _transform(self):
        msg, strangers = TransformStamped(), [f'stranger{n}' for n in range(6)]
        t = msg.transform.translation
        t.x, t.y, t.z = self.numbers(3)
        self.quaternion(msg.transform.rotation)
        if self.rng.random() < 0.5:     # loops, second parents, trees in pieces, among others
            self.header(msg)
            msg.header.frame_id = self.pick([*FRAMES, *strangers])
            msg.child_frame_id = self.pick(strangers)
        else:                           # of the vehicle's own frames, and no transform
            self.header(msg)
            msg.child_frame_id = self.pick([*FRAMES, msg.header.frame_id])
            if msg.child_frame_id != msg.header.frame_id:
                setattr(self.pick([t, msg.transform.rotation]), self.pick('xyz'),
                        self.pick(BROKEN))
        return msg

    def origin(self):
        """Return a local_xy_origin that is no place on Earth."""
        msg = self.header(PoseStamped())
        p = msg.pose.position
        p.x, p.y, p.z = self.numbers(3, 40.0)
        setattr(p, self.pick('xy'), self.pick([*BROKEN, 1e9, -1e9, 1e308]))
        return msg

    def clock(self):
        """Return a Clock."""
        return Clock(clock=self.stamp())

    def depth(self):
        """Return a depth Image."""
        msg = self.image()
        if self.rng.random() < 0.5:
            msg.encoding, msg.step = self.pick([('16UC1', 128), ('32FC1', 256)])
            msg.width, msg.height, msg.data = 64, 48, self.rng.bytes(48 * msg.step)
        return msg

    def cloud(self):
        """Return a PointCloud2."""
        names = ['x', 'y', 'z', '', 'x', 'intensity']
        fields = [PointField(name=self.pick(names), offset=self.pick([0, 4, 8, *SIZES]),
                             datatype=int(self.pick([0, 7, 8, 255])), count=self.pick(SIZES))
                  for _ in range(self.rng.integers(5))]
        if self.rng.random() < 0.5:
            fields = [PointField(name=n, offset=self.pick([4 * k, 4 * k, 2 ** 32 - 1]),
                                 datatype=7, count=1) for k, n in enumerate('xyz')]
        msg = PointCloud2(width=self.pick(SIZES), height=self.pick(SIZES), fields=fields,
                          point_step=self.pick([12, *SIZES]), row_step=self.pick([12, *SIZES]),
                          is_bigendian=bool(self.rng.random() < 0.5), data=self.blob())
        if self.rng.random() < 0.5:
            msg.width, msg.height, msg.point_step, msg.row_step = 8, 1, 12, 96
            msg.data = self.rng.bytes(96)
        return self.header(msg, 'camera')
