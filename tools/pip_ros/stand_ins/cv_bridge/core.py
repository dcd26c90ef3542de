# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Images between ROS messages and arrays."""

from __future__ import annotations

from array import array
import re
import sys
from typing import Any, NamedTuple

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

DTYPES = {'8U': np.uint8, '8S': np.int8, '16U': np.uint16, '16S': np.int16,
          '32S': np.int32, '32F': np.float32, '64F': np.float64}
# Encodings with a meaning; the number is the channel count
COLORS = {f'{order}{bits}': (DTYPES[f'{bits}U'], channels)
          for order, channels in (('mono', 1), ('bgr', 3), ('rgb', 3), ('bgra', 4), ('rgba', 4))
          for bits in (8, 16)}


class CvBridgeError(TypeError):
    """An image that cannot be converted."""


class Layout(NamedTuple):
    """How an encoding lays out a pixel."""

    dtype: type
    channels: int


class CvBridge:
    """Convert between sensor_msgs and NumPy; the methods are cv_bridge's."""

    def imgmsg_to_cv2(self, img_msg: Image, desired_encoding: str = 'passthrough') -> np.ndarray:
        """
        Return a writable, contiguous copy of an image.

        :returns: (height, width) or (height, width, channels), the encoding's type.
        :raises CvBridgeError: if the data do not fit the header, or cannot become what is wanted.
        """
        image = _pixels(img_msg)
        return np.ascontiguousarray(_convert(image, img_msg.encoding, desired_encoding))

    def compressed_imgmsg_to_cv2(self, cmprs_img_msg: CompressedImage,
                                 desired_encoding: str = 'passthrough') -> np.ndarray:
        """Decode a JPEG or PNG; as it is stored for 'passthrough', else from BGR."""
        raw = np.frombuffer(cmprs_img_msg.data, dtype=np.uint8)
        as_stored = desired_encoding == 'passthrough'
        image = None
        if raw.size:  # OpenCV raises on an empty buffer, and returns None for a broken one
            image = cv2.imdecode(raw, cv2.IMREAD_UNCHANGED if as_stored else cv2.IMREAD_COLOR)
        if image is None:
            raise CvBridgeError(f'{raw.size} bytes of format "{cmprs_img_msg.format}" could not '
                                'be decoded')
        return np.ascontiguousarray(image if as_stored
                                    else _convert(image, 'bgr8', desired_encoding))

    def cv2_to_imgmsg(self, cvim: np.ndarray, encoding: str = 'passthrough',
                      header: Header | None = None) -> Image:
        """Return the message of an image; its encoding must fit the array."""
        if not isinstance(cvim, np.ndarray) or cvim.ndim not in (2, 3) or not cvim.size:
            raise CvBridgeError('an image must be a non-empty array of two or three dimensions')
        channels = cvim.shape[2] if cvim.ndim == 3 else 1
        types = {np.dtype(dtype): name for name, dtype in DTYPES.items()}
        if cvim.dtype not in types:
            raise CvBridgeError(f'no encoding holds elements of type {cvim.dtype}')
        own = f'{types[cvim.dtype]}C{channels}'
        if encoding != 'passthrough' and _layout(encoding) != (cvim.dtype.type, channels):
            raise CvBridgeError(f'encoding specified as {encoding}, but image has incompatible '
                                f'type {own}')
        pixels = np.ascontiguousarray(cvim)
        message = Image(encoding=own if encoding == 'passthrough' else encoding)
        if header is not None:
            message.header = header
        message.height, message.width = cvim.shape[:2]
        message.step = pixels.nbytes // cvim.shape[0]
        message.is_bigendian = int(sys.byteorder == 'big')
        message.data = array('B', pixels.tobytes())
        return message


def _layout(encoding: str) -> Layout:
    """Return type and channel count of an encoding."""
    if encoding in COLORS:
        return Layout(*COLORS[encoding])
    match = re.fullmatch(r'(8U|8S|16U|16S|32S|32F|64F)C([1-4])', encoding)
    if match is None:
        raise CvBridgeError(f'Unrecognized image encoding [{encoding}]')
    return Layout(DTYPES[match[1]], int(match[2]))


def _pixels(message: Image) -> np.ndarray:
    """View a message's data as (height, width[, channels]), rows without their padding."""
    layout = _layout(message.encoding)
    dtype = np.dtype(layout.dtype).newbyteorder('>' if message.is_bigendian else '<')
    row = message.width * layout.channels * dtype.itemsize
    data = np.frombuffer(message.data, dtype=np.uint8)
    if not row or not message.height:
        raise CvBridgeError(f'an image of {message.width} x {message.height} has no pixels')
    if message.step < row or data.size < message.step * message.height:
        raise CvBridgeError(
            f'{data.size} bytes in rows of {message.step} are too few for {message.width} x '
            f'{message.height} pixels of {message.encoding}')
    rows = data[:message.step * message.height].reshape(message.height, message.step)[:, :row]
    pixels = np.ascontiguousarray(rows).view(dtype).astype(layout.dtype)  # native byte order
    if layout.channels == 1:
        return pixels
    return pixels.reshape(message.height, message.width, layout.channels)


def _convert(image: np.ndarray, source: str, target: str) -> np.ndarray:
    """Convert between color encodings, or copy between names of one layout."""
    if target in ('passthrough', source):
        return image.copy()
    wanted, given = _layout(target), _layout(source)
    if source not in COLORS or target not in COLORS:
        if source in COLORS and wanted == given:
            return image.copy()
        odd = source if source not in COLORS else target
        raise CvBridgeError(f'[{odd}] is not a color format: the conversion from [{source}] to '
                            f'[{target}] does not make sense')
    if given.dtype != wanted.dtype:
        image = (image >> 8).astype(np.uint8) if wanted.dtype is np.uint8 else (
            image.astype(np.uint16) << 8)
    orders = [name.rstrip('0123456789').replace('mono', 'gray').upper()
              for name in (source, target)]
    if orders[0] == orders[1]:
        return image.copy()
    code: Any = getattr(cv2, f'COLOR_{orders[0]}2{orders[1]}')
    return cv2.cvtColor(image, code)
