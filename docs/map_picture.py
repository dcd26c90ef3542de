# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Make docs/images/own_map.jpg: a town from above, and the map that a drive through it gave.

Run ``loc2 town --seed 1000007 --frames 60 --depth --out out/town``, then ``loc2 map from-drive
out/town/drive.mcap --depth image --config kitti -o out/own.mbtiles``, then
``python docs/map_picture.py out/town/map.mbtiles out/own.mbtiles``.
"""

from __future__ import annotations

from pathlib import Path
import sys

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.store import open_store
import numpy as np
from PIL import Image

TARGET = Path(__file__).parent / 'images' / 'own_map.jpg'
SIDE_M, SIDE_PX, GAP = 80.0, 480, 8


def main(photo: Path, own: Path) -> None:
    """Put the same square of both maps side by side, and tell what they share."""
    with open_store(photo) as given, open_store(own) as made:
        west, south, east, north = made.info.bounds or (0.0, 0.0, 0.0, 0.0)
        frame = LocalFrame((south + north) / 2, (west + east) / 2)
        crops = [store.crop(frame, (0.0, 0.0), 0.0, SIDE_M, SIDE_PX) for store in (given, made)]
    picture = Image.new('RGB', (2 * SIDE_PX + GAP, SIDE_PX), 'white')
    for number, crop in enumerate(crops):
        shown = np.where(crop.valid[..., None], crop.image, np.uint8(40))
        picture.paste(Image.fromarray(shown), (number * (SIDE_PX + GAP), 0))
    picture.save(TARGET, quality=80, optimize=True)
    print(f'wrote {TARGET}, {TARGET.stat().st_size // 1024} kB; the drive shows '
          f'{crops[1].valid_fraction:.0%} of the square')


if __name__ == '__main__':
    main(*map(Path, sys.argv[1:3]))
