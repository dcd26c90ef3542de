# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 bench``: how long each stage takes on this machine; ``loc2 bench map``: the store."""

from __future__ import annotations

from pathlib import Path
import tempfile
from typing import Annotated, Any, Optional

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
from loc2_ros.cli.map_options import FAILED, Json, outcome, Quiet, tell
import typer

SEED = 1_000_007        # a town that training never saw, as in `make demo`

app = typer.Typer()


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    bag: Annotated[Optional[Path], typer.Option(
        '--bag', help='Recording to take an image from; without it a town is made.')] = None,
    map: options.Map = '',  # noqa: A002 (the option is called --map)
    index: Annotated[int, typer.Option('--index', help='Which of its images.')] = 0,
    model: options.Model = '',
    device: Annotated[str, typer.Option('--device', help='auto, cpu or cuda.')] = '',
    precision: Annotated[str, typer.Option(
        '--precision', help='auto, fp32, fp16 or bf16.')] = '',
    repeats: Annotated[int, typer.Option('--repeats', min=1, help='Repetitions.')] = 20,
    json_file: Annotated[Optional[Path], typer.Option(
        '--json', help='File for the figures.')] = None,
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
) -> None:
    """Localize one image again and again; print a table of the stages, medians first."""
    if context.invoked_subcommand is not None:
        return
    import json

    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bag import BagError
    from loc2_ros.evaluate.bench import bench as measure
    from loc2_ros.evaluate.visualize import query_of_bag
    from loc2_ros.maps.values import MapError
    from loc2_ros.model.weights import ModelError
    from loc2_ros.pipeline import load_localizer, LocalizerSettings
    from loc2_ros.ros.params import localizer_settings
    from loc2_ros.synthetic.world import make_world

    with expected(BagError, MapError, ModelError, ValueError, OSError), \
            tempfile.TemporaryDirectory() as folder:
        if bag is None:
            town = make_world(SEED, Path(folder), frames=max(2, index + 1), progress=False)
            bag, map = town.drive, str(town.map)  # noqa: A001
        settings = load_settings(config, param, map__path=map, checkpoint=model, device=device,
                                 precision=precision)
        if not settings['map.path']:
            raise MapError('no map: give --map an MBTiles file or a folder of tiles')

        def make(frame: Any) -> Any:
            return load_localizer(LocalizerSettings(**localizer_settings(settings)), frame)

        query = query_of_bag(bag, settings, make, index=index)
        found = measure(query.localizer, query.image, query.prior, query.mount, repeats)
        facts = found.to_json()
        typer.echo(', '.join(f'{name} {facts[name]}' for name in (
            'model', 'device', 'precision', 'threads', 'torch', 'solver', 'repeats')))
        typer.echo(f'\n{found.table()}\n')
        typer.echo(f'peak memory {facts["peak_memory_mb"]} MB')
        if json_file is not None:
            json_file.write_text(json.dumps(facts, indent=2) + '\n')
            typer.echo(f'wrote {json_file}')


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
