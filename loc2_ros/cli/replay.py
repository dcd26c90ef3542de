# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 replay``: play a recording over DDS."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer


def replay(
    bag: Annotated[Path, typer.Argument(
        help='Recording: a rosbag2 folder, or the .mcap or .db3 file.')],
    rate: Annotated[float, typer.Option(help='Seconds of recording per second.')] = 1.0,
    prior_noise: options.Noise = None,
    seed: options.Seed = 0,
    wait_for: Annotated[float, typer.Option(
        '--wait-for', metavar='SECONDS', min=0.0,
        help='Wait up to this long until somebody subscribes to image, camera_info, fix and imu; '
             '0 does not wait.')] = 0.0,
    remap: Annotated[list[str], typer.Option(
        metavar='FROM:=TO',
        help='Publish a topic under another name; may be repeated.')] = [],  # noqa: B006
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
    out: Annotated[Optional[Path], typer.Option(
        help='Also record what the node answers, as loc2 record does, into this folder.')] = None,
    quiet: options.Quiet = False,
) -> None:
    """
    Play a recording over DDS with /clock, with the QoS stored in it.

    A stand-in for ros2 bag play where there is none. tf_static is latched even if the recording
    forgot to say so. Without ground truth, fix and imu get an error of 15 m and 8 degrees, so
    that they can be the reference: see --prior-noise.
    """
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bag import BagError
    from loc2_ros.ros.replay import ReplayError
    from loc2_ros.ros.replay_session import replay_bag

    with expected(BagError, ReplayError, ValueError, OSError):
        settings = load_settings(config, param)
        pairs = dict(split_remap(text) for text in remap)
        done = replay_bag(bag, settings, rate=rate, noise=prior_noise, seed=seed,
                          wait_s=wait_for, remap=pairs, out=out, progress=not quiet,
                          say=lambda line: typer.echo(line, err=True))
        if not done:
            raise typer.Exit(130)


def split_remap(text: str) -> tuple[str, str]:
    """Split ``FROM:=TO``; ValueError where it is not of that form."""
    before, separator, after = text.partition(':=')
    if not (before and separator and after):
        raise ValueError(f'write a remap as FROM:=TO, not {text!r}')
    return before, after
