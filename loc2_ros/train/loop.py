# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The training loop: one for CPU, one GPU and several, resumable to the step.

Sample k depends on the seed and k alone, so a resumed run sees exactly the samples that an
uninterrupted one would have seen.
"""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.utils import set_seed
from loc2_ros.core.align import Ransac
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.solve import Solver
from loc2_ros.model.weights import load_model, ModelError, save_model
from loc2_ros.synthetic.dataset import PairsConfig, render_pairs, town_file
from loc2_ros.train.config import ConfigError, TrainConfig
from loc2_ros.train.curve import draw_curve, LOG, VALID
from loc2_ros.train.losses import loss
from loc2_ros.train.pairs import Pair, TownPairs
from loc2_ros.train.validate import pose_errors, summary
import torch
from torch.utils.data import DataLoader, Subset
from tqdm import tqdm

CHECKPOINT = 'checkpoint.pt'


def train_town(config: TrainConfig, out: Path, resume: Path | None = None,
               stop_after: int | None = None) -> Path:
    """
    Train on synthetic towns; render them first where they are missing.

    :param out: receives ``pairs/``, ``checkpoint.pt``, ``log.csv``, ``valid.csv``, ``curve.png``
        and ``model/``.
    :param resume: folder of an earlier run to go on from.
    :param stop_after: stop once this many steps are done in total, as an interrupted run would.
    :returns: the folder of the exported model.
    """
    accelerator = Accelerator(mixed_precision='bf16' if config.amp else 'no')
    out.mkdir(parents=True, exist_ok=True)
    files, valid_files = _render(config, (resume or out) / 'pairs', accelerator)
    set_seed(config.seed)
    net = Loc2Net(config.contract)
    if config.start_from and resume is None:
        begin_with(net, config.start_from)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(net.parameters(), lr=config.lr,
                                  weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: _rate(k, config))
    done = 0
    if resume is not None:
        done = _load(resume / CHECKPOINT, net, optimiser, schedule, config)
    pairs = TownPairs(files, config.contract, config.steps * config.batch, config.seed)
    # What was seen before the interruption is skipped, not drawn again
    rest = Subset(pairs, range(done * config.batch, len(pairs)))
    loader = DataLoader(rest, config.batch // accelerator.num_processes, drop_last=True,
                        num_workers=config.loader_workers,
                        persistent_workers=config.loader_workers > 0)
    valid = DataLoader(TownPairs(valid_files, config.contract, config.valid_pairs, 1,
                                 augment=False), 8)
    prepared, optimiser, loader = accelerator.prepare(net, optimiser, loader)
    last = min(config.steps, stop_after or config.steps)
    bar = tqdm(total=last, initial=done, unit='step', disable=not accelerator.is_main_process)
    for batch in loader:
        if done >= last:
            break
        prepared.train()
        parts = _step(prepared, net, Pair(*batch), optimiser, schedule, config, accelerator)
        done += 1
        bar.update()
        if accelerator.is_main_process:
            _after_step(net, optimiser, schedule, config, out, done, last, parts, bar, valid)
    bar.close()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        _save(out / CHECKPOINT, net, optimiser, schedule, done, config)
        save_model(net, out / 'model')
    return out / 'model'


def begin_with(net: Loc2Net, folder: str) -> None:
    """
    Take over the weights of a model that may know fewer inputs; those begin at zero.

    :raises ConfigError: if the two differ in anything else.
    """
    try:
        known = load_model(folder, 'cpu').net.state_dict()
    except ModelError as error:
        raise ConfigError(f'start_from: {error}') from None
    state = net.state_dict()
    for key, value in state.items():
        found = known.get(key)
        if found is None or (found.shape[:1], found.shape[2:]) != (value.shape[:1],
                                                                   value.shape[2:]):
            raise ConfigError(f'start_from: {folder} does not fit the model, first at {key}; '
                              'use a model of the same kind')
        if found.shape != value.shape:
            value.zero_()
            value[:, :found.shape[1]] = found[:, :value.shape[1]]
        else:
            value.copy_(found)


def _render(config: TrainConfig, folder: Path,
            accelerator: Accelerator) -> tuple[list[Path], list[Path]]:
    sets = []
    for first, towns in ((config.first_seed, config.towns),
                         (config.valid_first_seed, config.valid_towns)):
        wanted = PairsConfig(first, towns, config.views, config.contract.ground_hw,
                             config.contract.stride)
        if accelerator.is_main_process:
            with tqdm(total=towns, unit='town', desc='rendering') as bar:
                render_pairs(wanted, folder, config.render_workers,
                             report=lambda n, bar=bar: bar.update(n - bar.n))
        sets.append([town_file(folder, s) for s in range(first, first + towns)])
    accelerator.wait_for_everyone()
    return sets[0], sets[1]


def _rate(step: int, config: TrainConfig) -> float:
    """Return the factor on the learning rate: linear warm-up, then a cosine to zero."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, config.steps))))


