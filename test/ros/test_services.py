# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The services: answers in every state, with what became of an image or why there is none."""

from __future__ import annotations

from pathlib import Path
import threading
from typing import Any

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Prior, Reason, Rejection
from loc2_ros.maps.values import MapError
from loc2_ros.ros import asked
from loc2_ros.ros.asked import Callers
import numpy as np
import pytest
from ros_world import DATUM, FakeLocalizer, SECOND, World
from std_srvs.srv import SetBool, Trigger

LOCALIZE, RELOAD, RESET = '/loc2/localize', '/loc2/reload_map', '/loc2/reset'


def in_state(world: World, state: str, **parameters: Any) -> Any:
    """Start a node and bring it into a state of its lifecycle."""
    node = world.start(activate=False, **parameters)
    steps = {'unconfigured': [], 'inactive': ['configure'], 'active': ['configure', 'activate'],
             'finalized': ['configure', 'shutdown']}[state]
    for step in steps:
        getattr(node, f'trigger_{step}')()
    return node


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'active', 'finalized'])
def test_enable_and_reset_answer_in_every_state(world: World, state: str) -> None:
    node = in_state(world, state)
    answer = world.call(SetBool, '/loc2/enable', data=False)
    assert (answer.success, answer.message) == (True, 'disabled')
    answer = world.call(Trigger, RESET)
    assert answer.success == (state == 'active')
    assert answer.message == ('prior, slot and transforms forgotten' if state == 'active' else
                              f'not active: the node is {state}')
    if state == 'inactive':             # what was asked before holds after
        node.trigger_activate()
        assert node.session.enabled is False


@pytest.mark.parametrize('state', ['unconfigured', 'inactive', 'finalized'])
def test_localize_and_reload_map_say_in_which_state_they_cannot_work(
        world: World, state: str) -> None:
    in_state(world, state)
    answer = world.call(Trigger, LOCALIZE)
    assert not answer.success and answer.message == f'not active: the node is {state}'
    answer = world.call(Trigger, RELOAD)
    assert not answer.success and state in answer.message


def test_localize_answers_with_the_pose_of_the_next_image(world: World) -> None:
    node = world.start()
    world.ready(node)
    future = world.ask(Trigger, LOCALIZE)
    world.until(lambda: bool(node.session._callers), 'the caller')
    stamp = world.frame()
    world.until(future.done, 'the answer')
    assert future.result().success
    # TRUTH @ OFFSET by hand: 12.5 + 0.5 cos 0.6 - 0.25 sin 0.6, -7.25 + 0.5 sin 0.6 + 0.25 cos 0.6
    assert future.result().message == (
        'localized at x 12.77 m, y -6.76 m, yaw 35.5 deg; 0.74 m, 2.6 deg')
    assert [p.header.stamp.nanosec for p in world.poses(1)] == [stamp % SECOND]


def test_localize_answers_with_the_reason_why_there_is_no_pose(world: World) -> None:
    fake = FakeLocalizer()
    fake.answer = lambda image, prior: Rejection(
        image.stamp_ns, Reason.FEW_INLIERS, {'inliers': 3, 'min_inliers': 20})
    node = world.start(fake)
    world.ready(node)
    future = world.ask(Trigger, LOCALIZE)
    world.until(lambda: bool(node.session._callers), 'the caller')
    world.frame()
    world.until(future.done, 'the answer')
    assert not future.result().success
    assert future.result().message == 'no fix: few_inliers: inliers=3, min_inliers=20'


def test_localize_says_why_an_image_was_refused_on_arrival_and_that_the_worker_failed(
        world: World) -> None:
    node = world.start()
    world.ready(node)
    future = world.ask(Trigger, LOCALIZE)
    world.until(lambda: bool(node.session._callers), 'the caller')
    world.image(0)
    world.until(future.done, 'the answer')
    assert future.result().message == 'no fix: bad_stamp: the image has no stamp'
    node.session._path.run = None           # a fault that nobody thought of
    future = world.ask(Trigger, LOCALIZE)
    world.until(lambda: bool(node.session._callers), 'the caller')
    world.frame()
    world.until(future.done, 'the answer')
    assert not future.result().success and 'TypeError' in future.result().message


