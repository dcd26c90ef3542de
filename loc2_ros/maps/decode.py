# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Tiles to pixels and back: RGB with a mask, whatever the file holds."""

from __future__ import annotations

import cv2
from loc2_ros.maps.guard import BadTile, check_tile
from loc2_ros.maps.warp import Image, Patch
import numpy as np
from numpy.typing import NDArray


def decode_tile(blob: object, tile_px: int) -> Patch:
    """Return a tile's pixels; :raises BadTile: for anything but a sound tile of that size."""
    header = check_tile(blob, tile_px)
    try:
        raw = cv2.imdecode(np.frombuffer(blob, np.uint8),  # type: ignore[call-overload]
                           cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise BadTile(f'the {header.format} tile does not decode: {error.err}') from error
    if raw is None or raw.shape[:2] != (tile_px, tile_px):
        raise BadTile(f'the {header.format} tile does not decode')
    if raw.dtype == np.uint16:
        raw = np.asarray(raw, np.uint16) >> 8
    return to_patch(np.asarray(raw, np.uint8))


def to_patch(raw: Image) -> Patch:
    """Return RGB and mask of grey, BGR or BGRA pixels."""
    if raw.ndim == 2:
        return Patch(np.asarray(cv2.cvtColor(raw, cv2.COLOR_GRAY2RGB), np.uint8), None)
    if raw.shape[2] == 3:
        return Patch(np.asarray(cv2.cvtColor(raw, cv2.COLOR_BGR2RGB), np.uint8), None)
    rgb = np.asarray(cv2.cvtColor(raw, cv2.COLOR_BGRA2RGB), np.uint8)
    opaque = np.where(raw[..., 3] == 255, np.uint8(255), np.uint8(0))
    return Patch(rgb, None if opaque.all() else opaque)


def encode_tile(rgb: Image, alpha: Image | None, quality: int,
                all_webp: bool = False) -> bytes:
    """Return a JPEG, or a WebP with its alpha where not everything is opaque."""
    if alpha is not None and not bool(np.all(alpha == 255)):
        bgra = cv2.cvtColor(np.dstack([rgb, alpha]), cv2.COLOR_RGBA2BGRA)
        done, data = cv2.imencode('.webp', bgra, [cv2.IMWRITE_WEBP_QUALITY, quality])
    elif all_webp:
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode('.webp', bgr, [cv2.IMWRITE_WEBP_QUALITY, quality])
    else:
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        done, data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise BadTile('OpenCV could not encode a tile; its WebP or JPEG support is missing')
    return data.tobytes()


def encode_png(rgb: Image, valid: NDArray[np.bool_]) -> bytes:
    """Return a PNG that is transparent where the mask is not set."""
    alpha = valid.astype(np.uint8) * 255
    return cv2.imencode('.png', np.dstack([rgb[..., ::-1], alpha]))[1].tobytes()
