# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Pictures of one image: which one is taken, where votes are drawn, single pairs, refusals."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
from loc2_ros.cli.main import app
from loc2_ros.core.camera import level_mount, Mount
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import (Camera, Evidence, Fix, Image, Panorama, Pose2, Prior, Reason,
                                  Rejection)
from loc2_ros.evaluate.frame_pictures import _filled, FILL, Frame, votes
from loc2_ros.evaluate.visualize import describe, query_of_bag, write_frame
from loc2_ros.maps.values import StoreInfo
from loc2_ros.ros.params import defaults
from loc2_ros.synthetic.drive import DriveFrames, write_drive
import numpy as np
import pytest
from typer.testing import CliRunner

DATUM = LocalFrame(48.9, 8.4, 110.0)
START_NS = 1_700_000_000_000_000_000
COUNT = 5
CELLS, CELL_M, CROP_PX = 20, 4.0, 160       # an 80 m crop


class Store:
    """Knows whose imagery it is."""

    info = StoreInfo('none', 'array', attribution='by hand')


class Sees:
    """A localizer that answers with its prior, four matches and one vote where the camera is."""

    def __init__(self, frame: LocalFrame) -> None:
        self.store, self.frame, self.explain = Store(), frame, True
        self.given: list[tuple[Image, Prior, Mount]] = []

    def about(self) -> dict[str, Any]:
        return {}

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        self.given.append((image, prior, mount))
        if prior.yaw_map_rad is None:
            return Rejection(image.stamp_ns, Reason.NO_HEADING)
        pose = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad)
        return Fix(image.stamp_ns, pose, np.diag([1.0, 1.0, 0.001]), 0.5, 1.1, 4, 3, 0.0,
                   evidence(pose.xy_m))


def evidence(centre: Any, vote: tuple[int, int] = (10, 10)) -> Evidence:
    """Return a north-up crop around a place, with all votes in one cell (row, column)."""
    gsd = CELLS * CELL_M / CROP_PX
    half = CELLS * CELL_M / 2
    map_T_px = np.array([[gsd, 0.0, centre[0] - half + gsd / 2],
                         [0.0, -gsd, centre[1] + half - gsd / 2]])
    map_T_vote = np.array([[CELL_M, 0.0, centre[0] - half + CELL_M / 2],
                           [0.0, -CELL_M, centre[1] + half - CELL_M / 2]])
    # Tokens every 2 m from 4 m ahead of a camera that looks east, one of them unknown
    ahead, right = np.meshgrid(12.0 - 2 * np.arange(5), np.arange(8) * 2.0 - 7.0, indexing='ij')
    layout = np.stack([centre[0] + ahead, centre[1] - right], -1)
    layout[4, 7] = np.nan
    v, u = np.meshgrid(np.arange(5) * 4.0 + 4, np.arange(8) * 10.0 + 5, indexing='ij')
    share = np.zeros((CELLS, CELLS), np.float32)
    share[vote] = 1.0
    points = np.asarray(centre) + np.array([[5.0, 0.0], [10.0, 3.0], [10.0, -3.0], [15.0, 6.0]])
    return Evidence(np.full((CROP_PX, CROP_PX, 3), 90, np.uint8), map_T_px,
                    np.array([[10.0, 15.0], [30.0, 15.0], [50.0, 18.0], [70.0, 20.0]]), points,
                    points + 0.5, np.array([0.9, 0.5, 0.3, 0.2]),
                    np.array([True, True, True, False]), {},
                    {'votes_near': 0.8, 'votes_entropy': 0.1}, layout, np.stack([u, v], -1), share,
                    map_T_vote)


