# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Camera images as they arrive: padded, cut off, forged, in the wrong encoding."""

from __future__ import annotations

from array import array
from types import SimpleNamespace as Message
from typing import Any

import cv2
from loc2_ros.core.values import Panorama, Reason
from loc2_ros.data.images import read_panorama
from loc2_ros.data.messages import BadMessage, check_raw_image, decode_compressed, decode_raw
import numpy as np
import pytest

RGB = np.array([[[1, 2, 3], [40, 50, 60]], [[7, 8, 9], [100, 110, 120]]], np.uint8)     # 2 x 2


def raw(pixels: Any, encoding: str, padding: int = 0, **changes: Any) -> Message:
    """Build a sensor_msgs/Image with padded rows."""
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    padded = np.pad(rows, ((0, 0), (0, padding)), constant_values=255)
    fields = {'height': height, 'width': width, 'encoding': encoding, 'is_bigendian': 0,
              'step': padded.shape[1], 'data': array('B', padded.tobytes())}
    return Message(**{**fields, **changes})


def scene(height: int = 64, width: int = 96) -> Any:
    """Build a smooth picture that survives JPEG."""
    v, u = np.mgrid[:height, :width]
    return np.stack([u * 2, v * 3, 255 - u - v], axis=-1).astype(np.uint8)


def encoded(kind: str = '.jpg', rgb: Any = None) -> bytes:
    """Encode a picture."""
    return cv2.imencode(kind, cv2.cvtColor(scene() if rgb is None else rgb,
                                           cv2.COLOR_RGB2BGR))[1].tobytes()


def refused(function: Any, message: Message, match: str) -> None:
    """Expect a refusal for a bad image."""
    with pytest.raises(BadMessage, match=match) as error:
        function(message)
    assert error.value.reason is Reason.BAD_IMAGE


@pytest.mark.parametrize('padding', [0, 1, 7])
@pytest.mark.parametrize(('encoding', 'pixels', 'expected'), [
    ('rgb8', RGB, RGB),
    ('bgr8', RGB[..., ::-1], RGB),
    ('rgba8', np.concatenate([RGB, RGB[..., :1]], -1), RGB),
    ('bgra8', np.concatenate([RGB[..., ::-1], RGB[..., :1]], -1), RGB),
    ('mono8', RGB[..., :1], np.repeat(RGB[..., :1], 3, -1)),
])
def test_every_supported_encoding_becomes_rgb_with_padded_rows_or_not(
        encoding: str, pixels: Any, expected: Any, padding: int) -> None:
    np.testing.assert_array_equal(decode_raw(raw(pixels, encoding, padding)), expected)


@pytest.mark.parametrize('kind', [bytes, bytearray, np.array])
def test_the_data_may_be_bytes_or_a_numpy_array(kind: Any) -> None:
    message = raw(RGB, 'rgb8')
    message.data = kind(message.data) if kind is not np.array else np.array(message.data, np.uint8)
    np.testing.assert_array_equal(decode_raw(message), RGB)


def test_padding_after_the_last_row_may_be_absent() -> None:
    message = raw(RGB, 'rgb8', padding=4)
    message.data = message.data[:-4]
    np.testing.assert_array_equal(check_raw_image(message), RGB)


def test_endianness_does_not_matter_to_bytes() -> None:
    np.testing.assert_array_equal(decode_raw(raw(RGB, 'rgb8', is_bigendian=1)), RGB)


@pytest.mark.parametrize(('changes', 'match'), [
    ({'data': array('B', bytes(11))}, 'cut off: 11 bytes'),
    ({'data': array('B')}, 'cut off: 0 bytes'),
    ({'step': 5}, 'step is 5'),
    ({'step': 0}, 'step is 0'),
    ({'height': 0}, '2x0'),
    ({'width': 2_000_000_000, 'step': 4_000_000_000}, 'claims'),
])
def test_sizes_that_disagree_are_refused(changes: dict[str, Any], match: str) -> None:
    refused(check_raw_image, raw(RGB, 'rgb8', **changes), match)


@pytest.mark.parametrize(('encoding', 'hint'), [
    ('bayer_rggb8', 'debayer'), ('bayer_gbrg16', 'debayer'), ('rgb16', '8 bit'),
    ('mono16', '8 bit'), ('16UC1', 'depth topic'), ('32FC1', 'depth topic'),
    ('yuv422', 'convert'), ('8UC3', 'convert'), ('', 'convert'), ('nonsense', 'supported: mono8'),
])
def test_an_unsupported_encoding_is_refused_with_a_hint(encoding: str, hint: str) -> None:
    refused(decode_raw, raw(RGB, encoding), hint)


