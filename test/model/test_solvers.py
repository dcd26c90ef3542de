# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The published solvers against one-at-a-time references in double precision (model.md 6, 7)."""

from __future__ import annotations

from dataclasses import replace
import math
from typing import NamedTuple

from loc2_ros.core.align import draw_samples, Ransac, ransac, ScalePrior
from loc2_ros.core.pairs import draw_pairs
from loc2_ros.core.similarity import race_weights
from loc2_ros.evaluate.bench_solver import CELL_M, GRID, scene as soft_matches, TRUTH
from loc2_ros.model import contract
from loc2_ros.model.matcher import cell_centres
from loc2_ros.model.solve import (FIXED_SCALE_SIGMA, PAIR_SEARCH, published_ransac, solve, Solved,
                                  Solver, SOLVERS)
import pytest
import torch
from torch import Tensor

TOKENS = 400


class Scene(NamedTuple):
    """Match probabilities (1681, 400), ground points (400, 2), which tokens can be lifted."""

    P: Tensor
    lifted: Tensor
    usable: Tensor


def scene(seed: int = 0, wrong: float = 0.4) -> Scene:
    """Make soft matches around the true places, and around random ones for the wrong share."""
    P, lifted = soft_matches(torch.device('cpu'), wrong, seed, TOKENS)
    usable = torch.rand(TOKENS, generator=torch.Generator().manual_seed(seed + 100)) < 0.9
    return Scene(P, torch.where(usable[:, None], lifted, torch.nan), usable)


def solved(scene: Scene, solver: Solver, seed: int = 0) -> Solved:
    return solve(*scene, GRID, CELL_M, solver, torch.Generator().manual_seed(seed))


def pose(found: Solved) -> tuple[float, float, list[float]]:
    fit = found.similarity
    return float(fit.theta), float(fit.scale), fit.t.tolist()


def by_svd(a: Tensor, b: Tensor, w: Tensor) -> tuple[float, float, list[float]]:
    """Fit with the singular value decomposition, in double precision: Umeyama's solution."""
    a, b, w = a.double(), b.double(), w.double() / w.double().sum()
    am, bm = w @ a, w @ b
    u, d, vt = torch.linalg.svd((w[:, None] * (b - bm)).T @ (a - am))
    sign = torch.diag(torch.tensor([1.0, float(torch.sign(torch.det(u @ vt)))]).double())
    R = u @ sign @ vt
    scale = float((d * sign.diag()).sum() / (w @ (a - am).square().sum(1)))
    return math.atan2(R[1, 0], R[0, 0]), scale, (bm - scale * R @ am).tolist()


def test_there_are_the_solvers_that_contracts_may_name() -> None:
    assert tuple(SOLVERS) == contract.SOLVERS
    with pytest.raises(ValueError, match='all_pairs'):
        Solver(kind='best')


@pytest.mark.parametrize('kind', ['guided', 'all_pairs', 'sampled', 'ransac'])
def test_every_solver_finds_the_pose_of_good_matches(kind: str) -> None:
    search = PAIR_SEARCH if kind == 'ransac' else Ransac()
    found = solved(scene(wrong=0.0), Solver(search, kind=kind))
    theta, scale, t = pose(found)
    assert bool(found.similarity.valid)
    assert theta == pytest.approx(TRUTH[0], abs=0.02)
    assert scale == pytest.approx(TRUTH[1], abs=0.05)
    assert t == pytest.approx(TRUTH[2], abs=1.0)
    assert found.tile_m.shape == (TOKENS, 2) and int(found.inlier.sum()) > 200
    assert not found.inlier[~scene().usable].any()


def test_all_pairs_is_the_fit_to_every_pair_listed() -> None:
    P, lifted, usable = scene()
    small = Scene(P[:, :60], lifted[:60], usable[:60])
    found = solved(small, Solver(kind='all_pairs', draws=200))
    # L by bisection, pairs one after the other
    p = (small.P * small.usable).double().flatten()
    low, high = 0.0, 1e9
    for _ in range(200):
        middle = (low + high) / 2
        few = float((1 - torch.exp(-middle * p)).sum()) < 200
        low, high = (middle, high) if few else (low, middle)
    weight = p * (1 - torch.exp(-low * p))
    ground = torch.nan_to_num(small.lifted).repeat(1681, 1)
    theta, scale, t = by_svd(ground, cell_centres(GRID, CELL_M).repeat_interleave(60, 0), weight)
    assert pose(found) == (pytest.approx(theta, abs=1e-5), pytest.approx(scale, rel=1e-5),
                           pytest.approx(t, abs=1e-4))


def test_all_pairs_gives_the_same_pose_alone_and_in_any_batch() -> None:
    scenes = [scene(seed) for seed in range(3)]
    alone = [solved(s, Solver(kind='all_pairs')) for s in scenes]
    stacked = torch.stack([s.P for s in scenes])
    for seed in (0, 7):
        for k, s in enumerate(scenes):
            again = solved(Scene(stacked[k], s.lifted, s.usable), Solver(kind='all_pairs'), seed)
            assert torch.equal(again.similarity.t, alone[k].similarity.t)
            assert torch.equal(again.similarity.theta, alone[k].similarity.theta)


