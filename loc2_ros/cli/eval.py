# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 eval``: the published protocols on KITTI and VIGOR."""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer

app = typer.Typer(no_args_is_help=True, help=(
    'Evaluate a model as published; needs the extra `train`. On several GPUs with '
    '`accelerate launch -m loc2_ros.cli.main eval ...`.'))

Data = Annotated[Path, typer.Option(help='Root of the data set, in the published layout.')]
Backbone = Annotated[str, typer.Option(
    help='Weights of the frozen DINOv2 of models that need one: a folder, or its name in the '
         'Hugging Face cache.')]
Depth = Annotated[float, typer.Option(
    min=0.0, help='Points further away take no part, m; 0: as the model says.')]
Robust = Annotated[bool, typer.Option(
    '--ransac', help='Solve by RANSAC instead of as the model says.')]
Batch = Annotated[int, typer.Option(min=1, help='Frames at a time; no pose depends on it.')]
Workers = Annotated[int, typer.Option(min=0, help='Processes that read images.')]
Device = Annotated[str, typer.Option(help='auto, cpu or cuda.')]
Precision = Annotated[str, typer.Option(help='auto, fp32, fp16 or bf16.')]


class Split(str, Enum):
    """Test lists of KITTI."""

    test1, test2, both = 'test1', 'test2', 'both'


class Area(str, Enum):
    """Parts of VIGOR."""

    samearea, crossarea = 'samearea', 'crossarea'


class Range(str, Enum):
    """Rotations of the published protocols, degrees."""

    ten, half = '10', '180'


class Roll(str, Enum):
    """Orientations of the published protocols, degrees."""

    none, half = '0', '180'


@app.command()
def kitti(
    data: Data,
    out: options.Out,
    model: options.Model = 'mini',
    backbone: Backbone = '',
    rotation_range: Annotated[Range, typer.Option(
        help='Tiles are turned by up to this, deg.')] = Range.ten,
    max_depth: Depth = 0.0,
    split: Annotated[Split, typer.Option(help='Same area, cross area, or both.')] = Split.both,
    ransac: Robust = False,
    paper_intrinsics: Annotated[bool, typer.Option(
        '--paper-intrinsics', help="Take every image for 1242 x 375 pixels, as the paper's code "
                                   'does.')] = False,
    batch: Batch = 8,
    workers: Workers = 2,
    device: Device = 'auto',
    precision: Precision = 'auto',
    seed: Annotated[int, typer.Option(min=0, help='Seed of what the solver draws.')] = 0,
    quiet: options.Quiet = False,
) -> None:
    """
    Evaluate on KITTI with satellite maps.

    Writes metrics.json, and per split a table of all frames and a picture of the errors. Depth
    comes from the published files, or from the model if it has a head for it.
    """
    def run() -> list[str]:
        from loc2_ros.evaluate.datasets import eval_kitti, KittiProtocol
        splits = ('test1', 'test2') if split is Split.both else (split.value,)
        protocol = KittiProtocol(float(rotation_range.value), splits, paper_intrinsics)
        return eval_kitti(data, _settings(model, backbone, device, precision, max_depth, ransac,
                                          batch, workers, seed, quiet), protocol, out)

    _shown(run, out)


@app.command()
def vigor(
    data: Data,
    out: options.Out,
    model: options.Model,
    backbone: Backbone = '',
    area: Annotated[Area, typer.Option(help='Which lists.')] = Area.samearea,
    random_orientation: Annotated[Roll, typer.Option(
        help='Panoramas are rolled by up to this, deg.')] = Roll.half,
    max_depth: Depth = 0.0,
    ransac: Robust = False,
    labels: Annotated[str, typer.Option(help='Folder of the lists, in the root.')] = 'splits_new',
    label_suffix: Annotated[str, typer.Option(
        help='What the names of the lists end on, such as __corrected.')] = '',
    batch: Batch = 8,
    workers: Workers = 2,
    device: Device = 'auto',
    precision: Precision = 'auto',
    seed: Annotated[int, typer.Option(min=0, help='Seed of what the solver draws.')] = 0,
    quiet: options.Quiet = False,
) -> None:
    """Evaluate on VIGOR; writes what `loc2 eval kitti` writes, with figures per city."""
    def run() -> list[str]:
        from loc2_ros.evaluate.datasets import eval_vigor, VigorProtocol
        protocol = VigorProtocol(area.value, float(random_orientation.value), labels,
                                 label_suffix)
        return eval_vigor(data, _settings(model, backbone, device, precision, max_depth, ransac,
                                          batch, workers, seed, quiet), protocol, out)

    _shown(run, out)


def _settings(model: str, backbone: str, device: str, precision: str, max_depth: float,
              ransac: bool, batch: int, workers: int, seed: int, quiet: bool) -> Any:
    from loc2_ros.evaluate.datasets import EvalSettings
    return EvalSettings(model, backbone, device, precision, max_depth,
                        'ransac' if ransac else 'auto', batch, workers, seed, not quiet)


def _shown(run: Callable[[], list[str]], out: Path) -> None:
    """Run an evaluation and print its table, or the one sentence why there is none."""
    from loc2_ros.model.weights import ModelError

    with expected(ModelError, ValueError, OSError):
        lines = run()
        for line in lines:
            typer.echo(line)
        if lines:
            typer.echo(f'wrote {out}')
