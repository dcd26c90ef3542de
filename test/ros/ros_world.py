# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A vehicle with sensors over real DDS, a fake localizer of known offset, and listeners."""

from __future__ import annotations

import gc
import math
import threading
import time

from builtin_interfaces.msg import Time as TimeMsg
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped, TransformStamped
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Fix, Pose2
from loc2_ros.data.tf_tree import matrix_from_pose6
from loc2_ros.ros.convert import stamp_to_msg, transform_to_msg
from loc2_ros.ros.node import Loc2Node
from nav_msgs.msg import Odometry
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, NavSatFix
from tf2_msgs.msg import TFMessage

DEADLINE_S = 10.0
DATUM = [49.0, 8.4, 110.0]
WIDTH, HEIGHT = 64, 48
CAMERA_POSE = [1.4, 0.2, 1.6, -math.pi / 2, 0.0, -math.pi / 2]     # looks forward
TRUTH = Pose2(12.5, -7.25, 0.6)
OFFSET = Pose2(0.5, 0.25, 0.02)
SECOND = 1_000_000_000
BAG_TIME = 1_317_042_651 * SECOND
LATCHED = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
BEST_EFFORT = QoSProfile(depth=10, reliability=ReliabilityPolicy.BEST_EFFORT)


class FakeLocalizer:
    """Finds the camera where it truly is, plus an offset of base_link; can be slow or refuse."""

    def __init__(self, camera_pose=None, truth=TRUTH, offset=OFFSET):
        """``camera_pose`` is the true mounting, which the node must know from TF."""
        from loc2_ros.core.camera import mount_from_matrix
        self.mount = mount_from_matrix(matrix_from_pose6(camera_pose or CAMERA_POSE))
        self.truth, self.offset = truth, offset
        self.frame = LocalFrame(0.0, 0.0)
        self.delay_s, self.answer, self.calls, self.priors = 0.0, None, [], []
        self.gate = None                    # an Event to wait for

    def localize(self, image, prior, mount):
        """Answer as the real one does: the camera's pose, carried to base_link by the mount."""
        self.calls.append(image)
        self.priors.append(prior)
        if self.gate is not None:
            self.gate.wait(DEADLINE_S)
        time.sleep(self.delay_s)
        if isinstance(self.answer, Exception):
            raise self.answer
        if self.answer is not None:
            return self.answer(image, prior)
        map_T_camera = self.truth @ self.offset @ self.mount.base_T_camera
        pose = map_T_camera @ mount.base_T_camera.inverse()
        covariance = np.array([[0.6, 0.1, 0.01], [0.1, 0.5, -0.01], [0.01, -0.01, 0.002]])
        return Fix(image.stamp_ns, pose, covariance, 0.9, 1.0, 100, 80,
                   float(np.hypot(*(pose.xy_m - prior.xy_map_m))))


class Spinner:
    """An executor in a thread that is joined."""

    def __init__(self, node, context):
        self.node = node
        self.executor = SingleThreadedExecutor(context=context)
        self.executor.add_node(node)
        self.running = True
        self.thread = threading.Thread(target=self._spin)
        self.thread.start()

    def _spin(self):
        while self.running and self.executor.context.ok():
            self.executor.spin_once(timeout_sec=0.1)

    def stop(self):
        """Join the thread; a shutdown under a callback that runs would make rclpy raise."""
        self.running = False
        self.executor.wake()
        self.thread.join()
        self.executor.shutdown()


