# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Crops of real imagery, against the same ground in the grid it came in, warped by GDAL."""

from __future__ import annotations

import math

import cv2
from geo_world import by_gdal, in_grid, place
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.store import MapError, open_store
from loc2_ros.maps.writer import write_mbtiles_from_local
from map_world import DATUM, noise_tile, shift_px
import numpy as np
import pytest

rasterio = pytest.importorskip('rasterio', reason="needs the extra 'geo'")
transform = pytest.importorskip('rasterio.transform')

NL = ('aerial/nl_gorinchem_z16-19.mbtiles', 'aerial/nl_gorinchem_0.25m_epsg28992.tif')
KITTI = ('kitti_0013/pseudo_ortho/kitti_0013_pseudo_ortho.mbtiles',
         'kitti_0013/pseudo_ortho/kitti_0013_pseudo_ortho_25832_0.1m.tif')


@pytest.mark.parametrize('yaw_deg', [0.0, 25.0, -140.0])
@pytest.mark.parametrize('xy', [(0.0, 0.0), (-35.0, 40.0)])
def test_tiles_of_a_dutch_aerial_photo_lie_where_gdal_puts_the_photo(real_data, yaw_deg, xy):
    tiles, photo = (real_data / name for name in NL)
    lat, lon = place(photo)
    # 2 km from the datum, so that convergence and scale matter
    far = LocalFrame(lat, lon)
    frame = LocalFrame(*far.inverse((-1500.0, 1500.0)))
    at = frame.forward(lat, lon) + xy
    with open_store(tiles) as store:
        crop = store.crop(frame, at, math.radians(yaw_deg), 100.0, 504)
    expected = by_gdal(photo, frame, crop, 100.0, 504)
    assert crop.valid_fraction == 1.0
    assert np.abs(shift_px(crop.image, expected)).max() < 0.2
    (du, dv), _ = cv2.phaseCorrelate(_grey(expected), _grey(crop.image), _window(504))
    assert max(abs(du), abs(dv)) < 0.2


