# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Model folders: ``config.json`` and ``model.safetensors``; read, checked, written; offline."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
from pathlib import Path

from loc2_ros.model.contract import Contract, ContractError
from loc2_ros.model.loc2 import Loc2Net
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
import torch
from torch import Tensor

CONFIG, WEIGHTS = 'config.json', 'model.safetensors'
BUILT_IN = ('mini',)


class ModelError(RuntimeError):
    """A model that cannot be used: one sentence that names it, and the remedy."""


@dataclass(frozen=True)
class Model:
    """A loaded network, ready for inference."""

    net: Loc2Net
    contract: Contract
    sha256: str
    device: torch.device
    dtype: torch.dtype


def model_folder(name_or_dir: str) -> Path:
    """
    Return the folder of a built-in name or of a path.

    :raises ModelError: if it is neither, or a file is missing.
    """
    folder = (Path(__file__).parent / name_or_dir if name_or_dir in BUILT_IN
              else Path(name_or_dir).expanduser())
    if not folder.is_dir():
        raise ModelError(f'no model {name_or_dir!r}: give a built-in name ({", ".join(BUILT_IN)}) '
                         f'or a folder with {CONFIG} and {WEIGHTS}')
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise ModelError(f'{folder} is no model folder: {file} is missing')
    return folder


def load_model(name_or_dir: str, device: str = 'auto', precision: str = 'auto') -> Model:
    """
    Load a model for inference.

    :param device: auto, cpu or cuda; auto takes CUDA where there is one.
    :param precision: auto, fp32, fp16 or bf16; auto is fp32 on a CPU, fp16 on CUDA.
    :raises ModelError: if files are missing, damaged, or do not fit each other.
    """
    folder = model_folder(name_or_dir)
    target = _device(device)
    dtype = _dtype(precision, target)
    try:
        contract = Contract.from_json((folder / CONFIG).read_text(encoding='utf-8'),
                                      str(folder / CONFIG))
        net = Loc2Net(contract)
    except (ContractError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise ModelError(f'{error}') from None
    try:
        tensors = load_file(folder / WEIGHTS, device='cpu')
    except (SafetensorError, OSError) as error:
        raise ModelError(f'{folder / WEIGHTS} is damaged ({error}); copy or export it '
                         'again') from None
    _check(tensors, net.state_dict(), folder / WEIGHTS)
    net.load_state_dict({k: v.float() if v.is_floating_point() else v
                         for k, v in tensors.items()})
    net = net.eval().requires_grad_(False).to(target)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(net, contract, file_sha256(folder / WEIGHTS), target, dtype)


def save_model(net: Loc2Net, folder: Path, half: bool = True) -> None:
    """
    Write a network as a model folder, each file atomically.

    :param half: store floating point tensors as float16; they are read back as float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: (v.half() if half and v.is_floating_point() else v).cpu().contiguous()
               for k, v in net.state_dict().items()}
    part = folder / f'{WEIGHTS}.part'
    save_file(tensors, part)
    part.chmod(0o644)       # safetensors writes files that only the owner may read
    part.replace(folder / WEIGHTS)
    part = folder / f'{CONFIG}.part'
    part.write_text(net.contract.to_json(), encoding='utf-8')
    part.replace(folder / CONFIG)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file as hex digits."""
    digest = hashlib.sha256()
    with open(path, 'rb') as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _check(found: dict[str, Tensor], expected: dict[str, Tensor], path: Path) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing or extra:
        raise ModelError(f'{path} does not fit its {CONFIG}: {len(missing)} tensors missing, '
                         f'{len(extra)} unknown, first {(missing + extra)[0]}')
    for key, tensor in expected.items():
        if found[key].shape != tensor.shape:
            raise ModelError(f'{path}: {key} has shape {tuple(found[key].shape)}, '
                             f'{CONFIG} asks for {tuple(tensor.shape)}')


def _device(name: str) -> torch.device:
    if name not in ('auto', 'cpu', 'cuda'):
        raise ModelError(f"device is 'auto', 'cpu' or 'cuda', not {name!r}")
    if name == 'cuda' and not torch.cuda.is_available():
        raise ModelError("device 'cuda' was asked for and torch finds none; use 'auto' or 'cpu'")
    return torch.device('cuda' if name != 'cpu' and torch.cuda.is_available() else 'cpu')


def _dtype(name: str, device: torch.device) -> torch.dtype:
    if name == 'auto':
        return torch.float16 if device.type == 'cuda' else torch.float32
    known = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
    if name not in known:
        raise ModelError(f"precision is 'auto' or one of {', '.join(known)}, not {name!r}")
    return known[name]
