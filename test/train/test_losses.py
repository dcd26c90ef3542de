# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What training minimises, with answers known on paper."""

from __future__ import annotations

import math

from loc2_ros.data.pair import Pair
from loc2_ros.model.contract import Contract
from loc2_ros.model.matcher import log_normalizers
from loc2_ros.train.losses import matching_losses, Targets, targets, virtual_error
import pytest
import torch

ZERO = torch.zeros(1)


def test_a_shift_of_a_metre_is_an_error_of_a_metre() -> None:
    error = virtual_error(ZERO, torch.tensor([[0.6, 0.8]]), ZERO, torch.zeros(1, 2))
    assert float(error) == pytest.approx(1.0, abs=1e-4)


def test_a_turn_of_ten_degrees_is_an_error_of_37_centimetres() -> None:
    error = virtual_error(torch.tensor([math.radians(10)]), torch.zeros(1, 2), ZERO,
                          torch.zeros(1, 2))
    assert float(error) == pytest.approx(0.36915, abs=1e-4)


def _pair(depth: float, theta: float, t: tuple[float, float]) -> Pair:
    one = torch.zeros(1, 1)
    return Pair(one, one, torch.tensor([[depth, 10.0]]), torch.tensor([[True, False]]),
                torch.tensor([[[0.2, 0.0, 1.0], [0.0, 0.0, 1.0]]]), ZERO, ZERO,
                torch.tensor([theta]), torch.tensor([t]), torch.tensor([80.0]),
                torch.tensor([0]))


def test_a_token_is_placed_where_convention_t2_says() -> None:
    # Y = (-10, 2), theta = -90 degrees, t = (3, -4) gives X = (5, 6): model.md T2
    contract = Contract('test', aerial_px=320, tile_m=80.0)
    found = targets(_pair(10.0, -math.pi / 2, (3.0, -4.0)), contract)
    row, col = 5.0 / 2 + 19.5, 6.0 / 2 + 19.5
    cells = found.cell[0, 0]
    where = torch.stack([cells // 40, cells % 40], -1).float()
    mean = (found.share[0, 0][:, None] * where).sum(0)
    assert mean.tolist() == pytest.approx([row, col], abs=1e-4)
    assert found.seen[0].tolist() == [True, False]      # the second is on a moving car


def test_a_token_beyond_the_tile_or_the_depth_range_is_not_seen() -> None:
    contract = Contract('test', aerial_px=320, tile_m=80.0, max_depth_m=40.0)
    assert not targets(_pair(39.0, -math.pi / 2, (0.0, 20.0)), contract).seen[0, 0]
    assert not targets(_pair(41.0, -math.pi / 2, (0.0, -30.0)), contract).seen[0, 0]


def test_right_scores_cost_less_than_wrong_ones() -> None:
    target = Targets(torch.zeros(1, 2, 2), torch.tensor([[True, True]]),
                     torch.tensor([[[0, 1, 2, 3], [0, 1, 2, 3]]]),
                     torch.tensor([[[1.0, 0, 0, 0], [0, 0, 0, 1.0]]]))
    right = torch.full((1, 4, 2), -5.0)
    right[0, 0, 0] = right[0, 3, 1] = 5.0
    bin_score = torch.tensor(0.0)
    costs = []
    for S in (right, right.flip(2)):
        costs.append([float(v) for v in matching_losses(
            S, *log_normalizers(S, bin_score), bin_score, target, nothing=0.1)])
    assert max(costs[0]) < 0.5
    assert min(costs[1]) > 5.0
