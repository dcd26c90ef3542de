# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Camera images from messages: raw with its traps, JPEG and PNG with their limits.

The size in a compressed image's header is read before a byte is decompressed, so that a
forged header cannot make the decoder allocate gigabytes.
"""

from __future__ import annotations

from typing import Any

import cv2
from loc2_ros.core.values import Camera, Image, Panorama, Reason
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.maps.guard import jpeg_is_torn, peek
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

MAX_PIXELS = 64_000_000
CHANNELS = {'mono8': 1, 'bgr8': 3, 'rgb8': 3, 'bgra8': 4, 'rgba8': 4}
_TO_RGB = {'mono8': cv2.COLOR_GRAY2RGB, 'bgr8': cv2.COLOR_BGR2RGB,
           'bgra8': cv2.COLOR_BGRA2RGB, 'rgba8': cv2.COLOR_RGBA2RGB}


def check_raw_image(msg: Any) -> Pixels:
    """
    Check a sensor_msgs/Image and return its pixels without row padding.

    :returns: (H, W, C) uint8 in the message's own channel order, contiguous.
    :raises BadMessage: unsupported encoding, no size, step or data too short.
    """
    channels = _channels(str(msg.encoding))
    width, height, step = int(msg.width), int(msg.height), int(msg.step)
    row = width * channels
    if width <= 0 or height <= 0 or width * height > MAX_PIXELS:
        raise _bad(f'the image claims {width}x{height} pixels; allowed are 1 to {MAX_PIXELS}')
    if step < row:
        raise _bad(f'step is {step} bytes, but a row of {width} {msg.encoding} pixels has {row}')
    data = np.frombuffer(msg.data, dtype=np.uint8)
    # The last row may come without its padding
    if data.size < step * (height - 1) + row:
        raise _bad(f'the image data is cut off: {data.size} bytes, {height} rows of {step} '
                   f'bytes expected', size=data.size)
    rows = np.lib.stride_tricks.as_strided(data, (height, row), (step, 1), writeable=False)
    return np.ascontiguousarray(rows).reshape(height, width, channels)


def read_image(msg: Any, camera: Camera, stamp_ns: int) -> Image:
    """
    Decode an Image or CompressedImage.

    :raises BadMessage: undecodable, or not of the size that the camera_info tells.
    """
    rgb = decode_raw(msg) if hasattr(msg, 'encoding') else decode_compressed(msg)
    height, width = rgb.shape[:2]
    if (width, height) != (camera.width, camera.height):
        raise BadMessage(Reason.BAD_CAMERA_INFO,
                         f'camera_info describes {camera.width}x{camera.height} pixels, the '
                         f'image has {width}x{height}', width=width, height=height)
    return Image(rgb, stamp_ns, camera)


def read_panorama(msg: Any, stamp_ns: int) -> Image:
    """
    Decode an Image or CompressedImage of an equirectangular camera, which tells its own size.

    :raises BadMessage: undecodable, or not twice as wide as high.
    """
    rgb = decode_raw(msg) if hasattr(msg, 'encoding') else decode_compressed(msg)
    height, width = rgb.shape[:2]
    if abs(width - 2 * height) > 2:
        raise _bad(f'a panorama of 360 x 180 degrees is twice as wide as high, the image has '
                   f'{width}x{height}; set camera.model to pinhole, or fill what is missing with '
                   'black', width=width, height=height)
    return Image(rgb, stamp_ns, Panorama(width, height))


def decode_raw(msg: Any) -> Pixels:
    """Return a sensor_msgs/Image as (H, W, 3) uint8 RGB; see ``check_raw_image``."""
    pixels = check_raw_image(msg)
    if msg.encoding == 'rgb8':
        return pixels
    return np.asarray(cv2.cvtColor(pixels, _TO_RGB[msg.encoding]), dtype=np.uint8)


def decode_compressed(msg: Any, max_pixels: int = MAX_PIXELS) -> Pixels:
    """
    Return a sensor_msgs/CompressedImage (JPEG or 8 bit PNG) as (H, W, 3) uint8 RGB.

    :raises BadMessage: neither format, too large, cut off, or undecodable.
    """
    data = bytes(msg.data)
    width, height = _check_header(data, max_pixels)
    try:
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8),
                           cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise _bad(f'the image cannot be decoded: {error.err}') from error
    if bgr is None or bgr.shape != (height, width, 3):
        raise _bad(f'the {width}x{height} image cannot be decoded; its data is corrupt')
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)


def encode_jpeg(rgb: Pixels, quality: int = 95) -> Pixels:
    """Compress (H, W, 3) uint8 RGB as a camera driver would; returns bytes as (N,) uint8."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    encoded = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(encoded, np.uint8).ravel()


def _check_header(data: bytes, max_pixels: int) -> tuple[int, int]:
    """Return (width, height) of a compressed image that is safe to decode."""
    header = peek(data)
    if header is None or header.format not in ('jpeg', 'png'):
        what = f'its {len(data)} bytes start with {data[:4].hex()}' if data else 'it is empty'
        raise _bad(f'the compressed image is neither JPEG nor PNG, or cut off: {what}')
    width, height = header.width, header.height
    if width <= 0 or height <= 0 or width * height > max_pixels:
        raise _bad(f'the image header claims {width}x{height} pixels; allowed are 1 to '
                   f'{max_pixels}')
    # Decoders fill what is missing with grey, without an error
    if not header.whole:
        raise _bad(f'the compressed image is cut off after {len(data)} bytes', size=len(data))
    if header.format == 'jpeg' and jpeg_is_torn(data):
        raise _bad(f'the {width}x{height} JPEG is corrupt', size=len(data))
    if header.format == 'png' and data[24] == 16:
        raise _bad('16 bit PNG is no camera image; publish 8 bit colour (16UC1 is for depth)')
    return width, height


def _channels(encoding: str) -> int:
    """Return the channel count of a supported encoding, or refuse with a hint."""
    if encoding in CHANNELS:
        return CHANNELS[encoding]
    known = ', '.join(CHANNELS)
    if encoding.startswith('bayer'):
        hint = 'run the debayer node of image_proc and use its image_color'
    elif '16' in encoding or '32' in encoding:
        hint = 'publish 8 bit colour (16UC1 and 32FC1 are for the depth topic)'
    else:
        hint = 'convert the image first'
    raise _bad(f'image encoding {encoding!r} is not supported: {hint}; supported: {known}')


def _bad(sentence: str, **numbers: float) -> BadMessage:
    """Build the one kind of error this file raises."""
    return BadMessage(Reason.BAD_IMAGE, sentence, **numbers)
