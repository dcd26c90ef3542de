# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""As many images as in an hour of driving, faults among them: memory stays what it was."""

from __future__ import annotations

import gc
import math
import os
from pathlib import Path
import sys
import threading
import time
from typing import Any, Callable

from fault_tools import answered, error_m, EXPECTED, is_wrong
from loc2_ros.core.camera import mount_from_matrix
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Fix, Image, Pose2, Prior, Reason, Rejection
from loc2_ros.data.bag import open_bag
from loc2_ros.data.images import decode_compressed
from loc2_ros.data.messages import camera_from_info, stamp_ns
from loc2_ros.data.pose_messages import read_pose
from loc2_ros.loading import load_localizer, LocalizerSettings
from loc2_ros.ros.convert import datum_from_msg, stamp_to_msg
from loc2_ros.synthetic.drive import IMAGE, INFO, ORIGIN, TRUTH
from loc2_ros.synthetic.world import base_T_camera, make_world
import numpy as np
import pytest
from ros_world import BAG_TIME, DATUM, DEADLINE_S, HEIGHT, SECOND, stamped, WIDTH, World
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import Image as ImageMsg, Imu, NavSatFix
from tf2_msgs.msg import TFMessage

IMAGES = 36_000             # an hour at 10 Hz
WARM_UP = 3_000
PIPELINE_IMAGES = 400
TOLERANCE_MB = 10.0
PERIOD = SECOND // 10
BATCH = 10                  # images between two looks at the answers


