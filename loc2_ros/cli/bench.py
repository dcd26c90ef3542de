# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 bench``: how fast the parts are on this machine."""

from __future__ import annotations

from pathlib import Path
import tempfile
from typing import Annotated

from loc2_ros.cli.map_options import FAILED, Json, outcome, Quiet, tell
import typer

app = typer.Typer(no_args_is_help=True, help='Measure how fast parts are on this machine.')


@app.callback()
def _group() -> None:
    """Make `map` a command of its own although it is the only one."""


@app.command('map')
def map_(
    crops: Annotated[int, typer.Option(min=5, help='Crops of each kind.')] = 60,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """
    Time crops of 100 m at 504 px; ends with 1 if they are not as fast as they must be.

    At least 8 times faster than GDAL's WarpedVRT of the same ground in the same run; within 10 %
    with a million tiles of what it takes with a thousand. Milliseconds are CPU time.
    """
    from loc2_ros.maps.bench import bench, LARGE_RATIO, WARP_RATIO

    with outcome():
        with tempfile.TemporaryDirectory(prefix='loc2_bench_') as folder:
            result = bench(Path(folder), crops, say=lambda text: None if quiet or as_json else
                           typer.echo(text, err=True))
        rows = [f'{name:28s} p50 {t.p50_ms:6.2f} ms   p99 {t.p99_ms:6.2f} ms   wall p50 '
                f'{t.wall_p50_ms:6.2f} ms' for name, t in result.times.items()]
        tell(result.as_dict(), [
            *rows, f'import {result.import_tiles_per_s:.0f} tiles/s on one core',
            f'GDAL warp / crop, warm and rotated: {result.warp_ratio:.1f} '
            f'(at least {WARP_RATIO:g})',
            f'million tiles / thousand: {result.large_ratio:.3f} (at most {LARGE_RATIO:g})',
            'passed' if result.passed else 'failed'], as_json, quiet)
    if not result.passed:
        raise typer.Exit(FAILED)
