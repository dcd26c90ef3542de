# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Write the tables of README.md, diagnostics.md and kitti.md that the code declares.

Run ``python docs/tables.py`` after a change; ``test/test_readme.py`` compares.
"""

from __future__ import annotations

from pathlib import Path
import re
from typing import Any

from loc2_ros.ros import kitti_adapter_params
from loc2_ros.ros.diagnostics import KEYS, RULES
from loc2_ros.ros.param import Param
from loc2_ros.ros.params import PARAMS
from loc2_ros.ros.reasons import EXPLAINED

README = Path(__file__).parent.parent / 'README.md'
DIAGNOSTICS = Path(__file__).parent / 'diagnostics.md'
KITTI = Path(__file__).parent / 'kitti.md'
LEVELS = ('OK', 'WARN', 'ERROR')


def parameters(table: tuple[Param, ...] = PARAMS, mark: str = ' *') -> str:
    """Return the table of parameters, those that are fixed after the start with a mark."""
    rows = [f'| `{p.name}`{mark if p.read_only else ""} | {default(p)} | {p.unit} | '
            f'{escape(p.range_text())} | {escape(p.description)} |' for p in table]
    return '\n'.join(['| name | default | unit | allowed | meaning |', '|---|---|---|---|---|',
                      *rows])


def diagnostics() -> str:
    """Return the table of diagnostics keys."""
    rows = [f'| `loc2: {status}` | `{key}` | {escape(meaning)} |'
            for status, keys in KEYS.items() for key, meaning in keys.items()]
    return '\n'.join(['| status | key | meaning |', '|---|---|---|', *rows])


def rules() -> str:
    """Return the table of what makes a status WARN or ERROR, in the order in which they count."""
    rows = [f'| `loc2: {r.status}` | {LEVELS[r.level]} | {escape(r.sentence)} | '
            f'{escape(r.remedy)} |' for r in RULES]
    return '\n'.join(['| status | level | message | what to do |', '|---|---|---|---|', *rows])


def reasons() -> str:
    """Return the table of rejections."""
    rows = [f'| `{reason.value}` | {escape(e.means)} | {escape(e.remedy)} | '
            + (f'`{e.status}` {LEVELS[e.level]}' if e.status else '') + ' |'
            for reason, e in EXPLAINED.items()]
    return '\n'.join(['| reason | means | what to do | also |', '|---|---|---|---|', *rows])


def default(param: Param) -> str:
    """Return a default as it is written in a parameter file."""
    return 'unset' if param.default is None else f'`{literal(param.default)}`'


def literal(value: Any) -> str:
    """Return a value as YAML."""
    return str(value).lower() if isinstance(value, bool) else repr(value)


def escape(text: str) -> str:
    """Keep bars and angle brackets from being taken for markup."""
    return text.replace('|', '\\|').replace('<', '&lt;')


def filled(text: str) -> str:
    """Return a page with its tables up to date."""
    for name, table in (('parameters', parameters()), ('diagnostics', diagnostics()),
                        ('rules', rules()), ('reasons', reasons()),
                        ('adapter', parameters(kitti_adapter_params.PARAMS, ''))):
        text = re.sub(rf'(<!-- {name}: [^>]* -->\n).*?(<!-- end -->)',
                      lambda found: f'{found[1]}{table}\n{found[2]}', text, flags=re.DOTALL)
    return text


if __name__ == '__main__':
    for page in (README, DIAGNOSTICS, KITTI):
        page.write_text(filled(page.read_text()))
