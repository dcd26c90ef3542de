# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Depth computed beforehand for a data set, in the published file formats (model.md 9).

KITTI has planar depth, uint16 / 256 m; VIGOR range along the ray, uint16 / 1000 m, up to 65 m.
Files appear whole or not at all, so an interrupted run goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol

import cv2
from loc2_ros import __version__
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.images import decode_compressed, MAX_PIXELS
from loc2_ros.data.pair import DatasetError
from loc2_ros.maps.guard import peek
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

Depth = NDArray[np.float32]

SOURCE = 'depth_source.json'
STRIPED = 0.995         # towns and streets have 0.3 to 0.9, see test_depth_files.py
_BAND = (0.3, 0.7)      # rows around the horizon, where scenes differ from left to right most
_HEAD, _TAIL = 64, 16   # bytes that tell whether a PNG is whole


class Network(Protocol):
    """What is needed of ``model.depth_network.DepthNetwork``."""

    name: str
    licence: str

    def metres(self, rgb: NDArray[np.uint8], panorama: bool = False,
               size: tuple[int, int] | None = None) -> Depth:
        """Return depth of the image's size, metres."""


@dataclass(frozen=True)
class Format:
    """
    How a data set stores depth.

    :param per_m: units per metre.
    :param most_m: larger depth is stored as this.
    :param panorama: whether it is range along the rays of panoramas.
    :param folder: the published name of the folder.
    """

    per_m: float
    most_m: float
    panorama: bool
    folder: str


KITTI = Format(256.0, 65535 / 256, False, 'depth_anythingv2_depth')
VIGOR = Format(1000.0, 65.0, True, 'unik3d_depth')


@dataclass(frozen=True)
class Job:
    """An image, and where its depth belongs."""

    image: Path
    depth: Path


@dataclass
class Report:
    """What became of the images; the lists hold what has to be looked at, with the reason."""

    written: int = 0
    kept: int = 0
    bad: list[str] = field(default_factory=list)


def kitti_jobs(root: Path, folder: str = KITTI.folder) -> list[Job]:
    """
    List the left colour images of KITTI raw below ``root/raw_data``.

    :raises DatasetError: there are none.
    """
    images = sorted((root / 'raw_data').glob('*/*/image_02/data/*.png'))
    if not images:
        raise DatasetError(f'{root} has no raw_data/<day>/<drive>/image_02/data/*.png: give the '
                           'folder that holds raw_data')
    jobs = []
    for image in images:
        drive = image.parents[2]
        jobs.append(Job(image, root / folder / drive.parent.name / drive.name / 'depth'
                        / image.name))
    return jobs


def vigor_jobs(root: Path, folder: str = VIGOR.folder) -> list[Job]:
    """
    List the panoramas of VIGOR below ``root/<city>/panorama``.

    :raises DatasetError: there are none.
    """
    images = sorted(root.glob('*/panorama/*.jpg'))
    if not images:
        raise DatasetError(f'{root} has no <city>/panorama/*.jpg: give the folder that holds the '
                           'cities')
    return [Job(image, image.parents[1] / folder / f'{image.stem}.png') for image in images]


def precompute(jobs: Iterable[Job], network: Network, form: Format, homes: Iterable[Path],
               progress: bool = True) -> Report:
    """
    Write the depth of every image that has none yet.

    :param homes: the folders that the files lie below; each is marked with the network's name.
    :returns: what became of them; an image that fails does not stop the others.
    :raises DatasetError: a folder holds depth of another origin.
    """
    for home in homes:
        _claim(home, {'model': Path(network.name).name, 'licence': network.licence,
                      'written_by': f'loc2_ros {__version__}'})
    report = Report()

    def one(job: Job) -> None:
        rgb = _read_rgb(job.image)
        size = (rgb.shape[0], rgb.shape[1])
        if _is_sound(job.depth, size):
            report.kept += 1
            return
        depth = network.metres(rgb, form.panorama, size)
        _refuse_stripes(depth)
        _write(job.depth, encode_depth(depth, form))
        report.written += 1

    return _each(jobs, one, report, progress)


