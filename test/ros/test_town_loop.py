# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The built-in model and the filters of config/ekf.yaml hold each other up where GNSS fails."""

from __future__ import annotations

from collections.abc import Iterator
import importlib.util
from pathlib import Path
from typing import Any

from fusion_world import S
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location('fusion', ROOT / 'tools' / 'fusion.py')


@pytest.fixture(scope='module')
def driven(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Any]]:
    """Drive once, with a second of latency; give what came of it, and the loop to try more."""
    assert SPEC and SPEC.loader
    module = importlib.util.module_from_spec(SPEC)
    SPEC.loader.exec_module(module)
    with module.drive(tmp_path_factory.mktemp('town')) as (loop, outcome):
        print(*module.record(loop, outcome), sep='\n')
        yield loop, outcome


@pytest.mark.slow
def test_without_gnss_and_with_biased_gnss_the_fused_pose_stays_right(driven: Any) -> None:
    _, outcome = driven
    first = outcome.located_ns
    assert outcome.fused.ns[-1] - first >= 180 * S
    fused, alone = outcome.fused.distance_m(first), outcome.gnss_only.distance_m(first)
    assert np.median(fused) <= 1.0 and fused.max() <= 5.0
    assert 3.0 * np.median(fused) < np.median(alone)
    # The EKF tells where to look, not the receiver that is out or wrong
    assert outcome.sources.count('fix') <= 5 and outcome.rejected <= 3


@pytest.mark.slow
@pytest.mark.parametrize('begin_s, end_s', [(0, 60), (60, 120), (120, 190)])
def test_it_is_as_good_before_the_outage_as_in_it_and_after(
        driven: Any, begin_s: int, end_s: int) -> None:
    _, outcome = driven
    begin = max(outcome.begin_ns + begin_s * S, outcome.located_ns)
    errors = outcome.fused.distance_m(begin, outcome.begin_ns + end_s * S)
    assert np.median(errors) <= 1.5 and errors.max() <= 5.0


@pytest.mark.slow
def test_a_second_of_latency_moves_the_fused_pose_by_less_than_10_cm_along_the_track(
        driven: Any) -> None:
    loop, _ = driven
    late, soon = (loop.replay(s).bias(150.0) for s in (1.0, 0.1))
    assert abs(late[0] - soon[0]) < 0.1 and abs(late[1] - soon[1]) < 0.1


@pytest.mark.slow
def test_without_smoothing_the_same_fixes_leave_it_metres_behind(driven: Any) -> None:
    loop, _ = driven
    assert loop.replay(1.0, smooth_lagged_data=False).bias(150.0)[0] < -4.0
