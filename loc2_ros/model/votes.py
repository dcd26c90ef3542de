# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Where the matches put the camera: each pair votes for one place in the tile (model.md 12.3).

At the solved rotation and scale a pair (i, j) says that the camera is at X_i - s R Y_j. One
peak is a pose that everything agrees on; several are streets that look alike.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.core.similarity import Similarity
import torch
from torch import Tensor

_CHUNK = 256        # tokens at once: a few megabytes


@dataclass(frozen=True)
class Votes:
    """
    The votes of one frame.

    :param share: (rows, cols) of the aerial cells, as a share of all votes; sums to at most 1,
        since some fall outside of the tile.
    :param near: share within two cells of the solved camera position.
    :param entropy: of the shares, over the logarithm of their number: 0 one cell, 1 everywhere.
    """

    share: Tensor
    near: float
    entropy: float


@torch.no_grad()
def camera_votes(P: Tensor, lifted: Tensor, usable: Tensor, similarity: Similarity,
                 grid: tuple[int, int], cell_m: float) -> Votes:
    """
    Count where all pairs put the camera.

    :param P: (Na, Ng) match probabilities.
    :param lifted: (Ng, 2) ground points, ``usable`` (Ng,) which of them mean something.
    :param similarity: () the solved pose; its position does not enter the votes.
    """
    rows, cols = grid
    p, r = similarity.linear()
    x, y = torch.where(usable[:, None], lifted, 0.0).unbind(-1)
    # Cells sit on a grid, so leaving out a token's offset shifts them all by whole cells
    back = -torch.stack((p * x - r * y, r * x + p * y), -1) / cell_m        # (Ng, 2)
    shift = back.round().long()
    cell = torch.arange(rows * cols, device=P.device)
    weight = P * usable
    counts = torch.zeros(rows * cols, dtype=torch.float64, device=P.device)
    for start in range(0, P.shape[1], _CHUNK):
        part = slice(start, start + _CHUNK)
        row = (cell // cols)[:, None] + shift[part, 0]
        col = (cell % cols)[:, None] + shift[part, 1]
        inside = (row >= 0) & (row < rows) & (col >= 0) & (col < cols)
        counts.index_add_(0, (row * cols + col)[inside], weight[:, part][inside].double())
    total = weight.double().sum().clamp(min=1e-12)
    share = (counts / total).reshape(rows, cols)
    return Votes(share.float(), _near(share, similarity, cell_m), _entropy(share))


def _near(share: Tensor, similarity: Similarity, cell_m: float) -> float:
    rows, cols = share.shape
    centre = similarity.t.double().cpu() / cell_m + torch.tensor([(rows - 1) / 2, (cols - 1) / 2])
    away = torch.hypot(torch.arange(rows)[:, None] - centre[0], torch.arange(cols) - centre[1])
    return float((share.cpu() * (away <= 2.0)).sum())


def _entropy(share: Tensor) -> float:
    inside = share / share.sum().clamp(min=1e-12)
    return float(-torch.special.xlogy(inside, inside).sum()) / math.log(share.numel())
