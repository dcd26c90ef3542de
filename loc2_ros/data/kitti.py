# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
KITTI with satellite maps, in the published layout (model.md 9.1).

The tile of a frame is cut out of its north-up map in one go: centre and direction of what the
published protocol makes in four, with its ground truth.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from pathlib import Path

from loc2_ros.core.camera import map_to_tile, token_rays
from loc2_ros.core.values import Array, Camera, Pose2
from loc2_ros.data import depth_files
from loc2_ros.data.pair import (check_files, DatasetError, depth_tokens, make_pair, Pair, Pixels,
                                read_rgb, resized)
from loc2_ros.maps.warp import halved, halvings, Patch, shrink, source_T_px, warp
from loc2_ros.model.contract import Contract
import numpy as np

MAX_SHIFT_M = 20.0
# Zoom 18, scale 2; the published protocol takes this latitude for all drives
SATMAP_M_PER_PX = 156543.03392 * math.cos(math.radians(49.015)) / 2 ** 18 / 2
CAMERA_AHEAD_M, CAMERA_RIGHT_M = 1.08, 0.26         # of the GPS, which the maps are centred on
CAMERA_HEIGHT_M = 1.65
PAPER_SIZE = (1242, 375)                            # what the paper's code takes every image for
SPLITS = ('train', 'test1', 'test2')
_SPLIT_HELP = ('take train_files.txt, test1_files.txt and test2_files.txt from the folder '
               'dataLoader of github.com/shiyujiao/HighlyAccurate and name them train.txt, '
               'test1.txt and test2.txt')


@dataclass(frozen=True)
class KittiLine:
    """
    A line of a split.

    :param drive: ``<day>/<drive>``, ``frame`` the ten digits.
    :param shift: (sx, sy, th) in [-1, 1], how far the tile is moved ahead, to the left, and
        turned; None in the training list.
    """

    drive: str
    frame: str
    shift: tuple[float, float, float] | None

    @property
    def day(self) -> str:
        """Return the day of the drive."""
        return self.drive.split('/')[0]


def read_split(root: Path, split: str) -> list[KittiLine]:
    """
    Read ``root/splits/<split>.txt``.

    :raises DatasetError: it is missing, empty, or a line is none of a split.
    """
    path = root / 'splits' / f'{split}.txt'
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(f'{path} cannot be read ({type(error).__name__}); '
                           f'{_SPLIT_HELP}') from None
    lines = [_parse(line, f'{path}, line {n}') for n, line in enumerate(text.splitlines(), 1)
             if line.strip()]
    if not lines:
        raise DatasetError(f'{path} is empty; {_SPLIT_HELP}')
    return lines


def _parse(text: str, where: str) -> KittiLine:
    words = text.split()
    parts = words[0].split('/')
    try:
        shift = tuple(float(word) for word in words[1:])
    except ValueError:
        shift = (math.nan,)
    if (len(parts) != 3 or '..' in parts or not parts[2].endswith('.png')
            or len(shift) not in (0, 3) or not all(abs(number) <= 1 for number in shift)):
        raise DatasetError(f'{where} should read DAY/DRIVE/FRAME.png, with three numbers from -1 '
                           f'to 1 after it in a test list, not {text.strip()[:80]!r}')
    return KittiLine(f'{parts[0]}/{parts[1]}', parts[2].removesuffix('.png'),
                     (shift[0], shift[1], shift[2]) if shift else None)


