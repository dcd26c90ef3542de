# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Backbones that are trained with the matcher: image to a grid of features, picked by name.

A backbone takes RGB in [0, 1], (B, 3, H, W), and returns (B, channels, H / stride, W / stride).
Frozen ones, which both views share and which have files of their own, are in `dinov2`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from loc2_ros.model.dinov2 import SIZES
import torch
from torch import nn, Tensor
import torch.nn.functional as functional


class _Step(nn.Module):
    """A residual block that may halve the resolution."""

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = (nn.Identity() if channels_in == channels and stride == 1 else
                         nn.Conv2d(channels_in, channels, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
        return functional.relu(out + self.shortcut(x))


class MiniBackbone(nn.Module):
    """A small residual network; coarse context is brought back to the finer grid of stride 8."""

    stride = 8

    def __init__(self, widths: tuple[int, int, int, int] = (32, 48, 96, 128)) -> None:
        super().__init__()
        stem, second, third, fourth = widths
        self.channels = third
        self.stem = nn.Sequential(nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem),
                                  nn.ReLU())
        self.to4 = _Step(stem, second, 2)
        self.to8 = nn.Sequential(_Step(second, third, 2), _Step(third, third, 1))
        self.to16 = nn.Sequential(_Step(third, fourth, 2), _Step(fourth, fourth, 1))
        self.from16 = nn.Conv2d(fourth, third, 1, bias=False)
        self.merge = _Step(third, third, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Compute features (B, channels, H / 8, W / 8)."""
        fine = self.to8(self.to4(self.stem(image - 0.5)))
        coarse = self.to16(fine)
        return self.merge(fine + _enlarge(self.from16(coarse), fine))


def _enlarge(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[-2:], mode='bilinear', align_corners=False)


BACKBONES: Mapping[str, Callable[..., nn.Module]] = {'mini': MiniBackbone}


def make_backbone(name: str, **options: Any) -> nn.Module:
    """
    Make a backbone by name.

    :raises ValueError: naming the known ones, if the name is unknown.
    """
    if name not in BACKBONES:
        raise ValueError(f'unknown backbone {name!r}; known: '
                         f'{", ".join(sorted((*BACKBONES, *SIZES)))}')
    return BACKBONES[name](**options)


def to_input(rgb: Tensor) -> Tensor:
    """Turn (B, H, W, 3) uint8 into (B, 3, H, W) float in [0, 1]."""
    return rgb.permute(0, 3, 1, 2).to(torch.float32) / 255.0
