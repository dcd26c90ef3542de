# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What the builder of ``.venv`` repeats, what it skips, and what it refuses."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'tools' / 'pip_ros' / 'build.py'
pytestmark = pytest.mark.skipif(not SCRIPT.exists(), reason='only the repository has the builder')


@pytest.fixture
def builder(tmp_path: Path) -> ModuleType:
    """Return the builder as a module, at work on an empty checkout."""
    spec = importlib.util.spec_from_file_location('pip_ros_build', SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.ROOT, module.VENV = tmp_path, tmp_path / '.venv'
    module.PYTHON, module.STAMPS = tmp_path / 'python', tmp_path / 'stamps.json'
    module.PYTHON.touch()
    return module


@pytest.fixture
def done(builder: ModuleType, tmp_path: Path) -> list[str]:
    """Replace the steps by three that take down their names; each reads one file."""
    names: list[str] = []
    for title in 'abc':
        (tmp_path / title).write_text('as it was')
    builder.STEPS = tuple(
        builder.Step(title, lambda title=title: [tmp_path / title],
                     lambda title=title: names.append(title)) for title in 'abc')
    return names


def test_a_second_run_does_nothing(builder: ModuleType, done: list[str]) -> None:
    builder.build()
    builder.build()
    assert done == ['a', 'b', 'c']


def test_a_changed_input_repeats_its_step_and_all_that_follow(
        builder: ModuleType, done: list[str], tmp_path: Path) -> None:
    builder.build()
    (tmp_path / 'b').write_text('changed')
    builder.build()
    assert done == ['a', 'b', 'c', 'b', 'c']


def test_a_failed_step_is_taken_up_again(builder: ModuleType, done: list[str]) -> None:
    whole = builder.STEPS

    def fail() -> None:
        raise builder.BuildError('no')

    builder.STEPS = (whole[0], whole[1]._replace(action=fail), whole[2])
    with pytest.raises(builder.BuildError):
        builder.build()
    builder.STEPS = whole
    builder.build()
    assert done == ['a', 'b', 'c']


def test_an_edited_module_needs_no_new_installation_but_a_new_one_does(
        builder: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / 'loc2_ros'
    package.mkdir()
    (package / 'one.py').write_text('x = 1\n')
    before = builder.digest(builder.files_under(package))
    (package / 'one.py').write_text('x = 2\n')
    assert builder.digest(builder.files_under(package)) == before
    (package / 'two.py').touch()
    assert builder.digest(builder.files_under(package)) != before


def test_weights_and_parameter_files_count_by_content(builder: ModuleType, tmp_path: Path) -> None:
    file = tmp_path / 'loc2_ros' / 'weights'
    file.parent.mkdir()
    file.write_text('1')
    before = builder.digest([file])
    file.write_text('2')
    assert builder.digest([file]) != before


def test_another_installations_paths_do_not_reach_the_new_interpreter(
        builder: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ('PYTHONPATH', 'LD_LIBRARY_PATH', '_ROS_WHEELS_BOOTSTRAP_COMPLETE')
    for name in names:
        monkeypatch.setenv(name, '/opt/ros/jazzy/lib')
    env = builder.clean_env()
    assert not any(name in env for name in names)
    assert env['AMENT_PREFIX_PATH'] == str(builder.VENV)


def test_a_machine_without_wheels_is_told_so(builder: ModuleType,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.platform, 'machine', lambda: 'aarch64')
    with pytest.raises(builder.BuildError, match='x86-64 Linux only'):
        builder.check_machine()


def test_a_missing_compiler_is_named_with_its_package(builder: ModuleType,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.shutil, 'which',
                        lambda tool: None if tool == 'c++' else f'/usr/bin/{tool}')
    with pytest.raises(builder.BuildError, match=r'apt install g\+\+'):
        builder.check_machine()
