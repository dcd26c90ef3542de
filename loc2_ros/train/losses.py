# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What training minimises: the paper's two losses (model.md 8), and dense ones where depth is known.

The virtual correspondence error trains what the matches add up to, InfoNCE the matches
themselves; both need the true pose alone. Towns also know where every token lies in the tile, so
there matching is supervised directly (a soft target over the four cells around the true place,
both ways).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from loc2_ros.core.lift import depth_mask, lift
from loc2_ros.core.similarity import fit_similarity
from loc2_ros.data.pair import Pair
from loc2_ros.model.contract import Contract
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.matcher import (cell_centres, log_normalizers, scores,
                                    token_matches_from_scores)
from loc2_ros.train.drawn import drawn_matches, info_nce
from loc2_ros.train.processes import fair_count
import torch
from torch import nn, Tensor


@dataclass(frozen=True)
class Weights:
    """
    How much each part of the loss counts; 0 leaves it out.

    :param cells: dense matching of cells, ``tokens`` of tokens, ``depth`` the depth head: towns.
        At 0 the depth head is left as it is.
    :param nothing: the dustbin's share in the dense matching.
    :param vce: virtual correspondence error.
    :param infonce: the paper's beta.
    :param matches: how many are drawn from P for the two losses of the paper, which used 1024; 0
        fits the pose to one match per token, and counts large errors less.
    :param grid_m: side of the virtual points' grid, ``grid_points`` their number along it.
    """

    cells: float = 1.0
    tokens: float = 1.0
    depth: float = 1.0
    vce: float = 0.2
    nothing: float = 0.1
    infonce: float = 0.0
    matches: int = 0
    grid_m: float = 5.0
    grid_points: int = 10

    def __post_init__(self) -> None:
        if min(self.cells, self.tokens, self.depth, self.vce, self.nothing, self.infonce) < 0:
            raise ValueError('no part of the loss can count less than nothing')
        if self.matches < 0 or self.grid_m <= 0 or self.grid_points < 2:
            raise ValueError('matches is at least 0, grid_m above 0 and grid_points at least 2')
        if self.infonce > 0 and self.matches == 0:
            raise ValueError('infonce needs drawn matches; set matches, as the paper to 1024')


# From images to features, as a backbone does
Look = Callable[[Tensor], Tensor]
PUBLISHED = Weights(cells=0.0, tokens=0.0, depth=0.0, vce=1.0, infonce=1.0, matches=1024)


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
    lifted = lift(depth, pair.rays)
    place = rotate(pair.theta, lifted) + pair.t[:, None]
    rows, cols = contract.aerial_grid
    cell_m = cell_size(pair, contract)[:, None]
    row = place[..., 0] / cell_m + (rows - 1) / 2
    col = place[..., 1] / cell_m + (cols - 1) / 2
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


def virtual_error(theta: Tensor, t: Tensor, theta_true: Tensor, t_true: Tensor,
                  side_m: float = 5.0, points: int = 10) -> Tensor:
    """
    Return the virtual correspondence error (B,): how far a grid of points is moved apart.

    :param side_m: side of the grid, ``points`` their number along it.

    Pure translation by 1 m gives 1; pure rotation by 10 degrees 0.36915.
    """
    line = torch.linspace(-side_m / 2, side_m / 2, points, device=theta.device)
    grid = torch.stack(torch.meshgrid(line, line, indexing='ij'), -1).reshape(1, -1, 2)
    grid = grid.expand(len(theta), -1, -1)
    gap = rotate(theta, grid) + t[:, None] - rotate(theta_true, grid) - t_true[:, None]
    return (gap.square().sum(-1) + 1e-9).sqrt().mean(-1)


def cell_size(pair: Pair, contract: Contract) -> Tensor:
    """Return the pitch of the aerial cells (B,): tiles may differ in size, as VIGOR's cities."""
    return contract.cell_m * (pair.tile_m / contract.tile_m)


