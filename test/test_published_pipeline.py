# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The localizer with published contracts: headings, tiles, refusals, and one of full size."""

from __future__ import annotations

from dataclasses import replace
import math
from pathlib import Path
from typing import Any

from loc2_ros.core.camera import map_to_tile, Mount, mount_from_matrix, token_rays
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.gate import Limits
from loc2_ros.core.lift import depth_mask, lift
from loc2_ros.core.values import Camera, Fix, Image, Pose2, Prior, Reason, Rejection
from loc2_ros.crops import Crops
from loc2_ros.loading import crop_grid, load_localizer, LocalizerSettings, solver_of
from loc2_ros.maps.values import Crop
from loc2_ros.maps.writer import write_mbtiles_from_local
from loc2_ros.model.contract import Contract
from loc2_ros.model.depth import ModelDepth
from loc2_ros.model.inference import Observation
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.matcher import cell_centres
from loc2_ros.model.presets import PRESETS
from loc2_ros.model.quality import Quality
from loc2_ros.model.weights import ModelError, save_model
from loc2_ros.pipeline import Localizer
from loc2_ros.ros.params import defaults, localizer_settings
import numpy as np
import pytest
import torch

CAMERA = Camera(1242, 375, 721.5, 721.5, 609.6, 172.9)
IMAGE = Image(np.zeros((375, 1242, 3), np.uint8), 5, CAMERA)


class Store:
    """Blank imagery; remembers what was asked for."""

    centre: Any = None
    psi = math.nan

    def crop(self, frame: LocalFrame, xy_map_m: Any, yaw_map_rad: float, size_m: float,
             px: int) -> Crop:
        self.centre, self.psi = np.asarray(xy_map_m), yaw_map_rad
        self.asked = (size_m, px)
        return Crop(np.full((px, px, 3), 90, np.uint8), np.ones((px, px), bool), 1.0,
                    np.zeros((2, 3)), 0.2, 19, False)


class Oracle:
    """A network of a published contract that knows where base_link is."""

    def __init__(self, contract: Contract, store: Store, truth: Pose2) -> None:
        self.contract, self.store, self.truth = contract, store, truth
        self.mount: Mount | None = None

    def describe(self, crop_rgb: Any) -> torch.Tensor:
        """Remember of the crop where it is."""
        return torch.tensor([*self.store.centre, self.store.psi], dtype=torch.float64)

    def observe(self, image: Image, described: Any, depth_m: Any, mount: Mount,
                height_m: float | None) -> Observation:
        self.mount = mount
        contract = self.contract
        camera = CAMERA.resized(contract.ground_hw[1], contract.ground_hw[0])
        level = torch.from_numpy(token_rays(camera, contract.ground_grid, contract.rays)
                                 @ mount.level_R_camera.T).float()
        depth = torch.rand(len(level), generator=torch.Generator().manual_seed(0)) * 45 + 4
        usable = depth_mask(depth, contract.max_depth_m)
        lifted = lift(depth, level)
        centre, psi = described[:2].numpy(), float(described[2])
        theta, t = map_to_tile(self.truth @ mount.base_T_camera, centre, psi)
        c, s = math.cos(theta), math.sin(theta)
        place = lifted @ torch.tensor([[c, s], [-s, c]]) + torch.from_numpy(t).float()
        cells = cell_centres(contract.aerial_grid, contract.cell_m)
        P = torch.exp(-torch.cdist(cells, place).square() / contract.cell_m ** 2)
        return Observation(0.5 * P / P.sum(0).clamp(min=1e-3), level,
                           torch.where(usable, depth, 0.0), usable)


