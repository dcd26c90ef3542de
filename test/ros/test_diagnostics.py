# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The diagnostics as data: every rule, every reason, what is counted."""

from __future__ import annotations

import string
from typing import Any

from loc2_ros.core.values import Fix, Pose2, Reason, Rejection
from loc2_ros.ros.diagnostics import ERROR, evaluate, KEYS, OK, REASONS, RULES, WARN
from loc2_ros.ros.reasons import EXPLAINED
from loc2_ros.ros.stats import Stats
import numpy as np
import pytest


def level(status: str, **values: Any) -> tuple[int, str]:
    """Return level and message of a status for some values."""
    found = next(s for s in evaluate(values) if s.name == f'loc2: {status}')
    return found.level, found.message


def fix(**changes: Any) -> Fix:
    """Return a good fix."""
    return Fix(**{'stamp_ns': 1, 'map_T_base': Pose2(0, 0, 0), 'covariance': np.eye(3) * 0.25,
                  'score': 0.9, 'scale': 1.0, 'n_matches': 10, 'n_inliers': 8,
                  'prior_distance_m': 3.0, **changes})


@pytest.mark.parametrize('status, values, expected, text', [
    ('input', {'state': 'active', 'image_silence_s': 6.0, 'image_topic': 'cam'}, ERROR,
     'no image on cam yet'),
    ('input', {'state': 'active', 'image_silence_s': 6.0, 'images_received': 3, 'image_topic':
               'cam', 'fixes_received': 1}, ERROR, 'no image on cam for 6 s'),
    ('input', {'state': 'inactive', 'image_silence_s': 60.0}, OK, 'inactive'),
    ('input', {'tf_stale': True, 'odom_frame': 'odom'}, ERROR, 'map -> odom is too old'),
    ('input', {'tf_error': 'no transform a -> b'}, WARN, 'no transform a -> b'),
    ('input', {'lever_unknown': True, 'fix_frame': 'gps', 'base_frame': 'base'}, WARN, 'gps'),
    ('input', {'sigma_unknown': True}, WARN, 'prior.position_stddev'),
    ('map', {'map_error': 'no such file'}, ERROR, 'no such file'),
    ('map', {'valid_fraction': 0.4, 'datum': '1, 2, 3'}, WARN, '40%'),
    ('map', {'valid_fraction': 1.0, 'datum': '1, 2, 3'}, OK, 'map at 1, 2, 3'),
    ('map', {'distance_to_edge_m': 12.4, 'crop_size_m': 80.0}, WARN,
     'the map ends 12 m from the vehicle, less than a crop'),
    ('map', {'distance_to_edge_m': 80.1, 'crop_size_m': 80.0, 'datum': '1, 2, 3'}, OK, 'map at'),
    ('map', {'tiles_broken': 2, 'tile_error': 'no JPEG'}, WARN, '2 tiles cannot be read: no JPEG'),
    ('input', {'state': 'active', 'image_silence_s': 6.0, 'images_received': 3, 'image_topic':
               'cam', 'fixes_received': 1}, ERROR, 'no image on cam for 6 s'),
    ('input', {'state': 'active', 'prior.source': 'odometry', 'odometry_topic': 'odom'}, WARN,
     'no odometry on odom yet'),
    ('input', {'filter_off_m': 31.26, 'odometry_topic': 'ekf'}, WARN, 'the EKF on ekf is 31.3 m'),
    ('localization', {'many_rejected': True, 'consecutive_rejected': 7, 'rejection': 'scale'},
     ERROR, '7 images rejected in a row: scale'),
    ('localization', {'latency_max_s': 2.6}, WARN, 'history_length'),
    ('localization', {}, OK, 'no fix yet'),
    ('model', {'model_error': 'wrong shape'}, ERROR, 'wrong shape'),
    ('model', {'fell_back_to_cpu': True}, WARN, 'CPU')])
def test_each_rule_sets_its_level_with_a_sentence(
        status: str, values: dict[str, Any], expected: int, text: str) -> None:
    found = level(status, **values)
    assert found[0] == expected and text in found[1]


@pytest.mark.parametrize('reason', list(Reason), ids=lambda r: r.value)
def test_every_reason_is_shown_and_counted(reason: Reason) -> None:
    stats = Stats()
    stats.rejected(Rejection(1, reason, {}, 'because'))
    values = stats.values()
    assert level('localization', **values) == (
        WARN, f'last image rejected: {reason.value}: because')
    shown = next(s for s in evaluate(values) if s.name == 'loc2: localization').values
    assert shown[f'rejected.{reason.value}'] == '1' and shown['reason'] == reason.value
    if reason in REASONS:
        status, expected = REASONS[reason]
        assert level(status, **values)[0] == expected
    stats.fixed(fix(), 0.1)
    assert all(s.level == OK for s in evaluate(stats.values()))


@pytest.mark.parametrize('reason', list(Reason), ids=lambda r: r.value)
def test_every_reason_comes_with_what_to_do_until_the_next_fix(reason: Reason) -> None:
    stats = Stats()
    stats.rejected(Rejection(1, reason))
    shown = next(s for s in evaluate(stats.values()) if s.name == 'loc2: localization').values
    assert shown['remedy'] == EXPLAINED[reason].remedy
    stats.fixed(fix(), 0.1)
    shown = next(s for s in evaluate(stats.values()) if s.name == 'loc2: localization').values
    assert 'remedy' not in shown and 'reason' not in shown


def test_latency_is_shown_before_it_is_known_and_after_a_jump_of_time() -> None:
    stats = Stats()

    def shown() -> tuple[str, str]:
        values = next(s for s in evaluate(stats.values()) if s.name == 'loc2: localization').values
        return values['latency_s'], values['latency_max_s']
    assert shown() == ('unknown', 'unknown')
    stats.fixed(fix(), 0.25)
    assert shown() == ('0.25', '0.25')
    stats.jumped()
    assert shown() == ('unknown', 'unknown')


def test_every_rule_can_be_met_and_every_key_is_described() -> None:
    assert {rule.status for rule in RULES} == set(KEYS)
    assert all(len(text) > 5 for keys in KEYS.values() for text in keys.values())
    assert set(EXPLAINED) == set(Reason)


def test_a_fix_is_a_sentence() -> None:
    stats = Stats()
    stats.fixed(fix(), 0.1)
    assert level('localization', **stats.values()) == (OK, 'localized, 0.50 m, 28.6 deg')


def test_the_largest_latency_stays_until_time_jumps() -> None:
    stats = Stats()
    for latency in (0.1, 0.5, 0.2):
        stats.fixed(fix(), latency)
    assert stats.values()['latency_s'] == 0.2 and stats.values()['latency_max_s'] == 0.5
    stats.jumped()
    assert stats.values()['latency_max_s'] is None and stats.values()['fixes'] == 3


def test_sentences_use_known_values_only() -> None:
    others = {'image_topic', 'fix_topic', 'odometry_topic', 'odom_frame', 'base_frame',
              'fix_frame', 'rejection'}
    known = others.union(*KEYS.values())
    for rule in RULES:
        names = {name for _, name, _, _ in string.Formatter().parse(rule.sentence) if name}
        assert names <= known, rule.sentence
