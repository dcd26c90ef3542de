# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Where training samples come from: towns, KITTI, VIGOR, or a drive of one's own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from loc2_ros.data.kitti import KittiFrames, read_split
from loc2_ros.data.pair import Drawn, Frames, Pair, split_off, Stored
from loc2_ros.data.vigor import read_labels, VigorFrames
from loc2_ros.synthetic.dataset import PairsConfig, render_pairs, town_file
from loc2_ros.train.config import (ConfigError, DriveConfig, KittiConfig, PublishedConfig,
                                   TownConfig, TrainConfig, VigorConfig)
from loc2_ros.train.drive import read_drive
from loc2_ros.train.pairs import TownPairs
from torch.utils.data import Dataset
from tqdm import tqdm


EVERYTHING = 2 ** 62      # no recording has as many images


class Samples(Protocol):
    """A data set of pairs with a length."""

    def __len__(self) -> int:
        """Return the number of samples."""

    def __getitem__(self, k: int) -> Pair:
        """Make sample ``k``, a function of the seed and ``k`` alone."""


@dataclass(frozen=True)
class Datasets:
    """
    What a run trains on and is validated with.

    :param train: (steps * batch) samples, in order.
    :param valid: samples with fixed priors; may be empty.
    :param repeats: views whose pixels come again in training, see `Frames`.
    """

    train: Samples
    valid: Samples
    steps: int
    repeats: tuple[str, ...] = ()


# Called with the folder of the run, and whether this process is the one that writes
Source = Callable[[Path, bool], Datasets]


def town_source(config: TownConfig) -> Source:
    """Return the source of towns; it renders into ``pairs/`` what is missing there."""
    def make(folder: Path, writes: bool) -> Datasets:
        pairs = folder / 'pairs'
        sets = []
        for first, towns in ((config.first_seed, config.towns),
                             (config.valid_first_seed, config.valid_towns)):
            if writes:
                _render(config, first, towns, pairs)
            sets.append([town_file(pairs, s) for s in range(first, first + towns)])
        steps = config.steps(config.towns * config.views)
        return Datasets(
            TownPairs(sets[0], config.contract, steps * config.batch, config.seed,
                      augment=config.augment),
            TownPairs(sets[1], config.contract, config.valid_pairs, 1, augment=False), steps)
    return make


def _render(config: TownConfig, first: int, towns: int, folder: Path) -> None:
    contract = config.contract
    wanted = PairsConfig(first, towns, config.views, contract.ground_hw, contract.stride)
    with tqdm(total=towns, unit='town', desc='rendering') as bar:
        render_pairs(wanted, folder, config.render_workers,
                     report=lambda n: bar.update(n - bar.n))


def kitti_source(config: KittiConfig) -> Source:
    """
    Return the source of KITTI's training list.

    :raises DatasetError: from it, if the data set is not complete.
    """
    _check_root(config.data)
    _check_camera(config, 'pinhole')
    _check_heading(config.contract.heading_range_deg, config.rotation_range_deg,
                   'rotation_range_deg')

    def make(folder: Path, writes: bool) -> Datasets:
        root = Path(config.data).expanduser()
        return _published(config, KittiFrames(root, read_split(root, 'train'), config.contract,
                                              config.rotation_range_deg))
    return make


def vigor_source(config: VigorConfig) -> Source:
    """
    Return the source of VIGOR's training lists.

    :raises DatasetError: from it, if the data set is not complete.
    """
    _check_root(config.data)
    _check_heading(config.contract.heading_range_deg, config.random_orientation_deg,
                   'random_orientation_deg')
    if config.contract.heading_up:
        raise ConfigError('tiles of VIGOR are north-up; set heading_up: false in model')
    _check_camera(config, 'equirectangular')

    def make(folder: Path, writes: bool) -> Datasets:
        root = Path(config.data).expanduser()
        lines = read_labels(root, config.area, 'train', config.labels, config.label_suffix)
        return _published(config, VigorFrames(root, lines, config.contract,
                                              config.random_orientation_deg))
    return make


def drive_source(config: DriveConfig, settings: Mapping[str, Any]) -> Source:
    """
    Return the source of a recording.

    :param settings: the node's parameters by name, complete, map.path among them.
    """
    _check_camera(config, 'pinhole')

    def make(folder: Path, writes: bool) -> Datasets:
        frames = read_drive(Path(config.bag).expanduser(), settings, config.contract,
                            config.max_shift_m, config.every, progress=writes)
        train = frames.between(*(config.frames or (0, EVERYTHING)))
        if not config.valid_frames:
            return _published(config, train)
        held = frames.between(*config.valid_frames)
        if set(map(train.name, range(len(train)))) & set(map(held.name, range(len(held)))):
            raise ConfigError('frames and valid_frames overlap; what is validated with must not '
                              'be trained on')
        return _datasets(config, train, held)
    return make


def _published(config: PublishedConfig, frames: Frames) -> Datasets:
    return _datasets(config, *split_off(frames, config.valid_share))


def _datasets(config: PublishedConfig, train: Frames, valid: Frames) -> Datasets:
    steps = config.steps(len(train))
    if steps < 1:
        raise ConfigError(f'{len(train)} frames give no batch of {config.batch}; set a smaller '
                          'batch or more epochs')
    taken = min(config.valid_pairs or len(valid), len(valid))
    every = max(1, len(valid) // taken) if taken else 1
    held: Dataset[Pair] = Stored(valid, range(0, taken * every, every))
    return Datasets(Drawn(train, steps * config.batch, config.seed, config.augment),
                    held, steps, () if config.augment else train.repeats)  # type: ignore[arg-type]


def _check_root(data: str) -> None:
    if not data or not Path(data).expanduser().is_dir():
        raise ConfigError(f'data: there is no folder {data!r}; set it to the root of the data set')


def _check_camera(config: TrainConfig, camera: str) -> None:
    if config.contract.camera_model != camera:
        raise ConfigError(f'the images are {camera} ones; set camera_model: {camera} in model')


def _check_heading(range_deg: float, wanted_deg: float, key: str) -> None:
    if not 0 <= wanted_deg <= range_deg:
        raise ConfigError(f'{key} is {wanted_deg:g}, but the model takes headings within '
                          f'{range_deg:g} degrees; set heading_range_deg in model to the same')


SOURCES: dict[type[TrainConfig], Callable[..., Source]] = {
    TownConfig: town_source, KittiConfig: kitti_source, VigorConfig: vigor_source}
