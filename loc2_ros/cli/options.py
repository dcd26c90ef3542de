# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share, each with one description."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

Bag = Annotated[Path, typer.Option(
    '--bag', help='Recording: a rosbag2 folder, or the .mcap or .db3 file.')]
Out = Annotated[Path, typer.Option('--out', help='Folder for the results.')]
Config = Annotated[list[str], typer.Option(
    '--config', metavar='FILE', help='Parameter file of the node, or "kitti"; may be repeated.')]
Params = Annotated[list[str], typer.Option(
    '--param', metavar='NAME:=VALUE', help='A parameter of the node; may be repeated.')]
Noise = Annotated[Optional[str], typer.Option(
    '--prior-noise', metavar='M,DEG',
    help='Error put on fix and imu. Default: none if the recording has ground truth, else 15,8; '
         '"0,0" is none.')]
Seed = Annotated[int, typer.Option('--seed', min=0, help='Seed of the prior noise.')]
Quiet = Annotated[bool, typer.Option('--quiet', '-q', help='No progress bar.')]
Map = Annotated[str, typer.Option(
    '--map', help='Aerial map: MBTiles file or folder of tiles.')]
Model = Annotated[str, typer.Option('--model', help='Built-in model, or a model folder.')]
Backbone = Annotated[str, typer.Option(
    '--backbone', help='Folder of the DINOv2 weights that a published model needs.')]
Pictures = Annotated[bool, typer.Option(
    '--pictures/--no-pictures', help='Draw pictures and report.html.')]
