# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
DINOv2's position table at other image sizes than the one it was trained with.

Released weights were trained through the original's interpolation with its offset of 0.1; the
usual ``size=`` call moves the last row by up to 0.14 table cells (model.md 4.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

# The original adds this to the target size so that rounding never loses a row
_OFFSET = 0.1
_BICUBIC = -0.75


def interpolate_position_embedding(table: Tensor, h: int, w: int) -> Tensor:
    """
    Resize a position table to a grid of h x w tokens, with the class row unchanged.

    :param table: (1, 1 + n * n, C), class row first, then n x n patch rows.
    :returns: (1, 1 + h * w, C) in the table's dtype; the table itself where the grid is n x n.
    :raises ValueError: if the patch rows are no square.
    """
    count = table.shape[1] - 1
    n = round(count ** 0.5)
    if table.ndim != 3 or table.shape[0] != 1 or n * n != count or n < 1:
        raise ValueError(f'a position table is (1, 1 + n * n, C), got {tuple(table.shape)}')
    if (h, w) == (n, n):
        return table
    patches = table[0, 1:].float().reshape(n, n, -1)
    patches = torch.einsum('hy,wx,yxc->hwc', _cubic_weights(n, h, table.device),
                           _cubic_weights(n, w, table.device), patches)
    return torch.cat((table[:, :1], patches.reshape(1, h * w, -1).to(table.dtype)), 1)


def source_coordinates(source: int, target: int) -> Tensor:
    """Return where each of ``target`` samples lies in a table of ``source`` rows, float32."""
    index = torch.arange(target, dtype=torch.float32)
    return (index + 0.5) * (source / (target + _OFFSET)) - 0.5


def _cubic_weights(source: int, target: int, device: torch.device) -> Tensor:
    """Return the matrix (target, source) of the cubic convolution, borders repeated."""
    at = source_coordinates(source, target)
    first = torch.floor(at)
    weights = torch.zeros(target, source)
    for step in range(-1, 3):
        weight = _cubic((at - first - step).abs())
        neighbour = (first.long() + step).clamp(0, source - 1)
        weights.scatter_add_(1, neighbour[:, None], weight[:, None])
    return weights.to(device)


def _cubic(x: Tensor) -> Tensor:
    """Return the cubic convolution kernel of Keys, 1981, at distances within [0, 2]."""
    a = _BICUBIC
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = ((a * x - 5.0 * a) * x + 8.0 * a) * x - 4.0 * a
    return torch.where(x <= 1.0, near, far)
