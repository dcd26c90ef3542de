# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How long each stage of the localizer takes: what runs is the localizer itself, watched.

Modules are timed by hooks; on a GPU each one waits for its end, so that a stage does not pay for
the one before it. The whole is therefore timed apart, without hooks. Beside the times stands the
floor that arithmetic sets: operations, counted by torch, over what a large matrix product reaches
on the same device in the same number format.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
import math
import resource
import time
from typing import Any

from loc2_ros.core.camera import Mount
from loc2_ros.core.crop_grid import CropGrid
from loc2_ros.core.values import Image, Prior
from loc2_ros.crops import Crops
from loc2_ros.model.solve import PAIR_SEARCH, Solver
import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

END_TO_END, SHARED_CROP = 'end to end', 'end to end, crop shared'
RANSAC = 'solve by RANSAC instead'
AERIAL = ('crop', 'aerial backbone', 'aerial projector')
_MATRIX = 2048          # side of the product that tells what a device reaches
_CROPS_MB = 64.0


@dataclass(frozen=True)
class Bench:
    """
    What was measured.

    :param stages_s: seconds of every repetition, by stage, in the order of the work.
    :param gflop: of the stages that are networks, and end to end.
    :param facts: what ran where.
    """

    stages_s: Mapping[str, list[float]]
    facts: Mapping[str, Any]
    gflop: Mapping[str, float] = field(default_factory=dict)

    @property
    def parts(self) -> list[str]:
        """Return the names of the stages that add up to the whole."""
        return [name for name in self.stages_s if name not in (END_TO_END, SHARED_CROP, RANSAC)]

    def floor_ms(self, stage: str) -> float | None:
        """Return the least time that the arithmetic of a stage takes on this device."""
        work = self.gflop.get(stage)
        return None if work is None else 1e3 * work / self.facts['gflop_per_s']

    def to_json(self) -> dict[str, Any]:
        """Return facts and stages with median and 95th percentile, milliseconds."""
        return {**self.facts, 'stages': {name: self._row(name) for name in self.stages_s}}

    def table(self) -> str:
        """Return the stages as a Markdown table."""
        whole = self._row(END_TO_END)['median_ms']
        lines = ['| stage | median (ms) | 95 % (ms) | share | GFLOP | floor (ms) |',
                 '|---|---|---|---|---|---|']
        for name in self.stages_s:
            row = self._row(name)
            work, floor = (f'{row[key]:.1f}' if key in row else ''
                           for key in ('gflop', 'floor_ms'))
            lines.append(f'| {name} | {row["median_ms"]:.1f} | {row["p95_ms"]:.1f} | '
                         f'{100 * row["median_ms"] / whole:.0f} % | {work} | {floor} |')
        return '\n'.join(lines)

    def _row(self, name: str) -> dict[str, float]:
        values = self.stages_s[name]
        row = {'median_ms': round(1e3 * float(np.median(values)), 3),
               'p95_ms': round(1e3 * float(np.percentile(values, 95)), 3)}
        floor = self.floor_ms(name)
        return row if floor is None else {**row, 'gflop': round(self.gflop[name], 3),
                                          'floor_ms': round(floor, 3)}


def bench(localizer: Any, image: Image, prior: Prior, mount: Mount, repeats: int = 20,
          warm: int = 2) -> Bench:
    """
    Localize one image again and again.

    :param localizer: a ``pipeline.Localizer``; it is left as it was.
    :param warm: repetitions beforehand that do not count.
    :raises ValueError: the image does not get as far as the solver.
    """
    device, dtype = localizer.network.model.device, localizer.network.model.dtype

    def localize() -> Any:
        return localizer.localize(image, prior, mount)

    before = localizer.crops, localizer.solver
    own = CropGrid(localizer.contract.heading_up)
    try:
        localizer.crops = Crops(localizer.network, own)
        stages, gflop = _by_stage(localizer, localize, device, repeats, warm)
        stages[END_TO_END] = [_timed(localize, device)[0] for _ in range(repeats)]
        # Every image finds its crop there: what a slow vehicle comes near to
        localizer.crops = Crops(localizer.network, _coarse(own), _CROPS_MB)
        localize()
        stages[SHARED_CROP] = [_timed(localize, device)[0] for _ in range(repeats)]
        localizer.solver = Solver(PAIR_SEARCH, kind='ransac')
        stages[RANSAC] = [localize().evidence.timings_s['solve'] for _ in range(repeats)]
        localizer.crops.close()
    finally:
        localizer.crops, localizer.solver = before
    gflop[SHARED_CROP] = gflop[END_TO_END] - sum(gflop.get(name, 0.0) for name in AERIAL)
    about = localizer.about()
    return Bench(stages, {
        'model': about.get('checkpoint'), 'device': _device_name(device),
        'precision': about.get('precision'), 'torch': torch.__version__,
        'threads': torch.get_num_threads(), 'repeats': repeats,
        'solver': getattr(localizer.solver, 'kind', 'guided'),
        'ground': list(localizer.contract.ground_hw), 'aerial': localizer.contract.aerial_px,
        'gflop_per_s': round(matrix_rate(device, dtype), 1),
        'peak_memory_mb': round(_peak_mb(device))}, gflop)


