# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The embedded model end to end, offline: an unseen town, and a real drive it must not trust."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loc2_ros.cli.settings import load_settings
from loc2_ros.core.frames import LocalFrame
from loc2_ros.evaluate.rows import FIX
from loc2_ros.evaluate.run import run_bag, RunResult
from loc2_ros.loading import load_localizer, LocalizerSettings
from loc2_ros.model.weights import model_folder
from loc2_ros.pipeline import Localizer
from loc2_ros.ros.params import localizer_settings
from loc2_ros.synthetic.world import make_world
import numpy as np
import pytest

KITTI = ('kitti_0013', 'kitti_0013_pseudo_ortho.mbtiles')


def _run(bag: Path, settings: dict[str, Any]) -> RunResult:
    def make(frame: LocalFrame) -> Localizer:
        return load_localizer(LocalizerSettings(**localizer_settings(settings)), frame)

    return run_bag(bag, settings, make, progress=False)


def test_the_embedded_model_is_small() -> None:
    folder = model_folder('mini')
    assert sum(f.stat().st_size for f in folder.iterdir()) <= 10e6


@pytest.mark.slow
def test_an_unseen_town_is_localized_with_errors_as_claimed(tmp_path: Path) -> None:
    world = make_world(1_000_003, tmp_path, frames=100, progress=False)
    metrics = _run(world.drive, load_settings([], [f'map.path:={world.map}'])).metrics()
    assert metrics['frames'] == 100
    assert metrics['fixes'] >= 80
    assert metrics['position_error_m']['median'] <= 2.0
    assert metrics['position_error_m']['p95'] <= 8.0
    assert metrics['yaw_error_deg']['median'] <= 2.0
    assert (metrics['prior_position_error_m']['median']
            >= 4 * metrics['position_error_m']['median'])
    assert metrics['ellipse95_coverage'] >= 0.85
    assert (metrics['claimed_sigma_xy_m']['median']
            <= 2 * metrics['position_error_m']['median'])


@pytest.mark.slow
def test_a_real_drive_is_accounted_for_and_hardly_trusted(real_data: Path) -> None:
    drive = real_data / KITTI[0]
    store = drive / 'pseudo_ortho' / KITTI[1]
    settings = load_settings(['kitti'], [f'map.path:={store}', 'map.min_valid_fraction:=0.1'])
    result = _run(drive / 'mcap', settings)
    metrics = result.metrics()
    assert metrics['frames'] == 144 == metrics['fixes'] + metrics['rejected']
    assert sum(metrics['rejected_by_reason'].values()) == metrics['rejected']
    # Mini never saw a photograph: most of what it would say is refused
    assert metrics['rejected_by_reason']['few_matches'] > 72
    fixes = [row for row in result.rows if row.outcome == FIX]
    for row in fixes:
        assert row.estimate is not None and row.truth is not None
        assert np.linalg.norm(row.estimate.xy_m - row.truth.xy_m) < 25.0
