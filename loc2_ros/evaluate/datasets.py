# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Evaluation on whole data sets: KITTI and VIGOR as published, on one process or several."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object
from loc2_ros.data.kitti import KittiFrames, read_split
from loc2_ros.data.pair import DatasetError, Frames, load_batches, Pair, Stored
from loc2_ros.data.vigor import M_PER_PX, read_labels, VigorFrames
from loc2_ros.evaluate.error_pictures import error_distribution
from loc2_ros.evaluate.metrics import write_metrics
from loc2_ros.evaluate.published import figures, Frame, table_lines, write_frames
from loc2_ros.loading import LocalizerSettings, solver_of
from loc2_ros.model.contract import Contract
from loc2_ros.model.solve import Solver
from loc2_ros.model.weights import load_model, Model
from loc2_ros.train.validate import solve_pairs, SolvedPair
import torch
from torch.utils.data import Dataset
from tqdm import tqdm


@dataclass(frozen=True)
class EvalSettings:
    """
    What evaluations have in common.

    :param model: built-in name or folder; ``backbone`` where its frozen backbone is.
    :param max_depth_m: points further away take no part; 0: as the contract says.
    :param solver: auto, as the contract says, or the name of one.
    :param batch: frames at a time; no pose depends on it.
    """

    model: str
    backbone: str = ''
    device: str = 'auto'
    precision: str = 'auto'
    max_depth_m: float = 0.0
    solver: str = 'auto'
    batch: int = 8
    workers: int = 2
    seed: int = 0
    progress: bool = True


@dataclass(frozen=True)
class KittiProtocol:
    """
    KITTI as published.

    :param splits: of test1 (same area) and test2 (cross area).
    :param paper_intrinsics: repeat defect B4, see `KittiFrames`.
    """

    rotation_range_deg: float = 10.0
    splits: tuple[str, ...] = ('test1', 'test2')
    paper_intrinsics: bool = False


@dataclass(frozen=True)
class VigorProtocol:
    """VIGOR as published; see `read_labels` and `VigorFrames`."""

    area: str = 'samearea'
    random_orientation_deg: float = 180.0
    labels: str = 'splits_new'
    label_suffix: str = ''


def eval_kitti(root: Path, settings: EvalSettings, protocol: KittiProtocol,
               out: Path) -> list[str]:
    """
    Evaluate on KITTI, write ``metrics.json``, and per split a table and a picture.

    :returns: a table for people; empty on processes that do not write.
    :raises DatasetError, ModelError: one sentence.
    """
    lines = {split: read_split(root, split) for split in protocol.splits}
    model = _load(settings)
    _check(model.contract, 'pinhole', protocol.rotation_range_deg, '--rotation-range')
    sets = {split: KittiFrames(root, lines[split], model.contract, protocol.rotation_range_deg,
                               protocol.paper_intrinsics) for split in protocol.splits}
    return _evaluate('kitti', sets, model, settings, vars(protocol), out)


def eval_vigor(root: Path, settings: EvalSettings, protocol: VigorProtocol,
               out: Path) -> list[str]:
    """Evaluate on VIGOR, also per city; see `eval_kitti`."""
    lines = read_labels(root, protocol.area, 'test', protocol.labels, protocol.label_suffix)
    model = _load(settings)
    _check(model.contract, 'equirectangular', protocol.random_orientation_deg,
           '--random-orientation')
    frames = VigorFrames(root, lines, model.contract, protocol.random_orientation_deg)
    return _evaluate('vigor', {protocol.area: frames}, model, settings, vars(protocol), out,
                     groups=tuple(M_PER_PX))


def _load(settings: EvalSettings) -> Model:
    """Load the model on this process's device, with what the user changes of its contract."""
    state = PartialState(cpu=settings.device == 'cpu')
    model = load_model(settings.model, settings.device, settings.precision,
                       backbone=settings.backbone)
    contract = model.contract
    if settings.max_depth_m:
        contract = replace(contract, max_depth_m=settings.max_depth_m)
    model.net.contract = contract
    if model.device.type == 'cuda':
        model = replace(model, device=state.device)
        model.net.to(state.device)
    return replace(model, contract=contract)


