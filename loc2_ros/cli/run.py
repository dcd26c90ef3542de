# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 run``: localize a recording offline, without ROS and without dropping a frame."""

from __future__ import annotations

from typing import Any

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer


def run(
    bag: options.Bag,
    out: options.Out,
    map: options.Map = '',  # noqa: A002 (the option is called --map)
    model: options.Model = '',
    backbone: options.Backbone = '',
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
    prior_noise: options.Noise = None,
    seed: options.Seed = 0,
    pictures: options.Pictures = True,
    quiet: options.Quiet = False,
) -> None:
    """
    Localize every image of a recording, with the code of the node but without ROS.

    Writes poses.tum, fixes.csv, metrics.json, pictures and report.html. Two runs give the same
    poses.
    """
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bag import BagError
    from loc2_ros.data.perturb import PriorNoise
    from loc2_ros.evaluate.recorded import summary_lines
    from loc2_ros.evaluate.report import write_report
    from loc2_ros.evaluate.run import run_bag
    from loc2_ros.maps.values import MapError
    from loc2_ros.model.weights import ModelError
    from loc2_ros.loading import load_localizer, LocalizerSettings
    from loc2_ros.ros.params import localizer_settings

    with expected(BagError, MapError, ModelError, ValueError, OSError):
        settings = load_settings(config, param, map__path=map, checkpoint=model,
                                 backbone=backbone)
        if not settings['map.path']:
            raise MapError('no map: give --map an MBTiles file or a folder of tiles')
        noise = None if prior_noise is None else PriorNoise.parse(prior_noise, seed)
        made: list[Any] = []

        def make(frame: Any) -> Any:
            made.append(load_localizer(LocalizerSettings(**localizer_settings(settings)), frame))
            if notice := made[0].about().get('depth_notice'):
                typer.echo(notice, err=True)
            return made[0]

        result = run_bag(bag, settings, make, noise=noise, seed=seed, progress=not quiet)
        metrics = result.write(out, model=settings['checkpoint'], device=device_of(made[0]))
        if pictures:
            write_report(out, bag, settings, made[0], title=f'{bag.stem}, offline')
        for line in summary_lines(metrics):
            typer.echo(line)
        typer.echo(f'wrote {out}')


def device_of(localizer: Any) -> str:
    """Return where a localizer's network runs, as text."""
    return str(localizer.network.model.device)