def test_all_pairs_is_the_mean_of_what_sampling_finds() -> None:
    one = scene()
    draws = torch.stack([solved(one, Solver(kind='sampled'), seed).similarity.t
                         for seed in range(60)])
    mean = solved(one, Solver(kind='all_pairs')).similarity.t
    error = draws.std(0) / math.sqrt(60)
    assert ((draws.mean(0) - mean).abs() < 4 * error + 0.02).all()
    # Plain probabilities as weights are another estimate, and a worse one
    p = one.P * one.usable
    assert not torch.allclose(race_weights(p), p, rtol=0.5)


def test_sampled_is_the_fit_to_the_pairs_that_were_drawn() -> None:
    one = scene()
    pairs = draw_pairs(one.P * one.usable, 1024, torch.Generator().manual_seed(3))
    assert len({(int(i), int(j)) for i, j in zip(pairs.cell[0], pairs.token[0])}) == 1024
    assert torch.equal(pairs.weight, (one.P * one.usable)[pairs.cell, pairs.token])
    theta, scale, t = by_svd(one.lifted.nan_to_num()[pairs.token[0]],
                             cell_centres(GRID, CELL_M)[pairs.cell[0]], pairs.weight[0])
    found = pose(solved(one, Solver(kind='sampled'), 3))
    assert found == (pytest.approx(theta, abs=1e-4), pytest.approx(scale, rel=1e-4),
                     pytest.approx(t, rel=1e-4, abs=1e-3))


def reference_ransac(ground: Tensor, tile: Tensor, samples: Tensor
                     ) -> tuple[int, tuple[float, float, list[float]]]:
    """Run the published protocol one hypothesis at a time on sets (S, N, 2)."""
    def residuals(fit: tuple[float, float, list[float]], k: int) -> Tensor:
        theta, scale, t = fit
        c, s = scale * math.cos(theta), scale * math.sin(theta)
        x, y = ground[k].double().unbind(-1)
        placed = torch.stack((c * x - s * y + t[0], s * x + c * y + t[1]), -1)
        return ((placed - tile[k].double()).square().sum(-1) + 1e-6).sqrt()
    best: tuple[float, int, tuple[float, float, list[float]]] = (-1.0, 0, (0.0, 1.0, [0.0, 0.0]))
    for k in range(len(ground)):
        for index in samples[k]:
            fit = by_svd(ground[k][index], tile[k][index], torch.ones(3))
            score = float(torch.sigmoid((5 - residuals(fit, k)) * 5 / 5).sum())
            if score > best[0]:
                best = (score, k, fit)
    _, k, fit = best
    count = 3
    for _ in range(4):
        inlier = residuals(fit, k) <= 2.5
        if int(inlier.sum()) <= count:
            break
        count = int(inlier.sum())
        fit = by_svd(ground[k][inlier], tile[k][inlier], torch.ones(count))
    return int((residuals(fit, k) <= 2.5).sum()), fit


@pytest.mark.parametrize('sets, matches, hypotheses, seeds', [
    (4, 1024, 25, 4), pytest.param(20, 8192, 100, 1, marks=pytest.mark.slow)])
def test_the_batched_search_equals_one_hypothesis_at_a_time(sets: int, matches: int,
                                                            hypotheses: int, seeds: int) -> None:
    search = replace(published_ransac().ransac, hypotheses=hypotheses)
    for seed in range(seeds):
        one = scene(seed, wrong=0.6)
        pairs = draw_pairs(one.P * one.usable, matches, torch.Generator().manual_seed(seed), sets)
        ground = one.lifted.nan_to_num()[pairs.token]
        tile = cell_centres(GRID, CELL_M)[pairs.cell]
        found = ransac(ground, tile, pairs.weight, search, torch.Generator().manual_seed(seed))
        samples = draw_samples(pairs.weight, hypotheses, 3, torch.Generator().manual_seed(seed))
        inliers, (theta, scale, t) = reference_ransac(ground, tile, samples)
        assert abs(int(found.inlier.sum()) - inliers) <= 2
        assert float(found.similarity.theta) == pytest.approx(theta, abs=5e-4)
        assert float(found.similarity.scale) == pytest.approx(scale, abs=1e-3)
        assert found.similarity.t.tolist() == pytest.approx(t, abs=0.01)
        gap = (found.similarity.apply(ground[found.chosen]) - tile[found.chosen]).norm(dim=-1)
        assert int((gap <= 2.5).sum()) == pytest.approx(int(found.inlier.sum()), abs=2)


def test_the_best_set_wins_whichever_it_is() -> None:
    """Only one of the sets holds matches that agree with anything."""
    g = torch.Generator().manual_seed(0)
    ground, tile = 30 * torch.randn((2, 5, 500, 2), generator=g)
    tile[3] = ground[3] + torch.tensor([7.0, -2.0])
    found = ransac(ground, tile, torch.ones(5, 500), replace(PAIR_SEARCH, hypotheses=10), g)
    assert int(found.chosen) == 3 and int(found.inlier.sum()) == 500
    assert found.similarity.t.tolist() == pytest.approx([7.0, -2.0], abs=1e-3)


