# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The page of a run: one file with its pictures inside, no scripts, nothing loaded from afar."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from string import Template
from typing import Any

import cv2
from loc2_ros import __version__
import numpy as np

_STYLE = """<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto;
         padding: 0 1rem; color: #1b1b1b; background: #fff; }
  h1 { line-height: 1.2; } h2 { margin-top: 2.2rem; }
  .cards { display: flex; flex-wrap: wrap; gap: 1rem; margin: 1.2rem 0; }
  .card { border: 1px solid #ccc; border-radius: 8px; padding: .6rem 1rem; flex: 1 1 10rem; }
  .card b { display: block; font-size: 1.6rem; }
  table { border-collapse: collapse; } caption { text-align: left; font-weight: bold; }
  th, td { text-align: right; padding: .2rem .9rem .2rem 0; border-bottom: 1px solid #ddd;
           font-variant-numeric: tabular-nums; }
  th:first-child, td:first-child { text-align: left; }
  td:last-child { text-align: left; color: #444; } img { max-width: 100%; height: auto; }
  figure { margin: 1rem 0; } figcaption, footer { color: #444; font-size: .92rem; }
</style>"""

_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
$style
<h1>$title</h1>
<p>$summary</p>
<div class="cards">$cards</div>
$pictures
<h2>Figures</h2>
$tables
<footer><p>Errors are absolute values against the reference; deviations are what the localizer
claims. Written by loc2_ros $version from <code>metrics.json</code> and <code>fixes.csv</code>.</p>
</footer>
</html>
""")

_FRAME_PAGE = Template("""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
$style
<h1>$title</h1>
$facts
$pictures
<footer><p>Written by loc2_ros $version.</p></footer>
</html>
""")

_SPREADS = (
    ('position_error_m', 'position', 'm', 'horizontal distance between fix and reference'),
    ('along_track_error_m', 'along track', 'm', 'its part along the true heading'),
    ('cross_track_error_m', 'across track', 'm', 'its part across the true heading'),
    ('yaw_error_deg', 'heading', 'deg', 'difference of headings'),
    ('prior_position_error_m', 'prior position', 'm', 'the same of the priors that were used'),
    ('prior_yaw_error_deg', 'prior heading', 'deg', ''),
    ('latency_s', 'latency', 's', 'wall time from the image to the fix'))
_SINGLE = (
    ('sigma_error_spearman', 'deviation follows error',
     'rank correlation of claimed deviation and position error'),
    ('ellipse95_coverage', 'inside the 95 % ellipse', 'share of errors; 0.95 is honest'),
    ('nees_mean', 'NEES / 3', 'squared error over claimed covariance; 1 is honest, more boastful'),
    ('rate_hz', 'fixes per second', 'wall time'),
    ('tf_messages', 'messages on /tf', 'with a transform from the map frame'),
    ('duplicates', 'duplicate poses', ''), ('out_of_order', 'poses out of order', ''),
    ('stamp_mismatches', 'poses without an image', 'stamp equal to no image'),
    ('reference', 'reference', 'what errors are measured against'), ('model', 'model', ''),
    ('device', 'device', ''), ('seed', 'seed', ''))


@dataclass(frozen=True)
class Picture:
    """
    A picture with its heading and how to read it.

    :param file: the name it is also written under.
    """

    heading: str
    png: bytes
    caption: str
    file: str


def render_page(title: str, metrics: Mapping[str, Any], pictures: Sequence[Picture],
                note: str = '') -> str:
    """
    Return the page.

    :param metrics: content of metrics.json.
    :param note: why a picture is missing, '' if none is.
    """
    shown = [_figure(picture) for picture in pictures]
    if note:
        shown.append(f'<p>No image is shown: {escape(note)}</p>')
    return _PAGE.substitute(
        style=_STYLE, title=escape(title), summary=escape(_summary(metrics)),
        cards=_cards(metrics),
        pictures='\n'.join(shown), tables=_tables(metrics), version=escape(__version__))


def render_frame_page(title: str, facts: Mapping[str, str], pictures: Sequence[Picture]) -> str:
    """Return the page of one image: what is known of it, then its pictures."""
    return _FRAME_PAGE.substitute(
        style=_STYLE, title=escape(title), facts=_table(('figure', 'value'), facts.items()),
        pictures='\n'.join(_figure(picture) for picture in pictures),
        version=escape(__version__))


def number(value: Any, digits: int = 2) -> str:
    """Return a figure for people, a dash where there is none."""
    if value is None:
        return '–'
    return f'{value:.{digits}f}' if isinstance(value, float) else str(value)


def _figure(picture: Picture) -> str:
    return (f'<h2>{escape(picture.heading)}</h2>\n<figure><img alt="{escape(picture.heading)}" '
            f'src="{_inline(picture.png)}">\n'
            f'<figcaption>{escape(picture.caption)}</figcaption></figure>')


def _inline(png: bytes) -> str:
    """Return a picture as a data URI; imagery is a third of the size as JPEG."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    jpeg = cv2.imencode('.jpg', pixels, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
    kind, data = ('jpeg', jpeg) if len(jpeg) < len(png) else ('png', png)
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'


def _summary(metrics: Mapping[str, Any]) -> str:
    reasons = ', '.join(f'{name} {count}' for name, count in
                        metrics['rejected_by_reason'].items())
    return (f'{metrics["frames"]} images: {metrics["fixes"]} fixes, {metrics["rejected"]} '
            f'rejected{f" ({reasons})" if reasons else ""}, {metrics["dropped"]} dropped.')


def _cards(metrics: Mapping[str, Any]) -> str:
    def card(value: str, text: str) -> str:
        return f'<div class="card"><b>{escape(value)}</b>{escape(text)}</div>'

    def median(group: str) -> str:
        return number(metrics[group]['median'])
    coverage = metrics['ellipse95_coverage']
    return '\n'.join([
        card(f'{median("position_error_m")} m',
             f'median position error; the prior: {median("prior_position_error_m")} m'),
        card(f'{median("yaw_error_deg")}°',
             f'median heading error; the prior: {median("prior_yaw_error_deg")}°'),
        card('–' if coverage is None else f'{100 * coverage:.0f} %',
             'of the errors inside their 95 % ellipse'),
        card(f'{number(metrics["rate_hz"], 1)} Hz',
             f'fixes; median latency {median("latency_s")} s')])


def _tables(metrics: Mapping[str, Any]) -> str:
    spreads = [(f'{name} ({unit})', *(number(metrics[key].get(part)) for part in
                                      ('mean', 'median', 'p95')), meaning)
               for key, name, unit, meaning in _SPREADS]
    claimed = metrics['claimed_sigma_xy_m']['median']
    singles = [('claimed deviation (m)', number(claimed), 'median, per axis')]
    singles += [(name, number(metrics[key]), meaning) for key, name, meaning in _SINGLE]
    if metrics['datum']:
        singles.append(('datum', ', '.join(f'{n:.7g}' for n in metrics['datum']),
                        'latitude, longitude (deg), height (m) of the map frame, '
                        + metrics.get('frame_mode', 'enu')))
    return (_table(('error', 'mean', 'median', '95 %', ''), spreads) + '<p></p>'
            + _table(('figure', 'value', ''), singles))


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    def line(cells: Iterable[str], tag: str) -> str:
        return '<tr>' + ''.join(f'<{tag}>{escape(c)}</{tag}>' for c in cells) + '</tr>'
    return '\n'.join(['<table>', line(head, 'th'), *(line(row, 'td') for row in rows),
                      '</table>'])
