# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Training configurations: a YAML file each, every key known and checked."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
import json
import math
from pathlib import Path
from typing import Any, TypeVar

from loc2_ros.model.contract import Contract
from loc2_ros.model.dinov2 import SIZES
from loc2_ros.model.weights import model_folder, ModelError, read_contract
from loc2_ros.train.losses import PUBLISHED, Weights
import yaml

SCHEDULES = ('cosine', 'constant')
# What may differ between an interrupted run and the one that goes on
_FREE = ('loader_workers', 'render_workers', 'save_every', 'features', 'start_from', 'backbone')
Config = TypeVar('Config', bound='TrainConfig')


class ConfigError(ValueError):
    """A training configuration that cannot be used; one sentence and a remedy."""


@dataclass(frozen=True)
class TrainConfig:
    """
    What every training has in common.

    :param contract: the model's contract; in a file ``model:``, where ``start_from`` alone takes
        that model's.
    :param start_from: model whose weights to begin with; inputs it lacks begin at zero.
    :param backbone: where the weights of a DINOv2 are, see ``load_model``.
    :param freeze_backbone: train projectors and heads alone, also where the model has backbones
        of its own; a DINOv2 is always frozen.
    :param features: folder in which features of frozen backbones are kept for views that come
        again; '' keeps none.
    :param pairs: training pairs in total, 0: as many as ``epochs`` are.
    :param batch: pairs per step, over all processes and ``accumulate`` parts.
    :param schedule: of the learning rate after ``warmup`` steps: cosine to zero, or constant.
    :param amp: bfloat16 autocast for the backbones and projectors.
    :param clip: largest norm of the gradient; 0: any.
    :param patience: validations without a better median position after which it stops, and
        the best model is kept; 0 goes on to the end and keeps the last.
    :param valid_first: validate before the first step, too.
    :param augment: change colours of the images, as other cameras might, and exchange left and
        right in half of the samples.
    """

    contract: Contract
    start_from: str = ''
    backbone: str = ''
    freeze_backbone: bool = False
    features: str = ''
    pairs: int = 36_000
    epochs: int = 0
    batch: int = 8
    accumulate: int = 1
    lr: float = 1e-3
    weight_decay: float = 0.02
    schedule: str = 'cosine'
    warmup: int = 100
    amp: bool = True
    clip: float = 1.0
    seed: int = 0
    loader_workers: int = 1
    save_every: int = 250
    valid_every: int = 500
    valid_first: bool = False
    patience: int = 0
    augment: bool = True
    weights: Weights = field(default_factory=Weights)

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(f'schedule is one of {", ".join(SCHEDULES)}, not {self.schedule!r}')
        if min(self.batch, self.accumulate, self.save_every, self.valid_every) < 1:
            raise ConfigError('batch, accumulate, save_every and valid_every are at least 1')
        if not 0 < self.lr < math.inf or not 0 <= self.weight_decay < math.inf:
            raise ConfigError(f'lr is a number above 0 and weight_decay one of at least 0, not '
                              f'{self.lr} and {self.weight_decay}')
        if self.pairs < self.batch and self.epochs < 1:
            raise ConfigError('there is nothing to train: set pairs to at least a batch, or '
                              'epochs')
        if self.features and not self.freezes:
            raise ConfigError('features can be kept of frozen backbones only; set '
                              'freeze_backbone: true, or leave features out')

    @property
    def freezes(self) -> bool:
        """Return whether the backbones stay as they are."""
        return self.freeze_backbone or self.contract.backbone in SIZES

    def steps(self, frames: int) -> int:
        """Return the number of optimiser steps on a data set of so many frames."""
        return (self.pairs or self.epochs * frames) // self.batch

    def fingerprint(self) -> dict[str, str]:
        """Return what has to be the same for a run to go on exactly, as text."""
        return {key: json.dumps(value, sort_keys=True) for key, value in asdict(self).items()
                if key not in _FREE}

    @classmethod
    def usual_weights(cls) -> Weights:
        """Return what the parts of the loss count where a file says nothing."""
        return Weights()

    @classmethod
    def load(cls: type[Config], path: Path) -> Config:
        """
        Read a configuration.

        :raises ConfigError: if it is no YAML mapping or has a key that does not exist.
        """
        try:
            values = yaml.safe_load(path.read_text(encoding='utf-8'))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f'{path} cannot be read as YAML: {error}') from None
        if not isinstance(values, dict):
            raise ConfigError(f'{path} must hold a mapping of settings')
        model, weights = values.pop('model', None), values.pop('weights', {})
        contract = _contract(model, values.get('start_from', ''), f'{path}: model')
        usual = asdict(cls.usual_weights())
        return _build(cls, {**values, 'contract': contract, 'weights': _build(
            Weights, {**usual, **_mapping(weights, f'{path}: weights')}, f'{path}: weights')},
            str(path))