def count_operations() -> FlopCounterMode:
    """Return torch's counter, which does not know the attention of CPUs by itself."""
    attention = getattr(torch.ops.aten, '_scaled_dot_product_flash_attention_for_cpu', None)

    def count(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
        return sdpa_flop_count(query, key, value)

    return FlopCounterMode(display=False, custom_mapping={attention: count} if attention else {})


def matrix_rate(device: torch.device, dtype: torch.dtype, repeats: int = 7) -> float:
    """Return how many GFLOP a second a large matrix product does, the best of some."""
    a = torch.ones((_MATRIX, _MATRIX), device=device, dtype=dtype)
    best = min(_timed(lambda: a @ a, device)[0] for _ in range(repeats))
    return 2e-9 * _MATRIX ** 3 / best


def _coarse(grid: CropGrid) -> CropGrid:
    """Return a grid that any prior falls on, for timing alone."""
    return CropGrid(grid.heading_up, 1.0, math.radians(1.0), math.inf, math.inf)


def _by_stage(localizer: Any, localize: Callable[[], Any], device: torch.device, repeats: int,
              warm: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Return seconds of every repetition, and GFLOP, by stage."""
    net, size = localizer.network.model.net, localizer.contract.ground_hw
    runs: list[dict[str, float]] = []
    with _watched(net, size, lambda: _now(device)) as laps:
        for _ in range(warm + repeats):
            laps.clear()
            runs.append(_stages(localize, laps, device))
    with count_operations() as counter, \
            _watched(net, size, lambda: 1e-9 * counter.get_total_flops()) as gflop:
        localize()
    work = {**gflop, END_TO_END: 1e-9 * counter.get_total_flops()}
    return {name: [run.get(name, 0.0) for run in runs[warm:]] for name in runs[-1]}, work


def _stages(localize: Callable[[], Any], laps: dict[str, float],
            device: torch.device) -> dict[str, float]:
    """Return the seconds of one repetition by stage."""
    total, result = _timed(localize, device)
    if result.evidence is None:
        raise ValueError(f'the image does not reach the solver: {result}')
    own = result.evidence.timings_s
    rest = own['network'] - sum(laps.values())
    after = total - sum(own.values())
    order = ('ground backbone', 'depth head', 'ground projector', 'aerial backbone',
             'aerial projector')
    return {'crop': own['crop'], 'depth source': own.get('depth', 0.0),
            **{name: laps[name] for name in order if name in laps},
            'matching, resizing and copies': max(0.0, rest), 'solve': own['solve'],
            'evidence, covariance, gate': max(0.0, after)}


@contextmanager
def _watched(net: nn.Module, ground_hw: tuple[int, int],
             meter: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Read a meter around the parts of a network; the dictionary is filled while it runs."""
    laps: dict[str, float] = {}
    started: dict[int, float] = {}
    handles = []

    def watch(module: nn.Module, name: Callable[[Any], str]) -> None:
        def before(_: nn.Module, inputs: Any) -> None:
            started[id(module)] = meter()

        def after(_: nn.Module, inputs: Any, output: Any) -> None:
            key = name(inputs)
            laps[key] = laps.get(key, 0.0) + meter() - started[id(module)]

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
    start = _now(device)
    result = action()
    return _now(device) - start, result


def _now(device: torch.device) -> float:
    """Return the time at which the device has done all it was told."""
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else str(device)


def _peak_mb(device: torch.device) -> float:
    """Return the most memory held so far: of the GPU, or of the process."""
    if device.type == 'cuda':
        return torch.cuda.max_memory_allocated(device) / 1e6
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3     # kilobytes on Linux
