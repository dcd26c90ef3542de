# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 bench``: how long each stage takes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer

SEED = 1_000_007        # a town that training never saw, as in `make demo`


def bench(
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
    import json
    from tempfile import TemporaryDirectory

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
            TemporaryDirectory() as folder:
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
