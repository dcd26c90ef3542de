# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""KITTI as published: ground truth by the numbers of model.md, tiles by what they show."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path

from loc2_ros.core.camera import map_to_tile
from loc2_ros.data.kitti import KittiFrames, place_tile, read_split
from loc2_ros.data.pair import DatasetError, Drawn, split_off
from mini_datasets import coordinates, make_kitti, Planted, texture, TOY
import numpy as np
import pytest
import torch

SHIFT = (-0.3455326, -0.9653194, -0.0077375486)


@pytest.mark.parametrize(('shift', 'range_deg', 'theta_deg', 't'), [
    (SHIFT, 10.0, -90.077375, (19.2970, -6.9367)),                              # T7
    (SHIFT, 180.0, -91.392759, (19.1327, -7.3779)),                             # T8
    ((0.37390798, 0.36219868, -0.75242347), 180.0, 134.563775, (10.4086, -0.2448))])    # T9
@pytest.mark.parametrize('heading', [0.0, 1.0, -2.5])
def test_the_ground_truth_of_a_split_line_is_that_of_the_protocol(
        shift: tuple[float, float, float], range_deg: float, theta_deg: float,
        t: tuple[float, float], heading: float) -> None:
    pose, centre, psi = place_tile(heading, np.array(shift), math.radians(range_deg))
    theta, found = map_to_tile(pose, centre, psi)
    assert math.degrees(theta) == pytest.approx(theta_deg, abs=1e-4)
    assert found == pytest.approx(t, abs=1e-3)


def test_the_camera_is_ahead_and_right_of_the_gps() -> None:
    pose, _, _ = place_tile(math.pi / 2, np.zeros(3), 0.0)          # facing north
    assert pose.xy_m == pytest.approx((0.26, 1.08))


@pytest.mark.parametrize('range_deg', [10.0, 180.0])
def test_a_tile_shows_at_each_place_what_is_there(tmp_path: Path, range_deg: float) -> None:
    frame = Planted(0.7, (0.4, -0.6, 0.8))
    make_kitti(tmp_path, [frame], [coordinates])
    contract = replace(TOY, heading_range_deg=range_deg)
    frames = KittiFrames(tmp_path, read_split(tmp_path, 'test1'), contract, range_deg)
    pair = frames.pair(0, None)
    # By hand: the camera, then the centre, then rows against and columns along the tile's right
    c, s = math.cos(0.7), math.sin(0.7)
    camera = np.array([1.08 * c + 0.26 * s, 1.08 * s - 0.26 * c])
    centre = camera - 20 * (0.4 * np.array([c, s]) - 0.6 * np.array([-s, c]))
    psi = 0.7 - 0.8 * math.radians(range_deg)
    right, up = np.array([math.cos(psi), math.sin(psi)]), np.array([-math.sin(psi), math.cos(psi)])
    for row, column in ((10, 100), (64, 64), (120, 5)):
        place = centre + 0.5 * ((column + 0.5 - 64) * right - (row + 0.5 - 64) * up)
        seen = 255 * pair.aerial[:2, row, column].numpy() - 128
        assert seen == pytest.approx(place, abs=0.8)                # a level is a metre
    # And the camera stands in it where the truth says
    row, column = (pair.t.numpy() / 0.5 + 64 - 0.5)
    seen = 255 * pair.aerial[:2, round(float(row)), round(float(column))].numpy() - 128
    assert seen == pytest.approx(camera, abs=0.9)


def test_depth_tokens_lie_where_the_world_is_flat(tmp_path: Path) -> None:
    make_kitti(tmp_path, [Planted(0.3)], [texture(0)])
    pair = KittiFrames(tmp_path, read_split(tmp_path, 'test1'), TOY, 10.0).pair(0, None)
    depth, rays = pair.depth_m.reshape(12, 26), pair.rays.reshape(12, 26, 3)
    below = (depth * rays[..., 1])[6:]          # the camera is 4 m above the ground
    assert below.numpy() == pytest.approx(np.full((6, 26), 4.0), rel=0.03)
    assert depth[0, 0] == 80.0                  # sky


