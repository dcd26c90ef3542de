# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The published figures: by hand, and from data sets whose errors were planted."""

from __future__ import annotations

import csv
from dataclasses import replace
import json
import math
from pathlib import Path
from typing import Any

from loc2_ros.core.align import Ransac
from loc2_ros.data.kitti import KittiFrames, read_split
from loc2_ros.data.vigor import read_labels, VigorFrames
from loc2_ros.evaluate.datasets import (eval_kitti, eval_vigor, EvalSettings, evaluate,
                                        KittiProtocol, VigorProtocol)
from loc2_ros.evaluate.error_pictures import error_distribution
from loc2_ros.evaluate.published import figures, Frame, table_lines
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.solve import Solver
from loc2_ros.model.weights import Model, save_model
from mini_datasets import (ColourNet, coordinates, make_kitti, make_vigor, Panorama, Planted,
                           texture, TOY)
import numpy as np
import pytest
import torch

RIGHT = -math.pi / 2        # theta of a vehicle that points right in the tile
SETTINGS = EvalSettings('', batch=2, workers=0, progress=False)


def frame(error: tuple[float, float], turn_deg: float = 0.0, theta: float = RIGHT,
          valid: bool = True) -> Frame:
    return Frame('f', theta, 1.0, 2.0, valid, theta + math.radians(turn_deg), 1.0 + error[0],
                 2.0 + error[1], 1.0, 0.5)


def test_errors_split_along_and_across_where_the_vehicle_points() -> None:
    found = figures([frame((0.9, 3.0), 2.0)])       # as T19: 3 ahead, 0.9 aside
    assert found['longitudinal_m']['mean'] == pytest.approx(3.0)
    assert found['lateral_m']['mean'] == pytest.approx(0.9)
    assert found['position_m'] == {'mean': pytest.approx(math.sqrt(9.81)),
                                   'median': pytest.approx(math.sqrt(9.81))}
    assert found['yaw_deg']['mean'] == pytest.approx(2.0)
    recall, swapped = found['recall'], found['recall_as_paper_code_swapped']
    assert (recall['lateral_1m'], recall['longitudinal_1m']) == (1.0, 0.0)
    assert (swapped['lateral_1m'], swapped['longitudinal_1m']) == (0.0, 1.0)
    assert (recall['yaw_1deg'], recall['yaw_5deg']) == (0.0, 1.0)
    assert 'swapped' in 'recall_as_paper_code_swapped' and 'exchanged' in swapped['note']


@pytest.mark.parametrize(('turn_deg', 'expected'), [(0.0, 0.0), (45.0, 4.0), (10.0, 1.368081)])
def test_the_paper_codes_axis_has_the_cosine_of_twice_the_turn(turn_deg: float,
                                                               expected: float) -> None:
    # An error of 4 m ahead; what the code calls longitudinal is |4 sin(2 ro)|, defect B1
    ro = math.radians(turn_deg)
    error = (-4.0 * math.sin(ro), 4.0 * math.cos(ro))               # forward in the tile
    found = figures([frame(error, theta=RIGHT + ro)])
    assert found['longitudinal_m']['mean'] == pytest.approx(4.0)
    from loc2_ros.evaluate.published import _swapped
    lateral, longitudinal = _swapped(np.array([error]), np.array([RIGHT + ro]))
    assert float(longitudinal[0]) == pytest.approx(expected, abs=1e-5)
    assert float(np.hypot(lateral[0], longitudinal[0])) == pytest.approx(4.0)


def test_a_frame_without_a_pose_is_missed_but_in_no_mean() -> None:
    found = figures([frame((0.0, 0.5)), frame((0.0, 2.5), 4.0), frame((0, 0), valid=False),
                     frame((0.0, 9.0), 178.0, theta=math.pi - 0.01)])
    assert (found['frames'], found['failed']) == (4, 1)
    assert found['position_m'] == {'mean': pytest.approx(4.0), 'median': pytest.approx(2.5)}
    assert found['recall']['longitudinal_1m'] == 0.5                # the last is 9 m aside
    assert found['recall']['longitudinal_5m'] == 0.75
    assert found['recall']['lateral_1m'] == 0.5
    assert found['recall']['yaw_5deg'] == 0.5
    assert found['yaw_deg']['mean'] == pytest.approx((0 + 4 + 178) / 3)


def test_nothing_gives_no_figures_and_a_picture_is_drawn_of_anything() -> None:
    assert figures([])['position_m'] == {'mean': None, 'median': None}
    assert figures([])['recall']['yaw_1deg'] is None
    some = [frame((0.5, 1.0)), frame((0, 0), valid=False)]
    for frames in ([], some):
        assert error_distribution(frames).startswith(b'\x89PNG')
    assert any('50.00 %' in line for line in table_lines('x', figures(some)))


# Two metres ahead and one to the left of where the oxts record says, three degrees to the left
PLANTED = [Planted(0.3, (0.2, -0.4, 0.0), 2.0, 0.0), Planted(-1.0, (0.0, 0.3, 0.9), 0.0, 1.6),
           Planted(2.0, (-0.5, 0.1, -0.7), 0.0, 0.0, math.radians(3.0)),
           Planted(-2.4, (0.1, 0.2, 0.5), 6.0, 0.0)]


def model_of(contract: Any) -> Model:
    return Model(ColourNet(contract).eval(), contract, '', torch.device('cpu'),     # type: ignore
                 torch.float32)


SEARCH = Solver(Ransac(hypotheses=200), proposals=8)


