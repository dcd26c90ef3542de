# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Tiles that meet: one shows through where the other has no imagery."""

from __future__ import annotations

from typing import Any

import cv2
from loc2_ros.maps.decode import decode_tile, encode_tile
from loc2_ros.maps.imagery import over
from loc2_ros.maps.pyramid import Tile
import numpy as np

# What compression makes of exact black, and the least of it that is no shadow
_BLACK, _LEAST_BLACK_PX = 2, 256


def without_black(blob: bytes, open_sides: list[Any], tile_px: int,
                  quality: int) -> bytes | None:
    """
    Return a JPEG tile with the black that comes in from open sides made transparent.

    JPEG has no mask: where a picture ends, other tools leave black, which is no imagery. Tiles
    without such black come back as they are, those of nothing else as None.
    """
    if not open_sides:
        return blob
    rgb = decode_tile(blob, tile_px).rgb
    _, labels = cv2.connectedComponents((rgb.max(axis=-1) <= _BLACK).astype(np.uint8))
    seeds = np.unique(np.concatenate([labels[edge] for edge in open_sides]))
    region = np.isin(labels, seeds[seeds > 0])
    if int(region.sum()) < _LEAST_BLACK_PX:
        return blob
    # Compression smears the edge over a block
    wide = cv2.dilate(region.astype(np.uint8), np.ones((17, 17), np.uint8)) > 0
    return None if wide.all() else encode_tile(rgb, np.where(wide, 0, 255).astype(np.uint8),
                                               quality)


def laid_over(upper: bytes, lower: bytes, tile_px: int, quality: int) -> bytes:
    """Return a tile with another showing through where it is transparent."""
    patch = decode_tile(upper, tile_px)
    if patch.opaque is None:
        return upper
    below = decode_tile(lower, tile_px)
    full = np.full((tile_px, tile_px), 255, np.uint8)
    tile = Tile(patch.rgb, patch.opaque)
    merged = over(tile, Tile(below.rgb, full if below.opaque is None else below.opaque))
    if merged is tile or merged is None:
        return upper
    return encode_tile(merged.rgb, merged.alpha, quality)
