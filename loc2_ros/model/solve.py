# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From match probabilities and lifted points to a pose in the tile.

One match per ground token, a robust similarity, then a few rounds in which each token's match is
read again where the pose expects it: peaks in a wrong place give way to the runner-up there.
"""

from __future__ import annotations

from dataclasses import dataclass

from loc2_ros.core.align import Ransac, ransac
from loc2_ros.core.similarity import fit_similarity, ScalePrior, Similarity
from loc2_ros.model.matcher import guided_matches, token_matches
import torch
from torch import Tensor


@dataclass(frozen=True)
class Solver:
    """
    Settings of the solver.

    :param ransac: the robust fit that starts it.
    :param rounds: guided rounds after it.
    :param reach_m: residual at which a match counts half in the guided rounds.
    :param scale_prior: what is known of the depth scale in the guided rounds.
    """

    ransac: Ransac = Ransac()
    rounds: int = 3
    reach_m: float = 1.2
    scale_prior: ScalePrior | None = None


@dataclass(frozen=True)
class Solved:
    """
    A pose and the matches it rests on.

    :param similarity: () the pose; ``valid`` False when there is none.
    :param tile_m: (Ng, 2) matched places, ``weight`` (Ng,) their weights in the fit.
    :param spread_m: (Ng,) standard deviation of each match within its cells.
    :param inlier: (Ng,) bool.
    :param mass: () share of the match probability that agrees with the pose.
    """

    similarity: Similarity
    tile_m: Tensor
    weight: Tensor
    spread_m: Tensor
    inlier: Tensor
    mass: Tensor


@torch.no_grad()
def solve(P: Tensor, lifted: Tensor, usable: Tensor, grid: tuple[int, int], cell_m: float,
          solver: Solver, generator: torch.Generator) -> Solved:
    """
    Solve one frame.

    :param P: (Na, Ng) match probabilities.
    :param lifted: (Ng, 2) ground points.
    :param usable: (Ng,) bool, tokens that could be lifted.
    """
    lifted = torch.where(usable[:, None], lifted, 0.0)
    first = token_matches(P[None], grid, cell_m)
    weight = first.weight[0] * usable
    start = ransac(lifted, first.tile_m[0], weight, solver.ransac, generator)
    fit, tile, spread, inlier = start.similarity, first.tile_m[0], first.spread_m[0], start.inlier
    used = weight * inlier
    for _ in range(solver.rounds):
        expected = fit.apply(lifted)
        again = guided_matches(P[None], grid, cell_m, expected[None])
        gap = (again.tile_m[0] - expected).norm(dim=-1)
        found = again.weight[0] * usable / (1 + (gap / solver.reach_m) ** 2)
        trial = fit_similarity(lifted, again.tile_m[0], found, scale_prior=solver.scale_prior)
        if not bool(trial.valid & fit.valid):
            break
        fit, tile, spread, used = trial, again.tile_m[0], again.spread_m[0], found
    distance = (fit.apply(lifted) - tile).norm(dim=-1)
    inlier = (distance <= solver.ransac.threshold_m) & (used > 1e-4) & fit.valid
    agreed = (guided_matches(P[None], grid, cell_m, fit.apply(lifted)[None]).weight[0] * usable)
    mass = agreed.sum() / (P * usable).sum().clamp(min=1e-9)
    return Solved(fit, tile, used, spread, inlier, mass)
