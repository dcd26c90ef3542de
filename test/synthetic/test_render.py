# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Views of hand-made scenes: depth, colours and places known on paper."""

from __future__ import annotations

from loc2_ros.core.values import Camera
from loc2_ros.synthetic.layers import Kind, Layers, Material, rectangle
from loc2_ros.synthetic.looks import draw_look, draw_palette, Look
from loc2_ros.synthetic.ortho import render_ortho
from loc2_ros.synthetic.render import render_views
from loc2_ros.synthetic.scene import light, Scene
import numpy as np
import pytest
import torch

CAMERA = Camera(96, 48, 60.0, 60.0, 47.5, 23.5)
HEIGHT_M = 1.6


def _look() -> Look:
    rng = np.random.default_rng(0)
    return draw_look(rng, draw_palette(rng))


def _scene(wall_at_m: float | None = None, hanging: bool = False) -> Scene:
    """Return 60 m of asphalt, perhaps with a wall across the view to the east, or a crown."""
    layers = Layers.empty(60.0, 0.125)
    layers.material[:] = Material.ASPHALT
    if wall_at_m is not None:
        owner = layers.owners.add(Kind.BUILDING, np.full(3, 0.5), np.full(3, 0.5),
                                  np.array([wall_at_m + 2, 0, 0]), np.array([4.0, 50.0]),
                                  np.array([3.0, 2.0, 0.4, 0.0]))
        layers.fill(rectangle(np.array([wall_at_m + 2, 0.0]), 0.0, 4.0, 50.0),
                    material=Material.OWNED, height_m=8.0, owner=owner)
    if hanging:
        owner = layers.owners.add(Kind.TREE, np.full(3, 0.2), np.full(3, 0.2), np.zeros(3),
                                  np.full(2, 4.0))
        layers.hang(rectangle(np.array([10.0, 0.0]), 0.0, 4.0, 4.0), 2.5, 6.0, owner)
    return light(layers, _look(), 1)


def _view(scene: Scene, yaw: float = 0.0, cars: torch.Tensor | None = None) -> tuple:
    poses = torch.tensor([[0.0, 0.0, yaw]], dtype=torch.float64)
    found = render_views(scene, CAMERA, poses, HEIGHT_M, cars, torch.Generator().manual_seed(0))
    return found.depth_m[0].numpy(), found.moving[0].numpy(), found.rgb[0].numpy()


def test_the_depth_of_flat_ground_is_exact() -> None:
    depth, _, rgb = _view(_scene())
    for row in (30, 35, 47):
        expected = HEIGHT_M / ((row - CAMERA.cy) / CAMERA.fy)
        np.testing.assert_allclose(depth[row], expected, rtol=1e-5)
    assert np.all(np.isinf(depth[:20]))
    assert rgb.dtype == np.uint8


@pytest.mark.parametrize('yaw', [0.0, 0.3])
def test_the_depth_of_a_wall_is_within_a_raster_cell(yaw: float) -> None:
    depth, _, _ = _view(_scene(wall_at_m=12.0), yaw)
    u = (np.arange(96) - CAMERA.cx) / CAMERA.fx
    expected = 12.0 / (np.cos(yaw) + u * np.sin(yaw))       # planar depth of the plane x = 12
    ahead = np.abs(expected * (np.sin(yaw) - u * np.cos(yaw))) < 20.0
    np.testing.assert_allclose(depth[15][ahead], expected[ahead], atol=0.14)


def test_one_can_look_below_a_crown() -> None:
    depth, _, _ = _view(_scene(hanging=True))
    column = depth[:, 48]
    crown = int(round(CAMERA.cy - CAMERA.fy * (3.2 - HEIGHT_M) / 8.0))
    below = int(round(CAMERA.cy - CAMERA.fy * (2.0 - HEIGHT_M) / 8.0))
    assert column[crown] == pytest.approx(8.0, abs=0.15)
    assert np.isinf(column[below])


def test_a_moving_car_is_in_front_and_marked() -> None:
    car = torch.tensor([[[9.0, 0.0, 0.0, 4.0, 1.8, 1.5, 0.5]]])
    depth, moving, _ = _view(_scene(), cars=car)
    row = int(CAMERA.cy + CAMERA.fy * (HEIGHT_M - 0.6) / 7.0)
    assert moving[row, 48]
    assert depth[row, 48] == pytest.approx(7.0, abs=1e-3)
    assert not moving[:, :20].any()


def test_the_photo_shows_a_point_where_it_is_plus_the_shift() -> None:
    layers = Layers.empty(60.0, 0.125)
    layers.material[:] = Material.ASPHALT
    layers.fill(rectangle(np.array([10.0, 4.0]), 0.0, 2.0, 2.0), material=Material.MARKING)
    look = _look()
    scene = light(layers, Look(**{**look.__dict__, 'wear': 0.0, 'noise': 0.0}), 1)
    photo = render_ortho(scene, 0.2, (0.4, -0.6), torch.Generator().manual_seed(0))
    grey = photo.astype(float).mean(-1)
    bright = np.argwhere(grey > (grey.max() + np.median(grey)) / 2)
    row, col = bright.mean(0)
    east, north = (col + 0.5) * 0.2 - 30.0, 30.0 - (row + 0.5) * 0.2
    assert (east, north) == pytest.approx((10.4, 3.4), abs=0.15)
