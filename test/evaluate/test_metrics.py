# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The figures against answers computed on paper."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from hypothesis import given, strategies as st
from loc2_ros.core.values import Pose2
from loc2_ros.evaluate.metrics import RunFacts, spearman, summarize, write_metrics
from loc2_ros.evaluate.rows import PriorRow, read_csv, Row, write_csv, write_tum
import numpy as np
import pytest

NORTH = math.pi / 2


def fix(dx: float, dy: float, dyaw_deg: float = 0.0, sigma: float = 1.0, stamp: int = 0,
        truth: Pose2 = Pose2(100.0, 200.0, NORTH), latency: float = 0.1) -> Row:
    """Make a fix that is off by (dx, dy) in the map, with equal deviations in x and y."""
    estimate = Pose2(truth.x_m + dx, truth.y_m + dy, truth.yaw_rad + math.radians(dyaw_deg))
    covariance = np.diag([sigma ** 2, sigma ** 2, math.radians(2.0) ** 2])
    prior = PriorRow(truth.x_m + 6.0, truth.y_m + 8.0, truth.yaw_rad - math.radians(4.0), 5.0, 0.1)
    return Row(stamp, 'fix', estimate, covariance, 0.9, 300, 200, 1.0, prior, truth, latency)


def test_errors_split_along_and_across_the_true_heading() -> None:
    metrics = summarize([fix(3.0, -4.0)], RunFacts())       # heading north: across 3, along 4
    assert metrics['position_error_m'] == {'mean': 5.0, 'median': 5.0, 'p95': 5.0}
    assert metrics['along_track_error_m']['median'] == pytest.approx(4.0)
    assert metrics['cross_track_error_m']['median'] == pytest.approx(3.0)


@pytest.mark.parametrize('heading', np.radians([0, 45, 90, 135, 180, -135, -90, -45]))
def test_an_error_ahead_is_along_track_at_every_heading(heading: float) -> None:
    truth = Pose2(0.0, 0.0, heading)
    row = fix(2.0 * math.cos(heading), 2.0 * math.sin(heading), truth=truth)
    metrics = summarize([row], RunFacts())
    assert metrics['along_track_error_m']['mean'] == pytest.approx(2.0)
    assert metrics['cross_track_error_m']['mean'] == pytest.approx(0.0, abs=1e-12)


def test_mean_median_and_p95_are_the_usual_ones() -> None:
    rows = [fix(float(d), 0.0) for d in range(1, 22)]       # 1 .. 21
    spread = summarize(rows, RunFacts())['position_error_m']
    assert spread == {'mean': pytest.approx(11.0), 'median': pytest.approx(11.0),
                      'p95': pytest.approx(20.0)}


def test_yaw_errors_are_taken_on_the_circle_in_degrees() -> None:
    truth = Pose2(0.0, 0.0, math.radians(179.0))
    metrics = summarize([fix(0.0, 0.0, 3.0, truth=truth)], RunFacts())     # estimate -178
    assert metrics['yaw_error_deg']['median'] == pytest.approx(3.0)


def test_prior_errors_count_every_prior_used_also_of_rejected_images() -> None:
    rejected = Row(1, 'few_inliers', prior=PriorRow(100.0, 220.0, None, 5.0, None),
                   truth=Pose2(100.0, 200.0, NORTH))
    metrics = summarize([fix(0.0, 0.0), rejected], RunFacts())
    assert metrics['prior_position_error_m']['mean'] == pytest.approx(15.0)     # 10 and 20
    assert metrics['prior_yaw_error_deg']['mean'] == pytest.approx(4.0)         # only one has it


def test_frames_are_fixes_plus_rejected_plus_dropped() -> None:
    rows = [fix(0.0, 0.0), Row(1, 'no_prior'), Row(2, 'no_prior'), Row(3, 'map_coverage'),
            Row(4, 'dropped'), Row(5, 'dropped')]
    metrics = summarize(rows, RunFacts())
    assert (metrics['frames'], metrics['fixes'], metrics['rejected'], metrics['dropped']) \
        == (6, 1, 3, 2)
    assert metrics['rejected_by_reason'] == {'no_prior': 2, 'map_coverage': 1}


