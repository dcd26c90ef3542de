# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Miniature data sets in the published layouts: flat worlds seen from above and from a camera.

What a world looks like is a function of east and north. Pictures are made by the textbook, a ray
per pixel, and share no code with the readers under test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import math
from pathlib import Path

import cv2
from loc2_ros.core.values import Array
from loc2_ros.model.contract import Contract
from loc2_ros.model.loc2 import GroundFeatures
import numpy as np
import torch
from torch import nn, Tensor

# East and north, (...) each -> (..., 3) uint8 RGB
World = Callable[[Array, Array], Array]
DAY, DRIVE = '2011_09_26', '2011_09_26/2011_09_26_drive_0001_sync'
HEIGHT_PX, WIDTH_PX, HORIZON_PX, FOCAL_PX = 192, 416, 64.0, 240.0
CAMERA_M, SKY_M = 4.0, 80.0
SATMAP_PX, SATMAP_M_PER_PX = 1280, 156543.03392 * math.cos(math.radians(49.015)) / 2 ** 19
# Of the left colour camera ahead and to the right of the GPS
LEVER_M = (1.08, 0.26)
TOY = Contract('toy', ground_hw=(96, 208), aerial_px=128, tile_m=64.0, own_depth=False,
               masks_tokens=True, backbone_options={'widths': [8, 8, 16, 16]},
               projector_widths=(16,), attention=1)


@dataclass(frozen=True)
class Planted:
    """
    A frame: heading, the shift of its tile, and where its picture was really taken.

    :param shift: sx, sy, th as in a test list.
    :param ahead_m: how far the camera of the picture is ahead of where the oxts record puts it,
        ``left_m`` to the left, ``turn_rad`` turned to the left.
    """

    heading_rad: float
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    ahead_m: float = 0.0
    left_m: float = 0.0
    turn_rad: float = 0.0


def coordinates(east: Array, north: Array) -> Array:
    """Colour the world by where it is: a level of red is a metre east, one of green north."""
    colour = np.stack([east + 128, north + 128, np.full_like(east, 128.0)], -1)
    return np.clip(np.round(colour), 0, 255).astype(np.uint8)


def texture(seed: int) -> World:
    """Return a world of blurred random colours, fine and coarse."""
    rng = np.random.default_rng(seed)
    fields = [cv2.resize(rng.uniform(0, 1, (n, n, 3)), (1024, 1024),
                         interpolation=cv2.INTER_CUBIC) for n in (8, 24, 64)]
    image = np.clip(sum(fields) / 3 * 1.8 - 0.4, 0, 1)

    def paint(east: Array, north: Array) -> Array:
        # 0.25 m per pixel
        found = cv2.remap(image.astype(np.float32), (east * 4 + 512).astype(np.float32),
                          (512 - north * 4).astype(np.float32), cv2.INTER_LINEAR,
                          borderMode=cv2.BORDER_REFLECT)
        return np.round(255 * found).astype(np.uint8)
    return paint


