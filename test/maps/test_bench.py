# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The benchmark measures what it says: GDAL and the store cut the same ground."""

from __future__ import annotations

import json

from loc2_ros.cli.bench import app
from loc2_ros.maps import bench
from loc2_ros.maps.store import open_store
from map_world import shift_px
import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip('rasterio', reason="needs the extra 'geo'")


def test_gdal_and_the_store_are_timed_on_the_same_picture(tmp_path):
    photo = bench.make_photo(tmp_path / 'photo.tif', 2048)
    frame, radius = bench._frame(photo)
    assert radius == pytest.approx(204.8 - bench.SIZE_M)
    with open_store(photo) as store:
        ours = store.crop(frame, (20.0, -30.0), 0.7, bench.SIZE_M, bench.PX)
    theirs = bench._gdal(photo, frame)(np.array([20.0, -30.0]), 0.7).transpose(1, 2, 0)
    assert np.abs(shift_px(ours.image, theirs)).max() < 0.05


def test_a_large_map_has_as_many_tiles_as_it_says(tmp_path):
    with open_store(bench.make_large(tmp_path / 'm', 900)) as store:
        frame = bench._middle(store)
        assert store.crop(frame, (0.0, 0.0), 0.4, 400.0, 100).valid_fraction == 1.0
        assert store.covered(frame, (800.0, 0.0), 50.0) == 0.0
    assert bench.Result({}, 1.0, 7.9, 1.0).passed is False
    assert bench.Result({}, 1.0, 8.1, 1.11).passed is False
    assert bench.Result({}, 1.0, 8.1, 1.09).passed is True


@pytest.mark.slow
def test_the_command_prints_ratios_for_machines():
    result = CliRunner().invoke(app, ['map', '--crops', '5', '--json'])
    facts = json.loads(result.stdout)
    assert result.exit_code == (0 if facts['passed'] else 1)
    assert facts['warp_ratio'] > 1.0 and 'along a drive, prefetching' in facts['times']
