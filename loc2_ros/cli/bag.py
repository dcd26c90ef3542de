# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 bag``: recordings, without ROS: convert drives of KITTI, look into bags, check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer

app = typer.Typer(no_args_is_help=True, help='Convert, look into and check recordings.')


@app.command()
def kitti(
    drive: Annotated[Path, typer.Argument(
        metavar='DRIVE', help='A drive of the raw data, DAY/DRIVE_sync, with the calibration of '
                              'the day beside it.')],
    out: Annotated[Path, typer.Option('--out', '-o', help='The recording to write: a folder.')],
    quiet: options.Quiet = False,
) -> None:
    """Make a recording of a drive of KITTI, with kitti2bag's topics but none of its errors."""
    from loc2_ros.data.kitti_bag import write_kitti_bag
    from loc2_ros.data.pair import DatasetError

    with expected(DatasetError, OSError):
        images = write_kitti_bag(drive, out, progress=not quiet)
        typer.echo(f'wrote {out}: {images} images')


@app.command()
def info(
    bag: Annotated[Path, typer.Argument(metavar='BAG', help='A rosbag2 folder, .mcap or .db3.')],
    check: Annotated[bool, typer.Option(
        '--check', help='Also tell what is wrong with it; ends with 1 if anything is.')] = False,
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
) -> None:
    """Print the topics of a recording, and what is wrong with it."""
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bag import BagError, open_bag
    from loc2_ros.data.bag_check import check_bag

    with expected(BagError, ValueError, OSError):
        settings = load_settings(config, param)
        with open_bag(bag) as recording:
            seconds = (recording.end_ns - recording.start_ns) / 1e9
            typer.echo(f'{bag}: {seconds:.1f} s')
            for topic in sorted(recording.topics.values(), key=lambda topic: topic.name):
                latched = ', latched' if topic.qos is not None and topic.qos.latched else ''
                typer.echo(f'{topic.count:8d}  {topic.name}  {topic.msgtype}{latched}')
            findings = check_bag(recording, settings) if check else []
        for finding in findings:
            typer.echo(f'{"wrong" if finding.problem else "ok":6s} {finding.item}'
                       + (f': {finding.problem}' if finding.problem else ''))
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)