@pytest.fixture(scope='module')
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a drive east whose images tell their number by their brightness."""
    t = np.arange(COUNT) * 0.2
    base_T_camera = np.array([[0.0, 0.0, 1.0, 1.2], [-1.0, 0.0, 0.0, 0.0],
                              [0.0, -1.0, 0.0, 1.65], [0.0, 0.0, 0.0, 1.0]])
    frames = DriveFrames(
        START_NS + (t * 1e9).astype(np.int64), np.stack([5.0 * t, 0 * t, 0 * t], -1),
        np.full(COUNT, 5.0), [np.full((24, 80, 3), 20 * i, np.uint8) for i in range(COUNT)],
        Camera(80, 24, 50.0, 50.0, 39.5, 10.0), base_T_camera, DATUM, seed=3)
    return write_drive(frames, tmp_path_factory.mktemp('look') / 'drive.mcap')


@pytest.mark.parametrize('choice, number', [
    ({'index': 2}, 2), ({'index': -1}, 4), ({'stamp_s': START_NS * 1e-9 + 0.63}, 3)])
def test_the_image_asked_for_is_localized_alone_and_meets_its_truth(
        drive: Path, choice: dict[str, Any], number: int) -> None:
    query = query_of_bag(drive, defaults(), Sees, **choice)
    assert len(query.localizer.given) == 1
    assert abs(int(query.image.rgb.mean()) - 20 * number) <= 2
    assert query.truth is not None and query.truth.x_m == pytest.approx(float(number))
    assert query.mount.base_T_camera.x_m == pytest.approx(1.2)
    facts = describe(query.frame)
    assert facts['matches'] == '4, 3 inliers' and facts['votes near the pose'].startswith('80 %')
    assert 'error of the fix' in facts


def test_an_image_that_is_not_there_is_a_sentence(drive: Path) -> None:
    with pytest.raises(ValueError, match='has 5 images, there is none with index 5'):
        query_of_bag(drive, defaults(), Sees, index=5)
    with pytest.raises(ValueError, match='was not localized: prior_stale'):
        query_of_bag(drive, {**defaults(), 'prior.max_age': 0.0}, Sees, index=1)


def frame_with(vote: tuple[int, int], yaw: float) -> tuple[Frame, Evidence]:
    shown = evidence((0.0, 0.0), vote)
    pose = Pose2(0.0, 0.0, yaw)
    fix = Fix(1, pose, np.diag([1.0, 1.0, 0.001]), 0.5, 1.0, 4, 3, 0.0, shown)
    image = Image(np.zeros((24, 80, 3), np.uint8), 1, Camera(80, 24, 50.0, 50.0, 39.5, 10.0))
    return Frame(image, Prior(1, np.zeros(2), yaw, 5.0, 0.1), fix), shown


@pytest.mark.parametrize('yaw, ahead', [(math.pi / 2, (-5, 0)), (0.0, (0, 5)), (math.pi, (0, -5)),
                                        (-math.pi / 2, (5, 0))])
def test_a_vote_twenty_metres_ahead_is_drawn_above_one_where_the_vehicle_is(
        yaw: float, ahead: tuple[int, int]) -> None:
    """The cell is given in the north-up crop; pictures are turned until the vehicle drives up."""
    def picture(vote: tuple[int, int]) -> Any:
        return cv2.imdecode(np.frombuffer(votes(*frame_with(vote, yaw)), np.uint8), 1).astype(int)

    # Beside the arrows of the poses, which would cover the spot
    here, there = (5, 5), (5 + ahead[0] // 5 * 3, 5 + ahead[1] // 5 * 3)
    first, second, none = picture(here), picture(there), picture((19, 19))
    assert first.shape == second.shape == none.shape
    rows = [np.argwhere((np.abs(p - none).sum(axis=2) > 30)
                        & (np.abs(p - q).sum(axis=2) > 30)).mean(axis=0)
            for p, q in ((first, second), (second, first))]
    up, right = rows[0][0] - rows[1][0], rows[1][1] - rows[0][1]
    assert up > 60 and abs(right) < 0.2 * up


def test_the_ground_between_tokens_is_filled_and_gaps_stay_gaps() -> None:
    shown = evidence((0.0, 0.0))
    assert shown.layout_map_m is not None and shown.layout_uv_px is not None
    xy, uv = _filled(shown.layout_map_m, shown.layout_uv_px)
    assert len(xy) == (4 * 7 - 1) * FILL ** 2           # one corner is unknown
    # Linear in between: 2 m are 4 rows or 10 columns of the image
    assert 12.0 - xy[:, 0] == pytest.approx((uv[:, 1] - 4.0) / 2)
    assert 7.0 - xy[:, 1] == pytest.approx((uv[:, 0] - 5.0) / 5)
    far = shown.layout_map_m.copy()
    far[0, :, 0] += 20.0                                # another surface, far behind
    assert len(_filled(far, shown.layout_uv_px)[0]) == (3 * 7 - 1) * FILL ** 2


def test_all_pictures_and_a_page_are_written(tmp_path: Path) -> None:
    frame, _ = frame_with((10, 10), 0.3)
    written = write_frame(frame, tmp_path / 'out', 'one <image>')
    assert [path.name for path in written] == ['matches.png', 'overlay.png', 'layout.png',
                                               'votes.png', 'visualize.html']
    for path in written[:4]:
        picture = cv2.imread(str(path))
        assert picture is not None and min(picture.shape[:2]) > 300 and picture.std() > 5
    page = written[4].read_text()
    assert page.count('data:image/') == 4 and 'one &lt;image&gt;' in page
    assert '3 inliers' in page and 'src="http' not in page


def test_a_rejection_before_the_solver_gives_a_page_with_its_reason(tmp_path: Path) -> None:
    frame, _ = frame_with((10, 10), 0.0)
    refused = Frame(frame.image, frame.prior, Rejection(1, Reason.MAP_COVERAGE, {
        'valid_fraction': 0.25}))
    written = write_frame(refused, tmp_path, 'title')
    assert [path.name for path in written] == ['visualize.html']
    assert 'map_coverage' in written[0].read_text()


def test_a_single_image_with_camera_and_prior(tmp_path: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Sees] = []
    monkeypatch.setattr('loc2_ros.loading.load_localizer',
                        lambda settings, frame: made.append(Sees(frame)) or made[-1])
    image = tmp_path / 'street.png'
    cv2.imwrite(str(image), np.full((24, 80, 3), (10, 20, 30), np.uint8))
    arguments = ['visualize', '--image', str(image), '--camera', '50,51,39.5,10',
                 '--prior', '48.9,8.4,30', '--truth', '48.9,8.4001,25', '--height', '1.8',
                 '--pitch', '3', '--map', 'any.mbtiles', '--out', str(tmp_path / 'out')]
    run = CliRunner().invoke(app, arguments)
    assert run.exit_code == 0, run.output
    assert (tmp_path / 'out/votes.png').is_file() and '7.33 m, 5.00 deg' in run.output
    picture, prior, mount = made[0].given[0]
    assert picture.rgb[0, 0].tolist() == [30, 20, 10]
    assert picture.camera == Camera(80, 24, 50.0, 51.0, 39.5, 10.0)
    assert prior.yaw_map_rad == pytest.approx(math.radians(30)) and made[0].explain
    assert mount.height_m == pytest.approx(1.8)
    for wrong, words in ((['--camera', '1,2'], '--camera takes 4 numbers'),
                         (['--prior', 'here'], '--prior takes 3 numbers'),
                         (['--bag', 'drive'], 'either --bag or --image'),
                         (['--image', str(tmp_path / 'none.png')], 'No such file')):
        failed = CliRunner().invoke(app, [*arguments, *wrong])
        assert failed.exit_code == 1 and words in failed.output, failed.output
        assert 'Traceback' not in failed.output


def test_a_single_panorama_needs_no_camera(tmp_path: Path,
                                           monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Sees] = []
    monkeypatch.setattr('loc2_ros.loading.load_localizer',
                        lambda settings, frame: made.append(Sees(frame)) or made[-1])
    image = tmp_path / 'pano.png'
    cv2.imwrite(str(image), np.zeros((40, 80, 3), np.uint8))
    run = CliRunner().invoke(app, [
        'visualize', '--image', str(image), '--prior', '48.9,8.4,90', '--map', 'any.mbtiles',
        '--param', 'camera.model:=equirectangular', '--out', str(tmp_path / 'out')])
    assert run.exit_code == 0, run.output
    assert made[0].given[0][0].camera == Panorama(80, 40)


def test_a_level_mount_looks_ahead_and_pitch_counts_downwards() -> None:
    level, down = level_mount(1.65), level_mount(1.65, math.radians(10))
    assert level.level_R_camera == pytest.approx(np.eye(3)) and level.height_m == 1.65
    assert level.base_T_camera == Pose2(0.0, 0.0, 0.0)
    axis = down.level_R_camera @ (0.0, 0.0, 1.0)        # right, down, forward
    assert axis == pytest.approx((0.0, math.sin(math.radians(10)), math.cos(math.radians(10))))
