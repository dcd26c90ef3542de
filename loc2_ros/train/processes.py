# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Several processes that train as one: what is averaged over a batch is averaged over all of it.

Every process sees a part of each batch. Gradients are averaged by torch; statistics of batch
normalisation and counts that losses are divided by are shared here, so that the number of
processes does not change the result. torch has such a normalisation for GPUs alone.
"""

from __future__ import annotations

import torch
from torch import distributed, nn, Tensor
from torch.distributed.nn.functional import all_reduce


def world_size() -> int:
    """Return the number of processes that train together."""
    ready = distributed.is_available() and distributed.is_initialized()
    return distributed.get_world_size() if ready else 1


@torch.no_grad()
def fair_count(count: Tensor) -> Tensor:
    """Return this process's share of a count over all: what a sum is divided by for a mean."""
    world = world_size()
    if world == 1:
        return count
    total = count.clone()
    distributed.all_reduce(total)
    return total / world


@torch.no_grad()
def mean_over_processes(value: Tensor) -> Tensor:
    """Return the mean of a number over all processes."""
    return fair_count(value)


class SharedNorm(nn.BatchNorm2d):
    """Batch normalisation over the batches of all processes; parameters as in `BatchNorm2d`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (its name in torch)
        """Normalise (B, C, h, w)."""
        if not self.training or world_size() == 1:
            return super().forward(input)
        x = input.float()
        local = torch.stack([x.sum((0, 2, 3)), x.square().sum((0, 2, 3))])
        shared = all_reduce(local) / (world_size() * x[:, 0].numel())       # (2, C)
        mean, variance = shared[0], (shared[1] - shared[0].square()).clamp(min=0)
        self._remember(mean.detach(), variance.detach(), world_size() * x[:, 0].numel())
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (x * scale[:, None, None] + shift[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: int) -> None:
        if self.running_mean is None or self.running_var is None or self.momentum is None:
            return
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / max(count - 1, 1), self.momentum)


def share_norms(module: nn.Module) -> None:
    """Make every batch normalisation inside a module shared; names and values stay."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            shared = SharedNorm(child.num_features, child.eps, child.momentum)
            shared.load_state_dict(child.state_dict())
            shared.to(next(child.parameters()).device)
            setattr(module, name, shared)
        else:
            share_norms(child)
