# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A WMTS by its capabilities document: levels by name, addresses as the service writes them."""

from __future__ import annotations

from loc2_ros.cli.map import app
from loc2_ros.maps.store import open_store
from loc2_ros.maps.values import MapError
from loc2_ros.maps.wmts import template_of
from map_world import noise_tile, png, tile_at, ZOOM
import pytest
from tile_server import Reply, TileServer
from typer.testing import CliRunner

BOX = '8.40298,49.00616,8.40503,49.00717'       # four by three tiles
CENTRE = tile_at()
HEAD = """<?xml version="1.0"?>
<Capabilities xmlns="http://www.opengis.net/wmts/1.0" xmlns:ows="http://www.opengis.net/ows/1.1"
 xmlns:xlink="http://www.w3.org/1999/xlink" version="1.0.0">
 <ows:OperationsMetadata><ows:Operation name="GetTile"><ows:DCP><ows:HTTP>
  <ows:Get xlink:href="{base}/rest"><ows:Constraint name="GetEncoding"><ows:AllowedValues>
   <ows:Value>RESTful</ows:Value></ows:AllowedValues></ows:Constraint></ows:Get>
  <ows:Get xlink:href="{base}/kvp?map=a"><ows:Constraint name="GetEncoding"><ows:AllowedValues>
   <ows:Value>KVP</ows:Value></ows:AllowedValues></ows:Constraint></ows:Get>
 </ows:HTTP></ows:DCP></ows:Operation></ows:OperationsMetadata><Contents>"""
LAYER = """<Layer><ows:Identifier>{name}</ows:Identifier>
 <Style><ows:Identifier>grey</ows:Identifier></Style>
 <Style isDefault="true"><ows:Identifier>plain</ows:Identifier></Style>
 <Format>image/png</Format><Format>image/jpeg</Format>
 <Dimension><ows:Identifier>Time</ows:Identifier><Default>2011 05</Default></Dimension>
 <TileMatrixSetLink><TileMatrixSet>utm</TileMatrixSet></TileMatrixSetLink>
 <TileMatrixSetLink><TileMatrixSet>{matrix_set}</TileMatrixSet></TileMatrixSetLink>
 {resources}</Layer>"""
RESOURCES = """
 <ResourceURL format="text/html" resourceType="FeatureInfo" template="{base}/info"/>
 <ResourceURL format="image/png" resourceType="tile" template="{base}/png/{{TileMatrix}}"/>
 <ResourceURL format="image/jpeg" resourceType="tile"
  template="{base}/{{style}}/{{Time}}/{{TileMatrixSet}}/{{TileMatrix}}/{{TileCol}}/{{TileRow}}"/>
"""


def _matrix_set(name, crs, levels, form='EPSG:3857:{}', denominator=559082264.0287178,
                corner='-20037508.34 20037508.34', side=256):
    matrices = ''.join(f"""<TileMatrix><ows:Identifier>{form.format(z)}</ows:Identifier>
        <ScaleDenominator>{denominator / 2 ** z}</ScaleDenominator>
        <TopLeftCorner>{corner}</TopLeftCorner><TileWidth>{side}</TileWidth>
        <TileHeight>{side}</TileHeight><MatrixWidth>{1 << z}</MatrixWidth>
        <MatrixHeight>{1 << z}</MatrixHeight></TileMatrix>""" for z in levels)
    return (f'<TileMatrixSet><ows:Identifier>{name}</ows:Identifier><ows:SupportedCRS>'
            f'urn:ogc:def:crs:EPSG::{crs}</ows:SupportedCRS>{matrices}</TileMatrixSet>')


UTM = _matrix_set('utm', 25832, range(20), corner='-46133.17 6301219.54')
WEB = _matrix_set('web', 3857, range(10, 21))


def _document(base='https://imagery.example.org', *, names=('photo',), sets=WEB,
              resources=RESOURCES):
    layers = ''.join(LAYER.format(name=name, matrix_set='web', resources=resources.format(
        base=base)) for name in names)
    return (HEAD.format(base=base) + layers + UTM + sets + '</Contents></Capabilities>').encode()


def test_an_address_is_filled_as_the_service_writes_it():
    template = template_of(_document(), None)
    assert template.tile(12, 5, 7) == (
        'https://imagery.example.org/plain/2011%2005/web/EPSG:3857:12/5/7')
    assert sorted(template.levels) == list(range(10, 21))
    with pytest.raises(MapError, match='no level 9; choose one of 10 11 12'):
        template.tile(9, 0, 0)


