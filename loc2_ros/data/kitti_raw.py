# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A drive in the raw layout of KITTI: ``DAY/DRIVE_sync`` with the calibration of its day beside it.

Axes of the oxts are forward, left, up; its heading is 0 in the east and counter-clockwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from loc2_ros.core.values import Array, Camera
from loc2_ros.data.pair import DatasetError
import numpy as np
from numpy.typing import NDArray

FIELDS = 30     # of an oxts record
_CALIBRATION = ('calib_cam_to_cam.txt', 'calib_velo_to_cam.txt', 'calib_imu_to_velo.txt')


@dataclass(frozen=True)
class RawDrive:
    """
    What a drive holds of the left colour camera and the oxts.

    :param images: (N,) files, ``image_stamps_ns`` (N,) int64, UTC.
    :param oxts: (M, 30) records, ``oxts_stamps_ns`` (M,) int64.
    :param camera: of the rectified images, by P_rect_02.
    :param camera_T_imu: (4, 4) to the camera's optical axes.
    """

    name: str
    images: list[Path]
    image_stamps_ns: NDArray[np.int64]
    oxts: Array
    oxts_stamps_ns: NDArray[np.int64]
    camera: Camera
    camera_T_imu: Array

    @property
    def gaps(self) -> list[str]:
        """Return the names of frames that lie between others and are not there."""
        there = {file.stem for file in self.images}
        first, last = int(self.images[0].stem), int(self.images[-1].stem)
        names = (f'{number:0{len(self.images[0].stem)}d}' for number in range(first, last))
        return [name for name in names if name not in there]


def read_raw_drive(folder: Path) -> RawDrive:
    """
    Read a drive, images by name only.

    :raises DatasetError: what is missing or broken, and the remedy.
    """
    if not (folder / 'oxts').is_dir() or not (folder / 'image_02').is_dir():
        raise DatasetError(f'{folder} is no drive of KITTI: it has no oxts and image_02; give '
                           'the folder DAY/DRIVE_sync of the raw data')
    images = sorted((folder / 'image_02' / 'data').glob('*.png'))
    records = sorted((folder / 'oxts' / 'data').glob('*.txt'))
    image_stamps = _stamps(folder / 'image_02' / 'timestamps.txt', images, 'images')
    oxts_stamps = _stamps(folder / 'oxts' / 'timestamps.txt', records, 'oxts records')
    _same_frames(folder, images, records)
    oxts = np.array([_record(path) for path in records]).reshape(-1, FIELDS)
    camera, camera_T_imu = _calibration(folder.parent)
    return RawDrive(folder.name, images, image_stamps, oxts, oxts_stamps, camera, camera_T_imu)


def _same_frames(folder: Path, images: list[Path], records: list[Path]) -> None:
    """Refuse a drive of which one half was not unpacked."""
    odd = sorted({file.stem for file in images} ^ {file.stem for file in records})
    if odd:
        raise DatasetError(f'{folder} has {len(images)} images and {len(records)} oxts records; '
                           f'frame {odd[0]} has only one of them; unpack the drive again')


def _stamps(path: Path, files: list[Path], what: str) -> NDArray[np.int64]:
    """Read the stamps of files that are called by their number, UTC with all nine digits."""
    lines = _text(path).splitlines()
    numbers = [int(file.stem) if file.stem.isdigit() else len(lines) for file in files]
    if not files or max(numbers) >= len(lines):
        raise DatasetError(f'{path} has {len(lines)} stamps, there are {len(files)} {what}'
                           + (f' up to {files[-1].name}' if files else '')
                           + '; unpack the drive again')
    try:
        # Drives may lack frames, and parts of drives the last ones
        stamps = np.array([_stamp(lines[n].strip()) for n in numbers], np.int64)
    except ValueError as error:
        raise DatasetError(f'{path} has a line that is no time ({error})') from None
    if np.any(np.diff(stamps) <= 0):
        raise DatasetError(f'{path} has stamps that do not rise')
    return stamps


def _stamp(text: str) -> int:
    whole, _, fraction = text.partition('.')
    if fraction and not fraction.isdigit():
        raise ValueError(text)
    moment = datetime.strptime(whole, '%Y-%m-%d %H:%M:%S').replace(tzinfo=timezone.utc)
    return int(moment.timestamp()) * 1_000_000_000 + int(fraction.ljust(9, '0')[:9] or 0)


def _record(path: Path) -> list[float]:
    try:
        values = [float(text) for text in _text(path).split()]
    except ValueError:
        values = []
    if len(values) != FIELDS or not np.all(np.isfinite(values)):
        raise DatasetError(f'{path} is no oxts record of {FIELDS} numbers')
    return values


def _calibration(day: Path) -> tuple[Camera, Array]:
    """Return the rectified left colour camera and its pose of the IMU."""
    missing = [name for name in _CALIBRATION if not (day / name).is_file()]
    if missing:
        raise DatasetError(f'{day} lacks {", ".join(missing)}; unpack the calibration of the day '
                           'there')
    cameras, velo, imu = (_numbers(day / name) for name in _CALIBRATION)
    try:
        p = cameras['P_rect_02'].reshape(3, 4)
        width, height = (int(n) for n in cameras['S_rect_02'])
        # P = K [I | t]: camera 2 stands beside the rectified camera 0
        beside = _rigid(np.eye(3), np.linalg.inv(p[:, :3]) @ p[:, 3])
        camera_T_velo = (beside @ _rigid(cameras['R_rect_00'], np.zeros(3))
                         @ _rigid(velo['R'], velo['T']))
        return (Camera(width, height, p[0, 0], p[1, 1], p[0, 2], p[1, 2]),
                camera_T_velo @ _rigid(imu['R'], imu['T']))
    except (KeyError, ValueError, np.linalg.LinAlgError) as error:
        raise DatasetError(f'the calibration in {day} is damaged ({error}); unpack it '
                           'again') from None


def _numbers(path: Path) -> Mapping[str, Array]:
    """Read the lines of a calibration file that hold numbers."""
    found = {}
    for line in _text(path).splitlines():
        key, _, text = line.partition(':')
        try:
            found[key.strip()] = np.array([float(part) for part in text.split()])
        except ValueError:      # calib_time
            continue
    return found


def _rigid(rotation: Array, translation: Array) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.reshape(rotation, (3, 3)), translation
    return matrix


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from None
