# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Depth from a network beside the model: Depth Anything V2, metric, through ``transformers``.

Weights come from a folder or from the local cache of Hugging Face, never from the network. A
panorama is seen through the six faces of a cube, since the network knows pinhole images only.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loc2_ros.core.camera import Mount
from loc2_ros.core.values import Image, Panorama
from loc2_ros.model.backbone import to_input
from loc2_ros.model.cube import merge_faces, split_panorama
from loc2_ros.model.depth import cell_depths, Depth
from loc2_ros.model.dinov2 import use_own_positions
from loc2_ros.model.weights import device_of, dtype_of, ModelError
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as functional

DEFAULT_DEPTH_MODEL = 'depth-anything/Depth-Anything-V2-Metric-Outdoor-Small-hf'
_REMEDY = f'fetch it before with `hf download {DEFAULT_DEPTH_MODEL}`, or give a folder'
SHORT_SIDE, PATCH = 518, 14         # what it was trained at
# Of the ImageNet images its backbone was trained on
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
# By width of the backbone: small, base, large
_LICENCES: Mapping[int, str] = {384: 'Apache-2.0', 768: 'CC-BY-NC-4.0', 1024: 'CC-BY-NC-4.0'}


class DepthNetwork:
    """
    A metric depth network; not for use from several threads at once.

    :param net: answers ``net(pixel_values).predicted_depth``, (B, h, w) metres.
    :param name: what to call it.
    :param licence: of the weights.
    :param short_side: images are resized until their shorter side is this long.
    """

    def __init__(self, net: torch.nn.Module, name: str, licence: str, device: torch.device,
                 dtype: torch.dtype = torch.float32, short_side: int = SHORT_SIDE) -> None:
        self._net = net.eval().requires_grad_(False).to(device)
        self.name, self.licence = name, licence
        self.device, self.dtype, self.short_side = device, dtype, short_side
        self._mean, self._std = (torch.tensor(x, device=device)[:, None, None]
                                 for x in (_MEAN, _STD))

    @property
    def notice(self) -> str:
        """Return what a user has to know before using it, '' if nothing."""
        if 'NC' not in self.licence.split('-'):
            return ''
        return (f'the weights of {self.name} are licensed {self.licence}: not for commercial '
                f'use; {DEFAULT_DEPTH_MODEL} is Apache-2.0')

    def metres(self, rgb: NDArray[np.uint8], panorama: bool = False,
               size: tuple[int, int] | None = None) -> Depth:
        """Return what `estimate` says as an array."""
        return np.asarray(self.estimate(rgb, panorama, size).cpu().numpy(), dtype=np.float32)

    def estimate(self, rgb: NDArray[np.uint8], panorama: bool = False,
                 size: tuple[int, int] | None = None) -> Tensor:
        """
        Estimate the depth of an image.

        :param rgb: (H, W, 3) uint8.
        :param panorama: the image is equirectangular; the depth is then range along the ray.
        :param size: (h, w) of the answer; None for what the network gives.
        :returns: (h, w) float32 over the same field of view, metres, on the network's device.
        """
        raw = torch.from_numpy(np.ascontiguousarray(rgb))[None]
        image = to_input(raw.to(self.device, non_blocking=True))
        if panorama:
            faces = split_panorama(image[0], self.short_side)
            # One by one: six at once is more memory than a small machine has
            planar = torch.cat([self._planar(face[None]) for face in faces])
            depth = merge_faces(planar, size or (self.short_side, 2 * self.short_side))
        else:
            depth = self._planar(image)[0]
            if size is not None and tuple(depth.shape) != size:
                depth = functional.interpolate(depth[None, None], size, mode='bilinear',
                                               align_corners=False)[0, 0]
        return depth

    @torch.inference_mode()
    def _planar(self, image: Tensor) -> Tensor:
        """Return planar depth (B, h, w) of RGB (B, 3, H, W) in [0, 1]."""
        resized = functional.interpolate(image, network_size(image.shape[-2:], self.short_side),
                                         mode='bicubic', antialias=True, align_corners=False)
        with torch.autocast(self.device.type, self.dtype,
                            enabled=self.dtype != torch.float32):
            found = self._net((resized.clamp(0, 1) - self._mean) / self._std)
        depth: Tensor = found.predicted_depth.float()
        return depth


