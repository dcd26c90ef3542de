# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The published checkpoints: what each expects, and how a file becomes a model folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
import json
from pathlib import Path
import pickle
import shutil

from loc2_ros.cli.main import app
from loc2_ros.loading import LocalizerSettings, solver_of
from loc2_ros.model.contract import Contract, ContractError
from loc2_ros.model.dinov2 import random_dinov2, Size
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.presets import check_preset, PRESETS, tile_for
from loc2_ros.model.weights import (import_checkpoint, load_matcher, load_model, ModelError,
                                    read_contract, save_model)
import pytest
import torch
from torch import Tensor
from typer.testing import CliRunner

Tensors = dict[str, Tensor]


def published_shapes() -> dict[str, tuple[int, ...]]:
    """Return the 163 entries of model.md 4.7, from its table."""
    shapes: dict[str, tuple[int, ...]] = {'dustbin_score': ()}

    def norms(block: str, width: int) -> None:
        for norm in ('bn1', 'bn2'):
            for name in ('weight', 'bias', 'running_mean', 'running_var'):
                shapes[f'{block}.{norm}.{name}'] = (width,)
            shapes[f'{block}.{norm}.num_batches_tracked'] = ()
    for p in ('grd_projector', 'sat_projector'):
        for k, (before, width) in enumerate(((1024, 512), (512, 256), (256, 128))):
            block = f'{p}.resblocks.{k}'
            shapes[f'{block}.conv1.weight'] = (width, before, 3, 3)
            shapes[f'{block}.conv2.weight'] = (width, width, 3, 3)
            shapes[f'{block}.shortcut.weight'] = (width, before, 1, 1)
            norms(block, width)
        for k in range(3):
            layer = f'{p}.att_layer.layers.{k}'
            shapes |= {f'{layer}.{m}.weight': (128, 128)
                       for m in ('q_proj', 'k_proj', 'v_proj', 'merge')}
            shapes |= {f'{layer}.mlp.0.weight': (256, 256), f'{layer}.mlp.2.weight': (128, 256)}
            shapes |= {f'{layer}.{n}.{x}': (128,) for n in ('norm1', 'norm2')
                       for x in ('weight', 'bias')}
        shapes |= {f'{p}.final_block.{c}.weight': (128, 128, 3, 3) for c in ('conv1', 'conv2')}
        norms(f'{p}.final_block', 128)
    return shapes


@pytest.fixture(scope='module')
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file made by the table of model.md, with a value of its own in each entry."""
    path = tmp_path_factory.mktemp('published') / 'model.pt'
    torch.save({key: torch.tensor(k) if key.endswith('tracked') else torch.full(shape, k * 1e-3)
                for k, (key, shape) in enumerate(published_shapes().items())}, path)
    return path


@pytest.fixture(scope='module')
def imported(checkpoint: Path) -> Path:
    out = checkpoint.parent / 'kitti'
    import_checkpoint(checkpoint, 'kitti_ori10', out)
    return out


def refused(arguments: list[str]) -> str:
    """Return the one sentence with which a command refuses."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 1, result.output
    text = result.stderr.strip()
    assert text.startswith('loc2: ') and '\n' not in text and 'Traceback' not in text
    return text


def test_the_network_has_exactly_the_published_entries() -> None:
    pytest.importorskip('transformers')
    small = random_dinov2(Size(64, 1, 1))
    for contract in PRESETS.values():
        with torch.device('meta'):
            net = Loc2Net(contract, small)
        state = net.state_dict()
        assert {k: tuple(v.shape) for k, v in state.items()} == published_shapes()
        assert len(state) == 163
        parameters = list(net.parameters())
        assert (len(parameters), sum(p.numel() for p in parameters)) == (115, 21_539_841)
        buffers = list(net.buffers())
        assert (len(buffers), sum(b.numel() for b in buffers)) == (48, 8_208)


