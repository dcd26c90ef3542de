# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Stores: formats, holes, masks, bad input, threads, the cache's bound."""

from __future__ import annotations

import json
from pathlib import Path
import shutil
import sqlite3
import threading

import cv2
from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps import sqlite_file
from loc2_ros.maps.mercator import merc_px, world_projection
from loc2_ros.maps.store import MapError, open_store
from map_world import (DATUM, jpeg, noise_tile, PatternSource, pixel_grid, png, store_of, tile_at,
                       tiles_around, write_folder, write_mbtiles, ZOOM)
import numpy as np
import pytest

CENTRE = tile_at()
NOISE = [[noise_tile(5 * i + j) for j in range(5)] for i in range(5)]
TILES = tiles_around(CENTRE, lambda i, j: png(NOISE[i + 2][j + 2]))
TILE_M = 50.2       # of level 19 at the datum


def _crop(store, xy=(0.0, 0.0), yaw=0.3, size=60.0, px=300):
    return store.crop(DATUM, xy, yaw, size, px)


@pytest.fixture
def noise(tmp_path) -> Path:
    return write_mbtiles(tmp_path / 'map.mbtiles', TILES, {'name': 'noise', 'format': 'png'})


def _same(crop, other):
    assert crop.valid_fraction == other.valid_fraction
    np.testing.assert_array_equal(crop.image, other.image)


def test_mbtiles_views_and_folders_of_either_row_order_give_the_same_crop(noise, tmp_path):
    with open_store(noise) as store:
        expected = _crop(store)
    assert expected.valid_fraction == 1.0
    view = write_mbtiles(tmp_path / 'view.mbtiles', TILES, view=True)
    xyz = write_folder(tmp_path / 'xyz', TILES)
    tms = write_folder(tmp_path / 'tms', TILES, tms=True)
    for path, scheme in [(view, None), (xyz, None), (xyz, 'xyz'), (tms, 'tms')]:
        with open_store(path, scheme=scheme) as store:
            _same(_crop(store), expected)


def test_a_tilejson_names_the_row_order(tmp_path):
    root = write_folder(tmp_path / 'tms', TILES, tms=True)
    (root / 'tilejson.json').write_text(json.dumps({
        'scheme': 'tms', 'name': 'folder', 'bounds': [8.40, 49.0, 8.41, 49.1],
        'attribution': 'Somebody'}))
    with open_store(root) as store:
        assert _crop(store).valid_fraction == 1.0
        assert store.info.attribution == 'Somebody'
        assert store.info.bounds == (8.40, 49.0, 8.41, 49.1)
        assert store.info.format == 'tms'


def test_a_tms_folder_read_as_xyz_is_empty_and_never_a_wrong_picture(tmp_path):
    with open_store(write_folder(tmp_path / 'tms', TILES, tms=True)) as store:
        assert _crop(store).valid_fraction == 0.0
        assert any('read as XYZ' in text for text in store.info.warnings)


def test_a_tile_link_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    root = write_folder(tmp_path / 'xyz', TILES)
    secret = tmp_path / 'outside.png'
    secret.write_bytes(png(NOISE[0][0]))
    inside = root / str(ZOOM) / str(CENTRE[0]) / f'{CENTRE[1]}.png'
    inside.unlink()
    inside.symlink_to(secret)
    with open_store(root) as store:
        assert _crop(store).valid_fraction < 1.0
        assert store.stats().broken == 1 and 'leads out' in store.stats().last_error


@pytest.mark.parametrize('name', ['plain.mbtiles', 'a blank.mbtiles', 'hash#tag.mbtiles',
                                  'what?.mbtiles', 'per%20cent.mbtiles', 'ümläut.mbtiles',
                                  'no_suffix'])
def test_odd_names_open(noise, tmp_path, name):
    path = tmp_path / 'a folder#?' / name
    path.parent.mkdir()
    shutil.copy(noise, path)
    with open_store(path) as store:
        assert _crop(store).valid_fraction == 1.0