def test_while_disabled_localize_takes_the_newest_image_or_the_next_and_no_other(
        world: World) -> None:
    node = world.start()
    world.ready(node)
    world.call(SetBool, '/loc2/enable', data=False)
    for n in range(3):
        newest = world.frame()
        world.until(lambda n=n: node.stats.values()['images_dropped'] == n + 1, 'the drop')
    assert world.call(Trigger, LOCALIZE).success            # it came before the question
    assert world.poses(1)[0].header.stamp.nanosec == newest % SECOND
    future = world.ask(Trigger, LOCALIZE)                   # that one has been looked at
    world.until(lambda: bool(node.session._callers), 'the caller')
    assert not future.done()
    world.frame()
    world.until(future.done, 'the answer')
    assert future.result().success
    world.frame()
    world.until(lambda: node.stats.values()['images_dropped'] == 3, 'the drop')
    values = node.stats.values()
    assert values['images_received'] == 5 and values['fixes'] == 2


def test_several_callers_get_the_same_answer_while_timers_go_on(world: World) -> None:
    fake = FakeLocalizer()
    fake.gate = threading.Event()
    node = world.start(fake)
    world.ready(node)
    futures = [world.ask(Trigger, LOCALIZE) for _ in range(3)]
    world.until(lambda: len(node.session._callers._waiting) == 3, 'the callers')
    world.frame()
    world.until(lambda: fake.calls, 'the image in the worker')
    before = len(world.got['diagnostics'])
    world.until(lambda: len(world.got['diagnostics']) > before + 3, 'diagnostics to go on')
    assert not any(future.done() for future in futures)
    fake.gate.set()
    world.until(lambda: all(future.done() for future in futures), 'the answers')
    assert len({future.result().message for future in futures}) == 1
    assert len(fake.calls) == 1


