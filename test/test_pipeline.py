# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The localizer around a network that knows the truth: frames, lever arm, reasons.

The fake network answers with the probabilities that a perfect one would give, so every error
left is one of the chain: crop centre, crop heading, lift, solver, tile to map, lever arm.
"""

from __future__ import annotations

import math
import threading
from typing import Any
import weakref

from loc2_ros.core.camera import map_to_tile, Mount, mount_from_matrix, token_rays
from loc2_ros.core.crop_grid import CropGrid
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.gate import Limits
from loc2_ros.core.lift import flat_ground_depth, lift
from loc2_ros.core.values import Camera, Fix, Image, Pose2, Prior, Reason, Rejection
from loc2_ros.crops import Crops
from loc2_ros.maps.values import Crop
from loc2_ros.model.contract import Contract
from loc2_ros.model.depth import DepthImages, ModelDepth
from loc2_ros.model.inference import Observation
from loc2_ros.model.quality import Quality
from loc2_ros.model.solve import Solver
from loc2_ros.pipeline import Localizer
import numpy as np
import pytest
import torch

CAMERA = Camera(640, 192, 372.0, 372.0, 319.5, 95.5)
CONTRACT = Contract('fake')
IMAGE = Image(np.zeros((192, 640, 3), np.uint8), 123_456_789, CAMERA)


class FakeStore:
    """Blank imagery; remembers what was asked for."""

    def __init__(self, valid_fraction: float = 1.0) -> None:
        self.valid_fraction = valid_fraction
        self.centre, self.psi = np.zeros(2), 0.0

    def crop(self, frame: LocalFrame, xy_map_m: Any, yaw_map_rad: float, size_m: float,
             px: int) -> Crop:
        self.centre, self.psi = np.asarray(xy_map_m), yaw_map_rad
        valid = np.ones((px, px), bool)
        return Crop(np.zeros((px, px, 3), np.uint8), valid, self.valid_fraction,
                    np.zeros((2, 3)), 0.2, 19, False)


class FakeNetwork:
    """Knows where the camera is, and how high above flat ground."""

    contract = CONTRACT

    def __init__(self, store: FakeStore, map_T_camera: Pose2, mount: Mount,
                 error: Exception | None = None, blind: bool = False) -> None:
        self.store, self.truth, self.mount = store, map_T_camera, mount
        self.error, self.blind = error, blind

    def describe(self, crop_rgb: Any) -> Any:
        return None

    def observe(self, image: Image, described: Any, depth_m: Any, mount: Mount,
                height_m: float | None) -> Observation:
        if self.error is not None:
            raise self.error
        height, width = CONTRACT.ground_hw
        rays = torch.from_numpy(token_rays(image.camera.resized(width, height),
                                           CONTRACT.ground_grid))
        level = torch.from_numpy(self.mount.level_R_camera)
        depth = flat_ground_depth(rays, level, self.mount.height_m)
        usable = torch.isfinite(depth) & (depth < CONTRACT.max_depth_m)
        depth = torch.where(usable, depth, 0.0)
        theta, t = map_to_tile(self.truth, self.store.centre, self.store.psi)
        lifted = lift(depth, rays @ level.T)
        c, s = math.cos(theta), math.sin(theta)
        place = lifted @ torch.tensor([[c, s], [-s, c]]).double() + torch.from_numpy(t)
        P = torch.zeros(1600, len(rays), dtype=torch.float64)
        if not self.blind:
            _spread(P, place / CONTRACT.cell_m + 19.5, usable)
        return Observation(P.float(), (rays @ level.T).float(), depth.float(), usable)


def _spread(P: torch.Tensor, place: torch.Tensor, usable: torch.Tensor) -> None:
    """Put each usable token's probability on the four cells around its place."""
    base = place.floor().clamp(0, 38).long()
    share = (place - base).clamp(0, 1)
    inside = usable & ((place > 0) & (place < 39)).all(-1)
    for dr in (0, 1):
        for dc in (0, 1):
            part = (1 - dr - share[:, 0]).abs() * (1 - dc - share[:, 1]).abs() * inside
            P[(base[:, 0] + dr) * 40 + base[:, 1] + dc, torch.arange(len(place))] = part


def _mount(yaw: float = 0.0, pitch: float = 0.0) -> Mount:
    """Return a camera 1.4 m ahead, 0.3 m to the left, turned by yaw and nose down by pitch."""
    cy, sy, cp, sp = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1.0]])
    tilt = np.array([[cp, 0, sp], [0, 1.0, 0], [-sp, 0, cp]])
    optical = np.array([[0, 0, 1.0], [-1.0, 0, 0], [0, -1.0, 0]])
    matrix = np.eye(4)
    matrix[:3, :3] = turn @ tilt @ optical
    matrix[:3, 3] = (1.4, 0.3, 1.6)
    return mount_from_matrix(matrix)