class KittiFrames:
    """
    The frames of a split; see `Frames`.

    :param rotation_range_deg: tiles are turned by up to this, 10 or 180 as published.
    :param paper_intrinsics: scale the calibration as if every image had 1242 x 375 pixels, as
        the paper's code does (defect B4).
    :raises DatasetError: files are missing.
    """

    def __init__(self, root: Path, lines: list[KittiLine], contract: Contract,
                 rotation_range_deg: float, paper_intrinsics: bool = False) -> None:
        self.root, self.lines, self.contract = root, lines, contract
        self.rotation_range_rad = math.radians(rotation_range_deg)
        self.paper_intrinsics = paper_intrinsics
        # The camera image is the same each time, the tile is moved and turned anew
        self.repeats = ('ground',)
        self._P = {day: _calibration(root / 'raw_data' / day / 'calib_cam_to_cam.txt')
                   for day in sorted({line.day for line in lines})}
        check_files([self._raw(line, 'image_02', 'png') for line in lines], 'camera images',
                    'download KITTI raw, synced and rectified, into raw_data')
        check_files([self._raw(line, 'oxts', 'txt') for line in lines], 'oxts records',
                    'download KITTI raw, synced and rectified, into raw_data')
        check_files([self._satmap(line) for line in lines], 'satellite maps',
                    'ask the authors of github.com/shiyujiao/HighlyAccurate for them')
        if not contract.own_depth:
            check_files([self._depth(line) for line in lines], 'depth images',
                        f'make them with: loc2 data depth kitti --data {root}')

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self.lines)

    def name(self, index: int) -> str:
        """Return day, drive and frame."""
        return f'{self.lines[index].drive}/{self.lines[index].frame}'

    def pair(self, index: int, rng: np.random.Generator | None, augment: bool = False) -> Pair:
        """Make a sample of a frame; without rng, moved and turned as the list says."""
        line, contract = self.lines[index], self.contract
        heading = _heading(self._raw(line, 'oxts', 'txt'))
        rgb = read_rgb(self._raw(line, 'image_02', 'png'))
        camera = self._camera(line.day, rgb)
        pose, centre, psi = place_tile(heading, self._shift(index, rng), self.rotation_range_rad)
        theta, t = map_to_tile(pose, centre, psi)
        depth = None if contract.own_depth else depth_tokens(
            depth_files.read_depth(self._depth(line), depth_files.KITTI), contract)
        height, width = contract.ground_hw
        return make_pair(
            contract, resized(rgb, height, width),
            cut_tile(read_rgb(self._satmap(line)), centre, psi, contract), depth,
            token_rays(camera, contract.ground_grid, contract.rays),
            camera.resized(width, height).fx, CAMERA_HEIGHT_M, theta, t, contract.tile_m, rng,
            augment)

    def _shift(self, index: int, rng: np.random.Generator | None) -> Array:
        listed = self.lines[index].shift
        if rng is None and listed is not None:
            return np.array(listed)
        # Frames of the training list that validation holds back: drawn once and for all
        return (rng or np.random.default_rng([9, index])).uniform(-1.0, 1.0, 3)

    def _camera(self, day: str, rgb: Pixels) -> Camera:
        fx, cx, fy, cy = self._P[day]
        height, width = rgb.shape[:2]
        if self.paper_intrinsics:
            width, height = PAPER_SIZE
        return Camera(width, height, fx, fy, cx, cy)

    def _raw(self, line: KittiLine, sensor: str, suffix: str) -> Path:
        return self.root / 'raw_data' / line.drive / sensor / 'data' / f'{line.frame}.{suffix}'

    def _satmap(self, line: KittiLine) -> Path:
        return self.root / 'satmap' / line.drive / f'{line.frame}.png'

    def _depth(self, line: KittiLine) -> Path:
        return (self.root / 'depth_anythingv2_depth' / line.drive / 'depth'
                / f'{line.frame}.png')


def place_tile(heading_rad: float, shift: Array,
               rotation_range_rad: float) -> tuple[Pose2, Array, float]:
    """
    Return the camera's pose, the tile's centre and the direction of its right-hand side.

    :param shift: (3,) sx, sy, th in [-1, 1].

    In east-north axes around the GPS. The vehicle's heading points right in the tile but for
    the turn th; the camera is 20 sx ahead and 20 sy to the left of the centre before that turn.
    """
    forward = np.array([math.cos(heading_rad), math.sin(heading_rad)])
    left = np.array([-forward[1], forward[0]])
    camera = CAMERA_AHEAD_M * forward - CAMERA_RIGHT_M * left
    centre = camera - MAX_SHIFT_M * (shift[0] * forward + shift[1] * left)
    return (Pose2(float(camera[0]), float(camera[1]), heading_rad), centre,
            heading_rad - float(shift[2]) * rotation_range_rad)


def cut_tile(satmap: Pixels, centre_m: Array, psi_rad: float, contract: Contract) -> Pixels:
    """Cut the contract's tile out of a map centred on the GPS; black beyond its edge."""
    middle = np.array([satmap.shape[1], satmap.shape[0]]) / 2.0
    matrix = source_T_px(lambda xy: middle + xy * [1.0, -1.0] / SATMAP_M_PER_PX, centre_m, psi_rad,
                         contract.tile_m, contract.aerial_px)
    times = halvings(matrix)
    return warp(shrink(Patch(satmap, None), times), halved(matrix, times), contract.aerial_px)[0]


def _calibration(path: Path) -> tuple[float, float, float, float]:
    """Return fx, cx, fy, cy of the rectified left colour camera."""
    try:
        for line in path.read_text(encoding='utf-8').splitlines():
            key, _, text = line.partition(':')
            if key == 'P_rect_02':
                P = [float(word) for word in text.split()]
                return P[0], P[2], P[5], P[6]
    except (OSError, ValueError, IndexError) as error:
        raise DatasetError(f'{path} cannot be read ({error}); download the calibration of KITTI '
                           'raw') from None
    raise DatasetError(f'{path} has no P_rect_02; download the calibration of KITTI raw')


def _heading(path: Path) -> float:
    """Return the heading of an oxts record, 0 = east, counter-clockwise."""
    try:
        return float(path.read_text(encoding='ascii').split()[5])
    except (OSError, ValueError, IndexError) as error:
        raise DatasetError(f'{path} is no oxts record ({error})') from None
