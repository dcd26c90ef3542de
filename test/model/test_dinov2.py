# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""DINOv2 against its formulas in double precision (model.md 4.1), and where its weights are."""

from __future__ import annotations

import json
import math
from pathlib import Path

from loc2_ros.model.checkpoint import CheckpointError
from loc2_ros.model.contract import Contract
from loc2_ros.model.dinov2 import (BackboneError, Dinov2, find_backbone, import_dinov2,
                                   load_dinov2, random_dinov2, Size)
from loc2_ros.model.dinov2_names import renamed
from loc2_ros.model.loc2 import Loc2Net
import pytest
from safetensors.torch import load_file, save_file
import torch
from torch import Tensor
import torch.nn.functional as functional

pytest.importorskip('transformers')
HIDDEN, HEADS, LAYERS = 128, 2, 2
SIZE = Size(HIDDEN, LAYERS, HEADS)
CPU = torch.device('cpu')
Tensors = dict[str, Tensor]


def published(hidden: int = HIDDEN, layers: int = LAYERS, swiglu: bool = False) -> Tensors:
    """Return random tensors under the names of facebookresearch."""
    g = torch.Generator().manual_seed(0)

    def some(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g) / math.sqrt(max(shape[-1], 16))

    def pair(name: str, rows: int, columns: int) -> Tensors:
        return {f'{name}.weight': some(rows, columns), f'{name}.bias': some(rows)}

    def norm(name: str) -> Tensors:
        return {f'{name}.weight': 1 + some(hidden), f'{name}.bias': some(hidden)}
    inner = (int(4 * hidden * 2 / 3) + 7) // 8 * 8
    state = {'cls_token': some(1, 1, hidden), 'mask_token': some(1, hidden),
             'pos_embed': some(1, 1370, hidden), 'patch_embed.proj.bias': some(hidden),
             'patch_embed.proj.weight': some(hidden, 3, 14, 14), **norm('norm')}
    for b in (f'blocks.{i}' for i in range(layers)):
        state |= {**norm(f'{b}.norm1'), **norm(f'{b}.norm2'), f'{b}.ls1.gamma': some(hidden) * 9,
                  f'{b}.ls2.gamma': some(hidden) * 9, **pair(f'{b}.attn.qkv', 3 * hidden, hidden),
                  **pair(f'{b}.attn.proj', hidden, hidden)}
        state |= ({**pair(f'{b}.mlp.w12', 2 * inner, hidden), **pair(f'{b}.mlp.w3', hidden, inner)}
                  if swiglu else {**pair(f'{b}.mlp.fc1', 4 * hidden, hidden),
                                  **pair(f'{b}.mlp.fc2', hidden, 4 * hidden)})
    return state


def cubic(t: float) -> float:
    """Return the cubic convolution kernel with a = -3/4."""
    t = abs(t)
    if t <= 1:
        return 1.25 * t ** 3 - 2.25 * t ** 2 + 1
    return -0.75 * t ** 3 + 3.75 * t ** 2 - 6 * t + 3 if t < 2 else 0.0


def resized_rows(table: Tensor, n: int) -> Tensor:
    """Resize the first axis of a table (37, ...) to n by the formula of model.md 4.1."""
    rows: list[Tensor] = []
    for i in range(n):
        at = (i + 0.5) * 37 / (n + 0.1) - 0.5
        first = math.floor(at)
        rows.append(torch.stack([cubic(at - k) * table[min(max(k, 0), 36)]
                                 for k in range(first - 1, first + 3)]).sum(0))
    return torch.stack(rows)


