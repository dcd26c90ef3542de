# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The covariance: honest where its model holds, positive definite everywhere."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, strategies as st
from loc2_ros.core.align import fit_similarity, ScalePrior, Similarity
from loc2_ros.core.covariance import (carry_to_base, floor_covariance, pose_covariance,
                                      rotate_to_map, thinning_factor)
from loc2_ros.core.similarity import scale_gain
from loc2_ros.core.values import Array, Fix, Pose2
import numpy as np
import pytest
import torch
from torch import Tensor

DOUBLE = torch.float64
FLOOR = (0.7, 0.7, math.radians(0.5))
NOISE: dict[str, Any] = {'cell_m': 1.0, 'sigma_depth_rel': 0.02, 'sigma_ray_rad': 0.01}


def drives(scenes: int, matches: int, *, ahead_m: tuple[float, float] = (5.0, 35.0),
           noise: float = 1.0, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Similarity]:
    """Return many scenes with noise of just the kind the model describes, times a factor."""
    g = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=g, dtype=DOUBLE)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g, dtype=DOUBLE)
    near, far = ahead_m
    true = torch.stack((-near - (far - near) * uniform(scenes, matches),
                        20.0 * uniform(scenes, matches) - 10.0), -1)
    truth = Similarity(2 * math.pi * uniform(scenes) - math.pi, torch.ones(scenes, dtype=DOUBLE),
                       10.0 * normal(scenes, 2), torch.ones(scenes, dtype=torch.bool))
    tile = truth.apply(true) + noise * (uniform(scenes, matches, 2) - 0.5)
    across = torch.stack((-true[..., 1], true[..., 0]), -1)
    ground = (true * (1 + 0.02 * noise * normal(scenes, matches, 1))
              + 0.01 * noise * normal(scenes, matches, 1) * across)
    return ground, tile, 0.2 + uniform(scenes, matches), truth


def one(matches: int) -> tuple[Tensor, Tensor, Tensor]:
    ground, tile, weight, _ = drives(1, matches)
    return ground[0], tile[0], weight[0]


def off(fit: Similarity, truth: Similarity) -> Tensor:
    turn = torch.remainder(fit.theta - truth.theta + math.pi, 2 * math.pi) - math.pi
    return torch.cat((fit.t - truth.t, turn[:, None]), -1)


def nees(error: Tensor, cov: Tensor) -> float:
    return float((error[:, None] @ torch.linalg.solve(cov, error[..., None])).mean())


@pytest.mark.parametrize('use_residuals', [False, True])
@pytest.mark.parametrize('ahead_m', [(5.0, 35.0), (-20.0, 20.0)], ids=['camera', 'panorama'])
def test_the_claim_fits_the_errors_when_the_scale_is_known(
        use_residuals: bool, ahead_m: tuple[float, float]) -> None:
    ground, tile, weight, truth = drives(4000, 80, ahead_m=ahead_m)
    fit = fit_similarity(ground, tile, weight, fixed_scale=1.0)
    cov = pose_covariance(ground, tile, weight, weight > 0, fit, scale_gain=0.0,
                          use_residuals=use_residuals, **NOISE)
    assert nees(off(fit, truth), cov) == pytest.approx(3.0, abs=0.2)


def test_the_claim_fits_the_errors_of_a_free_scale_up_to_its_bias() -> None:
    # Noise in the depth pulls a free scale down (model.md 12.4), which no covariance tells
    ground, tile, weight, truth = drives(4000, 80)
    fit = fit_similarity(ground, tile, weight)
    cov = pose_covariance(ground, tile, weight, weight > 0, fit, **NOISE)
    error = off(fit, truth)
    assert nees(error, cov) == pytest.approx(3.3, abs=0.3)
    spread, claim = error.std(0), cov.mean(0).diag().sqrt()
    np.testing.assert_allclose(claim, spread, rtol=0.12)