def _prior(truth: Pose2, dx: float = 9.0, dy: float = -7.0, turn: float = 0.12) -> Prior:
    return Prior(IMAGE.stamp_ns, truth.xy_m + np.array([dx, dy]), truth.yaw_rad + turn, 8.0, 0.1)


def _localizer(truth: Pose2, mount: Mount, **network: Any) -> Localizer:
    store = FakeStore()
    fake: Any = FakeNetwork(store, truth @ mount.base_T_camera, mount, **network)
    imagery: Any = store
    return Localizer(fake, imagery, LocalFrame(49.0, 8.4), Limits(heading_range_rad=0.3),
                     Solver(), Quality(), ModelDepth())


@pytest.mark.parametrize('heading_deg', range(-180, 180, 45))
def test_base_link_is_found_for_every_heading(heading_deg: int) -> None:
    truth, mount = Pose2(120.0, -45.0, math.radians(heading_deg)), _mount()
    found = _localizer(truth, mount).localize(IMAGE, _prior(truth), mount)
    assert isinstance(found, Fix), found
    assert found.stamp_ns == IMAGE.stamp_ns
    assert found.map_T_base.xy_m == pytest.approx(truth.xy_m, abs=0.05)
    turn = (truth.inverse() @ found.map_T_base).yaw_rad
    assert math.degrees(turn) == pytest.approx(0.0, abs=0.2)
    assert found.scale == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize('yaw, pitch', [(0.5, 0.0), (-1.5708, 0.0), (0.0, 0.12), (2.0, 0.08)])
def test_a_turned_and_tilted_camera_gives_the_same_base_link(yaw: float, pitch: float) -> None:
    truth, mount = Pose2(-30.0, 8.0, 0.7), _mount(yaw, pitch)
    found = _localizer(truth, mount).localize(IMAGE, _prior(truth), mount)
    assert isinstance(found, Fix), found
    assert found.map_T_base.xy_m == pytest.approx(truth.xy_m, abs=0.05)
    assert found.map_T_base.yaw_rad == pytest.approx(truth.yaw_rad, abs=0.004)


def test_the_evidence_shows_lifted_points_on_their_matches() -> None:
    truth, mount = Pose2(5.0, 6.0, 1.0), _mount()
    found = _localizer(truth, mount).localize(IMAGE, _prior(truth), mount)
    assert isinstance(found, Fix) and found.evidence is not None
    shown = found.evidence
    gap = np.linalg.norm(shown.lifted_map_m - shown.matched_map_m, axis=1)[shown.inlier]
    assert np.median(gap) < 0.1
    assert set(shown.timings_s) >= {'crop', 'network', 'solve'}


def test_votes_and_layout_are_those_of_the_truth() -> None:
    truth, mount = Pose2(5.0, 6.0, 1.0), _mount(0.3)
    localizer = _localizer(truth, mount)
    localizer.explain = True
    found = localizer.localize(IMAGE, _prior(truth), mount)
    assert isinstance(found, Fix) and found.evidence is not None
    shown = found.evidence
    assert shown.votes is not None and shown.map_T_vote is not None
    row, col = np.unravel_index(shown.votes.argmax(), shown.votes.shape)
    peak = shown.map_T_vote @ (col, row, 1.0)
    camera = truth @ mount.base_T_camera
    assert peak == pytest.approx(camera.xy_m, abs=CONTRACT.cell_m)
    assert shown.numbers['votes_near'] > 0.9
    # A token that was matched lies in the layout where the lifted points have it
    assert shown.layout_map_m is not None and shown.layout_uv_px is not None
    layout, pixels = shown.layout_map_m.reshape(-1, 2), shown.layout_uv_px.reshape(-1, 2)
    index = [int(np.flatnonzero((pixels == uv).all(axis=1))[0]) for uv in shown.ground_uv_px]
    np.testing.assert_allclose(layout[index], shown.lifted_map_m, atol=1e-6)
    assert np.isnan(layout[pixels[:, 1] < 96 - 2]).all()        # sky: the camera is level


def test_too_little_map_is_a_reason() -> None:
    truth, mount = Pose2(0.0, 0.0, 0.0), _mount()
    localizer = _localizer(truth, mount)
    store: Any = localizer.store
    store.valid_fraction = 0.5
    found = localizer.localize(IMAGE, _prior(truth), mount)
    assert isinstance(found, Rejection) and found.reason is Reason.MAP_COVERAGE
    assert found.numbers['valid_fraction'] == 0.5


def test_a_model_that_needs_a_heading_says_so() -> None:
    truth, mount = Pose2(0.0, 0.0, 0.0), _mount()
    prior = Prior(IMAGE.stamp_ns, np.zeros(2), None, 8.0, None)
    found = _localizer(truth, mount).localize(IMAGE, prior, mount)
    assert isinstance(found, Rejection) and found.reason is Reason.NO_HEADING


