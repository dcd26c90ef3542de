# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 train``: make the embedded model, or one of your own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

from loc2_ros.cli.errors import expected
import typer

app = typer.Typer(no_args_is_help=True, help='Train a model; needs the extra `train`.')


@app.callback()
def _group() -> None:
    """Keep `town` a verb of its own although it is the only one yet."""


@app.command()
def town(
    config: Annotated[Path, typer.Option(help='Configuration, as config/train_mini.yaml.')],
    out: Annotated[Path, typer.Option(help='Folder for the towns, checkpoints, logs and model.')],
    resume: Annotated[Optional[Path], typer.Option(
        help='Folder of an interrupted run; goes on exactly where it stopped.')] = None,
) -> None:
    """
    Train on synthetic towns; they are rendered first, where they are missing.

    Runs on a CPU or a GPU; on several with `accelerate launch -m loc2_ros.cli.main train town`.
    """
    from loc2_ros.train.config import ConfigError, TrainConfig
    from loc2_ros.train.loop import train_town

    with expected(ConfigError, ValueError, OSError):
        typer.echo(f'wrote {train_town(TrainConfig.load(config), out, resume)}')
