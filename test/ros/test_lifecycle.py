# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Lifecycle, start and stop: transitions, what cannot be loaded, exit codes."""

from __future__ import annotations

import os
from pathlib import Path
import signal
import subprocess
import sys
import time
from typing import Any, Iterator

from diagnostic_msgs.msg import DiagnosticArray
from loc2_ros.core.frames import LocalFrame
from loc2_ros.ros.about import load
from loc2_ros.ros.node import Loc2Node
from loc2_ros.ros.params import ParameterError
import pytest
import rclpy
from rclpy.context import Context
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_world import DATUM, FakeLocalizer, World

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE
ROOT = Path(__file__).resolve().parents[2]
MINI = ROOT / 'loc2_ros' / 'model' / 'mini'


@pytest.fixture
def context() -> Iterator[Context]:
    """Give an initialised context of its own."""
    made = Context()
    rclpy.init(context=made)
    yield made
    rclpy.shutdown(context=made)


def make(context: Context, factory: Any = None, **parameters: Any) -> Loc2Node:
    """Make a node without spinning it."""
    given = [Parameter(k.replace('__', '.'), value=v) for k, v in parameters.items()]
    return Loc2Node(localizer_factory=factory or (lambda settings, frame: FakeLocalizer()),
                    context=context, parameter_overrides=given)


def test_every_transition_works_twice(context: Context) -> None:
    node = make(context, map__datum=DATUM)
    for _ in range(2):
        assert node.trigger_configure() == SUCCESS
        assert node.trigger_activate() == SUCCESS and node.session is not None
        assert node.trigger_deactivate() == SUCCESS and node.session is None
        assert node.trigger_activate() == SUCCESS
        assert node.trigger_deactivate() == SUCCESS
        assert node.trigger_cleanup() == SUCCESS and node.localizer is None
    assert node.trigger_shutdown() == SUCCESS
    node.destroy_node()


def test_it_can_be_shut_down_while_active(context: Context) -> None:
    node = make(context)
    assert node.autostart()
    assert node.trigger_shutdown() == SUCCESS
    assert node.session is None
    node.destroy_node()


def test_a_node_works_again_after_deactivation_in_the_same_map_frame(world: World) -> None:
    node = world.start()
    world.ready(node)
    world.frame()
    world.poses(1)
    node.trigger_deactivate()
    world.shows('input', 'state', 'inactive')
    node.trigger_activate()
    world.connect()
    world.ready(node)
    world.until(lambda: world.frame() and len(world.got['pose']) > 1, 'a pose')
    assert node.fake.frame == LocalFrame(*DATUM)


