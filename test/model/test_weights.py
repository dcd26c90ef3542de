# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Model folders: what is written is read back, what is wrong is named."""

from __future__ import annotations

import json
import math
from pathlib import Path

from loc2_ros.model.contract import Contract, ContractError
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.weights import load_model, ModelError, save_model
import pytest
import torch

SMALL = Contract('small', ground_hw=(16, 32), aerial_px=32, tile_m=16.0,
                 backbone_options={'widths': [8, 8, 16, 16]}, projector_widths=(16,), attention=1)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a small random model."""
    torch.manual_seed(0)
    save_model(Loc2Net(SMALL), tmp_path / 'model', half=False)
    return tmp_path / 'model'


def test_a_model_comes_back_as_it_was_saved(folder: Path) -> None:
    torch.manual_seed(0)
    net = Loc2Net(SMALL).eval()
    loaded = load_model(str(folder), 'cpu')
    image = torch.rand(1, 3, 32, 32)
    torch.testing.assert_close(loaded.net.aerial(image), net.aerial(image))
    assert loaded.contract == SMALL
    assert len(loaded.sha256) == 64


def test_descriptors_have_unit_length_and_depth_follows_the_focal_length(folder: Path) -> None:
    net = load_model(str(folder), 'cpu').net
    image, rays = torch.rand(1, 3, 16, 32), torch.rand(1, 8, 3)
    unknown = torch.tensor([math.nan])
    near = net.ground(image, rays, torch.tensor([150.0]), unknown)
    far = net.ground(image, rays, torch.tensor([300.0]), unknown)
    torch.testing.assert_close(near.descriptors.norm(dim=1), torch.ones(1, 2, 4))
    assert near.depth_m is not None and far.depth_m is not None
    torch.testing.assert_close(far.depth_m, 2 * near.depth_m)


def test_a_missing_folder_is_answered_with_the_known_names(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='mini'):
        load_model(str(tmp_path / 'nothing'), 'cpu')


def test_weights_of_another_shape_are_named(folder: Path) -> None:
    config = json.loads((folder / 'config.json').read_text())
    config['projector_widths'] = [24]
    (folder / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ModelError, match='shape'):
        load_model(str(folder), 'cpu')


def test_damaged_weights_are_named(folder: Path) -> None:
    path = folder / 'model.safetensors'
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ModelError, match='damaged'):
        load_model(str(folder), 'cpu')


@pytest.mark.parametrize('change, word', [
    ({'colour': 1}, 'unknown keys'), ({'ground_hw': [15, 32]}, 'multiples'),
    ({'stride': 0}, 'stride'), ({'aerial_px': 800_000}, 'up to'), ({'ground_hw': [16]}, 'three'),
    ({'tile_m': -1.0}, 'positive'), ({'solver': None}, 'config.json'),
    ({'gate': None}, 'config.json'), ({'gate': {'min_inliers': None}}, 'gate.min_inliers'),
    ({'calibration': None}, 'config.json'), ({'solver': {'scale_sigma': 'a'}}, 'scale_sigma'),
    ({'calibration': {'position': {'bias': 'x'}}}, 'position.bias'),
    ({'calibration': {'floor': [1.0, 0.0, 1.0]}}, 'floor'),
    ({'ground_hw': [16.0, 32.0]}, 'whole'), ({'projector_widths': [-3]}, 'whole'),
    ({'rays': 'corners'}, 'rays')])
def test_an_impossible_contract_is_refused(change: dict[str, object], word: str) -> None:
    values = {**json.loads(SMALL.to_json()), **change}
    with pytest.raises(ContractError, match=word):
        Contract.from_json(json.dumps(values), 'config.json')


@pytest.mark.parametrize('text', ['', '[]', '{"tile_m": 3}', '{'])
def test_a_file_that_is_no_contract_is_refused(text: str) -> None:
    with pytest.raises(ContractError, match='config.json'):
        Contract.from_json(text, 'config.json')


def test_weights_that_are_no_numbers_are_named(folder: Path) -> None:
    net = Loc2Net(SMALL)
    with torch.no_grad():
        net.dustbin_score.fill_(math.nan)
    save_model(net, folder, half=False)
    with pytest.raises(ModelError, match='dustbin_score'):
        load_model(str(folder), 'cpu')
