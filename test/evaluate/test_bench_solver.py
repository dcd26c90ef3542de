# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The yardstick of RANSAC does what the batched one does; nothing about speed."""

from __future__ import annotations

from pathlib import Path

from loc2_ros.core.align import ransac
from loc2_ros.core.pairs import draw_pairs
from loc2_ros.evaluate.bench_solver import (bench_solver, CELL_M, compare_on_town, GRID, Quality,
                                            ransac_one_by_one, scene, smaller, SolverBench)
from loc2_ros.model.matcher import cell_centres
from loc2_ros.model.solve import published_ransac
import pytest
import torch

CPU = torch.device('cpu')


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_one_hypothesis_at_a_time_finds_the_inliers_of_all_at_once(seed: int) -> None:
    P, lifted = scene(CPU, wrong=0.6, seed=seed)
    solver = smaller(published_ransac(), 3, 1024, 20)
    pairs = draw_pairs(P, 1024, torch.Generator().manual_seed(seed), 3)
    points = (lifted[pairs.token], cell_centres(GRID, CELL_M)[pairs.cell], pairs.weight)
    found = ransac(*points, solver.ransac, torch.Generator().manual_seed(seed))
    loop = ransac_one_by_one(*points, solver.ransac, torch.Generator().manual_seed(seed))
    assert loop > 100 and abs(int(found.inlier.sum()) - loop) <= 2


def test_the_bench_tells_what_it_measured_and_judges_by_ratios_alone() -> None:
    threads = torch.get_num_threads()
    found = bench_solver(1, CPU, smaller(published_ransac(), 2, 512, 10))
    assert torch.get_num_threads() == threads
    assert min(found.one_by_one_s, found.published_s, found.default_s,
               found.published_draw_s, found.default_draw_s) > 0
    assert found.inlier_gap <= 2
    assert found.to_json()['published_ratio'] == found.one_by_one_s / found.published_s
    good = SolverBench(2.0, 0.4, 0.05, 1.0, 1.0, 2)
    assert good.passed and good.default_ratio == pytest.approx(40.0)
    for bad in (SolverBench(2.0, 0.6, 0.05, 1, 1, 0), SolverBench(2.0, 0.4, 0.2, 1, 1, 0),
                SolverBench(2.0, 0.4, 0.05, 1, 1, 3)):
        assert not bad.passed


def test_quality_counts_what_has_no_pose_as_gross() -> None:
    quality = Quality.of([0.5, 1.0, 2.0, 30.0, float('inf')])
    assert (quality.median_m, quality.gross_share) == (2.0, 0.4)


@pytest.mark.slow
def test_the_default_search_is_no_worse_than_the_published_on_towns(tmp_path: Path) -> None:
    found = compare_on_town(48, tmp_path)
    published, default = found['published'], found['default']
    assert default.median_m <= published.median_m
    assert default.gross_share <= published.gross_share