class Objective(nn.Module):
    """The network with its loss, as one module, so that several processes share gradients."""

    def __init__(self, net: Loc2Net, weights: Weights, ground: Look | None = None,
                 aerial: Look | None = None) -> None:
        """Take a network; ``ground`` and ``aerial`` stand in for its frozen backbones."""
        super().__init__()
        self.net, self.weights = net, weights
        self._looks = (ground, aerial)

    def forward(self, pair: Pair) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the total loss of a batch and its parts."""
        net = self.net
        ground_look, aerial_look = self._looks
        ground = net.describe_ground((ground_look or net.ground_backbone)(pair.ground), pair.rays,
                                     pair.fx, pair.height_m)
        aerial = net.describe_aerial((aerial_look or net.aerial_backbone)(pair.aerial))
        # Scores feed exponentials and sub-cell positions: 8 bits of mantissa would not do
        with torch.autocast(pair.ground.device.type, enabled=False):
            return _loss_of(net, pair, self.weights, aerial.float(), ground.descriptors.float(),
                            None if ground.depth_m is None else
                            ground.depth_m.flatten(1).float())


def _loss_of(net: Loc2Net, pair: Pair, weights: Weights, aerial: Tensor, descriptors: Tensor,
             depth_m: Tensor | None) -> tuple[Tensor, dict[str, Tensor]]:
    contract = net.contract
    if depth_m is not None and weights.depth == 0:
        # Poses alone tell a free scale nothing of metres: as published, depth is taken as given
        depth_m = depth_m.detach()
    usable = depth_mask(pair.depth_m if depth_m is None else depth_m.detach(),
                        contract.max_depth_m)
    S = scores(aerial, descriptors, contract.temperature)
    if contract.masks_tokens:
        S = S.masked_fill(~usable[:, None], -torch.inf)
    over_cells, over_tokens = log_normalizers(S, net.dustbin_score)
    parts: dict[str, Tensor] = {}
    if weights.tokens > 0 or weights.cells > 0:
        target = targets(pair, contract)
        tokens, cells = matching_losses(S, over_cells, over_tokens, net.dustbin_score, target,
                                        weights.nothing)
        parts = {'tokens': weights.tokens * tokens, 'cells': weights.cells * cells}
    if depth_m is not None and weights.depth > 0:
        known = depth_mask(pair.depth_m, 80.0)
        gap = (depth_m.log() - torch.where(known, pair.depth_m, 1.0).log()).abs()
        parts['depth'] = weights.depth * _mean(gap, known)
    depth_m = pair.depth_m if depth_m is None else depth_m
    lifted = lift(_clipped(depth_m, contract), pair.rays)
    if weights.matches > 0:
        drawn = drawn_matches(S.detach(), over_cells.detach(), over_tokens.detach(), usable,
                              weights.matches, pair.number)
        if weights.vce > 0:
            parts['vce'] = weights.vce * _drawn_vce(S, over_cells, over_tokens, lifted, drawn,
                                                    pair, contract, weights).mean()
        if weights.infonce > 0:
            places = _cells(contract, S.device) * cell_size(pair, contract)[:, None, None]
            limit = pair.tile_m / contract.aerial_grid[0]
            terms = [info_nce(S[b], lifted[b].detach(), usable[b], places[b], drawn[b],
                              pair.theta[b], pair.t[b], limit[b])
                     for b in range(len(S))]
            parts['infonce'] = weights.infonce * torch.stack(terms).mean()
    elif weights.vce > 0:
        matches = token_matches_from_scores(S, over_cells, over_tokens, contract.aerial_grid, 1.0)
        tile = matches.tile_m * cell_size(pair, contract)[:, None, None]
        fit = fit_similarity(lifted, tile, matches.weight * usable)
        error = virtual_error(fit.theta, fit.t, pair.theta, pair.t, weights.grid_m,
                              weights.grid_points)
        # Early fits are far off and would drown the rest: count them less than linearly
        parts['vce'] = weights.vce * torch.where(fit.valid, torch.log1p(error), 0.0).mean()
    return torch.stack(list(parts.values())).sum(), {k: v.detach() for k, v in parts.items()}


def _drawn_vce(S: Tensor, over_cells: Tensor, over_tokens: Tensor, lifted: Tensor, drawn: Tensor,
               pair: Pair, contract: Contract, weights: Weights) -> Tensor:
    """Return the virtual correspondence error (B,) of the pose that drawn matches give."""
    b, _, tokens = S.shape
    found = drawn >= 0
    i, j = drawn.clamp(min=0) // tokens, drawn.clamp(min=0) % tokens
    # Gradients flow through the probabilities of the drawn matches, not through the draw
    score = S.flatten(1).gather(1, drawn.clamp(min=0))
    log_p = 2 * score - over_cells.gather(1, j) - over_tokens.gather(1, i)
    p = torch.where(found, torch.where(found, log_p, 0.0).exp(), 0.0)
    places = _cells(contract, S.device)[i] * cell_size(pair, contract)[:, None, None]
    fit = fit_similarity(lifted.gather(1, j[..., None].expand(-1, -1, 2)), places, p)
    error = virtual_error(fit.theta, fit.t, pair.theta, pair.t, weights.grid_m,
                          weights.grid_points)
    return torch.where(fit.valid, error, 0.0)


def _cells(contract: Contract, device: torch.device) -> Tensor:
    """Return where the aerial cells are (Na, 2), in cells from the middle of the tile."""
    return cell_centres(contract.aerial_grid, 1.0, device)


def _clipped(depth_m: Tensor, contract: Contract) -> Tensor:
    """Put tokens of unknown depth at the limit: they take no part, but points stay finite."""
    known = torch.isfinite(depth_m) & (depth_m > 0)
    if contract.own_depth:
        return depth_m
    limit = contract.max_depth_m
    return torch.where(known, torch.where(known, depth_m, limit).clamp(max=limit), limit)


def _mean(values: Tensor, where: Tensor) -> Tensor:
    """Average over the tokens or cells that count, over all processes."""
    return torch.where(where, values, 0.0).sum() / fair_count(where.sum()).clamp(min=1)
