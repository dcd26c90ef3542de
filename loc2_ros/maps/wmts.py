# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A WMTS as its capabilities document describes it: which levels it has, at what addresses.

OGC 07-057r7, Web Map Tile Service 1.0.0. Only tiles in Web Mercator are of use here.
"""

from __future__ import annotations

from collections.abc import Iterator
import math
from pathlib import Path
import re
from typing import Any
from urllib.parse import quote
from xml.etree import ElementTree

from loc2_ros.maps.net import Client, Unreachable
from loc2_ros.maps.template import Template
from loc2_ros.maps.tiles import MAX_ZOOM
from loc2_ros.maps.track import parse_xml
from loc2_ros.maps.values import MapError, Refused

_MAX_BYTES = 32 << 20
_WORLD_M = 40075016.685578488
_PIXEL_M = 0.00028          # what a scale denominator takes a pixel for (6.1)
_CORNER_M = 1.0             # documents round
_MERCATOR = re.compile(r'(3857|900913|102100)$')
_FORMATS = ('image/jpeg', 'image/jpg', 'image/webp', 'image/png')
_TILE = {'tilematrix': '{TileMatrix}', 'tilerow': '{TileRow}', 'tilecol': '{TileCol}'}


def read_capabilities(where: str, client: Client) -> bytes:
    """
    Return a capabilities document.

    :param where: its address, or a file.
    :raises MapError: it cannot be had; ``Refused``: its host must not be asked.
    """
    if '://' not in where:
        try:
            return Path(where).read_bytes()
        except OSError as error:
            raise MapError(f'{where} cannot be read ({error.strerror}); give the address or the '
                           'file of a capabilities document') from error
    try:
        answer = client.get(where, _MAX_BYTES)
    except Unreachable as error:
        raise MapError(f'{where} cannot be read: {error}') from error
    if answer.status in (401, 403):
        raise Refused(f'{where} answers {answer.status}; ask its operator')
    if answer.status != 200 or len(answer.body) > _MAX_BYTES:
        raise MapError(f'{where} answers {answer.status} with {len(answer.body)} bytes; is it '
                       'the address of a capabilities document?')
    return answer.body


def template_of(document: bytes, layer: str | None, where: str = 'the document') -> Template:
    """
    Return the addresses of a layer's tiles.

    :param layer: its identifier; None takes the only one that has tiles in Web Mercator.
    :param where: what messages call the document.
    :raises MapError: it is no such document, or has no such layer.
    """
    try:
        return _template(parse_xml(document), layer, where)
    except (ElementTree.ParseError, ArithmeticError, ValueError) as error:
        raise MapError(f'{where} is no capabilities document of a WMTS ({error}); give that of '
                       'version 1.0.0') from error


def _template(root: Any, layer: str | None, where: str) -> Template:
    sets = {_text(s, 'Identifier'): _levels(s) for s in _all(root, 'Contents', 'TileMatrixSet')
            if _MERCATOR.search(_text(s, 'SupportedCRS'))}
    layers = {_text(entry, 'Identifier'): entry for entry in _all(root, 'Contents', 'Layer')}
    usable = {name: usable_sets for name, entry in layers.items() if (usable_sets := [
        s for s in (_text(link, 'TileMatrixSet') for link in _all(entry, 'TileMatrixSetLink'))
        if sets.get(s)])}
    if layer is None and len(usable) == 1:
        layer = next(iter(usable))
    if layer is None or layer not in usable:
        what = 'names no layer' if layer is None else f'has no layer {layer!r}'
        names = ', '.join(list(usable)[:20]) or 'there is none'
        raise MapError(f'{where} {what} with tiles in Web Mercator; choose one with --layer: '
                       f'{names}')
    # Several sets differ in their finest level, if at all
    chosen = max(usable[layer], key=lambda name: max(sets[name]))
    return Template(_address(root, layers[layer], layer, chosen), {
        zoom: quote(name, safe=':') for zoom, name in sets[chosen].items()})


def _levels(matrix_set: Any) -> dict[int, str]:
    """Return the names of the levels that are quarters of the world, as tiles here are."""
    found = {}
    for matrix in _all(matrix_set, 'TileMatrix'):
        width, height = int(_text(matrix, 'TileWidth')), int(_text(matrix, 'TileHeight'))
        side_m = float(_text(matrix, 'ScaleDenominator')) * _PIXEL_M * width
        west, north = map(float, _text(matrix, 'TopLeftCorner').split())
        zoom = math.log2(_WORLD_M / side_m)
        if (width == height and 0 <= round(zoom) <= MAX_ZOOM and abs(zoom - round(zoom)) < 1e-4
                and abs(west + _WORLD_M / 2) < _CORNER_M
                and abs(north - _WORLD_M / 2) < _CORNER_M):
            found[round(zoom)] = _text(matrix, 'Identifier')
    return found


def _address(root: Any, layer: Any, name: str, matrix_set: str) -> str:
    styles = list(_all(layer, 'Style'))
    style = next(iter([*(s for s in styles if s.get('isDefault') == 'true'), *styles]), None)
    dimensions = {_text(d, 'Identifier'): _text(d, 'Default') for d in _all(layer, 'Dimension')}
    values = {'layer': name, 'tilematrixset': matrix_set,
              'style': '' if style is None else _text(style, 'Identifier'),
              **{key.lower(): value for key, value in dimensions.items()}}
    by_format = {r.get('format'): r.get('template') for r in _all(layer, 'ResourceURL')
                 if r.get('resourceType') == 'tile'}
    ways = [by_format[kind] for kind in (*_FORMATS, *by_format) if kind in by_format]
    if not ways:
        return _by_query(root, layer, values, dimensions)

    def fill(found: re.Match[str]) -> str:
        key = found[1].lower()
        if key in _TILE:
            return _TILE[key]
        if key not in values:       # {key} for one: whoever wrote this must not ask for a secret
            raise MapError(f'the address {ways[0]} of the service asks for {{{found[1]}}}, of '
                           'which its document says nothing; give the address with --url')
        return quote(values[key])

    return re.sub(r'\{([^{}]*)\}', fill, str(ways[0]))


def _by_query(root: Any, layer: Any, values: dict[str, str], dimensions: dict[str, str]) -> str:
    """Return the address of a GetTile request (8.2)."""
    formats = [f.text or '' for f in _all(layer, 'Format')]
    kind = [*(f for f in _FORMATS if f in formats), *formats, _FORMATS[0]][0]
    gets = [get for operation in _all(root, 'OperationsMetadata', 'Operation')
            if operation.get('name') == 'GetTile' for get in _all(operation, 'DCP', 'HTTP', 'Get')]
    base = next((href for get in gets for href in [_href(get)] if _takes_queries(get) and href),
                '')
    if not base:
        raise MapError('the document of the service tells no address of tiles; give one with '
                       '--url')
    fields = {'SERVICE': 'WMTS', 'REQUEST': 'GetTile', 'VERSION': '1.0.0',
              'LAYER': values['layer'], 'STYLE': values['style'], 'FORMAT': kind,
              'TILEMATRIXSET': values['tilematrixset'], **dimensions}
    query = '&'.join(f'{key}={quote(value)}' for key, value in fields.items())
    joint = '' if base.endswith(('?', '&')) else '&' if '?' in base else '?'
    return (base.replace('{', '%7B') + joint + query
            + '&TILEMATRIX={TileMatrix}&TILEROW={TileRow}&TILECOL={TileCol}')


def _takes_queries(get: Any) -> bool:
    named = [value.text for value in _all(get, 'Constraint', 'AllowedValues', 'Value')]
    return not named or 'KVP' in named


def _href(get: Any) -> str:
    return next((value for key, value in get.attrib.items() if key.endswith('href')), '')


def _all(node: Any, *path: str) -> Iterator[Any]:
    """Yield the elements on a path, whatever their namespaces."""
    for child in node:
        if isinstance(child.tag, str) and child.tag.rsplit('}', 1)[-1] == path[0]:
            if path[1:]:
                yield from _all(child, *path[1:])
            else:
                yield child


def _text(node: Any, name: str) -> str:
    """Return the text of a child; :raises ValueError: if there is none."""
    for child in _all(node, name):
        return (child.text or '').strip()
    raise ValueError(f'an element lacks its {name}')
