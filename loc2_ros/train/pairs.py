# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Training samples from towns: a view and an aerial crop around a wrong prior, with the truth.

Sample k is a function of (seed, k) alone: the order is the same whatever the number of workers,
and training resumes exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
import math
from pathlib import Path
from zipfile import BadZipFile

import cv2
from loc2_ros.core.camera import map_to_tile, token_rays
from loc2_ros.core.values import Camera, Pose2
from loc2_ros.data.pair import Pair, photograph
from loc2_ros.model.contract import Contract
import numpy as np
from numpy.typing import NDArray
import torch
from torch.utils.data import Dataset

Array = NDArray[np.float64]

UNKNOWN, ROUGHLY = 0.1, 0.03     # share of heights not told, relative error of the others


@dataclass(frozen=True)
class Town:
    """What one rendered file holds; images stay compressed but for the orthophoto."""

    jpegs: list[NDArray[np.uint8]]
    ortho: NDArray[np.uint8]
    depth_m: NDArray[np.float16]
    moving: NDArray[np.bool_]
    poses: Array
    half_m: float
    gsd_m: float
    camera: Array

    @staticmethod
    def load(path: Path) -> Town:
        """
        Read the file of a town.

        :raises ValueError: naming the file, if it is damaged.
        """
        try:
            with np.load(path, allow_pickle=False) as z:
                arrays = {k: z[k] for k in z.files}
        except (OSError, ValueError, EOFError, BadZipFile) as error:
            raise ValueError(f'{path} cannot be read ({error}); delete it and render it '
                             'again') from None
        starts = np.concatenate([[0], arrays['ends'][:-1]])
        jpegs = [arrays['jpegs'][a:b] for a, b in zip(starts, arrays['ends'])]
        ortho = cv2.cvtColor(cv2.imdecode(arrays['ortho'], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        return Town(jpegs, ortho, arrays['depth_m'], arrays['moving'], arrays['poses'],
                    float(arrays['half_m']), float(arrays['gsd_m']), arrays['camera'])

    def crop(self, xy_m: Array, psi_rad: float, size_m: float, px: int) -> NDArray[np.uint8]:
        """Cut a crop as the map store does, whose right-hand side points along ``psi_rad``."""
        g = size_m / px / self.gsd_m
        c, s = math.cos(psi_rad) * g, math.sin(psi_rad) * g
        # Columns: what one pixel to the right, and one down, is in the photo (row axis south)
        matrix = np.array([[c, s, 0.0], [-s, c, 0.0]])
        centre = np.array([(xy_m[0] + self.half_m) / self.gsd_m - 0.5,
                           (self.half_m - xy_m[1]) / self.gsd_m - 0.5])
        matrix[:, 2] = centre + (0.5 - px / 2) * (matrix[:, 0] + matrix[:, 1])
        return cv2.warpAffine(self.ortho, matrix, (px, px),
                              flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


class TownPairs(Dataset[Pair]):
    """
    Samples from rendered towns.

    :param length: how many samples there are; views repeat with new priors.
    :param augment: photometric changes and mirroring, for training.
    """

    def __init__(self, files: Sequence[Path], contract: Contract, length: int, seed: int,
                 max_shift_m: float = 20.0, augment: bool = True) -> None:
        if not files:
            raise ValueError('no rendered towns; run the rendering first')
        self.towns = [Town.load(f) for f in files]
        self.contract, self.length, self.seed = contract, length, seed
        self.max_shift_m, self.augment = max_shift_m, augment

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, k: int) -> Pair:
        """Make sample ``k``."""
        rng = np.random.default_rng([self.seed, k])
        town = self.towns[int(rng.integers(len(self.towns)))]
        view = int(rng.integers(len(town.jpegs)))
        prior, psi = self._prior(rng, town.poses[view])
        x, y, yaw = town.poses[view]
        theta, t = map_to_tile(Pose2(x, y, yaw), prior, psi)
        contract = self.contract
        aerial = town.crop(prior, psi, contract.tile_m, contract.aerial_px)
        ground = cv2.cvtColor(cv2.imdecode(town.jpegs[view], cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        height, width = contract.ground_hw
        fx, fy, cx, cy, camera_height = town.camera
        camera = Camera(width, height, fx, fy, cx, cy)
        depth, static = town.depth_m[view].astype(np.float32), ~town.moving[view]
        if self.augment and rng.random() < 0.5:                       # traffic on the left
            ground, depth, static = ground[:, ::-1], depth[:, ::-1], static[:, ::-1]
            camera = Camera(width, height, fx, fy, width - 1 - cx, cy)
            aerial, theta, t = aerial[::-1], math.pi - theta, np.array([-t[0], t[1]])
        images = [photograph(rng, im, self.augment) for im in (ground, aerial)]
        rays = token_rays(camera, contract.ground_grid, contract.rays)
        return Pair(images[0], images[1], torch.from_numpy(depth.reshape(-1).copy()),
                    torch.from_numpy(static.reshape(-1).copy()),
                    torch.tensor(rays, dtype=torch.float32), torch.tensor(camera.fx).float(),
                    torch.tensor(self._told(rng, camera_height)).float(),
                    torch.tensor(theta).float(), torch.tensor(t).float(),
                    torch.tensor(contract.tile_m).float(), torch.tensor(k))

    def _told(self, rng: np.random.Generator, height_m: float) -> float:
        """Return the height that the network is told: measured roughly, or not at all."""
        if not self.augment:
            return height_m
        return math.nan if rng.random() < UNKNOWN else height_m * rng.normal(1.0, ROUGHLY)

    def _prior(self, rng: np.random.Generator, pose: Array) -> tuple[Array, float]:
        """Draw a prior: a disc around the truth, and a heading within the contract's range."""
        radius = self.max_shift_m * math.sqrt(rng.random())
        angle = rng.uniform(0, 2 * math.pi)
        xy = pose[:2] + radius * np.array([math.cos(angle), math.sin(angle)])
        reach = math.radians(self.contract.heading_range_deg)
        psi = pose[2] + rng.uniform(-reach, reach) if self.contract.heading_up else 0.0
        return xy, float(psi)
