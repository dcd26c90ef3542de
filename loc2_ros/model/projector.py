# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Projectors: backbone features to unit descriptors that ground and aerial patches share.

Names and shapes follow the released checkpoints (model.md 4.3 to 4.5 and 4.7), so that their
tensors load by name; widths and the number of attention layers are free for smaller models.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn, Tensor
import torch.nn.functional as functional

HEADS = 8


def sine_encoding(height: int, width: int, dim: int = 128) -> Tensor:
    """
    Return the 2-D sine position code, (dim, height, width).

    Channels 4m to 4m+3 are sin(x w), cos(x w), sin(y w), cos(y w) with w = 10000^(-4m/dim);
    positions count from 1.
    """
    if dim % 4:
        raise ValueError(f'the position code needs a multiple of 4 channels, got {dim}')
    frequency = 10000.0 ** (-4.0 * torch.arange(dim // 4) / dim)
    x = (torch.arange(width) + 1.0)[None, None, :] * frequency[:, None, None]
    y = (torch.arange(height) + 1.0)[None, :, None] * frequency[:, None, None]
    x, y = x.expand(-1, height, -1), y.expand(-1, -1, width)
    return torch.stack([x.sin(), x.cos(), y.sin(), y.cos()], 1).reshape(dim, height, width)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the last ReLU can be left out."""

    def __init__(self, channels_in: int, channels: int, final: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = (nn.Identity() if channels_in == channels
                         else nn.Conv2d(channels_in, channels, 1, bias=False))
        self.final = final

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels_in, h, w) to (B, channels, h, w)."""
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x))))) + self.shortcut(x)
        return out if self.final else functional.relu(out)


class LinearAttentionLayer(nn.Module):
    """Linear self-attention over all tokens, then a gated mixing of the message."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.q_proj, self.k_proj, self.v_proj, self.merge = (
            nn.Linear(dim, dim, bias=False) for _ in range(4))
        self.mlp = nn.Sequential(nn.Linear(2 * dim, 2 * dim, bias=False), nn.ReLU(),
                                 nn.Linear(2 * dim, dim, bias=False))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        for matrix in self.parameters():
            if matrix.dim() > 1:
                nn.init.xavier_uniform_(matrix)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens (B, N, dim) to tokens of the same shape."""
        b, n, dim = x.shape
        q, k, v = (layer(x).reshape(b, n, HEADS, dim // HEADS)
                   for layer in (self.q_proj, self.k_proj, self.v_proj))
        q, k = functional.elu(q) + 1, functional.elu(k) + 1
        summary = torch.einsum('bnhd,bnhv->bhdv', k, v / n)
        norm = torch.einsum('bnhd,bhd->bnh', q, k.sum(1)) + 1e-6
        message = torch.einsum('bnhd,bhdv->bnhv', q, summary) * (n / norm)[..., None]
        message = self.norm1(self.merge(message.reshape(b, n, dim)))
        return x + self.norm2(self.mlp(torch.cat([x, message], -1)))


class _AttentionStack(nn.Module):

    def __init__(self, dim: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LinearAttentionLayer(dim) for _ in range(layers))


class Projector(nn.Module):
    """
    Features (B, C, h, w) to unit descriptors (B, dim, h, w).

    :param widths: output channels of the residual blocks; the last one is the descriptor's.
    :param attention: number of linear attention layers.
    :param positional: add the sine position code (the ground projector only).
    """

    def __init__(self, channels_in: int, widths: Sequence[int], attention: int,
                 positional: bool) -> None:
        super().__init__()
        sizes = [channels_in, *widths]
        self.resblocks = nn.ModuleList(
            ResidualBlock(a, b) for a, b in zip(sizes[:-1], sizes[1:]))
        self.att_layer = _AttentionStack(sizes[-1], attention)
        self.final_block = ResidualBlock(sizes[-1], sizes[-1], final=True)
        self.positional = positional
        self._code: Tensor | None = None

    def forward(self, features: Tensor) -> Tensor:
        """Compute descriptors of unit length."""
        for block in self.resblocks:
            features = block(features)
        b, c, h, w = features.shape
        if self.positional:
            features = features + self._position(h, w, features)
        tokens = features.flatten(2).transpose(1, 2)                          # (B, N, C)
        for layer in self.att_layer.layers:
            tokens = layer(tokens)
        out = self.final_block(tokens.transpose(1, 2).reshape(b, c, h, w))
        return functional.normalize(out, dim=1, eps=1e-10)

    def _position(self, h: int, w: int, like: Tensor) -> Tensor:
        """Return the code in the features' number format and place; an upload makes a GPU wait."""
        code, wanted = self._code, (like.shape[1], h, w)
        if code is None or (code.shape, code.device, code.dtype) != (wanted, like.device,
                                                                     like.dtype):
            code = self._code = sine_encoding(h, w, like.shape[1]).to(like)
        return code
