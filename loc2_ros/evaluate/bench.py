# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How long each stage of the localizer takes: what runs is the localizer itself, watched.

Modules are timed by hooks; on a GPU each one waits for its end, so that a stage does not pay for
the one before it. The whole is therefore timed apart, without hooks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
import resource
import time
from typing import Any

from loc2_ros.core.camera import Mount
from loc2_ros.core.values import Image, Prior
import numpy as np
import torch
from torch import nn

END_TO_END, NO_AERIAL = 'end to end', 'end to end without crop and aerial branch'
_AERIAL = ('crop', 'aerial backbone', 'aerial projector')


@dataclass(frozen=True)
class Bench:
    """
    What was measured.

    :param stages_s: seconds of every repetition, by stage, in the order of the work.
    :param facts: what ran where.
    """

    stages_s: Mapping[str, list[float]]
    facts: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return facts and stages with median and 95th percentile, milliseconds."""
        return {**self.facts, 'stages': {
            name: {'median_ms': round(1e3 * float(np.median(values)), 3),
                   'p95_ms': round(1e3 * float(np.percentile(values, 95)), 3)}
            for name, values in self.stages_s.items()}}

    def table(self) -> str:
        """Return the stages as a Markdown table."""
        whole = float(np.median(self.stages_s[END_TO_END]))
        lines = ['| stage | median (ms) | 95 % (ms) | share |', '|---|---|---|---|']
        for name, values in self.stages_s.items():
            middle = float(np.median(values))
            lines.append(f'| {name} | {1e3 * middle:.1f} | '
                         f'{1e3 * float(np.percentile(values, 95)):.1f} | '
                         f'{100 * middle / whole:.0f} % |')
        return '\n'.join(lines)


def bench(localizer: Any, image: Image, prior: Prior, mount: Mount, repeats: int = 20,
          warm: int = 2) -> Bench:
    """
    Localize one image again and again.

    :param localizer: a ``pipeline.Localizer``.
    :param warm: repetitions beforehand that do not count.
    :raises ValueError: the image does not get as far as the solver.
    """
    device = localizer.network.model.device
    runs: list[dict[str, float]] = []
    with _watched(localizer.network.model.net, localizer.contract.ground_hw, device) as laps:
        for _ in range(warm + repeats):
            laps.clear()
            runs.append(_stages(localizer, image, prior, mount, laps, device))
    whole = [_timed(lambda: localizer.localize(image, prior, mount), device)[0]
             for _ in range(warm + repeats)]
    for run, seconds in zip(runs, whole):
        run[END_TO_END] = seconds
        run[NO_AERIAL] = max(0.0, seconds - sum(run.get(name, 0.0) for name in _AERIAL))
    stages = {name: [run.get(name, 0.0) for run in runs[warm:]] for name in runs[-1]}
    about = localizer.about()
    return Bench(stages, {
        'model': about.get('checkpoint'), 'device': about.get('device'),
        'precision': about.get('precision'), 'torch': torch.__version__,
        'threads': torch.get_num_threads(), 'repeats': repeats,
        'solver': getattr(localizer.solver, 'kind', 'guided'),
        'ground': list(localizer.contract.ground_hw), 'aerial': localizer.contract.aerial_px,
        'peak_memory_mb': round(_peak_mb(device))})


def _stages(localizer: Any, image: Image, prior: Prior, mount: Mount, laps: dict[str, float],
            device: torch.device) -> dict[str, float]:
    """Return the seconds of one repetition by stage."""
    total, result = _timed(lambda: localizer.localize(image, prior, mount), device)
    if result.evidence is None:
        raise ValueError(f'the image does not reach the solver: {result}')
    own = result.evidence.timings_s
    rest = own['network'] - sum(laps.values())
    after = total - sum(own.values())
    return {'crop': own['crop'], 'depth source': own.get('depth', 0.0), **laps,
            'matching, resizing and copies': max(0.0, rest), 'solve': own['solve'],
            'evidence, covariance, gate': max(0.0, after)}


@contextmanager
def _watched(net: nn.Module, ground_hw: tuple[int, int],
             device: torch.device) -> Iterator[dict[str, float]]:
    """Time the parts of a network; the dictionary is filled while it runs."""
    laps: dict[str, float] = {}
    started: dict[int, float] = {}
    handles = []

    def watch(module: nn.Module, name: Callable[[Any], str]) -> None:
        def before(_: nn.Module, inputs: Any) -> None:
            _finish(device)
            started[id(module)] = time.perf_counter()

        def after(_: nn.Module, inputs: Any, output: Any) -> None:
            _finish(device)
            key = name(inputs)
            laps[key] = laps.get(key, 0.0) + time.perf_counter() - started[id(module)]

        handles.extend([module.register_forward_pre_hook(before),
                        module.register_forward_hook(after)])

    def backbone(inputs: Any) -> str:
        # Both views may share one backbone
        is_ground = tuple(inputs[0].shape[-2:]) == tuple(ground_hw)
        return 'ground backbone' if is_ground else 'aerial backbone'

    parts: Any = net
    for module in {id(m): m for m in (parts.ground_backbone, parts.aerial_backbone)}.values():
        watch(module, backbone)
    watch(parts.grd_projector, lambda inputs: 'ground projector')
    watch(parts.sat_projector, lambda inputs: 'aerial projector')
    if parts.depth_head is not None:
        watch(parts.depth_head, lambda inputs: 'depth head')
    try:
        yield laps
    finally:
        for handle in handles:
            handle.remove()


def _timed(action: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    _finish(device)
    start = time.perf_counter()
    result = action()
    _finish(device)
    return time.perf_counter() - start, result


def _finish(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)


def _peak_mb(device: torch.device) -> float:
    """Return the most memory held so far: of the GPU, or of the process."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3     # kilobytes on Linux
