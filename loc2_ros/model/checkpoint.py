# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Files of tensors from elsewhere: read without running what is in them, written atomically."""

from __future__ import annotations

from collections.abc import Mapping
import hashlib
from pathlib import Path
import pickle
import struct
import warnings
import zipfile
import zlib

from safetensors import safe_open, SafetensorError
from safetensors.torch import load_file, save_file
import torch
from torch import Tensor

# What torch.load is known to raise over damaged files, old and new formats
_DAMAGE = (RuntimeError, EOFError, OSError, ValueError, LookupError, AttributeError, TypeError,
           OverflowError, struct.error)


class CheckpointError(ValueError):
    """A file of tensors that cannot be used: one sentence that names it, and the remedy."""


def read_checkpoint(path: Path) -> dict[str, Tensor]:
    """
    Read a torch file that holds named tensors and nothing else.

    :raises CheckpointError: if it is missing, damaged, or holds anything else, such as code.
    """
    if not path.is_file():
        raise CheckpointError(f'there is no file {path}')
    _check_sums(path)
    try:
        with warnings.catch_warnings():     # about old formats; what matters is an error
            warnings.simplefilter('ignore')
            content = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError:
        # Both: torch cannot tell them apart, and neither may be loaded
        raise CheckpointError(f'{path} is damaged, or holds code or objects beside its tensors; '
                              'it was not loaded, download it again') from None
    except _DAMAGE:
        raise CheckpointError(f'{path} is damaged or no file of torch; download it '
                              'again') from None
    if not isinstance(content, Mapping) or not content or not all(
            isinstance(k, str) and isinstance(v, Tensor) for k, v in content.items()):
        raise CheckpointError(f'{path} is no state dict: it must hold named tensors and nothing '
                              'else')
    odd = next((key for key, x in content.items() if not _is_plain(x)), None)
    if odd is not None:
        raise CheckpointError(f'{path}: {odd} is no ordinary tensor; save the state dict of the '
                              'network itself')
    return {key: tensor.detach() for key, tensor in content.items()}


def _check_sums(path: Path) -> None:
    """Refuse a file whose parts do not have their checksums, which torch does not look at."""
    if not zipfile.is_zipfile(path):        # the format before torch 1.6 has none
        return
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, OSError, zlib.error, EOFError, NotImplementedError) as error:
        broken = str(error)
    if broken is not None:
        raise CheckpointError(f'{path} is damaged: the checksum of {broken} is wrong; download it '
                              'again')


def _is_plain(tensor: Tensor) -> bool:
    return (not tensor.is_nested and tensor.layout is torch.strided
            and tensor.device.type == 'cpu' and not tensor.is_quantized)


def check_values(tensors: Mapping[str, Tensor], where: str) -> None:
    """
    Refuse numbers that no training leaves behind.

    :raises CheckpointError: naming the first tensor with some.
    """
    for key, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f'{where}: {key} holds values that are no numbers; copy or '
                                  'download it again')
        if key.endswith(('running_var', 'num_batches_tracked')) and bool((tensor < 0).any()):
            raise CheckpointError(f'{where}: {key} holds values below zero; copy or download it '
                                  'again')


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """
    Read a safetensors file.

    :raises CheckpointError: if it is missing or damaged.
    """
    if not path.is_file():
        raise CheckpointError(f'{path} is missing')
    try:
        return load_file(path, device='cpu')
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is damaged ({error}); copy or export it again') from None


def read_facts(path: Path) -> dict[str, str]:
    """Return what a safetensors file says about itself; see `read_safetensors`."""
    try:
        with safe_open(path, framework='pt') as file:
            return file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f'{path} is damaged ({error}); copy or export it again') from None


def check_entries(found: Mapping[str, Tensor], expected: Mapping[str, Tensor], where: str,
                  source: str) -> None:
    """
    Compare names and shapes; torch's own strict load fills in missing counters silently.

    :param source: what asks for the expected ones.
    :raises CheckpointError: naming the first that differs.
    """
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        wrapped = extra and all(key.startswith('module.') for key in extra)
        raise CheckpointError(f'{where} does not fit {source}: {len(missing)} tensors missing, '
                              f'{len(extra)} unknown, first {(missing + extra)[0]}'
                              + ('; save the state dict of the module inside of DataParallel'
                                 if wrapped else ''))
    for key, tensor in expected.items():
        if found[key].shape != tensor.shape:
            raise CheckpointError(f'{where}: {key} has shape {tuple(found[key].shape)}, '
                                  f'{source} asks for {tuple(tensor.shape)}')
        if found[key].is_floating_point() != tensor.is_floating_point():
            raise CheckpointError(f'{where}: {key} holds {found[key].dtype}, {source} asks for '
                                  f'{tensor.dtype}')


def write_folder(folder: Path, texts: Mapping[str, str], weights: str,
                 tensors: Mapping[str, Tensor], facts: Mapping[str, str]) -> None:
    """
    Write tensors and texts into a folder that does not hold any of them yet.

    :param texts: content by file name; ``weights`` is the name of the file of tensors.
    :raises CheckpointError: if the folder is in use.
    """
    taken = [name for name in (*texts, weights) if (folder / name).exists()]
    if taken:
        raise CheckpointError(f'{folder} already holds {taken[0]}; give another --out, or remove '
                              'it')
    folder.mkdir(parents=True, exist_ok=True)
    write_safetensors(folder / weights, tensors, facts)
    for name, text in texts.items():
        write_text(folder / name, text)


def write_safetensors(path: Path, tensors: Mapping[str, Tensor],
                      facts: Mapping[str, str] | None = None) -> None:
    """Write tensors, and facts about them, atomically."""
    part = path.with_name(f'{path.name}.part')
    save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, part,
              metadata=dict(facts) if facts else None)
    part.chmod(0o644)       # safetensors writes files that only the owner may read
    part.replace(path)


def write_text(path: Path, text: str) -> None:
    """Write a text atomically."""
    part = path.with_name(f'{path.name}.part')
    part.write_text(text, encoding='utf-8')
    part.replace(path)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