@pytest.mark.parametrize('name, ground, aerial, tile_m, depth_m, heading', [
    ('kitti_ori10', (26, 88), 36, 100.26, 40.0, (10.0, True, False)),
    ('kitti_ori180', (26, 88), 36, 100.26, 40.0, (180.0, False, False)),
    ('vigor_samearea_known', (51, 102), 45, 71.208, 35.0, (0.0, False, True)),
    ('vigor_samearea_unknown', (51, 102), 45, 71.208, 35.0, (180.0, False, False)),
    ('vigor_crossarea_known', (51, 102), 45, 71.208, 35.0, (0.0, False, True)),
    ('vigor_crossarea_unknown', (51, 102), 45, 71.208, 35.0, (180.0, False, False))])
def test_a_preset_holds_what_the_weights_were_trained_with(
        name: str, ground: tuple[int, int], aerial: int, tile_m: float, depth_m: float,
        heading: tuple[float, bool, bool]) -> None:
    contract = PRESETS[name]
    assert contract.ground_grid == ground and contract.aerial_grid == (41, 41)
    assert contract.aerial_px // 14 == aerial
    assert contract.tile_m == pytest.approx(tile_m, abs=1e-3)
    assert contract.max_depth_m == depth_m
    assert (contract.heading_range_deg, contract.heading_up, contract.north_aligned) == heading
    assert contract.needs_heading == (heading[0] < 180)
    assert (contract.rays, contract.grid, contract.solver_kind) == ('edges', 'edges', 'all_pairs')
    # T12: cells from border to border, 2.5065 m apart on KITTI
    assert contract.cell_m == pytest.approx(tile_m / 40, abs=1e-4)
    assert Contract.from_json(contract.to_json(), name) == contract


def test_there_are_six_presets_and_tiles_for_four_cities() -> None:
    assert len(PRESETS) == 6
    tiles = PRESETS['vigor_samearea_known'].tiles_m
    assert {k: round(v, 3) for k, v in tiles.items()} == {
        'NewYork': 72.479, 'Seattle': 64.523, 'SanFrancisco': 75.610, 'Chicago': 71.208}


def test_tiles_of_a_size_that_was_not_trained_are_refused() -> None:
    vigor, kitti = PRESETS['vigor_samearea_known'], PRESETS['kitti_ori10']
    assert tile_for(vigor, 64.6).tile_m == 64.6
    for contract, tile_m in ((vigor, 50.0), (kitti, 90.0), (kitti, 120.0)):
        with pytest.raises(ContractError, match='map.crop_size'):
            tile_for(contract, tile_m)


@pytest.mark.parametrize('kind', ['guided', 'sampled', 'all_pairs', 'ransac'])
def test_the_solver_of_the_contract_can_be_exchanged(kind: str) -> None:
    contract = PRESETS['kitti_ori10']
    assert solver_of(contract, LocalizerSettings()).kind == 'all_pairs'
    solver = solver_of(contract, LocalizerSettings(solver=kind, depth_scale='fixed'))
    assert (solver.kind, solver.fixed_scale, solver.scale_prior) == (kind, 1.0, None)
    prior = solver_of(contract, LocalizerSettings(solver=kind, depth_scale='prior')).scale_prior
    assert prior is not None and prior.sigma == 0.05
    assert solver_of(Contract('own'), LocalizerSettings()).kind == 'guided'


def test_an_import_keeps_every_value_and_says_where_they_are_from(checkpoint: Path,
                                                                  imported: Path) -> None:
    contract = read_contract(imported)
    assert replace(contract, provenance={}) == PRESETS['kitti_ori10']
    assert len(contract.provenance['source_sha256']) == 64
    assert 'AGPL-3.0' in contract.provenance['licence']
    found, expected = load_matcher(imported, contract).state_dict(), torch.load(checkpoint)
    assert set(found) == set(expected)
    assert all(torch.equal(found[key], expected[key]) for key in expected)


def test_the_command_says_that_the_preset_is_the_users_word(checkpoint: Path,
                                                            tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ['model', 'import', str(checkpoint), '--preset',
                                      'vigor_crossarea_unknown', '--out', str(tmp_path / 'v')])
    assert result.exit_code == 0, result.output
    assert 'your word' in result.output and 'licence' in result.output
    result = CliRunner().invoke(app, ['model', 'info', str(tmp_path / 'v')])
    assert result.exit_code == 0, result.output
    assert '"preset": "vigor_crossarea_unknown"' in result.output
    assert '21539841 parameters' in result.output


