# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The offline twin: every image accounted for, the same bytes twice, faults with reasons."""

from __future__ import annotations

from collections.abc import Callable
import json
import math
from pathlib import Path
from typing import Any

from loc2_ros.cli.map_options import run_of
from loc2_ros.core.camera import Mount
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera, Fix, Image, Pose2, Prior, Reason, Rejection
from loc2_ros.data import drive_messages
from loc2_ros.data.bag import BagError, open_bag
from loc2_ros.data.bag_writer import BagWriter
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.data.recording import examine
from loc2_ros.evaluate.rows import read_csv
from loc2_ros.evaluate.run import run_bag, RunResult
from loc2_ros.ros.params import defaults
from loc2_ros.synthetic.drive import (
    DriveFrames, FIX, IMAGE, IMU, INFO, ORIGIN, TF_STATIC, TRUTH, write_drive)
import numpy as np
import pytest

KITTI = Path(__file__).parents[2].parent / 'shared' / 'data' / 'kitti_0013' / 'mcap'
DATUM = LocalFrame(48.9, 8.4, 110.0)
START_NS = 1_700_000_000_000_000_000
IMAGES = 12


class AtPrior:
    """A localizer that answers with its prior and remembers what it was given."""

    def __init__(self) -> None:
        self.given: list[tuple[Image, Prior, Mount]] = []

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        self.given.append((image, prior, mount))
        if prior.yaw_map_rad is None:
            return Rejection(image.stamp_ns, Reason.NO_HEADING)
        pose = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad)
        return Fix(image.stamp_ns, pose, np.diag([100.0, 100.0, 0.03]), 0.5, 1.0, 100, 50, 0.0)


