# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""VIGOR as published: labels and rolls by the numbers of model.md."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path

from loc2_ros.data.pair import DatasetError
from loc2_ros.data.vigor import read_labels, VigorFrames, VigorLine
from mini_datasets import make_vigor, Panorama, texture, TOY
import numpy as np
import pytest
import torch

PANO = replace(TOY, camera_model='equirectangular', heading_up=False, heading_range_deg=180.0,
               ground_hw=(96, 192), max_depth_m=35.0)


def frames(root: Path, panoramas: list[Panorama], range_deg: float = 0.0) -> VigorFrames:
    make_vigor(root, panoramas, texture(1))
    return VigorFrames(root, read_labels(root, 'samearea', 'test'), PANO, range_deg)


def test_a_label_says_where_the_camera_is_in_metres_of_its_city(tmp_path: Path) -> None:
    pair = frames(tmp_path, [Panorama('Chicago', (12.5, -30.0))]).pair(0, None)     # T10
    assert pair.t.tolist() == pytest.approx([1.3908, 3.3379], abs=1e-4)
    assert float(pair.theta) == 0.0
    assert float(pair.tile_m) == pytest.approx(71.208, abs=1e-3)


def test_a_roll_turns_the_camera_by_whole_pixels(tmp_path: Path) -> None:
    there = frames(tmp_path, [Panorama('Seattle')] * 20, 180.0)
    straight = VigorFrames(tmp_path, there.lines, PANO, 0.0)
    rolls = [there.roll_px(k) for k in range(20)]
    assert len(set(rolls)) > 15 and max(map(abs, rolls)) <= 96
    for k in (0, 7):
        pair, plain = there.pair(k, None), straight.pair(k, None)
        # A quarter of the width is a quarter of a turn, model.md T11
        assert float(pair.theta) == pytest.approx(2 * math.pi * rolls[k] / 192, abs=1e-6)
        assert torch.equal(pair.ground, torch.roll(plain.ground, rolls[k], 2))
    assert rolls == [VigorFrames(tmp_path, there.lines[k:k + 1], PANO, 180.0).roll_px(0)
                     for k in range(20)]        # whatever else is in the list


def test_depth_is_rolled_with_the_image(tmp_path: Path) -> None:
    there = frames(tmp_path, [Panorama('NewYork')])
    path = tmp_path / 'NewYork' / 'unik3d_depth' / 'pano_0,NewYork,.png'
    import cv2
    ramp = np.tile(np.linspace(1000, 30000, 384).astype(np.uint16), (192, 1))
    assert cv2.imwrite(str(path), ramp)
    plain = there.pair(0, None).depth_m.reshape(12, 24)
    rng = np.random.default_rng(0)
    rolled_frames = VigorFrames(tmp_path, there.lines, PANO, 180.0)
    rolled = rolled_frames.pair(0, rng)
    px = round(float(rolled.theta) * 192 / (2 * math.pi))
    assert px % 8 != 0                          # the seed gives no whole tokens
    # 1 m in the first column, 30 m in the last; a token has 8 pixels
    column = (8 * 5 + 4 - px) % 192
    assert float(rolled.depth_m.reshape(12, 24)[3, 5]) == pytest.approx(
        1 + 29 * column / 192, abs=0.4)
    assert float(plain[3, 5]) == pytest.approx(1 + 29 * 44 / 192, abs=0.2)


def test_areas_have_the_cities_of_the_protocol(tmp_path: Path) -> None:
    make_vigor(tmp_path, [Panorama(c) for c in ('NewYork', 'Seattle', 'SanFrancisco', 'Chicago')],
               texture(1))
    cities = {key: [line.city for line in read_labels(tmp_path, *key)] for key in (
        ('samearea', 'train'), ('samearea', 'test'), ('crossarea', 'train'),
        ('crossarea', 'test'))}
    assert len(cities['samearea', 'train']) == len(cities['samearea', 'test']) == 4
    assert cities['crossarea', 'train'] == ['NewYork', 'Seattle']
    assert cities['crossarea', 'test'] == ['SanFrancisco', 'Chicago']


def test_missing_and_wrong_lists_are_named(tmp_path: Path) -> None:
    make_vigor(tmp_path, [Panorama('Chicago')], texture(1))
    with pytest.raises(DatasetError, match='SliceMatch'):
        read_labels(tmp_path, 'samearea', 'test', suffix='__corrected')
    path = tmp_path / 'splits_new' / 'Chicago' / 'pano_label_balanced.txt'
    path.write_text('pano.jpg sat.png 1.0\n')
    with pytest.raises(DatasetError, match='line 1 should read'):
        read_labels(tmp_path, 'crossarea', 'test')
    with pytest.raises(DatasetError, match='panoramas are missing'):
        VigorFrames(tmp_path, [VigorLine('Chicago', 'x.jpg', 'y.png', (0.0, 0.0))], PANO, 0.0)
