# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A frame waits for the device once: counted on a device that only pretends to be one."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
from typing import Any

from loc2_ros.core.camera import level_mount
from loc2_ros.core.crop_grid import CropGrid
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.gate import Limits
from loc2_ros.core.values import Camera, Fix, Image, Panorama, Prior, Reason, Rejection
from loc2_ros.crops import Crops
from loc2_ros.loading import LocalizerSettings, solver_of
from loc2_ros.maps.values import Crop
from loc2_ros.model.contract import Contract
from loc2_ros.model.depth import DepthImages, DepthSource, FlatGround, LidarDepth, ModelDepth
from loc2_ros.model.depth_network import load_depth_network, NetworkDepth
from loc2_ros.model.dinov2 import random_dinov2, Size
from loc2_ros.model.inference import Network
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.quality import Quality
from loc2_ros.model.weights import load_model, Model
from loc2_ros.pipeline import Localizer
from model.depth_anything import save_tiny
import numpy as np
from pretend_device import DEVICE, move, pretended
import pytest
import torch

FRAME = LocalFrame(48.9, 8.4)
MOUNT = level_mount(1.65)
TOKENS = Size(64, 1, 1)
PUBLISHED = Contract(
    'published', ground_hw=(56, 112), stride=14, aerial_px=112, aerial_cells=9, tile_m=40.0,
    heading_range_deg=180.0, heading_up=False, rays='edges', grid='edges',
    backbone='dinov2_vits14', backbone_options={'hidden': 64, 'layers': 1, 'heads': 1},
    projector_widths=(32, 16), attention=1, own_depth=False, knows_rays=False,
    masks_tokens=True, solver={'kind': 'all_pairs', 'draws': 64})
ROUND = replace(PUBLISHED, camera_model='equirectangular', north_aligned=True,
                heading_range_deg=0.0)


class Noise:
    """Imagery of noise."""

    def crop(self, frame: Any, xy: Any, yaw: float, size_m: float, px: int) -> Crop:
        rgb = np.random.default_rng(1).integers(0, 255, (px, px, 3)).astype(np.uint8)
        return Crop(rgb, np.ones((px, px), bool), 1.0, np.eye(3)[:2], 0.2, 19, False)


def image(contract: Contract) -> Image:
    h, w = 70, 140
    rgb = np.random.default_rng(0).integers(0, 255, (h, w, 3)).astype(np.uint8)
    camera: Any = (Panorama(w, h) if contract.camera_model == 'equirectangular' else
                   Camera(w, h, 90.0, 90.0, 69.5, 34.5))
    return Image(rgb, 7, camera)


def model_of(contract: Contract) -> Model:
    torch.manual_seed(0)
    net = Loc2Net(contract, random_dinov2(TOKENS)).eval().requires_grad_(False)
    return Model(net, contract, '', torch.device('cpu'), torch.float32)


def localizer(model: Model, depth: DepthSource, settings: LocalizerSettings) -> Localizer:
    network, store = Network(model), Noise()
    anything: Any = store
    return Localizer(network, anything, FRAME, Limits(min_valid_fraction=0.5),
                     solver_of(model.contract, settings), Quality(), depth,
                     crops=Crops(network, CropGrid(model.contract.heading_up)))


def elsewhere(model: Model) -> Model:
    """Move a model to the pretended device."""
    move(model.net)
    if model.contract.backbone.startswith('dinov2'):
        move(model.net.ground_backbone)
    return replace(model, device=DEVICE)


def pose(result: Fix | Rejection) -> list[float]:
    """Return what was solved, of a rejection as well."""
    assert result.evidence is not None, result
    return [*result.evidence.lifted_map_m[:5].ravel(), float(len(result.evidence.weight))]


def counted(model: Model, depth: DepthSource, solver: str = 'auto') -> None:
    """Compare a frame on the CPU with one elsewhere, and count its reads."""
    settings = LocalizerSettings(solver=solver)
    at_home = localizer(model, depth, settings).localize(image(model.contract), PRIOR, MOUNT)
    with pretended() as device:
        away = localizer(elsewhere(model), depth, settings)
        away.localize(image(model.contract), PRIOR, MOUNT)       # fills what is kept for later
        device.reads.clear()
        device.waits.clear()
        calls = device.calls
        found = away.localize(image(model.contract), PRIOR, MOUNT)
    assert device.calls > calls + 50, found         # the work was done there
    assert len(device.reads) == 1, device.reads
    assert device.waits == []
    assert pose(found) == pytest.approx(pose(at_home), abs=1e-4)


PRIOR = Prior(7, np.array([3.0, -2.0]), 0.3, 3.0, 0.05)


@pytest.mark.parametrize('solver', ['guided', 'all_pairs', 'sampled', 'ransac'])
def test_published_models_read_once_with_every_solver(solver: str) -> None:
    counted(model_of(PUBLISHED), FlatGround(1.65), solver)


def test_the_embedded_model_reads_once() -> None:
    counted(load_model('mini', 'cpu'), ModelDepth())


def test_panoramas_that_are_turned_north_read_once() -> None:
    depth = DepthImages()
    depth.add(7, np.random.default_rng(2).uniform(2, 30, (35, 70)))
    counted(model_of(ROUND), depth)


def test_depth_from_a_scan_reads_once() -> None:
    depth = LidarDepth()
    depth.add(7, np.random.default_rng(2).uniform((-9, 0.5, 4), (9, 1.6, 30), (4000, 3)))
    counted(model_of(PUBLISHED), depth)


@pytest.mark.parametrize('contract', [PUBLISHED, ROUND])
def test_a_depth_network_beside_the_model_costs_no_further_read(contract: Contract,
                                                                tmp_path: Path) -> None:
    pytest.importorskip('transformers')
    network = load_depth_network(str(save_tiny(tmp_path)), torch.device('cpu'), short_side=42)

    class Moved(NetworkDepth):
        """Goes where the images of the model go."""

        def tokens(self, *args: Any, **kwargs: Any) -> Any:
            if torch.autocast is not AUTOCAST and network.device != DEVICE:
                move(network._net)
                network.device = DEVICE
                network._mean, network._std = (x.to(DEVICE) for x in (network._mean,
                                                                      network._std))
            return super().tokens(*args, **kwargs)

    counted(model_of(contract), Moved(network))


AUTOCAST = torch.autocast


def test_the_pretended_device_counts_and_keeps_apart() -> None:
    with torch.inference_mode(), pretended() as device:
        x = torch.arange(6.0).to(DEVICE, non_blocking=True)
        assert device.waits == [] and x.device == DEVICE
        torch.ones(3).to(DEVICE)
        assert len(device.waits) == 1
        assert (2 * x).sum().cpu() == 30.0 and len(device.reads) == 1
        assert float(x[1]) == 1.0 and len(device.reads) == 2
        assert len(x[x > 2]) == 3 and len(device.reads) == 3
        x[x.argmax()]
        assert len(device.reads) == 4
        with pytest.raises(RuntimeError, match='same device'):
            x + torch.ones(6)


def test_what_a_network_raises_is_a_rejection_not_a_crash() -> None:
    class Full(FlatGround):
        """A depth network that has no memory left."""

        def tokens(self, *args: Any, **kwargs: Any) -> Any:
            raise torch.OutOfMemoryError('CUDA out of memory')

    found = localizer(model_of(PUBLISHED), Full(1.65), LocalizerSettings()).localize(
        image(PUBLISHED), PRIOR, MOUNT)
    assert isinstance(found, Rejection) and found.reason is Reason.MODEL_ERROR
    assert 'out of memory' in found.detail and math.isfinite(found.stamp_ns)