@pytest.mark.parametrize('range_deg', [10.0, 180.0])
def test_planted_errors_come_out_on_kitti(tmp_path: Path, range_deg: float) -> None:
    make_kitti(tmp_path, PLANTED, [coordinates] * 4)
    contract = replace(TOY, heading_range_deg=range_deg, heading_up=range_deg < 180)
    frames = KittiFrames(tmp_path, read_split(tmp_path, 'test1'), contract, range_deg)
    rows = evaluate(frames, model_of(contract), SEARCH, SETTINGS)
    found = figures(rows)
    # By hand: positions 2, 1.6, 0 and 6 m, headings 0, 0, 3 and 0 degrees; colours are a metre
    # apart, so poses are good to a part of that
    assert found['position_m']['mean'] == pytest.approx(2.4, abs=0.3)
    assert found['position_m']['median'] == pytest.approx(1.8, abs=0.3)
    assert found['longitudinal_m']['mean'] == pytest.approx(2.0, abs=0.3)
    assert found['lateral_m']['mean'] == pytest.approx(0.4, abs=0.3)
    assert found['yaw_deg']['mean'] == pytest.approx(0.75, abs=0.6)
    recall = found['recall']
    assert (recall['longitudinal_1m'], recall['longitudinal_5m']) == (0.5, 0.75)
    assert (recall['lateral_1m'], recall['lateral_5m']) == (0.75, 1.0)
    assert (recall['yaw_1deg'], recall['yaw_5deg']) == (0.75, 1.0)
    # The first frame points right in its tile: there the paper's code just swaps
    first = figures(rows[:1])
    assert first['recall']['longitudinal_1m'] == 0.0 and first['recall']['lateral_1m'] == 1.0
    swapped = first['recall_as_paper_code_swapped']
    assert swapped['longitudinal_1m'] == 1.0 and swapped['lateral_1m'] == 0.0
    one_by_one = evaluate(frames, model_of(contract), SEARCH, replace(SETTINGS, batch=1))
    assert [(r.name, r.theta, r.x, r.y) for r in one_by_one] == [
        (r.name, pytest.approx(r.theta, abs=1e-4), pytest.approx(r.x, abs=1e-3),
         pytest.approx(r.y, abs=1e-3)) for r in rows]


def test_planted_errors_come_out_on_vigor(tmp_path: Path) -> None:
    planted = [Panorama('Chicago', (60.0, -80.0), south_m=3.0),
               Panorama('Chicago', (-40.0, 20.0), east_m=0.5, turn_rad=math.radians(4.0)),
               Panorama('Seattle', (10.0, 90.0))]
    make_vigor(tmp_path, planted, coordinates)
    contract = replace(TOY, camera_model='equirectangular', heading_up=False,
                       heading_range_deg=180.0, ground_hw=(96, 192), max_depth_m=35.0)
    frames = VigorFrames(tmp_path, read_labels(tmp_path, 'samearea', 'test'), contract, 180.0)
    found = figures(evaluate(frames, model_of(contract), SEARCH, SETTINGS))
    assert found['position_m']['mean'] == pytest.approx(3.5 / 3, abs=0.25)
    assert found['position_m']['median'] == pytest.approx(0.5, abs=0.25)
    assert found['yaw_deg']['mean'] == pytest.approx(4.0 / 3, abs=0.4)
    assert found['scale']['median'] == pytest.approx(1.0, abs=0.1)      # by cells of 4.5 m


def test_a_run_writes_figures_a_table_and_a_picture(tmp_path: Path) -> None:
    make_kitti(tmp_path / 'data', PLANTED[:2], [texture(0)] * 2)
    torch.manual_seed(0)
    save_model(Loc2Net(TOY), tmp_path / 'model', half=False)
    settings = replace(SETTINGS, model=str(tmp_path / 'model'), max_depth_m=30.0)
    lines = eval_kitti(tmp_path / 'data', settings, KittiProtocol(), tmp_path / 'out')
    assert any('swapped' in line for line in lines)
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert set(metrics['splits']) == {'test1', 'test2'}
    assert metrics['splits']['test1']['frames'] == 2
    assert metrics['protocol']['max_depth_m'] == 30.0 and metrics['protocol']['depth'] == 'files'
    # The same frames in another order give the same figures
    assert metrics['splits']['test1']['recall'] == metrics['splits']['test2']['recall']
    with open(tmp_path / 'out' / 'test2.csv', newline='', encoding='utf-8') as file:
        names = [row['name'].split('/')[-1] for row in csv.DictReader(file)]
    assert names == ['0000000001', '0000000000']
    assert (tmp_path / 'out' / 'test1.png').read_bytes().startswith(b'\x89PNG')


def test_what_a_model_is_not_made_for_is_refused(tmp_path: Path) -> None:
    make_kitti(tmp_path / 'kitti', PLANTED[:1], [texture(0)])
    make_vigor(tmp_path / 'vigor', [Panorama('Chicago')], texture(0), (32, 64))
    save_model(Loc2Net(TOY), tmp_path / 'model')
    settings = replace(SETTINGS, model=str(tmp_path / 'model'))
    with pytest.raises(ValueError, match='--rotation-range 180 is beyond'):
        eval_kitti(tmp_path / 'kitti', settings, KittiProtocol(180.0), tmp_path / 'out')
    with pytest.raises(ValueError, match='pinhole'):
        eval_vigor(tmp_path / 'vigor', settings, VigorProtocol(), tmp_path / 'out')