def base_T_camera() -> Any:
    """Return a camera 1.2 m ahead that looks forward."""
    return np.array([[0.0, 0.0, 1.0, 1.2], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 1.65],
                     [0.0, 0.0, 0.0, 1.0]])


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a straight drive north-east with 12 images at 5 Hz."""
    t = np.arange(IMAGES) * 0.2
    poses = np.stack([300.0 + 5.0 * t, 100.0 + 5.0 * t, np.full(IMAGES, math.pi / 4)], -1)
    frames = DriveFrames(
        START_NS + (t * 1e9).astype(np.int64), poses, np.full(IMAGES, 5.0 * math.sqrt(2.0)),
        [np.full((24, 80, 3), 20 * i, np.uint8) for i in range(IMAGES)],
        Camera(80, 24, 50.0, 50.0, 39.5, 10.0), base_T_camera(), DATUM, seed=3)
    return write_drive(frames, tmp_path_factory.mktemp('run') / 'drive.mcap')


def run(path: Path, localizer: Any = None, changes: dict[str, Any] | None = None,
        **options: Any) -> RunResult:
    """Run the twin with a fake localizer."""
    settings = {**defaults(), **(changes or {})}
    fake = localizer or AtPrior()
    return run_bag(path, settings, lambda frame: fake, progress=False, **options)


def edited(path: Path, out: Path, edit: Callable[[Any, Any], Any]) -> Path:
    """Copy a recording through a function of (topic, message): changed, or None to drop."""
    with open_bag(path) as bag, BagWriter(out) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.msgtype, topic.qos)
        for record in bag.records():
            message = edit(record.topic.name, record.message)
            if message is not None:
                writer.write(record.topic.name, record.log_ns, message)
    return out


def outcomes(result: RunResult) -> list[str]:
    """Return what became of each image."""
    return [row.outcome for row in result.rows]


def test_every_image_gets_one_row_with_its_own_stamp_and_the_truth(drive: Path) -> None:
    result = run(drive)
    assert [row.stamp_ns for row in result.rows] == [
        START_NS + i * 200_000_000 for i in range(IMAGES)]
    assert outcomes(result) == ['fix'] * IMAGES
    truth = [row.truth for row in result.rows]
    assert truth[3] is not None and truth[3].x_m == pytest.approx(303.0)
    metrics = result.metrics()
    assert (metrics['reference'], metrics['datum']) == ('ground_truth', [48.9, 8.4, 110.0])
    assert 8.0 <= metrics['position_error_m']['median'] <= 14.0      # the prior itself
    assert metrics['prior_position_error_m'] == metrics['position_error_m']
    assert metrics['yaw_error_deg']['p95'] <= 10.0


def test_the_localizer_gets_pixels_camera_prior_of_base_link_and_mounting(drive: Path) -> None:
    fake = AtPrior()
    run(drive, fake)
    image, prior, mount = fake.given[5]
    assert np.abs(image.rgb.astype(int) - 100).max() <= 2
    assert image.camera.fx == 50.0 and prior.stamp_ns == image.stamp_ns
    assert mount.base_T_camera.x_m == pytest.approx(1.2)
    # Each image has waited for the measurement after it: nothing is held or extrapolated
    assert all(p.age_s < 0.06 for _, p, _ in fake.given)


def test_the_same_run_writes_the_same_bytes_twice(drive: Path, tmp_path: Path) -> None:
    for name in ('a', 'b'):
        run(drive).write(tmp_path / name, model='fake')
    assert (tmp_path / 'a/poses.tum').read_bytes() == (tmp_path / 'b/poses.tum').read_bytes()
    first, second = (read_csv(tmp_path / name / 'fixes.csv') for name in ('a', 'b'))
    assert [row.estimate for row in first] == [row.estimate for row in second]
    metrics = json.loads((tmp_path / 'a/metrics.json').read_text())
    assert metrics['model'] == 'fake' and metrics['frames'] == IMAGES
    assert len((tmp_path / 'a/poses.tum').read_text().splitlines()) == IMAGES


def test_prior_noise_moves_the_prior_by_its_size(drive: Path) -> None:
    clean, noisy = run(drive), run(drive, noise=PriorNoise(25.0, 5.0, seed=1))
    for a, b in zip(clean.rows, noisy.rows):
        assert a.prior and b.prior and a.prior.yaw_rad and b.prior.yaw_rad
        # The lever arm of the antenna turns with the heading: 1.44 m * 5 deg = 0.13 m
        assert math.hypot(b.prior.x_m - a.prior.x_m, b.prior.y_m - a.prior.y_m) == pytest.approx(
            25.0, abs=0.15)
        assert abs(b.prior.yaw_rad - a.prior.yaw_rad) == pytest.approx(math.radians(5.0), 1e-3)
        assert a.truth == b.truth
    assert noisy.facts.seed == 1


def test_a_recording_without_truth_is_its_own_reference_and_gets_a_wrong_prior(
        drive: Path, tmp_path: Path) -> None:
    bare = edited(drive, tmp_path / 'bare.mcap',
                  lambda topic, m: None if topic in (TRUTH, ORIGIN) else m)
    result = run(bare)
    metrics = result.metrics()
    assert metrics['reference'] == 'fix+imu'
    assert metrics['prior_position_error_m']['median'] == pytest.approx(15.0, abs=0.3)
    assert metrics['prior_yaw_error_deg']['median'] == pytest.approx(8.0, abs=0.01)
    # The datum is the first good fix as the run saw it
    assert (result.frame.lat_deg, result.frame.lon_deg) != (48.9, 8.4)
    assert run(bare, noise=PriorNoise(0.0, 0.0)).metrics()['prior_position_error_m']['p95'] < 0.1


def test_a_datum_given_by_parameter_moves_the_truth_along(drive: Path) -> None:
    moved = run(drive, changes={'map.datum': [48.901, 8.402, 110.0]})
    usual = run(drive)
    assert moved.metrics()['datum'] == [48.901, 8.402, 110.0]
    for figure in ('position_error_m', 'yaw_error_deg'):
        assert moved.metrics()[figure]['median'] == pytest.approx(
            usual.metrics()[figure]['median'], abs=1e-3)


def test_max_rate_drops_images_and_counts_them(drive: Path) -> None:
    result = run(drive, changes={'max_rate': 2.5})
    assert outcomes(result) == ['fix', 'dropped'] * (IMAGES // 2)
    metrics = result.metrics()
    assert (metrics['frames'], metrics['fixes'], metrics['dropped']) == (12, 6, 6)


def test_min_distance_drops_images_of_a_vehicle_that_hardly_moves(drive: Path) -> None:
    every = run(drive)
    far = run(drive, changes={'min_distance': 100.0, 'tf.max_age': 60.0})
    assert outcomes(far) == ['fix'] + ['dropped'] * (IMAGES - 1)
    assert far.rows[1].detail == 'min_distance'
    near = run(drive, changes={'min_distance': 0.01})
    assert outcomes(near) == outcomes(every)
    assert near.rows[-1].estimate == every.rows[-1].estimate


def test_what_the_localizer_refuses_is_counted_with_its_reason(drive: Path) -> None:
    class Refuses:

        def localize(self, image: Image, prior: Prior, mount: Mount) -> Rejection:
            return Rejection(image.stamp_ns, Reason.FEW_INLIERS, {'inliers': 3})
    result = run(drive, Refuses())
    assert result.metrics()['rejected_by_reason'] == {'few_inliers': IMAGES}
    assert result.rows[0].detail == 'few_inliers: inliers=3' and result.rows[0].prior


def _without(*topics: str) -> Callable[[str, Any], Any]:
    return lambda topic, m: None if topic in topics else m


def _cut_jpeg(topic: str, m: Any) -> Any:
    if topic == IMAGE:
        m.data = m.data[:100]
    return m


def _no_focal_length(topic: str, m: Any) -> Any:
    if topic == INFO:
        m.p = np.zeros(12)
    return m


def _other_size(topic: str, m: Any) -> Any:
    if topic == INFO:
        m.width = 81
    return m


def _no_fix(topic: str, m: Any) -> Any:
    if topic == FIX and m.header.stamp.sec * 10**9 + m.header.stamp.nanosec > START_NS - 10**8:
        m.status.status = -1
    return m


def _no_orientation(topic: str, m: Any) -> Any:
    if topic == IMU:
        m.orientation_covariance = np.full(9, -1.0)
    return m


def _zero_stamp(topic: str, m: Any) -> Any:
    if topic == IMAGE:
        m.header.stamp.sec = m.header.stamp.nanosec = 0
    return m


@pytest.mark.parametrize(('edit', 'reason', 'count', 'detail'), [
    (_cut_jpeg, 'bad_image', 12, 'cut off'),
    (_no_focal_length, 'bad_camera_info', 12, 'matrix P'),
    (_other_size, 'bad_camera_info', 12, '81x24'),
    (_without(INFO), 'no_camera_info', 12, 'no camera_info'),
    (_without(TF_STATIC), 'no_tf', 12, "'base_link' is unknown"),
    (_no_orientation, 'no_heading', 12, ''),
    (_without(IMU), 'no_heading', 12, ''),
    (_zero_stamp, 'bad_stamp', 12, 'zero'),
    (_no_fix, 'prior_stale', 2, 'NO_FIX'),      # held for 2 s, then too old
])
def test_a_fault_rejects_images_with_its_reason_and_never_raises(
        drive: Path, tmp_path: Path, edit: Any, reason: str, count: int, detail: str) -> None:
    result = run(edited(drive, tmp_path / 'edited.mcap', edit))
    rejected = [row for row in result.rows if row.outcome != 'fix']
    assert [row.outcome for row in rejected] == [reason] * count
    assert all(detail in row.detail for row in rejected)
    assert len(result.rows) == IMAGES


def test_a_recording_that_never_has_a_fix_or_a_camera_is_refused(
        drive: Path, tmp_path: Path) -> None:
    for i, (topic, match) in enumerate([(FIX, 'no NavSatFix'), (IMAGE, 'no camera topic')]):
        path = edited(drive, tmp_path / f'{i}.mcap', _without(topic))
        with pytest.raises(BagError, match=match):
            run(path)

    def never(topic: str, m: Any) -> Any:
        if topic == FIX:
            m.latitude = math.nan
        return None if topic == ORIGIN else m
    with pytest.raises(BagError, match='map.datum'):
        run(edited(drive, tmp_path / 'never.mcap', never))


def test_several_cameras_need_a_choice(drive: Path, tmp_path: Path) -> None:
    second = '/kitti/camera_color_right/image_raw/compressed'
    path = tmp_path / 'two.mcap'
    with open_bag(drive) as bag, BagWriter(path) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.msgtype, topic.qos)
        writer.add_topic(second, 'sensor_msgs/msg/CompressedImage')
        for record in bag.records():
            writer.write_bytes(record.topic.name, record.log_ns, record.data)
            if record.topic.name == IMAGE:
                writer.write_bytes(second, record.log_ns, record.data)
    with pytest.raises(BagError, match='2 topics for camera: .*--param image_topic:='):
        run(path)
    chosen = {'image_topic': '/kitti/camera_color_left/image_raw'}
    assert len(run(path, changes=chosen).rows) == IMAGES


def test_a_static_transform_is_added_only_where_the_recording_has_none(
        drive: Path, tmp_path: Path) -> None:
    def without_imu_link(topic: str, m: Any) -> Any:
        if topic == TF_STATIC:
            m.transforms = [t for t in m.transforms if t.child_frame_id != 'imu_link']
        return m
    broken = edited(drive, tmp_path / 'kitti2bag.mcap', without_imu_link)
    assert set(outcomes(run(broken))) == {'no_tf'}
    extra = {'static_tf.child_frame': 'imu_link', 'static_tf.pose': [-1.4, 0.3, 0.9, 0., 0., 0.]}
    fake = AtPrior()
    assert set(outcomes(run(broken, fake, extra))) == {'fix'}
    # The camera hangs on imu_link, so it moves by what the two transforms differ: 0.005 m
    assert fake.given[0][2].base_T_camera.x_m == pytest.approx(1.205)
    fake = AtPrior()
    run(drive, fake, extra)
    assert fake.given[0][2].base_T_camera.x_m == pytest.approx(1.2)


def test_an_image_does_not_wait_for_a_prior_beyond_prior_wait(drive: Path, tmp_path: Path
                                                              ) -> None:
    def gap(topic: str, m: Any) -> Any:
        stamp = m.transforms[0].header.stamp if topic == TF_STATIC else m.header.stamp
        late = stamp.sec * 10**9 + stamp.nanosec - START_NS
        return None if topic == FIX and 300_000_000 < late < 1_500_000_000 else m
    fake = AtPrior()
    run(edited(drive, tmp_path / 'gap.mcap', gap), fake)
    ages = [prior.age_s for _, prior, _ in fake.given]
    assert max(ages) > 0.4 and len(ages) == IMAGES


def test_the_observer_sees_every_image_that_reached_the_localizer(drive: Path) -> None:
    seen: list[Any] = []
    run(drive, observer=lambda image, prior, result: seen.append((image.stamp_ns, result)))
    assert len(seen) == IMAGES and isinstance(seen[0][1], Fix)


def test_the_truth_of_another_frame_is_brought_to_base_link(drive: Path, tmp_path: Path) -> None:
    def of_imu(topic: str, m: Any) -> Any:
        if topic == TRUTH:
            m.child_frame_id = 'imu_link'
        return m
    path = edited(drive, tmp_path / 'imu.mcap', of_imu)
    with open_bag(path) as bag:
        moved = examine(bag, defaults(), None).reference.at(START_NS)
    c = math.cos(math.pi / 4)
    # base_link lies 1.405 m ahead of imu_link and 0.32 m to its right
    assert moved is not None
    assert moved.x_m == pytest.approx(300.0 + c * 1.405 + c * 0.32)
    assert moved.y_m == pytest.approx(100.0 + c * 1.405 - c * 0.32)


def with_odometry(path: Path, out: Path, edit: Callable[[Any, Any], Any]) -> Path:
    """Copy a recording with its truth as an EKF's output, and as transforms odom -> base_link."""
    odom_T_map = Pose2(-40.0, 9.0, 1.3)
    with open_bag(path) as bag, BagWriter(out) as writer:
        for topic in bag.topics.values():
            writer.add_topic(topic.name, topic.msgtype, topic.qos)
        writer.add_topic('/odometry', 'nav_msgs/msg/Odometry')
        writer.add_topic('/tf', 'tf2_msgs/msg/TFMessage')
        for record in bag.records():
            message = edit(record.topic.name, record.message)
            if message is not None:
                writer.write(record.topic.name, record.log_ns, message)
            if record.topic.name != TRUTH:
                continue
            truth = record.message
            writer.write('/odometry', record.log_ns, truth)
            q, p = truth.pose.pose.orientation, truth.pose.pose.position
            pose = odom_T_map @ Pose2(p.x, p.y, 2.0 * math.atan2(q.z, q.w))
            matrix = np.eye(4)
            c, s = math.cos(pose.yaw_rad), math.sin(pose.yaw_rad)
            matrix[:2, :2], matrix[:2, 3] = [[c, -s], [s, c]], pose.xy_m
            stamp = truth.header.stamp.sec * 10**9 + truth.header.stamp.nanosec
            message = drive_messages.static_transforms(stamp, matrix, np.eye(4))
            message.transforms[:] = message.transforms[:1]
            message.transforms[0].header.frame_id = 'odom'
            message.transforms[0].child_frame_id = 'base_link'
            writer.write('/tf', record.log_ns, message)
    return out


