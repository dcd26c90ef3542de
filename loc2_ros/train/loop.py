# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The training loop: one for all data sets, for CPU, one GPU and several, resumable to the step.

Sample k depends on the seed and k alone, and so does whatever is drawn for it: a resumed run sees
exactly what an uninterrupted one would have seen, and several processes see together what one
would.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
import math
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, set_seed
from loc2_ros.core.align import Ransac
from loc2_ros.data.pair import load_batches, Pair
from loc2_ros.loading import LocalizerSettings, solver_of
from loc2_ros.model.dinov2 import Dinov2, load_dinov2, size_of, SIZES
from loc2_ros.model.loc2 import Loc2Net
from loc2_ros.model.solve import Solver
from loc2_ros.model.weights import (load_matcher, model_folder, ModelError, read_contract,
                                    save_model)
from loc2_ros.train.config import ConfigError, TownConfig, TrainConfig
from loc2_ros.train.features import keep_features
from loc2_ros.train.losses import Objective
from loc2_ros.train.processes import mean_over_processes, share_norms
from loc2_ros.train.record import Record
from loc2_ros.train.sources import Datasets, Samples, Source
from loc2_ros.train.validate import pose_errors, summary
import torch
from torch.utils.data import Subset
from tqdm import tqdm

CHECKPOINT = 'checkpoint.pt'
_STATE = {'net', 'optimiser', 'schedule', 'progress', 'config'}
LOG_EVERY, VALID_BATCH, NARROW = 25, 8, 16


@dataclass
class Progress:
    """How far a run is: steps done, best validation, validations since without a better one."""

    done: int = 0
    best_m: float = math.inf
    waited: int = 0

    def better(self, position_m: float) -> bool:
        """Take a validation and tell whether it is the best so far."""
        self.waited = 0 if position_m < self.best_m else self.waited + 1
        self.best_m = min(self.best_m, position_m)
        return self.waited == 0


def train(config: TrainConfig, source: Source, out: Path, resume: Path | None = None,
          stop_after: int | None = None) -> Path:
    """
    Train a model.

    :param source: makes the data sets; see ``sources``.
    :param out: receives ``checkpoint.pt``, ``log.csv``, ``valid.csv``, ``curve.png`` and
        ``model/``.
    :param resume: folder of an earlier run to go on from.
    :param stop_after: stop once this many steps are done in total, as an interrupted run would.
    :returns: the folder of the exported model.
    :raises ConfigError, ValueError: one sentence, where configuration or data do not fit.
    """
    accelerator = Accelerator(
        mixed_precision='bf16' if config.amp else 'no',
        # Dustbin and depth head have no gradient to wait for where no part of the loss has one
        kwargs_handlers=[DistributedDataParallelKwargs(
            find_unused_parameters=0 in (config.weights.vce, config.weights.depth))])
    part = _part(config, accelerator.num_processes)
    # What is wrong with these is said before towns are rendered for hours
    state = None if resume is None else read_checkpoint(resume / CHECKPOINT, config)
    if config.start_from and resume is None:
        _begun(config.start_from)
    out.mkdir(parents=True, exist_ok=True)
    with accelerator.main_process_first():
        data = source(resume or out, accelerator.is_main_process)
    run = _Run(config, data, out, accelerator, fresh=resume is None)
    if state is not None:
        run.load(state)
    run.begin()
    record = Record(out, accelerator.is_main_process, run.progress.done)
    last = min(data.steps, stop_after or data.steps)
    if config.valid_first and run.progress.done == 0:
        run.validate(record)
    bar = tqdm(total=last, initial=run.progress.done, unit='step',
               disable=not accelerator.is_main_process)
    batches = _batches(data.train, run.progress.done, part, config, accelerator)
    while run.progress.done < last and not run.finished:
        parts = run.step(batches)
        bar.update()
        _after_step(run, record, parts, bar, last)
    bar.close()
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        run.save()
        if config.patience == 0 or not (out / 'model').is_dir():
            save_model(run.net, out / 'model')
    record.close()
    accelerator.wait_for_everyone()
    return out / 'model'


