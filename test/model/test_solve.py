# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""From match probabilities to a pose, with known answers."""

from __future__ import annotations

import math

from loc2_ros.core.align import Ransac
from loc2_ros.model.solve import solve, Solver
import pytest
import torch

GRID, CELL_M = (40, 40), 2.0


def _scene(theta: float, t: tuple[float, float], wrong: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return P (1600, N) with bilinear mass at the true places, and the ground points (N, 2)."""
    generator = torch.Generator().manual_seed(3)
    ground = torch.stack([-4 - 20 * torch.rand(300, generator=generator),
                          20 * torch.rand(300, generator=generator) - 10], -1)
    c, s = math.cos(theta), math.sin(theta)
    tile = ground @ torch.tensor([[c, s], [-s, c]]) + torch.tensor(t)
    tile[:wrong] = 60 * torch.rand((wrong, 2), generator=generator) - 30
    place = tile / CELL_M + 19.5
    base = place.floor().long()
    share = place - base
    P = torch.zeros(1600, 300)
    for dr in (0, 1):
        for dc in (0, 1):
            part = (1 - dr - share[:, 0]).abs() * (1 - dc - share[:, 1]).abs()
            P[(base[:, 0] + dr) * 40 + base[:, 1] + dc, torch.arange(300)] = part
    return P, ground


@pytest.mark.parametrize('wrong', [0, 100, 180])
def test_the_pose_is_found_among_wrong_matches(wrong: int) -> None:
    theta, t = -math.pi / 2 + 0.12, (3.1, -7.4)
    P, ground = _scene(theta, t, wrong)
    found = solve(P, ground, torch.ones(300, dtype=torch.bool), GRID, CELL_M, Solver(),
                  torch.Generator().manual_seed(0))
    assert bool(found.similarity.valid)
    assert float(found.similarity.theta) == pytest.approx(theta, abs=2e-3)
    assert found.similarity.t.tolist() == pytest.approx(list(t), abs=0.05)
    assert float(found.similarity.scale) == pytest.approx(1.0, abs=5e-3)


def test_equal_seeds_give_equal_poses() -> None:
    P, ground = _scene(-1.5, (0.0, 1.0), 150)
    results = [solve(P, ground, torch.ones(300, dtype=torch.bool), GRID, CELL_M,
                     Solver(Ransac(hypotheses=64)), torch.Generator().manual_seed(5))
               for _ in range(2)]
    assert torch.equal(results[0].similarity.t, results[1].similarity.t)


def test_nothing_to_solve_is_said_and_not_raised() -> None:
    found = solve(torch.zeros(1600, 10), torch.zeros(10, 2), torch.zeros(10, dtype=torch.bool),
                  GRID, CELL_M, Solver(), torch.Generator().manual_seed(0))
    assert not bool(found.similarity.valid)
    assert int(found.inlier.sum()) == 0
