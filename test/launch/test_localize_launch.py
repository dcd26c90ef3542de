# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What localize.launch.py starts, with which parameters, for which arguments."""

from __future__ import annotations

from pathlib import Path
import subprocess
import sys
from typing import Any, Callable

from loc2_ros.data.topics import ADAPTED
from loc2_ros.ros.params import check
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
Launch = Callable[..., dict[str, list[Any]]]


def named(found: dict[str, list[Any]], name: str) -> Any:
    """Return the node of a name."""
    node, = (node for node in found['Node'] if node.name == name)
    return node


def names(found: dict[str, list[Any]]) -> list[str]:
    """Return the names of all nodes."""
    return [node.name for node in found['Node']]


def node_of(found: dict[str, list[Any]]) -> Any:
    """Return the localizer."""
    return named(found, 'loc2')


def options_of(player: Any) -> list[tuple[str, str]]:
    """Return the options of a player, each with its value."""
    return list(zip(player.cmd[7::2], player.cmd[8::2]))


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
    assert names(found) == ['loc2']
    assert 'ExecuteProcess' not in found and 'LogInfo' not in found


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
    file.write_text('/**: {ros__parameters: {}}')
    values = {'params_file': str(file), 'publish_tf': 'false', 'use_sim_time': 'true',
              'ekf': 'true', 'adapter': 'true', 'rviz': 'true', 'ekf_file': str(file)}
    beside = {'rate': {'bag': 'drive'}, 'ekf_file': {'ekf': 'true'}}
    for argument in launched()['declared']:
        name = argument.arguments[0]
        assert argument.description
        base = beside.get(name, {})
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


def test_a_recording_at_home_is_found_though_no_shell_expands_its_name(launched: Launch) -> None:
    player, = launched(bag='~/drive')['ExecuteProcess']
    assert player.cmd[4] == str(Path.home() / 'drive')


def test_the_player_is_a_verb_of_the_command_line(launched: Launch) -> None:
    pytest.importorskip('typer')
    player, = launched(bag='b')['ExecuteProcess']
    answer = subprocess.run([*player.cmd[:4], '--help'], capture_output=True, text=True,
                            cwd=ROOT)
    assert answer.returncode == 0 and '--rate' in answer.stdout


def test_the_player_waits_for_the_node_and_knows_its_topics(launched: Launch) -> None:
    player, = launched(bag='b', params_file='kitti', fix_topic='/gps')['ExecuteProcess']
    given = options_of(player)
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
    given = options_of(player)
    assert ('--remap', '/tf:=/car1/tf') in given
    assert ('--remap', '/tf_static:=/car1/tf_static') in given


def test_a_wrong_file_or_truth_value_is_refused_with_a_remedy(
        launched: Launch, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='kitti'):
        launched(params_file='kiti')
    for argument in ('publish_tf', 'ekf', 'adapter', 'rviz'):
        with pytest.raises(ValueError, match=f'{argument}:=maybe must be true or false'):
            launched(**{argument: 'maybe'})
    with pytest.raises(FileNotFoundError, match='ekf_file'):
        launched(ekf='true', ekf_file='absent.yaml')
    empty = tmp_path / 'empty.yaml'
    empty.write_text('')
    with pytest.raises(ValueError, match='holds no parameters'):
        launched(params_file=str(empty))


def test_the_node_ends_the_launch_when_it_ends(launched: Launch, stand_in: Any) -> None:
    assert isinstance(node_of(launched(bag='b')).on_exit, stand_in.Shutdown)


# ---- names of parameter files -----------------------------------------------------------------

@pytest.mark.parametrize('name', sorted(p.stem for p in (ROOT / 'config').glob('*.yaml')))
def test_a_name_is_taken_only_where_the_file_holds_parameters_of_the_node(
        launched: Launch, name: str) -> None:
    content = yaml.safe_load((ROOT / 'config' / f'{name}.yaml').read_text())
    own = content.get('/**', {}).get('ros__parameters', {})
    if 'odom_frame' in own:     # the node has one, no other does
        assert Path(node_of(launched(params_file=name)).parameters[-2]).stem == name
    else:
        with pytest.raises(FileNotFoundError, match='one of kitti, loc2'):
            launched(params_file=name)