def test_counts_from_outside_replace_those_of_the_rows() -> None:
    rows = [fix(0.0, 0.0), Row(1, 'unknown'), Row(2, 'unknown')]
    metrics = summarize(rows, RunFacts(frames=10, rejected_by_reason={'no_tf': 2, 'scale': 0}))
    assert (metrics['frames'], metrics['fixes'], metrics['rejected'], metrics['dropped']) \
        == (10, 1, 2, 7)
    assert metrics['rejected_by_reason'] == {'no_tf': 2}


def test_the_95_percent_ellipse_ends_at_chi_square_5_991() -> None:
    radius = math.sqrt(5.991)
    rows = [fix(radius - 1e-6, 0.0), fix(0.0, radius + 1e-6), fix(0.0, 0.0), fix(20.0, 0.0, 0.0,
                                                                                 10.0)]
    assert summarize(rows, RunFacts())['ellipse95_coverage'] == 0.75


def test_a_tilted_ellipse_covers_along_its_long_axis_only() -> None:
    covariance = np.array([[5.0, 4.0, 0.0], [4.0, 5.0, 0.0], [0.0, 0.0, 0.01]])    # 9 and 1
    truth = Pose2(0.0, 0.0, 0.0)
    long, short = Pose2(5.0, 5.0, 0.0), Pose2(5.0, -5.0, 0.0)       # 50 / 9 and 50 / 1
    rows = [Row(0, 'fix', pose, covariance, truth=truth) for pose in (long, short)]
    assert summarize(rows, RunFacts())['ellipse95_coverage'] == 0.5


def test_nees_is_the_mean_square_per_dimension() -> None:
    # (2 / 1)^2 + (1 / 1)^2 + (4 / 2)^2 = 9, divided by 3
    assert summarize([fix(2.0, 1.0, 4.0)], RunFacts())['nees_mean'] == pytest.approx(3.0)


def test_honest_claims_have_a_nees_of_one_and_a_coverage_of_95_percent() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(4000):
        sigma = float(rng.uniform(0.5, 5.0))
        dx, dy = rng.normal(0.0, sigma, 2)
        rows.append(fix(float(dx), float(dy), float(rng.normal(0.0, 2.0)), sigma))
    metrics = summarize(rows, RunFacts())
    assert metrics['nees_mean'] == pytest.approx(1.0, abs=0.05)             # 4000 draws: 0.013
    assert metrics['ellipse95_coverage'] == pytest.approx(0.95, abs=0.012)  # 3.5 sigma
    assert metrics['sigma_error_spearman'] > 0.5


def test_the_claimed_sigma_is_the_root_of_the_mean_variance() -> None:
    row = Row(0, 'fix', Pose2(0.0, 0.0, 0.0), np.diag([1.0, 7.0, 1.0]))
    assert summarize([row], RunFacts())['claimed_sigma_xy_m'] == {'median': 2.0}


@pytest.mark.parametrize(('a', 'b', 'expected'), [
    ([1.0, 2.0, 3.0], [10.0, 100.0, 1000.0], 1.0),
    ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], -1.0),
    ([1.0, 2.0, 3.0, 4.0, 5.0], [5.0, 6.0, 7.0, 8.0, 7.0], 0.8207826817),   # scipy.stats
    ([1.0, 2.0], [1.0, 2.0], None),
    ([1.0, 1.0, 1.0], [1.0, 2.0, 3.0], None),
])
def test_spearman_is_the_correlation_of_ranks_with_shared_ties(
        a: list[float], b: list[float], expected: float | None) -> None:
    assert spearman(np.array(a), np.array(b)) == (
        None if expected is None else pytest.approx(expected))