def test_a_wal_file_in_a_read_only_folder_opens(tmp_path):
    folder = tmp_path / 'medium'
    folder.mkdir()
    path = write_mbtiles(folder / 'map.mbtiles', TILES, wal=True)
    for side in folder.glob('map.mbtiles-*'):
        side.unlink()
    path.chmod(0o444)
    folder.chmod(0o555)
    try:
        with open_store(path) as store:
            assert _crop(store).valid_fraction == 1.0
        # The superuser may write anywhere, so look that nothing was
        assert [p.name for p in folder.iterdir()] == ['map.mbtiles']
    finally:
        folder.chmod(0o755)


def test_a_map_that_is_being_written_opens_with_what_is_in_it_and_says_so(tmp_path):
    path = write_mbtiles(tmp_path / 'map.mbtiles', TILES, wal=True)
    writer = sqlite3.connect(path)
    writer.execute('PRAGMA wal_autocheckpoint=0')
    writer.execute('DELETE FROM tiles WHERE tile_column > ?', (CENTRE[0],))
    writer.commit()
    with open_store(path) as store:
        assert _crop(store).valid_fraction == 1.0       # the file as it was
        assert any('being written' in text for text in store.info.warnings)
    writer.close()


def test_metadata_become_info_and_nonsense_becomes_unknown(tmp_path):
    own = {'acquired': {'from': '2011-05', 'to': '2011-09'}, 'licence': 'dl-de/by-2-0',
           'map_offset_m': [-0.74, -0.6], 'tile_count': 25}
    rows = {'name': 'n', 'bounds': '8.40,49.00,8.41,49.01', 'attribution': 'LGL',
            'loc2': json.dumps(own)}
    with open_store(write_mbtiles(tmp_path / 'good', TILES, rows)) as store:
        info = store.info
    assert (info.name, info.attribution, info.licence) == ('n', 'LGL', 'dl-de/by-2-0')
    assert (info.date, info.offset_m, info.tile_count) == ('2011-05/2011-09', (-0.74, -0.6), 25)
    assert info.zooms == (ZOOM,) and info.tile_px == 256
    assert info.gsd_m == pytest.approx(0.196, abs=0.001)
    rows = {'bounds': 'a,b,c', 'loc2': '[1, {', 'minzoom': 'x', 'maxzoom': '99'}
    with open_store(write_mbtiles(tmp_path / 'bad', TILES, rows)) as store:
        info = store.info
    assert info.bounds is None and info.date is None and info.zooms == (ZOOM,)
    assert 'the date of the imagery is unknown' in info.warnings
    assert info.digest


def test_the_callers_offset_beats_that_of_the_map(noise):
    with open_store(noise, map_offset_m=(1.0, 2.0)) as store:
        assert store.info.offset_m == (1.0, 2.0)


@pytest.mark.parametrize('content, text', [
    (None, 'does not exist'), (b'', 'no map'), (b'this is no map', 'no map'),
    (b'SQLite format 3\0' + bytes(200), 'damaged|no tiles table|without a tiles'),
    (b'SQLite format 3\0' + bytes(range(256)) * 8, 'damaged|truncated'),
    (b'\x89PNG\r\n\x1a\n' + bytes(100), 'no map')])
def test_what_is_no_map_is_refused_with_one_sentence_and_a_remedy(tmp_path, content, text):
    path = tmp_path / 'file.mbtiles'
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MapError, match=text) as raised:
        open_store(path)
    message = str(raised.value)
    assert 'file.mbtiles' in message and ';' in message and '\n' not in message


def test_other_databases_empty_maps_and_vector_maps_are_refused(tmp_path):
    other = tmp_path / 'other.gpkg'
    with sqlite3.connect(other) as database:
        database.execute('CREATE TABLE gpkg_contents (a)')
    with pytest.raises(MapError, match='without a tiles table'):
        open_store(other)
    with pytest.raises(MapError, match='holds no tiles'):
        open_store(write_mbtiles(tmp_path / 'empty', {}))
    vector = write_mbtiles(tmp_path / 'vector', tiles_around(CENTRE, b'\x1f\x8b\x08 and so on'))
    with pytest.raises(MapError, match='vector tiles'):
        open_store(vector)
    (tmp_path / 'nothing').mkdir()
    with pytest.raises(MapError, match='holds no tiles'):
        open_store(tmp_path / 'nothing')