def test_without_images_localize_ends_with_a_sentence(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    node = world.start()
    before = asked.PATIENCE_S
    node.session._callers.expire = (
        lambda sentence, real=node.session._callers.expire: real(sentence, 0.5))
    answer = world.call(Trigger, LOCALIZE)
    assert not answer.success
    assert answer.message == f'no image on image_rect for {before:.0f} s'


def test_patience_does_not_end_while_an_image_waits_for_a_busy_network(world: World) -> None:
    fake = FakeLocalizer()
    fake.gate = threading.Event()
    node = world.start(fake)
    world.ready(node)
    world.frame()
    world.until(lambda: fake.calls, 'an image in the worker')
    world.frame()
    world.until(lambda: node.session._worker.waiting, 'an image in the slot')
    future = world.ask(Trigger, LOCALIZE)
    world.until(lambda: bool(node.session._callers), 'the caller')
    node.session._callers.expire('no image', patience_s=-1.0)
    assert not future.done()
    fake.gate.set()
    world.until(future.done, 'the answer')
    assert future.result().success


def test_patience_does_not_end_while_an_image_is_with_the_network() -> None:
    callers = Callers(lambda: None)
    future = callers.add()
    callers.coming()
    callers.expire('none', patience_s=-1.0)
    assert not future.done()
    callers.coming(False)           # thrown out by a jump of time
    callers.expire('none', patience_s=-1.0)
    assert future.result() == (False, 'none')
    callers.close('closed')
    assert callers.add().result() == (False, 'closed')


@pytest.mark.parametrize('transition', ['deactivate', 'shutdown'])
def test_those_who_wait_are_answered_when_the_node_stops(world: World, transition: str) -> None:
    node = world.start()
    futures = [world.ask(Trigger, LOCALIZE) for _ in range(2)]
    world.until(lambda: len(node.session._callers._waiting) == 2, 'the callers')
    getattr(node, f'trigger_{transition}')()
    world.until(lambda: all(future.done() for future in futures), 'the answers')
    for future in futures:
        assert not future.result().success and 'deactivated' in future.result().message


def test_a_result_from_before_a_reset_answers_that_it_was_dropped(world: World) -> None:
    fake = FakeLocalizer()
    fake.gate = threading.Event()
    node = world.start(fake)
    world.ready(node)
    future = world.ask(Trigger, LOCALIZE)
    world.until(lambda: bool(node.session._callers), 'the caller')
    world.frame()
    world.until(lambda: fake.calls, 'the image in the worker')
    assert world.call(Trigger, RESET).success
    fake.gate.set()
    world.until(future.done, 'the answer')
    assert not future.result().success and 'dropped' in future.result().message
    assert world.got['pose'] == []


class Mapped(FakeLocalizer):
    """A fake with a real map, which it reads for each image."""

    def __init__(self, store: Any) -> None:
        super().__init__()
        self.store, self.seen = store, []

    def localize(self, image: Any, prior: Prior, mount: Any) -> Any:
        """Look at the map, before and after what may take long."""
        store = self.store
        result = super().localize(image, prior, mount)
        self.seen.append(int(store.crop(self.frame, [0.0, 0.0], 0.0, 20.0, 16).image[8, 8, 0]))
        return result

    def exchange(self, store: Any) -> None:
        """Take another map; `test_pipeline.py` has how the real one waits before it closes."""
        self.store = store


def grey_map(path: Path, value: int) -> Path:
    """Write a map of one shade of grey."""
    from loc2_ros.maps.writer import write_mbtiles_from_local
    pixels = np.full((256, 256, 3), value, np.uint8)
    return write_mbtiles_from_local(path, pixels, LocalFrame(*DATUM), -128.0, 128.0, 1.0,
                                    metadata={})


def test_reload_map_takes_a_new_map_and_keeps_the_old_one_if_the_file_is_bad(
        world: World, tmp_path: Path) -> None:
    pytest.importorskip('loc2_ros.loading')
    from loc2_ros.maps.store import open_store
    path = grey_map(tmp_path / 'map.mbtiles', 60)
    fake = Mapped(open_store(path))
    node = world.start(fake, map__path=str(path))
    world.ready(node)
    world.frame()
    world.poses(1)
    grey_map(tmp_path / 'new.mbtiles', 180).rename(path)
    answer = world.call(Trigger, RELOAD)
    assert answer.success and answer.message == f'opened {path} again; the datum stays'
    world.frame()
    world.poses(2)
    (tmp_path / 'bad').write_bytes(b'SQLite format 3\0' + bytes(range(256)) * 8)
    (tmp_path / 'bad').rename(path)
    answer = world.call(Trigger, RELOAD)
    assert not answer.success
    assert answer.message.startswith(f'{path} is not taken, the map of before stays: ')
    path.unlink()
    assert 'does not exist' in world.call(Trigger, RELOAD).message
    world.frame()
    world.poses(3)
    assert [round(shade, -1) for shade in fake.seen] == [60, 180, 180]
    assert fake.frame == LocalFrame(*DATUM)
    world.level('map', 0, 'map at')


def test_a_map_that_cannot_be_opened_does_not_freeze_the_node(
        world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from loc2_ros.ros import services
    slow = threading.Event()

    def open_slowly(settings: Any) -> Any:
        slow.wait(10.0)
        raise MapError('the disk is gone')
    monkeypatch.setattr(services, 'open_map', open_slowly)
    fake = Mapped(None)
    fake.localize = lambda *scene: FakeLocalizer.localize(fake, *scene)
    node = world.start(fake)
    world.ready(node)
    future = world.ask(Trigger, RELOAD)
    world.frame()
    world.poses(1)
    assert not future.done()
    slow.set()
    world.until(future.done, 'the answer')
    assert not future.result().success and 'the disk is gone' in future.result().message
