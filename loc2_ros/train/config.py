# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The training configuration: a YAML file, every key known and checked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from loc2_ros.model.contract import Contract
from loc2_ros.train.losses import Weights
import yaml


class ConfigError(ValueError):
    """A training configuration that cannot be used; one sentence and a remedy."""


@dataclass(frozen=True)
class TrainConfig:
    """
    What ``loc2 train`` does.

    :param contract: the model's contract.
    :param first_seed: first training town; ``towns`` follow, each with ``views`` views.
    :param valid_first_seed: first validation town; ``valid_towns`` follow.
    :param pairs: training pairs in total; the learning rate falls to zero over them.
    :param start_from: model folder whose weights to begin with; inputs it lacks begin at zero.
    :param amp: bfloat16 autocast for the backbones and projectors.
    """

    contract: Contract
    first_seed: int = 1000
    towns: int = 150
    views: int = 40
    valid_first_seed: int = 900_000
    valid_towns: int = 6
    valid_pairs: int = 96
    pairs: int = 36_000
    batch: int = 8
    lr: float = 1e-3
    weight_decay: float = 0.02
    warmup: int = 100
    start_from: str = ''
    amp: bool = True
    clip: float = 1.0
    seed: int = 0
    loader_workers: int = 1
    render_workers: int = 2
    save_every: int = 250
    valid_every: int = 500
    weights: Weights = field(default_factory=Weights)

    @property
    def steps(self) -> int:
        """Return the number of optimiser steps."""
        return self.pairs // self.batch

    @staticmethod
    def load(path: Path) -> TrainConfig:
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
        contract = _build(Contract, values.pop('model', {'name': 'mini'}), f'{path}: model')
        weights = _build(Weights, values.pop('weights', {}), f'{path}: weights')
        return _build(TrainConfig, {**values, 'contract': contract, 'weights': weights},
                      str(path))


def _build(kind: type, values: dict[str, Any], where: str) -> Any:
    known = [f.name for f in fields(kind)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(f'{where} has unknown keys {", ".join(unknown)}; '
                          f'known: {", ".join(known)}')
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise ConfigError(f'{where}: {error}') from None