def mount() -> Mount:
    """Return a camera 1 m ahead of base_link and 1.65 m above it, looking 0.3 rad left."""
    c, s = math.cos(0.3), math.sin(0.3)
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]]) @ np.array(
        [[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])
    matrix[:3, 3] = (1.0, 0.2, 1.65)
    return mount_from_matrix(matrix)


def localizer(name: str, truth: Pose2) -> tuple[Localizer, Oracle, Store]:
    # Half of the tokens is enough here
    contract = replace(PRESETS[name], ground_hw=(182, 616), camera_model='pinhole')
    store = Store()
    oracle = Oracle(contract, store, truth)
    anything: Any = (oracle, store)
    reach = contract.heading_range_rad
    return Localizer(anything[0], anything[1], LocalFrame(49.0, 8.4),
                     Limits(heading_range_rad=None if reach is None else reach + 0.09),
                     solver_of(contract, LocalizerSettings()), Quality(),
                     ModelDepth()), oracle, store


@pytest.mark.parametrize('name', ['kitti_ori10', 'kitti_ori180', 'vigor_samearea_known'])
@pytest.mark.parametrize('heading', [0.0, 2.5, -1.4])
def test_base_link_is_found_from_the_crop_and_view_that_each_preset_wants(name: str,
                                                                          heading: float) -> None:
    truth = Pose2(20.0, -7.0, heading)
    machine, oracle, store = localizer(name, truth)
    prior = Prior(5, truth.xy_m + np.array([6.0, -4.0]), heading + 0.06, 5.0, 0.1)
    found = machine.localize(IMAGE, prior, mount())
    assert isinstance(found, Fix), found
    assert found.map_T_base.xy_m == pytest.approx(truth.xy_m, abs=0.4)
    assert math.cos(found.map_T_base.yaw_rad - heading) == pytest.approx(1.0, abs=2e-4)
    assert store.asked == (machine.contract.tile_m, machine.contract.aerial_px)
    assert oracle.mount is not None
    seen_yaw = heading + 0.06 + oracle.mount.base_T_camera.yaw_rad    # as the prior has it
    if name == 'kitti_ori10':
        assert store.psi == pytest.approx(seen_yaw, abs=1e-9)       # the heading points right
    else:
        assert store.psi == 0.0                                     # north-up
    if name == 'vigor_samearea_known':      # the centre column looks north, to half a column
        assert math.sin(seen_yaw) == pytest.approx(1.0, abs=(math.pi / 1242) ** 2)


def test_a_grid_that_no_prior_is_good_enough_for_is_refused() -> None:
    north_up, heading_up = PRESETS['kitti_ori180'], PRESETS['kitti_ori10']
    assert crop_grid(north_up, LocalizerSettings(crop_step_m=39.0)).step_m == 39.0
    assert crop_grid(Contract('mini'), LocalizerSettings()).step_m == 0.0
    with pytest.raises(ModelError, match='map.crop_step 40 m leaves nothing of the 20 m'):
        crop_grid(north_up, LocalizerSettings(crop_step_m=40.0))
    with pytest.raises(ModelError, match='map.crop_heading_step between 0 and 20 degrees, not 20'):
        crop_grid(heading_up, LocalizerSettings(crop_step_deg=20.0))
    with pytest.raises(ModelError, match='follow the heading'):
        crop_grid(Contract('mini'), LocalizerSettings(crop_step_m=10.0))


@pytest.mark.parametrize('name', ['kitti_ori10', 'kitti_ori180'])
def test_frames_that_share_a_crop_find_their_own_poses(name: str) -> None:
    """A bend of 60 m: crops lie up to 10 m and 5 degrees off, and only some frames cut one."""
    machine, oracle, store = localizer(name, Pose2(0.0, 0.0, 0.0))
    machine.crops = Crops(machine.network, crop_grid(machine.contract, LocalizerSettings()), 64.0)
    places = []
    for k in range(60):
        yaw = k / 100.0
        oracle.truth = Pose2(100 * math.sin(yaw), 100 * (1 - math.cos(yaw)), yaw)
        prior = Prior(5 + k * 100_000_000, oracle.truth.xy_m + np.array([1.5, -2.0]), yaw + 0.02,
                      4.0, 0.04)
        found = machine.localize(replace(IMAGE, stamp_ns=prior.stamp_ns), prior, mount())
        assert isinstance(found, Fix), found
        # The tile's border cuts some matches off, more of them the further off it lies
        assert found.map_T_base.xy_m == pytest.approx(oracle.truth.xy_m, abs=0.7)
        assert found.map_T_base.yaw_rad == pytest.approx(yaw, abs=0.02)
        assert machine.crops.settle(10.0)
        places.append(store.psi)
    assert machine.crops.hits > 50 and machine.crops.misses + machine.crops.prepared < 25
    assert len(set(places)) > 2 if name == 'kitti_ori10' else set(places) == {0.0}
    machine.crops.close()


def test_a_model_for_any_heading_needs_no_prior_heading() -> None:
    truth = Pose2(20.0, -7.0, 2.2)
    prior = Prior(5, truth.xy_m, None, 5.0, None)
    machine, _, store = localizer('kitti_ori180', truth)
    found = machine.localize(IMAGE, prior, mount())
    assert isinstance(found, Fix), found
    assert store.psi == 0.0
    assert found.map_T_base.yaw_rad == pytest.approx(2.2, abs=0.02)
    for name in ('kitti_ori10', 'vigor_crossarea_known'):
        refused = localizer(name, truth)[0].localize(IMAGE, prior, mount())
        assert isinstance(refused, Rejection) and refused.reason is Reason.NO_HEADING


def small(folder: Path, **values: Any) -> str:
    """Write a model folder with a tiny network and return its path."""
    save_model(Loc2Net(replace(
        Contract('own', ground_hw=(16, 32), aerial_px=32, tile_m=16.0, projector_widths=(16,),
                 backbone_options={'widths': [8, 8, 16, 16]}, attention=1), **values)), folder)
    return str(folder)


def test_a_model_that_needs_a_heading_is_refused_where_there_is_none(tmp_path: Path) -> None:
    settings = LocalizerSettings(small(tmp_path / 'm'), 'cpu', heading='none', map_path='nowhere')
    with pytest.raises(ModelError, match='own needs a heading prior; set prior.heading'):
        load_localizer(settings, LocalFrame(49.0, 8.4))
    free = small(tmp_path / 'free', heading_up=False, heading_range_deg=180.0)
    with pytest.raises(Exception, match='nowhere'):     # as far as the map
        load_localizer(replace(settings, checkpoint=free), LocalFrame(49.0, 8.4))


@pytest.mark.parametrize('prefetch', [True, False])
def test_tiles_are_decoded_ahead_of_the_motion_unless_that_is_switched_off(
        tmp_path: Path, prefetch: bool) -> None:
    frame = LocalFrame(49.0, 8.4)
    photo = np.random.default_rng(0).integers(0, 256, (2000, 2000, 3), np.uint8)
    world = write_mbtiles_from_local(tmp_path / 'm.mbtiles', photo, frame, -200.0, 200.0, 0.2)
    given = {**defaults(), 'checkpoint': small(tmp_path / 'm'), 'device': 'cpu',
             'map.path': str(world), 'map.prefetch': prefetch}
    machine = load_localizer(LocalizerSettings(**localizer_settings(given)), frame)
    store = machine.store
    for x in (0.0, 15.0):
        store.crop(frame, (x, 0.0), 0.0, 20.0, 100)
    started = store._prefetcher._thread is not None
    machine.close()
    assert started == prefetch
