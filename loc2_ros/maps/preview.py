# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A small picture of a map, which bears the name of those whose imagery it is."""

from __future__ import annotations

from pathlib import Path

import cv2
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.values import MapStore
from loc2_ros.maps.warp import Image
import numpy as np

_SIDE_PX = 600
_MAX_PIECES = 12
_MAX_CROP_M = 500.0


def write_preview(store: MapStore, path: Path) -> Path | None:
    """Write ``PATH.preview.png``; None for a map without bounds."""
    bounds = store.info.bounds
    if bounds is None:
        return None
    west, south, east, north = bounds
    frame = LocalFrame((south + north) / 2, (west + east) / 2)
    corners = frame.forward(np.array([south, north]), np.array([west, east]))
    side = max(float(np.abs(corners).max()) * 2.05, 10.0)
    # Of a large map the middle is shown: all of it would take minutes
    side = min(side, _MAX_PIECES * _MAX_CROP_M)
    canvas = np.full((_SIDE_PX, _SIDE_PX, 3), 40, np.uint8)
    paint(store, frame, canvas, side)
    write_text(canvas, store.info.attribution or 'source unknown')
    out = path.with_name(path.name + '.preview.png')
    out.write_bytes(png_of(canvas))
    return out


def paint(store: MapStore, frame: LocalFrame, canvas: Image, side_m: float) -> None:
    """Fill a square north-up BGR canvas with crops, each within the size that a store cuts."""
    pieces = max(1, int(np.ceil(side_m / _MAX_CROP_M)))
    edges = np.linspace(0, len(canvas), pieces + 1).astype(int)
    step = side_m / pieces
    for row in range(pieces):
        for column in range(pieces):
            at = (step * (column + 0.5) - side_m / 2, side_m / 2 - step * (row + 0.5))
            view = canvas[edges[row]:edges[row + 1], edges[column]:edges[column + 1]]
            crop = store.crop(frame, at, 0.0, max(step, 5.0), max(16, *view.shape[:2]))
            bgr = np.where(crop.valid[..., None], crop.image[..., ::-1], np.uint8(40))
            view[:] = cv2.resize(bgr, view.shape[1::-1], interpolation=cv2.INTER_AREA)


def write_text(canvas: Image, text: str) -> None:
    """Write a line at the bottom; OpenCV's letters are those of ASCII."""
    plain = text.replace('©', '(c)').replace('–', '-').encode('ascii', 'replace').decode()
    at = (8, len(canvas) - 10)
    for colour, width in (((0, 0, 0), 3), ((255, 255, 255), 1)):
        cv2.putText(canvas, plain, at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, colour, width, cv2.LINE_AA)


def png_of(bgr: Image) -> bytes:
    """Return a picture as PNG."""
    return cv2.imencode('.png', bgr)[1].tobytes()
