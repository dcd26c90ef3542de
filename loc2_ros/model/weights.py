# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Model folders: ``config.json`` and ``model.safetensors``; read, checked, written; offline."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from loc2_ros.model.checkpoint import (check_entries, check_values, CheckpointError, file_sha256,
                                       read_checkpoint, read_facts, read_safetensors,
                                       write_folder, write_safetensors, write_text)
from loc2_ros.model.contract import Contract, ContractError
from loc2_ros.model.dinov2 import (BackboneError, load_dinov2, random_dinov2, size_of,
                                   SIZES)
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.presets import check_preset, preset_contract
import torch
from torch import nn, Tensor

CONFIG, WEIGHTS = 'config.json', 'model.safetensors'
BUILT_IN = ('mini',)
LICENCE = ('not stated for the weights; the repository that publishes them, vita-epfl/Loc2, is '
           'AGPL-3.0')


class ModelError(RuntimeError):
    """A model that cannot be used: one sentence that names it, and the remedy."""


@dataclass(frozen=True)
class Model:
    """
    A loaded network, ready for inference.

    :param dtype: number format of the backbone; a matcher beside a frozen one stays in float32.
    :param backbone_sha256: of the frozen backbone's weights, '' without one.
    """

    net: Loc2Net
    contract: Contract
    sha256: str
    device: torch.device
    dtype: torch.dtype
    backbone_sha256: str = ''

    @property
    def autocast(self) -> bool:
        """Return whether the network is to run under autocast."""
        return self.dtype != torch.float32 and self.contract.backbone not in SIZES


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
            inside = folder / 'model'
            raise ModelError(f'{folder} is no model folder: {file} is missing'
                             + (f'; is it {inside} that you mean?'
                                if (inside / CONFIG).is_file() else ''))
    return folder


def load_model(name_or_dir: str, device: str = 'auto', precision: str = 'auto',
               backbone: str = '', preset: str = '') -> Model:
    """
    Load a model for inference.

    :param device: auto, cpu or cuda; auto takes CUDA where there is one.
    :param precision: auto, fp32, fp16 or bf16; auto is fp32 on a CPU, fp16 on CUDA.
    :param backbone: where the weights of a frozen backbone are: a folder, or a name that the
        Hugging Face cache holds; '' looks for the usual name there.
    :param preset: refuse a model that is not this published checkpoint; '' takes any.
    :raises ModelError: if files are missing, damaged, or do not fit each other.
    """
    folder = model_folder(name_or_dir)
    target = device_of(device)
    dtype = dtype_of(precision, target)
    contract = read_contract(folder, preset)
    frozen = None
    if contract.backbone in SIZES:
        try:
            size = size_of(contract.backbone, contract.backbone_options)
            frozen = load_dinov2(backbone, contract.backbone, size, target, dtype)
        except (BackboneError, TypeError) as error:
            raise ModelError(f'{contract.name}: {error}') from None
    net = load_matcher(folder, contract, frozen)
    net = net.eval().requires_grad_(False).to(target)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(net, contract, file_sha256(folder / WEIGHTS), target, dtype,
                 '' if frozen is None else frozen.sha256)


def random_model(preset: str, device: str = 'auto', precision: str = 'auto') -> Model:
    """
    Return a model of a published size with random weights, to measure time and memory.

    :raises ModelError: for an unknown preset.
    """
    try:
        contract = preset_contract(preset)
    except ContractError as error:
        raise ModelError(f'{error}') from None
    target = device_of(device)
    dtype = dtype_of(precision, target)
    backbone = random_dinov2(size_of(contract.backbone, contract.backbone_options))
    net = Loc2Net(contract, backbone.to(device=target, dtype=dtype))
    net = net.eval().requires_grad_(False).to(target)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Model(net, contract, '', target, dtype)