class _Run:
    """Network, optimiser and schedule of a run, and how far it is."""

    def __init__(self, config: TrainConfig, data: Datasets, out: Path,
                 accelerator: Accelerator, fresh: bool) -> None:
        self.config, self.data, self.out, self.accelerator = config, data, out, accelerator
        self.progress = Progress()
        set_seed(config.seed)
        self.net = Loc2Net(config.contract, _dinov2(config, accelerator.device))
        if config.start_from and fresh:
            begin_with(self.net, config.start_from)
        for backbone in self._frozen():
            backbone.requires_grad_(False)
        if accelerator.num_processes > 1:
            share_norms(self.net)
        self.net = self.net.to(  # type: ignore[call-overload]
            accelerator.device, memory_format=_layout(self.net))
        trained = [p for p in self.net.parameters() if p.requires_grad]
        self.optimiser = torch.optim.AdamW(trained, lr=config.lr,
                                           weight_decay=config.weight_decay)
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda k: _rate(k, config, data.steps))
        self.objective: Any = None
        self.solver = validation_solver(config)

    @property
    def finished(self) -> bool:
        """Tell whether validation has not become better for long enough."""
        return 0 < self.config.patience <= self.progress.waited

    def step(self, batches: Iterator[Pair]) -> dict[str, float]:
        """Do one step of the optimiser, of as many batches as are accumulated."""
        config, accelerator = self.config, self.accelerator
        self.net.train()
        for backbone in self._frozen():
            backbone.eval()
        sums: dict[str, torch.Tensor] = {}
        self.optimiser.zero_grad()
        for k in range(config.accumulate):
            waits = k + 1 < config.accumulate
            with accelerator.no_sync(self.objective) if waits else nullcontext():
                with accelerator.autocast():
                    total, parts = self.objective(next(batches))
                accelerator.backward(total / config.accumulate)
            for key, value in {'total': total.detach(), **parts}.items():
                sums[key] = sums.get(key, 0.0) + value / config.accumulate
        if config.clip > 0:
            accelerator.clip_grad_norm_(self.objective.parameters(), config.clip)
        self.optimiser.step()
        self.schedule.step()
        self.progress.done += 1
        return {key: float(mean_over_processes(value)) for key, value in sums.items()}

    def validate(self, record: Record) -> None:
        """Validate on the first process, and tell the others what came of it."""
        if not len(self.data.valid):
            return
        state = [0.0]
        if self.accelerator.is_main_process:
            self.net.eval()
            batches = load_batches(self.data.valid, VALID_BATCH)  # type: ignore[arg-type]
            figures = summary(pose_errors(self.net, batches, self.solver))
            record.valid(self.progress.done, figures)
            state = [figures['position_median_m']]
        if self.accelerator.num_processes > 1:
            torch.distributed.broadcast_object_list(state, src=0)
        if (self.progress.better(state[0]) and self.config.patience > 0
                and self.accelerator.is_main_process):
            save_model(self.net, self.out / 'model')

    def save(self) -> None:
        """Write the state atomically: an interrupted save leaves the previous one."""
        state = {'net': self.net.state_dict(), 'optimiser': self.optimiser.state_dict(),
                 'schedule': self.schedule.state_dict(), 'progress': asdict(self.progress),
                 'config': self.config.fingerprint()}
        part = (self.out / CHECKPOINT).with_suffix('.part')
        torch.save(state, part)
        part.replace(self.out / CHECKPOINT)

    def load(self, state: Mapping[str, Any]) -> None:
        """Restore a run from what `read_checkpoint` has found in order."""
        self.net.load_state_dict(state['net'])
        self.optimiser.load_state_dict(state['optimiser'])
        self.schedule.load_state_dict(state['schedule'])
        self.progress = Progress(**state['progress'])

    def begin(self) -> None:
        """Make the objective, of weights that are as they will be: new, begun with or resumed."""
        folder, looks = Path(self.config.features).expanduser(), {}
        for view in self.data.repeats if self.config.features else ():
            looks[view] = keep_features(getattr(self.net, f'{view}_backbone'), folder / view)
        self.objective = self.accelerator.prepare_model(
            Objective(self.net, self.config.weights, **looks))

    def _frozen(self) -> list[torch.nn.Module]:
        return [self.net.ground_backbone, self.net.aerial_backbone] if self.config.freezes else []


