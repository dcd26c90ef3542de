# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
DINOv2 as a frozen backbone: dense patch features from weights that lie on this machine.

The network is that of ``transformers``; its position table is resized as DINOv2 itself does it.
Weights may carry the names of facebookresearch or of any version of transformers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
import json
from pathlib import Path
import re
from typing import Any

from loc2_ros.model.checkpoint import (check_values, CheckpointError, file_sha256,
                                       read_checkpoint, read_safetensors, write_folder)
from loc2_ros.model.dinov2_names import renamed
from loc2_ros.model.vit import interpolate_position_embedding
import torch
from torch import nn, Tensor

PATCH, TABLE = 14, 37       # pixels per patch; side of the position table, 518 px
LICENCE = 'Apache-2.0'
CONFIG, WEIGHTS = 'config.json', 'model.safetensors'


@dataclass(frozen=True)
class Size:
    """
    What distinguishes the sizes of DINOv2.

    :param hidden: channels, in ``heads`` heads.
    :param repo: its name on the Hugging Face hub.
    :param swiglu: whether its feed-forward layers are gated.
    """

    hidden: int
    layers: int
    heads: int
    repo: str = ''
    swiglu: bool = False


SIZES: Mapping[str, Size] = {
    'dinov2_vits14': Size(384, 12, 6, 'facebook/dinov2-small'),
    'dinov2_vitb14': Size(768, 12, 12, 'facebook/dinov2-base'),
    'dinov2_vitl14': Size(1024, 24, 16, 'facebook/dinov2-large'),
    'dinov2_vitg14': Size(1536, 40, 24, 'facebook/dinov2-giant', True)}


class BackboneError(ValueError):
    """Backbone weights that cannot be used: one sentence that names them, and the remedy."""


def size_of(name: str, options: Mapping[str, Any]) -> Size:
    """Return a size by the name in a contract, as its options change it."""
    return Size(**{**asdict(SIZES[name]), **options})


