# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Running a network: device, number format, warm-up; images in, match probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
import math
import time
from typing import Any

from loc2_ros.core.camera import Mount, token_rays
from loc2_ros.core.lift import depth_mask
from loc2_ros.core.values import Camera, Image, Pose2
from loc2_ros.model.backbone import to_input
from loc2_ros.model.loc2 import REFERENCE_HEIGHT_M
from loc2_ros.model.weights import Model
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as functional

MIN_FORWARD = 0.05      # of a level ray's z; tokens beyond look up, down or back


@dataclass(frozen=True)
class Observation:
    """
    What the network made of an image and a crop, on the CPU.

    :param P: (Na, Ng) match probabilities.
    :param rays: (Ng, 3) token rays in optical axes, z = 1.
    :param depth_m: (Ng,) planar depth, 0 where it cannot be used.
    :param usable: (Ng,) bool, tokens with a depth within the contract's range.
    """

    P: Tensor
    rays: Tensor
    depth_m: Tensor
    usable: Tensor


class Network:
    """A model at work; not for use from several threads at once."""

    def __init__(self, model: Model) -> None:
        self._model: Model | None = model
        self.contract = model.contract
        self.warmup_s = 0.0

    @property
    def model(self) -> Model:
        """Return the model; :raises RuntimeError: after `close`."""
        if self._model is None:
            raise RuntimeError('the network was closed')
        return self._model

    @torch.inference_mode()
    def observe(self, image: Image, crop_rgb: NDArray[np.uint8],
                depth_m: NDArray[np.float32] | None, mount: Mount,
                height_m: float | None) -> Observation:
        """
        Match an image with a crop.

        :param crop_rgb: (S, S, 3) uint8 at the contract's size.
        :param depth_m: (Ng,) measured depth, NaN where unknown; None for the model's own.
        :param height_m: camera above the ground, None where it is unknown.
        """
        model, contract = self.model, self.contract
        height, width = contract.ground_hw
        camera = image.camera.resized(width, height)
        rays = torch.from_numpy(token_rays(camera, contract.ground_grid, contract.rays)).float()
        # The network knows level cameras only; to it a tilted one is level, its image shifted
        level = rays @ torch.from_numpy(mount.level_R_camera).float().T
        forward = level[:, 2].clamp(min=MIN_FORWARD)
        ground = _resized(to_input(torch.from_numpy(image.rgb)[None]), (height, width))
        aerial = to_input(torch.from_numpy(crop_rgb)[None])
        with torch.autocast(model.device.type, model.dtype, enabled=model.autocast):
            features = model.net.ground(
                ground.to(model.device), (level / forward[:, None])[None].to(model.device),
                torch.tensor([camera.fx]),
                torch.tensor([math.nan if height_m is None else height_m]))
            tile = model.net.aerial(aerial.to(model.device))
        if depth_m is not None:
            depth = torch.from_numpy(depth_m)
        elif features.depth_m is not None:
            depth = features.depth_m[0].flatten().float().cpu() / forward
        else:
            raise RuntimeError('no depth: the model has no depth head and none was given')
        usable = depth_mask(depth, contract.max_depth_m)
        shown = usable[None].to(model.device) if contract.masks_tokens else None
        P = model.net.match(tile.float(), features.descriptors.float(), shown)[0].cpu()
        return Observation(P, rays, torch.where(usable, depth, 0.0), usable)

    def warm_up(self) -> None:
        """Run once on nothing, so that the first image is as fast as the others."""
        start = time.perf_counter()
        height, width = self.contract.ground_hw
        camera = Camera(width, height, 0.58 * width, 0.58 * width, (width - 1) / 2,
                        (height - 1) / 2)
        grey = np.full((height, width, 3), 128, np.uint8)
        size = self.contract.aerial_px
        depth = (None if self.contract.own_depth else
                 np.full(int(np.prod(self.contract.ground_grid)), 10.0, np.float32))
        self.observe(Image(grey, 0, camera), np.full((size, size, 3), 128, np.uint8), depth,
                     Mount(np.eye(3), Pose2(0.0, 0.0, 0.0), REFERENCE_HEIGHT_M),
                     REFERENCE_HEIGHT_M)
        self.warmup_s = time.perf_counter() - start

    def about(self) -> dict[str, Any]:
        """Return what diagnostics tell about the model."""
        model = self.model
        return {'checkpoint': self.contract.name, 'checkpoint_sha256': model.sha256,
                'torch': torch.__version__, 'device': str(model.device),
                'precision': str(model.dtype).removeprefix('torch.'),
                'warmup_ms': round(self.warmup_s * 1e3, 1)}

    def close(self) -> None:
        """Release the network's memory."""
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize with the antialiasing that the contract asks for."""
    if image.shape[-2:] == size:
        return image
    return functional.interpolate(image, size, mode='bilinear', antialias=True,
                                  align_corners=False).clamp(0, 1)
