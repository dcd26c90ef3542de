# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 bag``: recordings, without ROS: drives of KITTI, a look into bags, repairs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer

_BAG = 'A rosbag2 folder, .mcap, .db3, or .bag of ROS 1.'

app = typer.Typer(no_args_is_help=True, help='Convert, look into, check and repair recordings.')


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
    bag: Annotated[Path, typer.Argument(metavar='BAG', help=_BAG)],
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
        settings = load_settings(['kitti', *config], param)
        with open_bag(bag) as recording:
            seconds = (recording.end_ns - recording.start_ns) / 1e9
            typer.echo(f'{bag}: {seconds:.1f} s')
            for topic in sorted(recording.topics.values(), key=lambda topic: topic.name):
                latched = ', latched' if topic.qos is not None and topic.qos.latched else ''
                typer.echo(f'{topic.count:8d}  {topic.name}  {topic.msgtype}{latched}')
            for name, kind in recording.left_out.items():
                typer.echo(f'{"?":>8s}  {name}  {kind}, which ROS 2 does not have')
            findings = check_bag(recording, settings) if check else []
    _tell(findings)


@app.command()
def adapt(
    bag: Annotated[Path, typer.Argument(metavar='BAG', help=_BAG)],
    out: Annotated[Path, typer.Option('--out', '-o', help='The recording to write: a folder.')],
    fix_stddev: Annotated[float, typer.Option(
        min=0.001, max=1000.0, metavar='M', help='Taken where fixes have no covariance.')] = 0.3,
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
    quiet: options.Quiet = False,
) -> None:
    """
    Put a recording right that kitti2bag made, or one of its ports to ROS 2.

    Fills covariances, makes calibration that of the rectified images, latches one tf_static from
    base_link on, takes base_link out of /tf, adds the truth where it is missing. Checks the
    result as bag info --check does; ends with 1 if it could not repair everything.
    """
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bag import BagError, open_bag
    from loc2_ros.data.bag_adapt import adapt_bag
    from loc2_ros.data.bag_check import check_bag
    from loc2_ros.data.kitti_repair import Sigmas

    with expected(BagError, ValueError, OSError):
        settings = load_settings(['kitti', *config], param)
        done = adapt_bag(bag, out, settings, Sigmas(fix_m=fix_stddev), progress=not quiet)
        for name, why in done.left_out.items():
            typer.echo(f'left out {name}: {why}')
        for name, count in sorted(done.repaired.items()):
            typer.echo(f'{count:8d}  {name}: repaired or added')
        typer.echo(f'wrote {out}: {done.images} images')
        with open_bag(out) as recording:
            findings = check_bag(recording, settings)
    _tell(findings)


def _tell(findings: list[Any]) -> None:
    """Print findings; end with 1 if anything is wrong."""
    for finding in findings:
        typer.echo(f'{"wrong" if finding.problem else "ok":6s} {finding.item}'
                   + (f': {finding.problem}' if finding.problem else ''))
    if any(finding.problem for finding in findings):
        raise typer.Exit(1)
