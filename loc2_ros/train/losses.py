# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What training minimises: dense matching, pose and depth.

Towns know where every token lies in the tile, so matching is supervised directly (a soft target
over the four cells around the true place, both ways); the virtual correspondence error of the
paper (model.md 8) trains what the matches add up to.
"""

from __future__ import annotations

from dataclasses import dataclass

from loc2_ros.core.lift import depth_mask, lift_planar
from loc2_ros.core.similarity import fit_similarity
from loc2_ros.model.contract import Contract
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.matcher import log_normalizers, scores, token_matches_from_scores
from loc2_ros.train.pairs import Pair
import torch
from torch import Tensor

VIRTUAL_SIDE_M, VIRTUAL_POINTS = 5.0, 10


@dataclass(frozen=True)
class Weights:
    """How much each part of the loss counts."""

    cells: float = 1.0
    tokens: float = 1.0
    depth: float = 1.0
    vce: float = 0.2
    nothing: float = 0.1


@dataclass(frozen=True)
class Targets:
    """
    Where tokens lie in the tile.

    :param lifted: (B, Ng, 2) ground points by true depth.
    :param seen: (B, Ng) bool: depth known, inside the tile, not on a moving car.
    :param cell: (B, Ng, 4) the cells around the place, ``share`` (B, Ng, 4) their part of it.
    """

    lifted: Tensor
    seen: Tensor
    cell: Tensor
    share: Tensor


def rotate(theta: Tensor, points: Tensor) -> Tensor:
    """Rotate (B, N, 2) points by (B,) angles."""
    c, s = torch.cos(theta)[:, None], torch.sin(theta)[:, None]
    x, y = points.unbind(-1)
    return torch.stack([c * x - s * y, s * x + c * y], -1)


def targets(pair: Pair, contract: Contract) -> Targets:
    """Place all tokens of a batch in their tiles."""
    known = depth_mask(pair.depth_m, contract.max_depth_m) & pair.static
    depth = torch.where(known, pair.depth_m, 1.0)
    lifted = _lift(depth, pair.rays)
    place = rotate(pair.theta, lifted) + pair.t[:, None]
    rows, cols = contract.aerial_grid
    row = place[..., 0] / contract.cell_m + (rows - 1) / 2
    col = place[..., 1] / contract.cell_m + (cols - 1) / 2
    inside = (row > 0) & (row < rows - 1) & (col > 0) & (col < cols - 1)
    r0, c0 = row.floor().clamp(0, rows - 2), col.floor().clamp(0, cols - 2)
    dr, dc = (row - r0).clamp(0, 1), (col - c0).clamp(0, 1)
    first = (r0 * cols + c0).long()
    cell = torch.stack([first, first + 1, first + cols, first + cols + 1], -1)
    share = torch.stack([(1 - dr) * (1 - dc), (1 - dr) * dc, dr * (1 - dc), dr * dc], -1)
    return Targets(lifted, known & inside, cell, share)


def matching_losses(S: Tensor, over_cells: Tensor, over_tokens: Tensor, dustbin: Tensor,
                    target: Targets, nothing: float) -> tuple[Tensor, Tensor]:
    """
    Return the cross-entropies of tokens over cells, and of cells over tokens.

    A token without a place, and a cell that no token sees, belong in the dustbin; the latter
    counts ``nothing`` as much.

    :param over_cells: (B, Ng) and ``over_tokens`` (B, Na) from `log_normalizers`.
    """
    picked = torch.stack([S.gather(1, target.cell[..., k][:, None])[:, 0] for k in range(4)], -1)
    to_cell = over_cells - (target.share * picked).sum(-1)
    to_bin = over_cells - dustbin
    seen = target.seen
    tokens = _mean(to_cell, seen) + nothing * _mean(to_bin, ~seen)
    # Cells: all tokens whose largest share falls into a cell are right answers together
    main = target.cell.gather(-1, target.share.argmax(-1, keepdim=True))[..., 0]
    score = S.gather(1, main[:, None])[:, 0]
    score = torch.where(seen, score, -torch.inf)
    b, cells, _ = S.shape
    best = torch.full((b, cells), -torch.inf, device=S.device, dtype=S.dtype)
    best = best.scatter_reduce(1, main, score.detach(), 'amax')
    filled = torch.isfinite(best)
    base = torch.where(filled, best, 0.0)
    total = torch.zeros_like(base).scatter_add(
        1, main, torch.where(seen, torch.exp(torch.where(seen, score, 0.0)
                                             - base.gather(1, main)), 0.0))
    answer = base + torch.log(torch.where(filled, total, 1.0))
    return tokens, (_mean(over_tokens - answer, filled)
                    + nothing * _mean(over_tokens - dustbin, ~filled))


def virtual_error(theta: Tensor, t: Tensor, theta_true: Tensor, t_true: Tensor) -> Tensor:
    """
    Return the virtual correspondence error (B,): how far a 5 m grid of points is moved apart.

    Pure translation by 1 m gives 1; pure rotation by 10 degrees 0.36915.
    """
    line = torch.linspace(-VIRTUAL_SIDE_M / 2, VIRTUAL_SIDE_M / 2, VIRTUAL_POINTS,
                          device=theta.device)
    grid = torch.stack(torch.meshgrid(line, line, indexing='ij'), -1).reshape(1, -1, 2)
    grid = grid.expand(len(theta), -1, -1)
    gap = rotate(theta, grid) + t[:, None] - rotate(theta_true, grid) - t_true[:, None]
    return (gap.square().sum(-1) + 1e-9).sqrt().mean(-1)


def loss(net: Loc2Net, pair: Pair, weights: Weights) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the total loss of a batch and its parts."""
    ground = net.ground(pair.ground, pair.rays, pair.fx, pair.height_m)
    aerial = net.aerial(pair.aerial)
    # Scores feed exponentials and sub-cell positions: 8 bits of mantissa would not do
    with torch.autocast(pair.ground.device.type, enabled=False):
        return _loss_of(net, pair, weights, aerial.float(), ground.descriptors.float(),
                        None if ground.depth_m is None else ground.depth_m.flatten(1).float())


