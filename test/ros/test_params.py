# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The parameter table, without ROS: valid, complete, equal to what config/ says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from loc2_ros.ros.params import (
    BY_NAME, check, defaults, localizer_settings, Param, ParameterError, PARAMS, parse)
import pytest
import yaml

CONFIG = Path(__file__).resolve().parents[2] / 'config'
BOUNDED = [p for p in PARAMS if p.kind in (int, float) and p.low > float('-inf')]


def flat(tree: dict[str, Any], prefix: str = '') -> dict[str, Any]:
    """Return the dotted names of a parameter file."""
    found = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            found.update(flat(value, f'{prefix}{name}.'))
        else:
            found[prefix + name] = value
    return found


def read(name: str) -> dict[str, Any]:
    """Return the parameters of a file in config/."""
    return flat(yaml.safe_load((CONFIG / name).read_text())['/**']['ros__parameters'])


@pytest.mark.parametrize('param', PARAMS, ids=lambda p: p.name)
def test_every_default_is_valid_and_described(param: Param) -> None:
    assert param.problem(param.default) is None
    assert param.description.endswith('.')


@pytest.mark.parametrize('param', BOUNDED, ids=lambda p: p.name)
def test_values_outside_the_range_are_refused_with_the_range(param: Param) -> None:
    for value in (param.kind(param.low - 1), param.kind(param.high + 1)):
        problem = param.problem(value)
        assert problem and param.range_text() in problem and f'{value:g}' in problem


def test_names_are_unique() -> None:
    assert len(BY_NAME) == len(PARAMS)


def test_an_integer_for_a_double_is_explained() -> None:
    with pytest.raises(ParameterError, match=r'prior\.max_age is a double: write 30\.0, not 30'):
        check('prior.max_age', 30)


def test_a_truth_value_is_no_number() -> None:
    with pytest.raises(ParameterError):
        check('ransac.seed', True)


def test_a_list_is_checked_in_length_kind_and_range() -> None:
    for value in ([1.0], [1, 2, 3], ['a', 'b', 'c'], 'abc', [1.0, 2.0, 1e9], []):
        with pytest.raises(ParameterError, match=r'map\.datum'):
            check('map.datum', value)
    check('map.datum', [49.0, 8.4, 110.0])


def test_a_wrong_choice_is_answered_with_the_choices() -> None:
    with pytest.raises(ParameterError, match="'auto', 'cpu', 'cuda'"):
        check('device', 'gpu')


@pytest.mark.parametrize('wrong, right', [
    ('prior.maxage', 'prior.max_age'), ('min_valid_fraction', 'map.min_valid_fraction'),
    ('chekpoint', 'checkpoint')])
def test_an_unknown_name_is_answered_with_close_ones(wrong: str, right: str) -> None:
    with pytest.raises(ParameterError, match=f'did you mean.*{right}'):
        check(wrong, 1.0)


@pytest.mark.parametrize('text, expected', [
    ('prior.max_age:=3.5', ('prior.max_age', 3.5)), ('ransac.seed:=7', ('ransac.seed', 7)),
    ('publish_tf:=false', ('publish_tf', False)), ('odom_frame:=', ('odom_frame', '')),
    ("odom_frame:=''", ('odom_frame', '')), ('checkpoint:=1.0', ('checkpoint', '1.0')),
    ('map.datum:=[49.0, 8.4, 1e2]', ('map.datum', [49.0, 8.4, 100.0]))])
def test_a_command_line_value_is_read_as_yaml_would(text: str, expected: Any) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize('text', [
    'prior.max_age', ':=3', 'prior.max_age:=3', 'prior.max_age:=x', 'map.datum:=[49, 8, 1]',
    'publish_tf:=1', 'ransac.seed:=1.0', 'prior.max_age:=nan'])
def test_a_command_line_value_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(ParameterError):
        parse(text)


def test_loc2_yaml_holds_every_parameter_with_its_default() -> None:
    expected = {name: value for name, value in defaults().items() if value is not None}
    assert read('loc2.yaml') == expected
    text = (CONFIG / 'loc2.yaml').read_text()
    for name in set(defaults()) - set(expected):        # unset ones stand there as a comment
        assert f'# {name.split(".")[-1]}: ' in text


def test_kitti_yaml_holds_valid_parameters_only() -> None:
    given = read('kitti.yaml')
    assert given.pop('use_sim_time') is True
    for name, value in given.items():
        check(name, value)
    assert given['static_tf.pose'] == [-1.405, 0.32, 0.93, 0.0, 0.0, 0.0]
    assert given['image_transport'] == 'compressed'


def test_the_settings_of_the_localizer_come_from_the_table() -> None:
    pytest.importorskip('torch')
    loading = pytest.importorskip('loc2_ros.loading')
    settings = loading.LocalizerSettings(**localizer_settings(defaults()))
    assert settings.checkpoint == 'mini' and settings.max_prior_distance_m == 50.0