def reference(state: Tensors, image: Tensor, heads: int = HEADS) -> Tensor:
    """Compute the patch tokens (h, w, C) of an image (3, H, W) in double precision."""
    p = {k: v.double() for k, v in state.items()}
    hidden = p['cls_token'].shape[-1]
    h, w = image.shape[1] // 14, image.shape[2] // 14
    blocks = image.double()[:, :14 * h, :14 * w].reshape(3, h, 14, w, 14).permute(1, 3, 0, 2, 4)
    patches = blocks.reshape(h * w, -1) @ p['patch_embed.proj.weight'].reshape(hidden, -1).T
    table = p['pos_embed'][0, 1:].reshape(37, 37, hidden)
    if (h, w) != (37, 37):      # at 518 pixels it is taken as it is
        table = resized_rows(resized_rows(table, h).transpose(0, 1), w).transpose(0, 1)
    table = table.reshape(h * w, hidden)
    z = torch.cat([p['cls_token'][0] + p['pos_embed'][0, :1],
                   patches + p['patch_embed.proj.bias'] + table])

    def norm(x: Tensor, name: str) -> Tensor:
        x = x - x.mean(-1, keepdim=True)
        return (x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * p[f'{name}.weight']
                + p[f'{name}.bias'])

    def linear(x: Tensor, name: str) -> Tensor:
        return x @ p[f'{name}.weight'].T + p[f'{name}.bias']
    i = 0
    while f'blocks.{i}.norm1.weight' in p:
        b = f'blocks.{i}'
        q, k, v = (x.reshape(-1, heads, hidden // heads).transpose(0, 1) for x in
                   linear(norm(z, f'{b}.norm1'), f'{b}.attn.qkv').split(hidden, -1))
        parts = [torch.softmax(part @ k.mT / math.sqrt(hidden // heads), -1) @ v
                 for part in q.split(1024, 1)]      # in parts, or the matrix fills the memory
        message = torch.cat(parts, 1).transpose(0, 1).reshape(-1, hidden)
        z = z + p[f'{b}.ls1.gamma'] * linear(message, f'{b}.attn.proj')
        x = norm(z, f'{b}.norm2')
        if f'{b}.mlp.w12.weight' in p:
            gate, up = linear(x, f'{b}.mlp.w12').chunk(2, -1)
            x = linear(gate * torch.sigmoid(gate) * up, f'{b}.mlp.w3')
        else:
            x = linear(x, f'{b}.mlp.fc1')
            x = linear(x * (1 + torch.erf(x / math.sqrt(2))) / 2, f'{b}.mlp.fc2')
        z = z + p[f'{b}.ls2.gamma'] * x
        i += 1
    return norm(z, 'norm')[1:].reshape(h, w, hidden)


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a backbone folder, imported from a file as facebookresearch publishes them."""
    root = tmp_path_factory.mktemp('dinov2')
    torch.save(published(), root / 'vit.pth')
    import_dinov2(root / 'vit.pth', root / 'out')
    return root / 'out'


@pytest.fixture(scope='module')
def backbone(folder: Path) -> Dinov2:
    return load_dinov2(str(folder), 'dinov2_vits14', SIZE, CPU, torch.float32)


def agrees(net: Dinov2, state: Tensors, size: tuple[int, int], heads: int = HEADS) -> None:
    image = torch.rand((3, *size), generator=torch.Generator().manual_seed(1))
    found = net(image[None])
    assert found.dtype == torch.float32 and found.shape[2:] == (size[0] // 14, size[1] // 14)
    expected = reference(state, image, heads).permute(2, 0, 1)
    assert (found[0] - expected).abs().max() <= 1e-4 * expected.abs().max()


# The published input sizes, one with a rest to crop, and that of the table itself
@pytest.mark.parametrize('size', [(30, 45), (518, 518), (504, 504), (364, 1232), (630, 630),
                                  pytest.param((714, 1428), marks=pytest.mark.slow)])
def test_features_are_those_of_the_formulas(backbone: Dinov2, size: tuple[int, int]) -> None:
    agrees(backbone, published(), size)


def test_gated_feed_forward_layers_are_those_of_the_formulas(tmp_path: Path) -> None:
    state = published(64, 1, swiglu=True)
    torch.save(state, tmp_path / 'vit.pth')
    import_dinov2(tmp_path / 'vit.pth', tmp_path / 'out')
    size = Size(64, 1, 1, swiglu=True)
    agrees(load_dinov2(str(tmp_path / 'out'), 'dinov2_vitg14', size, CPU, torch.float32), state,
           (42, 56), heads=1)


def test_the_position_table_is_resized_once_per_grid(backbone: Dinov2) -> None:
    first, again, other = (resized_table(backbone, *size) for size in ((28, 42), (28, 42),
                                                                       (42, 28)))
    assert first is again and first is not other


def resized_table(backbone: Dinov2, height: int, width: int) -> Tensor:
    """Return the position table that the network takes for an input size."""
    table: Tensor = backbone.model.embeddings.interpolate_pos_encoding(torch.zeros(()), height,
                                                                       width)
    return table


def test_files_of_the_hub_with_the_old_names_give_the_same_features(backbone: Dinov2,
                                                                    folder: Path) -> None:
    old = {k.replace('attention.q_proj', 'attention.attention.query')
            .replace('attention.k_proj', 'attention.attention.key')
            .replace('attention.v_proj', 'attention.attention.value')
            .replace('attention.o_proj', 'attention.output.dense'): v
           for k, v in load_file(folder / 'model.safetensors').items()}
    assert set(renamed(old)) == set(load_file(folder / 'model.safetensors'))
    assert len(renamed(published(64, 24))) == 439       # from 343, see model.md 4.1
    assert len(published(64, 24)) == 343


def test_the_backbone_is_frozen_whatever_is_done_to_the_network_around_it(
        backbone: Dinov2) -> None:
    contract = Contract('small', ground_hw=(28, 28), stride=14, aerial_px=28,
                        backbone='dinov2_vits14', own_depth=False, projector_widths=(16,),
                        backbone_options={'hidden': HIDDEN, 'heads': HEADS, 'layers': LAYERS},
                        knows_rays=False, attention=1)
    net = Loc2Net(contract, backbone).train()
    assert net.ground_backbone is net.aerial_backbone is backbone
    assert not any(m.training for m in backbone.modules())
    assert not [k for k in net.state_dict() if 'embeddings' in k]
    net.aerial(torch.rand(1, 3, 28, 28)).sum().backward()
    assert all(p.grad is None and not p.requires_grad for p in backbone.parameters())
    net.half()
    assert next(backbone.parameters()).dtype == torch.float16     # it goes where the network goes
    net.float()


def test_reduced_precision_stays_near_and_is_answered_in_float32(folder: Path) -> None:
    image = torch.rand(1, 3, 28, 42)
    exact = load_dinov2(str(folder), 'dinov2_vits14', SIZE, CPU, torch.float32)(image)
    rough = load_dinov2(str(folder), 'dinov2_vits14', SIZE, CPU, torch.bfloat16)(image)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().mean() < 0.02 * exact.abs().mean()


def test_a_missing_backbone_is_refused_with_what_to_do(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path / 'cache'))
    size = Size(1024, 24, 16, 'facebook/dinov2-large')
    for where in ('', str(tmp_path / 'nothing'), 'someone/else'):
        with pytest.raises(BackboneError, match='import-backbone dinov2_vitl14'):
            find_backbone(where, 'dinov2_vitl14', size)


def test_a_backbone_in_the_cache_is_found_by_its_usual_name(
        tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr('huggingface_hub.constants.HF_HUB_CACHE', str(tmp_path))
    repo = tmp_path / 'models--facebook--dinov2-large'
    snapshot = repo / 'snapshots' / 'abc'
    snapshot.mkdir(parents=True)
    (repo / 'refs').mkdir()
    (repo / 'refs' / 'main').write_text('abc')
    for file in folder.iterdir():
        (snapshot / file.name).write_bytes(file.read_bytes())
    size = Size(HIDDEN, LAYERS, HEADS, 'facebook/dinov2-large')
    assert find_backbone('', 'dinov2_vitl14', size) == snapshot
    assert find_backbone('facebook/dinov2-large', 'dinov2_vitl14', size) == snapshot
    load_dinov2('', 'dinov2_vitl14', size, CPU, torch.float32)


def copy(folder: Path, to: Path) -> Path:
    to.mkdir()
    for file in folder.iterdir():
        (to / file.name).write_bytes(file.read_bytes())
    return to


def test_a_backbone_of_another_size_or_table_is_named(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(BackboneError, match='no dinov2_vitl14.*1024'):
        load_dinov2(str(folder), 'dinov2_vitl14', Size(1024, 24, 16), CPU, torch.float32)
    other = copy(folder, tmp_path / 'other')
    config = json.loads((other / 'config.json').read_text())
    (other / 'config.json').write_text(json.dumps(config | {'image_size': 224}))
    with pytest.raises(BackboneError, match='224'):
        load_dinov2(str(other), 'dinov2_vits14', SIZE, CPU, torch.float32)


@pytest.mark.parametrize('fault', ['config', 'no config', 'weights', 'no weights', 'short'])
def test_a_damaged_backbone_folder_is_named(tmp_path: Path, folder: Path, fault: str) -> None:
    other = copy(folder, tmp_path / 'other')
    weights = other / 'model.safetensors'
    if 'config' in fault:
        (other / 'config.json').write_text('{') if fault == 'config' else (
            other / 'config.json').unlink()
    elif fault == 'short':
        tensors = load_file(weights)
        del tensors['layernorm.bias']
        save_file(tensors, weights)
    elif fault == 'weights':
        weights.write_bytes(weights.read_bytes()[:-50])
    else:
        weights.unlink()
    with pytest.raises(BackboneError, match=str(other)):
        load_dinov2(str(other), 'dinov2_vits14', SIZE, CPU, torch.float32)


def test_files_that_are_no_such_dinov2_are_refused(tmp_path: Path) -> None:
    registers = published(64, 1) | {'register_tokens': torch.zeros(1, 4, 64)}
    short = published(64, 1)
    del short['blocks.0.mlp.fc2.bias']
    wrong = published(64, 1) | {'norm.bias': torch.zeros(63)}
    blind = published(64, 1) | {'norm.weight': torch.full((64,), math.nan)}
    for name, state, word in (('r', registers, '_reg4'), ('s', short, 'missing'),
                              ('w', wrong, 'shape'), ('o', {'a': torch.zeros(2)}, 'no DINOv2'),
                              ('b', blind, 'no numbers')):
        torch.save(state, tmp_path / name)
        with pytest.raises((BackboneError, CheckpointError), match=word):
            import_dinov2(tmp_path / name, tmp_path / 'out')
    assert not (tmp_path / 'out').exists()


def test_an_import_overwrites_nothing(tmp_path: Path) -> None:
    torch.save(published(64, 1), tmp_path / 'vit.pth')
    import_dinov2(tmp_path / 'vit.pth', tmp_path / 'out')
    with pytest.raises(CheckpointError, match='already holds'):
        import_dinov2(tmp_path / 'vit.pth', tmp_path / 'out')


def test_attention_runs_fused() -> None:
    assert random_dinov2(Size(64, 1, 1)).model.config._attn_implementation == 'sdpa'


def test_the_table_differs_from_that_of_transformers_which_matters() -> None:
    """Guard the override: without it the features would move by up to a hundredth."""
    net = random_dinov2(Size(64, 1, 1))
    table = net.model.embeddings.position_embeddings
    usual = functional.interpolate(table[:, 1:].reshape(1, 37, 37, 64).permute(0, 3, 1, 2),
                                   (26, 88), mode='bicubic').flatten(2).transpose(1, 2)
    used = resized_table(net, 364, 1232)
    assert (used[:, 1:] - usual).abs().max() > 1e-3
