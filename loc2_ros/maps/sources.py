# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What a user may hand to an import: files, globs, folders and archives of imagery."""

from __future__ import annotations

from dataclasses import dataclass
import glob
import hashlib
from pathlib import Path, PurePosixPath
from typing import Iterator
import zipfile
import zlib

from loc2_ros.maps.values import MapError, Refused

RASTERS = ('.tif', '.tiff', '.vrt', '.jp2', '.j2k', '.gpkg', '.png', '.jpg', '.jpeg', '.webp')
TILES = ('.mbtiles', '.pmtiles')
# What /vsizip/ would have to unpack to get at the end of a member
_MAX_MEMBER_BYTES = 32 << 30
_MAX_RATIO = 2000
_MAX_MEMBERS = 100_000


@dataclass(frozen=True)
class Source:
    """
    One piece of imagery to import.

    :param path: what to open: a file, a folder of tiles, or ``/vsizip/`` and a member.
    :param file: the file that it lies in.
    :param is_tiles: a store of tiles, to be copied byte for byte.
    """

    path: str
    file: Path
    is_tiles: bool

    @property
    def name(self) -> str:
        """Return a name for the record of where imagery came from."""
        member = self.path.split(f'{self.file.name}/', 1)[1:] if '/vsizip/' in self.path else []
        return '/'.join([self.file.name, *member])

    def sha256(self) -> str:
        """Return the hash of the file; '' for a folder."""
        if self.file.is_dir():
            return ''
        digest = hashlib.sha256()
        with self.file.open('rb') as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


def find_sources(given: list[str]) -> list[Source]:
    """
    Return the imagery behind names, in the order given.

    :raises MapError: if there is none; :raises Refused: for what is not local or not safe.
    """
    found: list[Source] = []
    for text in given:
        if '://' in text or text.startswith('/vsi'):
            raise Refused(f'{text} is not a local path; download it first')
        path = Path(text).expanduser()
        if path.exists():
            found += _of(path)
            continue
        names = sorted(glob.glob(str(path), recursive=True))
        if not names:
            raise MapError(f'{text} does not exist; give files, folders or patterns of imagery')
        found += [source for name in names for source in _of(Path(name))]
    if not found:
        raise MapError(f'{", ".join(given)} holds no imagery; it is {", ".join(RASTERS)}, '
                       f'{", ".join(TILES)}, .zip or a folder of tiles')
    return found


def _of(path: Path) -> Iterator[Source]:
    suffix = path.suffix.lower()
    if path.is_dir() and _is_tile_folder(path):
        yield Source(str(path), path, True)
    elif path.is_dir():
        for file in sorted(path.rglob('*')):
            if file.is_file() and file.suffix.lower() in (*RASTERS, *TILES, '.zip'):
                yield from _of(file)
    elif suffix == '.zip':
        for member in members(path):
            yield Source(f'/vsizip/{path.resolve()}/{member}', path, False)
    else:
        yield Source(str(path), path, suffix in TILES or _is_other_database(path))


def _is_other_database(path: Path) -> bool:
    """Return whether a file is SQLite and no GeoPackage: MBTiles need not be called so."""
    if path.suffix.lower() == '.gpkg':
        return False
    with path.open('rb') as file:
        return file.read(16) == b'SQLite format 3\0'


def _is_tile_folder(path: Path) -> bool:
    return (path / 'tilejson.json').is_file() or any(
        child.name.isdigit() and child.is_dir() for child in path.iterdir())


def members(path: Path) -> list[str]:
    """
    Return the rasters in an archive.

    :raises Refused: for names that lead out of it, and for sizes that only a bomb has. Nothing is
        ever unpacked to disk, yet such an archive is not to be trusted in anything.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
    except (OSError, zipfile.BadZipFile) as error:
        raise MapError(f'{path} cannot be read ({error}); fetch it again') from error
    if len(infos) > _MAX_MEMBERS:
        raise Refused(f'{path} has {len(infos)} members; unpack it yourself if you trust it')
    for info in infos:
        parts = PurePosixPath(info.filename).parts
        # zipfile turns os.sep of the writer into '/'; what is left of the other kind is odd
        if '..' in parts or info.filename.startswith('/') or '\\' in info.filename or (
                len(info.filename) > 1 and info.filename[1] == ':'):
            raise Refused(f'{path} has a member named {info.filename!r}, which leads out of it; '
                          'do not use this archive')
        if info.file_size > min(_MAX_MEMBER_BYTES,
                                max(_MAX_RATIO * info.compress_size, 64 << 20)):
            raise Refused(f'{path}: {info.filename} would unpack to {info.file_size >> 20} MB '
                          'from next to nothing; do not use this archive')
    _check_sidecars(path, infos)
    # A VRT in an archive could only name files that GDAL resolves by itself
    return sorted(info.filename for info in infos if not info.is_dir() and
                  PurePosixPath(info.filename).suffix.lower() in RASTERS
                  and PurePosixPath(info.filename).suffix.lower() != '.vrt')


def _check_sidecars(path: Path, infos: list[zipfile.ZipInfo]) -> None:
    """Refuse an archive in which overviews are descriptions of where to read."""
    from loc2_ros.maps.geo import refuse_sidecar, SIDECAR_BYTES, SIDECARS

    with zipfile.ZipFile(path) as archive:
        for info in infos:
            if not info.filename.endswith(SIDECARS):
                continue
            try:
                with archive.open(info) as member:
                    head = member.read(SIDECAR_BYTES)
            except (OSError, RuntimeError, NotImplementedError, zlib.error,
                    zipfile.BadZipFile) as error:
                raise MapError(f'{path} cannot be read ({error}); fetch it again') from error
            refuse_sidecar(f'{path}: {info.filename}', head)
