# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 train``: make the embedded model, the published ones, or one for your own drives."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

from loc2_ros.cli.errors import expected
import typer

app = typer.Typer(no_args_is_help=True, help=(
    'Train a model; needs the extra `train`. Runs on a CPU or a GPU; on several, or on several '
    'machines, with `accelerate launch -m loc2_ros.cli.main train ...`.'))

Config = Annotated[Path, typer.Option(help='Configuration, as those in config/.')]
Out = Annotated[Path, typer.Option(help='Folder for checkpoints, logs and the model.')]
Resume = Annotated[Optional[Path], typer.Option(
    help='Folder of an interrupted run; goes on exactly where it stopped.')]


@app.command()
def town(config: Config, out: Out, resume: Resume = None) -> None:
    """Train on synthetic towns; they are rendered first, where they are missing."""
    _train('TownConfig', config, out, resume)


@app.command()
def kitti(config: Config, out: Out, resume: Resume = None) -> None:
    """Train on KITTI with satellite maps, in the published layout; as config/train_kitti.yaml."""
    _train('KittiConfig', config, out, resume)


@app.command()
def vigor(config: Config, out: Out, resume: Resume = None) -> None:
    """Train on VIGOR, in the published layout; as config/train_vigor.yaml."""
    _train('VigorConfig', config, out, resume)


@app.command()
def drive(config: Config, out: Out, resume: Resume = None) -> None:
    """
    Train on your own recording and map; as config/train_drive.yaml.

    Its poses, /ground_truth/odom or else fix and imu, are the only supervision.
    """
    _train('DriveConfig', config, out, resume)


def _train(kind: str, path: Path, out: Path, resume: Path | None) -> None:
    """Read a configuration of a kind and train."""
    from loc2_ros.data.bag import BagError
    from loc2_ros.maps.values import MapError
    from loc2_ros.train import config as configs
    from loc2_ros.train.loop import train

    with expected(BagError, MapError, ValueError, OSError):
        config = getattr(configs, kind).load(path)
        typer.echo(f'wrote {train(config, _source(config), out, resume)}')


def _source(config: Any) -> Any:
    """Return where a configuration's samples come from."""
    from loc2_ros.train.config import DriveConfig
    from loc2_ros.train.sources import drive_source, SOURCES

    if not isinstance(config, DriveConfig):
        return SOURCES[type(config)](config)
    from loc2_ros.cli.settings import load_settings
    settings = load_settings(config.node_config, config.params, map__path=config.map)
    if not settings['map.path']:
        raise ValueError('the configuration names no map; set map to an MBTiles file or a '
                         'folder of tiles')
    return drive_source(config, settings)
