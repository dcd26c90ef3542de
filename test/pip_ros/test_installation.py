# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What an installation has to put where, whether pip or colcon did it."""

from __future__ import annotations

from importlib import metadata
import os
from pathlib import Path
import xml.etree.ElementTree as ElementTree

from ament_index_python.packages import get_package_prefix, get_package_share_directory
import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope='module')
def share() -> Path:
    """Return where launch and parameter files are."""
    return Path(get_package_share_directory('loc2_ros'))


def test_the_share_folder_holds_the_manifest(share: Path) -> None:
    assert (share / 'package.xml').read_bytes() == (ROOT / 'package.xml').read_bytes()


@pytest.mark.parametrize('folder', ['launch', 'config'])
def test_the_share_folder_holds_every_launch_and_parameter_file(share: Path, folder: str) -> None:
    shipped = {path.name for path in (ROOT / folder).iterdir() if path.is_file()}
    assert {path.name for path in (share / folder).glob('*') if path.is_file()} == shipped


@pytest.mark.parametrize('name', ['loc2_node', 'kitti_adapter'])
def test_the_nodes_are_where_ros2_run_and_launch_look(name: str) -> None:
    node = Path(get_package_prefix('loc2_ros'), 'lib', 'loc2_ros', name)
    assert os.access(node, os.X_OK)
    # Not the interpreter of the machine that built it
    assert node.read_text().splitlines()[0] == '#!/usr/bin/env python3'


def test_the_manifest_and_setup_agree_on_the_version() -> None:
    manifest = ElementTree.parse(ROOT / 'package.xml').getroot()
    version = manifest.findtext('version')
    assert f"version='{version}'" in (ROOT / 'setup.py').read_text()


def test_what_the_package_reads_beside_its_modules_is_installed_with_them() -> None:
    installed = {str(path) for path in metadata.files('loc2_ros') or []}
    needed = {str(path.relative_to(ROOT)) for path in (ROOT / 'loc2_ros').rglob('*')
              if path.is_file() and path.suffix not in ('.py', '.pyc')}
    missing = {name for name in needed if not any(path.endswith(name) for path in installed)}
    assert not missing, 'add them to package_data in setup.py'
