# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 demo``: a town nobody has seen, the node in it over DDS, and a report."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
import shutil
import sys
from typing import Annotated, Any

from loc2_ros import __version__
from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer

FRAME_RATE_HZ = 5.0
_START_S = 120.0            # loading torch and the model on a busy machine
_LISTENING = 'recording what'    # what loc2 record says once it does
_RESULTS = ('metrics.json', 'fixes.csv', 'poses.tum', 'report.html', 'trajectory.png',
            'errors.png', 'matches.png', 'overlay.png')


def demo(
    seed: Annotated[int, typer.Option(
        min=0, help='Which town; 1000000 and above were never trained on.')] = 1_000_007,
    out: options.Out = Path('out/demo'),
    frames: Annotated[int, typer.Option(min=10, help='Images of the drive, at 5 Hz.')] = 200,
    rate: Annotated[float, typer.Option(
        min=0.01, max=100.0, help='Seconds of recording per second.')] = 1.0,
    model: Annotated[str, typer.Option(
        '--model', '--checkpoint', help='Built-in model, or a model folder.')] = 'mini',
) -> None:
    """
    Make a town, drive through it, and let the node find out where it is.

    Node, player and recorder are processes of their own that talk over DDS, in a ROS domain of
    their own. Writes metrics.json, report.html with its pictures, poses.tum and fixes.csv. A town
    that is there already is used again.
    """
    from loc2_ros.cli.processes import ProcessError
    from loc2_ros.data.bag import BagError
    from loc2_ros.maps.values import MapError
    from loc2_ros.model.weights import model_folder, ModelError

    with expected(ProcessError, BagError, MapError, ModelError, ValueError, OSError):
        model_folder(model)         # told now, not after the town has been made
        out.mkdir(parents=True, exist_ok=True)
        town = make_town(out / 'town', seed, frames)
        params = write_params(out, town, model)
        for name in _RESULTS:       # nothing of an earlier run must pass for this one's
            (out / name).unlink(missing_ok=True)
        typer.echo(f'playing {frames / FRAME_RATE_HZ / rate:.0f} s of driving; logs in '
                   f'{out / "logs"}')
        drive_through(town / 'drive.mcap', out, params, rate, seed)
        typer.echo('drawing')
        write_pictures(out, town / 'drive.mcap', params, seed)
        for line in closing_lines(out):
            typer.echo(line)


MADE = ('map.mbtiles', 'drive.mcap', 'town.json')      # and parts of them


def make_town(folder: Path, seed: int, frames: int) -> Path:
    """Make the town, unless it is there, complete and made by this version."""
    from loc2_ros.synthetic.world import make_world

    wanted = {'seed': seed, 'frames': frames, 'version': __version__, 'code': _code_digest()}
    stamp = folder / 'town.json'
    if stamp.is_file() and (folder / 'map.mbtiles').exists() and (folder / 'drive.mcap').is_file():
        if stamp.read_text() == json.dumps(wanted):
            typer.echo(f'town {seed} is there already: {folder}')
            return folder
    foreign = sorted(p.name for p in folder.iterdir() if not p.name.startswith(MADE)) \
        if folder.is_dir() else []
    if foreign:
        raise ValueError(f'{folder} holds {foreign[0]}, which no demo made; choose another --out')
    typer.echo(f'making town {seed}')
    shutil.rmtree(folder, ignore_errors=True)
    make_world(seed, folder, frames=frames)
    stamp.write_text(json.dumps(wanted))        # last: what it stands beside is complete
    return folder


def write_params(out: Path, town: Path, model: str) -> Path:
    """Write what the node needs beyond config/kitti.yaml."""
    import yaml

    path = out / 'params.yaml'
    chosen = {'use_sim_time': True, 'checkpoint': model,
              'map': {'path': str((town / 'map.mbtiles').resolve())}}
    path.write_text(yaml.safe_dump({'/**': {'ros__parameters': chosen}}))
    return path


