# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Alignment: the closed form against known answers, RANSAC against wrong matches."""

from __future__ import annotations

from dataclasses import replace
import math

from hypothesis import given, settings, strategies as st
from loc2_ros.core.align import (draw_samples, fit_from_moments, fit_similarity, race_weights,
                                 Ransac, ransac, ScalePrior, Similarity)
from loc2_ros.core.similarity import scale_gain
import numpy as np
import pytest
import torch
from torch import Tensor

DOUBLE = torch.float64


def similarity(theta: float, scale: float, t: tuple[float, float]) -> Similarity:
    return Similarity(torch.tensor(theta, dtype=DOUBLE), torch.tensor(scale, dtype=DOUBLE),
                      torch.tensor(t, dtype=DOUBLE), torch.tensor(True))


def view(n: int, seed: int = 0) -> Tensor:
    """Return ground points as a camera sees them: 5 to 35 m ahead, 12 m to either side."""
    g = torch.Generator().manual_seed(seed)
    u = torch.rand((n, 2), generator=g, dtype=DOUBLE)
    return torch.stack((-5.0 - 30.0 * u[:, 0], 24.0 * u[:, 1] - 12.0), -1)


def scene(n: int = 600, wrong: float = 0.6, noise: float = 0.3,
          seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    truth = similarity(-1.2, 1.05, (3.0, -7.0))
    g = torch.Generator().manual_seed(seed)
    ground = view(n, seed)
    tile = truth.apply(ground) + noise * torch.randn((n, 2), generator=g, dtype=DOUBLE)
    bad = torch.rand(n, generator=g, dtype=DOUBLE) < wrong
    places = 100.0 * torch.rand((n, 2), generator=g, dtype=DOUBLE) - 50.0
    return ground, torch.where(bad[:, None], places, tile), torch.where(bad, 0.4, 0.8).to(DOUBLE)


def by_svd(a: Tensor, b: Tensor, w: Tensor) -> tuple[float, float, Tensor]:
    """Umeyama's solution with the singular value decomposition, for comparison."""
    w = w / w.sum()
    am, bm = w @ a, w @ b
    h = ((a - am) * w[:, None]).T @ (b - bm)
    u, s, vt = torch.linalg.svd(h)
    d = torch.diag(torch.tensor([1.0, float(torch.sign(torch.det(vt.T @ u.T)))], dtype=DOUBLE))
    r = vt.T @ d @ u.T
    scale = (s * d.diag()).sum() / (w * (a - am).square().sum(1)).sum()
    return float(torch.atan2(r[1, 0], r[0, 0])), float(scale), bm - scale * r @ am


@given(st.floats(-math.pi, math.pi), st.floats(0.3, 3.0), st.floats(-60, 60), st.floats(-60, 60))
def test_exact_matches_give_back_what_made_them(theta: float, scale: float, x: float,
                                                y: float) -> None:
    ground = view(5)
    fit = fit_similarity(ground, similarity(theta, scale, (x, y)).apply(ground),
                         torch.ones(5, dtype=DOUBLE))
    assert bool(fit.valid)
    assert math.cos(float(fit.theta) - theta) == pytest.approx(1.0, abs=1e-12)
    assert float(fit.scale) == pytest.approx(scale)
    assert fit.t.tolist() == pytest.approx([x, y], abs=1e-9)


@given(st.integers(0, 10000))
def test_the_closed_form_is_the_svd_solution_on_random_data(seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn((2, 7, 2), generator=g, dtype=DOUBLE)
    w = torch.rand(7, generator=g, dtype=DOUBLE) + 0.01
    fit, (theta, scale, t) = fit_similarity(a, b, w), by_svd(a, b, w)
    assert math.cos(float(fit.theta) - theta) == pytest.approx(1.0, abs=1e-9)
    assert float(fit.scale) == pytest.approx(scale, abs=1e-9)
    assert fit.t.tolist() == pytest.approx(t.tolist(), abs=1e-7)


def test_two_matches_and_collinear_matches_are_enough() -> None:
    truth = similarity(2.0, 1.1, (4.0, 5.0))
    for ground in (view(2), torch.tensor([[-5.0, 1.0], [-10.0, 2.0], [-20.0, 4.0]]).to(DOUBLE)):
        fit = fit_similarity(ground, truth.apply(ground), torch.ones(len(ground), dtype=DOUBLE))
        assert bool(fit.valid) and fit.t.tolist() == pytest.approx([4.0, 5.0])


@pytest.mark.parametrize('ground, tile, weight', [
    ([[-5.0, 1.0], [-9.0, 2.0]], [[1.0, 1.0], [2.0, 2.0]], [0.0, 0.0]),
    ([[-5.0, 1.0], [-9.0, 2.0]], [[1.0, 1.0], [2.0, 2.0]], [1.0, 0.0]),
    ([[-5.0, 1.0], [-5.0, 1.0]], [[1.0, 1.0], [2.0, 2.0]], [1.0, 1.0]),
    ([[-5.0, 1.0], [-9.0, 2.0]], [[1.0, 1.0], [1.0, 1.0]], [1.0, 1.0]),
    ([[-5.0, 1.0], [math.nan, 2.0]], [[1.0, 1.0], [2.0, 2.0]], [1.0, 1.0]),
    ([[-5.0, 1.0], [-9.0, 2.0]], [[1.0, 1.0], [math.inf, 2.0]], [1.0, 1.0])])
def test_matches_that_determine_nothing_are_invalid_never_nan(
        ground: list[list[float]], tile: list[list[float]], weight: list[float]) -> None:
    w = torch.tensor(weight, requires_grad=True)
    fit = fit_similarity(torch.tensor(ground), torch.tensor(tile), w)
    assert not bool(fit.valid)
    assert (fit.theta.item(), fit.scale.item(), fit.t.tolist()) == (0.0, 1.0, [0.0, 0.0])


def test_a_point_of_weight_zero_may_hold_anything_and_gradients_stay_finite() -> None:
    ground, tile, weight = scene(20)
    clean = fit_similarity(ground[:-1], tile[:-1], weight[:-1])
    ground[-1], tile[-1], weight[-1] = math.nan, math.inf, 0.0
    w = weight.clone().requires_grad_()
    fit = fit_similarity(ground, tile, w)
    assert fit.t.tolist() == pytest.approx(clean.t.tolist())
    (fit.t.sum() + fit.theta + fit.scale).backward()
    assert w.grad is not None and torch.isfinite(w.grad).all()


def test_invalid_items_of_a_batch_do_not_spoil_the_gradients_of_the_others() -> None:
    ground, tile, weight = scene(12)
    w = torch.stack((weight, torch.zeros_like(weight))).requires_grad_()
    fit = fit_similarity(ground.expand(2, -1, -1), tile.expand(2, -1, -1), w)
    assert fit.valid.tolist() == [True, False]
    (fit.t.sum() + fit.theta.sum() + fit.scale.sum()).backward()
    assert w.grad is not None and torch.isfinite(w.grad).all()
    assert w.grad[0].abs().sum() > 0 and w.grad[1].abs().sum() == 0


def test_gradients_are_those_of_finite_differences() -> None:
    ground, tile, weight = scene(6, wrong=0.0, noise=1.0)

    def pose(a: Tensor, b: Tensor, w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        fit = fit_similarity(a, b, w)
        return fit.theta, fit.scale, fit.t
    inputs = tuple(x.clone().requires_grad_() for x in (ground, tile, weight))
    assert torch.autograd.gradcheck(pose, inputs, atol=1e-6)


def test_a_fixed_scale_keeps_the_rotation_and_moves_the_camera() -> None:
    ground, tile, weight = scene(50, wrong=0.0)
    free = fit_similarity(ground, tile, weight)
    fixed = fit_similarity(ground, tile, weight, fixed_scale=1.0)
    assert float(fixed.scale) == 1.0 and float(fixed.theta) == pytest.approx(float(free.theta))
    gap = torch.linalg.vector_norm(fixed.t - free.t)
    assert float(gap) == pytest.approx(0.05 * 20, abs=0.3)  # 5 % of the mean distance


def test_a_scale_prior_pulls_as_hard_as_its_deviation_says() -> None:
    ground, tile, weight = scene(50, wrong=0.0)
    free = fit_similarity(ground, tile, weight)
    w = weight / weight.sum()
    spread = float((weight * (ground - w @ ground).square().sum(-1)).sum())
    even = ScalePrior(0.9, sigma=1.5 / math.sqrt(spread), sigma_match_m=1.5)  # lambda = D
    half = fit_similarity(ground, tile, weight, scale_prior=even)
    assert float(half.scale) == pytest.approx((float(free.scale) + 0.9) / 2)
    hard = fit_similarity(ground, tile, weight, scale_prior=replace(even, sigma=1e-6))
    fixed = fit_similarity(ground, tile, weight, fixed_scale=0.9)
    assert hard.t.tolist() == pytest.approx(fixed.t.tolist(), abs=1e-4)
    with pytest.raises(ValueError, match='not both'):
        fit_similarity(ground, tile, weight, fixed_scale=1.0, scale_prior=even)


def test_moments_of_a_dense_matrix_equal_the_fit_over_its_listed_pairs() -> None:
    g = torch.Generator().manual_seed(3)
    ground, tile = view(9), 30.0 * torch.randn((11, 2), generator=g, dtype=DOUBLE)
    weight = torch.rand((2, 11, 9), generator=g, dtype=DOUBLE)
    i, j = torch.meshgrid(torch.arange(11), torch.arange(9), indexing='ij')
    listed = fit_similarity(ground[j.flatten()].expand(2, -1, -1),
                            tile[i.flatten()].expand(2, -1, -1), weight.flatten(1))
    for prior in (None, ScalePrior(0.5, 0.02)):
        dense = fit_from_moments(ground, tile, weight, scale_prior=prior)
        if prior is None:
            torch.testing.assert_close(dense.t, listed.t)
            torch.testing.assert_close(dense.theta, listed.theta)
            torch.testing.assert_close(dense.scale, listed.scale)
        assert dense.valid.all()


def test_race_weights_include_as_many_pairs_as_would_be_drawn() -> None:
    P = torch.rand((60, 70), generator=torch.Generator().manual_seed(0), dtype=DOUBLE) ** 8
    weights = race_weights(P, draws=500)
    included = weights / P
    assert float(included.sum()) == pytest.approx(500, abs=1e-6)
    assert bool((included >= 0).all()) and bool((included <= 1).all())
    few = torch.zeros(60, 70)
    few[0, :100] = 0.3
    assert torch.equal(race_weights(few, draws=500), few)


def test_ransac_finds_the_pose_among_two_thirds_of_wrong_matches() -> None:
    for seed in range(10):
        ground, tile, weight = scene(wrong=0.67, seed=seed)
        for sample in (2, 3):
            fit = ransac(ground, tile, weight, Ransac(sample=sample, threshold_m=1.5),
                         torch.Generator().manual_seed(seed))
            assert bool(fit.similarity.valid)
            assert float(fit.similarity.theta) == pytest.approx(-1.2, abs=0.02)
            assert fit.similarity.t.tolist() == pytest.approx([3.0, -7.0], abs=0.4)
            assert int(fit.inlier.sum()) >= 150


def test_equal_input_and_seed_give_an_equal_pose_and_another_seed_another_sample() -> None:
    ground, tile, weight = scene()
    first, second = (ransac(ground, tile, weight, Ransac(refits=0),
                            torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first.similarity.t, second.similarity.t)
    assert torch.equal(first.inlier, second.inlier)
    other = ransac(ground, tile, weight, Ransac(refits=0), torch.Generator().manual_seed(6))
    assert not torch.equal(first.similarity.t, other.similarity.t)


def test_the_refit_is_better_than_any_minimal_sample() -> None:
    error: dict[int, list[float]] = {0: [], 4: []}
    for seed in range(20):
        ground, tile, weight = scene(noise=0.6, seed=seed)
        for refits in error:
            fit = ransac(ground, tile, weight, Ransac(refits=refits),
                         torch.Generator().manual_seed(seed))
            away = fit.similarity.t - torch.tensor([3.0, -7.0])
            error[refits].append(float(torch.linalg.vector_norm(away)))
    assert np.median(error[4]) < 0.5 * np.median(error[0])


def test_inliers_are_the_matches_within_the_threshold_that_carry_weight() -> None:
    ground, tile, weight = scene()
    weight[:100] = 0.0
    fit = ransac(ground, tile, weight, Ransac(), torch.Generator().manual_seed(0))
    distance = torch.linalg.vector_norm(fit.similarity.apply(ground) - tile, dim=-1)
    assert torch.equal(fit.inlier, (distance <= 2.5) & (weight > 0))
    assert not fit.inlier[:100].any()
    expected = (torch.sigmoid(5 / 2.5 * (2.5 - distance)) * weight).sum()
    assert float(fit.soft_inliers) == pytest.approx(float(expected), rel=1e-4)


def test_unweighted_counts_give_each_match_the_same_say() -> None:
    ground, tile, weight = scene(wrong=0.0)
    fit = ransac(ground, tile, weight, Ransac(weighted=False), torch.Generator().manual_seed(0))
    assert float(fit.soft_inliers) == pytest.approx(600 * 0.99, rel=0.01)


@pytest.mark.parametrize('change', [
    {'scale_range': (0.75, 0.95)}, {'theta_range': (0.0, 1.0)}, {'radius_m': 5.0},
    {'radius_m': 5.0, 'centre_m': (20.0, 0.0)}])
def test_the_true_pose_is_not_found_when_it_is_out_of_range(change: dict[str, object]) -> None:
    ground, tile, weight = scene()
    fit = ransac(ground, tile, weight, replace(Ransac(), **change),  # type: ignore[arg-type]
                 torch.Generator().manual_seed(0))
    away = fit.similarity.t - torch.tensor([3.0, -7.0])
    assert not bool(fit.similarity.valid) or float(torch.linalg.vector_norm(away)) > 0.5


@pytest.mark.parametrize('change', [
    {'theta_range': (-1.5, -1.0)}, {'theta_range': (4.8, 5.2)}, {'radius_m': 8.0},
    {'radius_m': 1.0, 'centre_m': (3.0, -7.0)}, {'fixed_scale': 1.05},
    {'scale_prior': ScalePrior(1.0, 0.05)}])
def test_the_true_pose_is_found_when_it_is_in_range(change: dict[str, object]) -> None:
    ground, tile, weight = scene()
    fit = ransac(ground, tile, weight, replace(Ransac(), **change),  # type: ignore[arg-type]
                 torch.Generator().manual_seed(0))
    assert bool(fit.similarity.valid)
    assert fit.similarity.t.tolist() == pytest.approx([3.0, -7.0], abs=0.3)


@pytest.mark.parametrize('n', [0, 1, 2, 3])
def test_too_few_matches_and_no_weight_are_invalid_and_never_raise(n: int) -> None:
    ground, tile = view(max(n, 4)), view(max(n, 4), 1)
    weight = torch.zeros(max(n, 4), dtype=DOUBLE)
    weight[:n] = 0.5
    fit = ransac(ground, tile, weight, Ransac(scale_range=(0.0, 1e9)),
                 torch.Generator().manual_seed(0))
    assert bool(fit.similarity.valid) == (n >= 2)
    assert torch.isfinite(fit.similarity.t).all()
    if n < 2:
        assert not fit.inlier.any() and float(fit.soft_inliers) == 0.0


def test_a_match_of_unknown_weight_takes_no_part() -> None:
    ground, tile, weight = scene()
    weight[3] = 0.0
    clean = ransac(ground, tile, weight, Ransac(), torch.Generator().manual_seed(0))
    weight[3] = math.nan
    fit = ransac(ground, tile, weight, Ransac(), torch.Generator().manual_seed(0))
    assert torch.equal(fit.similarity.t, clean.similarity.t) and not fit.inlier[3]


def test_an_empty_set_of_matches_is_invalid() -> None:
    nothing = torch.zeros((0, 2))
    fit = ransac(nothing, nothing, torch.zeros(0), Ransac(), torch.Generator().manual_seed(0))
    assert not bool(fit.similarity.valid) and fit.inlier.shape == (0,)


def test_matches_are_drawn_in_proportion_to_weight_without_replacement() -> None:
    weight = torch.tensor([0.0, 1.0, 2.0, 0.0, 5.0, 2.0])
    index = draw_samples(weight, 200000, 2, torch.Generator().manual_seed(0))
    assert bool((index[:, 0] != index[:, 1]).all())
    first = torch.bincount(index[:, 0], minlength=6) / 200000
    assert first.tolist() == pytest.approx([0, 0.1, 0.2, 0, 0.5, 0.2], abs=0.005)
    # The second one, given that the heaviest went first: 1, 2, 2 of 5
    second = index[index[:, 0] == 4, 1]
    share = torch.bincount(second, minlength=6) / len(second)
    assert share.tolist() == pytest.approx([0, 0.2, 0.4, 0, 0, 0.4], abs=0.005)


def test_three_draws_of_three_matches_are_all_of_them() -> None:
    index = draw_samples(torch.tensor([0.3, 0.0, 1e-3, 2.0]), 1000, 3,
                         torch.Generator().manual_seed(0))
    assert torch.equal(index.sort(-1).values, torch.tensor([0, 2, 3]).expand(1000, 3))


def test_settings_that_make_no_sense_are_refused_at_once() -> None:
    for change in ({'sample': 4}, {'hypotheses': 0}, {'threshold_m': 0.0}, {'refits': -1}):
        with pytest.raises(ValueError, match='RANSAC'):
            replace(Ransac(), **change)  # type: ignore[arg-type]


@settings(max_examples=30)
@given(st.integers(0, 10 ** 6), st.integers(2, 40))
def test_ransac_on_noise_is_finite_and_deterministic(seed: int, n: int) -> None:
    g = torch.Generator().manual_seed(seed)
    ground, tile = 20.0 * torch.randn((2, n, 2), generator=g)
    weight = torch.rand(n, generator=g) * (torch.rand(n, generator=g) < 0.7)
    first, second = (ransac(ground, tile, weight, Ransac(hypotheses=64),
                            torch.Generator().manual_seed(1)) for _ in range(2))
    assert torch.isfinite(first.similarity.t).all() and torch.isfinite(first.soft_inliers)
    assert torch.equal(first.similarity.t, second.similarity.t)


def test_the_gain_is_what_a_scale_moves_when_the_matches_ask_for_another() -> None:
    torch.manual_seed(5)
    ground = 10 * torch.randn(40, 2, dtype=torch.float64)
    weight = torch.rand(40, dtype=torch.float64)
    prior = ScalePrior(1.0, 0.1, 20.0)
    found = fit_similarity(ground, 1.2 * ground, weight, scale_prior=prior)
    gain = scale_gain(ground, weight, prior)
    assert 0.05 < float(gain) < 0.95
    assert float(found.scale) == pytest.approx(1.0 + 0.2 * float(gain), rel=1e-9)
    assert float(scale_gain(ground, weight, None)) == 1.0
    assert float(scale_gain(ground, torch.zeros_like(weight), prior)) == 0.0