def test_tiles_of_the_kitti_mosaic_lie_where_gdal_puts_the_mosaic(real_data):
    tiles, mosaic = (real_data / name for name in KITTI)
    lat, lon = place(mosaic)
    frame = LocalFrame(lat, lon)
    shifts = []
    with open_store(tiles) as store:
        for yaw in (0.0, 1.0):
            crop = store.crop(frame, (0.0, 0.0), yaw, 60.0, 600)
            expected = by_gdal(mosaic, frame, crop, 60.0, 600, alpha_band=4)
            valid = crop.valid & (expected[..., 3] == 255)
            inner = cv2.erode(valid.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
            assert inner.mean() > 0.05
            shifts.append(shift_px(crop.image, expected[..., :3], inner))
            # Little is lost, and nothing that GDAL does not see either
            assert (crop.valid & (expected[..., 3] == 0)).mean() < 0.002
            assert crop.valid_fraction > 0.8 * (expected[..., 3] == 255).mean()
    assert np.abs(shifts).max() < 0.2


def _grey(rgb):
    return cv2.cvtColor(np.ascontiguousarray(rgb[..., :3]), cv2.COLOR_RGB2GRAY).astype(np.float64)


def _window(px):
    return cv2.createHanningWindow((px, px), cv2.CV_64F)


@pytest.mark.parametrize('name', [NL[1], KITTI[1], 'aerial/neon_osbs_0.1m_epsg32617.tif',
                                  'aerial/swisstopo_zurich_0.5m_epsg2056.tif'])
@pytest.mark.parametrize('yaw_deg', [0.0, 70.0])
def test_a_raster_store_cuts_what_gdal_cuts(real_data, name, yaw_deg):
    path = real_data / name
    frame = LocalFrame(*place(path))
    with open_store(path) as store:
        gsd = store.info.gsd_m
        crop = store.crop(frame, (3.0, -4.0), math.radians(yaw_deg), 200 * gsd, 200)
        assert store.stats().broken == 0 and crop.zoom is None
    with rasterio.open(path) as file:
        four = file.count == 4
    expected = by_gdal(path, frame, crop, 200 * gsd, 200, alpha_band=4 if four else 0)
    assert crop.valid.any()
    valid = cv2.erode(crop.valid.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert np.abs(shift_px(crop.image, expected[..., :3], valid)).max() < 0.05


@pytest.mark.parametrize('epsg', [25832, 32632, 2056, 3857])
def test_the_same_ground_in_four_systems_gives_the_same_crop(tmp_path, epsg):
    # Karlsruhe lies outside 2056's area, which then tests the mathematics of a skewed grid
    frame, size = DATUM, 120.0
    rough = np.concatenate([np.concatenate([noise_tile(4 * i + j) for j in range(4)], 1)
                            for i in range(4)], 0)
    picture = cv2.GaussianBlur(rough, (0, 0), 2)
    tiles = write_mbtiles_from_local(tmp_path / 'map.mbtiles', picture, frame, -102.4, 102.4,
                                     0.2, quality=98)
    path = in_grid(tmp_path / 'map.tif', picture, frame, epsg)
    with open_store(tiles) as one, open_store(path) as other:
        a = one.crop(frame, (2.0, 1.0), 0.3, size, 600)
        b = other.crop(frame, (2.0, 1.0), 0.3, size, 600)
    assert a.valid_fraction == b.valid_fraction == 1.0
    assert np.abs(shift_px(b.image, a.image)).max() < 0.1


def test_a_raster_knows_its_edges_and_its_facts(tmp_path):
    path = in_grid(tmp_path / 'map.tif', np.full((1024, 1024, 3), 99, np.uint8), DATUM, 25832)
    with open_store(path, map_offset_m=(1.0, 0.0)) as store:
        crop = store.crop(DATUM, (102.0, 0.0), 0.0, 100.0, 200)
        assert crop.valid_fraction == pytest.approx(0.5, abs=0.02)
        assert np.all(crop.image[crop.valid] == 99)
        assert store.covered(DATUM, (102.0, 0.0), 100.0) == pytest.approx(0.5, abs=0.07)
        assert store.crop(DATUM, (9000.0, 0.0), 0.0, 100.0, 64).valid_fraction == 0.0
        assert store.crop(DATUM, (9e9, 0.0), 0.0, 100.0, 64).valid_fraction == 0.0
        assert store.crop_latlon(-80.0, -170.0, 0.0, 100.0, 64).valid_fraction == 0.0
        coarse = store.crop(DATUM, (0.0, 0.0), 0.0, 160.0, 100)
        assert coarse.valid_fraction == 1.0
        assert coarse.source_gsd_m == pytest.approx(0.8, rel=0.01)
        info = store.info
    assert info.gsd_m == pytest.approx(0.2, rel=0.002) and info.crs == 'EPSG:25832'
    assert info.bounds[0] < DATUM.lon_deg < info.bounds[2]
    assert info.offset_m == (1.0, 0.0)


def test_a_raster_without_a_place_or_of_another_kind_is_refused(tmp_path):
    def write(name, **change):
        options = {'driver': 'GTiff', 'width': 64, 'height': 64, 'count': 3, 'dtype': 'uint8',
                   'transform': transform.from_origin(457000, 5428000, 1, 1), **change}
        with rasterio.open(tmp_path / name, 'w', **options) as file:
            file.write(np.ones((options['count'], 64, 64), options['dtype']))
        return tmp_path / name

    nowhere = write('nowhere.tif')
    with pytest.raises(MapError, match='no coordinate system'):
        open_store(nowhere)
    with open_store(nowhere, crs='EPSG:25832') as store:
        assert store.info.bounds[1] == pytest.approx(49.0, abs=0.1)
    with pytest.raises(MapError, match='unknown; give crs'):
        open_store(nowhere, crs='EPSG:nonsense')
    with pytest.raises(MapError, match='8-bit'):
        open_store(write('heights.tif', count=1, dtype='float32', crs='EPSG:25832'))
    (tmp_path / 'broken.tif').write_bytes(b'II*\0 and no more')
    with pytest.raises(MapError, match='cannot be read'):
        open_store(tmp_path / 'broken.tif')


def test_a_vrt_that_reads_from_the_network_is_refused(tmp_path):
    path = tmp_path / 'map.vrt'
    path.write_text("""<VRTDataset rasterXSize="64" rasterYSize="64"><SRS>EPSG:25832</SRS>
        <GeoTransform>457000, 1, 0, 5428000, 0, -1</GeoTransform>
        <VRTRasterBand dataType="Byte" band="1"><SimpleSource>
        <SourceFilename relativeToVRT="0">/vsicurl/http://127.0.0.1:9/a.tif</SourceFilename>
        <SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>""")
    with pytest.raises(MapError, match='reads from /vsicurl'):
        open_store(path)
