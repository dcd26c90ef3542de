# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Pairs drawn from a dense matrix of match probabilities (model.md 7.1 and 7.3)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Pairs:
    """
    Pairs of an aerial cell and a ground token, in sets.

    :param cell: (S, K) int64, row of the matrix; ``token`` (S, K) int64, its column.
    :param weight: (S, K) the probability there. Where fewer than K entries are positive it is 0
        for the rest, and such a pair takes no part anywhere.
    """

    cell: Tensor
    token: Tensor
    weight: Tensor


def draw_pairs(P: Tensor, count: int, generator: torch.Generator, sets: int = 1,
               pool: int = 0) -> Pairs:
    """
    Draw entries with probability proportional to their value, without replacement in a set.

    An exponential race: the ``count`` largest of P / e with e ~ Exp(1). Equal input and seed give
    equal pairs, whatever else is solved beside it.

    :param P: (Na, Ng), non-negative.
    :param generator: seeded; may live on another device than P.
    :param pool: draw from so many of the largest entries only, which hold nearly all of the
        probability; 0 draws from all.
    """
    flat = P.flatten()
    places = None
    if 0 < pool < len(flat):
        flat, places = flat.topk(pool)
    numbers = torch.rand((sets, len(flat)), generator=generator,
                         device=generator.device).to(flat.device)
    # In place: without a pool these are four million numbers
    index = (flat / numbers.log_().neg_()).topk(min(count, len(flat))).indices
    weight = flat[index]
    entry = index if places is None else places[index]
    return Pairs(entry // P.shape[1], entry % P.shape[1], weight)
