# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Features of frozen backbones, kept on disk for images that come again.

A feature map is found by what it was made of: the pixels, and the backbone's weights. So
nothing can be stale, whatever the data set, order or number of processes.
"""

from __future__ import annotations

from collections.abc import Callable
import hashlib
import os
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch
from torch import nn, Tensor


def keep_features(backbone: nn.Module, folder: Path) -> Callable[[Tensor], Tensor]:
    """
    Return a frozen backbone that remembers, on disk as float16, what it computed.

    :raises ValueError: it is not frozen.
    """
    if any(p.requires_grad for p in backbone.parameters()):
        raise ValueError('features can be kept of frozen backbones only')
    folder = folder / _weights_digest(backbone)
    folder.mkdir(parents=True, exist_ok=True)

    @torch.no_grad()
    def remembered(image: Tensor) -> Tensor:
        return _remembered(image, backbone, folder)

    return remembered


def _remembered(image: Tensor, compute: Callable[[Tensor], Tensor], folder: Path) -> Tensor:
    files = [folder / f'{_digest(one)}.safetensors' for one in image.cpu()]
    found = [_read(file) for file in files]
    missing = [k for k, features in enumerate(found) if features is None]
    if missing:
        made = compute(image[missing]).half().cpu()
        for k, features in zip(missing, made):
            _write(files[k], features)
            found[k] = features
    return torch.stack([f for f in found if f is not None]).to(image.device, torch.float32)


def _read(path: Path) -> Tensor | None:
    """Return stored features; None where there are none, or an interrupted run damaged them."""
    try:
        return load_file(path)['features']
    except (OSError, SafetensorError, KeyError):
        return None


def _write(path: Path, features: Tensor) -> None:
    part = path.with_suffix(f'.{os.getpid()}.part')
    save_file({'features': features.contiguous()}, part)
    part.replace(path)


def _digest(image: Tensor) -> str:
    raw = image.contiguous().view(torch.uint8).numpy()
    return hashlib.blake2b(raw.tobytes(), digest_size=16).hexdigest()


def _weights_digest(backbone: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for key, value in backbone.state_dict().items():
        digest.update(key.encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