# ---- filters ----------------------------------------------------------------------------------

def test_both_filters_start_with_the_shipped_file_and_share_no_name(launched: Launch) -> None:
    found = launched(ekf='true')
    assert names(found) == ['loc2', 'ekf_odom', 'ekf_map']
    shipped = yaml.safe_load((ROOT / 'config' / 'ekf.yaml').read_text())
    taken: set[str] = set()
    for name, output in (('ekf_odom', 'odometry/local'), ('ekf_map', 'odometry/global')):
        ekf = named(found, name)
        assert (ekf.package, ekf.executable) == ('robot_localization', 'ekf_node')
        assert Path(ekf.parameters[0]) == ROOT / 'config' / 'ekf.yaml'
        assert f'/**/{name}' in shipped
        renamed = dict(ekf.remappings)
        assert renamed['odometry/filtered'] == output
        assert {s: renamed[s] for s in ('enable', 'reset', 'set_pose', 'toggle')} == {
            s: f'{name}/{s}' for s in ('enable', 'reset', 'set_pose', 'toggle')}
        assert not taken & set(renamed.values())
        taken |= set(renamed.values())


def test_the_adapter_calls_the_services_that_the_filters_offer(launched: Launch) -> None:
    found = launched(params_file='kitti', ekf='true')
    called = parameters_of(ROOT / 'config' / 'kitti_adapter.yaml')
    for parameter, name in (('reset_odom', 'ekf_odom'), ('reset_map', 'ekf_map')):
        assert dict(named(found, name).remappings)['reset'] == called[parameter]


@pytest.mark.parametrize('given, owner', [
    ({}, 'as in the files'), ({'ekf': 'true'}, False), ({'ekf': 'false'}, 'as in the files'),
    ({'ekf': 'true', 'publish_tf': 'true'}, True), ({'publish_tf': 'false'}, False),
    ({'twist_topic': '/wheels'}, False), ({'params_file': 'kitti'}, False)])
def test_map_to_odom_has_one_owner(launched: Launch, given: dict[str, str], owner: Any) -> None:
    found = launched(**given)
    assert set_by(found).get('publish_tf', 'as in the files') == owner
    # Two owners only where a user insists, and then not in silence
    told = [note.msg for note in found.get('LogInfo', ())]
    assert bool(told) == (given == {'ekf': 'true', 'publish_tf': 'true'}), told


def test_the_filters_are_told_which_twist_and_imu_there_are(launched: Launch) -> None:
    inputs = named(launched(twist_topic='/wheels', imu_topic='/xsens'), 'ekf_map').parameters[-1]
    assert (inputs['twist0'], inputs['imu0']) == ('/wheels', '/xsens')
    inputs = named(launched(params_file='kitti'), 'ekf_odom').parameters[-1]
    assert (inputs['twist0'], inputs['imu0']) == ('/kitti/twist', '/kitti/imu')
    assert 'twist0' not in named(launched(ekf='true'), 'ekf_odom').parameters[-1]


def test_own_parameters_of_the_filters_come_after_the_shipped_ones(
        launched: Launch, tmp_path: Path) -> None:
    own = tmp_path / 'ekf.yaml'
    own.write_text('/**/ekf_map: {ros__parameters: {odom_frame: wheels}}')
    found = launched(ekf='true', ekf_file=str(own))
    assert named(found, 'ekf_map').parameters[:2] == [str(ROOT / 'config' / 'ekf.yaml'), str(own)]
    assert set_by(found)['odom_frame'] == 'wheels'


def test_with_filters_the_localizer_uses_their_odometry(launched: Launch) -> None:
    # kitti.yaml says that there is none
    overrides = set_by(launched(params_file='kitti'))
    assert (overrides['odom_frame'], overrides['odometry_topic']) == ('odom', 'odometry/global')
    assert 'odom_frame' not in set_by(launched(params_file='kitti', ekf='false'))