@given(st.lists(st.integers(-50, 50), min_size=3, max_size=30))
def test_spearman_depends_on_order_only(values: list[int]) -> None:
    a = np.array(values, dtype=np.float64)
    with_itself = spearman(a, np.exp(a / 10.0))
    assert with_itself is None or with_itself == pytest.approx(1.0)


def test_the_rate_counts_intervals_between_the_first_and_the_last_fix() -> None:
    facts = RunFacts(fix_wall_s=[5.0, 5.5, 6.0, 7.0])
    assert summarize([], facts)['rate_hz'] == pytest.approx(1.5)
    assert summarize([], RunFacts(fix_wall_s=[5.0]))['rate_hz'] is None


def test_latency_is_that_of_the_fixes() -> None:
    rows = [fix(0.0, 0.0, latency=0.1), fix(0.0, 0.0, latency=0.3),
            Row(3, 'no_prior', latency_s=9.0)]
    assert summarize(rows, RunFacts())['latency_s'] == {
        'median': pytest.approx(0.2), 'p95': pytest.approx(0.29)}


def test_nothing_known_is_null_and_the_keys_are_those_of_the_contract(tmp_path: Path) -> None:
    write_metrics(tmp_path / 'out' / 'metrics.json', summarize([], RunFacts()))
    metrics = json.loads((tmp_path / 'out' / 'metrics.json').read_text())
    none = {'mean': None, 'median': None, 'p95': None}
    assert metrics == {
        'frames': 0, 'fixes': 0, 'rejected': 0, 'rejected_by_reason': {}, 'dropped': 0,
        'position_error_m': none, 'along_track_error_m': none, 'cross_track_error_m': none,
        'yaw_error_deg': none, 'prior_position_error_m': none, 'prior_yaw_error_deg': none,
        'claimed_sigma_xy_m': {'median': None}, 'sigma_error_spearman': None,
        'ellipse95_coverage': None, 'nees_mean': None,
        'latency_s': {'median': None, 'p95': None}, 'rate_hz': None, 'tf_messages': None,
        'duplicates': None, 'out_of_order': None, 'stamp_mismatches': None, 'datum': None,
        'frame_mode': 'enu', 'reference': None, 'model': None, 'device': None, 'seed': None}


def test_what_is_not_a_number_becomes_null(tmp_path: Path) -> None:
    write_metrics(tmp_path / 'metrics.json', {'a': float('nan'), 'b': [float('inf'), 1.0]})
    assert json.loads((tmp_path / 'metrics.json').read_text()) == {'a': None, 'b': [None, 1.0]}


def test_a_table_of_fixes_reads_back_as_it_was(tmp_path: Path) -> None:
    rows: list[Any] = [
        fix(0.1, 0.2, 0.3, 1.7, stamp=1317042651168593664),
        Row(2, 'map_coverage', prior=PriorRow(1.0, 2.0, None, 3.0, None), detail='a, "b"'),
        Row(3, 'dropped')]
    write_csv(tmp_path / 'fixes.csv', rows)
    back = read_csv(tmp_path / 'fixes.csv')
    assert back[1:] == rows[1:]
    np.testing.assert_array_equal(back[0].covariance, rows[0].covariance)
    assert back[0].estimate == rows[0].estimate and back[0].prior == rows[0].prior
    assert back[0].stamp_ns == rows[0].stamp_ns and back[0].truth == rows[0].truth


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / 'fixes.csv').write_text('a,b\n1,2\n')
    with pytest.raises(ValueError, match='no table of fixes'):
        read_csv(tmp_path / 'fixes.csv')


def test_tum_lines_hold_accepted_poses_with_stamps_to_the_nanosecond(tmp_path: Path) -> None:
    row = fix(1.0, 2.0, stamp=1317042651068593664)
    write_tum(tmp_path / 'poses.tum', [row, Row(5, 'no_prior')])
    half = '0.707106781'
    assert (tmp_path / 'poses.tum').read_text() == (
        f'1317042651.068593664 101.000000 202.000000 0 0 0 {half} {half}\n')
