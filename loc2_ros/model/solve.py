# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From match probabilities and lifted points to a pose in the tile.

One match per ground token proposes poses by RANSAC; the one that the whole probability map
agrees with most wins. In a few rounds each token's match is then read again where the pose
expects it: peaks in a wrong place give way to the runner-up there.
"""

from __future__ import annotations

from dataclasses import dataclass

from loc2_ros.core.align import propose, Ransac
from loc2_ros.core.similarity import fit_similarity, scale_gain, ScalePrior, Similarity
from loc2_ros.model.matcher import guided_matches, token_matches
import torch
from torch import Tensor

# A match has to carry this much probability to be counted and shown
MIN_WEIGHT = 1e-3


@dataclass(frozen=True)
class Solver:
    """
    Settings of the solver.

    :param ransac: the search for proposals, and the threshold of an inlier.
    :param proposals: how many are weighed against the whole probability map, on the
        ``probes`` most confident tokens.
    :param rounds: guided rounds after it.
    :param reach_m: residual at which a match counts half in the guided rounds.
    :param scale_prior: what is known of the depth scale in the guided rounds.
    """

    ransac: Ransac = Ransac()
    proposals: int = 64
    probes: int = 512
    rounds: int = 4
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
    :param total: () match probability of all usable tokens: how much of the image the network
        finds in the crop at all.
    :param mass: () share of it that agrees with the pose.
    :param scale_gain: () how far the matches set the scale, 1 where nothing else did, and
        ``scale_sigma`` the standard deviation of what else did.
    """

    similarity: Similarity
    tile_m: Tensor
    weight: Tensor
    spread_m: Tensor
    inlier: Tensor
    total: Tensor
    mass: Tensor
    scale_gain: Tensor
    scale_sigma: float


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
    used = first.weight[0] * usable
    fit = _start(P, lifted, first.tile_m[0], used, grid, cell_m, solver, generator)
    tile, spread = first.tile_m[0], first.spread_m[0]
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
    inlier = (distance <= solver.ransac.threshold_m) & (used > MIN_WEIGHT) & fit.valid
    agreed = guided_matches(P[None], grid, cell_m, fit.apply(lifted)[None]).weight[0] * usable
    total = (P * usable).sum()
    prior = solver.scale_prior
    return Solved(fit, tile, used, spread, inlier, total, agreed.sum() / total.clamp(min=1e-9),
                  scale_gain(lifted, used, prior), 0.0 if prior is None else prior.sigma)


def _start(P: Tensor, lifted: Tensor, tile: Tensor, weight: Tensor, grid: tuple[int, int],
           cell_m: float, solver: Solver, generator: torch.Generator) -> Similarity:
    """Return the proposal that gathers the most match probability."""
    found = propose(lifted, tile, weight, solver.ransac, generator, solver.proposals)
    probes = weight.topk(min(solver.probes, len(weight))).indices
    expected = found.apply(lifted[probes].expand(len(found.theta), -1, 2))
    # Every proposal looks at the same columns of P; expanding costs no memory
    columns = P[:, probes].expand(len(found.theta), -1, -1)
    mass = guided_matches(columns, grid, cell_m, expected).weight.sum(-1)
    best = torch.where(found.valid, mass, -1.0).argmax()
    return Similarity(found.theta[best], found.scale[best], found.t[best], found.valid[best])
