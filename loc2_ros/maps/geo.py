# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What raster maps need of rasterio and pyproj (extra ``geo``), and which files are let in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loc2_ros.maps.values import MapError
import numpy as np

# Formats that read the file they are given and what it names
_DRIVERS = ('GTiff', 'VRT')


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

    def dataset(self, path: Path) -> Any:
        """Return a dataset; :raises MapError: if it cannot be opened."""
        try:
            with self._rasterio.Env(GDAL_VRT_ENABLE_PYTHON='NO'):
                return self._rasterio.open(path)
        except self.errors as error:
            raise MapError(f'{path} cannot be read ({error}); copy or convert the map '
                           'again') from error

    def transformer(self, path: Path, crs: Any) -> tuple[Any, str]:
        """Return what turns longitude and latitude into the system, and a warning or ''."""
        if not crs:
            raise MapError(f'{path} names no coordinate system; give crs, such as EPSG:25832')
        try:
            system = self._pyproj.CRS.from_user_input(crs)
        except self._pyproj.exceptions.CRSError as error:
            raise MapError(f'{path}: the coordinate system {crs} is unknown; give crs, such as '
                           'EPSG:25832') from error
        group = self._pyproj.transformer.TransformerGroup('EPSG:4326', system, always_xy=True)
        made = self._pyproj.Transformer.from_crs('EPSG:4326', system, always_xy=True)
        return made, '' if group.best_available else (
            f'a PROJ grid for {system.name} is not installed: the map may lie metres off')


def refuse_foreign(path: Path, file: Any, allow_remote: bool) -> None:
    """Refuse what would read from elsewhere: a VRT may name any address."""
    if file.driver not in _DRIVERS:
        raise MapError(f'{path} is a {file.driver} file; convert it to GeoTIFF or MBTiles')
    remote = [name for name in file.files if '://' in name or name.startswith('/vsi')]
    if remote and not allow_remote:
        raise MapError(f'{path} reads from {remote[0]}; download its sources first')


def alpha_band(path: Path, file: Any) -> int:
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
