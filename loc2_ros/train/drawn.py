# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The paper's training signal (model.md 8): matches drawn from P, and InfoNCE on their scores.

Index i runs over aerial cells, j over ground tokens; a drawn match is the number i * Ng + j.
"""

from __future__ import annotations

from loc2_ros.core.pairs import draw_pairs
import torch
from torch import Tensor
import torch.nn.functional as functional

SAME_POINT_M = 1.0      # ground tokens closer than this to the right one are no wrong answers


@torch.no_grad()
def drawn_matches(S: Tensor, over_cells: Tensor, over_tokens: Tensor, usable: Tensor, count: int,
                  number: Tensor) -> Tensor:
    """
    Draw matches without replacement, with probability proportional to P.

    Seeded by the sample's number, so that batches, processes and interruptions change nothing.

    :param S: (B, Na, Ng) scores; the normalizers are those of `log_normalizers`.
    :param usable: (B, Ng) bool.
    :returns: (B, count) int64, i * Ng + j; -1 where there are fewer matches of positive
        probability than asked for.
    """
    P = torch.exp(2 * S - over_cells[:, None] - over_tokens[:, :, None]) * usable[:, None]
    drawn = []
    for p, seed in zip(P, number.tolist()):
        pairs = draw_pairs(p, count, torch.Generator(p.device).manual_seed(seed))
        found = torch.where(pairs.weight > 0, pairs.cell * p.shape[1] + pairs.token, -1)[0]
        drawn.append(functional.pad(found, (0, count - len(found)), value=-1))
    return torch.stack(drawn)


def info_nce(S: Tensor, lifted: Tensor, usable: Tensor, places: Tensor, drawn: Tensor,
             theta: Tensor, t: Tensor, limit_m: Tensor) -> Tensor:
    """
    Return InfoNCE of one sample, the mean of both directions.

    :param S: (Na, Ng) scores.
    :param lifted: (Ng, 2) ground points at metric scale.
    :param usable: (Ng,) bool; tokens where it is false are no answers, right or wrong.
    :param places: (Na, 2) aerial cells in the tile.
    :param drawn: (K,) matches, see `drawn_matches`.
    :param theta: () true rotation from ground to tile, ``t`` (2,) true camera.
    :param limit_m: () a drawn cell or token whose counterpart is further away than this has none.
    """
    S = S.masked_fill(~usable[None], -torch.inf)
    drawn = drawn[drawn >= 0]
    i, j = (drawn // len(lifted)).unique(), (drawn % len(lifted)).unique()
    c, s = torch.cos(theta), torch.sin(theta)
    R = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    return (_to_tokens(S, lifted, usable, (places[i] - t) @ R, i, limit_m)
            + _to_cells(S, places, lifted[j] @ R.T + t, j, limit_m)) / 2


def _to_tokens(S: Tensor, lifted: Tensor, usable: Tensor, points: Tensor, i: Tensor,
               limit_m: Tensor) -> Tensor:
    """Average over drawn cells i, which truly lie at ``points`` (K, 2) of the ground."""
    gap = torch.cdist(points, lifted)                                       # (K, Ng)
    distance, right = gap.min(1) if gap.numel() else (gap.sum(1), i)
    keep = (distance <= limit_m) & usable[right]
    i, right = i[keep], right[keep]
    answer = S[i, right]
    apart = torch.cdist(lifted[right], lifted) > SAME_POINT_M               # (K, Ng)
    wrong = S[i].masked_fill(~apart, -torch.inf)
    total = torch.cat([answer[:, None], wrong], 1).logsumexp(1)
    return (total - answer).sum() / max(len(i), 1)


def _to_cells(S: Tensor, places: Tensor, points: Tensor, j: Tensor, limit_m: Tensor) -> Tensor:
    """Average over drawn tokens j, which truly lie at ``points`` (K, 2) of the tile."""
    gap = torch.cdist(points, places)                                       # (K, Na)
    distance, right = gap.min(1) if gap.numel() else (gap.sum(1), j)
    keep = distance <= limit_m
    j, right = j[keep], right[keep]
    columns = S[:, j]
    return (columns.logsumexp(0) - S[right, j]).sum() / max(len(j), 1)
