# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Pictures and page of a run: what is drawn where, and what happens when something is missing."""

from __future__ import annotations

from collections.abc import Iterator
import math
from pathlib import Path
import re
from typing import Any

import cv2
from loc2_ros.core.camera import Mount
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.utm import UtmFrame
from loc2_ros.core.values import Camera, Evidence, Fix, Image, Pose2, Prior, Reason, Rejection
from loc2_ros.evaluate.aerial import cut_ground
from loc2_ros.evaluate.frame_pictures import Frame, matches, overlay, Turned
from loc2_ros.evaluate.pictures import _joined, errors, trajectory
from loc2_ros.evaluate.report import choose_row, write_report
from loc2_ros.evaluate.rows import FIX, PriorRow, Row
from loc2_ros.evaluate.run import run_bag
from loc2_ros.evaluate.style import ellipse95
from loc2_ros.maps.values import Crop, StoreInfo
from loc2_ros.maps.warp import map_T_px
from loc2_ros.ros.params import defaults
from loc2_ros.synthetic.drive import DriveFrames, write_drive
import numpy as np
import pytest

START_NS = 1_700_000_000_000_000_000
DATUM = LocalFrame(48.9, 8.4, 110.0)
COUNT = 6
COVARIANCE = np.diag([1.0, 1.0, 0.001])


class Painted:
    """A map that is red within 3 m of (100, 50), blue elsewhere, and ends at x = 160 m."""

    info = StoreInfo('painted', 'array', attribution='by hand')

    def crop(self, frame: Any, xy: Any, yaw: float, size_m: float, px: int) -> Crop:
        matrix = map_T_px(xy, yaw, size_m, px)
        v, u = np.mgrid[:px, :px]
        x, y = np.einsum('ij,jhw->ihw', matrix, np.stack([u, v, np.ones_like(u)]))
        image = np.where((np.hypot(x - 100.0, y - 50.0) < 3.0)[..., None], (250, 0, 0),
                         (0, 0, 250)).astype(np.uint8)
        valid = x < 160.0
        image[~valid] = 0
        return Crop(image, valid, float(valid.mean()), matrix, size_m / px, None, False)


class Shows:
    """A localizer that answers with its prior and evidence of four matches around it."""

    def __init__(self) -> None:
        self.store, self.frame = Painted(), LocalFrame(0.0, 0.0)
        self.refuses = False
        self.given: list[Prior] = []

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        self.given.append(prior)
        if self.refuses:
            return Rejection(image.stamp_ns, Reason.MAP_COVERAGE, {'valid_fraction': 0.1})
        pose = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad or 0.0)
        return Fix(image.stamp_ns, pose, COVARIANCE, 0.5, 1.0, 4, 3, 0.0,
                   evidence_at(self.store, pose))


def evidence_at(store: Painted, pose: Pose2) -> Evidence:
    """Return four matches ahead of a pose, the last one an outlier."""
    crop = store.crop(None, pose.xy_m, pose.yaw_rad, 40.0, 80)
    ahead = np.array([(pose @ Pose2(5.0, y, 0.0)).xy_m for y in (-3.0, -1.0, 1.0, 3.0)])
    return Evidence(crop.image, crop.map_T_px, np.array([[5.0, 20], [30, 20], [50, 20], [75, 20]]),
                    ahead, ahead + 0.5, np.array([0.9, 0.5, 0.2, 0.1]),
                    np.array([True, True, True, False]))


def row(second: float, error_m: float | None, outcome: str = FIX) -> Row:
    """Return a row of a drive to the east, with a fix off to the north."""
    truth = Pose2(100.0 + second, 50.0, 0.0)
    stamp, prior = START_NS + int(second * 1e9), PriorRow(110.0 + second, 50.0, 0.1, 8.0, 0.1)
    if error_m is None:
        return Row(stamp, outcome, prior=prior, truth=truth)
    return Row(stamp, outcome, Pose2(truth.x_m, 50.0 + error_m, 0.0), COVARIANCE, prior=prior,
               truth=truth)


def pixels(png: bytes) -> Any:
    """Return the pixels of a PNG as RGB."""
    return cv2.cvtColor(cv2.imdecode(np.frombuffer(png, np.uint8), 1), cv2.COLOR_BGR2RGB)


@pytest.fixture(scope='module')
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """Write a drive and run it; return the recording and the folder of the run."""
    folder = tmp_path_factory.mktemp('report')
    t = np.arange(COUNT) * 0.2
    base_T_camera = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 1.6], [0, 0, 0, 1]])
    poses = np.stack([100.0 + 5.0 * t, np.full(COUNT, 50.0), np.zeros(COUNT)], -1)
    bag = write_drive(DriveFrames(
        START_NS + (t * 1e9).astype(np.int64), poses, np.full(COUNT, 5.0),
        [np.full((24, 80, 3), 30 * i, np.uint8) for i in range(COUNT)],
        Camera(80, 24, 50.0, 50.0, 39.5, 10.0), base_T_camera, DATUM, seed=1),
        folder / 'drive.mcap')
    run_bag(bag, defaults(), lambda frame: Shows(), progress=False).write(
        folder / 'run', model='fake', device='cpu')
    yield bag, folder / 'run'


