# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What localize.launch.py starts, with which parameters, for which arguments."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
from typing import Any, Callable

from loc2_ros.ros.params import check
import pytest

ROOT = Path(__file__).resolve().parents[2]
Launch = Callable[..., dict[str, list[Any]]]


def node_of(found: dict[str, list[Any]]) -> Any:
    """Return the only node."""
    node, = found['Node']
    return node


def set_by(found: dict[str, list[Any]]) -> dict[str, Any]:
    """Return the parameters that arguments set."""
    overrides: dict[str, Any] = node_of(found).parameters[-1]
    return overrides


def test_without_arguments_it_starts_the_node_with_the_shipped_parameters(
        launched: Launch) -> None:
    found = launched()
    node = node_of(found)
    assert (node.package, node.executable, node.name) == ('loc2_ros', 'loc2_node', 'loc2')
    assert [Path(p) for p in node.parameters[:-1]] == [ROOT / 'config' / 'loc2.yaml']
    assert set_by(found) == {} and node.remappings == []
    assert 'ExecuteProcess' not in found


def test_the_executable_and_every_parameter_file_exist(launched: Launch) -> None:
    node = node_of(launched(params_file='kitti'))
    assert (ROOT / 'scripts' / node.executable).is_file()
    files = [Path(p) for p in node.parameters[:-1]]
    assert [f.name for f in files] == ['loc2.yaml', 'kitti.yaml']
    assert all(f.is_file() for f in files)


def test_every_argument_is_described_and_has_an_effect(launched: Launch, tmp_path: Path) -> None:
    def result(**given: str) -> str:
        found = launched(**given)
        return repr([found.get(kind) for kind in ('Node', 'ExecuteProcess')])
    file = tmp_path / 'own.yaml'
    file.write_text('')
    values = {'params_file': str(file), 'publish_tf': 'false', 'use_sim_time': 'true'}
    for argument in launched()['declared']:
        name = argument.arguments[0]
        assert argument.description
        base = {'bag': 'drive'} if name == 'rate' else {}
        assert result(**base, **{name: values.get(name, '7')}) != result(**base), name


def test_arguments_become_parameters_that_the_node_has(launched: Launch) -> None:
    overrides = set_by(launched(
        map='area.mbtiles', checkpoint='mini', image_topic='/cam', camera_info_topic='/info',
        fix_topic='/gps', imu_topic='/imu', publish_tf='false', use_sim_time='false'))
    assert overrides.pop('use_sim_time') is False
    assert overrides['map.path'] == 'area.mbtiles' and overrides['publish_tf'] is False
    for name, value in overrides.items():
        check(name, value)


def test_with_a_bag_a_player_starts_and_time_is_simulated(launched: Launch) -> None:
    found = launched(bag='my drive', rate='0.5')
    assert set_by(found)['use_sim_time'] is True
    player, = found['ExecuteProcess']
    assert player.cmd[0] == sys.executable
    assert player.cmd[3:7] == ['replay', 'my drive', '--rate', '0.5']
    assert set_by(launched(bag='b', use_sim_time='false'))['use_sim_time'] is False


def test_the_player_is_a_verb_of_the_command_line(launched: Launch) -> None:
    pytest.importorskip('typer')
    player, = launched(bag='b')['ExecuteProcess']
    answer = subprocess.run([*player.cmd[:4], '--help'], capture_output=True, text=True,
                            cwd=ROOT)
    assert answer.returncode == 0 and '--rate' in answer.stdout


def test_the_player_waits_for_the_node_and_knows_its_topics(launched: Launch) -> None:
    player, = launched(bag='b', params_file='kitti', fix_topic='/gps')['ExecuteProcess']
    given = list(zip(player.cmd[7::2], player.cmd[8::2]))
    assert [Path(value).name for name, value in given if name == '--config'] == [
        'loc2.yaml', 'kitti.yaml']
    assert ('--param', 'fix_topic:=/gps') in given
    # A drive that starts while the model is being loaded would lose its first seconds
    assert float(dict(given)['--wait-for']) >= 30.0


def test_in_a_namespace_tf_goes_along(launched: Launch) -> None:
    node = node_of(launched(namespace='car1'))
    assert node.namespace == 'car1'
    assert node.remappings == [('/tf', 'tf'), ('/tf_static', 'tf_static')]
    player, = launched(namespace='/car1', bag='b')['ExecuteProcess']
    given = list(zip(player.cmd[7::2], player.cmd[8::2]))
    assert ('--remap', '/tf:=/car1/tf') in given
    assert ('--remap', '/tf_static:=/car1/tf_static') in given


def test_a_wrong_file_or_truth_value_is_refused_with_a_remedy(launched: Launch) -> None:
    with pytest.raises(FileNotFoundError, match='kitti'):
        launched(params_file='kiti')
    with pytest.raises(ValueError, match='true or false'):
        launched(publish_tf='maybe')


def test_the_node_ends_the_launch_when_it_ends(launched: Launch, stand_in: Any) -> None:
    assert isinstance(node_of(launched(bag='b')).on_exit, stand_in.Shutdown)
