# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The bench: every stage is there, and they add up to the whole; nothing about speed."""

from __future__ import annotations

import math
from typing import Any

from loc2_ros.core.camera import level_mount
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Camera, Image, Prior
from loc2_ros.evaluate.bench import bench, count_operations, END_TO_END, RANSAC, SHARED_CROP
from loc2_ros.loading import _limits, LocalizerSettings, solver_of
from loc2_ros.maps.values import Crop
from loc2_ros.model.depth import ModelDepth
from loc2_ros.model.inference import Network
from loc2_ros.model.quality import Quality
from loc2_ros.model.weights import load_model
from loc2_ros.pipeline import Localizer
import numpy as np
import pytest
import torch


class Noise:
    """Imagery of noise."""

    valid_fraction = 1.0

    def crop(self, frame: Any, xy: Any, yaw: float, size_m: float, px: int) -> Crop:
        rgb = np.random.default_rng(1).integers(0, 255, (px, px, 3)).astype(np.uint8)
        return Crop(rgb, np.ones((px, px), bool), self.valid_fraction, np.eye(3)[:2], 0.2, 19,
                    False)


@pytest.fixture(scope='module')
def localizer() -> Localizer:
    settings = LocalizerSettings()
    model = load_model('mini', 'cpu')
    store: Any = Noise()
    return Localizer(Network(model), store, LocalFrame(48.9, 8.4),
                     _limits(model.contract, settings), solver_of(model.contract, settings),
                     Quality.of(model.contract, (), 1.0), ModelDepth())


def query() -> tuple[Image, Prior, Any]:
    rgb = np.random.default_rng(0).integers(0, 255, (160, 512, 3)).astype(np.uint8)
    image = Image(rgb, 1, Camera(512, 160, 300.0, 300.0, 255.5, 79.5))
    return image, Prior(1, np.zeros(2), 0.0, 8.0, math.radians(5)), level_mount(1.65)


def test_the_stages_are_all_there(localizer: Localizer) -> None:
    found = bench(localizer, *query(), repeats=3, warm=1)
    stages = found.stages_s
    parts = found.parts
    assert parts == ['crop', 'depth source', 'ground backbone', 'depth head', 'ground projector',
                     'aerial backbone', 'aerial projector', 'matching, resizing and copies',
                     'solve', 'evidence, covariance, gate']
    assert all(len(values) == 3 for values in stages.values())
    assert set(stages) - set(parts) == {END_TO_END, SHARED_CROP, RANSAC}
    facts = found.to_json()
    for name in ('ground backbone', 'aerial backbone', 'solve', END_TO_END, SHARED_CROP, RANSAC):
        assert facts['stages'][name]['median_ms'] > 0
    # Operations, not time: the aerial branch is left out where the crop is shared
    work = found.gflop
    assert work[END_TO_END] > work[SHARED_CROP] > work['ground backbone'] > 0.1
    assert work[END_TO_END] - work[SHARED_CROP] == pytest.approx(
        work['aerial backbone'] + work['aerial projector'])
    assert facts['stages']['ground backbone']['floor_ms'] == pytest.approx(
        1e3 * work['ground backbone'] / facts['gflop_per_s'], rel=0.01)
    assert facts['model'] == 'mini' and facts['device'] == 'cpu' and facts['peak_memory_mb'] > 0
    assert found.table().count('\n') == len(stages) + 1


def test_attention_is_counted_among_the_operations() -> None:
    pytest.importorskip('transformers')
    from loc2_ros.model.dinov2 import random_dinov2, Size
    hidden, tokens = 64, 4 * 6 + 1
    backbone = random_dinov2(Size(hidden, 1, 1))
    backbone(torch.rand(1, 3, 4 * 14, 6 * 14))      # resizes the position table, which is kept
    with count_operations() as counter:
        backbone(torch.rand(1, 3, 4 * 14, 6 * 14))
    # Two a multiplication: patches, q, k, v and output, the feed-forward layer, attention
    patches = 2 * 24 * hidden * 3 * 14 * 14
    linear = 2 * tokens * hidden * hidden * (4 + 8)
    attention = 2 * 2 * tokens * tokens * hidden
    assert counter.get_total_flops() == patches + linear + attention


def test_the_hooks_are_gone_afterwards(localizer: Localizer) -> None:
    bench(localizer, *query(), repeats=1, warm=0)
    net = localizer.network.model.net
    assert not any(module._forward_hooks or module._forward_pre_hooks
                   for module in net.modules())


def test_an_image_that_does_not_reach_the_solver_is_refused(localizer: Localizer) -> None:
    store: Any = localizer.store
    store.valid_fraction = 0.1
    try:
        with pytest.raises(ValueError, match='does not reach the solver: map_coverage'):
            bench(localizer, *query(), repeats=1)
    finally:
        store.valid_fraction = 1.0