def test_the_claim_fits_the_errors_under_a_scale_prior() -> None:
    # The true scale is drawn from the prior; the prior's strength is that of the match noise
    ground, tile, weight, truth = drives(4000, 80)
    weight = torch.ones_like(weight)
    g = torch.Generator().manual_seed(1)
    scale = 1.0 + 0.03 * torch.randn(4000, generator=g, dtype=DOUBLE)
    ground = ground / scale[:, None, None]
    prior = ScalePrior(1.0, sigma=0.03, sigma_match_m=0.45)
    fit = fit_similarity(ground, tile, weight, scale_prior=prior)
    gain = scale_gain(ground, weight, prior)
    cov = pose_covariance(ground, tile, weight, weight > 0, fit, scale_gain=gain,
                          sigma_scale=0.03, **NOISE)
    assert nees(off(fit, truth), cov) == pytest.approx(3.0, abs=0.5)


def test_residuals_tell_of_noise_that_the_model_does_not_know() -> None:
    ground, tile, weight, truth = drives(2000, 80, noise=2.0)
    fit = fit_similarity(ground, tile, weight, fixed_scale=1.0)
    blind, seeing = (pose_covariance(ground, tile, weight, weight > 0, fit, scale_gain=0.0,
                                     use_residuals=use, **NOISE) for use in (False, True))
    assert nees(off(fit, truth), blind) > 9.0
    assert nees(off(fit, truth), seeing) == pytest.approx(3.0, abs=0.3)


def test_isotropic_noise_gives_the_textbook_formula() -> None:
    # sigma^2 (1 / W + |abar|^2 / D) for t and sigma^2 / D for theta; model.md 12.3
    ground, tile, _, _ = drives(1, 60)
    ground, tile, weight = ground[0], tile[0], torch.ones(60, dtype=DOUBLE)
    fit = fit_similarity(ground, tile, weight)
    cov = pose_covariance(ground, tile, weight, weight > 0, fit, cell_m=math.sqrt(12.0),
                          sigma_depth_rel=0.0, sigma_ray_rad=0.0, use_residuals=False)
    mean = ground.mean(0)
    D, s = float((ground - mean).square().sum()), float(fit.scale)
    t_var = 1 / 60 + float(mean.square().sum()) / D
    assert cov.diag().tolist() == pytest.approx([t_var, t_var, 1 / (s * s * D)])
    assert float(cov[0, 1]) == pytest.approx(0.0, abs=1e-12)


def test_correlated_matches_count_as_fewer() -> None:
    ground, tile, weight = one(60)
    fit = fit_similarity(ground, tile, weight)
    alone = pose_covariance(ground, tile, weight, weight > 0, fit, **NOISE)
    torch.testing.assert_close(
        pose_covariance(ground, tile, weight, weight > 0, fit, correlation=4.0, **NOISE),
        4.0 * alone)


def test_matches_of_one_cell_are_counted_once() -> None:
    tile = torch.tensor([[0.1, 0.1], [0.2, 0.3], [1.1, 0.2], [-0.1, 0.2], [9.0, 9.0]])
    ground = 10.0 * torch.arange(5.0)[:, None].expand(-1, 2)
    inlier = torch.tensor([True, True, True, True, False])
    assert float(thinning_factor(ground, tile, inlier, 1.0)) == pytest.approx(4 / 3)
    assert float(thinning_factor(tile, ground, inlier, 1.0)) == pytest.approx(4 / 3)
    assert float(thinning_factor(ground, tile, ~inlier & False, 1.0)) == 1.0


def test_outliers_and_points_of_weight_zero_have_no_say() -> None:
    ground, tile, weight = one(60)
    inlier = torch.ones(60, dtype=torch.bool)
    inlier[:10], weight[10:20] = False, 0.0
    fit = fit_similarity(ground, tile, weight * inlier)
    clean = pose_covariance(ground[20:], tile[20:], weight[20:], inlier[20:], fit, **NOISE)
    ground[:20], tile[:20] = math.nan, math.inf
    torch.testing.assert_close(
        pose_covariance(ground, tile, weight, inlier, fit, **NOISE), clean)


