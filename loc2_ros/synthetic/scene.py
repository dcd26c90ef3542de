# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A town lit by one day's sun, as tensors on a device: what both cameras sample.

``light`` bakes albedo, texture, roof shading and cast shadows into one colour per raster cell.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.synthetic.layers import Layers, Material
from loc2_ros.synthetic.looks import Look
import numpy as np
import torch
from torch import Tensor
import torch.nn.functional as functional

NOISE_PX = 512
SHADOW_CELLS = 4


@dataclass(frozen=True)
class Scene:
    """
    Tensors of a lit town; rasters (H, W), row 0 north.

    :param top_rgb: (H, W, 3) float, lit colour of the solid layer seen from above.
    :param crown_rgb: (H, W, 3) float, lit colour of the floating layer seen from above.
    :param tables: per owner: kind (N,), side (N, 3), frame (N, 5), facade (N, 4).
    :param noise: (512, 512) tile of unit-variance noise for details finer than the raster.
    """

    res_m: float
    half_m: float
    height_m: Tensor
    owner: Tensor
    low_m: Tensor
    high_m: Tensor
    hanging: Tensor
    top_rgb: Tensor
    crown_rgb: Tensor
    kind: Tensor
    side: Tensor
    frame: Tensor
    facade: Tensor
    noise: Tensor
    look: Look

    def cell(self, x_m: Tensor, y_m: Tensor) -> Tensor:
        """Return the flat raster index of map points, clamped to the border."""
        n = self.height_m.shape[0]
        col = ((x_m + self.half_m) / self.res_m).long().clamp_(0, n - 1)
        row = ((self.half_m - y_m) / self.res_m).long().clamp_(0, n - 1)
        return row * n + col

    def noise_at(self, x_m: Tensor, y_m: Tensor, cell_m: float) -> Tensor:
        """Return repeatable noise for points, constant over ``cell_m``."""
        col = torch.floor(x_m / cell_m).long() % NOISE_PX
        row = torch.floor(y_m / cell_m).long() % NOISE_PX
        return self.noise.reshape(-1)[row * NOISE_PX + col]


def light(layers: Layers, look: Look, seed: int, device: str = 'cpu') -> Scene:
    """Light a town for one day."""
    generator = torch.Generator().manual_seed(seed)
    height = torch.from_numpy(layers.height_m).to(device)
    high = torch.from_numpy(layers.high_m).to(device)
    owner = torch.from_numpy(layers.owner).to(device).long()
    hanging = torch.from_numpy(layers.hanging).to(device).long()
    owners = layers.owners
    table = {k: torch.tensor(np.array(getattr(owners, k)), dtype=torch.float32, device=device)
             for k in ('kind', 'top', 'side', 'frame', 'facade')}
    is_plant = (table['kind'] == 3) | (table['kind'] == 4)
    foliage = torch.where(is_plant[:, None], _tensor(look.foliage, device),
                          torch.ones(3).to(device))
    top = (table['top'] * foliage).clamp(0, 1)
    texture = _texture(height.shape[0], generator).to(device)
    albedo = _albedo(layers, look, top, owner, texture, generator, device)
    shadow = _shadow(torch.maximum(height, high), height, look.sun, layers.res_m)
    crown_shadow = _shadow(torch.maximum(height, high), high, look.sun, layers.res_m)
    shade = _shade(height, look.sun, layers.res_m)
    sunlight, ambient = _tensor(look.sunlight, device), _tensor(look.ambient, device)
    top_rgb = albedo * (ambient + sunlight * (shade * (1 - shadow))[..., None])
    leaf = top[hanging] * (1.0 + 0.35 * texture[..., None])
    crown_rgb = leaf * (ambient + sunlight * (0.8 * (1 - crown_shadow))[..., None])
    noise = torch.randn((NOISE_PX, NOISE_PX), generator=generator).to(device)
    return Scene(layers.res_m, layers.half_m, height, owner,
                 torch.from_numpy(layers.low_m).to(device), high, hanging,
                 top_rgb.clamp(0, 1.4), crown_rgb.clamp(0, 1.4), table['kind'].long(),
                 (table['side'] * foliage).clamp(0, 1), table['frame'], table['facade'], noise,
                 look)


