# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Samples: a camera image and an aerial crop, with the pose that is to be found.

Every data set hands out `Pair`s through `Frames`, so that one loop trains and one loop evaluates
on all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
import math
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple, Protocol

import cv2
from loc2_ros.core.values import Array
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.images import decode_compressed
from loc2_ros.model.contract import Contract
from loc2_ros.model.depth import cell_medians
import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
import torch.nn.functional as functional
from torch.utils.data import DataLoader, Dataset

Pixels = NDArray[np.uint8]

# Sensor noise to cut from; drawing it anew for each image costs more than the network's share
_NOISE = np.random.default_rng(0).normal(0, 64, (576, 576, 3)).astype(np.int16)


class DatasetError(ValueError):
    """A data set that cannot be used: one sentence that names the file, and the remedy."""


class Pair(NamedTuple):
    """
    One sample, or a batch of them with a leading B.

    :param ground: (3, H, W) float RGB in [0, 1].
    :param aerial: (3, S, S) float RGB in [0, 1].
    :param depth_m: (Ng,) depth of the tokens in lengths of their rays: planar for a pinhole
        camera, along the ray for a panorama; inf for sky, NaN where it is unknown.
    :param static: (Ng,) bool, False on moving cars.
    :param rays: (Ng, 3) in level optical axes, z = 1 for a pinhole, unit length for a panorama.
    :param fx: () focal length at the network's size.
    :param height_m: () camera above the ground, NaN where the network is not told.
    :param theta: () true rotation from ground to tile.
    :param t: (2,) true camera in the tile.
    :param tile_m: () side of the tile.
    :param number: () int64, which sample it is; whatever is drawn for it is seeded by this.
    """

    ground: Tensor
    aerial: Tensor
    depth_m: Tensor
    static: Tensor
    rays: Tensor
    fx: Tensor
    height_m: Tensor
    theta: Tensor
    t: Tensor
    tile_m: Tensor
    number: Tensor


class Frames(Protocol):
    """The frames of a data set."""

    @property
    def repeats(self) -> tuple[str, ...]:
        """Return the views, ground or aerial, whose pixels are the same each time."""

    def __len__(self) -> int:
        """Return the number of frames."""

    def name(self, index: int) -> str:
        """Return what the data set calls a frame."""

    def pair(self, index: int, rng: np.random.Generator | None, augment: bool = False) -> Pair:
        """
        Make a sample of a frame.

        :param rng: draws shift and rotation; None takes those that evaluation is done with.
        :param augment: also change colours, as another camera might.
        """


class Drawn(Dataset[Pair]):
    """
    The samples of a training run: every epoch all frames in another order, with new priors.

    Sample k is a function of (seed, k) alone.
    """

    def __init__(self, frames: Frames, length: int, seed: int, augment: bool = False) -> None:
        if len(frames) == 0:
            raise DatasetError('there is no frame to train on')
        self.frames, self.length, self.seed, self.augment = frames, length, seed, augment
        self._epoch, self._order = -1, np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, k: int) -> Pair:
        """Make sample ``k``."""
        epoch, place = divmod(k, len(self.frames))
        if epoch != self._epoch:
            shuffled = np.random.default_rng([self.seed, 1, epoch])
            self._epoch, self._order = epoch, shuffled.permutation(len(self.frames))
        rng = np.random.default_rng([self.seed, 2, k])
        pair = self.frames.pair(int(self._order[place]), rng, self.augment)
        if self.augment and rng.random() < 0.5:
            pair = mirrored(pair)
        return pair._replace(number=torch.tensor(k))


class Stored(Dataset[Pair]):
    """Some frames with the priors that evaluation is done with, each time the same."""

    def __init__(self, frames: Frames, indices: range | None = None) -> None:
        self.frames = frames
        self.indices = range(len(frames)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, k: int) -> Pair:
        """Make sample ``k``; its number is the frame's."""
        index = self.indices[k]
        return self.frames.pair(index, None)._replace(number=torch.tensor(index))


class Part:
    """Some of the frames of a data set."""

    def __init__(self, frames: Frames, indices: NDArray[np.int64]) -> None:
        self._frames, self._indices, self.repeats = frames, indices, frames.repeats

    def __len__(self) -> int:
        return len(self._indices)

    def name(self, index: int) -> str:
        """Return what the data set calls a frame."""
        return self._frames.name(int(self._indices[index]))

    def pair(self, index: int, rng: np.random.Generator | None, augment: bool = False) -> Pair:
        """Make a sample of a frame; see `Frames`."""
        return self._frames.pair(int(self._indices[index]), rng, augment)


def split_off(frames: Frames, share: float, seed: int = 0) -> tuple[Part, Part]:
    """Split frames at random into training and validation, the latter a share of them."""
    order = np.random.default_rng([seed, 3]).permutation(len(frames))
    held = min(max(1, round(share * len(frames))), len(frames) - 1) if share > 0 else 0
    return Part(frames, np.sort(order[held:])), Part(frames, np.sort(order[:held]))


def load_batches(samples: Dataset[Pair], size: int, workers: int = 0) -> Iterator[Pair]:
    """
    Yield batches in order, the last one as large as it comes.

    :raises DatasetError: a file turns out to be damaged.
    """
    loader = DataLoader(samples, size, num_workers=workers, persistent_workers=workers > 0)
    try:
        for batch in loader:
            yield Pair(*batch)
    except DatasetError as error:       # from a worker it comes with the whole traceback
        last = str(error).strip().splitlines()[-1]
        raise DatasetError(last.split('DatasetError: ')[-1]) from None


