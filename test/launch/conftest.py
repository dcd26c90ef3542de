# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A recording stand-in for ``launch`` and ``launch_ros``, which have no wheels.

It is used even where the real ones exist: what is checked is what the file asks for.
"""

from __future__ import annotations

from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
import sys
from types import ModuleType, SimpleNamespace
from typing import Any, Callable, Iterator

import pytest

ROOT = Path(__file__).resolve().parents[2]


class Recorded:
    """An action that remembers how it was made."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        """Keep everything."""
        self.arguments, self.keywords = arguments, keywords

    def __repr__(self) -> str:
        """Show how it was made."""
        return f'{type(self).__name__}({self.arguments}, {self.keywords})'

    def __getattr__(self, name: str) -> Any:
        """Read keywords as attributes."""
        try:
            return self.keywords[name]
        except KeyError as error:
            raise AttributeError(name) from error


def action(name: str) -> type[Recorded]:
    """Make a kind of action."""
    return type(name, (Recorded,), {})


class LaunchConfiguration(Recorded):
    """An argument, read from the context."""

    def perform(self, context: Any) -> str:
        """Return the value."""
        return str(context[self.arguments[0]])


class NotInstalled(KeyError):
    """A package that is not there."""


INSTALLED: set[str] = set()


def prefix_of(package: str) -> str:
    """Find a package, as ament_index_python does."""
    if package not in INSTALLED:
        raise NotInstalled(package)
    return f'/opt/{package}'


@pytest.fixture
def without(stand_in: SimpleNamespace) -> Callable[[str], None]:
    """Give a function that takes a package away."""
    return INSTALLED.discard


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[SimpleNamespace]:
    """Put the stand-ins in place."""
    names = {
        'launch': ['LaunchDescription'], 'launch.substitutions': [],
        'launch.actions': ['DeclareLaunchArgument', 'ExecuteProcess', 'LogInfo',
                           'OpaqueFunction', 'Shutdown'],
        'launch_ros': [], 'launch_ros.actions': ['Node']}
    made = {}
    for name, kinds in names.items():
        module = ModuleType(name)
        for kind in kinds:
            made[kind] = action(kind)
            setattr(module, kind, made[kind])
        monkeypatch.setitem(sys.modules, name, module)
    setattr(sys.modules['launch.substitutions'], 'LaunchConfiguration', LaunchConfiguration)
    index = ModuleType('ament_index_python.packages')
    setattr(index, 'PackageNotFoundError', NotInstalled)
    setattr(index, 'get_package_prefix', prefix_of)
    monkeypatch.setitem(sys.modules, 'ament_index_python.packages', index)
    monkeypatch.setattr(sys.modules[__name__], 'INSTALLED', {'robot_localization', 'rviz2'})
    yield SimpleNamespace(**made)


@pytest.fixture
def launched(stand_in: SimpleNamespace) -> Callable[..., dict[str, list[Any]]]:
    """Give a function that runs the launch file and sorts what it starts by kind."""
    path = ROOT / 'launch' / 'localize.launch.py'
    spec = spec_from_file_location('localize_launch', path)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)

    def launch(**given: str) -> dict[str, list[Any]]:
        description = module.generate_launch_description().arguments[0]
        declared = [a for a in description if type(a).__name__ == 'DeclareLaunchArgument']
        context = {a.arguments[0]: a.default_value for a in declared}
        unknown = set(given) - set(context)
        assert not unknown, f'not declared: {unknown}'
        context.update(given)
        started: list[Any] = []
        for entry in description:
            if type(entry).__name__ == 'OpaqueFunction':
                started += entry.function(context)
        found: dict[str, list[Any]] = {'declared': declared}
        for entry in started:
            assert type(entry) in (getattr(stand_in, kind) for kind in vars(stand_in))
            found.setdefault(type(entry).__name__, []).append(entry)
        return found
    return launch
