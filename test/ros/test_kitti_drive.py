# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A real drive over DDS through the node with a localizer that knows where the camera is."""

from __future__ import annotations

from pathlib import Path
import threading
from typing import Any

from loc2_ros.core.camera import Mount, mount_from_matrix
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Fix, Image, Pose2, Prior
from loc2_ros.data.bag import open_bag
from loc2_ros.data.messages import matrix_from_transform, rotation_from_quaternion, stamp_ns
from loc2_ros.ros.replay import Player, ReplayOptions
import numpy as np
import pytest
from rclpy.node import Node
from ros_world import FakeLocalizer, Spinner, stamp_of, World, yaw_of
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config' / 'kitti.yaml'
RATE = 2.0


class Truth:
    """The oxts of a drive as poses of base_link, computed from the recording alone."""

    def __init__(self, bag: Any, base_T_imu: Array) -> None:
        """Read fixes, headings and the camera's place once."""
        fixes = [(stamp_ns(r.message.header.stamp), r.message.latitude, r.message.longitude,
                  r.message.altitude) for r in bag.records(['/kitti/oxts/gps/fix'])]
        self.frame = LocalFrame(*fixes[0][1:])
        rotations = [rotation_from_quaternion(r.message.orientation)
                     for r in bag.records(['/kitti/oxts/imu'])]
        self.stamps = np.array([f[0] for f in fixes], dtype=np.int64)
        self.xy = np.array([self.frame.forward(f[1], f[2]) for f in fixes])
        self.yaw = np.unwrap([np.arctan2(r[1, 0], r[0, 0]) for r in rotations])
        static = next(iter(bag.records(['/tf_static']))).message.transforms[0]
        self.base_T_imu = base_T_imu
        self.mount = mount_from_matrix(base_T_imu @ matrix_from_transform(static.transform))

    def base(self, stamp: int) -> Pose2:
        """Return base_link's pose in the map at a stamp."""
        seconds = (self.stamps - self.stamps[0]) / 1e9
        at = (stamp - int(self.stamps[0])) / 1e9
        x, y, yaw = (float(np.interp(at, seconds, v)) for v in (*self.xy.T, self.yaw))
        imu_T_base = Pose2(-self.base_T_imu[0, 3], -self.base_T_imu[1, 3], 0.0)
        return Pose2(x, y, yaw) @ imu_T_base


class Knowing(FakeLocalizer):
    """Answers with the camera's true place, carried to base_link by the node's mount."""

    def __init__(self, truth: Truth) -> None:
        """Keep the truth."""
        super().__init__()
        self.known = truth

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix:
        """Answer as the real localizer does."""
        self.priors.append(prior)
        map_T_camera = self.known.base(image.stamp_ns) @ self.known.mount.base_T_camera
        return Fix(image.stamp_ns, map_T_camera @ mount.base_T_camera.inverse(),
                   np.diag([0.25, 0.25, 0.001]), 0.9, 1.0, 100, 80, 0.0)


def test_every_pose_of_a_real_drive_is_that_of_base_link(world: World, real_data: Path) -> None:
    parameters = yaml.safe_load(CONFIG.read_text())['/**']['ros__parameters']
    static = parameters.pop('static_tf')
    base_T_imu = np.eye(4)
    base_T_imu[:3, 3] = static['pose'][:3]
    with open_bag(real_data / 'kitti_0013' / 'mcap') as bag:
        truth = Truth(bag, base_T_imu)
        node = world.start(
            Knowing(truth), wait=False, map__datum=None, static_tf__pose=static['pose'],
            static_tf__child_frame=static['child_frame'], **parameters)
        player_node = Node('player', context=world.context)
        spinner = Spinner(player_node, world.context)
        world._spinners.append(spinner)
        player = Player(player_node, bag, ReplayOptions(
            rate=RATE, wait_s=10.0, tail_s=0.5, wait_for=(
                '/kitti/camera_color_left/image_raw/compressed',
                '/kitti/camera_color_left/camera_info', '/kitti/oxts/gps/fix',
                '/kitti/oxts/imu')))
        player.wait()
        thread = threading.Thread(target=player.play)
        thread.start()
        thread.join()

    def accounted() -> dict[str, Any] | None:
        v = dict(node.stats.values())
        told = v['fixes'] + v['rejected'] + v['images_dropped'] == v['images_received']
        return v if told and v['image_silence_s'] > 0.5 else None
    values = world.until(accounted, 'every image to be accounted for', 30.0)
    assert values['images_received'] <= 144
    poses = world.poses(values['fixes'])
    assert len(poses) == values['fixes'] >= 1      # 142 on two idle cores
    for pose in poses:
        expected = truth.base(stamp_of(pose))
        p = pose.pose.pose.position
        assert np.hypot(p.x - expected.x_m, p.y - expected.y_m) < 0.05
        assert abs(Pose2(0, 0, yaw_of(pose) - expected.yaw_rad).yaw_rad) < np.radians(0.2)
    # The priors, interpolated at the stamp and carried to base_link, are the same poses; a machine
    # that cannot follow loses best-effort messages, and then a prior is held
    whole = [(p, truth.base(p.stamp_ns)) for p in node.fake.priors if p.age_s < 0.05]
    near = [(p, true) for p, true in whole if abs(p.yaw_map_rad - true.yaw_rad) < 0.01]
    assert near
    for prior, true in near:
        assert np.hypot(*(prior.xy_map_m - true.xy_m)) < 0.05
    parents: dict[str, set[str]] = {}
    for t in world.got['tf'] + world.got['tf_static']:
        parents.setdefault(t.child_frame_id, set()).add(t.header.frame_id)
    assert parents == {'base_link': {'map'}, 'imu_link': {'base_link'},
                       'camera_color_left': {'imu_link'}}
    assert values['latency_max_s'] is not None and values['latency_max_s'] >= 0.0


@pytest.mark.parametrize('name', ['loc2.yaml', 'kitti.yaml'])
def test_the_shipped_files_are_taken_by_the_ros_parser(world: World, name: str) -> None:
    from loc2_ros.ros.node import Loc2Node
    node = Loc2Node(localizer_factory=lambda settings, frame: FakeLocalizer(),
                    context=world.context, cli_args=[
                        '--ros-args', '--params-file', str(CONFIG.parent / name)])
    given = yaml.safe_load((CONFIG.parent / name).read_text())['/**']['ros__parameters']
    assert node.settings['image_topic'] == given['image_topic']
    node.close()
    node.destroy_node()
