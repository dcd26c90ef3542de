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
from loc2_ros.core.values import Camera, Image, Panorama, Pose2
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
    What the network made of an image and a crop, on the network's device.

    :param P: (Na, Ng) match probabilities.
    :param level: (Ng, 3) token rays in level axes (right, down, forward), of such a length that
        depth times ray is the point.
    :param depth_m: (Ng,) planar depth, of a panorama range; 0 where it cannot be used.
    :param usable: (Ng,) bool, tokens with a depth within the contract's range.
    """

    P: Tensor
    level: Tensor
    depth_m: Tensor
    usable: Tensor


class Network:
    """
    A model at work.

    Nothing in here waits for a GPU: what is uploaded goes ahead of the work, and what comes out
    stays there, so that a frame is read back once, when it is solved.
    """

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
    def describe(self, crop_rgb: NDArray[np.uint8]) -> Tensor:
        """
        Describe an aerial crop; from any thread.

        :param crop_rgb: (S, S, 3) uint8 at the contract's size.
        :returns: (1, C, rows, cols) unit descriptors of its cells, on the device.
        """
        model = self.model
        aerial = to_input(self._upload(torch.from_numpy(crop_rgb))[None])
        with torch.autocast(model.device.type, model.dtype, enabled=model.autocast):
            described: Tensor = model.net.aerial(aerial).float()
        return described

    @torch.inference_mode()
    def observe(self, image: Image, described: Tensor, depth_m: Tensor | None, mount: Mount,
                height_m: float | None) -> Observation:
        """
        Match an image with a crop; from one thread at a time.

        :param described: what `describe` has made of the crop.
        :param depth_m: (Ng,) measured depth, NaN where unknown; None for the model's own.
        :param height_m: camera above the ground, None where it is unknown.
        """
        model, contract = self.model, self.contract
        height, width = contract.ground_hw
        camera = image.camera.resized(width, height)
        rays = torch.from_numpy(token_rays(camera, contract.ground_grid, contract.rays)).float()
        level = self._upload(rays @ torch.from_numpy(mount.level_R_camera).float().T)
        focal, above = self._upload(torch.tensor(
            [[_focal_px(camera)], [math.nan if height_m is None else height_m]]))
        measured = None if depth_m is None else self._upload(depth_m)
        # A view of a message cannot be written to, which torch warns about
        rgb = torch.from_numpy(np.require(image.rgb, requirements=('C', 'W')))
        ground = _resized(to_input(self._upload(rgb)[None]), (height, width))
        # The network knows level cameras only; to it a tilted one is level, its image shifted
        forward = level[:, 2].clamp(min=MIN_FORWARD)
        with torch.autocast(model.device.type, model.dtype, enabled=model.autocast):
            features = model.net.ground(ground, (level / forward[:, None])[None], focal, above)
        if measured is not None:
            depth = measured
        elif features.depth_m is not None:
            depth = features.depth_m[0].flatten().float() / forward
        else:
            raise RuntimeError('no depth: the model has no depth head and none was given')
        usable = depth_mask(depth, contract.max_depth_m)
        P = model.net.match(described, features.descriptors.float(),
                            usable[None] if contract.masks_tokens else None)[0]
        return Observation(P, level, torch.where(usable, depth, 0.0), usable)

    def _upload(self, values: Tensor) -> Tensor:
        # What is copied from ordinary memory may be changed at once; the copy needs no waiting
        return values.to(self.model.device, non_blocking=True)

    def warm_up(self) -> None:
        """Run once on nothing, so that the first image is as fast as the others."""
        start = time.perf_counter()
        height, width = self.contract.ground_hw
        camera = (Panorama(width, height) if self.contract.camera_model == 'equirectangular' else
                  Camera(width, height, 0.58 * width, 0.58 * width, (width - 1) / 2,
                         (height - 1) / 2))
        grey = np.full((height, width, 3), 128, np.uint8)
        size = self.contract.aerial_px
        depth = (None if self.contract.own_depth else
                 torch.full((math.prod(self.contract.ground_grid),), 10.0))
        described = self.describe(np.full((size, size, 3), 128, np.uint8))
        self.observe(Image(grey, 0, camera), described, depth,
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

    def use(self) -> dict[str, Any]:
        """Return the memory of the GPU, where there is one."""
        if self._model is None or self._model.device.type != 'cuda':
            return {}
        return {'gpu_memory_mb': torch.cuda.max_memory_allocated(self._model.device) / 1e6}

    def close(self) -> None:
        """Release the network's memory."""
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _focal_px(camera: Camera | Panorama) -> float:
    """Return how many pixels the middle of the image has per unit of slope."""
    return camera.fx if isinstance(camera, Camera) else camera.width / (2 * math.pi)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    """Resize with the antialiasing that the contract asks for."""
    if image.shape[-2:] == size:
        return image
    return functional.interpolate(image, size, mode='bilinear', antialias=True,
                                  align_corners=False).clamp(0, 1)