@dataclass(frozen=True)
class TownConfig(TrainConfig):
    """
    Training on synthetic towns, which also know the place of every token.

    :param first_seed: first training town; ``towns`` follow, each with ``views`` views.
    :param valid_first_seed: first validation town; ``valid_towns`` follow.
    """

    first_seed: int = 1000
    towns: int = 150
    views: int = 40
    valid_first_seed: int = 900_000
    valid_towns: int = 6
    valid_pairs: int = 96
    render_workers: int = 2


@dataclass(frozen=True)
class PublishedConfig(TrainConfig):
    """
    What training on frames with a true pose has in common; the defaults are the paper's.

    :param valid_share: part of the training frames that is held back, at random.
    :param valid_pairs: how many of those validation takes, evenly spread; 0: all.
    """

    pairs: int = 0
    epochs: int = 100
    batch: int = 80
    lr: float = 1e-4
    weight_decay: float = 0.01
    schedule: str = 'constant'
    warmup: int = 0
    clip: float = 0.0
    valid_first: bool = True
    augment: bool = False
    weights: Weights = field(default_factory=lambda: PUBLISHED)
    valid_share: float = 0.2
    valid_pairs: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.valid_share < 1 or self.valid_pairs < 0:
            raise ConfigError('valid_share is at least 0 and below 1, valid_pairs at least 0, '
                              f'not {self.valid_share} and {self.valid_pairs}')

    @classmethod
    def usual_weights(cls) -> Weights:
        """Return the paper's."""
        return PUBLISHED


@dataclass(frozen=True)
class KittiConfig(PublishedConfig):
    """
    Training on KITTI in the published layout.

    :param data: its root.
    :param rotation_range_deg: tiles are turned by up to this; 10 or 180 as published.
    """

    data: str = ''
    rotation_range_deg: float = 10.0


@dataclass(frozen=True)
class VigorConfig(PublishedConfig):
    """
    Training on VIGOR in the published layout.

    :param data: its root; ``area`` samearea or crossarea.
    :param random_orientation_deg: panoramas are rolled by up to this; 0 or 180 as published.
    :param labels: folder of the lists, ``label_suffix`` what their names end on.
    """

    data: str = ''
    area: str = 'samearea'
    random_orientation_deg: float = 180.0
    labels: str = 'splits_new'
    label_suffix: str = ''


@dataclass(frozen=True)
class DriveConfig(PublishedConfig):
    """
    Training on a recording and a map, with its poses as the only supervision.

    :param bag: the recording, with a reference: /ground_truth/odom, else fix and imu.
    :param map: the aerial map.
    :param node_config: parameter files of the node, or names of shipped ones; ``params`` single
        ones, NAME:=VALUE.
    :param frames: first image to train on, and the one after the last; [] all.
    :param valid_frames: the same for validation; [] holds back ``valid_share`` of those at random.
    :param every: take every so many images.
    :param max_shift_m: how far the tile is moved ahead and aside.
    """

    epochs: int = 20
    batch: int = 8
    schedule: str = 'cosine'
    clip: float = 1.0
    augment: bool = True
    bag: str = ''
    map: str = ''       # noqa: A003 (the key in the file)
    node_config: tuple[str, ...] = ()
    params: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    valid_frames: tuple[int, ...] = ()
    every: int = 1
    max_shift_m: float = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ('node_config', 'params', 'frames', 'valid_frames'):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        for key in ('frames', 'valid_frames'):
            if len(getattr(self, key)) not in (0, 2):
                raise ConfigError(f'{key} is [first, end], not {list(getattr(self, key))}')
        if self.every < 1 or self.max_shift_m < 0:
            raise ConfigError('every is at least 1 and max_shift_m at least 0')


def _contract(model: Any, start_from: str, where: str) -> Contract:
    """Return the contract that a file asks for: its own, or that of the model it starts from."""
    given = {} if model is None else _mapping(model, where)
    if not start_from or 'name' in given:
        return _build(Contract, {'name': 'mini', **given}, where)
    try:
        begun = read_contract(model_folder(start_from))
    except ModelError as error:
        raise ConfigError(f'start_from: {error}') from None
    known = {**{f.name: getattr(begun, f.name) for f in fields(Contract)}, **given}
    # Gate and calibration belong to the old weights
    return _build(Contract, {**known, 'name': f'{begun.name}-tuned', 'gate': {},
                             'calibration': {}}, where)


def _mapping(values: Any, where: str) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ConfigError(f'{where} must hold a mapping of settings')
    return values


# Kinds that a value in the file may have, by the kind of the default; YAML reads 1e-3 as a text
_PLAIN: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (float, int),
                                        str: (str,)}


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    known = [f.name for f in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f'{where} has unknown keys {", ".join(unknown)}; '
                          f'known: {", ".join(known)}')
    for f in fields(kind):
        wanted = _PLAIN.get(type(f.default))
        if f.name in values and wanted and type(values[f.name]) not in wanted:
            raise ConfigError(f'{where}: {f.name} is of the kind of {f.default!r}, not '
                              f'{values[f.name]!r}')
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{where}: {error}') from None
