# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 map from-drive``: a map of one's own mapping drive, where there is no usable imagery."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

from loc2_ros.cli import options
from loc2_ros.cli.map_options import (Attribution, INTERRUPTED, Json, Licence, Out, outcome,
                                      Quiet, tell, warn)
import typer


class Depth(str, Enum):
    """Where the ground of an image is known from."""

    flat, image, lidar, network = 'flat', 'image', 'lidar', 'network'


def from_drive(
    bag: Annotated[Path, typer.Argument(
        metavar='BAG', help='Recording with images, calibration and poses: /ground_truth/odom, '
                            'or fixes and headings of RTK quality.')],
    out: Out,
    depth: Annotated[Depth, typer.Option(
        help='Where the ground is known from: flat, a depth image, a scanner, a depth '
             'network.')] = Depth.flat,
    gsd: Annotated[float, typer.Option(min=0.02, max=2.0, help='Size of a pixel, m.')] = 0.1,
    reach: Annotated[float, typer.Option(
        min=0.0, max=100.0, help='How far ahead ground is taken from, m; 0: 12 of flat ground, '
                                 'else 20.')] = 0.0,
    spacing: Annotated[float, typer.Option(
        min=0.0, help='Distance between images that are used, m.')] = 0.5,
    attribution: Attribution = '',
    licence: Licence = '',
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """
    Make a map of a drive: its images, laid onto the ground and seen from above.

    The map shows what the camera saw and is as right as the poses of the drive. It has no roofs,
    and is empty beside the road.
    """
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bag import BagError
    from loc2_ros.data.mapping import map_drive
    from loc2_ros.maps.mosaic import write_mosaic
    from loc2_ros.maps.values import MapError
    from loc2_ros.model.weights import ModelError

    with outcome():
        if out.exists():
            raise MapError(f'{out} exists; give another --out, or remove it')
        if not out.absolute().parent.is_dir():      # told now, not after the whole drive
            raise MapError(f'{out} cannot be written: there is no folder {out.parent}')
        settings = {**load_settings(config, param), 'depth.source': depth.value}
        try:
            drive = map_drive(bag, settings, gsd, reach, spacing, progress=not (quiet or as_json))
        except (BagError, ModelError) as error:
            raise MapError(f'{error}') from error
        except KeyboardInterrupt as error:
            typer.echo('loc2 map: interrupted; nothing was written', err=True)
            raise typer.Exit(INTERRUPTED) from error
        provenance = {'made_by': 'loc2 map from-drive', 'sources': [bag.name],
                      'images': drive.used, 'depth': depth.value, 'poses': drive.reference}
        write_mosaic(out, drive.mosaic, drive.frame, {
            'name': out.stem, 'attribution': attribution, 'licence': licence or 'unknown',
            'acquired': dict(zip(('from', 'to'), drive.days)), **provenance})
        if not licence:
            warn(['no --licence was given; it is recorded as unknown'], quiet)
        facts = {**provenance, **drive.mosaic.facts(), 'left_out': drive.seen - drive.used,
                 'map': str(out)}
        tell(facts, [f'{out}: {drive.mosaic.covered_m2:.0f} m2 of ground from {drive.used} images '
                     f'({drive.seen - drive.used} without usable depth), poses of '
                     f'{drive.reference}'], as_json, quiet)
