# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 model``: what a set of weights expects, and how far its claims can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from loc2_ros.cli.errors import expected
import typer

app = typer.Typer(no_args_is_help=True, help='Look into models.')


@app.command()
def info(
    model: Annotated[str, typer.Argument(help='A built-in name or a model folder.')] = 'mini',
) -> None:
    """Print the contract of a model."""
    from loc2_ros.model.weights import load_model, ModelError

    with expected(ModelError):
        loaded = load_model(model, 'cpu')
        size = sum(p.numel() for p in loaded.net.parameters())
        typer.echo(loaded.contract.to_json().rstrip())
        typer.echo(f'{size} parameters, sha256 {loaded.sha256}')


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
