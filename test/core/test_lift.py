# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The lift: a ray and a depth become a point on the ground, x backward and y right."""

from __future__ import annotations

import math

from loc2_ros.core.lift import depth_mask, flat_ground_depth, lift
import pytest
import torch
from torch import Tensor

LEVEL = torch.eye(3, dtype=torch.float64)


def rays(*rows: tuple[float, float, float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def nose_down(pitch: float) -> Tensor:
    """Return level_R_camera of a camera pitched down: its axis dips, its down leans back."""
    c, s = math.cos(pitch), math.sin(pitch)
    return torch.tensor([[1.0, 0.0, 0.0], [0.0, c, s], [0.0, -s, c]], dtype=torch.float64)


def test_a_cross_ten_metres_ahead_and_two_to_the_right_is_at_minus_ten_and_two() -> None:
    ground = lift(torch.tensor([10.0], dtype=torch.float64), rays((0.2, 0.16, 1.0)))
    assert ground.tolist() == [pytest.approx([-10.0, 2.0])]


def test_height_has_no_say_for_a_level_camera() -> None:
    depth = torch.tensor([10.0, 10.0], dtype=torch.float64)
    ground = lift(depth, rays((0.2, 0.16, 1.0), (0.2, -0.4, 1.0)))
    assert ground[0].tolist() == pytest.approx(ground[1].tolist())


def test_a_camera_pitched_down_sees_the_ground_nearer_than_its_depth() -> None:
    # Along the axis of a camera 30 degrees down: 4 m of depth are 4 cos 30 m on the ground
    ground = lift(torch.tensor([4.0], dtype=torch.float64),
                  rays((0.0, 0.0, 1.0)) @ nose_down(math.radians(30)).T)
    assert ground[0].tolist() == pytest.approx([-4.0 * math.cos(math.radians(30)), 0.0])


def test_range_is_counted_along_rays_of_unit_length() -> None:
    ground = lift(torch.tensor([10.0], dtype=torch.float64), rays((0.6, 0.0, 0.8)))
    assert ground.tolist() == [pytest.approx([-8.0, 6.0])]


def test_batches_of_depths_share_the_rays() -> None:
    depth, level = torch.rand(2, 3, 5), torch.rand(5, 3)
    ground = lift(depth, level)
    assert ground.shape == (2, 3, 5, 2)
    assert torch.equal(ground[1, 2], lift(depth[1, 2], level))


def test_depth_is_usable_when_finite_positive_and_short_of_the_limit() -> None:
    depth = torch.tensor([0.0, -1.0, math.nan, math.inf, 40.0, 39.9, 1e-3])
    assert depth_mask(depth, 40.0).tolist() == [False] * 5 + [True, True]


def test_flat_ground_is_where_the_ray_has_fallen_by_the_height() -> None:
    depth = flat_ground_depth(rays((0.0, 0.1, 1.0), (5.0, 0.5, 1.0)), LEVEL, 1.65)
    assert depth.tolist() == pytest.approx([16.5, 3.3])


def test_there_is_no_ground_at_and_above_the_horizon() -> None:
    depth = flat_ground_depth(rays((0.0, 0.0, 1.0), (0.0, -0.2, 1.0), (0.0, 1e-5, 1.0)), LEVEL,
                              1.65)
    assert torch.isnan(depth).all()


@pytest.mark.parametrize('pitch', [-0.2, 0.1, 0.5])
def test_pitch_counts_the_same_in_the_mount_and_beside_it(pitch: float) -> None:
    some = rays((0.3, 0.4, 1.0), (-0.2, 0.6, 1.0))
    inside = flat_ground_depth(some, nose_down(pitch), 1.65)
    beside = flat_ground_depth(some, LEVEL, 1.65, pitch)
    assert inside.tolist() == pytest.approx(beside.tolist())
    # And what lands on the ground is below the camera by its height
    down = (beside[:, None] * some @ nose_down(pitch).T)[:, 1]
    assert down.tolist() == pytest.approx([1.65, 1.65])


def test_gradients_of_depth_pass_and_of_the_sky_do_not_spoil_them() -> None:
    some = rays((0.0, 0.1, 1.0), (0.0, -0.1, 1.0)).requires_grad_()
    depth = flat_ground_depth(some, LEVEL, 1.65)
    depth[0].backward()
    assert some.grad is not None and torch.isfinite(some.grad).all()
