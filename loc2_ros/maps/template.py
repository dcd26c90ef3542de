# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Addresses of tiles and of pieces of a map, from a template with a known set of names."""

from __future__ import annotations

import os
import re
from typing import Mapping

from loc2_ros.maps.values import MapError

KEY_VARIABLE = 'LOC2_MAP_KEY'
_FIELD = re.compile(r'\{([^{}]*)\}')
_TILE = {'z': 'z', 'x': 'x', 'y': 'y', '-y': '-y', 'q': 'q', 's': 's', 'level': 'z',
         'TileMatrix': 'z', 'TileCol': 'x', 'TileRow': 'y'}
_WMS = ('bbox', 'proj', 'width', 'height')
_KNOWN = f'{{z}} {{x}} {{y}} {{-y}} {{q}} {{s}} {{switch:a,b,c}} {{key}}, or {" ".join(_WMS)}'


class Template:
    """
    An address with names in braces; nothing else in it is ever interpreted.

    :param text: such as ``https://example.org/{z}/{x}/{y}.jpg``.
    :param levels: what the service calls its levels, such as ``EPSG:3857:12``, and which it has;
        None: any, by number.
    :raises MapError: if it has names that are not known, or not all that are needed.
    """

    def __init__(self, text: str, levels: Mapping[int, str] | None = None) -> None:
        self.text, self.levels = text, levels
        names = _FIELD.findall(text)
        odd = [n for n in names if n not in (*_TILE, *_WMS, 'key') and not _is_switch(n)]
        if odd:
            raise MapError(f'{{{odd[0]}}} means nothing in an address; known are {_KNOWN}')
        meant = {_TILE.get(n, n) for n in names}
        self.is_wms = 'bbox' in meant
        if not self.is_wms and not ('q' in meant or ({'z', 'x'} <= meant and (
                'y' in meant or '-y' in meant))):
            raise MapError(f'{text} lacks {{z}}, {{x}} and {{y}}, or {{bbox}}; known are '
                           f'{_KNOWN}')
        if 'key' in names and not os.environ.get(KEY_VARIABLE):
            raise MapError(f'the address needs a key; set the variable {KEY_VARIABLE}')

    def tile(self, zoom: int, x: int, y: int) -> str:
        """Return the address of a tile, y from the north."""
        values = {'z': self.level(zoom), 'x': str(x), 'y': str(y), '-y': str((1 << zoom) - 1 - y),
                  'q': quadkey(zoom, x, y), 's': 'abc'[(x + y) % 3]}
        return self._filled({n: values[m] for n, m in _TILE.items()}, x + y)

    def level(self, zoom: int) -> str:
        """Return what the service calls a level; :raises MapError: if it has none such."""
        if self.levels is None:
            return str(zoom)
        if zoom not in self.levels:
            raise MapError(f'the service has no level {zoom}; choose one of '
                           f'{" ".join(map(str, sorted(self.levels)))} with --zoom')
        return self.levels[zoom]

    def piece(self, bbox: tuple[float, float, float, float], proj: str, width: int,
              height: int) -> str:
        """Return the address of a piece, its box in the order that the server expects."""
        return self._filled({'bbox': ','.join(f'{v:.6f}' for v in bbox), 'proj': proj,
                             'width': str(width), 'height': str(height)}, 0)

    def _filled(self, values: Mapping[str, str], pick: int) -> str:
        def fill(found: re.Match[str]) -> str:
            name = found[1]
            if _is_switch(name):
                choices = name.partition(':')[2].split(',')
                return choices[pick % len(choices)]
            return os.environ[KEY_VARIABLE] if name == 'key' else values[name]

        return _FIELD.sub(fill, self.text)

    def samples(self) -> list[str]:
        """Return addresses with every choice of a switch, to be checked before any request."""
        choices = max([len(n.split(',')) for n in _FIELD.findall(self.text)] or [1])
        if self.is_wms:
            values = {'bbox': '0,0,1,1', 'proj': 'EPSG:3857', 'width': '1', 'height': '1'}
            return [self._filled(values, k) for k in range(choices)]
        zoom = 10 if self.levels is None else min(self.levels)
        return [self.tile(zoom, k, 0) for k in range(max(choices, 3))]


def _is_switch(name: str) -> bool:
    return name.startswith('switch:') and len(name) > 7


def quadkey(zoom: int, x: int, y: int) -> str:
    """Return the digits that name a tile, one per level."""
    return ''.join(str((x >> k & 1) + 2 * (y >> k & 1)) for k in reversed(range(zoom)))