def test_an_exception_in_configure_is_a_failure_with_its_sentence(
        world: World, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(settings: Any, frame: Any) -> Any:
        raise RuntimeError('the weights have the wrong shape; import them again')
    node = make(world.context, broken)
    assert node.trigger_configure() == FAILURE
    assert 'the weights have the wrong shape' in capfd.readouterr().err
    node._factory = lambda settings, frame: FakeLocalizer()
    assert node.autostart()         # alive, and well once the cause is gone
    node.close()
    node.destroy_node()


def small_map(folder: Path) -> Path:
    """Write a map of one colour."""
    import numpy as np
    writer = pytest.importorskip('loc2_ros.maps.writer')
    path = folder / 'map.mbtiles'
    grey = np.full((256, 256, 3), 90, np.uint8)
    writer.write_mbtiles_from_local(path, grey, LocalFrame(*DATUM), -128.0, 128.0, 1.0,
                                    metadata={})
    return path


@pytest.mark.parametrize('name, content, text', [
    ('', None, 'set map.path'), ('missing.mbtiles', None, 'does not exist'),
    ('corrupt.mbtiles', b'SQLite format 3\0' + bytes(range(256)) * 8, 'corrupt.mbtiles'),
    ('text.mbtiles', b'this is no map', 'no map')])
def test_a_map_that_cannot_be_opened_is_an_error_of_the_map_with_a_remedy(
        world: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str,
        content: bytes | None, text: str) -> None:
    pytest.importorskip('loc2_ros.loading')
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    listener = world.node.count_publishers('/diagnostics')
    node = make(world.context, load, map__path=str(path) if name else '',
                diagnostics__period=0.1)
    world.until(lambda: world.node.count_publishers('/diagnostics') > listener, 'the node')
    assert node.trigger_configure() == FAILURE
    assert text in capfd.readouterr().err
    world.until(lambda: node.diagnostics.publish() or (world.status('map') or (0,))[0] == 2,
                'the diagnostics')
    assert text in world.status('map')[1]
    if name and (MINI / 'model.safetensors').exists():      # and recovers
        path.unlink(missing_ok=True)
        small_map(tmp_path).rename(path)
        assert node.autostart()
        node.diagnostics.publish()
        world.level('map', 0)
    node.close()
    node.destroy_node()


@pytest.mark.parametrize('damage', ['missing', 'empty', 'shapes'])
def test_a_model_that_cannot_be_loaded_is_an_error_of_the_model(
        world: World, tmp_path: Path, damage: str) -> None:
    pytest.importorskip('loc2_ros.loading')
    folder = tmp_path / 'model'
    if damage != 'missing':
        folder.mkdir()
    if damage == 'shapes':
        if not (MINI / 'model.safetensors').exists():
            pytest.skip('the built-in model has not been trained yet')
        import torch
        from safetensors.torch import load_file, save_file
        (folder / 'config.json').write_bytes((MINI / 'config.json').read_bytes())
        tensors = load_file(MINI / 'model.safetensors')
        name = max(tensors, key=lambda n: tensors[n].numel())
        save_file({**tensors, name: torch.zeros(2, 3)}, folder / 'model.safetensors')
    node = make(world.context, load, map__path=str(small_map(tmp_path)), checkpoint=str(folder))
    world.until(lambda: world.node.count_publishers('/diagnostics'), 'the node')
    assert node.trigger_configure() == FAILURE
    world.until(lambda: node.diagnostics.publish() or (world.status('model') or (0,))[0] == 2,
                'the diagnostics')
    assert str(folder) in world.status('model')[1] or 'shape' in world.status('model')[1]
    node.close()
    node.destroy_node()


@pytest.mark.parametrize('name, value, text', [
    ('prior.max_age', 3, 'write 3.0'), ('prior.max_age', -1.0, '0 to 60'),
    ('device', 'gpu', "'cuda'"), ('map.datum', [1, 2, 3], 'write [1.0, 2.0, 3.0]'),
    ('map.datum', [1.0, 2.0], '3 numbers'), ('publish_tf', 'yes', 'true or false'),
    ('gate.max_consecutive', 2.5, 'an integer')])
def test_a_parameter_given_wrong_at_start_is_explained(
        context: Context, name: str, value: Any, text: str) -> None:
    with pytest.raises(ParameterError, match=name.replace('.', r'\.')) as caught:
        make(context, **{name: value})
    assert text in str(caught.value)


def test_an_unknown_parameter_is_answered_with_the_nearest(
        context: Context, capfd: pytest.CaptureFixture[str]) -> None:
    make(context, **{'prior.maxage': 1.0}).destroy_node()
    assert 'did you mean prior.max_age' in capfd.readouterr().err


def run(*arguments: str) -> subprocess.Popen[str]:
    """Start the executable as `ros2 run` does."""
    return subprocess.Popen(
        [sys.executable, str(ROOT / 'scripts' / 'loc2_node'), '--ros-args', *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT)})


@pytest.mark.parametrize('arguments, text', [
    (('-p', 'map.path:=/nowhere.mbtiles'), '/nowhere.mbtiles does not exist'),
    ((), 'set map.path'), (('-p', 'prior.max_age:=30'), 'write 30.0')])