def read_contract(folder: Path, preset: str = '') -> Contract:
    """
    Read the contract of a model folder.

    :raises ModelError: if it is impossible, or not that of the preset.
    """
    try:
        contract = Contract.from_json((folder / CONFIG).read_text(encoding='utf-8'),
                                      str(folder / CONFIG))
        check_preset(contract, preset)
    except (ContractError, UnicodeDecodeError) as error:
        raise ModelError(f'{error}') from None
    return contract


def load_matcher(folder: Path, contract: Contract, frozen: nn.Module | None = None) -> Loc2Net:
    """
    Load the network of a model folder on the CPU.

    :param frozen: the backbone it shares; without one it only matches features, see `Loc2Net`.
    :raises ModelError: if the weights are damaged or do not fit the contract.
    """
    path = folder / WEIGHTS
    try:
        net = Loc2Net(contract, frozen)
    except (ValueError, TypeError) as error:
        raise ModelError(f'{folder / CONFIG}: {error}') from None
    try:
        tensors = read_safetensors(path)
        check_entries(tensors, net.state_dict(), str(path), f'its {CONFIG}')
        check_values(tensors, str(path))
        imported_as = read_facts(path).get('preset', '')
    except CheckpointError as error:
        raise ModelError(f'{error}') from None
    if imported_as != contract.preset:
        raise ModelError(f'{folder}: the weights were imported as {imported_as or "no preset"}, '
                         f'{CONFIG} says {contract.preset or "none"}; import the checkpoint again')
    net.load_state_dict(_single(tensors))
    return net


def save_model(net: Loc2Net, folder: Path, half: bool = True) -> None:
    """
    Write a network as a model folder, each file atomically.

    What was trained here is no published checkpoint, so it loses the name of its preset.

    :param half: store floating point tensors as float16; they are read back as float32.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {k: v.half() if half and v.is_floating_point() else v
               for k, v in net.state_dict().items()}
    write_safetensors(folder / WEIGHTS, tensors)
    write_text(folder / CONFIG, replace(net.contract, preset='').to_json())


def import_checkpoint(file: Path, preset: str, out: Path, licence: str = LICENCE) -> Contract:
    """
    Turn a published ``model.pt`` into a model folder, after comparing all of its 163 entries.

    :param preset: which of the six files it is; they cannot be told apart.
    :raises ModelError: if it is damaged, no such checkpoint, or ``out`` is in use.
    """
    try:
        contract = preset_contract(preset)
        tensors = read_checkpoint(file)
        with torch.device('meta'):
            expected = Loc2Net(contract).state_dict()
        check_entries(tensors, expected, str(file), 'a published checkpoint')
        tensors = _single(tensors)
        check_values(tensors, str(file))
        contract = replace(contract, provenance={
            'source': file.name, 'source_sha256': file_sha256(file), 'preset': preset,
            'preset_by': 'the user: the published files cannot be told apart',
            'licence': licence})
        write_folder(out, {CONFIG: contract.to_json()}, WEIGHTS, tensors, {'preset': preset})
    except (ContractError, CheckpointError) as error:
        raise ModelError(f'{error}') from None
    return contract


def _single(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}


def device_of(name: str) -> torch.device:
    if name not in ('auto', 'cpu', 'cuda'):
        raise ModelError(f"device is 'auto', 'cpu' or 'cuda', not {name!r}")
    if name == 'cuda' and not torch.cuda.is_available():
        raise ModelError("device 'cuda' was asked for and torch finds none; use 'auto' or 'cpu'")
    return torch.device('cuda' if name != 'cpu' and torch.cuda.is_available() else 'cpu')


def dtype_of(name: str, device: torch.device) -> torch.dtype:
    if name == 'auto':
        return torch.float16 if device.type == 'cuda' else torch.float32
    known = {'fp32': torch.float32, 'fp16': torch.float16, 'bf16': torch.bfloat16}
    if name not in known:
        raise ModelError(f"precision is 'auto' or one of {', '.join(known)}, not {name!r}")
    return known[name]