def test_released_weights_get_the_depth_of_the_corner_of_each_patch(tmp_path: Path) -> None:
    make_kitti(tmp_path, [Planted(0.3)], [texture(0)])
    contract = replace(TOY, rays='edges')
    pair = KittiFrames(tmp_path, read_split(tmp_path, 'test1'), contract, 10.0).pair(0, None)
    # Row 9 of 12 begins at pixel 144 of 192: its centre is 80.5 below the horizon
    assert float(pair.depth_m.reshape(12, 26)[9, 3]) == pytest.approx(4.0 * 240 / 80.5, rel=1e-3)
    # Rays span the image from edge to edge, model.md T13
    left = pair.rays.reshape(12, 26, 3)[0, 0, 0]
    assert float(left) == pytest.approx((0.0 - 207.5) / 240.0)


def test_a_sample_of_a_run_depends_on_its_number_alone(tmp_path: Path) -> None:
    make_kitti(tmp_path, [Planted(0.3), Planted(1.3), Planted(2.3)], [texture(0)] * 3)
    frames = KittiFrames(tmp_path, read_split(tmp_path, 'train'), TOY, 10.0)
    run, again = Drawn(frames, 9, seed=4), Drawn(frames, 9, seed=4)
    for k in (7, 2, 5):
        assert all(torch.equal(a, b) for a, b in zip(run[k], again[k]))
    assert not torch.equal(run[1].t, run[4].t)
    # Every epoch has every frame
    for epoch in range(3):
        images = {float(run[3 * epoch + k].ground.mean()) for k in range(3)}
        assert len(images) == 3
    train, held = split_off(frames, 0.34)
    assert len(train) == 2 and len(held) == 1
    assert {held.name(0)}.isdisjoint({train.name(0), train.name(1)})


@pytest.mark.parametrize(('remove', 'sentence'), [
    ('splits/test1.txt', 'HighlyAccurate'),
    ('depth_anythingv2_depth/2011_09_26/2011_09_26_drive_0001_sync/depth/0000000000.png',
     'loc2 data depth kitti'),
    ('satmap/2011_09_26/2011_09_26_drive_0001_sync/0000000000.png', '1 of 1 satellite maps'),
    ('raw_data/2011_09_26/calib_cam_to_cam.txt', 'calibration')])
def test_what_is_missing_is_named_with_the_remedy(tmp_path: Path, remove: str,
                                                  sentence: str) -> None:
    make_kitti(tmp_path, [Planted(0.3)], [texture(0)])
    (tmp_path / remove).unlink()
    with pytest.raises(DatasetError, match=sentence):
        KittiFrames(tmp_path, read_split(tmp_path, 'test1'), TOY, 10.0)


@pytest.mark.parametrize('line', [
    '2011_09_26/x/0.png 0.1 0.2', '2011_09_26/x/0.png 0.1 0.2 nan', '0.png 0 0 0',
    '2011_09_26/x/0.png 0 0 1.5', '../x/0.png', 'a/b/c.jpg'])
def test_a_line_that_is_none_of_a_split_is_named(tmp_path: Path, line: str) -> None:
    (tmp_path / 'splits').mkdir()
    (tmp_path / 'splits' / 'test1.txt').write_text(line + '\n')
    with pytest.raises(DatasetError, match='line 1 should read'):
        read_split(tmp_path, 'test1')


def test_damaged_files_are_named(tmp_path: Path) -> None:
    make_kitti(tmp_path, [Planted(0.3)], [texture(0)])
    frames = KittiFrames(tmp_path, read_split(tmp_path, 'test1'), TOY, 10.0)
    for path, word in ((next(tmp_path.glob('satmap/*/*/*.png')), 'cut off'),
                       (next(tmp_path.glob('depth*/*/*/depth/*.png')), '16 bit')):
        whole = path.read_bytes()
        path.write_bytes(whole[:len(whole) // 2])
        with pytest.raises(DatasetError, match=word):
            frames.pair(0, None)
        path.write_bytes(whole)