def test_a_start_that_fails_ends_with_exit_code_1_and_one_sentence(
        arguments: tuple[str, ...], text: str) -> None:
    if 'map.path' in str(arguments):
        pytest.importorskip('loc2_ros.loading')
    process = run(*arguments)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert text in output and 'Traceback' not in output


@pytest.mark.parametrize('strokes', [1, 5])      # ros2 launch and its terminal both send one
def test_without_autostart_it_waits_for_a_manager_and_ends_with_0_on_sigint(
        world: World, strokes: int) -> None:
    from lifecycle_msgs.srv import GetState
    process = run('-p', 'autostart:=false')
    try:
        client = world.node.create_client(GetState, '/loc2/get_state')
        world.until(client.service_is_ready, 'the node', 30.0)
        # A first call can be lost: the answer's way may be matched later than the question's
        calls = []

        def state() -> str | None:
            if not calls or time.monotonic() - calls[-1][0] > 1.0:
                calls.append((time.monotonic(), client.call_async(GetState.Request())))
            done = [future for _, future in calls if future.done()]
            return done[0].result().current_state.label if done else None
        assert world.until(state, 'its state') == 'unconfigured'
        for _ in range(strokes):
            os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.03)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and 'Traceback' not in output, output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_a_worker_in_the_middle_of_an_image_is_joined_at_the_end(world: World) -> None:
    fake = FakeLocalizer()
    node = world.start(fake)
    world.ready(node)
    fake.delay_s = 0.5
    world.frame()
    world.until(lambda: fake.calls, 'an image in the worker')
    before = time.monotonic()
    node.trigger_deactivate()
    assert time.monotonic() - before < 5.0 and node.session is None
    values = node.stats.values()
    assert values['images_received'] == values['fixes'] + values['images_dropped']


@pytest.mark.parametrize('number, label', [(1, ''), (77, ''), (0, 'fly')])
def test_a_transition_that_does_not_exist_is_answered_and_does_no_harm(
        world: World, number: int, label: str) -> None:
    from lifecycle_msgs.srv import ChangeState
    node = world.start()
    world.ready(node)
    client = world.node.create_client(ChangeState, '/loc2/change_state')
    world.until(client.service_is_ready, 'the service')
    request = ChangeState.Request()
    request.transition.id, request.transition.label = number, label
    asked = client.call_async(request)
    world.until(asked.done, 'an answer')
    assert asked.result().success is False
    before = len(world.got['pose'])
    world.until(lambda: world.frame() and len(world.got['pose']) > before, 'a pose')


def test_in_a_namespace_diagnostics_say_whose_they_are(world: World) -> None:
    node = Loc2Node(localizer_factory=lambda settings, frame: FakeLocalizer(),
                    context=world.context, namespace='/car1')
    heard = []
    world.node.create_subscription(
        DiagnosticArray, '/diagnostics', lambda m: heard.extend(s.name for s in m.status), 10)
    world.until(lambda: node.diagnostics.publish() or 'car1/loc2: input' in heard, 'the name')
    node.close()
    node.destroy_node()


@pytest.mark.slow
def test_sigint_while_somebody_waits_for_localize_ends_the_process_in_order(
        world: World, tmp_path: Path) -> None:
    from std_srvs.srv import Trigger
    if not (MINI / 'model.safetensors').exists():
        pytest.skip('the built-in model has not been trained yet')
    process = run('-p', f'map.path:={small_map(tmp_path)}', '-p', 'device:=cpu')
    try:
        world.until(lambda: world.node.count_subscribers('/image_rect'), 'the node', 90.0)
        future = world.ask(Trigger, '/loc2/localize')
        with pytest.raises(AssertionError):
            world.until(future.done, 'an answer', 2.0)
        assert world.call(Trigger, '/loc2/reload_map').success
        os.killpg(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0 and 'Traceback' not in output, output
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