class NetworkDepth:
    """
    Depth of every image from a network of its own, for ``depth.source`` network.

    :param network: of pinhole images or panoramas alike.
    """

    from_model = False

    def __init__(self, network: DepthNetwork) -> None:
        self.network = network

    def tokens(self, image: Image, mount: Mount, grid_hw: tuple[int, int],
               rays: str = 'centers', rolled_px: int = 0) -> Tensor:
        """Return one depth per cell of what the network sees; see `DepthSource`."""
        # It sees the image as it is, so whether that has been rolled makes no difference
        depth = self.network.estimate(image.rgb, isinstance(image.camera, Panorama))
        return cell_depths(depth, grid_hw, rays)

    def about(self) -> dict[str, Any]:
        """Return what diagnostics tell about it, and the notice for whoever loads it."""
        return {'depth_model': self.network.name, 'depth_licence': self.network.licence,
                'depth_notice': self.network.notice}


def network_size(size_hw: tuple[int, ...], short_side: int = SHORT_SIDE) -> tuple[int, int]:
    """Return the input size (h, w) for an image: same shape, multiples of the patch size."""
    scale = short_side / min(size_hw)
    height, width = (max(PATCH, round(side * scale / PATCH) * PATCH) for side in size_hw)
    return height, width


def device_and_dtype(device: str = 'auto',
                     precision: str = 'auto') -> tuple[torch.device, torch.dtype]:
    """Return where and in which number format to run, by the names that `load_model` takes."""
    where = device_of(device)
    return where, dtype_of(precision, where)


def load_depth_network(name_or_dir: str, device: torch.device,
                       dtype: torch.dtype = torch.float32,
                       short_side: int = SHORT_SIDE) -> DepthNetwork:
    """
    Load Depth Anything V2 from a folder or the local cache; nothing is downloaded.

    :param name_or_dir: a folder with config.json and model.safetensors, or the name of a
        repository that has been downloaded before.
    :raises ModelError: if it is not there, damaged, another kind of network, or not metric.
    """
    try:
        from transformers import DepthAnythingConfig, DepthAnythingForDepthEstimation
    except ModuleNotFoundError as error:
        raise ModelError(f'depth networks need {error.name}, which is missing: '
                         "pip install 'loc2_ros[models]'") from None
    try:
        facts, _ = DepthAnythingConfig.get_config_dict(name_or_dir, local_files_only=True)
        _check_config(facts, name_or_dir)
        with _quiet():
            # Its stubs do not know that there are two with output_loading_info
            loaded: Any = DepthAnythingForDepthEstimation.from_pretrained(
                name_or_dir, local_files_only=True, use_safetensors=True, dtype=torch.float32,
                output_loading_info=True)
        net, report = loaded
    except ModelError:
        raise
    # What transformers, safetensors and json raise for files that are absent or damaged
    except Exception as error:  # noqa: B902 (its kinds differ from version to version)
        raise ModelError(_unloadable(name_or_dir, error)) from None
    wrong = [*report['missing_keys'], *report['mismatched_keys'], *report['unexpected_keys']]
    if wrong:
        # transformers would go on with random numbers in their place
        raise ModelError(f'{name_or_dir} does not fit its config.json: {len(wrong)} tensors are '
                         f'missing, unknown or of another shape, first {wrong[0]}')
    # Its backbone was trained through DINOv2's own interpolation, too
    use_own_positions(net.backbone.embeddings)
    licence = _LICENCES.get(int(net.config.backbone_config.hidden_size), 'unknown')
    return DepthNetwork(net, name_or_dir, licence, device, dtype, short_side)


def _check_config(facts: Mapping[str, Any], name: str) -> None:
    if not facts:
        raise ModelError(f'no depth network {name!r}: it has no config.json; {_REMEDY}')
    if facts.get('model_type') != 'depth_anything':
        raise ModelError(f'{name} is a {facts.get("model_type", "network of unknown kind")!r}, '
                         f'not Depth Anything; use {DEFAULT_DEPTH_MODEL}')
    if facts.get('depth_estimation_type') != 'metric':
        raise ModelError(f'{name} gives relative depth, not metres; use one of the metric '
                         f'models, such as {DEFAULT_DEPTH_MODEL}')


def _unloadable(name: str, error: Exception) -> str:
    """Return the sentence for what could not be loaded."""
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    if Path(name).is_dir():
        return f'the depth network in {name} is damaged or incomplete ({reason}); {_REMEDY}'
    return (f'no depth network {name!r}, neither as a folder nor in the local cache; nothing is '
            f'downloaded at run time; {_REMEDY}')


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep progress bars and reports of transformers off the terminal."""
    from transformers.utils import logging
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