def make_pair(contract: Contract, ground: Pixels, aerial: Pixels, depth_m: Array | None,
              rays: Array, fx_px: float, height_m: float, theta_rad: float, t_tile_m: Array,
              tile_m: float, rng: np.random.Generator | None, augment: bool) -> Pair:
    """Make a sample whose images have the contract's sizes; without depth it is all NaN."""
    tokens = math.prod(contract.ground_grid)
    depth = np.full(tokens, math.nan) if depth_m is None else depth_m
    pictures = [photograph(rng, image, augment) if rng is not None else _tensor(image)
                for image in (ground, aerial)]
    return Pair(pictures[0], pictures[1], torch.as_tensor(depth).float().reshape(tokens),
                torch.ones(tokens, dtype=torch.bool), torch.as_tensor(rays).float(),
                torch.tensor(fx_px).float(), torch.tensor(height_m).float(),
                torch.tensor(theta_rad).float(), torch.as_tensor(t_tile_m).float(),
                torch.tensor(tile_m).float(), torch.tensor(0))


def mirrored(pair: Pair) -> Pair:
    """
    Exchange left and right in a sample, in the image and in the tile.

    The tile is turned over about its horizontal middle line, to which a view that looks right is
    parallel; so it still does.
    """
    rows, cols = pair.ground.shape[-2:]
    stride = round(math.sqrt(rows * cols / len(pair.depth_m)))
    grid = (rows // stride, cols // stride)

    def flipped(tokens: Tensor) -> Tensor:
        return tokens.unflatten(0, grid).flip(1).flatten(0, 1)

    across = torch.tensor([-1.0, 1.0, 1.0])
    return pair._replace(
        ground=pair.ground.flip(-1), aerial=pair.aerial.flip(-2), depth_m=flipped(pair.depth_m),
        static=flipped(pair.static), rays=flipped(pair.rays) * across,
        theta=torch.remainder(2 * math.pi - pair.theta, 2 * math.pi) - math.pi,
        t=pair.t * torch.tensor([-1.0, 1.0]))


def photograph(rng: np.random.Generator, image: Pixels, augment: bool) -> Tensor:
    """Turn an image into a tensor, as another camera might have taken it."""
    image = np.ascontiguousarray(image)
    if augment:
        if rng.random() < 0.4:
            image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.1))
        gain = rng.uniform(0.75, 1.3) * rng.normal(1.0, 0.05, 3)
        level = np.clip(np.arange(256)[:, None] / 255.0 * gain, 0, 1) ** rng.uniform(0.75, 1.33)
        image = cv2.LUT(image, np.round(255 * level).astype(np.uint8)[None])
        grey = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        colour = rng.uniform(0.3, 1.4)
        image = cv2.addWeighted(image, colour, grey, 1 - colour, 0.0)
        field = _noise_for(image)
        row, col = rng.integers(0, field.shape[0] - np.array(image.shape[:2]) + 1)
        noise = field[row:row + image.shape[0], col:col + image.shape[1]]
        share = rng.uniform(0, 0.12)
        image = cv2.addWeighted(image.astype(np.int16), 1.0, noise, share, 0.0)
        image = np.clip(image, 0, 255).astype(np.uint8)
    return _tensor(image)


def resized(rgb: Pixels, height: int, width: int) -> Pixels:
    """Resize with antialiasing, as the contracts ask for (model.md 3)."""
    if rgb.shape[:2] == (height, width):
        return rgb
    image = torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None]
    small = functional.interpolate(image, (height, width), mode='bilinear', antialias=True,
                                   align_corners=False)
    return np.asarray(small[0].permute(1, 2, 0).contiguous().numpy(), np.uint8)


def depth_tokens(depth_m: NDArray[np.float32], contract: Contract, roll_px: int = 0) -> Array:
    """
    Reduce a depth image of any size to one depth per token.

    :param roll_px: by how much the image is rolled to the right, at the network's size.
    :returns: (Ng,); NaN where it is unknown, that is zero in the file.

    Weights trained with rays 'edges' took the top left pixel of each patch (model.md 5, B3).
    """
    height, width = contract.ground_hw
    rows = np.arange(height) * depth_m.shape[0] // height
    columns = (np.arange(width) - roll_px) % width * depth_m.shape[1] // width
    if contract.rays == 'edges':
        found = depth_m[rows[::contract.stride, None], columns[None, ::contract.stride]]
        return np.where(found > 0, found, math.nan).astype(np.float64).reshape(-1)
    whole = torch.from_numpy(depth_m[rows[:, None], columns[None]])
    return np.asarray(cell_medians(whole, contract.ground_grid).numpy(), np.float64)


def read_rgb(path: Path) -> Pixels:
    """
    Read a JPEG or PNG as (H, W, 3) uint8 RGB.

    :raises DatasetError: it is missing or damaged.
    """
    try:
        return decode_compressed(SimpleNamespace(data=path.read_bytes()))
    except (OSError, BadMessage) as error:
        raise DatasetError(f'{path} cannot be read: {error}') from None


def check_files(files: list[Path], what: str, remedy: str) -> None:
    """
    Check that all files of a kind are there, before hours are spent on the others.

    :raises DatasetError: how many are missing, the first of them, and the remedy.
    """
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise DatasetError(f'{len(missing)} of {len(files)} {what} are missing, first '
                           f'{missing[0]}; {remedy}')


def _tensor(image: Pixels) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1).float() / 255.0


def _noise_for(image: Pixels) -> NDArray[np.int16]:
    """Return a square field of noise that is large enough."""
    times = -(-max(image.shape[:2]) // _NOISE.shape[0])
    return _NOISE if times == 1 else np.tile(_NOISE, (times, times, 1))