def test_a_jpeg_is_decoded_to_rgb() -> None:
    error = decode_compressed(Message(data=array('B', encoded()))).astype(int) - scene()
    assert abs(error).mean() < 3.0      # JPEG at quality 95


def test_a_png_is_decoded_exactly() -> None:
    np.testing.assert_array_equal(decode_compressed(Message(data=encoded('.png'))), scene())


def test_a_grey_jpeg_becomes_rgb() -> None:
    data = cv2.imencode('.jpg', scene()[..., 0])[1].tobytes()
    assert decode_compressed(Message(data=data)).shape == (64, 96, 3)


@pytest.mark.parametrize('kind', ['.jpg', '.png'])
@pytest.mark.parametrize('keep', [0.02, 0.3, 0.9])
def test_a_truncated_image_is_refused_instead_of_filled_with_grey(kind: str, keep: float) -> None:
    data = encoded(kind)
    refused(decode_compressed, Message(data=data[:int(len(data) * keep)]), 'cut off|neither')


def test_padding_behind_the_end_of_a_jpeg_is_harmless() -> None:
    assert decode_compressed(Message(data=encoded() + bytes(100))).shape == (64, 96, 3)


@pytest.mark.parametrize('data', [b'', b'GIF89a', bytes(1000), b'\xff\xd8', b'\x89PNG\r\n\x1a\n'])
def test_what_is_no_jpeg_or_png_is_refused(data: bytes) -> None:
    refused(decode_compressed, Message(data=data), 'neither|cut off')


def test_a_header_bomb_is_refused_before_decoding() -> None:
    data = bytearray(encoded('.png'))
    data[16:24] = (60000).to_bytes(4, 'big') * 2
    refused(decode_compressed, Message(data=bytes(data)), '60000x60000')
    jpeg = bytearray(encoded())
    at = jpeg.index(b'\xff\xc0')
    jpeg[at + 5:at + 9] = b'\xff\xff\xff\xff'
    refused(decode_compressed, Message(data=bytes(jpeg)), '65535x65535')


def test_a_scrambled_png_is_refused() -> None:
    data = bytearray(encoded('.png'))
    data[16:24] = (5).to_bytes(4, 'big') * 2
    refused(decode_compressed, Message(data=bytes(data)), 'corrupt|decoded')


def test_a_16_bit_png_is_refused_with_a_hint() -> None:
    data = cv2.imencode('.png', scene().astype(np.uint16) * 256)[1].tobytes()
    refused(decode_compressed, Message(data=data), '8 bit')


@pytest.mark.parametrize('progressive', [0, 1])
def test_a_jpeg_with_foreign_bytes_in_its_middle_is_refused(progressive: int) -> None:
    rng = np.random.default_rng(4)
    picture = rng.integers(0, 255, (200, 320, 3), np.uint8)
    sound = cv2.imencode('.jpg', picture, [
        cv2.IMWRITE_JPEG_QUALITY, 80, cv2.IMWRITE_JPEG_PROGRESSIVE, progressive,
        cv2.IMWRITE_JPEG_RST_INTERVAL, 7])[1].tobytes()
    assert decode_compressed(Message(data=sound, format='jpeg')).shape == (200, 320, 3)
    # Header and end stay as they are, so that neither size nor truncation gives it away
    middle = len(sound) // 2
    torn = sound[:middle] + rng.bytes(1500) + sound[middle + 1500:]
    refused(decode_compressed, Message(data=torn, format='jpeg'), 'corrupt')


def test_a_panorama_brings_its_own_camera_and_is_twice_as_wide_as_high() -> None:
    image = read_panorama(raw(np.zeros((20, 40, 3), np.uint8), 'rgb8'), 7)
    assert image.camera == Panorama(40, 20) and image.stamp_ns == 7
    assert read_panorama(Message(data=encoded('.png', scene(50, 100))), 7).rgb.shape == (50, 100,
                                                                                         3)
    refused(lambda message: read_panorama(message, 7),
            raw(np.zeros((20, 60, 3), np.uint8), 'rgb8'), 'twice as wide as high.*60x20')
