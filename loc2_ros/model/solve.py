# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From match probabilities and lifted points to a pose in the tile.

Several ways, picked by name (`SOLVERS`). The published ones look at pairs of cells and tokens:
``all_pairs`` at every pair, weighted so that it is the mean of what ``sampled`` finds with its
random draw; ``ransac`` makes hypotheses from pairs and refits the best. ``guided`` looks at one
match per ground token: RANSAC proposes poses, the one that the whole probability map agrees with
most wins, and in a few rounds each token's match is read again where the pose expects it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
import math
from typing import Any

from loc2_ros.core.align import propose, Ransac, ransac
from loc2_ros.core.pairs import draw_pairs, Pairs
from loc2_ros.core.similarity import (fit_from_moments, fit_similarity, race_weights, scale_gain,
                                      ScalePrior, Similarity)
from loc2_ros.model.matcher import cell_centres, guided_matches, token_matches
import torch
from torch import Tensor

# A match has to carry this much probability to be counted and shown
MIN_WEIGHT = 1e-3
# How far a scale may be off that the user holds
FIXED_SCALE_SIGMA = 0.05


@dataclass(frozen=True)
class Solver:
    """
    Settings of the solver.

    :param ransac: the search of 'guided' and 'ransac', and the threshold of an inlier for all.
    :param proposals: how many are weighed against the whole probability map, on the
        ``probes`` most confident tokens.
    :param rounds: guided rounds after it.
    :param reach_m: residual at which a match counts half in the guided rounds.
    :param scale_prior: what is known of the depth scale; 'guided' uses it in its rounds.
    :param kind: one of `SOLVERS`.
    :param fixed_scale: hold the depth scale here.
    :param draws: pairs that 'sampled' draws, and that 'all_pairs' stands for.
    :param sets: of ``matches`` pairs that 'ransac' draws, each with its hypotheses, from the
        ``pool`` most probable ones (0: from all).
    """

    ransac: Ransac = Ransac()
    proposals: int = 64
    probes: int = 512
    rounds: int = 4
    reach_m: float = 1.2
    scale_prior: ScalePrior | None = None
    kind: str = 'guided'
    fixed_scale: float | None = None
    draws: int = 1024
    sets: int = 4
    matches: int = 2048
    pool: int = 65536

    def __post_init__(self) -> None:
        if self.kind not in SOLVERS:
            raise ValueError(f'there is no solver {self.kind!r}; known: {", ".join(SOLVERS)}')


# The search of 'ransac': hypotheses per set, unweighted, at any scale
PAIR_SEARCH = Ransac(hypotheses=128, sample=3, threshold_m=2.5, score_ratio=2.0,
                     scale_range=(0.0, math.inf), refits=4, weighted=False)


def published_ransac() -> Solver:
    """Return the published protocol (model.md 7.3); the default of 'ransac' is smaller."""
    return Solver(replace(PAIR_SEARCH, hypotheses=100), kind='ransac', sets=20, matches=8192,
                  pool=0)


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

    def on_host(self, *others: Tensor) -> tuple[Solved, list[Tensor]]:
        """Return this and other tensors on the host, after waiting for the device once."""
        fit = self.similarity
        theta, scale, t, valid, tile, weight, spread, inlier, total, mass, gain, *rest = to_host(
            fit.theta, fit.scale, fit.t, fit.valid, self.tile_m, self.weight, self.spread_m,
            self.inlier, self.total, self.mass, self.scale_gain, *others)
        return Solved(Similarity(theta, scale, t, valid), tile, weight, spread, inlier, total,
                      mass, gain, self.scale_sigma), rest


@dataclass(frozen=True)
class _Found:
    """A pose, the matches (Ng,) that show it, and the weight (Ng,) of each token in its fit."""

    similarity: Similarity
    tile_m: Tensor
    spread_m: Tensor
    weight: Tensor
    in_fit: Tensor


