# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The paper's losses against references in float64 that are written from its formulas."""

from __future__ import annotations

import math
from typing import Any

from loc2_ros.model.contract import Contract
from loc2_ros.model.matcher import log_normalizers
from loc2_ros.train.drawn import drawn_matches, info_nce
from loc2_ros.train.losses import _drawn_vce, PUBLISHED
import numpy as np
import pytest
import torch
from torch import Tensor

GRID, TOKENS, TILE_M = (6, 6), 20, 30.0
CONTRACT = Contract('toy', ground_hw=(32, 40), aerial_px=48, tile_m=TILE_M, own_depth=False)


class Scene:
    """Random scores of two samples, with points and a pose."""

    def __init__(self, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.S = 3 * torch.randn(2, 36, TOKENS, generator=generator, dtype=torch.float64)
        self.usable = torch.rand(2, TOKENS, generator=generator) < 0.8
        self.S = self.S.masked_fill(~self.usable[:, None], -torch.inf)
        self.lifted = 8 * torch.randn(2, TOKENS, 2, generator=generator, dtype=torch.float64)
        self.theta = torch.tensor([-1.5, 2.0], dtype=torch.float64)
        self.t = torch.tensor([[1.0, -2.0], [3.0, 0.5]], dtype=torch.float64)
        self.dustbin = torch.tensor(0.7, dtype=torch.float64)
        rows, cols = np.divmod(np.arange(36), 6)
        self.places = torch.from_numpy(np.stack([rows - 2.5, cols - 2.5], -1) * TILE_M / 6)
        over = log_normalizers(self.S.float(), self.dustbin.float())
        self.drawn = drawn_matches(self.S.float(), *over, self.usable, 40, torch.tensor([5, 6]))


def reference_info_nce(scene: Scene, S: Tensor, b: int) -> Tensor:
    """Return InfoNCE as model.md 8 says it, a term at a time."""
    cell = TILE_M / 6
    c, s = math.cos(float(scene.theta[b])), math.sin(float(scene.theta[b]))
    Y, X, t = scene.lifted[b].numpy(), scene.places.numpy(), scene.t[b].numpy()
    pairs = [divmod(k, TOKENS) for k in scene.drawn[b].tolist() if k >= 0]
    to_tokens, to_cells = [], []
    for i in sorted({i for i, _ in pairs}):
        x, y = X[i] - t
        gap = np.hypot(*(Y - (c * x + s * y, -s * x + c * y)).T)
        j = int(gap.argmin())
        if gap[j] <= cell and scene.usable[b, j]:
            apart = np.hypot(*(Y - Y[j]).T) > 1.0
            wrong = sum(S[i, k].exp() for k in range(TOKENS) if apart[k])
            to_tokens.append(-torch.log(S[i, j].exp() / (S[i, j].exp() + wrong)))
    for j in sorted({j for _, j in pairs}):
        x = (c * Y[j, 0] - s * Y[j, 1] + t[0], s * Y[j, 0] + c * Y[j, 1] + t[1])
        gap = np.hypot(*(X - x).T)
        i = int(gap.argmin())
        if gap[i] <= cell:
            to_cells.append(-torch.log(S[i, j].exp() / S[:, j].exp().sum()))
    assert len(to_tokens) > 3 and len(to_cells) > 3
    return (sum(to_tokens) / len(to_tokens) + sum(to_cells) / len(to_cells)) / 2  # type: ignore


@pytest.mark.parametrize('seed', [0, 1, 2])
@pytest.mark.parametrize('b', [0, 1])
def test_info_nce_and_its_gradient_are_those_of_the_formula(seed: int, b: int) -> None:
    scene = Scene(seed)
    exact = scene.S.clone().requires_grad_()
    expected = reference_info_nce(scene, exact[b], b)
    expected.backward()
    S = scene.S.float().requires_grad_()
    found = info_nce(S[b], scene.lifted[b].float(), scene.usable[b], scene.places.float(),
                     scene.drawn[b], scene.theta[b].float(), scene.t[b].float(),
                     torch.tensor(TILE_M / 6))
    found.backward()
    assert found.item() == pytest.approx(expected.item(), rel=1e-4)
    assert exact.grad is not None and S.grad is not None
    torch.testing.assert_close(S.grad.double(), exact.grad, rtol=1e-4, atol=1e-6)


def reference_vce(scene: Scene, S: Tensor, b: int) -> Tensor:
    """Return the virtual correspondence error by complex numbers: b = z a + c in the plane."""
    z = scene.dustbin
    over_cells = torch.log(S[b].exp().sum(0) + z.exp())
    over_tokens = torch.log(S[b].exp().sum(1) + z.exp())
    i, j = torch.tensor([divmod(k, TOKENS) for k in scene.drawn[b].tolist() if k >= 0]).T
    w = torch.exp(2 * S[b][i, j] - over_cells[j] - over_tokens[i])
    w = w / w.sum()
    ground = torch.view_as_complex(scene.lifted[b][j].contiguous())
    tile = torch.view_as_complex(scene.places[i].contiguous())
    a0, b0 = (w * ground).sum(), (w * tile).sum()
    turn = (w * (ground - a0).conj() * (tile - b0)).sum()
    scale = turn / (w * (ground - a0).abs().square()).sum()
    line = torch.linspace(-2.5, 2.5, 10, dtype=torch.float64)
    V = torch.complex(*torch.meshgrid(line, line, indexing='ij')).flatten()
    truth = torch.polar(torch.ones((), dtype=torch.float64), scene.theta[b])
    gap = (truth * V + torch.complex(*scene.t[b]) - turn / turn.abs() * V - (b0 - scale * a0))
    return gap.abs().mean()


@pytest.mark.parametrize('seed', [0, 1, 2])
def test_the_virtual_error_of_drawn_matches_and_its_gradient_are_those_of_the_formula(
        seed: int) -> None:
    scene = Scene(seed)
    exact = scene.S.clone().requires_grad_()
    expected = torch.stack([reference_vce(scene, exact, b) for b in range(2)])
    expected.sum().backward()
    S = scene.S.float().requires_grad_()
    pair: Any = type('P', (), {'tile_m': torch.full((2,), TILE_M), 'theta': scene.theta.float(),
                               't': scene.t.float()})
    found = _drawn_vce(S, *log_normalizers(S, scene.dustbin.float()), scene.lifted.float(),
                       scene.drawn, pair, _with_grid(), PUBLISHED)
    found.sum().backward()
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    assert exact.grad is not None and S.grad is not None
    used = torch.isfinite(scene.S)
    torch.testing.assert_close(S.grad.double()[used], exact.grad[used], rtol=2e-3, atol=1e-5)


def _with_grid() -> Contract:
    assert CONTRACT.aerial_grid == GRID and math.prod(CONTRACT.ground_grid) == TOKENS
    return CONTRACT


def test_matches_are_drawn_by_probability_and_by_the_number_of_the_sample() -> None:
    S = torch.tensor([[[1.0, -1.0, 9.0], [0.2, 0.6, 9.0]]])
    usable = torch.tensor([[True, True, False]])
    S = S.masked_fill(~usable[:, None], -torch.inf)
    over = log_normalizers(S, torch.tensor(0.0))
    p = (2 * S - over[0][:, None] - over[1][..., None]).exp().flatten()
    count = torch.zeros(6)
    for number in range(3000):
        drawn = drawn_matches(S, *over, usable, 1, torch.tensor([number]))
        count[drawn[0, 0]] += 1
    assert (count / 3000 - p / p.sum()).abs().max() < 0.03          # three deviations
    assert count[2] == count[5] == 0
    # Four matches are possible: what is asked for beyond them is none
    more = drawn_matches(S, *over, usable, 6, torch.tensor([3]))
    assert sorted(more[0].tolist()) == [-1, -1, 0, 1, 3, 4]
    again = drawn_matches(S.expand(2, -1, -1), over[0].expand(2, -1), over[1].expand(2, -1),
                          usable.expand(2, -1), 6, torch.tensor([9, 3]))
    assert torch.equal(again[1], more[0])


def test_an_image_without_any_depth_costs_nothing_and_breaks_nothing() -> None:
    scene = Scene(0)
    S = torch.full((1, 36, TOKENS), -torch.inf)
    none = torch.zeros(1, TOKENS, dtype=torch.bool)
    drawn = drawn_matches(S, *log_normalizers(S, torch.tensor(1.0)), none, 8, torch.tensor([0]))
    assert (drawn == -1).all()
    S = torch.zeros(1, 36, TOKENS, requires_grad=True)
    cost = info_nce(S[0], scene.lifted[0].float(), none[0], scene.places.float(), drawn[0],
                    scene.theta[0].float(), scene.t[0].float(), torch.tensor(5.0))
    cost.backward()
    assert float(cost) == 0.0 and S.grad is not None and torch.isfinite(S.grad).all()