def write(path: Path, image: Array) -> None:
    """Write an image, RGB or 16 bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # Fast rather than small
    assert cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image,
                       [cv2.IMWRITE_PNG_COMPRESSION, 1])


def make_kitti(root: Path, frames: Sequence[Planted], worlds: Sequence[World],
               satmap_px: int = SATMAP_PX) -> Path:
    """Make a root with every frame in train and in test1, and test2 the same backwards."""
    raw = root / 'raw_data'
    raw.joinpath(DRIVE, 'oxts', 'data').mkdir(parents=True)
    P = [FOCAL_PX, 0, WIDTH_PX / 2 - 0.5, 0, 0, FOCAL_PX, HORIZON_PX - 0.5, 0, 0, 0, 1, 0]
    raw.joinpath(DAY, 'calib_cam_to_cam.txt').write_text(
        'calib_time: 09-Jan-2012\nP_rect_02: ' + ' '.join(f'{v:e}' for v in P) + '\n')
    names = []
    for n, (frame, world) in enumerate(zip(frames, worlds)):
        name = f'{n:010d}'
        names.append((f'{DRIVE}/{name}.png', frame.shift))
        record = [49.0, 8.4, 116.0, 0.0, 0.0, frame.heading_rad, *[0.0] * 24]
        raw.joinpath(DRIVE, 'oxts', 'data', f'{name}.txt').write_text(
            ' '.join(f'{v:.9f}' for v in record) + '\n')
        line = (np.arange(satmap_px) + 0.5 - satmap_px / 2) * SATMAP_M_PER_PX
        east, north = np.meshgrid(line, -line)
        write(root / 'satmap' / DRIVE / f'{name}.png', world(east, north))
        view, planar = camera_view(frame, world)
        write(raw / DRIVE / 'image_02' / 'data' / f'{name}.png', view)
        write(root / 'depth_anythingv2_depth' / DRIVE / 'depth' / f'{name}.png',
              np.round(planar * 256).astype(np.uint16))
    splits = root / 'splits'
    splits.mkdir()
    tests = [f'{name} ' + ' '.join(map(str, shift)) for name, shift in names]
    splits.joinpath('train.txt').write_text('\n'.join(name for name, _ in names) + '\n')
    splits.joinpath('test1.txt').write_text('\n'.join(tests) + '\n')
    splits.joinpath('test2.txt').write_text('\n'.join(tests[::-1]) + '\n')
    return root


def camera_view(frame: Planted, world: World) -> tuple[Array, Array]:
    """Return what the camera sees (H, W, 3) and the planar depth (H, W) of flat ground."""
    h = frame.heading_rad
    forward, left = np.array([math.cos(h), math.sin(h)]), np.array([-math.sin(h), math.cos(h)])
    camera = (LEVER_M[0] + frame.ahead_m) * forward + (frame.left_m - LEVER_M[1]) * left
    u, v = np.meshgrid(np.arange(WIDTH_PX) + 0.5, np.arange(HEIGHT_PX) + 0.5)
    down = (v - HORIZON_PX) / FOCAL_PX
    depth = np.where(down > 0, CAMERA_M / np.where(down > 0, down, 1.0), math.inf)
    seen = depth < SKY_M
    ahead = np.where(seen, depth, 0.0)
    right = ahead * (u - WIDTH_PX / 2) / FOCAL_PX
    view = h + frame.turn_rad
    east = camera[0] + ahead * math.cos(view) + right * math.sin(view)
    north = camera[1] + ahead * math.sin(view) - right * math.cos(view)
    image = np.where(seen[..., None], world(east, north), np.uint8(255)).astype(np.uint8)
    return image, np.where(seen, depth, SKY_M)


@dataclass(frozen=True)
class Panorama:
    """
    A panorama: its city, the label of its tile, and where it was really taken.

    :param delta_px: rows and columns of the label, of 640 pixels.
    :param south_m: how far the panorama was taken south of where the label says, ``east_m``
        east, ``turn_rad`` turned to the left.
    """

    city: str
    delta_px: tuple[float, float] = (0.0, 0.0)
    south_m: float = 0.0
    east_m: float = 0.0
    turn_rad: float = 0.0


M_PER_PX = {'NewYork': 0.113248, 'Seattle': 0.100817, 'SanFrancisco': 0.118141,
            'Chicago': 0.111262}


def make_vigor(root: Path, panoramas: Sequence[Panorama], world: World,
               px: tuple[int, int] = (192, 384)) -> Path:
    """Make a root whose lists of training and testing hold every panorama of their cities."""
    for city, m_per_px in M_PER_PX.items():
        lines = []
        for n, panorama in enumerate(panoramas):
            if panorama.city != city:
                continue
            name, tile = f'pano_{n},{city},.jpg', f'satellite_{n}.png'
            rows, columns = panorama.delta_px
            others = ' '.join(f'satellite_{k}.png 999 999' for k in range(3))
            lines.append(f'{name} {tile} {rows} {columns} {others}')
            line = (np.arange(640) + 0.5 - 320) * m_per_px
            east, north = np.meshgrid(line, -line)
            write(root / city / 'satellite' / tile, world(east, north))
            view, ranges = panorama_view(panorama, m_per_px, world, px)
            file = root / city / 'panorama' / name
            file.parent.mkdir(parents=True, exist_ok=True)
            # A PNG under the published name: colours that stand for places survive
            assert (encoded := cv2.imencode('.png', view[..., ::-1]))[0]
            file.write_bytes(encoded[1].tobytes())
            write(root / city / 'unik3d_depth' / f'pano_{n},{city},.png',
                  np.round(np.minimum(ranges, 65.0) * 1000).astype(np.uint16))
        folder = root / 'splits_new' / city
        folder.mkdir(parents=True)
        for kind in ('same_area_balanced_train', 'same_area_balanced_test',
                     'pano_label_balanced'):
            folder.joinpath(f'{kind}.txt').write_text('\n'.join(lines) + '\n')
    return root


def panorama_view(panorama: Panorama, m_per_px: float, world: World,
                  px: tuple[int, int]) -> tuple[Array, Array]:
    """Return a panorama whose centre column looks north, and the range along each ray."""
    rows, columns = panorama.delta_px
    # The label leads from the camera to the centre: the camera is below and left of it
    south = rows * m_per_px + panorama.south_m
    east = -columns * m_per_px + panorama.east_m
    height, width = px
    column, row = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    clockwise = 2 * math.pi * (column - 0.5) - panorama.turn_rad        # from north
    below = math.pi * (row - 0.5)
    seen = below > 0.02
    ranges = np.where(seen, CAMERA_M / np.sin(np.where(seen, below, 1.0)), math.inf)
    reach = np.where(seen, ranges * np.cos(below), 0.0)
    image = world(east + reach * np.sin(clockwise), -south + reach * np.cos(clockwise))
    return np.where(seen[..., None], image, np.uint8(255)).astype(np.uint8), ranges


class ColourNet(nn.Module):
    """
    A network that matches by colour, for worlds coloured by `coordinates`: it sees where it is.

    What it answers is exact up to the levels of colour, so that errors are those of the data.
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract
        self.nothing = nn.Parameter(torch.zeros(()))

    def ground(self, image: Tensor, rays: Tensor, fx: Tensor, height: Tensor) -> GroundFeatures:
        """Return the colours in the middle of each token."""
        return GroundFeatures(self._middle(image), None)

    def aerial(self, image: Tensor) -> Tensor:
        """Return the colours in the middle of each cell."""
        return self._middle(image)

    def match(self, aerial: Tensor, ground: Tensor, usable: Tensor | None = None) -> Tensor:
        """Return probabilities that fall off with the distance of the places."""
        a, g = (255 * x[:, :2].flatten(2).transpose(1, 2) for x in (aerial, ground))
        # Black beyond the map and white sky are no places
        a = torch.where((a.sum(-1) > 0)[..., None], a, 1e6)
        P = torch.softmax(-torch.cdist(a, g).square() / (0.7 * self.contract.cell_m) ** 2, 1)
        return P if usable is None else P * usable[:, None]

    def _middle(self, image: Tensor) -> Tensor:
        s = self.contract.stride
        parts = [image[:, :, r::s, c::s] for r in (s // 2 - 1, s // 2)
                 for c in (s // 2 - 1, s // 2)]
        return torch.stack(parts).mean(0)
