# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Synthetic recordings: error sizes that hold for every seed, and messages that fit together."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from loc2_ros.core.camera import mount_from_matrix
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera
from loc2_ros.data.bag import open_bag
from loc2_ros.data.messages import (
    camera_from_info, decode_compressed, heading_from_imu, matrix_from_transform,
    position_from_fix, stamp_ns)
from loc2_ros.data.tf_tree import StaticTree
from loc2_ros.synthetic.drive import (
    DriveFrames, FIX, fix_stamps, IMAGE, IMU, INFO, ORIGIN, TF_STATIC, TRUTH, VEL, write_drive)
from loc2_ros.synthetic.gnss import heading_errors, position_errors
from loc2_ros.synthetic.trajectory import Trajectory
import numpy as np
import pytest

DATUM = LocalFrame(48.9, 8.4, 110.0)
START_NS = 1_700_000_000_123_456_789
RADIUS_M, SPEED_MPS = 40.0, 8.0


def circle(n: int = 25, period_s: float = 0.2) -> tuple[Any, Any, Any]:
    """Drive left around a circle, 500 m east of the datum, starting northwards."""
    t = np.arange(n) * period_s
    angle = t * SPEED_MPS / RADIUS_M
    poses = np.stack([500.0 + RADIUS_M * np.cos(angle), RADIUS_M * np.sin(angle),
                      angle + math.pi / 2], -1)
    stamps = START_NS + (t * 1e9).astype(np.int64)
    return stamps, poses, np.full(n, SPEED_MPS)


def frames(n: int = 25, seed: int = 5, **changes: Any) -> DriveFrames:
    """Make a drive with grey images and a camera that looks forward from 1.2 m ahead."""
    stamps, poses, speeds = circle(n)
    base_T_camera = np.array([[0.0, 0.0, 1.0, 1.2], [-1.0, 0.0, 0.0, 0.06],
                              [0.0, -1.0, 0.0, 1.65], [0.0, 0.0, 0.0, 1.0]])
    fields: dict[str, Any] = {
        'stamps_ns': stamps, 'map_T_base': poses, 'speed_mps': speeds,
        'images': (np.full((48, 160, 3), (i * 9, 100, 50), np.uint8) for i in range(n)),
        'camera': Camera(160, 48, 100.0, 101.0, 79.5, 20.0), 'base_T_camera': base_T_camera,
        'datum': DATUM, 'seed': seed}
    return DriveFrames(**{**fields, **changes})


@pytest.mark.parametrize('seed', range(50))
@pytest.mark.parametrize('seconds', [6.0, 60.0])
def test_the_position_error_has_a_median_of_8_to_14_m_and_never_exceeds_20_m(
        seed: int, seconds: float) -> None:
    t = np.arange(0.0, seconds, 0.1)
    length = np.linalg.norm(position_errors(t, np.random.default_rng(seed)), axis=1)
    assert 8.0 <= np.median(length) <= 14.0
    assert length.max() <= 20.0


def test_the_position_error_changes_slowly_but_does_change() -> None:
    steps, spans = [], []
    for seed in range(50):
        error = position_errors(np.arange(0.0, 60.0, 0.1), np.random.default_rng(seed))
        steps.append(np.linalg.norm(np.diff(error, axis=0), axis=1).max())
        spans.append(np.linalg.norm(error[-1] - error[0]))
    assert max(steps) < 0.5             # metres in 0.1 s
    assert np.median(spans) > 5.0       # metres in a minute


def test_the_medians_differ_between_drives_and_directions_have_no_preference() -> None:
    t = np.arange(0.0, 20.0, 0.1)
    errors = [position_errors(t, np.random.default_rng(seed)) for seed in range(200)]
    medians = [np.median(np.linalg.norm(error, axis=1)) for error in errors]
    assert np.std(medians) > 1.0
    mean = np.mean([error[0] for error in errors], axis=0)
    assert np.linalg.norm(mean) < 3.0   # 3 sigma of 200 draws of 11 m is 2.3 m


def test_the_heading_error_is_uniform_in_10_degrees_at_each_time() -> None:
    t = np.array([0.0, 3.0, 17.0])
    errors = np.degrees([heading_errors(t, np.random.default_rng(s)) for s in range(2000)])
    assert np.abs(errors).max() <= 10.0
    for column in errors.T:
        # Kolmogorov-Smirnov against the uniform distribution, 99.9 %
        expected = (np.arange(2000) + 0.5) / 2000
        assert np.abs((np.sort(column) + 10.0) / 20.0 - expected).max() < 1.95 / math.sqrt(2000)


