# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Matching: scores of all (aerial cell, ground token) pairs, dual softmax, matches.

Index i runs over aerial cells, row-major; j over ground tokens, row-major.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


def scores(aerial: Tensor, ground: Tensor, temperature: float) -> Tensor:
    """
    Return the scores S of all pairs, (B, Na, Ng), from unit descriptors (B, C, ...).

    S = <a_i, g_j> / tau, so within [-10, 10] at the published tau of 0.1.
    """
    return torch.einsum('bci,bcj->bij', aerial.flatten(2), ground.flatten(2)) / temperature


def log_normalizers(S: Tensor, dustbin: Tensor) -> tuple[Tensor, Tensor]:
    """
    Return the log-sum-exp over aerial cells (B, Ng) and over ground tokens (B, Na).

    Both include the dustbin, one learned score that stands for 'no counterpart'.
    """
    bin_score = dustbin.to(S)
    return (torch.logaddexp(S.logsumexp(1), bin_score),
            torch.logaddexp(S.logsumexp(2), bin_score))


def dual_softmax(S: Tensor, dustbin: Tensor, usable: Tensor | None = None) -> Tensor:
    """
    Return match probabilities P (B, Na, Ng): softmax over cells times softmax over tokens.

    :param S: (B, Na, Ng) scores.
    :param dustbin: () the learned score of the dustbin row and column.
    :param usable: (B, Ng) bool; tokens where it is false get exactly 0 and compete with none.

    log P = 2 S - LSE_i - LSE_j, each LSE with the dustbin (model.md 4.6).
    """
    if usable is not None:
        S = S.masked_fill(~usable[:, None], -torch.inf)
    over_cells, over_tokens = log_normalizers(S, dustbin)
    return torch.exp(2 * S - over_cells[:, None] - over_tokens[:, :, None])


def cell_centres(grid: tuple[int, int], cell_m: float,
                 device: torch.device | None = None) -> Tensor:
    """Return where the aerial cells are in the tile (Na, 2): x down the rows, y along columns."""
    x, y = ((torch.arange(n, device=device) - (n - 1) / 2) * cell_m for n in grid)
    return torch.stack(torch.meshgrid(x, y, indexing='ij'), -1).reshape(-1, 2)


@dataclass(frozen=True)
class TokenMatches:
    """
    For every ground token its best place in the tile.

    :param tile_m: (B, Ng, 2) mean of P over the 3 x 3 cells around the peak, metres.
    :param weight: (B, Ng) probability in those cells.
    :param spread_m: (B, Ng) standard deviation of P within them, per axis.
    """

    tile_m: Tensor
    weight: Tensor
    spread_m: Tensor


def token_matches(P: Tensor, grid: tuple[int, int], cell_m: float) -> TokenMatches:
    """
    Read one match per ground token from P, finer than a cell.

    :param P: (B, Na, Ng) match probabilities.
    :param grid: rows and columns of the aerial cells.
    :param cell_m: pitch of the cells; coordinates sit at cell centres, origin in the middle.
    """
    window = _Window.around(P.argmax(1), grid, cell_m)
    return window.mean(P.gather(1, window.index))


def token_matches_from_scores(S: Tensor, over_cells: Tensor, over_tokens: Tensor,
                              grid: tuple[int, int], cell_m: float) -> TokenMatches:
    """
    Do what `token_matches` does without ever holding P, which saves training half its memory.

    :param over_cells: (B, Ng) and ``over_tokens`` (B, Na) from `log_normalizers`.
    """
    with torch.no_grad():
        peak = (2 * S - over_tokens[:, :, None]).argmax(1)
    window = _Window.around(peak, grid, cell_m)
    log_p = (2 * S.gather(1, window.index) - over_cells[:, None]
             - over_tokens[..., None].expand(-1, -1, S.shape[2]).gather(1, window.index))
    return window.mean(log_p.exp())


def guided_matches(P: Tensor, grid: tuple[int, int], cell_m: float,
                   expected_m: Tensor) -> TokenMatches:
    """
    Read matches again where a pose expects them; see `token_matches`.

    :param expected_m: (B, Ng, 2) where each token should lie in the tile.
    """
    rows, cols = grid
    row = (expected_m[..., 0] / cell_m + (rows - 1) / 2).round()
    col = (expected_m[..., 1] / cell_m + (cols - 1) / 2).round()
    inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
    cell = row.clamp(0, rows - 1).long() * cols + col.clamp(0, cols - 1).long()
    window = _Window.around(cell, grid, cell_m)
    found = window.mean(P.gather(1, window.index))
    return TokenMatches(found.tile_m, found.weight * inside, found.spread_m)


@dataclass(frozen=True)
class _Window:
    """The 3 x 3 cells around one cell per token: index, inside (B, 9, Ng), place (B, 9, Ng, 2)."""

    index: Tensor
    inside: Tensor
    place: Tensor

    @staticmethod
    def around(cell: Tensor, grid: tuple[int, int], cell_m: float) -> _Window:
        rows, cols = grid
        offset = torch.arange(-1, 2, device=cell.device)
        row = (cell // cols)[:, None] + offset.repeat_interleave(3)[:, None]
        col = (cell % cols)[:, None] + offset.repeat(3)[:, None]
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        place = torch.stack([(row - (rows - 1) / 2) * cell_m, (col - (cols - 1) / 2) * cell_m],
                            -1)
        return _Window(row.clamp(0, rows - 1) * cols + col.clamp(0, cols - 1), inside, place)

    def mean(self, p: Tensor) -> TokenMatches:
        p = p * self.inside
        weight = p.sum(1)
        share = p / weight.clamp(min=1e-12)[:, None]
        mean = (share[..., None] * self.place).sum(1)
        spread = (share * (self.place - mean[:, None]).square().sum(-1)).sum(1) / 2
        return TokenMatches(mean, weight, spread.clamp(min=0).sqrt())