def test_a_free_scale_costs_a_front_camera_certainty_along_its_view() -> None:
    ground, tile, weight = one(60)
    fit = fit_similarity(ground, tile, weight)
    c, s = math.cos(float(fit.theta)), math.sin(float(fit.theta))
    view = torch.tensor([[-c, -s], [s, -c]], dtype=DOUBLE)  # rows: along, across
    free, fixed = (
        (view @ pose_covariance(ground, tile, weight, weight > 0, fit, cell_m=1.0,
                                sigma_depth_rel=0.1, sigma_ray_rad=0.0, use_residuals=False,
                                scale_gain=gain)[:2, :2] @ view.mT).diag() for gain in (1.0, 0.0))
    assert float(free[0]) > 2.0 * float(fixed[0])
    assert float(free[1]) == pytest.approx(float(fixed[1]), rel=0.1)


def test_ten_thousand_scenes_of_any_kind_are_positive_definite() -> None:
    g = torch.Generator().manual_seed(0)
    kinds, n = 10, 12
    ground = 30.0 * torch.randn((1000, kinds, n, 2), generator=g, dtype=DOUBLE)
    tile = 30.0 * torch.randn((1000, kinds, n, 2), generator=g, dtype=DOUBLE)
    weight = torch.rand((1000, kinds, n), generator=g, dtype=DOUBLE)
    weight[:, 1] = 0.0                                  # nothing
    weight[:, 2, 1:] = 0.0                              # one match
    weight[:, 3, 2:] = 0.0                              # two
    ground[:, 4, :] = ground[:, 4, :1]                  # all at one place
    ground[:, 5] = ground[:, 5, :1] * torch.arange(1.0, n + 1)[:, None]   # in one direction
    tile[:, 6] = ground[:, 6]                           # perfect
    ground[:, 7, 0], tile[:, 8, 3] = math.nan, math.inf
    weight[:, 9], ground[:, 9] = weight[:, 9] * 1e-300, ground[:, 9] * 1e-12
    fit = fit_similarity(ground, tile, weight)
    cov = pose_covariance(ground, tile, weight, weight > 0, fit, **NOISE)
    claim = floor_covariance(cov, FLOOR, scale=0.01)
    assert torch.isfinite(claim).all() and torch.equal(claim, claim.mT)
    assert bool((torch.linalg.eigvalsh(claim) > 0).all())
    assert bool((torch.linalg.cholesky_ex(claim).info == 0).all())
    white = claim / (torch.tensor(FLOOR)[:, None] * torch.tensor(FLOOR)).to(DOUBLE)
    assert float(torch.linalg.eigvalsh(white).min()) > 0.99
    for some in claim.reshape(-1, 3, 3)[::37]:  # and the value that carries it takes it
        Fix(0, Pose2(0, 0, 0), some.numpy(), 1.0, 1.0, 1, 1, 0.0)


@pytest.mark.parametrize('cov', [
    np.zeros((3, 3)), np.full((3, 3), math.nan), np.full((3, 3), math.inf),
    np.diag([-1.0, 1.0, 1.0]), np.full((3, 3), 1e300), np.ones((3, 3)), np.diag([1e-30, 1e30, 1])])
def test_the_floor_makes_a_covariance_of_anything(cov: Array) -> None:
    claim = floor_covariance(torch.from_numpy(cov), FLOOR)
    Fix(0, Pose2(0, 0, 0), claim.numpy(), 1.0, 1.0, 1, 1, 0.0)
    assert bool((claim.diag().sqrt() > 0.999 * torch.tensor(FLOOR)).all())


