# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Every stage after the backbone against formulas in double precision (model.md 4.2 to 4.6, 5).

Nothing of the package computes an expected value here.
"""

from __future__ import annotations

from dataclasses import replace
import math

from loc2_ros.core.camera import token_rays
from loc2_ros.core.lift import depth_mask, lift
from loc2_ros.core.values import Camera
from loc2_ros.model.contract import Contract
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.matcher import cell_centres
from loc2_ros.model.presets import PRESETS
import numpy as np
import pytest
import torch
from torch import Tensor
import torch.nn.functional as functional

HIDDEN, WIDTHS, HEADS = 12, (32, 24, 16), 8
SMALL = replace(PRESETS['kitti_ori10'], preset='', backbone_options={'hidden': HIDDEN},
                projector_widths=WIDTHS)
UNKNOWN = torch.tensor([math.nan])


@pytest.fixture(scope='module')
def net() -> Loc2Net:
    """Return a network of the published kind, with running statistics of a trained one."""
    torch.manual_seed(0)
    net = Loc2Net(SMALL).eval()
    for name, tensor in net.state_dict().items():
        if name.endswith('running_mean') or '.bn' in name and name.endswith('bias'):
            tensor.normal_(0, 0.3)
        elif name.endswith('running_var') or '.norm' in name or '.bn' in name:
            tensor.uniform_(0.5, 1.5) if tensor.is_floating_point() else None
    net.dustbin_score.data.fill_(1.3)
    return net


def projected(net: Loc2Net, name: str, features: Tensor, position: bool) -> Tensor:
    """Compute descriptors (C, h, w) of features (C', h, w)."""
    p = {k.removeprefix(f'{name}.'): v.double() for k, v in net.state_dict().items()
         if k.startswith(name)}

    def norm(x: Tensor, key: str) -> Tensor:
        scale = p[f'{key}.weight'] / (p[f'{key}.running_var'] + 1e-5).sqrt()
        shift = p[f'{key}.bias'] - p[f'{key}.running_mean'] * scale
        return x * scale[:, None, None] + shift[:, None, None]

    def conv(x: Tensor, key: str) -> Tensor:
        weight = p[f'{key}.weight']
        return functional.conv2d(x[None], weight, padding=weight.shape[-1] // 2)[0]

    def block(x: Tensor, key: str) -> Tensor:
        y = norm(conv(x, f'{key}.conv1'), f'{key}.bn1').clamp(min=0)
        short = conv(x, f'{key}.shortcut') if f'{key}.shortcut.weight' in p else x
        return norm(conv(y, f'{key}.conv2'), f'{key}.bn2') + short
    x = features.double()
    for k in range(3):
        x = block(x, f'resblocks.{k}').clamp(min=0)
    c, h, w = x.shape
    if position:
        for m in range(c // 4):
            omega = 10000 ** (-4 * m / c)
            for row in range(h):
                for col in range(w):
                    a, b = (col + 1) * omega, (row + 1) * omega
                    x[4 * m:4 * m + 4, row, col] += torch.tensor(
                        [math.sin(a), math.cos(a), math.sin(b), math.cos(b)]).double()
    tokens = x.reshape(c, h * w).T
    for k in range(3):
        tokens = attended(tokens, {key.removeprefix(f'att_layer.layers.{k}.'): v
                                   for key, v in p.items()
                                   if key.startswith(f'att_layer.layers.{k}.')})
    out = block(tokens.T.reshape(c, h, w), 'final_block')
    return out / out.square().sum(0, keepdim=True).sqrt().clamp(min=1e-10)


def attended(x: Tensor, p: dict[str, Tensor]) -> Tensor:
    """Compute one layer of linear attention over tokens (N, C), head by head."""
    def feature(y: Tensor) -> Tensor:
        return torch.where(y > 0, y + 1, y.clamp(max=0).exp())

    def norm(y: Tensor, key: str) -> Tensor:
        y = y - y.mean(-1, keepdim=True)
        return (y / (y.square().mean(-1, keepdim=True) + 1e-5).sqrt() * p[f'{key}.weight']
                + p[f'{key}.bias'])
    q, k, v = (x @ p[f'{n}_proj.weight'].T for n in 'qkv')
    messages = []
    for part in range(HEADS):
        d = x.shape[1] // HEADS
        cut = slice(part * d, part * d + d)
        kernel = feature(q[:, cut]) @ feature(k[:, cut]).T              # (N, N)
        messages.append(kernel @ v[:, cut] / (kernel.sum(1, keepdim=True) + 1e-6))
    message = norm(torch.cat(messages, 1) @ p['merge.weight'].T, 'norm1')
    mixed = (torch.cat([x, message], 1) @ p['mlp.0.weight'].T).clamp(min=0) @ p['mlp.2.weight'].T
    return x + norm(mixed, 'norm2')


def test_ground_descriptors_are_those_of_the_formulas(net: Loc2Net) -> None:
    features = torch.randn(2, HIDDEN, 6, 11, generator=torch.Generator().manual_seed(1))
    rays, fx = torch.zeros(2, 66, 3), torch.ones(2)
    with torch.no_grad():
        found = net.describe_ground(features, rays, fx, UNKNOWN.expand(2))
    assert found.depth_m is None
    for k in range(2):
        expected = projected(net, 'grd_projector', features[k], True)
        assert (found.descriptors[k] - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_aerial_features_are_resampled_to_41_before_the_projector(net: Loc2Net) -> None:
    features = torch.randn(HIDDEN, 36, 36, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        found = net.describe_aerial(features[None])[0]
    # Bilinear without antialiasing: output i lies at (i + 1/2) 36 / 41 - 1/2, borders repeated
    at = ((torch.arange(41).double() + 0.5) * 36 / 41 - 0.5).clamp(min=0)
    low = at.floor().long()
    matrix = torch.zeros(41, 36).double()
    for i in range(41):
        matrix[i, low[i]] += 1 - (at[i] - low[i])
        matrix[i, min(int(low[i]) + 1, 35)] += at[i] - low[i]
    resampled = torch.einsum('iy,jx,cyx->cij', matrix, matrix, features.double())
    expected = projected(net, 'sat_projector', resampled, False)
    assert found.shape == (WIDTHS[-1], 41, 41)
    assert (found - expected).abs().max() <= 1e-4 * expected.abs().max()


def test_match_probabilities_are_those_of_the_formulas(net: Loc2Net) -> None:
    g = torch.Generator().manual_seed(3)
    a, b = (functional.normalize(torch.randn(1, 16, n, generator=g), dim=1) for n in (41, 23))
    usable = torch.rand(1, 23, generator=g) > 0.3
    with torch.no_grad():
        found = net.match(a, b, usable)[0]
    S = (a[0].double().T @ b[0].double()) / 0.1
    S[:, ~usable[0]] = -math.inf
    whole = torch.full((42, 24), 1.3, dtype=torch.float64)      # with the dustbins
    whole[:41, :23] = S
    expected = (torch.softmax(whole, 0) * torch.softmax(whole, 1))[:41, :23]
    assert torch.equal(found[:, ~usable[0]], torch.zeros(41, int((~usable).sum())))
    assert (found - expected).abs().max() <= 1e-4 * expected.max()
    near = expected > 1e-9
    assert ((found / expected)[near] - 1).abs().max() <= 1e-4


def test_scores_are_divided_by_the_temperature_of_the_contract(net: Loc2Net) -> None:
    g = torch.Generator().manual_seed(4)
    a, b = (functional.normalize(torch.randn(1, 16, n, generator=g), dim=1) for n in (7, 5))
    warm = Loc2Net(replace(SMALL, temperature=0.4)).eval()
    warm.dustbin_score.data.fill_(float(net.dustbin_score))
    whole = torch.full((8, 6), 1.3, dtype=torch.float64)
    whole[:7, :5] = (a[0].double().T @ b[0].double()) / 0.4
    expected = (torch.softmax(whole, 0) * torch.softmax(whole, 1))[:7, :5]
    with torch.no_grad():
        assert (warm.match(a, b)[0] / expected - 1).abs().max() <= 1e-4
        assert not torch.allclose(net.match(a, b)[0].double(), expected, rtol=0.1)


def test_a_frame_without_any_usable_token_gives_zeros(net: Loc2Net) -> None:
    with torch.no_grad():
        P = net.match(torch.randn(1, 16, 9), torch.randn(1, 16, 5), torch.zeros(1, 5).bool())
    assert torch.equal(P, torch.zeros(1, 9, 5))


def test_the_lift_is_that_of_the_formulas() -> None:
    contract = PRESETS['kitti_ori180']
    f, cx, width, height = 721.5377, 609.5593, 1242, 375
    camera = Camera(width, height, f, f, cx, 172.854)
    h, w = contract.ground_grid
    rays = torch.from_numpy(token_rays(camera, (h, w), contract.rays))
    rng = np.random.default_rng(0)
    depth = torch.from_numpy(rng.uniform(-5, 60, h * w))
    usable = depth_mask(depth, contract.max_depth_m)
    assert torch.equal(usable, (depth > 0) & (depth < 40.0))
    found = lift(depth, rays)
    u = torch.arange(88).double() * 88 / 87 * (width / 88)      # pixels of the native image
    expected = torch.stack([-depth, (u.repeat(h) - cx) * depth / f], -1)
    assert (found - expected)[usable].abs().max() <= 1e-4 * 40


def test_cells_span_the_tile_from_border_to_border() -> None:
    contract: Contract = PRESETS['kitti_ori10']
    cells = cell_centres(contract.aerial_grid, contract.cell_m)
    expected = {0: (-50.13, -50.13), 41: (-47.6235, -50.13), 840: (0, 0), 1680: (50.13, 50.13)}
    for i, place in expected.items():       # T12
        assert cells[i].tolist() == pytest.approx(place, abs=1e-4)