def test_levels_may_be_written_with_zeros_and_tiles_may_be_larger():
    # A tile of 512 px spans a quarter of the world at level 1 with half the denominator
    sets = _matrix_set('web', 900913, range(8), '{:02d}', 559082264.0287178 / 2, side=512)
    template = template_of(_document(sets=sets), 'photo')
    assert template.tile(5, 1, 2).endswith('/05/1/2')


def test_without_resources_tiles_are_asked_for_by_query():
    assert template_of(_document(resources=''), None).tile(12, 5, 7) == (
        'https://imagery.example.org/kvp?map=a&SERVICE=WMTS&REQUEST=GetTile&VERSION=1.0.0&'
        'LAYER=photo&STYLE=plain&FORMAT=image/jpeg&TILEMATRIXSET=web&Time=2011%2005&'
        'TILEMATRIX=EPSG:3857:12&TILEROW=7&TILECOL=5')


@pytest.mark.parametrize('document, layer, text', [
    (b'<html>', None, 'no capabilities document'),
    (b'not xml', None, 'no capabilities document'),
    (b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>', None, 'declares entities'),
    (_document(sets=_matrix_set('web', 3857, range(2), denominator=0.0)), None, 'division'),
    (_document(sets=_matrix_set('web', 3857, range(2), denominator=1e-320)), None, 'no capab'),
    (_document().replace(b'plain</ows:Identifier>', b'plain</ows:Identifie>').replace(
        b'<ows:Identifier>plain', b'<ows:Identifie>plain'), None, 'lacks its Identifier'),
    (_document(names=('photo', 'map')), None, 'choose one with --layer: photo, map'),
    (_document(), 'street', "no layer 'street'.*photo"),
    # Only in the national grid; a grid of its own from another corner; halves of thirds
    (_document(sets=''), 'photo', 'there is none'),
    (_document(sets=_matrix_set('web', 3857, range(9), corner='0 0')), 'photo', 'there is none'),
    (_document(sets=_matrix_set('web', 3857, range(9), denominator=4e8)), 'photo',
     'there is none'),
    (_document(resources=RESOURCES.replace('{{Time}}', '{{key}}')), None, 'asks for {key}'),
])
def test_what_cannot_be_used_is_told_with_what_there_is(document, layer, text):
    with pytest.raises(MapError, match=text):
        template_of(document, layer)


def _run(*arguments):
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_the_command_fetches_the_tiles_of_a_capabilities_document(tmp_path):
    def answer(path, number):
        if path == '/caps.xml':
            return Reply(_document(server.url), kind='text/xml')
        assert path.startswith(f'/plain/2011%2005/web/EPSG:3857:{ZOOM}/{CENTRE[0]}'[:-2])
        x, y = map(int, path.split('/')[-2:])
        return Reply(png(noise_tile(x * 7 + y)))

    with TileServer(answer) as server:
        common = ('download', '--wmts', server.url + '/caps.xml', '--bbox', BOX, '--allow-private',
                  '-o', tmp_path / 'm', '--rate', 100,
                  '--licence', 'CC0-1.0', '--attribution', 'Us')
        refused = _run(*common, '--zoom', 9)
        assert refused.exit_code == 5 and 'no level 9' in refused.stderr
        assert _run(*common, '--dry-run').exit_code == 0
        assert set(server.paths) == {'/caps.xml'}
        done = _run(*common)
    assert done.exit_code == 0, done.stderr
    with open_store(tmp_path / 'm') as store:
        assert store.info.zooms == (ZOOM,) and store.info.tile_count == 12
        assert store.crop_latlon(49.00666, 8.404, 0.2, 50.0, 250).valid_fraction == 1.0


def test_a_document_may_be_a_file_and_its_hosts_are_looked_at_as_any(tmp_path):
    path = tmp_path / 'caps.xml'
    for base, code, text in [('https://mt1.google.com', 4, "Google's terms"),
                             ('http://127.0.0.1:9', 4, 'private network')]:
        path.write_bytes(_document(base))
        result = _run('download', '--wmts', path, '--bbox', BOX, '-o', tmp_path / 'm')
        assert (result.exit_code, text in result.stderr) == (code, True), result.stderr
    missing = _run('download', '--wmts', tmp_path / 'no.xml', '--bbox', BOX, '-o', tmp_path / 'm')
    assert missing.exit_code == 5 and 'cannot be read' in missing.stderr