def _tensor(values: np.ndarray, device: str) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device)


def _texture(n: int, generator: torch.Generator) -> Tensor:
    """Return noise of about unit variance with detail at several sizes, (n, n)."""
    total = torch.zeros((1, 1, n, n))
    for cells, weight in ((1, 0.5), (4, 0.45), (24, 0.5), (120, 0.55)):
        size = max(4, n // cells)
        coarse = torch.randn((1, 1, size, size), generator=generator)
        total += weight * (coarse if size == n else functional.interpolate(
            coarse, (n, n), mode='bilinear', align_corners=False))
    return total[0, 0]


def _albedo(layers: Layers, look: Look, top: Tensor, owner: Tensor, texture: Tensor,
            generator: torch.Generator, device: str) -> Tensor:
    material = torch.from_numpy(layers.material).to(device).long()
    # Worn paint shows the asphalt below it
    worn = (material == Material.MARKING) & (texture.roll(7, 0) > 1.2 - 1.6 * look.wear)
    ground = torch.where(worn, torch.full_like(material, int(Material.ASPHALT)), material)
    palette = torch.cat([_tensor(look.palette, device), torch.zeros((1, 3), device=device)])
    grain = torch.cat([_tensor(look.grain, device), torch.full((1,), 0.08, device=device)])
    colour = torch.where((material == Material.OWNED)[..., None], top[owner], palette[ground])
    return colour * (1.0 + (grain[ground] * texture).clamp(-0.6, 0.6)[..., None])


def _shade(height: Tensor, sun: np.ndarray, res_m: float) -> Tensor:
    """Return the cosine between the sun and each top surface; steps count as flat."""
    dy, dx = torch.gradient(height)
    east, north = dx / res_m, -dy / res_m
    east, north = (torch.where(g.abs() < 1.5, g, torch.zeros_like(g)) for g in (east, north))
    dot = float(sun[2]) - east * float(sun[0]) - north * float(sun[1])
    return (dot / torch.sqrt(1 + east ** 2 + north ** 2)).clamp(0, 1)


def _shadow(blocker: Tensor, surface: Tensor, sun: np.ndarray, res_m: float) -> Tensor:
    """Return 1 where something stands between a surface and the sun, on coarser cells."""
    coarse = functional.max_pool2d(blocker[None, None], SHADOW_CELLS)[0, 0]
    base = functional.avg_pool2d(surface[None, None], SHADOW_CELLS)[0, 0] + 0.25
    cell_m = SHADOW_CELLS * res_m
    slope = float(sun[2]) / math.hypot(float(sun[0]), float(sun[1]))
    direction = np.array([-sun[1], sun[0]]) / math.hypot(float(sun[0]), float(sun[1]))  # row, col
    dark = torch.zeros_like(base, dtype=torch.bool)
    for distance in np.arange(cell_m, float(blocker.max()) / slope, 1.4 * cell_m):
        row, col = np.round(direction * distance / cell_m).astype(int)
        dark |= _shifted(coarse, row, col) > base + distance * slope
    soft = functional.interpolate(dark[None, None].float(), blocker.shape, mode='bilinear',
                                  align_corners=False)
    return soft[0, 0]


def _shifted(raster: Tensor, rows: int, cols: int) -> Tensor:
    """Return ``raster`` read ``rows`` further down and ``cols`` further right, 0 outside."""
    out = torch.zeros_like(raster)
    n, m = raster.shape
    if abs(rows) < n and abs(cols) < m:
        out[max(0, -rows):n - max(0, rows), max(0, -cols):m - max(0, cols)] = raster[
            max(0, rows):n + min(0, rows), max(0, cols):m + min(0, cols)]
    return out
