# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Tiles as files, ``{z}/{x}/{y}.ext``: XYZ counts y from the north, TMS from the south."""

from __future__ import annotations

import hashlib
from itertools import islice
import json
import os
from pathlib import Path
from typing import Any, Iterator, Mapping

from loc2_ros.maps.guard import BadTile, MAX_TILE_BYTES
from loc2_ros.maps.tiles import is_place, MAX_ZOOM, tile_size
from loc2_ros.maps.values import MapError

EXTENSIONS = ('jpg', 'jpeg', 'png', 'webp')
_SAMPLES = 8


class TileFolder:
    """
    Tiles in a folder; see ``TileSource``.

    :param scheme: 'xyz' or 'tms'; None takes it from ``tilejson.json``, else XYZ. TMS is never
        guessed.
    """

    def __init__(self, root: Path, scheme: str | None = None) -> None:
        self._root = root.resolve()
        self.warnings: list[str] = []
        self.metadata: Mapping[str, str] = self._read_tilejson()
        self.format = scheme or self.metadata.get('scheme', 'xyz')
        if self.format not in ('xyz', 'tms'):
            raise MapError(f'{root} has the unknown scheme {self.format!r}; use xyz or tms')
        self.zooms = tuple(z for z in range(MAX_ZOOM + 1) if (self._root / str(z)).is_dir())
        files = list(self._some_files())
        if not files:
            raise MapError(f'{root} holds no tiles z/x/y.({"|".join(EXTENSIONS)}); give a folder '
                           'of tiles or an MBTiles file')
        found = {file.suffix[1:] for file in files}
        # The kind that was seen first, then the others: borders may be WebP among JPEG
        self._extensions = tuple(sorted(EXTENSIONS, key=lambda e: e not in found))
        size = tile_size([file.read_bytes() for file in files
                          if file.stat().st_size <= MAX_TILE_BYTES])
        if size is None:
            self.warnings.append('none of the tiles looked at is a sound JPEG, PNG or WebP image')
        self.tile_px = size or 256
        if scheme is None and 'scheme' not in self.metadata:
            self.warnings.append('the folder does not say how it counts rows; read as XYZ, '
                                 f'.{self._extensions[0]} first')

    def read(self, zoom: int, x: int, y: int) -> bytes | None:
        """Return the file of a tile or None."""
        path = self._find(zoom, x, y)
        if path is None:
            return None
        # A link may point anywhere; imagery comes from under the root only
        if not os.path.realpath(path).startswith(str(self._root) + os.sep):
            raise BadTile(f'{path} leads out of the map folder')
        try:
            with open(path, 'rb') as file:
                return file.read(MAX_TILE_BYTES + 1)
        except OSError as error:
            raise BadTile(f'{path} cannot be read: {error.strerror}') from error

    def has(self, zoom: int, x: int, y: int) -> bool:
        """Return whether the store has the tile."""
        return self._find(zoom, x, y) is not None

    def keys(self) -> Iterator[tuple[int, int, int]]:
        """List all tiles."""
        for zoom in self.zooms:
            for column in sorted((self._root / str(zoom)).iterdir()):
                if not (is_number(column.name) and column.is_dir()):
                    continue
                rows = {int(f.stem) for f in column.iterdir()
                        if f.suffix[1:] in EXTENSIONS and is_number(f.stem)}
                for row in sorted(rows):
                    y = (1 << zoom) - 1 - row if self.format == 'tms' else row
                    if is_place(zoom, int(column.name), row):
                        yield zoom, int(column.name), y

    def digest(self) -> str:
        """Return a hash of the metadata and of the folders' times."""
        stamps = [(z, (self._root / str(z)).stat().st_mtime_ns) for z in self.zooms]
        text = json.dumps([sorted(self.metadata.items()), stamps])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def close(self) -> None:
        """Do nothing: no file stays open."""

    def _find(self, zoom: int, x: int, y: int) -> str | None:
        row = (1 << zoom) - 1 - y if self.format == 'tms' else y
        stem = f'{self._root}{os.sep}{zoom:d}{os.sep}{x:d}{os.sep}{row:d}.'
        return next((stem + e for e in self._extensions if os.path.isfile(stem + e)), None)

    def _some_files(self) -> Iterator[Path]:
        """Look at a few tiles per level; folders of columns may be empty."""
        for zoom in reversed(self.zooms):
            tiles = (file for column in (self._root / str(zoom)).iterdir()
                     if is_number(column.name) and column.is_dir()
                     for file in column.iterdir()
                     if file.suffix[1:] in EXTENSIONS and is_number(file.stem) and file.is_file())
            yield from islice(tiles, _SAMPLES)

    def _read_tilejson(self) -> dict[str, str]:
        """Return the fields of ``tilejson.json`` as MBTiles would write them."""
        path = self._root / 'tilejson.json'
        if not path.is_file():
            return {}
        if path.stat().st_size > MAX_TILE_BYTES:
            raise MapError(f'{path} is too large for what it should be; repair or remove it')
        try:
            fields: Any = json.loads(path.read_text(encoding='utf-8'))
        except (OSError, RecursionError, ValueError) as error:
            raise MapError(f'{path} is not valid JSON ({error}); repair or remove it') from error
        if not isinstance(fields, dict):
            raise MapError(f'{path} is no JSON object; repair or remove it')
        return {str(k): _as_text(v) for k, v in fields.items()}


def is_number(name: str) -> bool:
    """Return whether a name is written as tiles are; '²' is a digit to Python, and no number."""
    return name.isascii() and name.isdigit() and len(name) < 10


def _as_text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(v, (int, float)) for v in value):
        return ','.join(map(str, value))
    return value if isinstance(value, str) else json.dumps(value)