def test_an_ekf_in_the_recording_gives_the_prior_as_it_does_in_the_node(
        drive: Path, tmp_path: Path) -> None:
    path = with_odometry(drive, tmp_path / 'ekf.mcap', lambda topic, m: m)
    result = run(path, changes={'prior.source': 'odometry', 'prior.heading': 'odometry'})
    assert outcomes(result) == ['fix'] * IMAGES
    assert result.metrics()['position_error_m']['p95'] < 0.05
    with pytest.raises(BagError, match='prior.source odometry; choose one with'):
        run(drive, changes={'prior.source': 'odometry'})


def test_transforms_of_odometry_carry_priors_and_catch_a_receiver_that_jumps(
        drive: Path, tmp_path: Path) -> None:
    def jump(topic: str, m: Any) -> Any:
        if topic == FIX:
            late = m.header.stamp.sec * 10**9 + m.header.stamp.nanosec - START_NS
            m.latitude += 0.003 if late > 1_100_000_000 else 0.0        # 330 m
        return m
    path = with_odometry(drive, tmp_path / 'jump.mcap', jump)
    told = outcomes(run(path))
    assert told[:5] == ['fix'] * 5 and set(told[6:]) == {'prior_jump'}
    # Without odometry the receiver's own steps tell
    alone = outcomes(run(path, changes={'odom_frame': ''}))
    assert alone[:5] == ['fix'] * 5 and set(alone[6:]) == {'prior_jump'}


