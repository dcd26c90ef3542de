# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Parameter values of a run: the node's table, parameter files, then ``--param name:=value``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
import os
from pathlib import Path
import sys
from typing import Any

import loc2_ros
import yaml

# Shipped parameter files of the node; others in config/ belong to other nodes or to training
NODE_FILES = ('kitti', 'loc2')


def load_settings(files: Sequence[str], params: Sequence[str], **named: Any) -> dict[str, Any]:
    """
    Return every parameter's value by name.

    :param files: ROS parameter files, or names of shipped ones (``kitti``).
    :param params: ``name:=value``, the last one wins.
    :param named: values from options of their own, ``__`` for a dot; None and '' are left out.
    :raises ParameterError: one sentence with the remedy.
    """
    from loc2_ros.ros.params import check, check_together, defaults, parse
    settings = defaults()
    for file in files:
        for name, value in read_file(find_config(file)):
            check(name, value)
            settings[name] = value
    for option, value in named.items():
        if value not in (None, ''):
            name = option.replace('__', '.')
            check(name, value)
            settings[name] = value
    settings.update(parse(text) for text in params)
    check_together(settings)
    return settings


def find_config(name: str) -> Path:
    """Return a parameter file given by path, or by the name of a shipped one."""
    from loc2_ros.ros.params import ParameterError
    path = Path(name)
    if path.is_file():
        return path
    for folder in _config_folders() if name in NODE_FILES else ():
        candidate = folder / f'{name}.yaml'
        if candidate.is_file():
            return candidate
    raise ParameterError(f'there is no parameter file {name}; shipped ones are '
                         f'{", ".join(NODE_FILES)}')


def read_file(path: Path) -> Iterator[tuple[str, Any]]:
    """
    Read a ROS parameter file: the sections ``/**`` and ``loc2``, nested names joined by dots.

    What ``/**`` says to other nodes is passed over, with a word about it on stderr.

    :raises ParameterError: not such a file.
    """
    from loc2_ros.ros.params import BY_NAME, ParameterError, unknown
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ParameterError(f'{path} cannot be read as YAML: {error}') from error
    if not isinstance(content, Mapping):
        raise ParameterError(f'{path} holds no parameters; it needs /**: ros__parameters: ...')
    for node in ('/**', 'loc2', '/loc2'):
        section = content.get(node) or {}
        found = section.get('ros__parameters') or {} if isinstance(section, Mapping) else section
        if not isinstance(found, Mapping):
            raise ParameterError(f'{path}: {node} needs ros__parameters: with names and values')
        for name, value in _flat(found):
            if name == 'use_sim_time' or name.startswith('qos_overrides.'):     # rclpy's own
                continue
            if node == '/**' and name not in BY_NAME:       # another node's, perhaps
                print(f'loc2: {path}: {unknown(name)}', file=sys.stderr)
                continue
            yield name, value


def _flat(tree: Mapping[str, Any], prefix: str = '') -> Iterator[tuple[str, Any]]:
    """Yield dotted names and values."""
    for key, value in tree.items():
        name = f'{prefix}{key}'
        if isinstance(value, Mapping):
            yield from _flat(value, f'{name}.')
        else:
            yield name, value


def _config_folders() -> list[Path]:
    """Return where shipped files may lie: source tree, installed by pip, by colcon."""
    prefixes = [sys.prefix, *filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(':'))]
    return [Path(loc2_ros.__file__).parent.parent / 'config',
            *(Path(prefix) / 'share' / 'loc2_ros' / 'config' for prefix in prefixes)]