class World:
    """Plays the vehicle and listens to the node."""

    def __init__(self):
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = Node('driver', context=self.context)
        self.got = {'pose': [], 'navsat': [], 'prior': [], 'diagnostics': [], 'tf': [],
                    'origin': [], 'tf_static': []}
        self.publishers, self._spinners, self._loc2 = {}, [], []
        listen = self.node.create_subscription
        listen(PoseWithCovarianceStamped, '/loc2/pose', self.got['pose'].append, 100)
        listen(NavSatFix, '/loc2/fix', self.got['navsat'].append, 100)
        listen(PoseWithCovarianceStamped, '/loc2/debug/prior', self.got['prior'].append,
               BEST_EFFORT)
        listen(DiagnosticArray, '/diagnostics', self.got['diagnostics'].append, 100)
        listen(TFMessage, '/tf', lambda m: self.got['tf'].extend(m.transforms), 100)
        listen(TFMessage, '/tf_static', lambda m: self.got['tf_static'].extend(m.transforms),
               LATCHED)
        listen(PoseStamped, '/local_xy_origin', self.got['origin'].append, LATCHED)
        self._spinners.append(Spinner(self.node, self.context))

    # ---- the node under test --------------------------------------------------------------

    def start(self, fake=None, *, activate=True, wait=True, factory=None, options=None,
              **parameters):
        """
        Start a node; dots of parameter names are written as double underscores.

        :param factory: makes the localizer, instead of a fake one.
        :param options: further arguments of the node, such as namespace.
        """
        fake = fake or FakeLocalizer()
        given = {'map.datum': DATUM, 'diagnostics.period': 0.1, 'odom_frame': '',
                 **{k.replace('__', '.'): v for k, v in parameters.items()}}
        overrides = [Parameter(k, value=v) for k, v in given.items() if v is not None]
        node = Loc2Node(localizer_factory=factory or (lambda settings, frame: fake),
                        context=self.context, parameter_overrides=overrides,
                        **(options or {}))
        node.fake = fake
        self._loc2.append(node)
        if activate:
            assert node.autostart()
        node.spinner = Spinner(node, self.context)
        self._spinners.append(node.spinner)
        if activate and wait:
            self.connect()
        return node

    def connect(self, image_type=Image, image_topic='/image_rect', image_qos=10):
        """Make the sensors' publishers and wait until the node hears them."""
        kinds = {'image': (image_type, image_topic, image_qos),
                 'info': (CameraInfo, '/camera_info', 10), 'fix': (NavSatFix, '/fix', 10),
                 'imu': (Imu, '/imu', 10)}
        for name, (kind, topic, qos) in kinds.items():
            if name not in self.publishers:
                self.publishers[name] = self.node.create_publisher(kind, topic, qos)
        self.until(lambda: all(self.publishers[n].get_subscription_count() for n in kinds)
                   and self.node.count_publishers('/loc2/pose') > 0, 'the node to subscribe')

    def close(self):
        """Stop in the order that keeps rclpy alive: executors, threads, workers, context."""
        for spinner in self._spinners:
            spinner.stop()
        for node in self._loc2:
            node.close()
        for spinner in self._spinners:
            spinner.node.destroy_node()
        rclpy.shutdown(context=self.context)
        # A participant lives as long as anything of its context, and nodes are full of cycles;
        # beyond some dozens of participants DDS no longer finds new ones
        self._spinners, self._loc2, self.publishers = [], [], {}
        gc.collect()

    def ask(self, kind, name, **request):
        """Call a service of the node and return the future of its answer."""
        client = self.node.create_client(kind, name)
        assert client.wait_for_service(DEADLINE_S)
        # An answer can be lost while the way back is not matched yet
        self.until(lambda: self.node.count_services(name) and self.node.count_clients(name), name)
        return client.call_async(kind.Request(**request))

    def call(self, kind, name, **request):
        """Call a service and return its answer."""
        future = self.ask(kind, name, **request)
        self.until(future.done, f'an answer of {name}')
        return future.result()

    # ---- waiting ----------------------------------------------------------------------------

    def until(self, condition, what, deadline_s=DEADLINE_S):
        """Poll until a condition holds; return what it gave."""
        end = time.monotonic() + deadline_s
        while time.monotonic() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.005)
        raise AssertionError(f'waited {deadline_s} s in vain for {what}; last diagnostics: '
                             f'{self.describe()}')

    def poses(self, count):
        """Wait for a number of poses and return them."""
        self.until(lambda: len(self.got['pose']) >= count, f'{count} poses')
        return self.got['pose']

    def status(self, name):
        """Return (level, message, values) of the newest status, None before the first."""
        if not self.got['diagnostics']:
            return None
        for status in self.got['diagnostics'][-1].status:
            if status.name.endswith(f': {name}'):
                return status.level[0], status.message, {v.key: v.value for v in status.values}
        return None

    def level(self, name, level, text=''):
        """Wait until a status has a level and a text in its message; return the status."""
        def found():
            status = self.status(name)
            return status if status and status[0] == level and text in status[1] else None
        return self.until(found, f'{name} at level {level} with {text!r}')

    def shows(self, name, key, value):
        """Wait until a status shows a value under a key; return its values."""
        def found():
            values = (self.status(name) or (0, '', {}))[2]
            return values if values.get(key) == value else None
        return self.until(found, f'{name} to show {key} = {value}')

    def counted(self, reason, count=1):
        """Wait until a reason has been counted so often; return the localization values."""
        def found():
            values = (self.status('localization') or (0, '', {}))[2]
            return values if int(values.get(f'rejected.{reason}', 0)) >= count else None
        return self.until(found, f'{count} rejections for {reason}')

    def describe(self):
        """Return the newest diagnostics for people."""
        return [self.status(n) for n in ('input', 'map', 'localization', 'model')]

    # ---- sensors ----------------------------------------------------------------------------

    def now(self):
        """Return the system's time, nanoseconds."""
        return time.time_ns()

    def tf_static(self, child='camera', pose=None, parent='base_link'):
        """Send a static transform, latched."""
        if 'tf_static' not in self.publishers:
            self.publishers['tf_static'] = self.node.create_publisher(
                TFMessage, '/tf_static', LATCHED)
        self.publishers['tf_static'].publish(TFMessage(transforms=[
            stamped(parent, child, pose or CAMERA_POSE, 0)]))

    def tf(self, parent, child, pose, stamp):
        """Send a transform on /tf."""
        if 'tf' not in self.publishers:
            self.publishers['tf'] = self.node.create_publisher(TFMessage, '/tf', 100)
            self.until(lambda: self.publishers['tf'].get_subscription_count() >= 2, 'tf')
        self.publishers['tf'].publish(TFMessage(transforms=[stamped(parent, child, pose, stamp)]))

    def clock(self, stamp):
        """Send simulated time."""
        if 'clock' not in self.publishers:
            self.publishers['clock'] = self.node.create_publisher(Clock, '/clock', BEST_EFFORT)
            self.until(lambda: self.publishers['clock'].get_subscription_count(), 'clock')
        self.publishers['clock'].publish(Clock(clock=stamp_to_msg(stamp)))

    def set_clock(self, node, stamp):
        """Send simulated time until the node has it."""
        def there():
            self.clock(stamp)
            return node.get_clock().now().nanoseconds == stamp
        self.until(there, f'the clock at {stamp}')

    def info(self, **changes):
        """Send a camera_info; K is nonsense on purpose."""
        msg = CameraInfo(width=changes.get('width', WIDTH), height=changes.get('height', HEIGHT))
        f = changes.get('fx', 50.0)
        msg.k = [9.0] * 9
        msg.p = [f, 0.0, 31.5, -300.0, 0.0, f, 23.5, 0.0, 0.0, 0.0, 1.0, 0.0]
        self.publishers['info'].publish(msg)

    def fix(self, stamp, xy=(10.0, -5.0), frame_id='', **changes):
        """Send a fix at a place in the map."""
        msg = NavSatFix()
        msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp), frame_id
        lat, lon = LocalFrame(*DATUM).inverse(np.array(xy))
        msg.latitude, msg.longitude, msg.altitude = float(lat), float(lon), DATUM[2]
        msg.position_covariance = [4.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 9.0]
        msg.position_covariance_type = NavSatFix.COVARIANCE_TYPE_DIAGONAL_KNOWN
        for name, value in changes.items():
            if name == 'status':
                msg.status.status = value
            else:
                setattr(msg, name, value)
        self.publishers['fix'].publish(msg)

    def imu(self, stamp, yaw=0.5, frame_id=''):
        """Send a heading."""
        msg = Imu()
        msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp), frame_id
        msg.orientation.z, msg.orientation.w = math.sin(yaw / 2), math.cos(yaw / 2)
        msg.orientation_covariance = [0.01, 0.0, 0.0, 0.0, 0.01, 0.0, 0.0, 0.0, 0.01]
        self.publishers['imu'].publish(msg)

    def odometry(self, stamp, pose, frame_id='map', child='base_link', variance=0.25):
        """Send an Odometry: in the map that of an EKF."""
        msg = Odometry(child_frame_id=child)
        msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp), frame_id
        fill(msg.pose, pose, variance)
        self.sender('odometry', Odometry, '/odometry').publish(msg)

    def initialpose(self, stamp, pose, frame_id='map'):
        """Send an initialpose; ``stamp`` may be 0."""
        msg = PoseWithCovarianceStamped()
        msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp), frame_id
        fill(msg.pose, pose, 0.25)
        self.sender('initialpose', PoseWithCovarianceStamped, '/initialpose').publish(msg)

    def sender(self, name, kind, topic):
        """Return a publisher that somebody listens to."""
        if name not in self.publishers:
            self.publishers[name] = self.node.create_publisher(kind, topic, 10)
            self.until(self.publishers[name].get_subscription_count, topic)
        return self.publishers[name]

    def image(self, stamp, frame_id='camera', **changes):
        """Send an image; ``stamp`` may be 0."""
        msg = Image(width=WIDTH, height=HEIGHT, encoding='rgb8', step=3 * WIDTH)
        msg.header.stamp = stamp_to_msg(stamp) if stamp else TimeMsg()
        msg.header.frame_id = frame_id
        msg.data = bytes(range(192)) * HEIGHT
        for name, value in changes.items():
            setattr(msg, name, value)
        self.publishers['image'].publish(msg)

    def jpeg(self, stamp, data, frame_id='camera'):
        """Send a compressed image."""
        msg = CompressedImage(format='jpeg')
        msg.header.stamp, msg.header.frame_id = stamp_to_msg(stamp), frame_id
        msg.data = data
        self.publishers['image'].publish(msg)

    def ready(self, node):
        """Send calibration, mounting and a first prior, and wait until the node has them."""
        self.tf_static()
        self.info()
        stamp = self.now()
        self.fix(stamp - SECOND // 10)
        self.imu(stamp - SECOND // 10)
        self.until(lambda: self.knows(node), 'calibration, mounting and prior')

    def knows(self, node):
        """Return whether a node has calibration, mounting and a fix."""
        session = node.session
        return (session.values()['camera_calibrated'] and session._mounting('camera') is not None
                and node.stats.values()['fixes_received'] > 0
                and session._intake._sources.gnss._heading.stamps)

    def frame(self, stamp=None, **changes):
        """Send an image with a prior just after it; return its stamp."""
        stamp = stamp or self.now()
        self.image(stamp, **changes)
        self.fix(stamp + 1_000_000)
        self.imu(stamp + 1_000_000)
        return stamp


def fill(msg, pose, variance):
    """Fill a PoseWithCovariance with a planar pose."""
    msg.pose.position.x, msg.pose.position.y = pose.x_m, pose.y_m
    msg.pose.orientation.z = math.sin(pose.yaw_rad / 2)
    msg.pose.orientation.w = math.cos(pose.yaw_rad / 2)
    msg.covariance = np.diag([variance, variance, 1.0, 1.0, 1.0, 0.01]).ravel()


def stamped(parent, child, pose, stamp):
    """Return a TransformStamped from x, y, z, roll, pitch, yaw."""
    msg = TransformStamped()
    msg.header.frame_id, msg.child_frame_id = parent, child
    msg.header.stamp = stamp_to_msg(stamp)
    msg.transform = transform_to_msg(matrix_from_pose6(list(pose)))
    return msg


def stamp_of(msg):
    """Return the header stamp in nanoseconds."""
    return msg.header.stamp.sec * SECOND + msg.header.stamp.nanosec


def yaw_of(msg):
    """Return the yaw of a pose message."""
    q = msg.pose.pose.orientation
    return 2.0 * math.atan2(q.z, q.w)