def _loss_of(net: Loc2Net, pair: Pair, weights: Weights, aerial: Tensor, descriptors: Tensor,
             depth_m: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
    contract = net.contract
    target = targets(pair, contract)
    S = scores(aerial, descriptors)
    over_cells, over_tokens = log_normalizers(S, net.dustbin_score)
    tokens, cells = matching_losses(S, over_cells, over_tokens, net.dustbin_score, target,
                                    weights.nothing)
    parts = {'tokens': weights.tokens * tokens, 'cells': weights.cells * cells}
    lifted, usable = target.lifted, target.seen
    if depth_m is not None:
        known = depth_mask(pair.depth_m, 80.0)
        gap = (depth_m.log() - torch.where(known, pair.depth_m, 1.0).log()).abs()
        parts['depth'] = weights.depth * _mean(gap, known)
        lifted = _lift(depth_m, pair.rays)
        usable = depth_mask(depth_m.detach(), contract.max_depth_m)
    if weights.vce > 0:
        matches = token_matches_from_scores(S, over_cells, over_tokens, contract.aerial_grid,
                                            contract.cell_m)
        fit = fit_similarity(lifted, matches.tile_m, matches.weight * usable)
        error = virtual_error(fit.theta, fit.t, pair.theta, pair.t)
        # Early fits are far off and would drown the rest: count them less than linearly
        parts['vce'] = weights.vce * torch.where(fit.valid, torch.log1p(error), 0.0).mean()
    return torch.stack(list(parts.values())).sum(), {k: v.detach() for k, v in parts.items()}


def _lift(depth_m: Tensor, rays: Tensor) -> Tensor:
    """Lift the tokens (B, Ng) of level cameras, each with its own rays (B, Ng, 3)."""
    level = torch.eye(3, device=depth_m.device)
    return torch.stack([lift_planar(d, r, level) for d, r in zip(depth_m, rays)])


def _mean(values: Tensor, where: Tensor) -> Tensor:
    return torch.where(where, values, 0.0).sum() / where.sum().clamp(min=1)