@pytest.mark.parametrize('path, text', [
    ('', 'set map.path'), ('https://tiles.example/{z}/{x}/{y}.jpg', 'not a local path'),
    ('/vsicurl/http://example/a.tif', 'not a local path')])
def test_no_path_and_addresses_are_refused(path, text):
    with pytest.raises(MapError, match=text):
        open_store(path)


def test_a_scheme_nobody_knows_is_refused(noise):
    with pytest.raises(MapError, match='use xyz or tms'):
        open_store(noise, scheme='quadkey')


def test_a_truncated_file_is_refused(noise):
    blob = noise.read_bytes()
    noise.write_bytes(blob[:len(blob) * 2 // 3])
    with pytest.raises(MapError, match='truncated'):
        open_store(noise)


def test_damaged_pages_are_holes_that_are_counted_and_the_rest_is_read(noise):
    blob = bytearray(noise.read_bytes())
    with open_store(noise) as store:
        whole = _crop(store, size=200.0)
    # A tenth in the middle: index and metadata lie at the ends
    third, size = len(blob) // 3, len(blob) // 10
    blob[third:third + size] = np.random.default_rng(3).bytes(size)
    noise.write_bytes(blob)
    with open_store(noise) as store:
        crop, stats = _crop(store, size=200.0), store.stats()
        warnings = store.info.warnings
    assert 0.0 < crop.valid_fraction < whole.valid_fraction
    assert stats.broken > 0 and stats.last_error
    assert any('damaged' in text for text in warnings)


BOMB = (b'\x89PNG\r\n\x1a\n\0\0\0\rIHDR' + (20000).to_bytes(4, 'big') * 2
        + b'\x08\x02\0\0\0' + bytes(100) + b'IEND')


@pytest.mark.parametrize('blob', [
    jpeg(NOISE[0][0])[:3000], jpeg(NOISE[0][0])[:-2], png(NOISE[0][0])[:5000], BOMB, b'', None,
    'text', 3.5, b'<html>429</html>', png(np.zeros((512, 512, 3), np.uint8)),
    png(np.zeros((256, 200, 3), np.uint8)), b'\0' * 5_000_000,
    png(NOISE[0][0])[:60] + b'\xff' * 500 + b'IEND'],
    ids=['half jpeg', 'jpeg without end', 'half png', 'bomb', 'empty', 'null', 'text', 'number',
         'html', 'foreign size', 'not square', 'huge', 'garbled png'])
def test_a_broken_tile_is_a_hole_of_its_own_size_and_nothing_raises(tmp_path, blob):
    tiles = {**TILES, (ZOOM, *CENTRE): blob}
    with open_store(write_mbtiles(tmp_path / 'map', tiles)) as store:
        crop = _crop(store, yaw=0.0, size=120.0, px=600)
        stats = store.stats()
    missing = (1.0 - crop.valid_fraction) * 120.0 ** 2
    assert missing == pytest.approx(TILE_M ** 2, rel=0.03)
    assert (stats.broken, stats.holes) == (1, 0)
    assert not crop.image[~crop.valid].any()


def _truth(crop, hole_at):
    """Return where the source pixel under each crop pixel exists, by its world coordinates."""
    world = world_projection(DATUM, ZOOM)((crop.map_T_px @ pixel_grid(crop.valid.shape[0])).T)
    return ~hole_at(*world.T).reshape(crop.valid.shape)


def test_the_mask_equals_the_holes_eroded_by_one_pixel_at_most(tmp_path):
    holes = {(ZOOM, CENTRE[0] + 1, CENTRE[1]), (ZOOM, CENTRE[0], CENTRE[1] - 1)}
    tiles = {key: blob for key, blob in TILES.items() if key not in holes}

    def hole(x, y):
        return np.isin((x // 256) * 1e7 + y // 256, [h[1] * 1e7 + h[2] for h in holes])

    with open_store(write_mbtiles(tmp_path / 'map', tiles)) as store:
        crop = _crop(store, yaw=0.5, size=100.0, px=500)
    truth = _truth(crop, hole)
    assert 0.3 < truth.mean() < 0.95
    assert not np.any(crop.valid & ~truth)
    eroded = cv2.erode(truth.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert np.all(crop.valid[eroded])
    assert crop.valid_fraction == pytest.approx(crop.valid.mean())


def test_alpha_masks_like_a_hole():
    middle = merc_px(*DATUM.inverse((0.0, 0.0)), ZOOM)

    def hole(x, y):
        return np.hypot(x - middle[0], y - middle[1]) < 100

    def disc(x, y):
        rgba = np.full((*x.shape, 4), 200, np.uint8)
        rgba[..., 3] = np.where(hole(x, y), 0, 255)
        return rgba

    with store_of(PatternSource(disc)) as store:
        crop = _crop(store, yaw=0.5, size=100.0, px=500)
    truth = _truth(crop, hole)
    assert not np.any(crop.valid & ~truth)
    eroded = cv2.erode(truth.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert np.all(crop.valid[eroded])
    assert np.all(crop.image[crop.valid] == 200) and not crop.image[~crop.valid].any()


def test_grey_palette_16_bit_and_512_px_tiles_are_read(tmp_path):
    grey = cv2.cvtColor(NOISE[0][0], cv2.COLOR_RGB2GRAY)
    deep = cv2.imencode('.png', grey.astype(np.uint16) * 257)[1].tobytes()
    plain = cv2.imencode('.png', grey)[1].tobytes()
    crops = []
    for name, blob in [('plain', plain), ('deep', deep)]:
        with open_store(write_mbtiles(tmp_path / name, tiles_around(CENTRE, blob))) as store:
            crops.append(_crop(store))
    _same(*crops)
    large = {(ZOOM - 1, *tile_at(zoom=ZOOM - 1)): png(cv2.resize(NOISE[0][0], (512, 512)))}
    with open_store(write_mbtiles(tmp_path / 'large', large)) as store:
        assert store.info.tile_px == 512
        assert _crop(store, size=30.0, px=150).source_gsd_m == pytest.approx(0.196, abs=0.001)


def test_covered_asks_the_index_and_decodes_nothing(tmp_path):
    tiles = {key: b'not decoded' for key in TILES if key[1] <= CENTRE[0]}
    frame = LocalFrame(*(float(v) for v in _corner_lat_lon()))
    with open_store(write_mbtiles(tmp_path / 'map', tiles)) as store:
        # The frame's origin is the upper right corner of the centre tile: the west half exists
        assert store.covered(frame, (0.0, 0.0), 60.0) == 0.5
        assert store.covered(frame, (-35.0, 0.0), 60.0) == 1.0
        assert store.covered(frame, (500.0, 0.0), 60.0) == 0.0
        assert store.stats().misses == 0


def _corner_lat_lon():
    from loc2_ros.maps.mercator import merc_lat_lon
    return merc_lat_lon(np.array([(CENTRE[0] + 1) * 256.0, CENTRE[1] * 256.0]), ZOOM)


@pytest.mark.parametrize('cache_mb', [0.0, 0.5, 64.0])
def test_the_cache_changes_no_result_and_keeps_its_bound(noise, cache_mb):
    with open_store(noise) as reference, open_store(noise, cache_mb=cache_mb) as store:
        for step in range(6):
            xy = (10.0 * (step % 3), -8.0 * step)
            _same(_crop(store, xy), _crop(reference, xy))
            assert store.stats().cached_bytes <= cache_mb * 1e6
        stats = store.stats()
    # 0.5 MB hold two tiles of the four to six that a crop reads in turn
    assert (stats.hits > 20) == (cache_mb == 64.0)
    assert (stats.misses < 10) == (cache_mb == 64.0)


def test_prefetch_fills_the_cache_in_the_background(noise):
    with open_store(noise) as store:
        store.prefetch(DATUM, (0.0, 0.0), 60.0)
        store._prefetcher.wait(30)
        fetched = store.stats()
        crop = _crop(store)
        assert crop.valid_fraction == 1.0
        assert fetched.misses >= 9 and store.stats().misses == fetched.misses
        store.prefetch(DATUM, (float('nan'), 0.0), 60.0)        # a bad guess is no matter
        store.prefetch(DATUM, (1e12, 0.0), 60.0)
    with open_store(noise, cache_mb=0) as store:
        store.prefetch(DATUM, (0.0, 0.0), 60.0)
        assert store.stats().misses == 0


def test_a_store_that_looks_ahead_has_what_the_next_crop_needs(noise):
    with open_store(noise, ahead=True) as ahead:
        for k in range(6):
            xy = (-75.0 + 25.0 * k, 0.0)
            known = set(ahead._cache._entries)
            with open_store(noise) as plain:
                _same(_crop(ahead, xy), _crop(plain, xy))
                # The first has nothing to go by, the second sees only where it has been
                assert k < 2 or set(plain._cache._entries) <= known
            assert ahead._prefetcher.wait(30)
        known = ahead.stats().misses
        _crop(ahead, xy)                        # standing still, and a jump
        _crop(ahead, (1e5, 0.0), size=20.0)
        ahead._prefetcher.wait(30)
        assert ahead.stats().misses <= known + 4


def _in_threads(store, count):
    """Cut the same crops in four threads; returns those of each."""
    results = [[] for _ in range(4)]

    def work(k):
        rng = np.random.default_rng(0)
        for _ in range(count):
            xy, yaw = rng.uniform(-40, 40, 2), rng.uniform(-3, 3)
            crop = store.crop(DATUM, xy, yaw, 50.0, 128)
            results[k].append((crop.image.tobytes(), crop.valid_fraction))
            assert store.stats().cached_bytes <= 1e6

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.mark.parametrize('count', [25, pytest.param(200, marks=pytest.mark.slow)])
def test_four_threads_get_what_one_gets_bit_for_bit(noise, count):
    with open_store(noise, cache_mb=1.0) as store:
        first, *others = _in_threads(store, count)
    with open_store(noise, cache_mb=0.0) as store:
        rng = np.random.default_rng(0)
        for image, fraction in first:
            xy, yaw = rng.uniform(-40, 40, 2), rng.uniform(-3, 3)
            crop = store.crop(DATUM, xy, yaw, 50.0, 128)
            assert (crop.image.tobytes(), crop.valid_fraction) == (image, fraction)
    assert len(first) == count and all(other == first for other in others)


def test_a_closed_store_says_so(noise):
    store = open_store(noise)
    store.close()
    store.close()
    with pytest.raises(ValueError, match='closed'):
        _crop(store)


def test_a_map_may_be_replaced_by_renaming_while_open(noise, tmp_path):
    with open_store(noise) as store:
        before = _crop(store, size=20.0)
        other = write_mbtiles(tmp_path / 'new', tiles_around(CENTRE, png(NOISE[4][4])))
        other.replace(noise)
        assert _crop(store, (40.0, 0.0), size=20.0).valid_fraction == 1.0
        _same(_crop(store, size=20.0), before)
        with open_store(noise) as reloaded:
            assert reloaded.info.digest != store.info.digest


def _in_a_new_thread(work):
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


@pytest.mark.parametrize('happens', ['replaced', 'deleted'])
@pytest.mark.parametrize('kind', ['mbtiles', 'tif'])
def test_every_thread_reads_the_file_that_was_opened_whatever_its_name_is_now(
        noise, tmp_path, happens, kind):
    if kind == 'tif':
        pytest.importorskip('rasterio')
        from geo_world import write_raster
        pictures = [np.random.default_rng(k).integers(0, 256, (400, 400, 3), np.uint8)
                    for k in range(2)]
        first, other = (write_raster(tmp_path / f'{k}.tif', picture, 'EPSG:3857', (
            936_000.0, 6_276_000.0), 0.3) for k, picture in enumerate(pictures))
    else:
        first, other = noise, write_mbtiles(tmp_path / 'new', tiles_around(
            CENTRE, png(NOISE[4][4])))
    with open_store(first, cache_mb=0.0) as store:
        west, south, east, north = store.info.bounds or (8.4037, 49.0069, 8.4037, 49.0069)
        middle = LocalFrame((south + north) / 2, (west + east) / 2)

        def crop():
            return store.crop(middle, (0.0, 0.0), 0.3, 60.0, 200)
        before = crop()
        assert before.valid_fraction == 1.0
        if happens == 'replaced':
            other.replace(first)
        else:
            first.unlink()
        _same(crop(), before)
        for _ in range(3):
            _same(_in_a_new_thread(crop), before)
        assert store.stats().broken == 0


ENDLESS = ('CREATE VIEW tiles AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n) '
           'SELECT {zoom} AS zoom_level, i % 7 AS tile_column, i % 9 AS tile_row, '
           'zeroblob(10) AS tile_data FROM n')


@pytest.mark.parametrize('zoom', ['19', 'i % 25', '30 + i % 2'])
def test_tiles_that_never_end_are_refused_and_do_not_hang(tmp_path, monkeypatch, zoom):
    monkeypatch.setattr(sqlite_file.SqliteFile.rows, '__defaults__', ((), 0.1))
    path = tmp_path / 'endless.mbtiles'
    database = sqlite3.connect(path)
    database.execute(ENDLESS.format(zoom=zoom))
    database.commit()
    with pytest.raises(MapError, match='endless.mbtiles gives no answer within .*maker'):
        open_store(path)


def test_a_look_up_that_never_ends_is_a_broken_tile(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite_file.SqliteFile.rows, '__defaults__', ((), 0.1))
    path = write_mbtiles(tmp_path / 'trap.mbtiles', TILES)
    column = CENTRE[0] + 1
    database = sqlite3.connect(path)
    database.execute('ALTER TABLE tiles RENAME TO real')
    # Answers as a table does but for one column, which is asked for only while driving
    database.execute(f"""
        CREATE VIEW tiles AS SELECT * FROM real WHERE tile_column != {column} OR (
            WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n)
            SELECT max(i + tile_row) FROM n) < 0""")
    database.commit()
    with open_store(path) as store:
        crop, stats = _crop(store), store.stats()
    assert 0.0 < crop.valid_fraction < 1.0
    assert stats.broken > 0 and 'no answer within' in stats.last_error


def test_endless_metadata_do_not_fill_the_memory(tmp_path):
    path = write_mbtiles(tmp_path / 'map.mbtiles', TILES)
    database = sqlite3.connect(path)
    database.execute('DROP TABLE metadata')
    database.execute('CREATE VIEW metadata AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL '
                     "SELECT i + 1 FROM n) SELECT 'name' || i AS name, 'x' AS value FROM n")
    database.commit()
    with open_store(path) as store:
        assert _crop(store).valid_fraction == 1.0


def test_a_folder_whose_first_columns_are_empty_opens(tmp_path):
    root = write_folder(tmp_path / 'xyz', TILES)
    columns = list((root / str(ZOOM)).iterdir())        # in the order of the file system
    for column in columns[:-1]:
        for file in column.iterdir():
            file.unlink()
    with open_store(root) as store:
        left = store.covered(DATUM, (0.0, 0.0), 200.0)
    assert 0.0 < left < 1.0 and not any(columns[0].iterdir())


def test_a_map_with_only_far_finer_levels_does_not_stall(tmp_path):
    zoom = 24
    tiles = {(zoom, *tile_at(zoom=zoom)): png(NOISE[0][0])}
    with open_store(write_mbtiles(tmp_path / 'fine', tiles)) as store:
        crop = store.crop(DATUM, (0.0, 0.0), 0.0, 500.0, 504)
        assert crop.valid_fraction == 0.0 and 'too fine' in store.stats().last_error
