# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 map``: facts for people and machines, a crop as files, errors as one sentence."""

from __future__ import annotations

import json

import cv2
from loc2_ros.cli.map import app
from loc2_ros.maps.writer import write_mbtiles_from_local
from map_world import DATUM
import numpy as np
import pytest
from typer.testing import CliRunner


@pytest.fixture
def grey(tmp_path):
    return write_mbtiles_from_local(
        tmp_path / 'map.mbtiles', np.full((400, 400, 3), 120, np.uint8), DATUM, -40.0, 40.0, 0.2,
        metadata={'name': 'grey', 'attribution': 'Nobody', 'licence': 'CC0-1.0'})


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_info_shows_what_is_known_and_warns_about_what_is_not(grey):
    result = _run('info', grey)
    assert result.exit_code == 0
    assert 'CC0-1.0' in result.output and 'Nobody' in result.output
    assert 'warning: the date of the imagery is unknown' in result.output


def test_info_is_json_for_machines(grey):
    facts = json.loads(_run('info', grey, '--json').output)
    assert facts['name'] == 'grey' and facts['zooms'][-1] == 19 and facts['date'] is None


def test_crop_writes_a_picture_with_its_mask_and_where_it_lies(grey, tmp_path):
    out = tmp_path / 'p.png'
    result = _run('crop', grey, '--lat', DATUM.lat_deg, '--lon', DATUM.lon_deg, '--size', 100,
                  '--px', 250, '-o', out)
    assert result.exit_code == 0 and 'Nobody' in result.output
    picture = cv2.imread(str(out), cv2.IMREAD_UNCHANGED)
    beside = json.loads(out.with_suffix('.json').read_text())
    assert picture.shape == (250, 250, 4)
    # 80 m of 100 m are on the map, on each axis
    assert (picture[..., 3] == 255).mean() == pytest.approx(0.64, abs=0.02)
    assert beside['valid_fraction'] == pytest.approx(0.64, abs=0.02)
    assert np.array(beside['enu_T_px']) @ [124.5, 124.5, 1] == pytest.approx([0, 0], abs=1e-9)
    assert picture[125, 125, 0] == pytest.approx(120, abs=2)


@pytest.mark.parametrize('name, code, told', [
    ('no/folder/p.png', 5, 'does its folder exist?'), ('p.json', 2, 'ends in .png')])
def test_a_place_where_a_crop_cannot_go_is_one_sentence(grey, tmp_path, name, code, told):
    result = _run('crop', grey, '--lat', DATUM.lat_deg, '--lon', DATUM.lon_deg, '-o',
                  tmp_path / name)
    assert result.exit_code == code and told in result.stderr
    assert result.stderr.count('\n') == 1 and not list(tmp_path.rglob('p.*'))


@pytest.mark.parametrize('verb', [('info',), ('crop', '--lat', 49, '--lon', 8, '-o', 'x.png')])
def test_a_map_that_is_not_there_is_one_sentence_and_exit_code_5(tmp_path, verb):
    result = _run(verb[0], tmp_path / 'missing.mbtiles', *verb[1:])
    assert result.exit_code == 5
    assert 'does not exist' in result.stderr and result.stderr.count('\n') == 1
