# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Crops with their descriptions: made once per place, made beforehand, bounded, never stale."""

from __future__ import annotations

import math
import threading
from typing import Any

from loc2_ros.core.crop_grid import CropGrid
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Pose2, Prior
from loc2_ros.crops import Crops
from loc2_ros.maps.values import Crop
from loc2_ros.model.contract import Contract
import numpy as np
import pytest
import torch

FRAME = LocalFrame(49.0, 8.4)
CONTRACT = Contract('fake', heading_up=False, heading_range_deg=180.0)
GRID = CropGrid(False, 20.0)


class Store:
    """Imagery whose first pixel tells which map it is and how often it was cut."""

    def __init__(self, number: int = 0) -> None:
        self.number, self.cuts = number, 0

    def crop(self, frame: Any, xy: Any, yaw: float, size_m: float, px: int) -> Crop:
        self.cuts += 1
        rgb = np.full((px, px, 3), self.number, np.uint8)
        return Crop(rgb, np.ones((px, px), bool), 1.0, np.array([[0, 0, xy[0]], [0, 0, xy[1]]]),
                    0.2, 19, False)


class Network:
    """Describes a crop by its map; counts, and remembers who asked."""

    contract = CONTRACT

    def __init__(self) -> None:
        self.threads: list[str] = []
        self.error: Exception | None = None

    def describe(self, crop_rgb: Any) -> torch.Tensor:
        self.threads.append(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return torch.full((1000,), float(crop_rgb[0, 0, 0]))


def drive(crops: Crops, store: Any, frames: int, speed: float = 10.0, sigma: float = 1.0,
          frame: LocalFrame = FRAME) -> float:
    """Go along a bend at 10 Hz with a prior that is off; return the metres driven."""
    rng = np.random.default_rng(0)
    for k in range(frames):
        s = speed * k / 10.0
        yaw = s / 150.0
        off = rng.normal(0, sigma, 2)
        view = Pose2(150 * math.sin(yaw) + off[0], 150 - 150 * math.cos(yaw) + off[1], yaw)
        prior = Prior(1 + k * 100_000_000, view.xy_m, yaw, max(sigma, 0.1), 0.01)
        crops.described(crops.at(store, frame, view, prior))
        crops.look_ahead(frame, prior)
        assert crops.settle(10.0)
    return speed * frames / 10.0


def test_a_drive_pays_for_the_aerial_branch_once_every_twenty_metres() -> None:
    network, store = Network(), Store()
    crops = Crops(network, GRID, 256.0)
    driven = drive(crops, store, 300)
    # A bend cuts corners of cells, and the prior wanders over their borders
    assert len(network.threads) <= 2 * driven / 20.0
    assert len(network.threads) == crops.misses + crops.prepared
    assert crops.hits + crops.misses == 300
    crops.close()


def test_only_the_first_image_waits_for_a_crop() -> None:
    network = Network()
    crops = Crops(network, GRID, 256.0)
    drive(crops, Store(), 300)
    assert network.threads[0] == threading.current_thread().name
    assert network.threads.count(threading.current_thread().name) == crops.misses
    # What a prior off by metres jumps to cannot all be foreseen
    assert crops.misses <= 4 and crops.prepared >= 15
    crops.close()
    clean = Crops(network, GRID, 256.0)
    drive(clean, Store(), 300, sigma=0.0)
    assert clean.misses == 1
    clean.close()


def test_memory_stays_within_its_bound_and_is_told() -> None:
    crops = Crops(Network(), GRID, 1.5)         # four crops with their descriptions
    drive(crops, Store(), 300)
    about = crops.about()
    assert 1.0 < about['crops_mb'] <= 1.5
    assert about['crops_reused'] == crops.hits and about['crops_waited_for'] == crops.misses
    crops.close()
    assert Crops(Network(), CropGrid(False), 256.0).about() == {}


@pytest.mark.parametrize('grid, limit_mb', [(GRID, 0.0), (CropGrid(False), 256.0)])
def test_without_grid_or_memory_each_crop_is_centred_on_its_prior(grid: CropGrid,
                                                                  limit_mb: float) -> None:
    network, store = Network(), Store()
    crops = Crops(network, grid, limit_mb)
    view = Pose2(3.25, -1.5, 0.4)
    for _ in range(3):
        tile = crops.at(store, FRAME, view, Prior(1, view.xy_m, 0.4, 1.0, 0.01))
        crops.described(tile)
        assert tile.place.xy_m.tolist() == [3.25, -1.5] and tile.key is None
    assert store.cuts == 3 and len(network.threads) == 3
    crops.close()


def test_another_map_or_map_frame_is_never_answered_with_the_old_one() -> None:
    network = Network()
    crops = Crops(network, GRID, 256.0)
    view = Pose2(0.0, 0.0, 0.0)
    prior = Prior(1, np.zeros(2), 0.0, 1.0, 0.01)
    first, second = Store(1), Store(2)
    for store, frame, told in ((first, FRAME, 1.0), (second, FRAME, 2.0),
                               (second, LocalFrame(50.0, 8.4), 2.0), (first, FRAME, 1.0)):
        found = crops.described(crops.at(store, frame, view, prior))        # type: ignore
        assert found[0] == told
    assert len(network.threads) == 4
    crops.close()


def test_a_standstill_a_gap_and_a_jump_of_time_prepare_nothing() -> None:
    network = Network()
    crops = Crops(network, GRID, 256.0)
    store: Any = Store()

    def see(stamp_s: float, x: float) -> None:
        view = Pose2(x, 0.0, 0.0)
        prior = Prior(int(stamp_s * 1e9), view.xy_m, 0.0, 1.0, 0.01)
        crops.described(crops.at(store, FRAME, view, prior))
        crops.look_ahead(FRAME, prior)
        assert crops.settle(10.0)

    for stamp, x in ((1.0, 0.0), (1.1, 0.0), (5.0, 500.0), (2.0, 100.0)):
        see(stamp, x)
    assert crops.prepared == 0
    see(2.5, 108.0)         # 16 m/s: at 120 m in a second at the latest
    assert crops.prepared == 1
    crops.close()


def test_a_network_that_fails_beforehand_is_asked_again_and_heard_then() -> None:
    network = Network()
    crops = Crops(network, GRID, 256.0)
    drive(crops, Store(), 5)
    network.error = RuntimeError('CUDA out of memory')
    crops.look_ahead(FRAME, Prior(600_000_000, np.zeros(2), 0.0, 1.0, 0.01))
    with pytest.raises(RuntimeError, match='out of memory'):
        drive(crops, Store(), 40)
    network.error = None
    assert drive(crops, Store(), 40) > 0
    crops.close()
