# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Towns: the same for the same seed, drivable, and kept apart for testing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from loc2_ros.synthetic.dataset import PairsConfig, render_pairs, render_town_pairs, town_file
from loc2_ros.synthetic.layers import Material
from loc2_ros.synthetic.streets import drive_path
from loc2_ros.synthetic.town import make_town
from loc2_ros.synthetic.traffic import traffic
import numpy as np
import pytest

CONFIG = PairsConfig(first_seed=1, towns=1, views=3, ground_hw=(32, 64), stride=8,
                     extent_m=240.0)


def test_equal_seeds_make_equal_towns_and_others_do_not() -> None:
    a, b, c = (make_town(s, 200.0) for s in (5, 5, 6))
    assert np.array_equal(a.ground.height_m, b.ground.height_m)
    assert np.array_equal(a.aerial.material, b.aerial.material)
    assert not np.array_equal(a.ground.material, c.ground.material)


def test_the_flight_sees_other_cars_and_the_same_houses() -> None:
    town = make_town(7, 240.0)
    ground, aerial = town.ground, town.aerial
    kinds = [np.array(day.owners.kind)[day.owner] for day in (ground, aerial)]
    assert np.array_equal(kinds[0] == 1, kinds[1] == 1)
    assert not np.array_equal(kinds[0] == 2, kinds[1] == 2)


@pytest.mark.parametrize('seed', range(4))
def test_a_drive_stays_on_the_road_and_inside(seed: int) -> None:
    town = make_town(seed, 400.0)
    path = drive_path(np.random.default_rng(seed), town.network, 140.0, 250.0)
    assert path.length_m > 120.0
    cells = np.round(town.ground.to_px(path.xy_m)).astype(int)
    road = np.isin(town.ground.material[cells[:, 1], cells[:, 0]],
                   [Material.ASPHALT, Material.MARKING, Material.PATCH])
    assert road.mean() > 0.97
    steps = np.linalg.norm(np.diff(path.xy_m, axis=0), axis=1)
    np.testing.assert_allclose(steps, 0.25, atol=0.02)
    heading = np.arctan2(*np.diff(path.xy_m, axis=0).T[::-1])
    off = np.angle(np.exp(1j * (heading - path.yaw_rad[:-1])))
    assert np.abs(off).max() < 0.1


def test_no_house_stands_on_a_road() -> None:
    town = make_town(3, 300.0)
    house = np.array(town.ground.owners.kind)[town.ground.owner] == 1
    assert house.any()
    assert np.all(town.ground.material[house] == Material.OWNED)
    path = drive_path(np.random.default_rng(1), town.network, 100.0, 150.0)
    cells = np.round(town.ground.to_px(path.xy_m)).astype(int)
    assert not house[cells[:, 1], cells[:, 0]].any()


def test_cars_keep_their_distance_from_the_vehicle() -> None:
    town = make_town(2, 400.0)
    path = drive_path(np.random.default_rng(2), town.network, 140.0, 250.0)
    times = np.arange(0, 20, 0.2)
    cars = traffic(np.random.default_rng(3), path, times)
    own = path.at(path.distances_at(times))[0]
    gap = np.linalg.norm(cars[:, :, :2] - own[:, None], axis=-1)
    assert gap[:, 0].min() > 6.0
    assert gap.min() > 1.5


def test_a_rendered_town_comes_again_byte_for_byte() -> None:
    a, b = (render_town_pairs(1, CONFIG) for _ in range(2))
    assert all(np.array_equal(a[k], b[k]) for k in a)


def test_seeds_for_testing_are_refused_for_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='testing only'):
        render_pairs(PairsConfig(999_999, 2, 1, (32, 64), 8), tmp_path, 1)


def test_towns_rendered_with_other_settings_are_not_taken_for_these(tmp_path: Path) -> None:
    render_pairs(CONFIG, tmp_path, 1)
    render_pairs(CONFIG, tmp_path, 1)       # there already
    for other in (replace(CONFIG, views=4), replace(CONFIG, ground_hw=(64, 64)),
                  replace(CONFIG, gsd_m=CONFIG.gsd_m / 2)):
        with pytest.raises(ValueError, match='another folder'):
            render_pairs(other, tmp_path, 1)
    town_file(tmp_path, CONFIG.first_seed).write_bytes(b'no archive')
    with pytest.raises(ValueError, match='render it again'):
        render_pairs(CONFIG, tmp_path, 1)
