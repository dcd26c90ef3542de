# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Lifecycle transitions in every order, valid or not: the state is always the one it should be."""

from __future__ import annotations

from itertools import product
import threading
from typing import Any, Iterator

from fault_tools import error_m, EXPECTED
from loc2_ros.ros.node import Loc2Node
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_world import DATUM, FakeLocalizer, World

SUCCESS = TransitionCallbackReturn.SUCCESS
TRANSITIONS = ('configure', 'activate', 'deactivate', 'cleanup', 'shutdown')
# The lifecycle of ROS 2: what each transition leads to from each state it is possible in
LEADS_TO = {
    ('unconfigured', 'configure'): 'inactive', ('unconfigured', 'shutdown'): 'finalized',
    ('inactive', 'activate'): 'active', ('inactive', 'cleanup'): 'unconfigured',
    ('inactive', 'shutdown'): 'finalized', ('active', 'deactivate'): 'inactive',
    ('active', 'shutdown'): 'finalized'}


@pytest.fixture(scope='module')
def shared() -> Iterator[World]:
    """Give one vehicle for all orders."""
    made = World()
    yield made
    made.close()


def make(world: World, **more: Any) -> Loc2Node:
    """Make a node that nobody spins."""
    return Loc2Node(localizer_factory=lambda settings, frame: FakeLocalizer(),
                    context=world.context,
                    parameter_overrides=[Parameter('map.datum', value=DATUM)], **more)


def state_of(node: Loc2Node) -> str:
    """Return what rclpy says of the node's state."""
    return str(node._state_machine.current_state[1])


def attempt(node: Loc2Node, transition: str) -> bool:
    """Try a transition; return whether it came about."""
    try:
        return getattr(node, f'trigger_{transition}')() == SUCCESS
    except RuntimeError:        # what rclpy raises where a transition is not possible
        return False


def workers() -> list[str]:
    """Return the names of the threads that work."""
    return sorted(t.name for t in threading.enumerate() if t.name.startswith('loc2_'))


def holds(node: Loc2Node, state: str) -> None:
    """Assert that the node has what it needs in a state, and nothing that it must not have."""
    assert state_of(node) == state == node.values()['state']
    assert (node.session is not None) == (state == 'active')
    assert (node.localizer is not None) == (state in ('inactive', 'active'))
    assert workers() == (['loc2_debug', 'loc2_worker'] if state == 'active' else [])
    # Without an active session, only what every node has
    topics = {s.topic_name for s in node.subscriptions}
    assert ('/image_rect' in topics) == (state == 'active')
    publishers = {p.topic_name for p in node.publishers}
    assert ('/loc2/pose' in publishers) == (state == 'active')


def walk(node: Loc2Node, order: tuple[str, ...]) -> str:
    """Try transitions one after the other from the start; return the last state."""
    state = 'unconfigured'
    for n, transition in enumerate(order):
        following = LEADS_TO.get((state, transition))
        assert attempt(node, transition) == (following is not None), order[:n + 1]
        state = following or state
        holds(node, state)
    return state


@pytest.mark.parametrize('length', [3, pytest.param(4, marks=pytest.mark.slow)])
def test_every_order_of_transitions_ends_where_the_lifecycle_says(
        shared: World, length: int) -> None:
    node = make(shared)
    for order in product(TRANSITIONS, repeat=length):
        state = walk(node, order)
        if state == 'finalized':        # a new one; any other goes back to its start
            node.close()
            node.destroy_node()
            assert not workers()
            node = make(shared)
        if state == 'active':
            assert attempt(node, 'deactivate')
        if state in ('active', 'inactive'):
            assert attempt(node, 'cleanup')
    node.close()
    node.destroy_node()


@pytest.mark.parametrize('order', [
    'activate configure activate activate deactivate activate',
    'configure activate configure cleanup',
    'configure cleanup deactivate configure activate deactivate deactivate activate',
    'cleanup deactivate configure configure activate cleanup'])
def test_after_a_mess_of_transitions_an_active_node_localizes(world: World, order: str) -> None:
    node = world.start(activate=False)
    state = 'unconfigured'
    for transition in order.split():
        done = node.spinner.executor.create_task(attempt, node, transition)
        world.until(done.done, transition)
        state = LEADS_TO.get((state, transition), state)
        assert done.result() == (state == node.values()['state']) or state_of(node) == state
    assert state_of(node) == state == 'active'
    world.connect()
    world.ready(node)
    world.until(lambda: world.frame() and len(world.got['pose']) >= 3, 'poses')
    assert all(error_m(pose, EXPECTED) < 1e-3 for pose in world.got['pose'])


def test_a_transition_that_fails_leaves_the_node_where_it_was(
        shared: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from loc2_ros.ros import session
    node = make(shared)
    assert attempt(node, 'configure')
    monkeypatch.setattr(session.ImageInput, '__init__', lambda *a: 1 / 0)
    before = {s.topic_name for s in node.subscriptions}, {p.topic_name for p in node.publishers}
    for _ in range(3):
        assert not attempt(node, 'activate')
        holds(node, 'inactive')
    assert ({s.topic_name for s in node.subscriptions},
            {p.topic_name for p in node.publishers}) == before
    monkeypatch.undo()
    assert attempt(node, 'activate')
    holds(node, 'active')
    node.close()
    node.destroy_node()
