# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Reading what an image file claims, before decoding it."""

from __future__ import annotations

import struct
import zlib

import cv2
from hypothesis import given, strategies as st
from loc2_ros.maps.guard import BadTile, check_tile, MAX_TILE_BYTES, peek
import numpy as np
import pytest


def _encoded(extension, shape, flags=()):
    picture = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    return cv2.imencode(extension, picture, list(flags))[1].tobytes()


def _bomb():
    """Return a PNG of 20000 x 20000 black pixels, 50 kB."""
    def chunk(kind, data):
        return struct.pack('>I', len(data)) + kind + data + struct.pack(
            '>I', zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    body = b''.join(packer.compress(bytes(2501 * 100)) for _ in range(200)) + packer.flush()
    header = struct.pack('>IIBBBBB', 20000, 20000, 1, 0, 0, 0, 0)
    return (b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', body)
            + chunk(b'IEND', b''))


@pytest.mark.parametrize('extension, shape, flags, kind', [
    ('.png', (300, 200, 3), (), 'png'), ('.png', (300, 200, 4), (), 'png'),
    ('.jpg', (300, 200, 3), (), 'jpeg'), ('.jpg', (300, 200), (), 'jpeg'),
    ('.jpg', (300, 200, 3), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), 'jpeg'),
    ('.webp', (300, 200, 3), (cv2.IMWRITE_WEBP_QUALITY, 80), 'webp'),
    ('.webp', (300, 200, 3), (cv2.IMWRITE_WEBP_QUALITY, 101), 'webp'),
    ('.webp', (300, 200, 4), (cv2.IMWRITE_WEBP_QUALITY, 80), 'webp')])
def test_every_kind_of_file_tells_its_size(extension, shape, flags, kind):
    assert peek(_encoded(extension, shape, flags)) == (kind, 200, 300, True)


@pytest.mark.parametrize('extension', ['.png', '.jpg', '.webp'])
def test_a_file_without_its_end_is_not_whole(extension):
    blob = _encoded(extension, (256, 256, 3))
    assert not peek(blob[:len(blob) // 2]).whole
    with pytest.raises(BadTile, match='truncated'):
        check_tile(blob[:-12])


@pytest.mark.parametrize('blob, text', [
    (b'', 'empty'), (None, 'no blob'), ('text', 'no blob'), (17, 'no blob'),
    (b'<html>Too many requests</html>', 'no PNG'), (b'\x89PNG\r\n\x1a\n', 'no PNG'),
    (b'\xff\xd8\xff', 'no PNG'), (b'RIFF\0\0\0\0WEBP', 'no PNG'),
    (_bomb(), 'claims 20000x20000'),
    (bytes(MAX_TILE_BYTES + 1), 'more than'),
    (_encoded('.png', (255, 256, 3)), 'claims 256x255'),
    (_encoded('.png', (1100, 1100)), 'claims 1100x1100')])
def test_what_is_no_tile_is_refused_before_decoding(blob, text):
    with pytest.raises(BadTile, match=text):
        check_tile(blob)


def test_a_tile_of_a_foreign_size_is_refused():
    assert check_tile(_encoded('.png', (512, 512, 3))).width == 512
    with pytest.raises(BadTile, match='expected 256'):
        check_tile(_encoded('.png', (512, 512, 3)), 256)


@given(st.binary(max_size=200), st.sampled_from([
    b'', b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR', b'\xff\xd8\xff\xe0', b'\xff\xd8\xff\xc0\0\x11\x08',
    b'RIFF\0\0\0\0WEBPVP8X', b'RIFF\0\0\0\0WEBPVP8L', b'RIFF\0\0\0\0WEBPVP8 ']))
def test_no_bytes_make_it_stumble(tail, head):
    peek(head + tail)
