# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 bench``: how long each stage takes here; of the store and of RANSAC on their own."""

from __future__ import annotations

import json
from pathlib import Path
import tempfile
from typing import Annotated, Any, Optional

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
from loc2_ros.cli.map_options import FAILED, Json, outcome, Quiet, tell
import typer

SEED = 1_000_007        # a town that training never saw, as in `make demo`

app = typer.Typer()

_ONE_BY_ONE = 'published protocol, one hypothesis at a time'


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    bag: Annotated[Optional[Path], typer.Option(
        '--bag', help='Recording to take an image from; without it a town is made.')] = None,
    map: options.Map = '',  # noqa: A002 (the option is called --map)
    index: Annotated[int, typer.Option('--index', help='Which of its images.')] = 0,
    model: options.Model = '',
    random: Annotated[str, typer.Option(
        '--random', metavar='PRESET', help='Random weights of a published size instead of a '
                                           'model; its depth is flat ground.')] = '',
    device: Annotated[list[str], typer.Option(
        '--device', help='auto, cpu or cuda; may be given more than once.')] = [],  # noqa: B006
    precision: Annotated[list[str], typer.Option(
        '--precision', help='auto, fp32, fp16 or bf16; may be given more than '
                            'once.')] = [],  # noqa: B006
    repeats: Annotated[int, typer.Option('--repeats', min=1, help='Repetitions.')] = 20,
    json_file: Annotated[Optional[Path], typer.Option(
        '--json', help='File for the figures.')] = None,
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
) -> None:
    """Localize one image again and again; print a table of the stages, medians first."""
    if context.invoked_subcommand is not None:
        return
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bag import BagError
    from loc2_ros.maps.values import MapError
    from loc2_ros.model.weights import ModelError
    from loc2_ros.synthetic.world import make_world

    with expected(BagError, MapError, ModelError, ValueError, OSError), \
            tempfile.TemporaryDirectory() as folder:
        if bag is None:
            town = make_world(SEED, Path(folder), frames=max(2, index + 1), progress=False)
            bag, map = town.drive, str(town.map)  # noqa: A001
        found = []
        for where in device or ['']:
            for number_format in precision or ['']:
                settings = load_settings(config, param, map__path=map, checkpoint=model,
                                         device=where, precision=number_format)
                if not settings['map.path']:
                    raise MapError('no map: give --map an MBTiles file or a folder of tiles')
                found.append(_measured(bag, index, settings, random, repeats))
        if json_file is not None:
            json_file.write_text(json.dumps(found, indent=2) + '\n')
            typer.echo(f'wrote {json_file}')


def _measured(bag: Path, index: int, settings: dict[str, Any], random: str,
              repeats: int) -> dict[str, Any]:
    """Measure one model on one device, print the table, return the figures."""
    from loc2_ros.evaluate.bench import bench as measure
    from loc2_ros.evaluate.visualize import query_of_bag
    from loc2_ros.model.weights import random_model
    from loc2_ros.loading import load_localizer, localizer_of, LocalizerSettings
    from loc2_ros.ros.params import localizer_settings

    def make(frame: Any) -> Any:
        if not random:
            return load_localizer(LocalizerSettings(**localizer_settings(settings)), frame)
        sized = {**settings, 'depth.source': 'flat'}
        return localizer_of(random_model(random, settings['device'], settings['precision']),
                            LocalizerSettings(**localizer_settings(sized)), frame)

    query = query_of_bag(bag, settings, make, index=index)
    found = measure(query.localizer, query.image, query.prior, query.mount, repeats,
                    warm=min(2, repeats))
    facts: dict[str, Any] = found.to_json()
    typer.echo(', '.join(f'{name} {facts[name]}' for name in (
        'model', 'device', 'precision', 'threads', 'torch', 'solver', 'repeats')))
    typer.echo(f'\n{found.table()}\n')
    typer.echo(f'floor: at the {facts["gflop_per_s"]:.0f} GFLOP/s of a large matrix product; '
               f'peak memory {facts["peak_memory_mb"]} MB')
    return facts


@app.command()
def solver(
    repeats: Annotated[int, typer.Option(min=1, help='Repetitions; the best counts.')] = 5,
    device: Annotated[str, typer.Option(help='auto, cpu or cuda.')] = 'cpu',
    pairs: Annotated[int, typer.Option(
        min=0, help='Views of towns on which the default is compared with the published '
                    'search; 0: none.')] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """
    Time RANSAC at once against one hypothesis at a time; ends with 1 if it is too slow.

    At least 4 times faster under the published protocol, from the drawn matches on, with the same
    inliers; at least 20 times with the default setting, at no worse errors on towns (--pairs).
    Times are those of one core, or of a GPU.
    """
    from loc2_ros.evaluate import bench_solver as measured
    from loc2_ros.model.weights import device_of, ModelError

    with expected(ModelError, ValueError, OSError), outcome():
        found = measured.bench_solver(repeats, device_of(device))
        rows = [(_ONE_BY_ONE, found.one_by_one_s, 1.0),
                ('published protocol, at once', found.published_s, found.published_ratio),
                ('default', found.default_s, found.default_ratio)]
        lines = [f'{name:46s} {1e3 * seconds:9.1f} ms {ratio:7.1f} times faster'
                 for name, seconds, ratio in rows]
        lines += [f'drawing the matches, published {1e3 * found.published_draw_s:.1f} ms, '
                  f'default {1e3 * found.default_draw_s:.1f} ms',
                  f'inliers differ by {found.inlier_gap} of 8192']
        result, passed = found.to_json(), found.passed
        if pairs:
            with tempfile.TemporaryDirectory(prefix='loc2_bench_') as folder:
                quality = measured.compare_on_town(pairs, Path(folder))
            lines += [f'towns, {pairs} views, {name}: median {q.median_m:.3f} m, '
                      f'{100 * q.gross_share:.1f} % over {measured.GROSS_M:g} m'
                      for name, q in quality.items()]
            result['towns'] = {name: vars(q) for name, q in quality.items()}
        tell(result, [*lines, 'passed' if passed else 'failed'], as_json, quiet)
    if not passed:
        raise typer.Exit(FAILED)


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