def _step(prepared: torch.nn.Module, net: Loc2Net, pair: Pair, optimiser: Any, schedule: Any,
          config: TrainConfig, accelerator: Accelerator) -> dict[str, float]:
    with accelerator.autocast():
        total, parts = loss(net, pair, config.weights)
    optimiser.zero_grad()
    accelerator.backward(total)
    accelerator.clip_grad_norm_(prepared.parameters(), config.clip)
    optimiser.step()
    schedule.step()
    return {'total': float(total.detach()), **{k: float(v) for k, v in parts.items()}}


def _after_step(net: Loc2Net, optimiser: Any, schedule: Any, config: TrainConfig, out: Path,
                done: int, last: int, parts: dict[str, float], bar: tqdm,
                valid: DataLoader) -> None:
    if done % 25 == 0 or done == last:
        bar.set_postfix(loss=f'{parts["total"]:.3f}')
        _log(out / LOG, {'step': done, **parts})
    if done % config.save_every == 0:
        _save(out / CHECKPOINT, net, optimiser, schedule, done, config)
    if done % config.valid_every == 0 or done == last:
        net.eval()
        reach = math.radians(config.contract.heading_range_deg) + 0.1
        solver = Solver(Ransac(theta_range=(-math.pi / 2 - reach, -math.pi / 2 + reach)))
        figures = summary(pose_errors(net, (Pair(*b) for b in valid), solver))
        _log(out / VALID, {'step': done, **figures})
        draw_curve(out)
        tqdm.write(f'step {done}: ' + ', '.join(f'{k} {v:.3f}' for k, v in figures.items()))


def _log(path: Path, row: dict[str, float]) -> None:
    new = not path.is_file()
    with open(path, 'a', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({k: v if k == 'step' else f'{v:.5f}' for k, v in row.items()})


def _save(path: Path, net: Loc2Net, optimiser: Any, schedule: Any, done: int,
          config: TrainConfig) -> None:
    """Write the state atomically: an interrupted save leaves the previous one."""
    state = {'net': net.state_dict(), 'optimiser': optimiser.state_dict(),
             'schedule': schedule.state_dict(), 'done': done, 'pairs': config.pairs,
             'batch': config.batch}
    part = path.with_suffix('.part')
    torch.save(state, part)
    part.replace(path)


def _load(path: Path, net: Loc2Net, optimiser: Any, schedule: Any, config: TrainConfig) -> int:
    """
    Restore a run.

    :returns: the steps done.
    :raises ConfigError: if there is no checkpoint or it belongs to another configuration.
    """
    if not path.is_file():
        raise ConfigError(f'{path} does not exist; start without --resume')
    state = torch.load(path, map_location='cpu', weights_only=True)
    if (state['pairs'], state['batch']) != (config.pairs, config.batch):
        raise ConfigError(f'{path} was trained with pairs={state["pairs"]}, '
                          f'batch={state["batch"]}; use the same configuration to resume')
    net.load_state_dict(state['net'])
    optimiser.load_state_dict(state['optimiser'])
    schedule.load_state_dict(state['schedule'])
    return int(state['done'])
