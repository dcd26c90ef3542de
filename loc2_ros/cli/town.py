# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 town``: make a synthetic town with its map and a drive through it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from loc2_ros.cli.errors import expected
import typer


def town(
    out: Annotated[Path, typer.Option(help='Folder for map.mbtiles and drive.mcap.')],
    seed: Annotated[int, typer.Option(
        min=0, help='Which town; 1000000 and above are for testing only.')] = 1_000_000,
    frames: Annotated[int, typer.Option(min=2, help='Images of the drive, at 5 Hz.')] = 150,
    crs: Annotated[str, typer.Option(
        help='Put the town where this coordinate system holds, such as EPSG:28992, and write the '
             'photo as map.tif in it, too; empty: somewhere in Europe.')] = '',
    depth: Annotated[bool, typer.Option(
        '--depth', help='Write a depth image beside every camera image.')] = False,
) -> None:
    """
    Make a synthetic town: map.mbtiles and drive.mcap.

    The drive has the topics of a KITTI recording, GNSS and heading errors of a city, and the
    truth on /ground_truth/odom.
    """
    from loc2_ros.synthetic.world import make_world

    with expected(ValueError, OSError):
        for path in make_world(seed, out, frames=frames, crs=crs, depth=depth):
            typer.echo(f'wrote {path}')
