# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What raster maps need of rasterio and pyproj (extra ``geo``), and which files are let in."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from loc2_ros.maps.track import parse_xml
from loc2_ros.maps.values import MapError, Refused
from loc2_ros.maps.warp import Array, Patch
import numpy as np

# Formats that read the file they are given and what it names
STORE_DRIVERS = ('GTiff', 'VRT')
IMPORT_DRIVERS = (*STORE_DRIVERS, 'JP2OpenJPEG', 'GPKG', 'PNG', 'JPEG', 'WEBP')
# No Python inside a VRT, and no network whatever a file names
_SAFE = {'GDAL_VRT_ENABLE_PYTHON': 'NO', 'CPL_VSIL_CURL_ALLOWED_EXTENSIONS': '.none',
         'GDAL_DISABLE_READDIR_ON_OPEN': 'TRUE'}
_NEST = 4
# What GDAL looks for beside a raster by itself, and opens with whatever driver takes it
SIDECARS = ('.ovr', '.msk', '.aux.xml', '.OVR', '.MSK', '.AUX.XML')
SIDECAR_BYTES = 1 << 20
_ZIP = '/vsizip/'
_MAX_VRT_BYTES = 64 << 20
_RASTER_MAGIC = (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+', b'\x89PNG', b'\xff\xd8\xff', b'RIFF',
                 b'\0\0\0\x0cjP', b'\xffO\xffQ')


class Geo:
    """The libraries of the extra, and what is used of them."""

    def __init__(self) -> None:
        try:
            import pyproj
            import rasterio
        except ImportError as error:
            raise MapError("GeoTIFF maps need the extra 'geo'; pip install 'loc2_ros[geo]' or "
                           'rosdep install, or give an MBTiles file') from error
        self._pyproj, self._rasterio = pyproj, rasterio
        self.errors = (rasterio.errors.RasterioError, OSError)
        self.average = rasterio.enums.Resampling.average
        self.nearest = rasterio.enums.Resampling.nearest

    def safe(self, allow_remote: bool = False) -> Any:
        """Return the context in which files are opened and read."""
        return self._rasterio.Env(**({} if allow_remote else _SAFE))

    def dataset(self, path: Path | str, drivers: tuple[str, ...] = STORE_DRIVERS,
                allow_remote: bool = False) -> Any:
        """
        Return a dataset of a file that reads nothing but local files.

        :param path: a file, or ``/vsizip/`` and a member of an archive.
        :raises Refused: if it names other places; :raises MapError: if it cannot be opened.
        """
        if not allow_remote and not str(path).startswith(_ZIP):
            _refuse_odd(Path(path))
        try:
            with self.safe(allow_remote):
                file = self._rasterio.open(path)
        except self.errors as error:
            raise MapError(f'{path} cannot be read ({error}); copy or convert the map '
                           'again') from error
        if file.driver not in drivers:
            file.close()
            raise MapError(f'{path} is a {file.driver} file; convert it to GeoTIFF or MBTiles')
        return file

    def transformer(self, path: Path | str, crs: Any) -> tuple[Any, str]:
        """Return what turns longitude and latitude into the system, and a warning or ''."""
        if not crs:
            raise MapError(f'{path} names no coordinate system; give crs, such as EPSG:25832')
        system = self.crs(path, crs)
        group = self._pyproj.transformer.TransformerGroup('EPSG:4326', system, always_xy=True)
        made = self._pyproj.Transformer.from_crs('EPSG:4326', system, always_xy=True)
        return made, '' if group.best_available else (
            f'a PROJ grid for {system.name} is not installed: the map may lie metres off')

    def crs(self, path: Path | str, crs: Any) -> Any:
        """Return a coordinate system of pyproj; :raises MapError: if it is unknown."""
        try:
            return self._pyproj.CRS.from_user_input(crs)
        except self._pyproj.exceptions.CRSError as error:
            raise MapError(f'{path}: the coordinate system {crs} is unknown; give crs, such as '
                           'EPSG:25832') from error


def refuse_foreign(path: Path, depth: int = 0) -> None:
    """
    Refuse a VRT that reads from elsewhere: it may name any address, or a VRT that does.

    :raises Refused: naming what it reads from. Sources are checked by their names and first
        bytes, before GDAL sees any of it.
    """
    try:
        if path.stat().st_size > _MAX_VRT_BYTES or depth > _NEST:
            raise Refused(f'{path} is too large or nested too deeply; import its sources instead')
        root = parse_xml(path.read_bytes())
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise MapError(f'{path} cannot be read ({error}); copy or convert the map '
                       'again') from error
    if root.tag != 'VRTDataset':
        raise Refused(f'{path} is XML but no VRT, so it may describe a service; use loc2 map '
                      'download')
    for element in root.iter():
        name = (element.text or '').strip()
        if element.tag in ('SourceFilename', 'SourceDataset'):
            _refuse_source(path, element, name, depth)
        elif element.tag not in ('MDI', 'SRS') and ('://' in name or '/vsi' in name):
            raise Refused(f'{path} reads from {name[:80]}; download its sources first')