def test_a_depth_source_with_nothing_for_the_stamp_is_a_reason() -> None:
    truth, mount = Pose2(0.0, 0.0, 0.0), _mount()
    localizer = _localizer(truth, mount)
    localizer.depth = DepthImages()
    found = localizer.localize(IMAGE, _prior(truth), mount)
    assert isinstance(found, Rejection) and found.reason is Reason.NO_DEPTH


def test_a_model_that_raises_is_a_reason_with_its_message() -> None:
    truth, mount = Pose2(0.0, 0.0, 0.0), _mount()
    found = _localizer(truth, mount, error=RuntimeError('out of memory')).localize(
        IMAGE, _prior(truth), mount)
    assert isinstance(found, Rejection) and found.reason is Reason.MODEL_ERROR
    assert 'out of memory' in str(found)


def test_a_gpu_out_of_memory_is_told_with_a_remedy_and_frees_what_it_can(
        monkeypatch: pytest.MonkeyPatch) -> None:
    truth, mount = Pose2(0.0, 0.0, 0.0), _mount()
    localizer = _localizer(truth, mount)
    network: Any = localizer.network
    localizer.crops = Crops(network, CropGrid(True, 2.0, math.radians(5.0), 30.0, 1.0), 64.0)
    monkeypatch.setattr(network, 'describe', lambda crop: torch.zeros(1000))
    assert isinstance(localizer.localize(IMAGE, _prior(truth), mount), Fix)
    localizer.crops.settle(10.0)
    assert localizer.crops._kept.bytes > 0
    held: list[Any] = []
    freed: list[bool] = []

    def full(*args: Any) -> Observation:
        big = torch.zeros(1000)
        held.append(weakref.ref(big))
        raise torch.cuda.OutOfMemoryError('CUDA out of memory. Tried to allocate 2.00 GiB')
    working = network.observe
    monkeypatch.setattr(network, 'observe', full)
    monkeypatch.setattr(torch.cuda, 'empty_cache', lambda: freed.append(held[-1]() is None))
    for n in range(3):
        found = localizer.localize(IMAGE, _prior(truth), mount)
        assert isinstance(found, Rejection) and found.reason is Reason.MODEL_ERROR
        assert 'map.crops_mb' in str(found) and '2.00 GiB' in str(found)
        assert freed == [True] * (n + 1)
        assert localizer.crops._kept.bytes == 0
    monkeypatch.setattr(network, 'observe', working)
    assert isinstance(localizer.localize(IMAGE, _prior(truth), mount), Fix)
    localizer.crops.close()


def test_no_matches_at_all_is_degenerate() -> None:
    truth, mount = Pose2(0.0, 0.0, 0.0), _mount()
    found = _localizer(truth, mount, blind=True).localize(IMAGE, _prior(truth), mount)
    assert isinstance(found, Rejection)
    assert found.reason in (Reason.DEGENERATE, Reason.FEW_INLIERS)


class ClosingStore(FakeStore):
    """Refuses to be read once it is closed."""

    closed = False

    def crop(self, *request: Any) -> Crop:
        assert not self.closed
        return super().crop(*request)

    def close(self) -> None:
        self.closed = True


def test_a_map_is_exchanged_while_an_image_ends_on_the_one_it_began_with() -> None:
    truth, mount = Pose2(5.0, 3.0, 0.4), _mount()
    localizer = _localizer(truth, mount)
    network: Any = localizer.network
    first, second = ClosingStore(), ClosingStore()
    localizer.store = network.store = first
    begun, go_on, real = threading.Event(), threading.Event(), network.observe

    def slow(*scene: Any) -> Observation:
        begun.set()
        assert go_on.wait(10.0) and not first.closed
        return real(*scene)
    network.observe = slow
    results: list[Any] = []
    image = threading.Thread(target=lambda: results.append(
        localizer.localize(IMAGE, _prior(truth), mount)))
    image.start()
    assert begun.wait(10.0)
    change = threading.Thread(target=lambda: localizer.exchange(second))
    change.start()
    change.join(0.2)
    assert change.is_alive() and not first.closed
    go_on.set()
    image.join(10.0)
    change.join(10.0)
    assert first.closed and isinstance(results[0], Fix)
    network.store, network.observe = second, real
    assert isinstance(localizer.localize(IMAGE, _prior(truth), mount), Fix)
    assert not second.closed and np.any(second.centre)


def test_a_map_that_comes_after_the_end_is_closed_at_once() -> None:
    localizer = _localizer(Pose2(5.0, 3.0, 0.4), _mount())
    first, second = ClosingStore(), ClosingStore()
    localizer.store = first
    localizer.network.close = lambda: None      # type: ignore[method-assign]
    localizer.close()
    with pytest.raises(RuntimeError, match='closed meanwhile'):
        localizer.exchange(second)
    assert first.closed and second.closed
