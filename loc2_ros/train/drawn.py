# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The paper's training signal (model.md 8): matches drawn from P, and InfoNCE on their scores.

Index i runs over aerial cells, j over ground tokens; a drawn match is the number i * Ng + j.
"""

from __future__ import annotations

import torch
from torch import Tensor

SAME_POINT_M = 1.0      # ground tokens closer than this to the right one are no wrong answers


@torch.no_grad()
def drawn_matches(S: Tensor, over_cells: Tensor, over_tokens: Tensor, usable: Tensor, count: int,
                  number: Tensor) -> Tensor:
    """
    Draw matches without replacement, with probability proportional to P.

    One exponential race per sample, seeded by the sample's number, so that batches, processes
    and interruptions change nothing.

    :param S: (B, Na, Ng) scores; the normalizers are those of `log_normalizers`.
    :param usable: (B, Ng) bool.
    :returns: (B, count) int64, i * Ng + j; -1 where there are fewer matches of positive
        probability than asked for.
    """
    log_p = 2 * S - over_cells[:, None] - over_tokens[:, :, None]
    log_p = log_p.masked_fill(~usable[:, None], -torch.inf).flatten(1)
    drawn = []
    for row, seed in zip(log_p, number.tolist()):
        generator = torch.Generator(row.device).manual_seed(seed)
        race = torch.empty_like(row).exponential_(generator=generator)
        # The largest of log p - log e; in logarithms nothing underflows
        found = (row - race.log()).topk(min(count, len(row)))
        index = torch.where(torch.isfinite(found.values), found.indices, -1)
        drawn.append(torch.nn.functional.pad(index, (0, count - len(index)), value=-1))
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
