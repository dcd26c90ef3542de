# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 model``: what a set of weights expects, and how far its claims can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer

app = typer.Typer(no_args_is_help=True, help='Look into models, and import published ones.')


@app.command()
def info(
    model: Annotated[str, typer.Argument(help='A built-in name or a model folder.')] = 'mini',
) -> None:
    """Print the contract of a model."""
    from loc2_ros.model.checkpoint import file_sha256
    from loc2_ros.model.weights import (load_matcher, model_folder, ModelError, read_contract,
                                        WEIGHTS)

    with expected(ModelError):
        folder = model_folder(model)
        contract = read_contract(folder)
        size = sum(p.numel() for p in load_matcher(folder, contract).parameters())
        typer.echo(contract.to_json().rstrip())
        typer.echo(f'{size} parameters, sha256 {file_sha256(folder / WEIGHTS)}')


@app.command('import')
def import_(
    file: Annotated[Path, typer.Argument(help='A published model.pt.')],
    preset: Annotated[str, typer.Option(help='Which of the published checkpoints it is.')],
    out: options.Out,
    licence: Annotated[str, typer.Option(help='Licence of the weights, if you know it.')] = '',
) -> None:
    """
    Turn a published checkpoint into a model folder.

    Every entry is compared before anything is written, and nothing in the file is run.
    """
    from loc2_ros.model.weights import import_checkpoint, LICENCE, ModelError

    with expected(ModelError, OSError):
        contract = import_checkpoint(file, preset, out, licence or LICENCE)
        typer.echo(f'wrote {out}, sha256 of the source {contract.provenance["source_sha256"]}')
        typer.echo(f'that it is {preset} is your word: the published files cannot be told apart')
        typer.echo(f'licence: {contract.provenance["licence"]}')
        typer.echo(f'it needs the backbone {contract.backbone}, see loc2 model import-backbone')


@app.command('import-backbone')
def import_backbone(
    file: Annotated[Path, typer.Argument(help='A .pth of facebookresearch without registers.')],
    out: options.Out,
) -> None:
    """Turn DINOv2 weights of facebookresearch into a folder for --backbone."""
    from loc2_ros.model.checkpoint import CheckpointError
    from loc2_ros.model.dinov2 import BackboneError, import_dinov2, LICENCE, SIZES

    with expected(BackboneError, CheckpointError, OSError):
        name = import_dinov2(file, out)
        typer.echo(f'wrote {out}: DINOv2 {name}, licence {LICENCE}'
                   + ('' if name in SIZES else '; no published checkpoint can use it'))


@app.command()
def calibrate(
    model: Annotated[Path, typer.Argument(help='Model folder; its config.json is rewritten.')],
    pairs: Annotated[Path, typer.Option(help='Folder for the rendered calibration towns.')],
    towns: Annotated[int, typer.Option(min=2, help='Calibration towns, seeds from 950000.')] = 24,
    views: Annotated[int, typer.Option(min=10, help='Views per town.')] = 40,
) -> None:
    """Fit the covariance to the errors on towns that training never saw."""
    from loc2_ros.evaluate.calibration import calibrate_model
    from loc2_ros.model.weights import ModelError

    with expected(ModelError, ValueError, OSError):
        for name, value in calibrate_model(model, pairs, towns, views).items():
            typer.echo(f'{name:28s} {value:8.3f}')