@dataclass(frozen=True)
class _Frame:
    """What is to be solved; see `solve`."""

    P: Tensor
    lifted: Tensor
    usable: Tensor
    grid: tuple[int, int]
    cell_m: float

    def masked(self) -> Tensor:
        """Return P without the tokens that could not be lifted."""
        return self.P * self.usable

    def pairs(self, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
        """Return ground and tile points (S, K, 2) and weights (S, K) of pairs."""
        cells = cell_centres(self.grid, self.cell_m, self.lifted.device).to(self.lifted)
        return self.lifted[pairs.token], cells[pairs.cell], pairs.weight

    def shown(self, fit: Similarity, in_fit: Tensor) -> _Found:
        """Describe a pose that was found from pairs by the best match of each token."""
        best = token_matches(self.P[None], self.grid, self.cell_m)
        return _Found(fit, best.tile_m[0], best.spread_m[0], best.weight[0] * self.usable, in_fit)


def to_host(*tensors: Tensor) -> list[Tensor]:
    """Return tensors of one device on the host, after waiting for it once."""
    if all(x.device.type == 'cpu' for x in tensors):
        return list(tensors)
    # Doubles hold everything that these are made of
    flat = torch.cat([x.detach().double().reshape(-1) for x in tensors]).cpu()
    parts = flat.split([x.numel() for x in tensors])
    return [part.to(x.dtype).reshape(x.shape) for part, x in zip(parts, tensors)]


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
    found = SOLVERS[solver.kind](_Frame(P, lifted, usable, grid, cell_m), solver, generator)
    fit, used = found.similarity, found.weight
    distance = (fit.apply(lifted) - found.tile_m).norm(dim=-1)
    inlier = (distance <= solver.ransac.threshold_m) & (used > MIN_WEIGHT) & fit.valid
    agreed = guided_matches(P[None], grid, cell_m, fit.apply(lifted)[None]).weight[0] * usable
    total = (P * usable).sum()
    gain, sigma = _known_scale(lifted, found.in_fit, solver)
    return Solved(fit, found.tile_m, used, found.spread_m, inlier, total,
                  agreed.sum() / total.clamp(min=1e-9), gain, sigma)


def _guided(frame: _Frame, solver: Solver, generator: torch.Generator) -> _Found:
    P, lifted, usable, grid, cell_m = (frame.P, frame.lifted, frame.usable, frame.grid,
                                       frame.cell_m)
    first = token_matches(P[None], grid, cell_m)
    used = first.weight[0] * usable
    fit = _start(P, lifted, first.tile_m[0], used, grid, cell_m, solver, generator)
    tile, spread, going = first.tile_m[0], first.spread_m[0], fit.valid
    for _ in range(solver.rounds):
        expected = fit.apply(lifted)
        again = guided_matches(P[None], grid, cell_m, expected[None])
        gap = (again.tile_m[0] - expected).norm(dim=-1)
        weight = again.weight[0] * usable / (1 + (gap / solver.reach_m) ** 2)
        trial = fit_similarity(lifted, again.tile_m[0], weight, **_scale(solver))
        going = going & trial.valid     # once it fails, what was before stands
        fit = trial.select(going, fit)
        tile = torch.where(going, again.tile_m[0], tile)
        spread = torch.where(going, again.spread_m[0], spread)
        used = torch.where(going, weight, used)
    return _Found(fit, tile, spread, used, used)


def _start(P: Tensor, lifted: Tensor, tile: Tensor, weight: Tensor, grid: tuple[int, int],
           cell_m: float, solver: Solver, generator: torch.Generator) -> Similarity:
    """Return the proposal that gathers the most match probability."""
    found = propose(lifted, tile, weight, solver.ransac, generator, solver.proposals)
    probes = weight.topk(min(solver.probes, len(weight))).indices
    expected = found.apply(lifted[probes].expand(len(found.theta), -1, 2))
    # Every proposal looks at the same columns of P; expanding costs no memory
    columns = P[:, probes].expand(len(found.theta), -1, -1)
    mass = guided_matches(columns, grid, cell_m, expected).weight.sum(-1)
    # Not x[best]: indexing by a tensor of no axes reads it on the host
    best = torch.where(found.valid, mass, -1.0).argmax(keepdim=True)
    theta, scale, t, valid = (x.index_select(0, best)[0]
                              for x in (found.theta, found.scale, found.t, found.valid))
    return Similarity(theta, scale, t, valid)


def _all_pairs(frame: _Frame, solver: Solver, generator: torch.Generator) -> _Found:
    """Fit the moments of all pairs (model.md 7.2); nothing is drawn."""
    weight = race_weights(frame.masked().double(), solver.draws)
    cells = cell_centres(frame.grid, frame.cell_m, weight.device).to(weight)
    fit = fit_from_moments(frame.lifted.double(), cells, weight, **_scale(solver))
    theta, scale, t = (x.to(frame.lifted) for x in (fit.theta, fit.scale, fit.t))
    return frame.shown(Similarity(theta, scale, t, fit.valid), weight.sum(0).to(frame.lifted))


def _sampled(frame: _Frame, solver: Solver, generator: torch.Generator) -> _Found:
    """Fit pairs that are drawn once (model.md 7.1)."""
    pairs = draw_pairs(frame.masked(), solver.draws, generator)
    ground, tile, weight = (x[0] for x in frame.pairs(pairs))
    fit = fit_similarity(ground, tile, weight, **_scale(solver))
    return frame.shown(fit, _per_token(pairs.token[0], weight, frame))


def _ransac(frame: _Frame, solver: Solver, generator: torch.Generator) -> _Found:
    """Fit robustly to several draws of pairs (model.md 7.3)."""
    pairs = draw_pairs(frame.masked(), solver.matches, generator, solver.sets, solver.pool)
    ground, tile, weight = frame.pairs(pairs)
    found = ransac(ground, tile, weight, replace(solver.ransac, **_scale(solver)), generator)
    token = pairs.token.index_select(0, found.chosen[None])[0]
    return frame.shown(found.similarity,
                       _per_token(token, found.inlier.to(frame.lifted), frame))


# Each takes a frame, the settings and a seeded generator
SOLVERS: Mapping[str, Callable[[_Frame, Solver, torch.Generator], _Found]] = {
    'guided': _guided, 'all_pairs': _all_pairs, 'sampled': _sampled, 'ransac': _ransac}


def _per_token(token: Tensor, weight: Tensor, frame: _Frame) -> Tensor:
    return torch.zeros_like(frame.lifted[:, 0]).scatter_add(0, token, weight.to(frame.lifted))


def _scale(solver: Solver) -> dict[str, Any]:
    """Return what a fit is told of the scale."""
    if solver.fixed_scale is not None:
        return {'fixed_scale': solver.fixed_scale, 'scale_prior': None}
    return {'fixed_scale': None, 'scale_prior': solver.scale_prior}


def _known_scale(lifted: Tensor, in_fit: Tensor, solver: Solver) -> tuple[Tensor, float]:
    """Return how far the matches set the scale (), and the deviation of what else did."""
    if solver.fixed_scale is not None:
        return torch.zeros_like(lifted[0, 0]), FIXED_SCALE_SIGMA
    prior = solver.scale_prior
    return scale_gain(lifted, in_fit, prior), 0.0 if prior is None else prior.sigma