def read_checkpoint(path: Path, config: TrainConfig) -> dict[str, Any]:
    """
    Read the state of a run.

    :raises ConfigError: there is none, it is damaged, or it belongs to another configuration.
    """
    if not path.is_file():
        raise ConfigError(f'{path} does not exist; start without --resume')
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError) as error:
        raise ConfigError(f'{path} is damaged or no checkpoint ({str(error).splitlines()[0]}); '
                          'start anew') from None
    missing = sorted(_STATE - set(state)) if isinstance(state, dict) else sorted(_STATE)
    if missing:
        raise ConfigError(f'{path} is no checkpoint of a training run: {missing[0]} is missing')
    now, then = config.fingerprint(), state['config']
    other = next((key for key in now if now[key] != then.get(key)), None)
    if other is not None:
        raise ConfigError(f'{path} was trained with {other}: {then.get(other)}, not '
                          f'{now[other]}; use the same configuration to resume')
    return dict(state)


def begin_with(net: Loc2Net, folder: str) -> None:
    """
    Take over the weights of a model that may know fewer inputs; those begin at zero.

    :raises ConfigError: if the two differ in anything else.
    """
    known = _begun(folder)
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


def _begun(folder: str) -> dict[str, torch.Tensor]:
    try:
        path = model_folder(folder)
        return load_matcher(path, read_contract(path)).state_dict()
    except ModelError as error:
        raise ConfigError(f'start_from: {error}') from None


def _layout(net: Loc2Net) -> torch.memory_format:
    """Return the order of channels in memory that is fastest and works."""
    # On a CPU, torch 2.13 overwrites foreign memory in the backward pass of convolutions with few
    # channels, where these come last
    narrow = any(isinstance(m, torch.nn.Conv2d) and 1 < m.out_channels < NARROW
                 for m in net.modules())
    return torch.contiguous_format if narrow else torch.channels_last


def _dinov2(config: TrainConfig, device: torch.device) -> Dinov2 | None:
    """Return the frozen backbone of contracts that name one, in float16 on GPUs as published."""
    contract = config.contract
    if contract.backbone not in SIZES:
        return None
    size = size_of(contract.backbone, contract.backbone_options)
    return load_dinov2(config.backbone, contract.backbone, size, device,
                       torch.float32 if device.type == 'cpu' else torch.float16)


def validation_solver(config: TrainConfig) -> Solver:
    """Return the solver that validates: the node's, but for towns their curves' own."""
    contract = config.contract
    if isinstance(config, TownConfig):
        reach = math.radians(contract.heading_range_deg) + 0.1
        return Solver(Ransac(theta_range=(-math.pi / 2 - reach, -math.pi / 2 + reach)))
    return solver_of(contract, LocalizerSettings())


def _part(config: TrainConfig, processes: int) -> int:
    """Return how many pairs a process takes at a time."""
    part, rest = divmod(config.batch, processes * config.accumulate)
    if rest or part == 0:
        raise ConfigError(f'a batch of {config.batch} cannot be shared by {processes} processes '
                          f'in {config.accumulate} parts; choose a multiple of their product')
    return part


def _batches(samples: Samples, done: int, part: int, config: TrainConfig,
             accelerator: Accelerator) -> Iterator[Pair]:
    """Yield this process's share of each batch, from the first that is not done."""
    processes, rank = accelerator.num_processes, accelerator.process_index
    # Together, all processes see at each step what a single one would see
    mine = [start + k for start in range(done * config.batch, len(samples), processes * part)
            for k in range(rank * part, (rank + 1) * part)]
    rest: Subset[Pair] = Subset(samples, mine)  # type: ignore[arg-type]
    for batch in load_batches(rest, part, config.loader_workers):
        yield Pair(*(value.to(accelerator.device, non_blocking=True) for value in batch))


def _rate(step: int, config: TrainConfig, steps: int) -> float:
    """Return the factor on the learning rate: linear warm-up, then a cosine to zero, or 1."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == 'constant':
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(1.0, step / max(1, steps))))


def _after_step(run: _Run, record: Record, parts: dict[str, float], bar: tqdm,
                last: int) -> None:
    """Log, save and validate when it is time to."""
    config, done = run.config, run.progress.done
    validates = done % config.valid_every == 0 or done == last
    if done % LOG_EVERY == 0 or done == last or validates:
        bar.set_postfix(loss=f'{parts["total"]:.3f}')
        record.loss(done, parts)
    if validates:
        run.validate(record)
    if done % config.save_every == 0 and run.accelerator.is_main_process:
        run.save()
