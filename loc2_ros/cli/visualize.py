# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""``loc2 visualize``: pictures of one image, out of a recording or on its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

from loc2_ros.cli import options
from loc2_ros.cli.errors import expected
import typer

_POSE = 'LAT,LON,HEADING: degrees; heading 0 is east, counter-clockwise'


def visualize(
    out: options.Out,
    bag: Annotated[Optional[Path], typer.Option(
        '--bag', help='Recording to take an image from.')] = None,
    index: Annotated[int, typer.Option('--index', help='Which of its images; -1 the last.')] = 0,
    stamp: Annotated[Optional[float], typer.Option(
        '--stamp', help='Take the image nearest to this stamp instead, s.')] = None,
    image: Annotated[Optional[Path], typer.Option(
        '--image', help='Or a single image: JPEG or PNG.')] = None,
    camera: Annotated[str, typer.Option(
        '--camera', metavar='FX,FY,CX,CY', help='Of a single rectified image, pixels; a panorama '
                                                'needs none.')] = '',
    height: Annotated[float, typer.Option(
        '--height', min=0.5, max=5.0, help='Of its camera above the ground, m.')] = 1.65,
    pitch: Annotated[float, typer.Option(
        '--pitch', min=-45, max=45, help='Of its camera, degrees, positive looking down.')] = 0.0,
    prior: Annotated[str, typer.Option('--prior', metavar='POSE', help=_POSE)] = '',
    truth: Annotated[str, typer.Option('--truth', metavar='POSE', help='As --prior.')] = '',
    map: options.Map = '',  # noqa: A002 (the option is called --map)
    model: options.Model = '',
    config: options.Config = [],  # noqa: B006 (typer copies it)
    param: options.Params = [],  # noqa: B006
    prior_noise: options.Noise = None,
    seed: options.Seed = 0,
) -> None:
    """
    Draw matches, lifted ground, votes and pose of one image; write PNGs and visualize.html.

    Give --bag with --index or --stamp, or --image with --camera and --prior.
    """
    from loc2_ros.cli.settings import load_settings
    from loc2_ros.data.bad_message import BadMessage
    from loc2_ros.data.bag import BagError
    from loc2_ros.data.perturb import PriorNoise
    from loc2_ros.evaluate.visualize import describe, query_of_bag, write_frame
    from loc2_ros.maps.values import MapError
    from loc2_ros.model.weights import ModelError
    from loc2_ros.loading import load_localizer, LocalizerSettings
    from loc2_ros.ros.params import localizer_settings

    with expected(BagError, BadMessage, MapError, ModelError, ValueError, OSError):
        if (bag is None) == (image is None):
            raise ValueError('give either --bag or --image')
        settings = load_settings(config, param, map__path=map, checkpoint=model)
        if not settings['map.path']:
            raise MapError('no map: give --map an MBTiles file or a folder of tiles')

        def make(frame: Any) -> Any:
            made = load_localizer(LocalizerSettings(**localizer_settings(settings)), frame)
            made.explain = True
            if notice := made.about().get('depth_notice'):
                typer.echo(notice, err=True)
            return made

        if bag is not None:
            noise = None if prior_noise is None else PriorNoise.parse(prior_noise, seed)
            found = query_of_bag(bag, settings, make, index=index, stamp_s=stamp, noise=noise,
                                 seed=seed).frame
            title = f'{bag.stem}, image at {found.image.stamp_ns * 1e-9:.3f} s'
        else:
            found = _single(image, camera, height, pitch, prior, truth, settings, make)
            title = str(image)
        for name, value in describe(found).items():
            typer.echo(f'{name:20s} {value}')
        for path in write_frame(found, out, title):
            typer.echo(f'wrote {path}')


def _single(image: Any, camera: str, height: float, pitch: float, prior: str, truth: str,
            settings: dict[str, Any], make: Any) -> Any:
    """Localize one file around a prior, which is also where the map's origin is put."""
    import math
    from types import SimpleNamespace

    from loc2_ros.core.camera import level_mount
    from loc2_ros.core.frames import LocalFrame
    from loc2_ros.core.values import Camera, Image, Panorama, Pose2, Prior
    from loc2_ros.data.images import decode_compressed
    from loc2_ros.evaluate.frame_pictures import Frame

    lat, lon, heading = _numbers(prior, '--prior', 3)
    rgb = decode_compressed(SimpleNamespace(data=image.read_bytes()))
    rows, columns = rgb.shape[:2]
    if settings['camera.model'] == 'equirectangular':
        lens: Any = Panorama(columns, rows)
    else:
        lens = Camera(columns, rows, *_numbers(camera, '--camera', 4))
    frame = LocalFrame(lat, lon)
    localizer = make(frame)
    start = Prior(1, frame.forward(lat, lon), math.radians(heading),
                  settings['prior.position_stddev'],
                  math.radians(settings['prior.heading_stddev']))
    true = None
    if truth:
        true_lat, true_lon, true_heading = _numbers(truth, '--truth', 3)
        x, y = frame.forward(true_lat, true_lon)
        true = Pose2(float(x), float(y), math.radians(true_heading))
    picture = Image(rgb, 1, lens)
    result = localizer.localize(picture, start, level_mount(height, math.radians(pitch)))
    return Frame(picture, start, result, true, localizer.store.info.attribution)


def _numbers(text: str, option: str, count: int) -> tuple[float, ...]:
    try:
        found = tuple(float(part) for part in text.split(','))
    except ValueError:
        found = ()
    if len(found) != count:
        raise ValueError(f'{option} takes {count} numbers with commas between them, not {text!r}')
    return found
