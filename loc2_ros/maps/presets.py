# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Services of aerial imagery under open licences, with what their licences ask.

Addresses and terms change. ``checked`` says when a request was last answered as expected; none of
these has been asked yet, and the command line says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from loc2_ros.maps.values import MapError

_NEVER = 'never'
_DL_BY = ('dl-de/by-2-0', 'https://www.govdata.de/dl-de/by-2-0')
_DL_ZERO = ('dl-de/zero-2-0', 'https://www.govdata.de/dl-de/zero-2-0')
_CC_BY = ('CC-BY-4.0', 'https://creativecommons.org/licenses/by/4.0/')


@dataclass(frozen=True)
class Preset:
    """
    One service.

    :param url: template of tiles or pieces; ``{year}`` is filled in beforehand.
    :param zooms: the levels worth asking for.
    :param crs: system in which a WMS is asked, its own, so that it need not warp.
    :param gsd_m: ground size of the imagery's pixels.
    :param years: those to choose from; empty: only the newest there is.
    :param checked: date of the last live check, or 'never'.
    """

    name: str
    title: str
    url: str
    licence: str
    licence_url: str
    attribution: str
    zooms: tuple[int, int]
    gsd_m: float
    crs: str = 'EPSG:3857'
    years: tuple[int, ...] = ()
    checked: str = _NEVER

    def of_year(self, year: int | None) -> Preset:
        """Return the service for a year; :raises MapError: if it has no such choice."""
        if year is None and not self.years:
            return self
        chosen = self.years[-1] if year is None else year
        if chosen not in self.years:
            text = ', '.join(map(str, self.years)) or 'none: it has the newest only'
            raise MapError(f'{self.name} has no year {chosen}; its years are {text}')
        return replace(self, url=self.url.replace('{year}', str(chosen)))


def _wms(base: str, layer: str, version: str = '1.3.0', kind: str = 'image/jpeg') -> str:
    system = 'CRS' if version == '1.3.0' else 'SRS'
    return (f'{base}?SERVICE=WMS&VERSION={version}&REQUEST=GetMap&LAYERS={layer}&STYLES=&'
            f'{system}={{proj}}&BBOX={{bbox}}&WIDTH={{width}}&HEIGHT={{height}}&FORMAT={kind}')


_LGL = 'https://owsproxy.lgl-bw.de/owsproxy/ows/'
_WMTS = '?SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0'
_TILE = '&TILEMATRIX={z}&TILEROW={y}&TILECOL={x}'

_ALL = (
    Preset('lgl-bw-dop20', 'Baden-Wuerttemberg, newest',
           _wms(f'{_LGL}WMS_LGL-BW_ATKIS_DOP_20_C', 'IMAGES_DOP_20_RGB'), *_DL_BY,
           'Datenquelle: LGL, www.lgl-bw.de', (14, 20), 0.2, 'EPSG:25832'),
    Preset('lgl-bw-hist', 'Baden-Wuerttemberg, by year (before 2018 resampled)',
           _wms(f'{_LGL}WMS_LGL-BW_HIST_DOP_2010-2019', 'IMAGES_DOP_{year}_RGB'), *_DL_BY,
           'Datenquelle: LGL, www.lgl-bw.de', (14, 20), 0.2, 'EPSG:25832',
           tuple(range(2010, 2020))),
    Preset('nrw-dop', 'North Rhine-Westphalia',
           _wms('https://www.wms.nrw.de/geobasis/wms_nw_dop', 'nw_dop_rgb'), *_DL_ZERO,
           'Geobasis NRW', (14, 21), 0.1, 'EPSG:25832'),
    Preset('bayern-dop20', 'Bavaria',
           _wms('https://geoservices.bayern.de/od/wms/dop/v1/dop20', 'by_dop20c'), *_CC_BY,
           'Bayerische Vermessungsverwaltung – www.geodaten.bayern.de', (14, 20), 0.2,
           'EPSG:25832'),
    Preset('swissimage', 'Switzerland',
           'https://wmts.geo.admin.ch/1.0.0/ch.swisstopo.swissimage/default/current/3857/'
           '{z}/{x}/{y}.jpeg', 'OGD swisstopo',
           'https://www.swisstopo.admin.ch/en/terms-of-use-free-geodata-and-geoservices',
           '© swisstopo', (14, 20), 0.1),
    Preset('pdok-ortho', 'Netherlands',
           'https://service.pdok.nl/hwh/luchtfotorgb/wmts/v1_0/Actueel_orthoHR/EPSG:3857/'
           '{z}/{x}/{y}.jpeg', *_CC_BY, 'Kadaster / Beeldmateriaal.nl', (14, 21), 0.08),
    Preset('ign-bdortho', 'France',
           f'https://data.geopf.fr/wmts{_WMTS}&LAYER=ORTHOIMAGERY.ORTHOPHOTOS&STYLE=normal&'
           f'FORMAT=image/jpeg&TILEMATRIXSET=PM{_TILE}', 'Licence-Ouverte-2.0',
           'https://www.etalab.gouv.fr/licence-ouverte-open-licence', 'IGN – BD ORTHO',
           (14, 19), 0.2),
    Preset('pnoa', 'Spain', 'https://tms-pnoa-ma.idee.es/1.0.0/pnoa-ma/{z}/{x}/{-y}.jpeg',
           *_CC_BY, 'PNOA, © Instituto Geográfico Nacional', (14, 20), 0.25),
    Preset('basemap-at', 'Austria',
           'https://mapsneu.wien.gv.at/basemap/bmaporthofoto30cm/normal/google3857/'
           '{z}/{y}/{x}.jpeg', *_CC_BY, 'Datenquelle: basemap.at', (14, 20), 0.3),
    Preset('usgs-naip', 'United States',
           'https://basemap.nationalmap.gov/arcgis/rest/services/USGSImageryOnly/MapServer/'
           'tile/{z}/{y}/{x}', 'public domain', 'https://www.usgs.gov/information-policies-and-'
           'instructions/copyrights-and-credits', 'U.S. Geological Survey', (14, 18), 0.6),
    Preset('openaerialmap', 'where volunteers flew; patchy',
           'https://apps.kontur.io/raster-tiler/oam/mosaic/{z}/{x}/{y}.png', *_CC_BY,
           '© OpenAerialMap contributors', (14, 20), 0.3),
)
PRESETS = {preset.name: preset for preset in _ALL}


def preset_of(name: str, year: int | None = None) -> Preset:
    """Return a service by name; :raises MapError: naming those there are."""
    if name not in PRESETS:
        raise MapError(f'{name!r} is no preset; there are {", ".join(PRESETS)}')
    return PRESETS[name].of_year(year)
