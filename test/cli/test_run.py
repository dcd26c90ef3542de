# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 run`` as a user types it, on a real drive with random weights."""

from __future__ import annotations

import json
from pathlib import Path

from loc2_ros.cli.main import app
from loc2_ros.cli.settings import load_settings
from loc2_ros.core.values import Reason
from loc2_ros.evaluate.rows import read_csv
from loc2_ros.model.contract import Contract
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.weights import save_model
from loc2_ros.ros.params import ParameterError
import pytest
from typer.testing import CliRunner

SMALL = Contract('small', ground_hw=(32, 96), aerial_px=160, tile_m=80.0,
                 backbone_options={'widths': (8, 8, 16, 16)}, projector_widths=(16,), attention=1)


@pytest.mark.slow
def test_every_image_of_kitti_0013_is_a_fix_or_has_a_reason(
        real_data: Path, tmp_path: Path) -> None:
    kitti = real_data / 'kitti_0013'
    save_model(Loc2Net(SMALL), tmp_path / 'model', half=False)
    result = CliRunner().invoke(app, [
        'run', '--bag', str(kitti / 'mcap'), '--model', str(tmp_path / 'model'),
        '--map', str(kitti / 'pseudo_ortho' / 'kitti_0013_pseudo_ortho.mbtiles'),
        '--config', 'kitti', '--param', 'map.min_valid_fraction:=0.1', '--seed', '3',
        '--out', str(tmp_path / 'out'), '-q'])
    assert result.exit_code == 0, result.output
    assert 'images 144:' in result.output
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    assert metrics['frames'] == 144 == metrics['fixes'] + metrics['rejected']
    assert metrics['dropped'] == 0 and metrics['reference'] == 'fix+imu'
    assert (metrics['device'], metrics['seed']) == ('cpu', 3)
    reasons = {reason.value for reason in Reason}
    rows = read_csv(tmp_path / 'out' / 'fixes.csv')
    assert len(rows) == 144
    for name in ('poses.tum', 'report.html', 'trajectory.png'):
        assert (tmp_path / 'out' / name).stat().st_size >= 0
    assert all(row.outcome == 'fix' or (row.outcome in reasons and row.detail) for row in rows)


def test_what_a_shared_file_says_to_other_nodes_is_passed_over(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / 'all.yaml'
    file.write_text('/**: {ros__parameters: {wheel_base: 2.5, map_frame: world}}')
    assert load_settings([str(file)], [])['map_frame'] == 'world'
    assert 'wheel_base' in capsys.readouterr().err
    file.write_text('loc2: {ros__parameters: {wheel_base: 2.5}}')
    with pytest.raises(ParameterError, match='wheel_base'):
        load_settings([str(file)], [])