def _check(contract: Contract, camera: str, range_deg: float, option: str) -> None:
    """Refuse what the weights were not made for."""
    if contract.camera_model != camera:
        raise DatasetError(f'{contract.name} is for {contract.camera_model} images, this data set '
                           f'has {camera} ones; choose another model')
    if not 0 <= range_deg <= max(contract.heading_range_deg, 0.0):
        raise DatasetError(f'{contract.name} takes headings within '
                           f'{contract.heading_range_deg:g} degrees; {option} {range_deg:g} is '
                           'beyond that, choose another model or range')


def _evaluate(name: str, sets: Mapping[str, Frames], model: Model, settings: EvalSettings,
              protocol: Mapping[str, Any], out: Path, groups: tuple[str, ...] = ()) -> list[str]:
    state = PartialState()
    solver = solver_of(model.contract, LocalizerSettings(solver=settings.solver))
    results: dict[str, Any] = {}
    shown: list[str] = []
    for split, data in sets.items():
        frames = evaluate(data, model, solver, settings)
        if not state.is_main_process:
            continue
        out.mkdir(parents=True, exist_ok=True)
        results[split] = figures(frames)
        for group in groups:
            members = [frame for frame in frames if frame.name.startswith(f'{group}/')]
            if members:
                results[split].setdefault('places', {})[group] = figures(members)
        write_frames(out / f'{split}.csv', frames)
        picture = out / f'{split}.png'
        picture.write_bytes(error_distribution(frames, f'{model.contract.name}, {name} {split}'))
        shown += table_lines(f'{name} {split}', results[split])
    if state.is_main_process:
        write_metrics(out / 'metrics.json', {
            'dataset': name, 'splits': results,
            'protocol': {**protocol, 'max_depth_m': model.contract.max_depth_m,
                         'depth': 'model' if model.contract.own_depth else 'files',
                         'solver': solver.kind, 'seed': settings.seed},
            'model': model.contract.name, 'model_sha256': model.sha256,
            'backbone_sha256': model.backbone_sha256, 'device': str(model.device),
            'precision': str(model.dtype).removeprefix('torch.')})
    state.wait_for_everyone()
    return shown


@torch.inference_mode()
def evaluate(data: Frames, model: Model, solver: Solver, settings: EvalSettings) -> list[Frame]:
    """
    Solve every frame; several processes share the work.

    :returns: one row per frame in the data set's order, on every process.
    """
    state = PartialState()
    mine = range(state.process_index, len(data), state.num_processes)
    samples: Dataset[Pair] = Stored(data, mine)
    rows = list(_solved(samples, data, model, solver, settings, state.is_main_process))
    if state.num_processes > 1:
        rows = sorted(gather_object(rows))
    return [frame for _, frame in rows]


def _solved(samples: Dataset[Pair], data: Frames, model: Model, solver: Solver,
            settings: EvalSettings, shows: bool) -> Iterator[tuple[int, Frame]]:
    batches = load_batches(samples, settings.batch, settings.workers)
    dtype = model.dtype if model.autocast else torch.float32
    with tqdm(total=len(data), unit='frame',
              disable=None if settings.progress and shows else True) as bar:
        for found in solve_pairs(model.net, batches, solver, settings.seed, dtype):
            number = int(found.pair.number)
            yield number, _frame(data.name(number), found)
            bar.update(PartialState().num_processes)


def _frame(name: str, found: SolvedPair) -> Frame:
    fit, pair = found.solved.similarity, found.pair
    numbers = torch.stack([pair.theta, *pair.t, fit.theta, *fit.t, fit.scale,
                           found.solved.mass]).double().tolist()
    theta_true, x_true, y_true, theta, x, y, scale, mass = numbers
    return Frame(name, theta_true, x_true, y_true, bool(fit.valid), theta, x, y, scale, mass)
