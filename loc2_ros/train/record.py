# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What a training run writes down: CSV files, a curve, and TensorBoard where it is installed."""

from __future__ import annotations

import csv
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from loc2_ros.train.curve import draw_curve, LOG, VALID
from tqdm import tqdm


class Record:
    """
    The logs of a run.

    :param writes: whether this process is the one that writes.
    :param done: steps done before; rows of later ones are of a run that was interrupted after
        its last checkpoint, and will come again.
    """

    def __init__(self, folder: Path, writes: bool, done: int) -> None:
        self.folder, self.writes = folder, writes
        self._board: Any = None
        if writes:
            for name in (LOG, VALID):
                _forget(folder / name, done)
            if find_spec('tensorboard'):
                from torch.utils.tensorboard import SummaryWriter
                self._board = SummaryWriter(folder / 'tensorboard', purge_step=done + 1)

    def loss(self, done: int, parts: dict[str, float]) -> None:
        """Log the loss of a step."""
        self._log(LOG, 'loss', done, parts)

    def valid(self, done: int, figures: dict[str, float]) -> None:
        """Log a validation and draw the curve."""
        self._log(VALID, 'valid', done, figures)
        if self.writes:
            draw_curve(self.folder)
            tqdm.write(f'step {done}: ' + ', '.join(f'{k} {v:.3f}' for k, v in figures.items()))

    def close(self) -> None:
        """Finish what is buffered."""
        if self._board is not None:
            self._board.close()

    def _log(self, name: str, group: str, done: int, values: dict[str, float]) -> None:
        if not self.writes:
            return
        path, row = self.folder / name, {'step': done, **values}
        new = not path.is_file()
        with open(path, 'a', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, list(row))
            if new:
                writer.writeheader()
            writer.writerow({k: v if k == 'step' else f'{v:.5f}' for k, v in row.items()})
        if self._board is not None:
            for key, value in values.items():
                self._board.add_scalar(f'{group}/{key}', value, done)


def _forget(path: Path, done: int) -> None:
    """Drop the rows of steps after ``done``."""
    if not path.is_file():
        return
    with open(path, newline='', encoding='utf-8') as file:
        head, *rows = list(csv.reader(file)) or [[]]
    part = path.with_suffix('.part')
    with open(part, 'w', newline='', encoding='utf-8') as file:
        csv.writer(file).writerows([head, *(r for r in rows if r and int(r[0]) <= done)])
    part.replace(path)
