# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Samples: what augmentation does to them must leave image, tile and pose in agreement."""

from __future__ import annotations

import math

from loc2_ros.core.camera import token_rays
from loc2_ros.core.lift import lift
from loc2_ros.core.values import Camera
from loc2_ros.data.pair import make_pair, mirrored, Pair
from loc2_ros.model.contract import Contract
import numpy as np
import pytest
import torch

CONTRACT = Contract('toy', ground_hw=(32, 64), aerial_px=64, tile_m=64.0)
GRID = (4, 8)


def sample(theta: float) -> Pair:
    """Make a sample whose ground pixels say their token and whose tile has one bright pixel."""
    ground = np.zeros((32, 64, 3), np.uint8)
    ground[..., 0] = np.arange(64) // 8
    aerial = np.zeros((64, 64, 3), np.uint8)
    aerial[10, 20] = 255
    camera = Camera(64, 32, 50.0, 50.0, 40.0, 15.5)
    depth = np.random.default_rng(0).uniform(4, 30, 32)
    return make_pair(CONTRACT, ground, aerial, depth, token_rays(camera, GRID), 50.0, 1.65, theta,
                     np.array([3.0, -7.0]), 64.0, None, False)


def placed(pair: Pair) -> torch.Tensor:
    """Return where the tokens lie in the tile, (Ng, 2)."""
    c, s = torch.cos(pair.theta), torch.sin(pair.theta)
    return lift(pair.depth_m, pair.rays) @ torch.stack(
        [torch.stack([c, s]), torch.stack([-s, c])]) + pair.t


@pytest.mark.parametrize('theta', [-math.pi / 2 + 0.1, -math.pi / 2 - 0.15, 0.3, 3.0])
def test_a_mirrored_sample_shows_the_mirrored_world(theta: float) -> None:
    pair, other = sample(theta), mirrored(sample(theta))
    # The token that was third from the left is third from the right, and shows the same place
    expected = placed(pair) * torch.tensor([-1.0, 1.0])
    assert torch.allclose(placed(other), expected.unflatten(0, GRID).flip(1).flatten(0, 1),
                          atol=1e-4)
    assert other.ground[0, 0, 0] * 255 == 7 and other.ground[0, 0, -1] == 0
    assert other.aerial[0, 53, 20] == 1.0 and other.aerial.sum() == 3.0
    assert -math.pi <= other.theta < math.pi
    again = mirrored(other)
    for name, value in pair._asdict().items():
        assert torch.allclose(getattr(again, name).double(), value.double(), atol=1e-5), name


def test_a_view_to_the_right_still_looks_right() -> None:
    assert float(mirrored(sample(-math.pi / 2)).theta) == pytest.approx(-math.pi / 2)
    assert float(mirrored(sample(-math.pi / 2 + 0.1)).theta) == pytest.approx(-math.pi / 2 - 0.1)
