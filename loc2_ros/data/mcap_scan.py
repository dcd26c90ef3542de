# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What is left of a cut-off MCAP file: a walk over its records, without decompressing any."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
import struct
from typing import BinaryIO

MAGIC = b'\x89MCAP0\r\n'
_FOOTER, _MESSAGE, _CHUNK, _MESSAGE_INDEX = 0x02, 0x05, 0x06, 0x07


@dataclass(frozen=True)
class McapScan:
    """
    What a walk over an MCAP file found.

    :param is_mcap: the file starts like one.
    :param complete: it reached the footer.
    :param messages: whole messages before the walk ended.
    :param seconds: time they span.
    """

    is_mcap: bool
    complete: bool = False
    messages: int = 0
    seconds: float = 0.0

    def __str__(self) -> str:
        if self.complete:
            return f'the file ends properly and holds {self.messages} messages'
        return (f'the file ends in the middle: {self.messages} messages, '
                f'{self.seconds:.1f} s of them, can still be recovered')


def scan_mcap(path: Path) -> McapScan:
    """Walk over the records until the footer or the first one that is not whole."""
    size = path.stat().st_size
    with path.open('rb') as file:
        if file.read(len(MAGIC)) != MAGIC:
            return McapScan(False)
        return _walk(file, size)


def _walk(file: BinaryIO, size: int) -> McapScan:
    """Count messages record by record."""
    messages, times = 0, []
    while True:
        head = file.read(9)
        if len(head) < 9:
            break
        op, length = struct.unpack('<BQ', head)
        end = file.tell() + length
        if op == _FOOTER or end > size:
            break
        body = file.read(min(length, 64))
        if op == _MESSAGE and length >= 22:
            messages += 1
            times.append(struct.unpack_from('<Q', body, 6)[0])
        elif op == _CHUNK and length >= 16:
            times += struct.unpack_from('<QQ', body)
        elif op == _MESSAGE_INDEX and length >= 6:
            # One index per channel follows its chunk; an entry has 16 bytes
            messages += struct.unpack_from('<I', body, 2)[0] // 16
        file.seek(end)
    complete = len(head) == 9 and head[0] == _FOOTER
    return McapScan(True, complete, messages, (max(times) - min(times)) * 1e-9 if times else 0.0)