def test_a_truncated_recording_is_told_before_anything_runs(drive: Path, tmp_path: Path) -> None:
    path = tmp_path / 'cut.mcap'
    path.write_bytes(drive.read_bytes()[:20_000])
    with pytest.raises(BagError, match='cut off'):
        run(path)


def test_the_origin_message_is_what_the_datum_is_read_from() -> None:
    position = drive_messages.origin(0, DATUM).pose.position
    assert (position.y, position.x) == (DATUM.lat_deg, DATUM.lon_deg)


@pytest.mark.skipif(not KITTI.exists(), reason='the KITTI sample is not in ../shared/data')
def test_kitti_0013_is_its_own_reference_with_base_link_s_pose() -> None:
    extra = {'static_tf.child_frame': 'imu_link',
             'static_tf.pose': [-1.405, 0.32, 0.93, 0.0, 0.0, 0.0]}
    result = run(KITTI, changes=extra)
    metrics = result.metrics()
    assert (metrics['frames'], metrics['fixes'], metrics['reference']) == (144, 144, 'fix+imu')
    assert all(row.truth is not None for row in result.rows)
    assert metrics['prior_position_error_m']['median'] == pytest.approx(15.0, abs=0.3)
    assert metrics['prior_yaw_error_deg']['median'] == pytest.approx(8.0, abs=0.01)
    path = np.diff([row.truth.xy_m for row in result.rows if row.truth], axis=0)
    assert np.linalg.norm(path, axis=1).sum() == pytest.approx(173.0, abs=3.0)
    # Frame 0 by hand: base_link is 1.405 m ahead of the oxts pose and 0.32 m to its right
    with open_bag(KITTI) as bag:
        fix = next(bag.records(['/kitti/oxts/gps/fix'])).message
    oxts = result.frame.forward(fix.latitude, fix.longitude)
    first = result.rows[0].truth
    assert first is not None
    lever = math.hypot(*(first.xy_m - oxts))
    assert lever == pytest.approx(math.hypot(1.405, 0.32), abs=0.12)    # 7 ms at 12 m/s


