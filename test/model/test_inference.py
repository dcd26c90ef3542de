# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the network is told about the camera."""

from __future__ import annotations

from dataclasses import replace
import math

from loc2_ros.core.camera import Mount, mount_from_matrix
from loc2_ros.core.values import Array, Camera, Image
from loc2_ros.model.contract import Contract
from loc2_ros.model.inference import Network, Observation
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.weights import Model
import numpy as np
import torch

TOLD = Contract('told', ground_hw=(64, 128), aerial_px=64, tile_m=32.0, max_depth_m=1e4,
                backbone_options={'widths': [8, 8, 16, 16]}, projector_widths=(16,), attention=1,
                knows_height=True)
CAMERA = Camera(128, 64, 100.0, 100.0, 63.5, 31.5)


def network() -> Network:
    torch.manual_seed(0)
    net = Loc2Net(TOLD).eval()
    return Network(Model(net, TOLD, '', torch.device('cpu'), torch.float32))


def pitched(pitch_rad: float) -> Mount:
    """Make a mount whose camera looks down by an angle."""
    s, c = math.sin(pitch_rad), math.cos(pitch_rad)
    return mount_from_matrix(np.array([[0.0, -s, c, 0.0], [-1, 0, 0, 0], [0, -c, -s, 1.65],
                                       [0, 0, 0, 1]]))


def observed(camera: Camera, mount: Mount, height_m: float | None) -> Observation:
    rng = np.random.default_rng(1)
    image = Image(rng.integers(0, 255, (64, 128, 3), np.uint8), 0, camera)
    one = network()
    crop = one.describe(rng.integers(0, 255, (64, 64, 3), np.uint8))
    return one.observe(image, crop, None, mount, height_m)


def ahead(seen: Observation) -> Array:
    """Return how far the tokens are in the level axes."""
    forward: Array = seen.level[:, 2].double().numpy()
    return forward * seen.depth_m.double().numpy()


def test_to_the_network_a_pitched_camera_is_a_level_one_with_a_shifted_image() -> None:
    # At one degree and 100 pixels of focal length the rays nearly agree
    pitch = math.radians(1.0)
    level, down = pitched(0.0), pitched(pitch)
    shifted = replace(CAMERA, cy=CAMERA.cy - 100.0 * math.tan(pitch))
    seen, twin = observed(CAMERA, down, 1.65), observed(shifted, level, 1.65)
    blind = observed(CAMERA, level, 1.65)       # told nothing of the tilt
    expected = ahead(twin)
    assert np.abs(ahead(seen) - expected).max() < 0.2 * np.abs(
        ahead(blind) - expected).max()
    assert (seen.P - twin.P).abs().max() < 0.2 * (blind.P - twin.P).abs().max()


def test_an_unknown_height_is_no_reason_to_fail() -> None:
    level = pitched(0.0)
    seen, unknown = observed(CAMERA, level, 1.65), observed(CAMERA, level, None)
    assert torch.isfinite(unknown.P).all() and torch.isfinite(unknown.depth_m).all()
    assert not torch.allclose(seen.depth_m, unknown.depth_m)
