# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Votes for the camera's position, against one pair at a time."""

from __future__ import annotations

import math

from loc2_ros.core.similarity import Similarity
from loc2_ros.model.votes import camera_votes
import pytest
import torch

GRID, CELL_M = (7, 9), 2.0


def similarity(theta: float, scale: float, t: tuple[float, float]) -> Similarity:
    return Similarity(torch.tensor(theta), torch.tensor(scale), torch.tensor(t),
                      torch.tensor(True))


def test_every_pair_votes_for_its_tile_place_minus_its_turned_and_scaled_ground_point() -> None:
    generator = torch.Generator().manual_seed(0)
    P = torch.rand(63, 300, generator=generator)
    lifted = torch.rand(300, 2, generator=generator) * 12 - 6
    usable = torch.rand(300, generator=generator) > 0.2
    theta, scale = 0.7, 1.2
    found = camera_votes(P, lifted, usable, similarity(theta, scale, (0.0, 0.0)), GRID, CELL_M)
    expected = torch.zeros(GRID, dtype=torch.float64)
    total = 0.0
    for i in range(63):
        x = torch.tensor([(i // 9 - 3) * CELL_M, (i % 9 - 4) * CELL_M])
        for j in range(300):
            if not usable[j]:
                continue
            y = lifted[j]
            turned = scale * torch.tensor([math.cos(theta) * y[0] - math.sin(theta) * y[1],
                                           math.sin(theta) * y[0] + math.cos(theta) * y[1]])
            cell = ((x - turned) / CELL_M + torch.tensor([3.0, 4.0])).round().long().tolist()
            total += float(P[i, j])
            if 0 <= cell[0] < 7 and 0 <= cell[1] < 9:
                expected[cell[0], cell[1]] += P[i, j]
    assert torch.allclose(found.share.double(), expected / total, atol=1e-6)


def test_a_perfect_frame_is_one_spot_and_a_flat_one_is_everywhere() -> None:
    lifted = torch.tensor([[-2.0, 0.0], [-4.0, 2.0], [0.0, -4.0]])
    fit = similarity(0.0, 1.0, (2.0, 0.0))      # the camera one cell below the centre
    P = torch.zeros(63, 3)
    for j, (x, y) in enumerate((lifted + torch.tensor([2.0, 0.0])).tolist()):
        P[(round(x / 2) + 3) * 9 + round(y / 2) + 4, j] = 0.9
    found = camera_votes(P, lifted, torch.ones(3, dtype=torch.bool), fit, GRID, CELL_M)
    assert found.share[4, 4] == pytest.approx(1.0) and found.near == pytest.approx(1.0)
    assert found.entropy == pytest.approx(0.0, abs=1e-6)
    flat = camera_votes(torch.ones(63, 1), torch.zeros(1, 2), torch.ones(1, dtype=torch.bool),
                        fit, GRID, CELL_M)
    assert flat.entropy == pytest.approx(1.0) and flat.near == pytest.approx(13 / 63)


def test_nothing_usable_gives_no_votes_and_no_nan() -> None:
    found = camera_votes(torch.rand(63, 4), torch.full((4, 2), math.nan),
                         torch.zeros(4, dtype=torch.bool), similarity(0.3, 1.0, (0.0, 0.0)),
                         GRID, CELL_M)
    assert found.share.abs().sum() == 0.0 and found.near == 0.0 and found.entropy == 0.0