def drive_through(bag: Path, out: Path, params: Path, rate: float, seed: int) -> None:
    """
    Play the drive to the node and record what it answers.

    :raises ProcessError: one of the three failed; with its last lines.
    """
    from loc2_ros.cli.processes import free_domain, ros_environment, Team
    from loc2_ros.cli.settings import find_config
    from loc2_ros.data.bag import open_bag

    with open_bag(bag) as recording:
        seconds = (recording.end_ns - recording.start_ns) * 1e-9 / rate
    logs = out / 'logs'
    logs.mkdir(exist_ok=True)
    files = [str(find_config('kitti')), str(params)]
    with Team(ros_environment(free_domain(), logs), logs) as team:
        recorder = team.start('recorder', [
            *_python('loc2_ros.cli.main'), 'record', '--bag', str(bag), '--out', str(out),
            '--seed', str(seed), '--config', 'kitti'])
        # The first pose would be lost on a recorder that is still starting
        team.wait_for_words(recorder, _LISTENING, _START_S)
        node = team.start('node', [
            *_python('loc2_ros.ros.node'), '--ros-args',
            *(word for file in files for word in ('--params-file', file))])
        # On a terminal the player shows its progress there
        team.start('player', [
            *_python('loc2_ros.cli.main'), 'replay', str(bag), '--rate', str(rate),
            '--wait-for', str(_START_S)], stderr=sys.stderr if sys.stderr.isatty() else None)
        team.wait_for_end(recorder, 2.0 * _START_S + seconds)
        if node.code is not None:
            raise node.error(f'ended with exit code {node.code} before it was told to')


def write_pictures(out: Path, bag: Path, params: Path, seed: int) -> None:
    """Write report.html and its pictures."""
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.core.frames import LocalFrame
    from loc2_ros.evaluate.report import write_report
    from loc2_ros.loading import load_localizer, LocalizerSettings
    from loc2_ros.ros.params import localizer_settings

    settings = load_settings(['kitti', str(params)], [])
    localizer = load_localizer(LocalizerSettings(**localizer_settings(settings)),
                               LocalFrame(0.0, 0.0))
    try:
        write_report(out, bag, settings, localizer, title=f'A drive through town {seed}')
    finally:
        localizer.close()


def closing_lines(out: Path) -> list[str]:
    """Return the table at the end of the demo."""
    from loc2_ros.evaluate.page import number
    from loc2_ros.evaluate.recorded import summary_lines

    metrics: dict[str, Any] = json.loads((out / 'metrics.json').read_text())
    coverage = metrics['ellipse95_coverage']
    return ['', *summary_lines(metrics),
            f'claimed   {number(metrics["claimed_sigma_xy_m"]["median"])} m per axis; '
            f'{"-" if coverage is None else f"{100 * coverage:.0f} %"} of the errors inside '
            f'their 95 % ellipse',
            f'latency   {number(metrics["latency_s"]["median"])} s median, '
            f'{number(metrics["latency_s"]["p95"])} s 95 %; {number(metrics["rate_hz"], 1)} '
            f'fixes per second on {metrics["device"]}',
            f'poses     {metrics["duplicates"]} duplicate, {metrics["out_of_order"]} out of '
            f'order, {metrics["stamp_mismatches"]} with a wrong stamp', '',
            f'open {out / "report.html"}']


def _python(module: str) -> list[str]:
    """Return the command of a module's ``main``: that of loc2 and loc2_node, wherever they are."""
    return [sys.executable, '-c', f'import sys; from {module} import main; sys.exit(main())']


def _code_digest() -> str:
    """Return a digest of the code that makes towns."""
    import loc2_ros
    digest = hashlib.sha256()
    root = Path(os.path.dirname(loc2_ros.__file__))
    for file in sorted((root / 'synthetic').glob('*.py')) + [root / 'maps' / 'writer.py']:
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]
