# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Pose errors of a network on pairs it has not seen, with the solver that the node uses."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from loc2_ros.core.lift import depth_mask, lift
from loc2_ros.data.pair import Pair
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.solve import solve, Solved, Solver
from loc2_ros.train.losses import cell_size
import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SolvedPair:
    """One sample (without its batch axis), its tokens' depth and ground points, and its pose."""

    pair: Pair
    depth_m: Tensor
    lifted: Tensor
    solved: Solved


def solve_pairs(net: Loc2Net, batches: Iterable[Pair], solver: Solver, seed: int = 0,
                dtype: torch.dtype = torch.float32) -> Iterator[SolvedPair]:
    """
    Solve every sample as the localizer would; call it in inference mode.

    :param seed: of whatever the solver draws, the same for each sample: neither batches nor
        order change a pose.
    :param dtype: number format of the network.
    """
    contract = net.contract
    device = next(net.parameters()).device
    for batch in batches:
        batch = Pair(*(v.to(device) for v in batch))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            ground = net.ground(batch.ground, batch.rays, batch.fx, batch.height_m)
            aerial = net.aerial(batch.aerial)
        depths = batch.depth_m if ground.depth_m is None else ground.depth_m.flatten(1).float()
        usable = depth_mask(depths, contract.max_depth_m)
        P = net.match(aerial.float(), ground.descriptors.float(),
                      usable if contract.masks_tokens else None)
        lifted = lift(torch.where(usable, depths, 0.0), batch.rays)
        cell_m = cell_size(batch, contract).tolist()
        for k in range(len(P)):
            yield SolvedPair(
                Pair(*(v[k] for v in batch)), depths[k], lifted[k],
                solve(P[k], lifted[k], usable[k], contract.aerial_grid, cell_m[k], solver,
                      torch.Generator().manual_seed(seed)))


@torch.inference_mode()
def pose_errors(net: Loc2Net, batches: Iterable[Pair], solver: Solver,
                seed: int = 0) -> dict[str, np.ndarray]:
    """
    Solve every pair.

    :returns: per pair ``position_m``, ``yaw_deg`` (absolute errors, inf when there is no pose),
        ``scale``, ``mass`` and ``depth_log`` (median absolute error of the log depth).
    """
    rows: list[tuple[float, ...]] = []
    for found in solve_pairs(net, batches, solver, seed):
        pair, depth, fit = found.pair, found.depth_m, found.solved.similarity
        known = depth_mask(pair.depth_m, net.contract.max_depth_m)
        gap = (depth[known].log() - pair.depth_m[known].log()).abs()
        off = gap.median() if len(gap) else torch.tensor(torch.nan)
        turn = torch.remainder(fit.theta - pair.theta + torch.pi, 2 * torch.pi) - torch.pi
        valid = bool(fit.valid)
        rows.append((float((fit.t - pair.t).norm()) if valid else np.inf,
                     float(torch.rad2deg(turn.abs())) if valid else np.inf,
                     float(fit.scale), float(found.solved.mass), float(off)))
    table = np.array(rows).reshape(-1, 5)
    return dict(zip(('position_m', 'yaw_deg', 'scale', 'mass', 'depth_log'), table.T))


def summary(errors: dict[str, np.ndarray]) -> dict[str, float]:
    """Return medians, 90 % quantiles and the share of gross errors (over 8 m)."""
    position, yaw = errors['position_m'], errors['yaw_deg']
    return {'position_median_m': float(np.median(position)),
            'position_p90_m': float(np.quantile(position, 0.9, method='lower')),
            'yaw_median_deg': float(np.median(yaw)),
            'yaw_p90_deg': float(np.quantile(yaw, 0.9, method='lower')),
            'gross_share': float(np.mean(position > 8.0)),
            'depth_log_median': float(np.median(errors['depth_log']))}
