# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Parameters of the running node: every one of them set, refused, applied; pairs set at once."""

from __future__ import annotations

import re
from typing import Any, Iterator

from loc2_ros.ros.declare import values
from loc2_ros.ros.node import Loc2Node
from loc2_ros.ros.params import check_together, defaults, Param, ParameterError, PARAMS
import pytest
from rcl_interfaces.srv import SetParametersAtomically
import rclpy
from rclpy.context import Context
from rclpy.parameter import Parameter
from ros_world import FakeLocalizer, World

FREE = [p for p in PARAMS if not p.read_only]
NUMBERS = [p for p in FREE if p.kind in (int, float) and p.low > float('-inf')]


@pytest.fixture(scope='module')
def node() -> Iterator[Loc2Node]:
    """Give a node that is configured and not spun."""
    context = Context()
    rclpy.init(context=context)
    made = Loc2Node(localizer_factory=lambda settings, frame: FakeLocalizer(), context=context)
    made.trigger_configure()
    yield made
    made.close()
    made.destroy_node()
    rclpy.shutdown(context=context)


def attempt(node: Loc2Node, name: str, value: Any) -> tuple[bool, str]:
    """Set a parameter; return whether it worked, and the reason if not."""
    result = node.set_parameters([Parameter(name, value=value)])[0]
    return result.successful, result.reason


@pytest.mark.parametrize('param', FREE, ids=lambda p: p.name)
def test_what_may_change_takes_its_default_and_both_ends_of_its_range(
        node: Loc2Node, param: Param) -> None:
    before = values(node)
    for value in (param.default, *param.choices):
        assert attempt(node, param.name, value) == (True, '')
        assert node.get_parameter(param.name).value == value
    node.set_parameters([Parameter(param.name, value=before[param.name])])
    assert values(node) == before


@pytest.mark.parametrize('param', NUMBERS, ids=lambda p: p.name)
def test_below_and_above_its_range_a_parameter_is_refused_and_stays(
        node: Loc2Node, param: Param) -> None:
    before = values(node)
    for value in (param.low - 1, param.high + 1):
        done, reason = attempt(node, param.name, param.kind(value))
        assert not done and param.name in reason and str(param.kind(value)) in reason
    assert values(node) == before


@pytest.mark.parametrize('param', [p for p in FREE if p.kind is float], ids=lambda p: p.name)
def test_an_integer_for_a_double_is_refused_with_both_types(
        node: Loc2Node, param: Param) -> None:
    done, reason = attempt(node, param.name, 1)
    assert not done and 'DOUBLE' in reason and 'INTEGER' in reason


@pytest.mark.parametrize('param', [p for p in PARAMS if p.read_only], ids=lambda p: p.name)
def test_what_is_fixed_is_refused_as_read_only(node: Loc2Node, param: Param) -> None:
    value = [0.5] * param.lengths[0] if param.default is None else param.default
    done, reason = attempt(node, param.name, value)
    assert not done and 'read-only' in reason


@pytest.mark.parametrize('param', [p for p in FREE if p.choices], ids=lambda p: p.name)
def test_a_wrong_word_is_refused_with_the_right_ones(node: Loc2Node, param: Param) -> None:
    done, reason = attempt(node, param.name, 'nonsense')
    assert not done and all(repr(choice) in reason for choice in param.choices)


@pytest.mark.parametrize('datum', [None, [49.0, 8.4, 110.0]])
def test_the_datum_is_set_at_the_start_or_not_at_all(datum: list[float] | None) -> None:
    context = Context()
    rclpy.init(context=context)
    given = [] if datum is None else [Parameter('map.datum', value=datum)]
    node = Loc2Node(localizer_factory=lambda settings, frame: FakeLocalizer(), context=context,
                    parameter_overrides=given)
    assert node.settings['map.datum'] == datum
    assert node.trigger_configure() == rclpy.lifecycle.TransitionCallbackReturn.SUCCESS
    assert node.values().get('datum_source') == (None if datum is None else 'parameter')
    node.close()
    node.destroy_node()
    rclpy.shutdown(context=context)


def test_a_refused_set_changes_nothing_also_of_what_was_right_in_it(node: Loc2Node) -> None:
    before = values(node)
    result = node.set_parameters_atomically([
        Parameter('prior.max_age', value=3.0), Parameter('prior.source', value='nonsense')])
    assert not result.successful and values(node) == before


def test_two_that_depend_on_each_other_are_judged_together(node: Loc2Node) -> None:
    before = values(node)
    done, reason = attempt(node, 'gate.relocate_time', 60.0)
    assert not done and reason.startswith(
        'gate.relocate_time 60 must not exceed gate.memory 30, or ')
    assert not attempt(node, 'gate.memory', 2.0)[0]
    both = [Parameter('gate.relocate_time', value=60.0), Parameter('gate.memory', value=90.0)]
    assert node.set_parameters_atomically(both).successful
    assert not attempt(node, 'gate.memory', 59.0)[0]        # against what is, not the default
    back = [Parameter(name, value=before[name]) for name in ('gate.relocate_time', 'gate.memory')]
    assert node.set_parameters_atomically(back).successful and values(node) == before


def test_the_same_holds_at_the_start_and_without_ros() -> None:
    with pytest.raises(ParameterError, match=re.escape('tf.tolerance 8 must not exceed')):
        check_together({**defaults(), 'tf.tolerance': 8.0})
    check_together(defaults())
    context = Context()
    rclpy.init(context=context)
    with pytest.raises(ParameterError, match='gate.memory'):
        Loc2Node(context=context, parameter_overrides=[Parameter('gate.memory', value=1.0)])
    rclpy.shutdown(context=context)


def test_judging_has_no_effect_and_the_node_applies_what_was_accepted(world: World) -> None:
    node = world.start(prior__wait=0.0)
    world.ready(node)
    before = dict(node.settings)
    request = SetParametersAtomically.Request(parameters=[
        Parameter('max_image_age', value=0.5).to_parameter_msg(),
        Parameter('prior.position_stddev', value=-1.0).to_parameter_msg()])
    answer = world.call(SetParametersAtomically, '/loc2/set_parameters_atomically',
                        parameters=request.parameters)
    assert not answer.result.successful and 'prior.position_stddev' in answer.result.reason
    assert node.settings == before
    answer = world.call(SetParametersAtomically, '/loc2/set_parameters_atomically',
                        parameters=request.parameters[:1])
    assert answer.result.successful
    world.until(lambda: node.settings['max_image_age'] == 0.5, 'the change')
    world.image(world.now() - 1_000_000_000)
    world.counted('image_stale')


def test_publish_tf_can_be_switched_while_running(world: World) -> None:
    node = world.start(publish_tf=False)
    world.ready(node)
    world.frame()
    world.poses(1)
    node.set_parameters([Parameter('publish_tf', value=True)])
    world.until(lambda: node.settings['publish_tf'], 'the change')
    stamp = world.frame()
    world.poses(2)
    sent = world.until(lambda: world.got['tf'], 'a transform')
    assert [t.header.stamp.nanosec for t in sent] == [stamp % 1_000_000_000]
