# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The training loop on a toy: it learns, stops, goes on exactly, and refuses what is wrong."""

from __future__ import annotations

import csv
from dataclasses import replace
import math
from pathlib import Path
from typing import Any

from loc2_ros.model.contract import Contract
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.weights import load_model, save_model
from loc2_ros.train.config import ConfigError, TownConfig
from loc2_ros.train.loop import begin_with, train
from loc2_ros.train.pairs import TownPairs
from loc2_ros.train.sources import town_source
import pytest
import torch

TOY = Contract('toy', ground_hw=(32, 64), aerial_px=64, tile_m=64.0,
               backbone_options={'widths': [8, 8, 16, 16]}, projector_widths=(16,), attention=1)
CONFIG = TownConfig(TOY, first_seed=1, towns=1, views=4, valid_first_seed=2, valid_towns=1,
                    valid_pairs=4, pairs=16, batch=2, amp=False, loader_workers=0,
                    render_workers=1, valid_every=100)


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    whole = train(CONFIG, town_source(CONFIG), tmp_path / 'a')
    train(CONFIG, town_source(CONFIG), tmp_path / 'b', stop_after=3)
    resumed = train(CONFIG, town_source(CONFIG), tmp_path / 'b', resume=tmp_path / 'b')
    a, b = (load_model(str(folder), 'cpu').net.state_dict() for folder in (whole, resumed))
    assert all(torch.equal(a[k], b[k]) for k in a)
    with open(tmp_path / 'a' / 'valid.csv', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    assert [r['step'] for r in rows] == ['8']
    with pytest.raises(ConfigError, match='same configuration'):
        other = replace(CONFIG, pairs=32)
        train(other, town_source(other), tmp_path / 'c', resume=tmp_path / 'b')
    files = sorted((tmp_path / 'a' / 'pairs').glob('town_0000001.npz'))
    first, again = (TownPairs(files, TOY, 8, seed=0)[5] for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(first, again))
    files[0].write_bytes(files[0].read_bytes()[:1000])
    with pytest.raises(ValueError, match='render it again'):
        TownPairs(files, TOY, 8, seed=0)


@pytest.mark.parametrize('text, word', [
    ('- 1', 'mapping'), ('pears: 3', 'pears'), ('model: {name: x, tile_m: -1}', 'positive'),
    ('{', 'YAML'), ('weights: {colour: 1}', 'colour'), ('lr: fast', 'lr'), ('lr: 1e-3', 'lr'),
    ('towns: 1.5', 'towns'), ('batch: 0', 'batch'), ('weights: [1]', 'mapping'),
    ('weights: {vce: much}', 'vce'), ('amp: 1', 'amp')])
def test_a_wrong_configuration_is_named(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / 'config.yaml'
    path.write_text(text)
    with pytest.raises(ConfigError, match=word):
        TownConfig.load(path)


@pytest.mark.parametrize('name', ['train_mini.yaml', 'train_mini_more.yaml'])
def test_the_shipped_configuration_is_valid(name: str) -> None:
    config = TownConfig.load(Path(__file__).parents[2] / 'config' / name)
    assert config.contract.name == 'mini'
    assert config.contract.cell_m <= 2.4
    assert config.first_seed + config.towns < 1_000_000


def test_a_model_with_more_inputs_begins_as_the_one_it_starts_from(tmp_path: Path) -> None:
    torch.manual_seed(3)
    save_model(Loc2Net(TOY), tmp_path / 'first', half=False)
    first = load_model(str(tmp_path / 'first'), 'cpu').net
    told = replace(TOY, knows_height=True)
    second = Loc2Net(told).eval()
    begin_with(second, str(tmp_path / 'first'))
    image, rays, fx = torch.rand(2, 3, 32, 64), torch.rand(2, 32, 3), torch.tensor([30.0, 40.0])
    known, unknown = torch.tensor([1.2, 2.0]), torch.tensor([math.nan, math.nan])
    for height in (known, unknown):
        a, b = first.ground(image, rays, fx, height), second.ground(image, rays, fx, height)
        torch.testing.assert_close(a.depth_m, b.depth_m)
        torch.testing.assert_close(a.descriptors, b.descriptors)
    # What it will learn from: the height reaches the depth
    torch.manual_seed(4)
    other = Loc2Net(told).eval()
    depths = [other.ground(image, rays, fx, height).depth_m for height in (known, unknown)]
    assert depths[0] is not None and depths[1] is not None
    assert torch.isfinite(depths[1]).all() and not torch.allclose(depths[0], depths[1])


def test_a_start_from_another_kind_of_model_is_refused(tmp_path: Path) -> None:
    save_model(Loc2Net(TOY), tmp_path / 'first')
    with pytest.raises(ConfigError, match='same kind'):
        begin_with(Loc2Net(replace(TOY, projector_widths=(24,))), str(tmp_path / 'first'))
    with pytest.raises(ConfigError, match='start_from'):
        begin_with(Loc2Net(TOY), str(tmp_path / 'nothing'))


def test_a_checkpoint_that_is_none_is_refused_before_anything_is_rendered(tmp_path: Path) -> None:
    def rendering(folder: Path, main: bool) -> Any:
        raise AssertionError('rendered first')
    for content, word in ((None, 'does not exist'), (b'no archive', 'damaged'),
                          ({'net': {}}, 'config'), ([1, 2], 'config')):
        path = tmp_path / 'checkpoint.pt'
        if isinstance(content, bytes):
            path.write_bytes(content)
        elif content is not None:
            torch.save(content, path)
        with pytest.raises(ConfigError, match=word):
            train(CONFIG, rendering, tmp_path / 'out', resume=tmp_path)
    with pytest.raises(ConfigError, match='start_from'):
        train(replace(CONFIG, start_from=str(tmp_path / 'nothing')), rendering, tmp_path / 'out')