def check(jobs: Iterable[Job], form: Format, progress: bool = True) -> Report:
    """Look at depth files that exist, whoever wrote them; report what cannot be used."""
    report = Report()

    def one(job: Job) -> None:
        if not job.depth.is_file():
            raise DatasetError(f'{job.depth} is missing')
        _refuse_stripes(read_depth(job.depth, form))
        report.kept += 1

    return _each(jobs, one, report, progress)


def encode_depth(depth_m: Depth, form: Format) -> bytes:
    """Return a 16 bit PNG; what is unknown becomes 0."""
    known = np.nan_to_num(depth_m, nan=0.0, posinf=form.most_m, neginf=0.0)
    units = np.rint(np.clip(known, 0.0, form.most_m) * form.per_m).astype(np.uint16)
    return bytes(cv2.imencode('.png', units)[1].tobytes())


def read_depth(path: Path, form: Format) -> Depth:
    """
    Read a depth file: (H, W) float32 metres, 0 where it is unknown.

    :raises DatasetError: it is missing, or no whole 16 bit PNG of one channel.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(f'{path} cannot be read: {error}') from None
    header = peek(data)
    image = None
    if (header is not None and header.format == 'png' and header.whole
            and 0 < header.width * header.height <= MAX_PIXELS):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 2 or image.dtype != np.uint16:
        raise DatasetError(f'{path} is no whole 16 bit PNG of one channel; remove it')
    return np.asarray(image / form.per_m, dtype=np.float32)


def stripe_share(depth_m: Depth) -> float:
    """
    Return the share of a depth image's variation that is constant along its rows, 0 to 1.

    A camera that a network has changed in place between images gives rows without content
    (model.md defect B12): their share is 1. Real scenes differ from left to right.
    """
    low, high = (round(part * depth_m.shape[0]) for part in _BAND)
    band = depth_m[low:max(high, low + 1)]
    usable = np.isfinite(band) & (band > 0.0)
    if not usable.any():
        return 1.0
    log = np.log(np.where(usable, band, np.median(band[usable])))
    whole = float(log.var())
    if whole < 1e-6:        # the same depth everywhere
        return 1.0
    return float(log.mean(axis=1).var()) / whole


def _refuse_stripes(depth_m: Depth) -> None:
    share = stripe_share(depth_m)
    if share > STRIPED:
        raise DatasetError(f'its depth is the same all along each row ({share:.4f} of the '
                           'variation): the network gave stripes, no scene')


def _each(jobs: Iterable[Job], action: Callable[[Job], None], report: Report,
          progress: bool) -> Report:
    for job in tqdm(list(jobs), unit='image', disable=None if progress else True):
        try:
            action(job)
        except (DatasetError, BadMessage) as error:
            report.bad.append(f'{job.image}: {error}')
    return report


def _claim(home: Path, facts: Mapping[str, Any]) -> None:
    """Mark a folder with the network that fills it; refuse to mix two."""
    note = home / SOURCE
    if note.is_file():
        try:
            found = json.loads(note.read_text(encoding='utf-8')).get('model')
        except (ValueError, AttributeError):
            found = None
        if found != facts['model']:
            raise DatasetError(f'{home} holds depth of {found}, not of {facts["model"]}; give '
                               f'another --folder, or remove {home}')
    elif home.is_dir() and next(home.rglob('*.png'), None) is not None:
        raise DatasetError(f'{home} holds depth that loc2 did not write; give another --folder, '
                           'or remove it')
    else:
        _write(note, (json.dumps(facts, indent=2) + '\n').encode())


def _is_sound(path: Path, size_hw: tuple[int, int]) -> bool:
    """Return whether a file is a whole PNG of a size; only its ends are read."""
    try:
        with open(path, 'rb') as file:
            head = file.read(_HEAD)
            file.seek(max(path.stat().st_size - _TAIL, 0))
            header = peek(head + file.read())
    except FileNotFoundError:
        return False
    return header is not None and header.whole and (header.height, header.width) == size_hw


def _read_rgb(path: Path) -> NDArray[np.uint8]:
    return decode_compressed(SimpleNamespace(data=path.read_bytes()))


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.name}.part')
    part.write_bytes(content)
    part.replace(path)