def test_a_run_in_utm_gives_the_same_places_and_is_read_back_as_it_was(drive: Path,
                                                                       tmp_path: Path) -> None:
    enu, utm = run(drive), run(drive, changes={'map.frame_mode': 'utm'})
    utm.write(tmp_path / 'utm')
    metrics = json.loads((tmp_path / 'utm' / 'metrics.json').read_text())
    assert (metrics['frame_mode'], metrics['datum']) == ('utm', [48.9, 8.4, 110.0])
    for figure in ('position_error_m', 'yaw_error_deg'):
        # The lever arm and the error shrink with the grid, by 0.04 %
        assert metrics[figure]['median'] == pytest.approx(enu.metrics()[figure]['median'],
                                                          rel=1e-3)
    places = []
    for result in (enu, utm):
        truth = result.rows[3].truth
        assert truth is not None
        places.append(result.frame.inverse(truth.xy_m))
    np.testing.assert_allclose(places[0], places[1], atol=1e-9)
    # The same place has other numbers: UTM 32 is half a degree off north here
    turned = [result.rows[3].truth for result in (enu, utm)]
    assert turned[0] and turned[1] and math.degrees(
        turned[1].yaw_rad - turned[0].yaw_rad) == pytest.approx(-0.45, abs=0.02)
    _, track = run_of(tmp_path / 'utm')
    np.testing.assert_allclose(track[3], places[0], atol=1e-6)
