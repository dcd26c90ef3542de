# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Make docs/images/demo.png, the picture in the README, from the results of a demo.

Run ``make demo``, then ``python docs/demo_picture.py out/demo``.
"""

from __future__ import annotations

from pathlib import Path
import sys

from PIL import Image

TARGET = Path(__file__).parent / 'images' / 'demo.png'
WIDTH, GAP = 1500, 16


def main(results: Path) -> None:
    """Put trajectory, matches and errors side by side."""
    track, matched, errors = (Image.open(results / f'{name}.png').convert('RGB')
                              for name in ('trajectory', 'matches', 'errors'))
    right = ratio(matched) + ratio(errors)      # height of the right column over its width
    # Both columns are equally high: wide * ratio(track) = (WIDTH - GAP - wide) * right + GAP
    wide = round(((WIDTH - GAP) * right + GAP) / (ratio(track) + right))
    rest = WIDTH - GAP - wide
    upper = round(rest * ratio(matched))
    picture = Image.new('RGB', (WIDTH, round(wide * ratio(track))), 'white')
    picture.paste(sized(track, wide), (0, 0))
    picture.paste(sized(matched, rest), (wide + GAP, 0))
    picture.paste(sized(errors, rest), (wide + GAP, upper + GAP))
    # A palette: a third of the size, and nobody sees it
    picture.quantize(256, dither=Image.Dither.FLOYDSTEINBERG).save(TARGET, optimize=True)
    print(f'wrote {TARGET}, {TARGET.stat().st_size // 1024} kB')


def ratio(image: Image.Image) -> float:
    """Return height over width."""
    return image.height / image.width


def sized(image: Image.Image, width: int) -> Image.Image:
    """Return an image in another width."""
    return image.resize((width, round(width * ratio(image))), Image.Resampling.LANCZOS)


if __name__ == '__main__':
    main(Path(sys.argv[1] if len(sys.argv) > 1 else 'out/demo'))
