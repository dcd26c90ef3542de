# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What an image file claims about itself, read from its header before anything is decoded.

A 48 kB PNG can ask for 20000 x 20000 pixels, seconds of time and gigabytes of memory; reading
the claim takes a microsecond.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

MAX_TILE_BYTES = 4 << 20
TILE_SIZES_PX = (256, 512, 1024)

_PNG_MAGIC = b'\x89PNG\r\n\x1a\n'
# Start-of-frame markers; C4, C8 and CC in their midst mean something else
# After FF: a stuffed byte, restarts, fill bytes; and segments between the scans of one image
_JPEG_INSIDE = frozenset((0x00, 0xFF, *range(0xD0, 0xD8)))
_JPEG_SEGMENTS = frozenset((0xC4, 0xDA, 0xDB, 0xDC, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


class Header(NamedTuple):
    """What a PNG, JPEG or WebP file says it holds, and whether its end is there."""

    format: str  # noqa: A003
    width: int
    height: int
    whole: bool


class BadTile(ValueError):
    """A tile that cannot be read or must not be decoded; the message says why."""


def peek(blob: bytes) -> Header | None:
    """Read format and size from the header; None for anything but PNG, JPEG or WebP."""
    if blob[:8] == _PNG_MAGIC:
        return _peek_png(blob)
    if blob[:3] == b'\xff\xd8\xff':
        return _peek_jpeg(blob)
    if blob[:4] == b'RIFF' and blob[8:12] == b'WEBP':
        return _peek_webp(blob)
    return None


def check_tile(blob: object, tile_px: int | None = None) -> Header:
    """
    Return the header of a tile that is safe to decode.

    :param blob: what the store holds; a damaged database may hand out anything.
    :param tile_px: the store's tile size; None accepts 256, 512 and 1024.
    :raises BadTile: for anything else, before a pixel is decoded.
    """
    if not isinstance(blob, bytes) or not blob:
        raise BadTile('the tile is empty or no blob')
    if len(blob) > MAX_TILE_BYTES:
        raise BadTile(f'the tile has {len(blob)} bytes, more than {MAX_TILE_BYTES}')
    header = peek(blob)
    if header is None:
        raise BadTile('the tile is no PNG, JPEG or WebP image')
    sizes = TILE_SIZES_PX if tile_px is None else (tile_px,)
    if header.width != header.height or header.width not in sizes:
        raise BadTile(f'the tile claims {header.width}x{header.height} px, '
                      f'expected {" or ".join(map(str, sizes))} squared')
    if not header.whole:
        raise BadTile(f'the {header.format} tile is truncated')
    return header


def _peek_png(blob: bytes) -> Header | None:
    if blob[12:16] != b'IHDR' or len(blob) < 24:
        return None
    width, height = struct.unpack('>II', blob[16:24])
    return Header('png', width, height, blob.rfind(b'IEND', 24) >= 0)


def jpeg_is_torn(blob: bytes) -> bool:
    """
    Tell whether a JPEG's compressed data holds markers that cannot be there.

    Decoders fill what they do not understand with grey, and say so on stderr alone.
    """
    at = blob.find(b'\xff\xda')
    while 0 <= at:
        marker = blob[at + 1] if at + 1 < len(blob) else 0
        if marker == 0xD9:
            return False
        if marker in _JPEG_INSIDE:
            at += 2 if marker != 0xFF else 1
        elif marker in _JPEG_SEGMENTS:
            at += 2 + int.from_bytes(blob[at + 2:at + 4], 'big')
        else:
            return True
        at = blob.find(b'\xff', at)
    return False


def _peek_jpeg(blob: bytes) -> Header | None:
    """Walk the segments up to the first start of frame."""
    at = 2
    while at + 9 <= len(blob):
        if blob[at] != 0xFF:
            return None
        marker = blob[at + 1]
        if marker == 0xFF:              # fill byte
            at += 1
        elif marker in _JPEG_FRAMES:
            height, width = struct.unpack('>HH', blob[at + 5:at + 9])
            # FF D9 cannot occur inside entropy-coded data, where FF is followed by 00
            return Header('jpeg', width, height, blob.rfind(b'\xff\xd9', at + 9) >= 0)
        else:
            at += 2 + int.from_bytes(blob[at + 2:at + 4], 'big')
    return None


def _peek_webp(blob: bytes) -> Header | None:
    if len(blob) < 32:
        return None
    # The RIFF size counts what follows it
    whole = len(blob) >= int.from_bytes(blob[4:8], 'little') + 8
    kind = blob[12:16]
    if kind == b'VP8X':
        width = int.from_bytes(blob[24:27], 'little') + 1
        height = int.from_bytes(blob[27:30], 'little') + 1
    elif kind == b'VP8L' and blob[20] == 0x2F:
        bits = int.from_bytes(blob[21:25], 'little')
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b'VP8 ' and blob[23:26] == b'\x9d\x01\x2a':
        width, height = (n & 0x3FFF for n in struct.unpack('<HH', blob[26:30]))
    else:
        return None
    return Header('webp', width, height, whole)
