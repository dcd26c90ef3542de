# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A device that only pretends: it computes on the CPU, but keeps its tensors apart as a GPU does.

Tensors that were moved there cannot meet others, and every way back to the host is counted:
copies, numbers read by Python, and shapes that depend on values. So code for a GPU is tested
without one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from unittest import mock

import torch
from torch import nn, Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

DEVICE = torch.device('meta')       # a name that needs no driver
# Their result has as many elements as the values say, so a GPU has to be asked
_ASKING = ('nonzero', 'masked_select', 'unique', 'bincount', 'repeat_interleave', 'equal',
           'is_nonzero', '_local_scalar_dense', 'item')


class Remote(Tensor):
    """A tensor on the pretended device; ``inner`` holds its values on the CPU."""

    inner: Tensor

    @staticmethod
    def __new__(cls: type[Remote], inner: Tensor) -> Remote:
        made = Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=DEVICE, requires_grad=False)
        made.inner = inner
        return made      # type: ignore[no-any-return]

    def __repr__(self) -> str:      # type: ignore[override]
        return f'Remote({self.inner!r})'

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f'{func} on the pretended device outside of `pretended`')


class Pretended(TorchDispatchMode):
    """
    Runs what is on the pretended device.

    :ivar reads: what brought values back to the host, by operation.
    :ivar waits: uploads that waited for the device, by operation.
    """

    def __init__(self) -> None:
        super().__init__()
        self.reads: list[str] = []
        self.waits: list[str] = []
        self.calls = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (),
                           kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        inputs = [x for x in _flat((args, kwargs)) if isinstance(x, Tensor)]
        remote = [x for x in inputs if isinstance(x, Remote)]
        target = _target(args, kwargs)
        if not remote and target != DEVICE:
            return func(*args, **kwargs)
        self.calls += 1
        out = func(*tree_map(_here, args), **tree_map(_here, kwargs))
        if name in _ASKING or _masks(name, args):
            self.reads.append(name)
        if name.startswith('_local_scalar') or isinstance(out, (bool, int, float)):
            return out
        moves = name in ('_to_copy', 'to', 'copy_', 'copy')
        if moves and (target is not None and target.type == 'cpu'
                      or name.startswith('copy') and not isinstance(args[0], Remote)):
            self.reads.append(name)
            return args[0] if name.startswith('copy') else out
        if moves and len(remote) < len(inputs) and not _non_blocking(args, kwargs):
            self.waits.append(name)
        if not moves:
            self._check(name, inputs)
        if name.endswith('_') and not name.startswith('_') or name in ('copy_',):
            return args[0]
        return tree_map(lambda x: Remote(x) if isinstance(x, Tensor) else x, out)

    @staticmethod
    def _check(name: str, inputs: list[Tensor]) -> None:
        """Refuse what a GPU refuses: tensors of the host beside its own, but for numbers."""
        apart = [x for x in inputs if not isinstance(x, Remote) and x.ndim > 0]
        if apart and len(apart) < len(inputs):
            raise RuntimeError(f'{name}: all tensors must be on the same device, but one of '
                               f'shape {tuple(apart[0].shape)} is on the host')


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for part in value:
            yield from _flat(part)
    elif isinstance(value, dict):
        yield from _flat(list(value.values()))
    else:
        yield value


def _here(value: Any) -> Any:
    if isinstance(value, Remote):
        return value.inner
    return torch.device('cpu') if isinstance(value, torch.device) else value


def _target(args: Any, kwargs: Any) -> torch.device | None:
    found = [x for x in _flat((args, kwargs)) if isinstance(x, torch.device)]
    return found[0] if found else None


def _masks(name: str, args: Any) -> bool:
    """Tell whether something is indexed by truth values, or filled at such places."""
    if name not in ('index', 'index_put', 'index_put_', '_index_put_impl_'):
        return False
    return any(isinstance(x, Tensor) and x.dtype in (torch.bool, torch.uint8)
               for x in _flat(args[1]))


def _non_blocking(args: Any, kwargs: Any) -> bool:
    return bool(kwargs.get('non_blocking')) or any(x is True for x in args[1:])


@torch.inference_mode()     # views of other tensors would want to count their versions
def move(module: nn.Module) -> nn.Module:
    """Move a module's tensors to the pretended device, in place."""
    for part in module.modules():
        for table in (part._parameters, part._buffers):
            for key, value in table.items():
                if value is not None:
                    moved: Any = Remote(value.detach())
                    if table is part._parameters:
                        moved = nn.Parameter(moved, requires_grad=False)
                    table[key] = moved
    return module


class _Generator(torch.Generator):
    """Draws on the CPU what the pretended device draws."""

    device = DEVICE

    def __new__(cls: type[_Generator], device: Any = None) -> _Generator:
        return super().__new__(cls)


@contextmanager
def pretended() -> Iterator[Pretended]:
    """Let tensors be moved to `DEVICE` and count what comes back."""
    with mock.patch('torch.autocast', lambda *args, **kwargs: nullcontext()), \
            mock.patch('torch.Generator', _Generator), Pretended() as mode:
        yield mode
