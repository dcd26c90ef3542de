# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The aerial photo of a lit town: seen from above, blurred, and a little out of place."""

from __future__ import annotations

from loc2_ros.synthetic.scene import Scene
import numpy as np
from numpy.typing import NDArray
import torch
import torch.nn.functional as functional


def render_ortho(scene: Scene, gsd_m: float, shift_m: tuple[float, float],
                 generator: torch.Generator) -> NDArray[np.uint8]:
    """
    Render the orthophoto of the whole town.

    :param gsd_m: ground sampling distance of the photo; north is up.
    :param shift_m: georeferencing error: the photo shows a point this far east and north of
        where it is.
    :returns: (n, n, 3) uint8 RGB of the square that the town covers.
    """
    look = scene.look
    opacity = torch.where(scene.kind[scene.hanging] == 4, look.leaves, 1.0)
    opacity = torch.where(scene.high_m > scene.height_m, opacity, 0.0)[..., None]
    rgb = scene.top_rgb * (1 - opacity) + scene.crown_rgb * opacity
    n = int(round(2 * scene.half_m / gsd_m))
    edge = torch.linspace(-1 + 1 / n, 1 - 1 / n, n, device=rgb.device)
    row, col = torch.meshgrid(edge + shift_m[1] / scene.half_m, edge - shift_m[0] / scene.half_m,
                              indexing='ij')
    photo = functional.grid_sample(rgb.permute(2, 0, 1)[None], torch.stack([col, row], -1)[None],
                                   mode='bilinear', padding_mode='border', align_corners=False)
    photo = _blur(photo, 0.35 + 0.6 * look.blur_px)
    photo = (photo[0].permute(1, 2, 0) * look.gain).clamp(0, 1) ** look.gamma
    noise = torch.randn(photo.shape, generator=generator).to(photo.device)
    return ((photo + look.noise * noise) * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy()


def _blur(image: torch.Tensor, sigma_px: float) -> torch.Tensor:
    radius = max(1, int(3 * sigma_px))
    x = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (x / sigma_px) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    image = functional.conv2d(functional.pad(image, (radius, radius, 0, 0), mode='replicate'),
                              kernel[:, :, None], groups=3)
    return functional.conv2d(functional.pad(image, (0, 0, radius, radius), mode='replicate'),
                             kernel[..., None], groups=3)
