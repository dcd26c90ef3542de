# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Diagnostics over DDS: every key has something that fills it, messages are sentences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Evidence, Prior
from loc2_ros.ros.about import load
from loc2_ros.ros.diagnostics import KEYS
import numpy as np
import pytest
from ros_world import BAG_TIME, DATUM, FakeLocalizer, SECOND, stamp_of, World

MINI = Path(__file__).resolve().parents[2] / 'loc2_ros' / 'model' / 'mini'
# Shown when there is trouble, or with other settings than those below
SOMETIMES = {
    'input': {'input_problem', 'tf_error', 'filter_off_m', 'odometry_resets'},
    'map': {'tile_error', 'map_error', 'map_warnings', 'crops_mb', 'crops_reused',
            'crops_prepared', 'crops_waited_for'},
    'localization': {'reason', 'remedy'},
    'model': {'depth_model', 'depth_licence', 'gpu_memory_mb', 'model_error', 'inference_ms'}}


def dated_map(folder: Path) -> Path:
    """Write a map of 256 m of grey, flown 2009-07-01, without an attribution of anybody real."""
    from loc2_ros.maps.writer import write_mbtiles_from_local
    return write_mbtiles_from_local(
        folder / 'map.mbtiles', np.full((256, 256, 3), 90, np.uint8), LocalFrame(*DATUM),
        -128.0, 128.0, 1.0, metadata={'attribution': 'nobody', 'acquired': '2009-07-01'})


class Mapped(FakeLocalizer):
    """Has a map, and tells what the crop of an image held."""

    def __init__(self, store: Any) -> None:
        super().__init__()
        self.store = store

    def localize(self, image: Any, prior: Prior, mount: Any) -> Any:
        """Answer with the evidence that diagnostics read."""
        nothing = np.zeros((0, 2))
        evidence = Evidence(
            np.zeros((4, 4, 3), np.uint8), np.zeros((2, 3)), nothing, nothing, nothing,
            np.zeros(0), np.zeros(0, bool), {'crop': 0.004}, {'valid_fraction': 1.0})
        return replace(super().localize(image, prior, mount), evidence=evidence)


def test_after_a_fix_every_key_is_filled(world: World, tmp_path: Path) -> None:
    from loc2_ros.maps.store import open_store
    path = dated_map(tmp_path)
    node = world.start(Mapped(open_store(path)), use_sim_time=True, odom_frame='odom',
                       map__path=str(path))
    world.set_clock(node, BAG_TIME)
    world.tf_static()
    world.info()
    for n in (0, 1):
        world.fix(BAG_TIME + n * SECOND // 5)
        world.imu(BAG_TIME + n * SECOND // 5)
        world.tf('odom', 'base_link', [0.0] * 6, BAG_TIME + n * SECOND // 5)
    world.until(lambda: world.knows(node), 'sensors')
    for n in (1, 2):        # one image has no rate
        world.frame(BAG_TIME + n * SECOND // 20)
        world.poses(n)
    world.shows('localization', 'fixes', '2')
    for status in ('input', 'map', 'localization'):
        shown = (world.status(status) or (0, '', {}))[2]
        assert set(KEYS[status]) - set(shown) <= SOMETIMES[status], status
    values = (world.status('map') or (0, '', {}))[2]
    # 2011-09-26 by the clock of the node, not the year of this test
    assert float(values['imagery_age_years']) == pytest.approx(2.24, abs=0.02)
    # At (12.77, -6.76) the nearest edge of -128 to 128 is in the east; tiles reach beyond it
    assert 115.0 < float(values['distance_to_edge_m']) < 130.0
    message = world.got['diagnostics'][-1]
    assert stamp_of(message) == BAG_TIME
    assert [s.name for s in message.status] == [
        'loc2: input', 'loc2: map', 'loc2: localization', 'loc2: model']


@pytest.mark.slow
def test_every_key_of_the_model_is_filled_by_a_real_one(world: World, tmp_path: Path) -> None:
    pytest.importorskip('loc2_ros.loading')
    if not (MINI / 'model.safetensors').exists():
        pytest.skip('the built-in model has not been trained yet')
    node = world.start(factory=load, map__path=str(dated_map(tmp_path)), device='cpu', wait=False)
    values = world.shows('model', 'fell_back_to_cpu', 'false')
    assert set(KEYS['model']) - set(values) <= SOMETIMES['model']
    assert world.level('model', 0, 'mini on cpu')
    assert {s.hardware_id for s in world.got['diagnostics'][-1].status} == {'cpu'}
    assert len(values['checkpoint_sha256']) == 64
    node.trigger_deactivate()
    node.trigger_cleanup()
    world.level('model', 0, 'not loaded')


def test_before_anything_came_latency_is_there_and_messages_are_sentences(world: World) -> None:
    world.start(wait=False)
    values = world.shows('localization', 'latency_max_s', 'unknown')
    assert values['latency_s'] == 'unknown'
    assert world.level('localization', 0, 'no fix yet')
