# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Imports point one way: core <- maps, model <- pipeline <- ros, cli.

`data`, `train`, `evaluate` and `synthetic` use all but `ros`. Of them, `ros` uses `data` and
`evaluate` alone: the node reads messages, and its recorder counts, as the offline twin does.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from pathlib import Path
import re
import sys
from typing import Iterator, NamedTuple

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / 'loc2_ros'

BELOW_ROS = {'core', 'maps', 'model', 'crops', 'pipeline', 'loading', 'data', 'train', 'evaluate',
             'synthetic'}
USES = {
    'core': set(),
    'maps': {'core'},
    'model': {'core'},
    'crops': {'core', 'maps', 'model'},
    'pipeline': {'core', 'maps', 'model', 'crops'},
    'loading': {'core', 'maps', 'model', 'crops', 'pipeline'},
    'ros': {'core', 'maps', 'model', 'pipeline', 'loading', 'data', 'evaluate'},
    'data': BELOW_ROS,
    'train': BELOW_ROS,
    'evaluate': BELOW_ROS,
    'synthetic': BELOW_ROS,
    'cli': BELOW_ROS | {'ros'},
}
NUMPY_ONLY = {f'loc2_ros.core.{name}' for name in ('values', 'frames', 'camera', 'prior', 'gate')}
ROS = re.compile(r'(rclpy|rosgraph|ament_\w+|launch\w*|tf2_\w+|cv_bridge|rosidl_\w+|rcl_\w+|'
                 r'std_srvs|builtin_interfaces|\w+_msgs)')
# Whoever decodes pixels or draws; the rest works on arrays. cv_bridge lets cv2.error through
OPENCV_AT_HOME = ('loc2_ros.maps', 'loc2_ros.data', 'loc2_ros.synthetic', 'loc2_ros.evaluate',
                  'loc2_ros.model.depth', 'loc2_ros.train', 'loc2_ros.ros.convert')


class Import(NamedTuple):
    """One imported name, and when it is imported."""

    name: str
    eager: bool  # at the import of the importing module, not in a function or for types only


def modules() -> dict[str, Path]:
    """Return every module of the package by its full name."""
    found = {}
    for path in sorted(PACKAGE.rglob('*.py')):
        parts = ('loc2_ros', *path.relative_to(PACKAGE).with_suffix('').parts)
        found['.'.join(parts[:-1] if parts[-1] == '__init__' else parts)] = path
    return found


MODULES = modules()


def walk(node: ast.AST, eager: bool = True) -> Iterator[Import]:
    """List the imports below a syntax node."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, eager) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            assert not child.level, 'imports are absolute'
            base = child.module or ''
            # `from package import module` imports the module
            yield from (Import(full if (full := f'{base}.{alias.name}') in MODULES else base,
                               eager) for alias in child.names)
        else:
            later = isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or (
                isinstance(child, ast.If) and 'TYPE_CHECKING' in ast.unparse(child.test))
            yield from walk(child, eager and not later)


@lru_cache(maxsize=None)
def imports(module: str) -> tuple[Import, ...]:
    """Return what a module imports."""
    return tuple(walk(ast.parse(MODULES[module].read_text())))


def layer(module: str) -> str:
    """Return the folder, or the module, right below the package."""
    return (module.split('.') + [''])[1]


def third_party(names: set[str]) -> set[str]:
    """Return the imported projects that are neither Python's nor ours."""
    roots = {name.split('.')[0] for name in names}
    return roots - set(sys.stdlib_module_names) - {'loc2_ros', '__future__'}


def loaded_by(module: str) -> set[str]:
    """Return all that importing a module loads, as far as our own code decides it."""
    seen: set[str] = set()
    waiting = {module}
    while waiting:
        name = waiting.pop()
        seen.add(name)
        if name in MODULES:
            parents = {name.rsplit('.', depth)[0] for depth in range(1, name.count('.') + 1)}
            new = parents | {found.name for found in imports(name) if found.eager}
            waiting |= new - seen
    return seen


@pytest.mark.parametrize('module', [name for name in MODULES if name != 'loc2_ros'])
def test_arrows_point_one_way(module: str) -> None:
    used = {layer(found.name) for found in imports(module) if found.name.startswith('loc2_ros.')}
    assert used - {layer(module)} <= USES[layer(module)]


@pytest.mark.parametrize('module', sorted(NUMPY_ONLY & set(MODULES)))
def test_values_frames_camera_prior_and_gate_need_numpy_alone(module: str) -> None:
    assert third_party(loaded_by(module)) <= {'numpy'}


@pytest.mark.parametrize('module', [name for name in MODULES if layer(name) == 'core'])
def test_the_core_needs_numpy_and_torch_alone(module: str) -> None:
    assert third_party({found.name for found in imports(module)}) <= {'numpy', 'torch'}


@pytest.mark.parametrize('module', [name for name in MODULES if layer(name) != 'ros'])
def test_ros_stays_in_its_folder_and_verbs_import_it_when_called(module: str) -> None:
    names = {found.name for found in imports(module) if found.eager or layer(module) != 'cli'}
    assert not {name for name in names if ROS.fullmatch(name.split('.')[0])}
    assert not {name for name in names if layer(name) == 'ros' and name in MODULES}


@pytest.mark.parametrize('module', MODULES)
def test_opencv_and_sqlite_stay_where_pixels_are_decoded(module: str) -> None:
    names = {found.name.split('.')[0] for found in imports(module)}
    assert module.startswith(OPENCV_AT_HOME) or not names & {'cv2', 'sqlite3'}


@pytest.mark.parametrize('module', [name for name in MODULES if layer(name) == 'ros'])
def test_the_node_imports_torch_when_it_is_configured(module: str) -> None:
    assert 'torch' not in third_party(loaded_by(module))


def test_help_needs_neither_ros_nor_torch() -> None:
    loaded = third_party(loaded_by('loc2_ros.cli.main'))
    assert not loaded & {'torch', 'cv2', 'rosbags', 'matplotlib', 'scipy'}
    assert not {name for name in loaded if ROS.fullmatch(name)}