def test_the_floor_lifts_what_is_below_and_leaves_what_is_above() -> None:
    cov = torch.diag(torch.tensor([0.01, 4.0, 0.04], dtype=DOUBLE))
    claim = floor_covariance(cov, FLOOR)
    assert claim.diag().tolist() == pytest.approx([0.49, 4.0, 0.04])
    assert floor_covariance(cov, FLOOR, scale=4.0).diag().tolist() == pytest.approx(
        [0.49, 16.0, 0.16])


def test_a_thin_slanted_ellipse_is_lifted_in_its_thin_direction() -> None:
    thin = torch.tensor([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 0.0, 1.0]], dtype=DOUBLE)
    claim = floor_covariance(thin, FLOOR)
    assert torch.linalg.eigvalsh(claim[:2, :2]).tolist() == pytest.approx([0.49, 4.0])


def test_gradients_pass_the_floor_and_the_claim() -> None:
    ground, tile, weight, _ = drives(3, 20)
    w = weight.clone().requires_grad_()
    fit = fit_similarity(ground, tile, w)
    cov = pose_covariance(ground, tile, w, weight > 0, fit, **NOISE)
    torch.logdet(floor_covariance(cov, FLOOR)).sum().backward()
    assert w.grad is not None and torch.isfinite(w.grad).all() and float(w.grad.abs().sum()) > 0


@pytest.mark.parametrize('floor, scale', [((0.7, 0.0, 0.1), 1.0), ((0.7, 0.7), 1.0),
                                          (FLOOR, 0.0), (FLOOR, math.nan)])
def test_a_floor_or_scale_of_nothing_is_refused(floor: tuple[float, ...], scale: float) -> None:
    with pytest.raises(ValueError, match='positive'):
        floor_covariance(torch.eye(3), floor, scale)  # type: ignore[arg-type]


def test_in_a_north_up_tile_rows_are_north_and_columns_are_east() -> None:
    cov = torch.tensor([[4.0, 0.5, 0.1], [0.5, 1.0, 0.2], [0.1, 0.2, 0.3]], dtype=DOUBLE)
    north_up = rotate_to_map(cov, 0.0)  # x = t_y, y = -t_x
    expected = [[1.0, -0.5, 0.2], [-0.5, 4.0, -0.1], [0.2, -0.1, 0.3]]
    np.testing.assert_allclose(north_up, expected, atol=1e-12)
    turned = rotate_to_map(cov, math.pi / 2)  # the tile's right is north: x = t_x, y = t_y
    np.testing.assert_allclose(turned, cov, atol=1e-12)


@given(st.floats(-math.pi, math.pi), st.floats(-5, 5), st.floats(-5, 5))
def test_the_lever_arm_carries_the_covariance_as_sampling_does(yaw: float, forward: float,
                                                               left: float) -> None:
    cov = torch.tensor([[0.5, 0.1, 0.01], [0.1, 0.3, -0.01], [0.01, -0.01, 0.002]], dtype=DOUBLE)
    lever = torch.tensor([forward, left], dtype=DOUBLE)

    def base(camera: Tensor) -> Tensor:
        x, y, turn = camera
        c, s = torch.cos(turn), torch.sin(turn)
        return torch.stack((x - c * lever[0] + s * lever[1], y - s * lever[0] - c * lever[1],
                            turn))
    pose = torch.tensor([3.0, 4.0, yaw], dtype=DOUBLE)
    jacobian = torch.autograd.functional.jacobian(base, pose)
    expected = jacobian @ cov @ jacobian.mT
    np.testing.assert_allclose(carry_to_base(cov, lever, yaw), expected, atol=1e-12)


def test_a_long_lever_turns_heading_errors_into_position_errors_across() -> None:
    cov = torch.diag(torch.tensor([0.0, 0.0, 0.01], dtype=DOUBLE))
    carried = carry_to_base(cov, torch.tensor([3.0, 0.0]), 0.0)  # heading east, 3 m ahead
    assert carried.diag().tolist() == pytest.approx([0.0, 0.09, 0.01])
    assert float(carried[1, 2]) == pytest.approx(-0.03)  # turned left, the base is to the right
