# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The command line: help without torch or ROS, errors as one sentence on stderr."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys

from loc2_ros import __version__
from loc2_ros.cli.main import app
from loc2_ros.cli.settings import find_config, load_settings
from loc2_ros.ros.params import ParameterError
import pytest
from typer.testing import CliRunner

ROOT = Path(__file__).resolve().parents[2]
VERBS = ('run', 'replay', 'record', 'town')
RUNNER = CliRunner()


def test_help_lists_every_verb() -> None:
    result = RUNNER.invoke(app, ['--help'])
    assert result.exit_code == 0
    for verb in VERBS:
        assert f'  {verb}' in result.output


@pytest.mark.parametrize('verb', VERBS)
def test_every_verb_and_option_explains_itself(verb: str) -> None:
    result = RUNNER.invoke(app, [verb, '--help'])
    assert result.exit_code == 0
    lines = result.output.split('Options:')[1].splitlines()
    bare = [line for line in lines if line.strip().startswith('-') and len(line.split()) < 4
            and not line.startswith(' ' * 20)]
    # An option alone on its line continues with its description below
    assert all(lines[lines.index(line) + 1].startswith(' ' * 10) for line in bare), bare


def test_the_version_is_told() -> None:
    assert RUNNER.invoke(app, ['--version']).output == f'loc2_ros {__version__}\n'


def test_the_command_line_loads_neither_torch_nor_ros_nor_opencv() -> None:
    code = ('import sys, loc2_ros.cli.main; '
            'print([m for m in ("torch", "rclpy", "cv2", "matplotlib") if m in sys.modules])')
    found = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True,
                           check=True)
    assert found.stdout == '[]\n'


CTRL_C = """
import signal, sys
loading = sys.argv.pop(1)
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == loading:
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder())
from loc2_ros.cli.__main__ import main
sys.exit(main())
"""


@pytest.mark.parametrize('loading', ['typer', 'numpy', 'loc2_ros.cli.bench',
                                     'loc2_ros.maps.store'])
def test_ctrl_c_while_loading_is_one_line_and_exit_code_130(loading: str) -> None:
    done = subprocess.run([sys.executable, '-c', CTRL_C, loading, 'map', 'info', 'no.mbtiles'],
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, '')
    assert done.stderr == 'loc2: interrupted\n'


@pytest.mark.parametrize('start', [
    ('-m', 'loc2_ros.cli'),
    ('-c', 'import runpy; runpy.run_path("scripts/loc2", run_name="__main__")')])
def test_the_command_line_runs_as_a_package_and_as_a_program_of_ros(
        start: tuple[str, ...]) -> None:
    done = subprocess.run([sys.executable, *start, 'map', 'info', 'no.mbtiles'], cwd=ROOT,
                          capture_output=True, text=True)
    assert done.returncode == 5 and 'does not exist' in done.stderr


def invoke(*arguments: str) -> tuple[int, str]:
    """Run a verb in this process and return its exit code and stderr."""
    result = RUNNER.invoke(app, list(arguments))
    assert not isinstance(result.exception, Exception) or isinstance(
        result.exception, SystemExit), result.exception
    return result.exit_code, result.stderr


@pytest.mark.parametrize(('arguments', 'sentence'), [
    (['run', '--bag', 'absent.mcap', '--map', 'm.mbtiles', '--out', 'o'], 'there is no bag at'),
    (['run', '--bag', 'absent.mcap', '--out', 'o'], 'no map: give --map'),
    (['run', '--bag', 'b', '--map', 'm', '--out', 'o', '--param', 'prior.max_agee:=1.0'],
     'did you mean prior.max_age'),
    (['run', '--bag', 'b', '--map', 'm', '--out', 'o', '--param', 'prior.max_age:=1'],
     'write 1.0, not 1'),
    (['run', '--bag', 'b', '--map', 'm', '--out', 'o', '--prior-noise', '15'], 'M,DEG'),
    (['run', '--bag', 'b', '--map', 'm', '--out', 'o', '--config', 'mars'],
     'shipped ones are'),
    (['record', '--bag', 'absent.mcap', '--out', 'o'], 'there is no bag at'),
    (['replay', 'absent.mcap'], 'there is no bag at'),
    (['replay', 'absent.mcap', '--remap', 'a:b'], 'FROM:=TO'),
])
def test_a_mistake_is_one_sentence_on_stderr_and_exit_code_1(
        arguments: list[str], sentence: str) -> None:
    if arguments[0] in ('record', 'replay'):
        pytest.importorskip('rclpy', reason='needs ROS')
    code, error = invoke(*arguments)
    assert code == 1
    assert error.startswith('loc2: ') and sentence in error and error.count('\n') == 1


def test_a_missing_option_is_a_usage_error() -> None:
    code, error = invoke('run', '--map', 'm')
    assert code == 2 and '--bag' in error


def test_settings_come_from_defaults_files_options_and_params_in_this_order(
        tmp_path: Path) -> None:
    file = tmp_path / 'mine.yaml'
    file.write_text('/**:\n  ros__parameters:\n    use_sim_time: true\n    prior:\n'
                    '      max_age: 3.5\n    checkpoint: elsewhere\n    odom_frame: ""\n')
    settings = load_settings([str(file)], ['prior.wait:=0.3', 'checkpoint:=last'],
                             checkpoint='option', map__path='m.mbtiles')
    assert settings['prior.max_age'] == 3.5 and settings['prior.wait'] == 0.3
    assert settings['checkpoint'] == 'last' and settings['map.path'] == 'm.mbtiles'
    assert settings['prior.max_jump'] == 30.0 and settings['odom_frame'] == ''
    assert load_settings([str(file)], [], checkpoint='')['checkpoint'] == 'elsewhere'


@pytest.mark.parametrize('text', ['[1, 2', '- a\n- b\n', 'loc2: {ros__parameters: {nonsense: 1}}',
                                  '/**: {ros__parameters: {max_rate: fast}}',
                                  '/**: {ros__parameters: [1]}', 'loc2: 7'])
def test_a_broken_parameter_file_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / 'broken.yaml'
    file.write_text(text)
    with pytest.raises(ParameterError):
        load_settings([str(file)], [])


def test_what_belongs_to_rclpy_in_a_parameter_file_is_left_to_it(tmp_path: Path) -> None:
    file = tmp_path / 'own.yaml'
    file.write_text('/**: {ros__parameters: {use_sim_time: true, max_rate: 2.0, '
                    'qos_overrides: {/fix: {subscription: {depth: 3}}}}}')
    assert load_settings([str(file)], []) == {**load_settings([], []), 'max_rate': 2.0}


def test_the_shipped_files_are_found_by_name_and_valid() -> None:
    settings = load_settings(['loc2', 'kitti'], [])
    assert settings['static_tf.child_frame'] == 'imu_link'
    assert settings['static_tf.pose'][:3] == [-1.405, 0.32, 0.93]
    assert find_config('kitti').name == 'kitti.yaml'
