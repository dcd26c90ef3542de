# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""VIGOR, street panoramas and north-up tiles of four cities, in the published layout (9.2)."""

from __future__ import annotations

from dataclasses import dataclass
import hashlib
import math
from pathlib import Path

from loc2_ros.core.camera import panorama_rays
from loc2_ros.data import depth_files
from loc2_ros.data.pair import (check_files, DatasetError, depth_tokens, make_pair, Pair,
                                read_rgb, resized)
from loc2_ros.model.contract import Contract
import numpy as np

TILE_PX = 640       # the unit of the labels
M_PER_PX = {'NewYork': 0.113248, 'Seattle': 0.100817, 'SanFrancisco': 0.118141,
            'Chicago': 0.111262}
_SAME = ('same_area_balanced_train', 'same_area_balanced_test')
# Area and part -> cities and the list that holds them
LISTS = {('samearea', 'train'): (tuple(M_PER_PX), _SAME[0]),
         ('samearea', 'test'): (tuple(M_PER_PX), _SAME[1]),
         ('crossarea', 'train'): (('NewYork', 'Seattle'), 'pano_label_balanced'),
         ('crossarea', 'test'): (('SanFrancisco', 'Chicago'), 'pano_label_balanced')}
_SPLIT_HELP = ('take them from github.com/Jeff-Zilence/VIGOR, or the corrected ones of SliceMatch '
               'with their suffix')


@dataclass(frozen=True)
class VigorLine:
    """
    A panorama with its positive tile.

    :param delta_px: rows and columns from the camera to the tile's centre, as labelled: the
        camera is ``delta_px[0]`` below and ``delta_px[1]`` left of it, of 640 pixels.
    """

    city: str
    panorama: str
    satellite: str
    delta_px: tuple[float, float]

    @property
    def m_per_px(self) -> float:
        """Return the size of a pixel of the city's tiles at 640 pixels."""
        return M_PER_PX[self.city]


def read_labels(root: Path, area: str, part: str, labels: str = 'splits_new',
                suffix: str = '') -> list[VigorLine]:
    """
    Read the panoramas of an area.

    :param area: samearea or crossarea; ``part`` train or test.
    :param labels: folder of the lists; ``suffix`` stands before their .txt.
    :raises DatasetError: a list is missing, or a line is none of a list.
    """
    if (area, part) not in LISTS:
        raise DatasetError(f"the area is 'samearea' or 'crossarea', not {area!r}")
    cities, name = LISTS[area, part]
    found: list[VigorLine] = []
    for city in cities:
        path = root / labels / city / f'{name}{suffix}.txt'
        try:
            text = path.read_text(encoding='utf-8')
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f'{path} cannot be read ({type(error).__name__}); '
                               f'{_SPLIT_HELP}') from None
        found += [_parse(city, line, f'{path}, line {n}')
                  for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not found:
        raise DatasetError(f'{root / labels} lists no panorama of {area}; {_SPLIT_HELP}')
    return found


def _parse(city: str, text: str, where: str) -> VigorLine:
    words = text.split()
    try:
        delta = float(words[2]), float(words[3])
    except (IndexError, ValueError):
        delta = (math.nan, math.nan)
    if not all(map(math.isfinite, delta)) or any('/' in word or '\\' in word
                                                 for word in words[:2]):
        raise DatasetError(f'{where} should read PANORAMA TILE ROWS COLUMNS and three more tiles, '
                           f'not {text.strip()[:80]!r}')
    return VigorLine(city, words[0], words[1], delta)


class VigorFrames:
    """
    The panoramas of a list; see `Frames`.

    :param orientation_range_deg: panoramas are rolled by up to this, 0 or 180 as published.
    :raises DatasetError: files are missing.
    """

    def __init__(self, root: Path, lines: list[VigorLine], contract: Contract,
                 orientation_range_deg: float) -> None:
        self.root, self.lines, self.contract = root, lines, contract
        self.range_px = int(contract.ground_hw[1] * orientation_range_deg / 360.0)
        self.repeats = ('aerial',) if self.range_px else ('aerial', 'ground')
        check_files([self._file(line, 'panorama', line.panorama) for line in lines], 'panoramas',
                    'ask the authors of github.com/Jeff-Zilence/VIGOR for them')
        check_files([self._file(line, 'satellite', line.satellite) for line in lines], 'tiles',
                    'ask the authors of github.com/Jeff-Zilence/VIGOR for them')
        if not contract.own_depth:
            check_files([self._depth(line) for line in lines], 'depth images',
                        f'make them with: loc2 data depth vigor --data {root}')

    def __len__(self) -> int:
        """Return the number of panoramas."""
        return len(self.lines)

    def name(self, index: int) -> str:
        """Return city and panorama."""
        return f'{self.lines[index].city}/{self.lines[index].panorama}'

    def pair(self, index: int, rng: np.random.Generator | None, augment: bool = False) -> Pair:
        """Make a sample of a panorama; without rng, rolled as its name says."""
        line, contract = self.lines[index], self.contract
        height, width = contract.ground_hw
        roll = self.roll_px(index) if rng is None else int(
            rng.integers(-self.range_px, self.range_px + 1))
        ground = resized(read_rgb(self._file(line, 'panorama', line.panorama)), height, width)
        tile = read_rgb(self._file(line, 'satellite', line.satellite))
        depth = None if contract.own_depth else depth_tokens(
            depth_files.read_depth(self._depth(line), depth_files.VIGOR), contract, roll)
        rows, columns = line.delta_px
        return make_pair(
            contract, np.roll(ground, roll, axis=1),
            resized(tile, contract.aerial_px, contract.aerial_px), depth,
            panorama_rays(contract.ground_grid, contract.rays), width / (2.0 * math.pi),
            math.nan, 2.0 * math.pi * roll / width, np.array([rows, -columns]) * line.m_per_px,
            TILE_PX * line.m_per_px, rng, augment)

    def roll_px(self, index: int) -> int:
        """
        Return by how much evaluation rolls a panorama to the right, at the network's size.

        It follows from the panorama's name, whatever the order, workers and batches
        (defect B17); whole pixels, of which the true heading is computed.
        """
        digest = hashlib.sha256(self.lines[index].panorama.encode()).digest()
        share = int.from_bytes(digest[:8], 'big') / 2 ** 64         # [0, 1)
        return int(math.floor(share * (2 * self.range_px + 1))) - self.range_px

    def _file(self, line: VigorLine, kind: str, name: str) -> Path:
        return self.root / line.city / kind / name

    def _depth(self, line: VigorLine) -> Path:
        return self._file(line, 'unik3d_depth', f'{Path(line.panorama).stem}.png')
