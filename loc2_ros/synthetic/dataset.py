# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Training pairs from synthetic towns, rendered to disk ahead of training: one file per town.

A file holds ground views (JPEG), the depth of every token, and the orthophoto of the whole town;
training cuts a new aerial crop each time, with another position and heading error.
"""

from __future__ import annotations

from dataclasses import dataclass
from multiprocessing import get_context
import os
from pathlib import Path as FilePath
from zipfile import BadZipFile

import cv2
from loc2_ros.core.values import Camera
from loc2_ros.synthetic.looks import draw_look, draw_palette
from loc2_ros.synthetic.ortho import render_ortho
from loc2_ros.synthetic.render import render_views
from loc2_ros.synthetic.scene import light
from loc2_ros.synthetic.streets import drive_path, Path
from loc2_ros.synthetic.town import make_town, TEST_SEEDS_FROM
from loc2_ros.synthetic.traffic import roadside_cars
import numpy as np
from numpy.typing import NDArray
import torch

Array = NDArray[np.float64]


@dataclass(frozen=True)
class PairsConfig:
    """
    What to render.

    :param first_seed: first town; ``towns`` consecutive seeds follow.
    :param ground_hw: size of the ground views, the network's input.
    :param stride: pixels per token; depth is stored per token.
    """

    first_seed: int
    towns: int
    views: int
    ground_hw: tuple[int, int]
    stride: int
    gsd_m: float = 0.2
    extent_m: float = 320.0


def town_file(folder: FilePath, seed: int) -> FilePath:
    """Return where the pairs of a town are kept."""
    return folder / f'town_{seed:07d}.npz'


def render_pairs(config: PairsConfig, folder: FilePath, workers: int, device: str = 'cpu',
                 report: object = None) -> None:
    """
    Render every town that is not on disk yet.

    :param report: called with the number of towns done, after each one.
    :raises ValueError: if the seeds reach into those that are for testing only.
    """
    last = config.first_seed + config.towns
    if last > TEST_SEEDS_FROM:
        raise ValueError(f'seeds from {TEST_SEEDS_FROM} on are for testing only, '
                         f'the config asks for {last - 1}; choose a smaller first_seed')
    folder.mkdir(parents=True, exist_ok=True)
    missing = [s for s in range(config.first_seed, last)
               if not _is_there(town_file(folder, s), config)]
    jobs = [(s, folder, config, device) for s in missing]
    if workers <= 1:
        results = map(_render_job, jobs)
        for done, _ in enumerate(results, 1):
            _tell(report, config.towns - len(missing) + done)
        return
    with get_context('spawn').Pool(workers) as pool:
        for done, _ in enumerate(pool.imap_unordered(_render_job, jobs), 1):
            _tell(report, config.towns - len(missing) + done)


def _is_there(path: FilePath, config: PairsConfig) -> bool:
    """
    Tell whether a town is on disk.

    :raises ValueError: if it was rendered with other settings.
    """
    if not path.is_file():
        return False
    rows, cols = (n // config.stride for n in config.ground_hw)
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = arrays['depth_m'].shape, float(arrays['gsd_m'])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ValueError(f'{path} cannot be read ({error}); delete it and render it '
                         'again') from None
    wanted = (config.views, rows, cols), config.gsd_m
    if found != wanted:
        raise ValueError(f'{path} holds views {found[0]} at {found[1]:g} m/px, the configuration '
                         f'asks for {wanted[0]} at {wanted[1]:g}; use another folder or delete it')
    return True


def _tell(report: object, done: int) -> None:
    if callable(report):
        report(done)


def _render_job(job: tuple[int, FilePath, PairsConfig, str]) -> None:
    seed, folder, config, device = job
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    with torch.inference_mode():
        arrays = render_town_pairs(seed, config, device)
    target = town_file(folder, seed)
    part = target.with_suffix(f'.{os.getpid()}.part')
    with open(part, 'wb') as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub wants a flag
    part.replace(target)


def render_town_pairs(seed: int, config: PairsConfig, device: str = 'cpu') -> dict[str, NDArray]:
    """Render one town: views, depth per token, orthophoto, poses and cameras."""
    rng = np.random.default_rng([11, seed])
    generator = torch.Generator().manual_seed(seed)
    town = make_town(seed, config.extent_m)
    palette = draw_palette(rng)
    ground = light(town.ground, draw_look(rng, palette), seed * 2, device)
    aerial = light(town.aerial, draw_look(rng, palette), seed * 2 + 1, device)
    # A map is out of place by up to half a metre; training learns to live with it
    angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    shift = (float(size * np.cos(angle)), float(size * np.sin(angle)))
    ortho = render_ortho(aerial, config.gsd_m, shift, generator)
    camera, height = draw_camera(rng, *config.ground_hw)
    path = drive_path(rng, town.network, config.extent_m * 0.36, config.views * 5.0)
    poses, cars = _draw_poses(rng, path, config.views)
    jpegs, depths, moving = [], [], []
    half = config.stride // 2
    for k in range(config.views):
        view = render_views(ground, camera, torch.from_numpy(poses[k:k + 1]), height,
                            torch.from_numpy(cars[k:k + 1]), generator)
        quality = int(rng.integers(75, 97))
        bgr = cv2.cvtColor(view.rgb[0].cpu().numpy(), cv2.COLOR_RGB2BGR)
        jpegs.append(cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].ravel())
        depths.append(view.depth_m[0, half::config.stride, half::config.stride].cpu().numpy())
        moving.append(view.moving[0, half::config.stride, half::config.stride].cpu().numpy())
    ortho_jpeg = cv2.imencode('.jpg', cv2.cvtColor(ortho, cv2.COLOR_RGB2BGR),
                              [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(75, 97))])[1].ravel()
    ends = np.cumsum([len(j) for j in jpegs])
    return {'jpegs': np.concatenate(jpegs), 'ends': ends, 'ortho': ortho_jpeg,
            'depth_m': np.stack(depths).astype(np.float16), 'moving': np.stack(moving),
            'poses': poses, 'half_m': np.array(ground.half_m), 'gsd_m': np.array(config.gsd_m),
            'camera': np.array([camera.fx, camera.fy, camera.cx, camera.cy, height])}


def draw_camera(rng: np.random.Generator, height_px: int,
                width_px: int) -> tuple[Camera, float]:
    """Draw a camera of about 80 degrees and its height above the road."""
    fx = 0.581 * width_px * rng.uniform(0.9, 1.12)
    fy = fx * rng.uniform(0.97, 1.09)
    cx = (width_px - 1) / 2 + rng.normal(0, 0.01) * width_px
    cy = (height_px - 1) / 2 + rng.normal(0, 0.04) * height_px
    return Camera(width_px, height_px, fx, fy, cx, cy), float(rng.uniform(1.35, 2.0))


def _draw_poses(rng: np.random.Generator, path: Path, views: int) -> tuple[Array, Array]:
    s = rng.uniform(2.0, path.length_m - 2.0, views)
    xy, yaw, _ = path.at(s)
    left = np.stack([-np.sin(yaw), np.cos(yaw)], -1)
    xy = xy + left * rng.normal(0, 0.4, views)[:, None]
    poses = np.concatenate([xy, (yaw + rng.normal(0, 0.05, views))[:, None]], 1)
    cars = np.stack([roadside_cars(rng, path, float(v)) for v in s])
    return poses, cars
