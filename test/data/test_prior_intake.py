# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""From fix and imu messages to the prior of base_link at an image's stamp."""

from __future__ import annotations

import math
import threading
from types import SimpleNamespace
from typing import Any

from loc2_ros.core.values import Array, Prior, Reason, Rejection
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.prior_intake import PriorIntake
from loc2_ros.data.tf_tree import matrix_from_pose6
from loc2_ros.ros.params import defaults
import numpy as np
from prior_messages import fix, FRAME, imu, S, T
import pytest

MOUNTS: dict[str, Array] = {'antenna': matrix_from_pose6([1.0, 2.0, 1.5, 0.0, 0.0, 0.0]),
                            'upside_down': matrix_from_pose6([0.0] * 3 + [math.pi, 0.0, 0.5])}


def mounting(frame_id: str, stamp: int) -> Array | None:
    """Answer as TF does for static mountings."""
    return MOUNTS.get(frame_id)


def intake(**changes: Any) -> PriorIntake:
    """Return an intake in the test frame, with default parameters but for those given."""
    settings = {**defaults(), **{k.replace('__', '.'): v for k, v in changes.items()}}
    made = PriorIntake(settings, mounting)
    made.set_frame(FRAME)
    return made


def prior_of(made: PriorIntake, ns: int = T) -> Prior:
    """Return the prior, which must exist."""
    prior = made.at(ns)
    assert isinstance(prior, Prior), prior
    return prior


def refusal_of(made: PriorIntake, ns: int = T) -> Rejection:
    """Return the rejection, which must be one."""
    rejection = made.at(ns)
    assert isinstance(rejection, Rejection), rejection
    return rejection


@pytest.mark.parametrize('yaw', [0.0, 0.7, math.pi / 2, 3.0, -2.0])
def test_the_prior_is_of_base_link_not_of_the_antenna(yaw: float) -> None:
    made = intake()
    made.add_fix(fix(T, frame_id='antenna'))
    made.add_imu(imu(T, yaw))
    c, s = math.cos(yaw), math.sin(yaw)
    expected = [10.0 - (c * 1.0 - s * 2.0), 5.0 - (s * 1.0 + c * 2.0)]
    assert prior_of(made).xy_map_m == pytest.approx(expected, abs=1e-3)
    assert not made.lever_unknown


def test_without_a_heading_the_lever_arm_widens_the_prior() -> None:
    made = intake(prior__heading='none')
    made.add_fix(fix(T, frame_id='antenna'))
    made.add_imu(imu(T, 1.0))
    prior = prior_of(made)
    assert prior.yaw_map_rad is None
    assert prior.sigma_xy_m == pytest.approx(math.sqrt(4.0 + 5.0))


def test_an_unknown_antenna_frame_is_flagged() -> None:
    made = intake()
    made.add_fix(fix(T, frame_id='gps'))
    assert prior_of(made).xy_map_m == pytest.approx([10.0, 5.0], abs=1e-6)
    assert made.lever_unknown


def test_the_mounting_of_the_imu_is_taken_out_of_its_heading() -> None:
    made = intake()
    made.add_fix(fix(T))
    base = matrix_from_pose6([0.0] * 5 + [0.9])[:3, :3]
    made.add_imu(imu(T, 0.0, 'upside_down', base @ MOUNTS['upside_down'][:3, :3]))
    assert prior_of(made).yaw_map_rad == pytest.approx(0.9, abs=1e-5)


def test_a_heading_waits_until_somebody_says_how_the_imu_is_mounted() -> None:
    made = intake()
    made.add_fix(fix(T))
    made.add_imu(imu(T, 0.9, 'late'))
    assert prior_of(made).yaw_map_rad is None
    assert "'late' is mounted" in made.last_problem
    MOUNTS['late'] = np.eye(4)
    try:
        assert prior_of(made).yaw_map_rad == pytest.approx(0.9, abs=1e-5)
    finally:
        del MOUNTS['late']


def test_the_heading_offset_is_added_and_the_meridians_converge() -> None:
    made = intake(prior__heading_offset=10.0)
    made.add_fix(fix(T, (30_000.0, 0.0)))
    made.add_imu(imu(T, 0.5))
    convergence = FRAME.convergence_rad([30_000.0, 0.0])
    assert abs(convergence) > 0.004
    assert prior_of(made).yaw_map_rad == pytest.approx(
        0.5 + math.radians(10.0) + convergence, abs=1e-6)


def test_messages_from_before_the_datum_count_once_it_is_known() -> None:
    made = PriorIntake(defaults(), mounting)
    made.add_fix(fix(T))
    made.add_imu(imu(T, 0.5))
    assert refusal_of(made).reason == Reason.NO_PRIOR and 'datum' in refusal_of(made).detail
    made.set_frame(FRAME)
    assert prior_of(made).xy_map_m == pytest.approx([10.0, 5.0], abs=1e-6)
    assert prior_of(made).yaw_map_rad == pytest.approx(0.5, abs=1e-5)


def test_a_refused_message_is_the_reason_that_a_rejection_gives() -> None:
    made = intake()
    with pytest.raises(BadMessage):
        made.add_fix(fix(T, status=SimpleNamespace(status=-1)))
    assert 'NO_FIX' in refusal_of(made).detail
    made.add_fix(fix(T))
    assert refusal_of(made, T + 60 * S).reason == Reason.PRIOR_STALE
    assert 'NO_FIX' not in refusal_of(made, T + 60 * S).detail


def test_a_message_without_a_stamp_is_refused() -> None:
    made = intake()
    for add, message in ((made.add_fix, fix(0)), (made.add_imu, imu(0, 0.5))):
        with pytest.raises(BadMessage, match='no stamp'):
            add(message)
    assert refusal_of(made).reason == Reason.NO_PRIOR


def test_clear_forgets_all_but_the_datum() -> None:
    made = intake()
    made.add_fix(fix(T))
    made.clear()
    assert refusal_of(made).reason == Reason.NO_PRIOR and made.frame == FRAME


def test_waiting_ends_with_the_message_with_stop_or_with_time() -> None:
    made = intake()
    made.add_fix(fix(T - S))
    made.add_imu(imu(T + 1, 0.5))
    made.wait(T, 0.01, lambda: False)       # time
    made.wait(T, 10.0, lambda: True)        # stop
    threading.Timer(0.05, lambda: made.add_fix(fix(T + 1))).start()
    made.wait(T, 10.0, lambda: False)       # message
    assert made.reaches(T)


def test_changed_parameters_hold_for_what_is_already_there() -> None:
    made = intake()
    made.add_fix(fix(T))
    made.retune({**defaults(), 'prior.max_age': 0.5})
    assert refusal_of(made, T + S).reason == Reason.PRIOR_STALE
