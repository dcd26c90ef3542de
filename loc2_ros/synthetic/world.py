# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A town to live in: its map as a store, and a drive through it as a recording."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import tee
from pathlib import Path

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Camera
from loc2_ros.maps.writer import write_mbtiles_from_local
from loc2_ros.synthetic.drive import DriveFrames, write_drive
from loc2_ros.synthetic.looks import draw_look, draw_palette
from loc2_ros.synthetic.ortho import render_ortho
from loc2_ros.synthetic.render import render_views, Views
from loc2_ros.synthetic.scene import light, Scene
from loc2_ros.synthetic.streets import drive_path, Path as DrivenPath
from loc2_ros.synthetic.town import make_town
from loc2_ros.synthetic.traffic import traffic
import numpy as np
import torch
from tqdm import tqdm

EXTENT_M, INSIDE_M, GSD_M = 560.0, 185.0, 0.2
FRAME_RATE_HZ = 5.0
FASTEST_MPS = 11.0
START_NS = 1_700_000_000_000_000_000
CAMERA = Camera(640, 192, 372.0, 372.0, 319.5, 95.5)
CAMERA_IN_BASE_M = (1.35, 0.10, 1.65)


@dataclass(frozen=True)
class World:
    """
    Where things were written.

    :param photo_shift_m: east, north: where the photo shows a point minus where it is.
    """

    drive: Path
    map: Path  # noqa: A003
    geotiff: Path | None = None
    photo_shift_m: tuple[float, float] = (0.0, 0.0)

    def __iter__(self) -> Iterator[Path]:
        """Iterate over the files."""
        return iter(p for p in (self.map, self.drive, self.geotiff) if p is not None)


def base_T_camera() -> Array:
    """Return the camera (optical axes) in base_link, (4, 4); it looks straight ahead."""
    matrix = np.eye(4)
    matrix[:3, :3] = [[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]
    matrix[:3, 3] = CAMERA_IN_BASE_M
    return matrix


@torch.inference_mode()
def make_world(seed: int, out: Path, frames: int = 150, crs: str = '',
               device: str = 'cpu', progress: bool = True, depth: bool = False,
               rate_hz: float = FRAME_RATE_HZ) -> World:
    """
    Make the town of a seed: ``map.mbtiles`` and ``drive.mcap``.

    :param frames: camera images.
    :param crs: a projected system such as EPSG:28992: the town then lies in its area, and the
        orthophoto is also written as ``map.tif`` in it. Empty: somewhere in Europe.
    :param depth: also write a depth image with every camera image.
    :param rate_hz: of the images.
    :raises ValueError: if the system is unknown or the drive does not fit.
    """
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng([17, seed])
    datum = _somewhere(rng) if not crs else _inside(crs)
    town = make_town(seed, EXTENT_M)
    palette = draw_palette(rng)
    generator = torch.Generator().manual_seed(seed)
    scene = light(town.aerial, draw_look(rng, palette), seed * 2 + 1, device)
    shift = _misplaced(rng)
    photo = render_ortho(scene, GSD_M, shift, generator)
    place = (datum, -EXTENT_M / 2, EXTENT_M / 2, GSD_M)
    written = write_mbtiles_from_local(
        out / 'map.mbtiles', photo, *place, quality=int(rng.integers(80, 95)),
        metadata={'name': f'synthetic town {seed}', 'attribution': 'loc2_ros synthetic town',
                  'licence': 'Apache-2.0', 'acquired': {'from': '2022-07-01'}})
    geotiff = None
    if crs:
        from loc2_ros.synthetic.geotiff import write_geotiff
        geotiff = write_geotiff(out / 'map.tif', photo, *place, crs)
    path = drive_path(rng, town.network, INSIDE_M, frames / rate_hz * FASTEST_MPS)
    ground = light(town.ground, draw_look(rng, palette), seed * 2, device)
    times = np.arange(frames) / rate_hz
    drive = _drive(ground, path, times, datum, seed, rng, generator, progress, depth)
    return World(write_drive(drive, out / 'drive.mcap'), Path(written or out / 'map.mbtiles'),
                 geotiff, shift)


def _somewhere(rng: np.random.Generator) -> LocalFrame:
    return LocalFrame(float(rng.uniform(43.0, 57.0)), float(rng.uniform(-4.0, 22.0)), 120.0)


def _inside(crs: str) -> LocalFrame:
    """Return a datum in the middle of a coordinate system's area of use."""
    try:
        from pyproj import CRS
        from pyproj.exceptions import CRSError
    except ImportError:
        raise ValueError("--crs needs the extra 'geo': pip install 'loc2_ros[geo]'") from None
    try:
        system = CRS.from_user_input(crs)
    except CRSError as error:
        raise ValueError(f'{crs!r} is no coordinate system: {error}; '
                         'write it like EPSG:28992') from None
    if not system.is_projected or any(a.unit_name != 'metre' for a in system.axis_info[:2]):
        raise ValueError(f'{crs} has no plane axes in metres; choose a projected system such as '
                         'EPSG:25832')
    area = system.area_of_use
    if area is None:
        raise ValueError(f'{crs} does not say where it holds; choose another')
    return LocalFrame((area.south + area.north) / 2, (area.west + area.east) / 2, 50.0)


def _misplaced(rng: np.random.Generator) -> tuple[float, float]:
    """Return by how much an orthophoto is out of place: up to half a metre."""
    angle, size = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.5)
    return float(size * np.cos(angle)), float(size * np.sin(angle))


def _drive(scene: Scene, path: DrivenPath, times: Array, datum: LocalFrame, seed: int,
           rng: np.random.Generator, generator: torch.Generator, progress: bool,
           depth: bool) -> DriveFrames:
    if times[-1] > path.duration_s:
        raise ValueError(f'the drive of town {seed} ends after {path.duration_s:.0f} s, '
                         f'{len(times)} frames need {times[-1]:.0f} s; ask for fewer')
    s = path.distances_at(times)
    xy, yaw, speed = path.at(s)
    poses = np.concatenate([xy, yaw[:, None]], 1)
    cars = traffic(rng, path, times)
    stamps = START_NS + np.round(times * 1e9).astype(np.int64)
    # Both are drawn in step, so that no more than one view waits for the other
    film, again = tee(_film(scene, _cameras(poses), cars, generator, progress))
    return DriveFrames(stamps, poses, speed, (view.rgb[0].cpu().numpy() for view in film),
                       CAMERA, base_T_camera(), datum, seed,
                       depths_m=(view.depth_m[0].cpu().numpy() for view in again)
                       if depth else None)


def _cameras(base_poses: Array) -> Array:
    """Return the camera poses (N, 3) for base poses."""
    x, y, _ = CAMERA_IN_BASE_M
    c, s = np.cos(base_poses[:, 2]), np.sin(base_poses[:, 2])
    return base_poses + np.stack([c * x - s * y, s * x + c * y, 0 * c], -1)


def _film(scene: Scene, cameras: Array, cars: Array, generator: torch.Generator,
          progress: bool) -> Iterator[Views]:
    for pose, around in tqdm(zip(cameras, cars), total=len(cameras), unit='image',
                             desc='filming', disable=None if progress else True):
        yield render_views(scene, CAMERA, torch.from_numpy(pose[None]), CAMERA_IN_BASE_M[2],
                           torch.from_numpy(around[None]), generator)
