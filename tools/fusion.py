# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Print what a filter makes of the localizer's poses in a town: the figures of docs/integration.md.

``python tools/fusion.py`` takes about three minutes on two CPU cores.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
import math
from pathlib import Path
import sys
import tempfile
from typing import Any

from loc2_ros.synthetic.world import make_world
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / 'test'))

from fusion_world import S, Sensors  # noqa: E402, I100
from town_loop import town_loop  # noqa: E402, I100

SEED, IMAGES, RATE_HZ = 1_000_022, 190, 1.0
WHEELS = Sensors(scale=1.01, gyro_bias=math.radians(0.01))
LATENCY_S = 1.0


@contextmanager
def drive(folder: Path) -> Iterator[tuple[Any, Any]]:
    """Make the town, drive through it, and give the loop and what came of it."""
    make_world(SEED, folder, frames=IMAGES, rate_hz=RATE_HZ, progress=False)
    with town_loop(folder, latency_s=LATENCY_S, sensors=WHEELS) as loop:
        yield loop, loop.run()


def record(loop: Any, outcome: Any) -> Iterator[str]:
    """Yield the lines that are printed."""
    off = np.array(outcome.off_m)
    yield (f'town {SEED}, {IMAGES} images at {RATE_HZ:g} Hz: {len(off)} fixes, single ones '
           f'{np.median(off):.2f} m off (median), {off.max():.1f} m at most; {outcome.rejected} '
           f'refused by the filter')
    yield 'seconds | fused: median, max (m) | GNSS and wheels: median, max (m)'
    for begin, end in ((0, IMAGES), (0, 60), (60, 120), (120, IMAGES)):
        bounds = max(outcome.begin_ns + begin * S, outcome.located_ns), outcome.begin_ns + end * S
        fused, alone = (t.distance_m(*bounds) for t in (outcome.fused, outcome.gnss_only))
        yield (f'{begin:3d}-{end:3d} | {np.median(fused):.2f}, {fused.max():.2f} | '
               f'{np.median(alone):.2f}, {alone.max():.2f}')
    yield 'latency, filter | median, max (m) | along the track (m) | claimed (m)'
    for latency_s, changes in ((0.1, {}), (1.0, {}), (2.0, {}), (3.0, {}),
                               (1.0, {'smooth_lagged_data': False}),
                               (3.0, {'history_length': 1.0})):
        track = loop.replay(latency_s, **changes)
        errors = track.distance_m(outcome.begin_ns + 10 * S)
        said = ', '.join(f'{k}: {v}'.lower() for k, v in changes.items()) or 'as shipped'
        yield (f'{latency_s:g} s, {said} | {np.median(errors):.2f}, {errors.max():.2f} | '
               f'{track.bias(150.0)[0]:+.2f} | {np.median(track.sigma_m):.2f}')


if __name__ == '__main__':
    with tempfile.TemporaryDirectory() as place, drive(Path(place)) as (made, found):
        for line in record(made, found):
            print(line)