def test_the_page_holds_its_pictures_and_loads_nothing(recorded: tuple[Path, Path]) -> None:
    bag, out = recorded
    localizer = Shows()
    written = write_report(out, bag, defaults(), localizer, title='<Drive & test>')
    assert [path.name for path in written] == [
        'trajectory.png', 'errors.png', 'matches.png', 'overlay.png', 'report.html']
    page = (out / 'report.html').read_text()
    assert len(re.findall(r'src="data:image/(?:png|jpeg);base64,', page)) == 4
    assert not re.search(r'<script|https?://|url\(|<link', page)
    assert '&lt;Drive &amp; test&gt;' in page and '<Drive' not in page
    for heading in ('Trajectory', 'Errors over time', 'One image and its matches',
                    'Ground points on the aerial crop'):
        assert heading in page
    assert localizer.frame == DATUM


def test_the_image_is_localized_again_with_the_prior_of_the_run(
        recorded: tuple[Path, Path]) -> None:
    bag, out = recorded
    first, second = Shows(), Shows()
    run_bag(bag, defaults(), lambda frame: first, progress=False)
    write_report(out, bag, defaults(), second)
    again, = second.given
    before, = (prior for prior in first.given if prior.stamp_ns == again.stamp_ns)
    np.testing.assert_array_equal(again.xy_map_m, before.xy_map_m)
    assert (again.yaw_map_rad, again.sigma_xy_m) == (before.yaw_map_rad, before.sigma_xy_m)


def test_a_run_in_utm_is_drawn_in_utm(recorded: tuple[Path, Path], tmp_path: Path) -> None:
    bag, _ = recorded
    settings = {**defaults(), 'map.frame_mode': 'utm'}
    first, second = Shows(), Shows()
    run_bag(bag, settings, lambda frame: first, progress=False).write(tmp_path)
    write_report(tmp_path, bag, settings, second)
    assert second.frame == UtmFrame(DATUM.lat_deg, DATUM.lon_deg, DATUM.height_m)
    again, = second.given
    before, = (prior for prior in first.given if prior.stamp_ns == again.stamp_ns)
    np.testing.assert_allclose(again.xy_map_m, before.xy_map_m, atol=1e-3)
    assert 'of the map frame, utm' in (tmp_path / 'report.html').read_text()


def test_an_image_that_was_not_solved_is_replaced_by_the_reason(
        recorded: tuple[Path, Path], tmp_path: Path) -> None:
    bag, _ = recorded
    localizer = Shows()
    localizer.refuses = True
    run_bag(bag, defaults(), lambda frame: localizer, progress=False).write(tmp_path)
    written = write_report(tmp_path, bag, defaults(), localizer)
    assert [path.name for path in written] == [
        'trajectory.png', 'errors.png', 'report.html']
    assert 'map_coverage' in (tmp_path / 'report.html').read_text()


def test_a_folder_without_a_run_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='holds no run'):
        write_report(tmp_path, tmp_path / 'no.mcap', defaults(), Shows())


def test_the_shown_image_is_the_fix_with_the_median_error() -> None:
    rows = [row(0, 3.0), row(1, 1.0), row(2, None, 'few_inliers'), row(3, 2.0)]
    assert choose_row(rows) is rows[3]
    assert choose_row([rows[2]]) is rows[2]
    assert choose_row([Row(START_NS, 'no_prior')]) is None


def test_the_ground_of_a_picture_lies_where_its_extent_says() -> None:
    ground = cut_ground(Painted(), DATUM, np.array([[90.0, 40.0], [110.0, 60.0]]), px=600)
    west, east, south, north = ground.extent_m
    # 120 m at least, 600 px: 0.2 m; the red disc is centred on (100, 50)
    rows, columns = np.nonzero(ground.rgb[..., 0] > 240)
    assert west + 0.2 * (columns.mean() + 0.5) == pytest.approx(100.0, abs=0.05)
    assert north - 0.2 * (rows.mean() + 0.5) == pytest.approx(50.0, abs=0.05)
    assert (east - west, north - south) == pytest.approx((120.0, 120.0))


def test_a_ground_larger_than_a_crop_is_put_together_without_seams() -> None:
    points = np.array([[-900.0, -200.0], [150.0, 300.0]])
    ground = cut_ground(Painted(), DATUM, points, px=1100)
    west, east, south, north = ground.extent_m
    gsd = (east - west) / ground.rgb.shape[1]
    rows, columns = np.nonzero((ground.rgb == (250, 0, 0)).all(axis=2))
    assert west + gsd * (columns.mean() + 0.5) == pytest.approx(100.0, abs=gsd / 2)
    assert north - gsd * (rows.mean() + 0.5) == pytest.approx(50.0, abs=gsd / 2)
    # Beyond the map the paper shows
    assert (ground.rgb[:, int((165.0 - west) / gsd):] == 225).all()