def test_the_heading_error_is_correlated_over_seconds() -> None:
    t = np.array([0.0, 0.1, 1.0, 30.0])
    errors = np.array([heading_errors(t, np.random.default_rng(s)) for s in range(1000)])
    correlation = np.corrcoef(errors.T)[0]
    assert correlation[1] > 0.99 and correlation[2] > 0.9 and abs(correlation[3]) < 0.15


def test_the_errors_are_those_of_the_seed() -> None:
    t = np.arange(0.0, 5.0, 0.1)
    for errors in (position_errors, heading_errors):
        first, same, other = (errors(t, np.random.default_rng(s)) for s in (1, 1, 2))
        np.testing.assert_array_equal(first, same)
        assert not np.allclose(first, other)


def test_a_trajectory_is_followed_between_its_poses() -> None:
    stamps, poses, speeds = circle()
    half = stamps[:-1] + 100_000_000
    between, speed, rate = Trajectory(stamps, poses, speeds).at(half)
    angle = (half - stamps[0]) * 1e-9 * SPEED_MPS / RADIUS_M
    truth = np.stack([500 + RADIUS_M * np.cos(angle), RADIUS_M * np.sin(angle)], -1)
    np.testing.assert_allclose(between[:, :2], truth, atol=1e-4)
    np.testing.assert_allclose(between[:, 2], angle + math.pi / 2, atol=1e-9)
    np.testing.assert_allclose(speed, SPEED_MPS)
    np.testing.assert_allclose(rate, SPEED_MPS / RADIUS_M)


def test_a_trajectory_runs_on_straight_beyond_its_ends() -> None:
    stamps, poses, speeds = circle()
    outside, _, rate = Trajectory(stamps, poses, speeds).at(
        np.array([stamps[0] - 500_000_000, stamps[-1] + 500_000_000]))
    np.testing.assert_allclose(outside[0, :2], [540.0, -4.0], atol=1e-9)    # 4 m south of start
    np.testing.assert_allclose(np.linalg.norm(outside[1, :2] - poses[-1, :2]), 4.0)
    np.testing.assert_array_equal(rate, 0.0)


def test_yaw_does_not_spin_at_the_wrap() -> None:
    stamps = np.array([0, 10**9], np.int64)
    poses = np.array([[0.0, 0.0, 3.1], [1.0, 0.0, -3.1]])
    middle, _, _ = Trajectory(stamps, poses, np.zeros(2)).at(np.array([5 * 10**8]))
    assert abs(math.remainder(middle[0, 2] - math.pi, 2 * math.pi)) < 1e-9


@pytest.mark.parametrize(('stamps', 'poses', 'match'), [
    ([0], np.zeros((1, 3)), 'at least two'), ([0, 0], np.zeros((2, 3)), 'rise'),
    ([0, 1], np.zeros((2, 2)), r'\(N, 3\)'), ([0, 1], np.full((2, 3), np.nan), 'finite')])
