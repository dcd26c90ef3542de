# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The gate: one row per reason, in the order the checks are made."""

from __future__ import annotations

from dataclasses import replace
import math
from typing import Any

from loc2_ros.core.gate import gate, Limits
from loc2_ros.core.values import Evidence, Fix, Pose2, Prior, Reason, Rejection
import numpy as np
import pytest

PRIOR = Prior(5, np.array([100.0, 50.0]), 1.0, 8.0, 0.1)
FIX = Fix(5, Pose2(104.0, 53.0, 1.1), np.diag([1.0, 4.0, 0.01]), score=0.7, scale=1.05,
          n_matches=400, n_inliers=90, prior_distance_m=5.0)
LIMITS = Limits(min_inliers=30, min_score=0.3, max_prior_distance_m=50.0, max_sigma_xy_m=30.0,
                max_sigma_yaw_rad=1.6, heading_range_rad=math.radians(10),
                scale_range=(0.75, 1.35))


def test_a_good_fix_passes_unchanged() -> None:
    assert gate(FIX, PRIOR, LIMITS) is FIX


ROWS: list[tuple[dict[str, Any], Reason, str, float]] = [
    ({'n_inliers': 29}, Reason.FEW_INLIERS, 'inliers', 29),
    ({'score': 0.29}, Reason.LOW_SCORE, 'score', 0.29),
    ({'score': math.nan}, Reason.LOW_SCORE, 'min_score', 0.3),
    ({'scale': 0.7}, Reason.SCALE, 'scale', 0.7),
    ({'scale': 1.4}, Reason.SCALE, 'scale', 1.4),
    ({'map_T_base': Pose2(130.0, 91.0, 1.0)}, Reason.FAR_FROM_PRIOR, 'distance_m',
     math.hypot(30, 41)),
    ({'map_T_base': Pose2(104.0, 53.0, 1.2)}, Reason.HEADING_OFF, 'off_deg', math.degrees(0.2)),
    ({'covariance': np.diag([1.0, 901.0, 0.01])}, Reason.UNCERTAIN, 'sigma_xy_m', math.sqrt(901)),
    ({'covariance': np.diag([1.0, 1.0, 2.6])}, Reason.UNCERTAIN, 'sigma_yaw_deg',
     math.degrees(math.sqrt(2.6)))]


@pytest.mark.parametrize('change, reason, name, number', ROWS)
def test_a_fix_is_refused_with_its_reason_and_number(
        change: dict[str, Any], reason: Reason, name: str, number: float) -> None:
    result = gate(replace(FIX, **change), PRIOR, LIMITS)
    assert isinstance(result, Rejection)
    assert result.reason is reason and result.stamp_ns == 5
    assert result.numbers[name] == pytest.approx(number)


def test_with_several_faults_the_first_in_order_is_named() -> None:
    worst = FIX
    for change, _, _, _ in ROWS:
        worst = replace(worst, **change)
    result = gate(worst, PRIOR, LIMITS)
    assert isinstance(result, Rejection) and result.reason is Reason.FEW_INLIERS


def test_heading_is_compared_on_the_circle() -> None:
    south_west = replace(PRIOR, yaw_map_rad=-3.1)
    assert isinstance(gate(replace(FIX, map_T_base=Pose2(104.0, 53.0, 3.1)), south_west, LIMITS),
                      Fix)


def test_without_a_heading_prior_or_range_no_heading_is_off() -> None:
    turned = replace(FIX, map_T_base=Pose2(104.0, 53.0, -2.0))
    headless = replace(PRIOR, yaw_map_rad=None, sigma_yaw_rad=None)
    assert gate(turned, headless, LIMITS) is turned
    assert gate(turned, PRIOR, replace(LIMITS, heading_range_rad=None)) is turned


def test_a_rejection_keeps_the_evidence() -> None:
    nothing = np.zeros((0, 2))
    evidence = Evidence(np.zeros((2, 2, 3), np.uint8), np.eye(3)[:2], nothing, nothing, nothing,
                        np.zeros(0), np.zeros(0, bool))
    result = gate(replace(FIX, n_inliers=0, evidence=evidence), PRIOR, LIMITS)
    assert isinstance(result, Rejection) and result.evidence is evidence


@pytest.mark.parametrize('change', [{'min_score': math.nan}, {'max_prior_distance_m': -1.0},
                                    {'scale_range': (1.2, 1.2)}, {'heading_range_rad': -0.1}])
def test_limits_that_make_no_sense_are_refused_at_once(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        replace(LIMITS, **change)
