# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 record``: measure the node while a recording is played to it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer


def record(
    bag: options.Bag,
    out: options.Out,
    node: Annotated[str, typer.Option(help='Name of the node to listen to.')] = 'loc2',
    idle: Annotated[float, typer.Option(
        min=1.0, help='Stop after this many seconds without /clock.')] = 3.0,
    map: options.Map = '',  # noqa: A002 (the option is called --map)
    model: options.Model = '',
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
    seed: Annotated[int, typer.Option(min=0, help='Only noted in metrics.json.')] = 0,
) -> None:
    """
    Listen to the node while BAG is played, and write poses.tum, fixes.csv and metrics.json.

    Ends when /clock falls silent, or on Ctrl-C. The recording is read for its image stamps and
    its ground truth. With --map, pictures and report.html are drawn, too.
    """
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bag import BagError, open_bag
    from loc2_ros.evaluate.recorded import summary_lines
    from loc2_ros.maps.values import MapError
    from loc2_ros.ros.replay_session import record as listen

    with expected(BagError, ValueError, OSError, MapError):
        settings = load_settings(config, param, map__path=map, checkpoint=model)
        with open_bag(bag):     # a wrong path is told now, not after the drive
            pass
        metrics = listen(bag, settings, out, node_name=node, idle_s=idle, seed=seed,
                         say=lambda line: typer.echo(line, err=True))
        if settings['map.path']:
            _draw(out, bag, settings)
        for line in summary_lines(metrics):
            typer.echo(line)
        typer.echo(f'wrote {out}')


def _draw(out: Path, bag: Path, settings: Mapping[str, Any]) -> None:
    """Draw what was recorded; one frame is localized again for its matches."""
    from loc2_ros.core.frames import LocalFrame
    from loc2_ros.evaluate.report import write_report
    from loc2_ros.model.weights import ModelError
    from loc2_ros.loading import load_localizer, LocalizerSettings
    from loc2_ros.ros.params import localizer_settings

    with expected(ModelError):
        localizer = load_localizer(LocalizerSettings(**localizer_settings(settings)),
                                   LocalFrame(0.0, 0.0))
        write_report(out, bag, settings, localizer, title=f'{bag.stem}, over DDS')
