# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The training curve: loss, and pose errors on samples that are not trained on, over steps."""

from __future__ import annotations

import csv
from pathlib import Path

from matplotlib.figure import Figure

LOG, VALID, CURVE = 'log.csv', 'valid.csv', 'curve.png'


def draw_curve(folder: Path) -> Path:
    """Draw ``curve.png`` from the logs of a run that has been validated at least once."""
    log, valid = _columns(folder / LOG), _columns(folder / VALID)
    figure = Figure(figsize=(8.0, 3.2), layout='constrained')
    left, right = figure.subplots(1, 2)
    for name in [key for key in log if key not in ('step', 'depth')]:
        left.plot(log['step'], log[name], label=name, linewidth=0.9)
    left.set(xlabel='step', ylabel='training loss')
    right.plot(valid['step'], valid['position_median_m'], 'o-', label='position, median [m]')
    right.plot(valid['step'], valid['yaw_median_deg'], 's--', label='heading, median [deg]')
    right.set(xlabel='step', ylabel='error on unseen samples', ylim=(0, None))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    figure.savefig(folder / CURVE, dpi=110)
    return folder / CURVE


def _columns(path: Path) -> dict[str, list[float]]:
    if not path.is_file():
        return {}
    with open(path, newline='', encoding='utf-8') as file:
        rows = list(csv.DictReader(file))
    return {name: [float(r[name]) for r in rows] for name in (rows[0] if rows else {})}