@pytest.mark.parametrize('given', [{'ekf': 'true'}, {'params_file': 'kitti'}])
def test_without_robot_localization_it_says_so_and_the_localizer_sends_transforms(
        launched: Launch, without: Callable[[str], None], given: dict[str, str]) -> None:
    without('robot_localization')
    found = launched(**given)
    note, = found['LogInfo']
    assert 'robot_localization is not installed' in note.msg and note.msg.count('\n') == 0
    assert not {'ekf_odom', 'ekf_map'} & set(names(found))
    assert not {'publish_tf', 'odom_frame', 'odometry_topic'} & set(set_by(found))


# ---- adapter, RViz, clock, namespace ----------------------------------------------------------

def test_the_adapter_starts_with_topics_of_kitti_and_feeds_the_localizer(launched: Launch) -> None:
    found = launched(params_file='kitti', bag='b')
    adapter = named(found, 'kitti_adapter')
    assert (ROOT / 'scripts' / adapter.executable).is_file()
    assert Path(adapter.parameters[0]) == ROOT / 'config' / 'kitti_adapter.yaml'
    overrides = set_by(found)
    assert (overrides['fix_topic'], overrides['imu_topic']) == ADAPTED[:2]
    player, = found['ExecuteProcess']
    assert ('--remap', '/tf:=/ground_truth/tf') in options_of(player)
    for given in ({'params_file': 'kitti', 'adapter': 'false'}, {'fix_topic': '/gps'}):
        assert 'kitti_adapter' not in names(launched(**given))
    player, = launched(bag='b', adapter='false', params_file='kitti')['ExecuteProcess']
    assert not any('/tf' in value for name, value in options_of(player) if name == '--remap')


def test_the_adapter_listens_to_the_topics_that_are_named(launched: Launch) -> None:
    found = launched(adapter='true', fix_topic='/kitti/nav_sat_fix')
    assert named(found, 'kitti_adapter').parameters[-1]['fix_topic'] == '/kitti/nav_sat_fix'
    assert set_by(found)['fix_topic'] == '/kitti/fix'


@pytest.mark.parametrize('given, simulated', [
    ({}, False), ({'bag': 'b'}, True), ({'params_file': 'kitti'}, True),
    ({'bag': 'b', 'use_sim_time': 'false'}, False), ({'use_sim_time': 'true'}, True)])
def test_everything_has_the_clock_of_the_localizer(
        launched: Launch, given: dict[str, str], simulated: bool) -> None:
    found = launched(ekf='true', adapter='true', rviz='true', **given)
    assert len(found['Node']) == 5
    for node in found['Node']:
        values: dict[str, Any] = {}
        for part in node.parameters:
            values.update(part if isinstance(part, dict) else parameters_of(Path(part)))
        assert values.get('use_sim_time', False) is simulated, node.name


def test_in_a_namespace_all_nodes_share_its_transforms(launched: Launch) -> None:
    found = launched(namespace='car1', ekf='true', adapter='true', rviz='true')
    for node in found['Node']:
        assert node.namespace == 'car1'
        assert {('/tf', 'tf'), ('/tf_static', 'tf_static')} <= set(node.remappings)
    assert ('/loc2/pose', 'loc2/pose') in named(found, 'rviz').remappings


def test_rviz_starts_on_request_and_only_where_it_is(
        launched: Launch, without: Callable[[str], None]) -> None:
    rviz = named(launched(rviz='true'), 'rviz')
    assert rviz.keywords['arguments'][:2] == ['-d', str(ROOT / 'config' / 'loc2.rviz')]
    without('rviz2')
    found = launched(rviz='true')
    assert names(found) == ['loc2'] and 'rviz2 is not installed' in found['LogInfo'][0].msg


def parameters_of(path: Path) -> dict[str, Any]:
    """Return the top of what a file says to all nodes."""
    section = yaml.safe_load(path.read_text()).get('/**', {})
    found: dict[str, Any] = section.get('ros__parameters', {})
    return found