def refuse_sidecar(name: str, content: bytes) -> None:
    """
    Refuse what GDAL reads beside a raster, if it is one more description of where to read.

    :raises Refused: overviews and masks are TIFF; XML in their place may name a service.
    """
    text = content.lstrip(b'\xef\xbb\xbf \t\r\n')
    odd = (b'OVERVIEW_FILE' in text.upper() if name.lower().endswith('.aux.xml')
           else text.startswith(b'<'))
    if odd:
        raise Refused(f'{name} may read from elsewhere; remove it')


def _refuse_sidecars(path: Path) -> None:
    for suffix in SIDECARS:
        beside = path.with_name(path.name + suffix)
        if beside.is_file():
            with beside.open('rb') as file:
                refuse_sidecar(str(beside), file.read(SIDECAR_BYTES))
            _refuse_sidecars(beside)        # overviews may have overviews


def _refuse_odd(path: Path) -> None:
    """Have a look at a file before GDAL does: by its content, whatever its name says."""
    try:
        with path.open('rb') as file:
            head = file.read(64)
    except OSError as error:
        raise MapError(f'{path} cannot be read ({error.strerror}); check the path and its '
                       'permissions') from error
    if head.lstrip(b'\xef\xbb\xbf \t\r\n').startswith(b'<'):
        refuse_foreign(path)
    elif not head.startswith((*_RASTER_MAGIC, b'SQLite format 3')):
        raise MapError(f'{path} cannot be read: it is no raster that is known here; give '
                       'GeoTIFF, VRT, JPEG 2000, GeoPackage, PNG, JPEG or WebP')
    _refuse_sidecars(path)


def _refuse_source(path: Path, element: Any, name: str, depth: int) -> None:
    local = path.parent / name if element.get('relativeToVRT') == '1' else Path(name)
    if '://' in name or '/vsi' in name or name.startswith('<') or not local.is_file():
        raise Refused(f'{path} reads from {name[:80]}, which is no local file; download its '
                      'sources first')
    with local.open('rb') as file:
        head = file.read(16)
    if local.suffix.lower() == '.vrt' or head.lstrip().startswith(b'<'):
        refuse_foreign(local, depth + 1)
    elif not head.startswith(_RASTER_MAGIC):
        raise Refused(f'{path} reads from {name[:80]}, which is no TIFF, JPEG 2000, PNG, JPEG or '
                      'WebP file; import it by itself')
    _refuse_sidecars(local)


def alpha_band(path: Path | str, file: Any) -> int:
    """Return the number of the band that says where there is imagery, 0 for none."""
    if any(kind != 'uint8' for kind in file.dtypes) or file.count not in (1, 2, 3, 4):
        raise MapError(f'{path} has {file.count} bands of {file.dtypes[0]}; convert it to 8-bit '
                       'grey or RGB')
    if file.count in (1, 3):
        return 0
    kind = file.colorinterp[-1].name
    if kind == 'undefined':
        # Alpha that was not declared takes two values, infrared takes many
        small = file.read(file.count, out_shape=(min(file.height, 256), min(file.width, 256)))
        return file.count if np.isin(small, (0, 255)).all() else 0
    return file.count if kind == 'alpha' else 0


def palette_of(file: Any) -> Any:
    """Return the colours of a file of indices, (256, 4) uint8 RGBA, or None."""
    if file.count != 1 or file.colorinterp[0].name != 'palette':
        return None
    colours = np.zeros((256, 4), np.uint8)
    for index, colour in file.colormap(1).items():
        if index < 256:
            colours[index] = colour
    return colours


def read_patch(geo: Geo, file: Any, window: Any, shape: tuple[int, int], alpha: int,
               empty: int | None = None) -> Patch:
    """
    Read a window, averaged down to a shape.

    :param window: ((row0, row1), (column0, column1)).
    :param alpha: the band that says where there is imagery, 0 for none.
    :param empty: value of all bands where there is no imagery, None for none.
    """
    palette = palette_of(file)
    options = {'window': window, 'out_shape': shape,
               'resampling': geo.average if palette is None else geo.nearest}
    if palette is not None:
        coloured = palette[file.read(1, **options)]
        rgb, mask = coloured[..., :3], coloured[..., 3]
    else:
        bands = [1, 2, 3] if file.count >= 3 else [1, 1, 1]
        options['out_shape'] = (3, *shape)
        rgb = file.read(bands, **options).transpose(1, 2, 0)
        options['out_shape'] = shape
        mask = file.read(alpha, **options) if alpha else file.dataset_mask(
            window=window, out_shape=shape)
    if empty is not None:
        mask = np.where(np.all(rgb == empty, axis=-1), 0, mask)
    opaque = np.where(mask == 255, np.uint8(255), np.uint8(0))
    return Patch(np.ascontiguousarray(rgb), None if opaque.all() else opaque)


def pixels_of(to_crs: Any, to_px: Any, lat: Any, lon: Any) -> Array:
    """Return the pixels of a file, from its edges, of degrees, (N, 2)."""
    x, y = to_crs.transform(lon, lat)
    with np.errstate(invalid='ignore'):
        return np.stack([to_px.a * x + to_px.b * y + to_px.c,
                         to_px.d * x + to_px.e * y + to_px.f], axis=1)