class Dinov2(nn.Module):
    """
    The frozen network; it stays in evaluation mode and in its own number format.

    :param model: a ``transformers.Dinov2Model`` with loaded weights.
    """

    stride = PATCH

    def __init__(self, model: Any, sha256: str = '') -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.channels = int(self.model.config.hidden_size)
        self.sha256 = sha256
        use_own_positions(self.model.embeddings)
        self.eval()

    def train(self, mode: bool = True) -> Dinov2:
        """Stay in evaluation mode whatever the network around it does."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        """
        Compute the normalised patch tokens.

        :param image: (B, 3, H, W) RGB in [0, 1], not normalised; cropped at the bottom and the
            right to multiples of 14.
        :returns: (B, channels, H // 14, W // 14) float32.
        """
        h, w = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        with torch.autocast(image.device.type, enabled=False):
            pixels = image.to(self.model.embeddings.position_embeddings)
            tokens = self.model(pixels).last_hidden_state[:, 1:]
        return tokens.transpose(1, 2).reshape(len(image), self.channels, h, w).float()


def use_own_positions(embeddings: Any) -> None:
    """
    Resize a position table as DINOv2 itself does, and once for each input size.

    :param embeddings: a ``Dinov2Embeddings`` of transformers, which samples other places.
    """
    tables: dict[tuple[int, int, torch.device, torch.dtype], Tensor] = {}

    def resized(_: Tensor, height: int, width: int) -> Tensor:
        table = embeddings.position_embeddings
        key = (height // PATCH, width // PATCH, table.device, table.dtype)
        if key not in tables:
            tables[key] = interpolate_position_embedding(table.detach(), *key[:2])
        return tables[key]

    embeddings.interpolate_pos_encoding = resized


def find_backbone(where: str, name: str, size: Size) -> Path:
    """
    Return the folder with the weights of a backbone; nothing is ever downloaded.

    :param where: a folder, or a name on the Hugging Face hub that its cache holds; '' looks in
        the cache for the usual name.
    :raises BackboneError: if there is none, with the remedy.
    """
    folder = Path(where).expanduser()
    if where and folder.is_dir():
        return folder
    repo = where or size.repo
    if re.fullmatch(r'[\w.-]+/[\w.-]+', repo):
        from huggingface_hub import try_to_load_from_cache
        found = [try_to_load_from_cache(repo, file) for file in (CONFIG, WEIGHTS)]
        if all(isinstance(path, str) for path in found):
            return Path(str(found[0])).parent
    wanted = f'{where!r} is no folder with its weights' if where else 'its weights are not here'
    raise BackboneError(
        f'the model needs the backbone {name} and {wanted}: give a folder as backbone, made by '
        f'"loc2 model import-backbone {name}_pretrain.pth --out DIR"'
        + (f', or have {size.repo} in the Hugging Face cache' if size.repo else ''))


def load_dinov2(where: str, name: str, size: Size, device: torch.device,
                dtype: torch.dtype) -> Dinov2:
    """
    Load a frozen DINOv2.

    :param where: see `find_backbone`.
    :raises BackboneError: if files are missing, damaged, or of another size.
    """
    folder = find_backbone(where, name, size)
    try:
        _check_config(folder / CONFIG, name, size)
        tensors = read_safetensors(folder / WEIGHTS)
        model = _filled(renamed(tensors), size, str(folder / WEIGHTS))
    except CheckpointError as error:
        raise BackboneError(f'{error}') from None
    return Dinov2(model.to(device=device, dtype=dtype), file_sha256(folder / WEIGHTS))


def random_dinov2(size: Size) -> Dinov2:
    """Return a backbone of random weights, for tests and for measuring time and memory."""
    return Dinov2(_make(size))


def import_dinov2(file: Path, out: Path) -> str:
    """
    Turn a facebookresearch ``.pth`` file into a backbone folder.

    :returns: the name of its size, or 'of an unusual size'.
    :raises BackboneError: if it is no DINOv2 of patch size 14 without registers.
    :raises CheckpointError: if it cannot be read, or ``out`` holds something already.
    """
    source = read_checkpoint(file)
    if 'register_tokens' in source:
        raise BackboneError(f'{file} is a DINOv2 with registers; take the file without "_reg4"')
    tensors = renamed(source)
    size = _size_from(tensors, file)
    model = _filled(tensors, size, str(file))
    check_values(tensors, str(file))
    config = model.config.to_dict() | {'architectures': ['Dinov2Model']}
    facts = {'format': 'pt', 'source': file.name, 'source_sha256': file_sha256(file),
             'licence': LICENCE}
    write_folder(out, {CONFIG: json.dumps(config, indent=2, default=str) + '\n'}, WEIGHTS,
                 dict(model.state_dict()), facts)
    return next((name for name, known in SIZES.items()
                 if (known.hidden, known.layers) == (size.hidden, size.layers)),
                'of an unusual size')


def _make(size: Size) -> Any:
    try:
        from transformers import AutoModel, Dinov2Config
    except ImportError:
        raise BackboneError('DINOv2 needs the package transformers; '
                            'pip install "loc2_ros[models]"') from None
    config = Dinov2Config(
        hidden_size=size.hidden, num_hidden_layers=size.layers, num_attention_heads=size.heads,
        mlp_ratio=4, image_size=PATCH * TABLE, patch_size=PATCH, qkv_bias=True,
        layer_norm_eps=1e-6, hidden_act='gelu', use_swiglu_ffn=size.swiglu)
    return AutoModel.from_config(config, attn_implementation='sdpa')


def _filled(tensors: dict[str, Tensor], size: Size, where: str) -> Any:
    """Return a network that holds exactly these tensors."""
    with torch.device('meta'):      # random weights would take seconds only to be thrown away
        model = _make(size)
    expected = model.state_dict()
    missing, extra = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    if missing or extra:
        raise BackboneError(f'{where} is no DINOv2 of {size.layers} layers: {len(missing)} '
                            f'tensors missing, {len(extra)} unknown, first '
                            f'{(missing + extra)[0]}')
    for key, tensor in expected.items():
        if tensors[key].shape != tensor.shape:
            raise BackboneError(f'{where}: {key} has shape {tuple(tensors[key].shape)} instead of '
                                f'{tuple(tensor.shape)}')
    model.load_state_dict({k: v.float() for k, v in tensors.items()}, assign=True)
    return model


def _size_from(tensors: Mapping[str, Tensor], file: Path) -> Size:
    """Read the size off the tensors; every head of DINOv2 has 64 channels."""
    norm = tensors.get('layernorm.weight')
    layers = {m.group(1) for k in tensors if (m := re.match(r'encoder\.layer\.(\d+)\.', k))}
    if norm is None or norm.ndim != 1 or not layers or len(norm) % 64:
        raise BackboneError(f'{file} is no DINOv2: it lacks the tensors of one; take '
                            'dinov2_vitl14_pretrain.pth or another of its sizes')
    swiglu = any('.mlp.gate_proj.' in key for key in tensors)
    return Size(len(norm), len(layers), len(norm) // 64, '', swiglu)


def _check_config(path: Path, name: str, size: Size) -> None:
    """Refuse a folder of another size, naming both."""
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
        found = (config['hidden_size'], config['num_hidden_layers'],
                 config['num_attention_heads'], config['patch_size'], config['image_size'])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f'{path} is no configuration of a DINOv2 ({error!r}); give a folder '
                            'made by "loc2 model import-backbone"') from None
    wanted = (size.hidden, size.layers, size.heads, PATCH, PATCH * TABLE)
    if found != wanted:
        raise BackboneError(f'{path.parent} is no {name}: channels, layers, heads, patch and '
                            f'image size are {found} instead of {wanted}')