@pytest.mark.parametrize('psi', [0.0, 0.3, -2.0])
@pytest.mark.parametrize('heading', np.arange(8) * math.pi / 4)
def test_the_turned_crop_shows_the_vehicle_driving_up(psi: float, heading: float) -> None:
    store = Painted()
    crop = store.crop(None, (100.0, 50.0), psi, 40.0, 80)
    turned = Turned(Evidence(crop.image, crop.map_T_px, *[np.zeros(0)] * 5), heading)
    here, there = turned.pixels(np.array([[100.0, 50.0], [
        100.0 + math.cos(heading), 50.0 + math.sin(heading)]]))
    # Within 45 degrees of up: rows fall faster than columns change
    assert here[1] - there[1] >= abs(there[0] - here[0]) - 1e-9
    red = turned.rgb[..., 0] > 240
    rows, columns = np.nonzero(red)
    np.testing.assert_allclose([columns.mean(), rows.mean()], here, atol=0.3)
    # Right of the vehicle is right in the picture
    right = turned.pixels(np.array([100.0 + math.sin(heading), 50.0 - math.cos(heading)]))
    assert right[0] - here[0] >= abs(right[1] - here[1]) - 1e-9


def test_what_is_drawn_in_metres_meets_the_pixels() -> None:
    crop = Painted().crop(None, (100.0, 50.0), 0.4, 40.0, 80)
    turned = Turned(Evidence(crop.image, crop.map_T_px, *[np.zeros(0)] * 5), 2.0)
    points = np.array([[103.0, 44.0], [91.5, 57.0]])
    np.testing.assert_allclose(turned.transform().transform(points), turned.pixels(points))


def test_the_ellipse_holds_95_percent_along_its_axes() -> None:
    turn = np.array([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]])
    ellipse = ellipse95(np.array([1.0, 2.0]), turn @ np.diag([9.0, 1.0]) @ turn.T)
    # sqrt(5.991) = 2.448 standard deviations to each side
    assert (ellipse.width, ellipse.height) == pytest.approx((6 * 2.4477, 2 * 2.4477), rel=1e-3)
    assert ellipse.angle % 180.0 == pytest.approx(math.degrees(0.5))


def test_pictures_are_drawn_for_fixes_rejections_and_gaps_alike() -> None:
    rows = [row(0, 1.0), row(1, 40.0), row(2, None, 'few_inliers'), row(3, None, 'dropped'),
            Row(START_NS + 4_000_000_000, 'no_prior')]
    for some in (rows, rows[:1], rows[2:]):
        assert pixels(trajectory(some, Painted(), DATUM)).shape[1] > 800
        assert pixels(errors(some)).shape[1] > 800
    with pytest.raises(ValueError, match='no row has a position'):
        trajectory(rows[4:], Painted(), DATUM)


def test_lines_go_on_over_dropped_images_and_part_at_longer_gaps() -> None:
    nan = math.nan
    at, values = _joined(np.array([0.0, 0.2, 0.4, 3.0, 3.2]), np.array([1.0, nan, 2.0, nan, 3.0]))
    np.testing.assert_array_equal(values, [1.0, 2.0, nan, 3.0])
    np.testing.assert_array_equal(at, [0.0, 0.4, 3.2, 3.2])


def test_the_same_rows_give_the_same_picture_twice() -> None:
    rows = [row(0, 1.0), row(1, 2.0)]
    assert errors(rows) == errors(rows)


def test_one_image_is_drawn_with_few_matches_without_truth_and_when_rejected() -> None:
    image = Image(np.full((24, 80, 3), 90, np.uint8), START_NS, Camera(80, 24, 50, 50, 39.5, 10))
    prior = Prior(START_NS, np.array([104.0, 50.0]), 0.2, 8.0, 0.1)
    seen = evidence_at(Painted(), Pose2(100.0, 50.0, 0.0))
    fix = Fix(START_NS, Pose2(100.0, 50.0, 0.0), COVARIANCE, 0.5, 1.0, 4, 3, 4.0, seen)
    rejection = Rejection(START_NS, Reason.FEW_INLIERS, {'inliers': 3}, evidence=seen)
    none = Evidence(seen.crop_rgb, seen.map_T_px, np.zeros((0, 2)), np.zeros((0, 2)),
                    np.zeros((0, 2)), np.zeros(0), np.zeros(0, bool))
    for result, evidence in ((fix, seen), (rejection, seen), (fix, none)):
        frame = Frame(image, prior, result, None, 'by hand')
        assert pixels(matches(frame, evidence, {'image': '1 of 1'})).shape == (616, 1650, 3)
        assert pixels(overlay(frame, evidence)).shape[1] > 1000
