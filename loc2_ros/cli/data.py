# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 data``: prepare data sets for evaluation and training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer

app = typer.Typer(no_args_is_help=True, help='Prepare data sets.')
depth = typer.Typer(
    no_args_is_help=True, help='Compute depth beforehand with Depth Anything V2 (metric).')
app.add_typer(depth, name='depth')

Root = Annotated[Path, typer.Option('--data', help='Root of the data set.')]
Net = Annotated[str, typer.Option(
    '--model', help='Folder of the depth network, or its name in the local cache; empty: outdoor '
                    'small.')]
Folder = Annotated[str, typer.Option('--folder', help='Folder name for the files.')]
Device = Annotated[str, typer.Option('--device', help='auto, cpu or cuda.')]
Precision = Annotated[str, typer.Option('--precision', help='auto, fp32, fp16 or bf16.')]
Side = Annotated[int, typer.Option(
    '--short-side', min=14, max=4096, help='Images are resized until their shorter side is so '
                                           'many pixels.')]
Check = Annotated[bool, typer.Option(
    '--check', help='Only look at files that exist, whoever wrote them: missing, damaged, '
                    'striped.')]


@depth.command()
def kitti(
    data: Root, model: Net = '', folder: Folder = 'depth_anythingv2_depth',
    device: Device = 'auto', precision: Precision = 'auto', short_side: Side = 518,
    check: Check = False, quiet: options.Quiet = False,
) -> None:
    """
    Planar depth of the left colour images of KITTI raw: 16 bit PNG, 256 units per metre.

    Reads ROOT/raw_data/DAY/DRIVE/image_02/data, writes ROOT/FOLDER/DAY/DRIVE/depth. A run that
    was interrupted goes on where it stopped.
    """
    from loc2_ros.data.depth_files import KITTI, kitti_jobs
    _run(lambda: kitti_jobs(data, folder), KITTI, lambda jobs: {data / folder}, model, device,
         precision, short_side, check, quiet)


@depth.command()
def vigor(
    data: Root, model: Net = '', folder: Folder = 'unik3d_depth',
    device: Device = 'auto', precision: Precision = 'auto', short_side: Side = 518,
    check: Check = False, quiet: options.Quiet = False,
) -> None:
    """
    Range along the rays of VIGOR panoramas: 16 bit PNG, 1000 units per metre, up to 65 m.

    Reads ROOT/CITY/panorama, writes ROOT/CITY/FOLDER. A panorama is seen through the faces of a
    cube. The published weights were trained with UniK3D instead, whose files go to the same
    place; look at them with --check.
    """
    from loc2_ros.data.depth_files import VIGOR, vigor_jobs
    _run(lambda: vigor_jobs(data, folder), VIGOR, lambda jobs: {j.depth.parent for j in jobs},
         model, device, precision, short_side, check, quiet)


def _run(find: Callable[[], list[Any]], form: Any, homes: Callable[[list[Any]], set[Path]],
         model: str, device: str, precision: str, short_side: int, check: bool,
         quiet: bool) -> None:
    from loc2_ros.data import depth_files
    from loc2_ros.model.depth_network import (DEFAULT_DEPTH_MODEL, device_and_dtype,
                                              load_depth_network)
    from loc2_ros.model.weights import ModelError

    with expected(depth_files.DatasetError, ModelError, OSError):
        jobs = find()
        if check:
            report = depth_files.check(jobs, form, not quiet)
        else:
            where, dtype = device_and_dtype(device, precision)
            network = load_depth_network(model or DEFAULT_DEPTH_MODEL, where, dtype, short_side)
            if network.notice:
                typer.echo(network.notice, err=True)
            report = depth_files.precompute(jobs, network, form, sorted(homes(jobs)), not quiet)
        for line in report.bad[:20]:
            typer.echo(line, err=True)
        typer.echo(f'{len(jobs)} images: {report.written} written, {report.kept} '
                   f'{"fine" if check else "there before"}, {len(report.bad)} bad')
        if report.bad:
            raise typer.Exit(1)