def memory_mb() -> float:
    """Return the resident memory of this process."""
    gc.collect()
    pages = int(Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def sizes(node: Any) -> dict[str, int]:
    """Return the sizes of all that could grow."""
    intake, buffer = node.session._intake, node.tf_buffer
    return {
        'threads': threading.active_count(),
        'publishers': len(list(node.publishers)), 'subscriptions': len(list(node.subscriptions)),
        'timers': len(list(node.timers)), 'services': len(list(node.services)),
        'transforms': sum(len(t.samples) for t in buffer._tracks.values()),
        'positions': len(intake._sources.gnss._position.stamps),
        'headings': len(intake._sources.gnss._heading.stamps),
        'moves': len(intake._moves._states), 'turns': len(intake._headings.turns._states),
        'imus': len(intake._headings._imus), 'odometry': len(intake.odometry._stamps),
        'keys': len(node.values())}


def refuse(image: Any, prior: Any) -> Rejection:
    """Answer as a localizer that finds nothing."""
    return Rejection(image.stamp_ns, Reason.FEW_INLIERS)


class Drive:
    """Images with all that belongs to them, faster than time, and a fault now and then."""

    def __init__(self, world: World, node: Any) -> None:
        """Begin at the start of a bag."""
        self.world, self.node, self.stamp, self.sent = world, node, BAG_TIME, 0
        self.wrong = 0
        # Made once: it is the node that shall work, not this
        odometry = [3.0, 4.0, 0.0, 0.0, 0.0, 0.3]
        self.tf = TFMessage(transforms=[
            stamped('odom', 'base_link', odometry, 0) for _ in range(2)])
        self.fix = NavSatFix(position_covariance_type=2)
        self.fix.position_covariance = [4.0, 0.0, 0.0, 0.0, 4.0, 0.0, 0.0, 0.0, 9.0]
        self.imu = Imu()
        self.imu.orientation.z, self.imu.orientation.w = math.sin(0.3), math.cos(0.3)
        self.image = ImageMsg(width=WIDTH, height=HEIGHT, encoding='rgb8', step=3 * WIDTH,
                              data=bytes(3 * WIDTH * HEIGHT))
        self.image.header.frame_id = 'camera'
        self.place((12.5, -7.25))

    def place(self, xy: tuple[float, float]) -> None:
        """Set what the receiver will say."""
        lat, lon = LocalFrame(*DATUM).inverse(np.array(xy))
        self.fix.latitude, self.fix.longitude = float(lat), float(lon)

    def step(self) -> None:
        """Play one image and wait for its end; its sensors have half its rate."""
        self.stamp += PERIOD
        senders, before = self.world.publishers, answered(self.node)
        senders['clock'].publish(Clock(clock=stamp_to_msg(self.stamp)))
        if self.stamp // PERIOD % 2 == 0:
            self.fix.header.stamp = self.imu.header.stamp = stamp_to_msg(self.stamp)
            for n, transform in enumerate(self.tf.transforms):
                transform.header.stamp = stamp_to_msg(self.stamp + n * PERIOD)
            for name, message in (('tf', self.tf), ('fix', self.fix), ('imu', self.imu)):
                senders[name].publish(message)
        self.image.header.stamp = stamp_to_msg(self.stamp)
        senders['image'].publish(self.image)
        self.settle(lambda: answered(self.node) > before)

    def settle(self, done: Callable[[], bool]) -> None:
        """Wait, with more patience than any machine needs."""
        end = time.monotonic() + DEADLINE_S
        while not done():
            assert time.monotonic() < end, self.world.describe()
            time.sleep(2e-4)

    def hears_tf(self) -> bool:
        """Send odometry once more, and return whether the node has it."""
        for transform in self.tf.transforms:
            transform.header.stamp = stamp_to_msg(self.stamp)
        self.world.publishers['tf'].publish(self.tf)
        time.sleep(0.02)
        return self.node.session._frames.odometry(self.stamp) is not None

    def hears_images(self) -> bool:
        """Send one more image, and return whether the node has had any."""
        self.stamp += PERIOD
        self.image.header.stamp = stamp_to_msg(self.stamp)
        self.world.publishers['image'].publish(self.image)
        time.sleep(0.02)
        return answered(self.node) > 0

    def fault(self, kind: int) -> None:
        """Bring about a fault; 0 is one of every image."""
        world, fake = self.world, self.node.fake
        fake.answer = {1: refuse, 2: RuntimeError('CUDA error'), 3: None}.get(kind)
        if kind == 4:
            world.info(fx=0.0)
        elif kind == 5:
            world.tf_static('camera', parent='somewhere')
        elif kind == 6:                         # the bag starts over
            self.stamp = BAG_TIME
            world.set_clock(self.node, self.stamp)
        elif kind == 7:
            world.imu(self.stamp, frame_id='nowhere')
        elif kind == 8:
            for change in (self.node.trigger_deactivate, self.node.trigger_activate):
                self.settle(self.node.spinner.executor.create_task(change).done)
            world.connect()
            # A new reliable reader may get nothing before the writer's next heartbeat, which is
            # every 3 s: nothing on a vehicle, 300 s of this drive
            world.until(self.hears_tf, 'the node to hear tf')
            world.until(self.hears_images, 'the node to hear images')
            world.info()
            world.until(lambda: self.node.session._mounting('camera') is not None, 'tf')
        elif kind == 9:
            self.stamp += 3600 * SECOND
            world.set_clock(self.node, self.stamp)

    def batch(self, n: int) -> None:
        """Play some images; every tenth batch has a fault."""
        world, kind = self.world, n // 10 % 10 if n % 10 == 9 else -1
        world.tf_static()
        world.info()
        self.node.fake.answer = None
        if kind >= 0:
            self.fault(kind)
        for k in range(BATCH):
            self.place((112.5, 90.0) if kind == 0 else (12.5, -7.25))
            self.image.encoding = 'yuv9' if kind == 0 and k % 2 else 'rgb8'
            self.step()
        self.sent += BATCH
        del self.node.fake.calls[:], self.node.fake.priors[:]
        poses, self.world.got['pose'][:] = self.world.got['pose'][:], []
        self.wrong += sum(is_wrong(p, EXPECTED) for p in poses)
        assert all(error_m(p, EXPECTED) < 1e-3 for p in poses)
        for heard in self.world.got.values():   # this process hears, too
            del heard[:-5]


@pytest.mark.slow
def test_an_hour_of_images_with_faults_leaves_memory_as_it_was(world: World) -> None:
    node = world.start(use_sim_time=True, odom_frame='odom', prior__wait=0.0,
                       tf__lookup_timeout=0.0, max_image_age=0.0)
    world.set_clock(node, BAG_TIME)
    world.tf_static()
    world.until(lambda: node.session._mounting('camera') is not None, 'tf')
    world.tf('odom', 'base_link', [0.0] * 6, BAG_TIME)
    switching = sys.getswitchinterval()
    sys.setswitchinterval(5e-4)         # several threads hand each image on to each other
    for topic in ('/tf', '/tf_static', '/loc2/fix', '/loc2/debug/prior'):     # nobody looks at
        for heard in [h for h in world.node.subscriptions if h.topic_name == topic]:
            world.node.destroy_subscription(heard)
    drive, fixes, began = Drive(world, node), 0, time.monotonic()
    measured: list[tuple[int, float, dict[str, int]]] = []
    for n in range(IMAGES // BATCH):
        if n % 10 == 9 and n // 10 % 10 == 8:       # activation counts from zero
            fixes += node.stats.values()['fixes']
        drive.batch(n)
        if drive.sent % WARM_UP == 0:
            measured.append((drive.sent, memory_mb(), sizes(node)))
    sys.setswitchinterval(switching)
    fixes += node.stats.values()['fixes']
    first, last = measured[0], measured[-1]
    print(f'{drive.sent} images, {fixes} fixes, {drive.wrong} wrong, '
          f'{time.monotonic() - began:.0f} s; memory '
          + ', '.join(f'{mb:.1f}' for _, mb, _ in measured) + f' MB; {last[2]}')
    assert drive.wrong == 0 and fixes > 0.7 * IMAGES
    assert last[1] - first[1] < TOLERANCE_MB
    assert last[2]['odometry'] > 0      # still heard
    for name, size in last[2].items():
        assert size <= first[2][name] + (5 if name == 'keys' else 0) or size < 1300, name
    for name in ('threads', 'publishers', 'subscriptions', 'timers', 'services'):
        assert last[2][name] == first[2][name]
    assert node.spinner.thread.is_alive()
    assert 'loc2_worker' in [t.name for t in threading.enumerate()]


@pytest.mark.slow
def test_the_real_pipeline_keeps_its_memory(tmp_path: Path) -> None:
    town = make_world(1_000_011, tmp_path, frames=30, progress=False)
    settings = LocalizerSettings(map_path=str(town.map), device='cpu')
    images, truth, datum = recorded(town.drive)
    localizer = load_localizer(settings, datum)
    mount, rng = mount_from_matrix(base_T_camera()), np.random.default_rng(3)
    measured: list[float] = []
    fixes = 0
    for n in range(PIPELINE_IMAGES):
        image = images[n % len(images)]
        off = Pose2(*rng.uniform(-5.0, 5.0, 2), rng.uniform(-0.1, 0.1))
        pose = truth[image.stamp_ns] @ off
        prior = Prior(image.stamp_ns, pose.xy_m, pose.yaw_rad, 4.0, 0.06)
        found = localizer.localize(image, prior, mount)
        fixes += isinstance(found, Fix)
        if n % (PIPELINE_IMAGES // 10) == PIPELINE_IMAGES // 10 - 1:
            measured.append(memory_mb())
    threads = threading.active_count()
    localizer.close()
    print(f'{PIPELINE_IMAGES} images, {fixes} fixes; memory '
          + ', '.join(f'{mb:.1f}' for mb in measured) + f' MB; {threads} threads')
    assert fixes > 0.5 * PIPELINE_IMAGES
    # The first tenths fill the caches, which are bounded
    assert measured[-1] - measured[4] < TOLERANCE_MB


def recorded(drive: Path) -> tuple[list[Image], dict[int, Pose2], LocalFrame]:
    """Return the images of a drive, the true poses by stamp, and the datum."""
    pictures, truth, datum, camera = [], {}, LocalFrame(0.0, 0.0), None
    with open_bag(drive) as bag:
        for record in bag.records([IMAGE, INFO, TRUTH, ORIGIN]):
            msg, stamp = record.message, stamp_ns(record.message.header.stamp)
            if record.topic.name == IMAGE:
                pictures.append((stamp, decode_compressed(msg)))
            elif record.topic.name == INFO:
                camera = camera_from_info(msg)
            elif record.topic.name == TRUTH:
                truth[stamp] = read_pose(msg, 1.0, 1.0).pose
            else:
                datum = datum_from_msg(msg)
    assert camera is not None
    return [Image(rgb, stamp, camera) for stamp, rgb in pictures], truth, datum