def test_robust_pairs_find_the_pose_where_moments_are_led_astray() -> None:
    one = scene(wrong=0.6)
    robust = solved(one, Solver(PAIR_SEARCH, kind='ransac')).similarity.t
    plain = solved(one, Solver(kind='all_pairs')).similarity.t
    truth = torch.tensor(TRUTH[2])
    assert (robust - truth).norm() < 1.0 < (plain - truth).norm()


def test_the_default_search_is_as_good_as_the_published_one() -> None:
    error: dict[str, list[float]] = {'default': [], 'published': []}
    for seed in range(6):
        one = scene(seed, wrong=0.5)
        for name, solver in (('default', Solver(PAIR_SEARCH, kind='ransac')),
                             ('published', replace(published_ransac(), pool=65536))):
            t = solved(one, solver, seed).similarity.t
            error[name].append(float((t - torch.tensor(TRUTH[2])).norm()))
    assert max(error['default']) < max(error['published']) + 0.5


@pytest.mark.parametrize('kind', ['guided', 'all_pairs', 'sampled', 'ransac'])
def test_the_scale_can_be_free_fixed_or_known_before(kind: str) -> None:
    solver = Solver(PAIR_SEARCH if kind == 'ransac' else Ransac(), kind=kind)
    one = scene(wrong=0.0)
    free = solved(one, solver)
    fixed = solved(one, replace(solver, fixed_scale=1.0))
    prior = solved(one, replace(solver, scale_prior=ScalePrior(1.0, 0.05, 15.0)))
    firm = solved(one, replace(solver, scale_prior=ScalePrior(1.0, 1e-5)))
    assert float(fixed.similarity.scale) == 1.0
    assert float(firm.similarity.scale) == pytest.approx(1.0, abs=1e-4)
    assert 1.0 < float(prior.similarity.scale) < float(free.similarity.scale)
    assert (float(free.scale_gain), free.scale_sigma) == (1.0, 0.0)
    assert (float(fixed.scale_gain), fixed.scale_sigma) == (0.0, FIXED_SCALE_SIGMA)
    assert 0.0 < float(prior.scale_gain) < 1.0 and prior.scale_sigma == 0.05


@pytest.mark.parametrize('kind', ['guided', 'all_pairs', 'sampled', 'ransac'])
def test_nothing_to_solve_is_no_pose_and_no_error(kind: str) -> None:
    nothing = Scene(torch.zeros(1681, 5), torch.full((5, 2), torch.nan), torch.zeros(5).bool())
    found = solved(nothing, Solver(PAIR_SEARCH if kind == 'ransac' else Ransac(), kind=kind))
    assert not bool(found.similarity.valid) and not found.inlier.any()
    assert torch.isfinite(found.similarity.t).all() and float(found.total) == 0.0


@pytest.mark.parametrize('kind', ['sampled', 'ransac'])
def test_equal_seeds_draw_equal_pairs(kind: str) -> None:
    one, solver = scene(), Solver(PAIR_SEARCH, kind=kind)
    first, second, other = (solved(one, solver, seed).similarity.t for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_pairs_are_drawn_in_proportion_and_without_replacement() -> None:
    P = torch.tensor([[0.5, 0.2], [0.0, 0.3]])
    pairs = draw_pairs(P, 2, torch.Generator().manual_seed(0), sets=100_000)
    entry = 2 * pairs.cell + pairs.token
    assert bool((entry[:, 0] != entry[:, 1]).all()) and not bool((entry == 2).any())
    # The pair {a, b}: p_a p_b / (1 - p_a) + p_b p_a / (1 - p_b)
    for a, b in ((0, 1), (0, 3), (1, 3)):
        p, q = P.flatten()[a], P.flatten()[b]
        both = ((entry == a).any(1) & (entry == b).any(1)).float().mean()
        assert float(both) == pytest.approx(float(p * q / (1 - p) + p * q / (1 - q)), abs=0.006)


def test_where_little_is_positive_the_rest_of_a_set_weighs_nothing() -> None:
    P = torch.zeros(20, 30)
    P[3, 4], P[5, 6] = 0.2, 0.1
    for pool in (0, 50):
        pairs = draw_pairs(P, 40, torch.Generator().manual_seed(0), sets=3, pool=pool)
        assert (pairs.weight > 0).sum(1).tolist() == [2, 2, 2]


def test_a_pool_keeps_the_most_probable_entries() -> None:
    one = scene()
    pairs = draw_pairs(one.P, 1024, torch.Generator().manual_seed(0), sets=4, pool=4096)
    assert float(pairs.weight.min()) >= float(one.P.flatten().topk(4096).values[-1])
    assert not torch.equal(pairs.cell[0], pairs.cell[1])