def test_a_broken_trajectory_is_refused(stamps: Any, poses: Any, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Trajectory(np.array(stamps, np.int64), poses, np.zeros(len(stamps)))


@pytest.fixture(scope='module')
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the circle once."""
    return write_drive(frames(), tmp_path_factory.mktemp('drive') / 'drive.mcap')


def messages(path: Path, topic: str) -> list[Any]:
    """Return the messages of a topic."""
    with open_bag(path) as bag:
        return [record.message for record in bag.records([topic])]


def test_the_recording_has_the_topics_of_a_kitti_bag_with_qos(recording: Path) -> None:
    with open_bag(recording) as bag:
        counts = {name: topic.count for name, topic in bag.topics.items()}
        latched = {name for name, topic in bag.topics.items() if topic.qos and topic.qos.latched}
        times = [record.log_ns for record in bag.records()]
    assert latched == {TF_STATIC, ORIGIN}
    assert counts[IMAGE] == counts[INFO] == 25 and counts[TF_STATIC] == counts[ORIGIN] == 1
    assert counts[FIX] == counts[VEL] == 54                     # 10 Hz over 4.8 + 0.6 s
    assert counts[IMU] == pytest.approx(270, abs=2) and counts[TRUTH] == counts[IMU] + 25
    assert times == sorted(times)


def test_images_keep_stamp_and_pixels(recording: Path) -> None:
    images = messages(recording, IMAGE)
    assert [stamp_ns(m.header.stamp) for m in images] == circle()[0].tolist()
    rgb = decode_compressed(images[20])
    assert np.abs(rgb.astype(int) - (180, 100, 50)).max() <= 3
    camera = camera_from_info(messages(recording, INFO)[0])
    assert (camera.fx, camera.fy, camera.cx, camera.cy) == (100.0, 101.0, 79.5, 20.0)


def test_every_image_has_a_fix_and_a_heading_after_it_a_few_ms_off(recording: Path) -> None:
    images = circle()[0]
    for topic in (FIX, IMU):
        stamps = np.array([stamp_ns(m.header.stamp) for m in messages(recording, topic)])
        assert stamps[0] < images[0] and stamps[-1] > images[-1]
        nearest = np.abs(stamps[:, None] - images).min(axis=0)
        assert np.all(nearest > 0) and np.all(nearest < 15e6)


def test_the_fix_is_the_imu_s_position_with_an_error_of_the_claimed_size(recording: Path) -> None:
    fixes = [position_from_fix(m, 99.0) for m in messages(recording, FIX)]
    seen = DATUM.forward([f.lat_deg for f in fixes], [f.lon_deg for f in fixes])
    poses, _, _ = frames().trajectory.at(fix_stamps(frames()))
    c, s = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    lever = np.stack([c * -1.405 - s * 0.32, s * -1.405 + c * 0.32], -1)
    error = np.linalg.norm(seen - poses[:, :2] - lever, axis=1)
    assert 8.0 <= np.median(error) <= 14.0 and error.max() <= 20.0
    assert all(f.sigma_known for f in fixes)
    assert fixes[0].sigma_m == pytest.approx(math.sqrt(np.mean(error ** 2) / 2), rel=1e-6)


def test_the_heading_is_true_north_s_and_within_10_degrees(recording: Path) -> None:
    inertial = messages(recording, IMU)
    stamps = np.array([stamp_ns(m.header.stamp) for m in inertial])
    poses, _, _ = frames().trajectory.at(stamps)
    yaws = np.array([heading_from_imu(m, 9.0).yaw_rad for m in inertial])
    error = np.degrees(np.angle(np.exp(1j * (
        yaws + DATUM.convergence_rad(poses[:, :2]) - poses[:, 2]))))
    assert np.abs(error).max() <= 10.0 + 1e-6
    assert heading_from_imu(inertial[0], 9.0).sigma_rad == pytest.approx(math.radians(5.7735))


def test_the_truth_is_there_at_each_image_stamp(recording: Path) -> None:
    truth = {stamp_ns(m.header.stamp): m for m in messages(recording, TRUTH)}
    stamps, poses, _ = circle()
    for stamp, pose in zip(stamps.tolist(), poses):
        message = truth[stamp]
        assert (message.header.frame_id, message.child_frame_id) == ('map', 'base_link')
        position = message.pose.pose.position
        np.testing.assert_allclose([position.x, position.y], pose[:2], atol=1e-12)


def test_the_transforms_lead_from_base_link_to_the_camera(recording: Path) -> None:
    tree = StaticTree()
    message, = messages(recording, TF_STATIC)
    tree.add_message(message)
    base_T_camera = tree.lookup('base_link', 'camera_color_left')
    np.testing.assert_allclose(base_T_camera, frames().base_T_camera, atol=1e-9)
    mount = mount_from_matrix(base_T_camera)
    assert mount.height_m == pytest.approx(1.65)
    assert abs(mount.base_T_camera.yaw_rad) < 1e-9
    np.testing.assert_allclose(matrix_from_transform(message.transforms[0].transform)[:3, 3],
                               [-1.405, 0.32, 0.93])


def test_the_datum_is_longitude_latitude_height(recording: Path) -> None:
    message, = messages(recording, ORIGIN)
    position = message.pose.position
    assert (position.x, position.y, position.z) == (8.4, 48.9, 110.0)


def test_the_velocity_is_that_of_the_imu_on_the_turn(recording: Path) -> None:
    linear = messages(recording, VEL)[30].twist.linear
    rate = SPEED_MPS / RADIUS_M
    assert linear.x == pytest.approx(SPEED_MPS - rate * 0.32, rel=1e-6)
    assert linear.y == pytest.approx(rate * -1.405, rel=1e-6)


def test_a_seed_gives_the_same_bytes_and_another_seed_another_error(tmp_path: Path) -> None:
    paths = [write_drive(frames(n=5, seed=s), tmp_path / f'{i}' / 'drive.mcap')
             for i, s in enumerate((1, 1, 2))]
    first, same, other = (path.read_bytes() for path in paths)
    assert first == same and first != other


def test_images_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    wrong = [np.zeros((10, 10, 3), np.uint8)] * 25
    with pytest.raises(ValueError, match='the camera says'):
        write_drive(frames(images=wrong), tmp_path / 'drive.mcap')
    few = [np.zeros((48, 160, 3), np.uint8)] * 24
    with pytest.raises(ValueError, match='25 stamps but 24 images'):
        write_drive(frames(images=few), tmp_path / 'drive.mcap')
    assert not list(tmp_path.iterdir())