def test_a_model_that_needs_dinov2_says_how_to_get_it(
        imported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    with pytest.raises(ModelError, match='kitti_ori10.*import-backbone dinov2_vitl14'):
        load_model(str(imported), 'cpu')


class Evil:
    """Leaves a trace if it is ever unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, ...]]:
        return open, (str(self.path), 'w')      # type: ignore[return-value]


@pytest.mark.parametrize('fault, word', [
    ('none', 'there is no file'), ('short', 'num_batches_tracked'), ('more', 'unknown'),
    ('shape', 'shape'), ('whole numbers', 'int64'), ('truncated', 'damaged'),
    ('empty', 'damaged'), ('text', 'damaged'), ('code', 'code'), ('legacy code', 'code'),
    ('list', 'no state dict'), ('nan', 'no numbers'), ('flipped', 'checksum'),
    ('variance', 'below zero'), ('sparse', 'no ordinary tensor'), ('meta', 'no ordinary tensor'),
    ('parallel', 'DataParallel')])
def test_files_that_are_no_published_checkpoint_are_refused(
        checkpoint: Path, tmp_path: Path, fault: str, word: str) -> None:
    path, trace, out = tmp_path / 'model.pt', tmp_path / 'trace', tmp_path / 'out'
    state = torch.load(checkpoint)
    key = 'sat_projector.final_block.bn2.num_batches_tracked'
    if fault == 'short':        # the kind of entry that torch fills in silently
        del state[key]
    elif fault == 'more':
        state['third_projector.weight'] = torch.zeros(1)
    elif fault == 'shape':
        state['dustbin_score'] = torch.zeros(2)
    elif fault == 'whole numbers':
        state['dustbin_score'] = torch.tensor(1)
    elif fault == 'nan':
        state['dustbin_score'] = torch.tensor(float('nan'))
    elif fault == 'variance':
        state['grd_projector.final_block.bn1.running_var'][3] = -0.1
    elif fault == 'sparse':
        state['grd_projector.final_block.bn1.weight'] = torch.eye(128).to_sparse()
    elif fault == 'meta':
        state['dustbin_score'] = torch.zeros((), device='meta')
    elif fault == 'parallel':
        state = {f'module.{name}': tensor for name, tensor in state.items()}
    elif fault == 'list':
        state = [1, 2]
    elif fault == 'code':
        state['dustbin_score'] = Evil(trace)
    if fault in ('empty', 'text'):
        path.write_text('' if fault == 'empty' else 'version https://git-lfs.github.com/spec/v1')
    elif fault == 'legacy code':
        path.write_bytes(pickle.dumps({'dustbin_score': Evil(trace)}))
    elif fault != 'none':
        torch.save(state, path)
    if fault == 'truncated':
        path.write_bytes(path.read_bytes()[:60_000])
    elif fault == 'flipped':    # one byte, in the middle of the weights
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 0x40
        path.write_bytes(data)
    text = refused(['model', 'import', str(path), '--preset', 'kitti_ori10', '--out', str(out)])
    assert word in text and 'model.pt' in text
    assert not out.exists() and not trace.exists()


def test_a_folder_of_another_kind_is_told_from_a_model(imported: Path, tmp_path: Path) -> None:
    backbone, run = tmp_path / 'vit', tmp_path / 'run'
    shutil.copytree(imported, backbone)
    (backbone / 'config.json').write_text('{"model_type": "dinov2", "hidden_size": 1024}')
    assert 'belongs to a dinov2 of transformers; a backbone is' in refused(
        ['model', 'info', str(backbone)])
    shutil.copytree(imported, run / 'model')
    assert f'is it {run / "model"} that you mean?' in refused(['model', 'info', str(run)])


def test_an_unknown_preset_is_answered_with_the_known_ones(checkpoint: Path,
                                                           tmp_path: Path) -> None:
    text = refused(['model', 'import', str(checkpoint), '--preset', 'kitti', '--out',
                    str(tmp_path / 'out')])
    assert all(name in text for name in PRESETS)


def test_an_import_overwrites_no_model(checkpoint: Path, imported: Path) -> None:
    before = (imported / 'config.json').read_bytes()
    text = refused(['model', 'import', str(checkpoint), '--preset', 'kitti_ori180', '--out',
                    str(imported)])
    assert 'already holds' in text and (imported / 'config.json').read_bytes() == before


def test_a_folder_used_under_another_preset_is_refused(imported: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match='imported as kitti_ori10.*kitti_ori180'):
        load_model(str(imported), 'cpu', preset='kitti_ori180')
    with pytest.raises(ModelError, match='no preset'):
        load_model('mini', 'cpu', preset='kitti_ori10')
    with pytest.raises(ModelError, match='unknown preset'):
        load_model('mini', 'cpu', preset='kitti')
    # Somebody else's config.json beside the weights
    other = tmp_path / 'other'
    other.mkdir()
    (other / 'model.safetensors').write_bytes((imported / 'model.safetensors').read_bytes())
    (other / 'config.json').write_text(PRESETS['kitti_ori180'].to_json())
    with pytest.raises(ModelError, match='imported as kitti_ori10'):
        load_matcher(other, read_contract(other))
    # A contract that was edited
    changed = json.loads(PRESETS['kitti_ori10'].to_json()) | {'heading_up': False}
    (other / 'config.json').write_text(json.dumps(changed))
    with pytest.raises(ModelError, match='differs in heading_up'):
        read_contract(other)


def test_gates_and_calibration_are_no_part_of_a_preset() -> None:
    check_preset(replace(PRESETS['kitti_ori10'], gate={'min_score': 0.3}, solver={},
                         calibration={'floor': [1, 1, 0.1]}), 'kitti_ori10')


def test_what_was_trained_further_is_no_published_checkpoint(tmp_path: Path) -> None:
    contract = replace(PRESETS['kitti_ori10'], projector_widths=(16,), attention=1,
                       backbone_options={'hidden': 16})
    save_model(Loc2Net(contract), tmp_path)
    assert read_contract(tmp_path).preset == ''


def test_contracts_of_before_are_read_as_they_were() -> None:
    """Only new keys with defaults were added; the embedded model has none of them."""
    values = json.loads((Path(load_model.__code__.co_filename).parent / 'mini'
                         / 'config.json').read_text())
    contract = Contract.from_json(json.dumps(values), 'mini')
    assert contract.preset == '' and contract.grid == 'centers' and contract.knows_rays
    assert contract.cell_m == 2.0 and contract.aerial_grid == (40, 40)
    assert contract.solver_kind == 'guided' and contract.needs_heading


@pytest.mark.parametrize('change, word', [
    ({'grid': 'corners'}, 'grid'), ({'camera_model': 'fisheye'}, 'camera_model'),
    ({'solver': {'kind': 'best'}}, 'kind'), ({'aerial_cells': 1}, 'aerial_cells'),
    ({'tiles_m': {'here': 0.0}}, 'positive'), ({'tiles_m': [3.0]}, 'config.json'),
    ({'solver': []}, 'config.json'), ({'heading_range_deg': -1.0}, 'heading_range_deg')])
def test_impossible_values_are_named(change: dict[str, object], word: str) -> None:
    values = json.loads(Contract('own').to_json()) | change
    with pytest.raises(ContractError, match=word):
        Contract.from_json(json.dumps(values), 'config.json')


def test_a_network_without_its_backbone_says_so() -> None:
    contract = replace(PRESETS['kitti_ori10'], projector_widths=(16,), attention=1,
                       backbone_options={'hidden': 16})
    net = Loc2Net(contract)
    with pytest.raises(RuntimeError, match='needs the backbone dinov2_vitl14'):
        net.aerial(torch.zeros(1, 3, 28, 28))
    assert net.describe_aerial(torch.zeros(1, 16, 36, 36)).shape == (1, 16, 41, 41)
