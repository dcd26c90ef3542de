# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What makes a diagnostics status WARN or ERROR, and what to do then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Callable, Mapping

from loc2_ros.ros.reasons import ERROR, WARN

Values = Mapping[str, Any]

SILENCE_S = 5.0             # no image for so long is an error
LATENCY_WARN_S = 2.5        # half the history of the EKF configuration


@dataclass(frozen=True)
class Rule:
    """
    A condition on the values that raises a status to a level.

    :param when: true where the rule applies.
    :param sentence: a format string over the values.
    :param remedy: what to do about it, for the documentation.
    """

    status: str
    level: int
    when: Callable[[Values], bool]
    sentence: str
    remedy: str


def above(key: str, limit: float) -> Callable[[Values], bool]:
    """Return a condition: the value is a number above the limit."""
    return lambda v: isinstance(v.get(key), (int, float)) and v[key] > limit


def given(key: str) -> Callable[[Values], bool]:
    """Return a condition: there is a value, and it is not empty or zero."""
    return lambda v: bool(v.get(key))


def _active(condition: Callable[[Values], bool]) -> Callable[[Values], bool]:
    return lambda v: v.get('state') == 'active' and condition(v)


def _near_edge(v: Values) -> bool:
    edge, crop = v.get('distance_to_edge_m'), v.get('crop_size_m')
    return edge is not None and crop is not None and edge < crop


_TOPICS = 'compare names with `ros2 topic list`, and both ends with `ros2 topic info -v`'

# The first rule of the highest level gives the message
RULES: tuple[Rule, ...] = (
    Rule('input', ERROR, _active(lambda v: not v.get('images_received')
                                 and v.get('image_silence_s', 0.0) > SILENCE_S),
         'no image on {image_topic} yet; compare with `ros2 topic list`', _TOPICS),
    Rule('input', ERROR, _active(above('image_silence_s', SILENCE_S)),
         'no image on {image_topic} for {image_silence_s:.0f} s',
         'the camera driver has stopped, or the bag is over'),
    Rule('input', ERROR, lambda v: v.get('reason_status') == ('input', ERROR), '{rejection}',
         'the reason is in the table of rejections'),
    Rule('input', ERROR, _active(lambda v: not v.get('fixes_received')
                                 and v.get('prior.source', 'fix') == 'fix'
                                 and v.get('image_silence_s', 0.0) > SILENCE_S),
         'no fix on {fix_topic} yet; compare with `ros2 topic list`', _TOPICS),
    Rule('input', WARN, lambda v: v.get('reason_status') == ('input', WARN), '{rejection}',
         'the reason is in the table of rejections'),
    Rule('input', ERROR, given('tf_stale'), 'map -> {odom_frame} is too old and no longer sent',
         'no fix for tf.max_age: see why images are rejected'),
    Rule('input', WARN, given('tf_error'), '{tf_error}',
         'odometry was not there at the stamp of the image; does it come late, or with other '
         'stamps? tf.lookup_timeout'),
    Rule('input', WARN, given('lever_unknown'),
         'no transform {base_frame} -> {fix_frame}: the antenna is taken for {base_frame}',
         'publish where the antenna is; the prior is off by as much'),
    Rule('input', WARN, given('sigma_unknown'),
         'the fix gives no covariance; prior.position_stddev is used',
         'let the driver fill it in, or set prior.position_stddev to what is true'),
    Rule('input', WARN, _active(lambda v: v.get('prior.source') == 'odometry'
                                and not v.get('odometry_received')),
         'no odometry on {odometry_topic} yet; compare with `ros2 topic list`', _TOPICS),
    Rule('input', WARN, given('filter_off_m'),
         'the EKF on {odometry_topic} is {filter_off_m:.1f} m from the last fixes; if it has '
         'locked them out, call its set_pose',
         'its rejection threshold or its claimed certainty may be too small'),
    Rule('map', ERROR, given('map_error'), '{map_error}', 'as the sentence says'),
    Rule('map', ERROR, lambda v: v.get('reason_status') == ('map', ERROR), '{rejection}',
         'get a larger map, or check datum and prior'),
    Rule('map', WARN, lambda v: v.get('valid_fraction', 1.0) < 1.0,
         'the map covers {valid_fraction:.0%} of the last crop',
         'the edge of the map, or a hole in it'),
    Rule('map', WARN, _near_edge,
         'the map ends {distance_to_edge_m:.0f} m from the vehicle, less than a crop',
         'turn round, or get a larger map and call ~/reload_map'),
    Rule('map', WARN, given('tiles_broken'), '{tiles_broken} tiles cannot be read: {tile_error}',
         '`loc2 map verify` lists them; fetch or import them again, then ~/reload_map'),
    Rule('localization', ERROR, given('many_rejected'),
         '{consecutive_rejected} images rejected in a row: {rejection}',
         'the reason is in the table of rejections; the limit is gate.max_consecutive'),
    Rule('localization', WARN, given('rejection'), 'last image rejected: {rejection}',
         'the reason is in the table of rejections; single ones are harmless'),
    Rule('localization', WARN, above('latency_max_s', LATENCY_WARN_S),
         'latency up to {latency_max_s:.1f} s; the EKF needs a history_length of twice that',
         'raise history_length, or lower max_rate, precision or the size of the model'),
    Rule('model', ERROR, given('model_error'), '{model_error}', 'as the sentence says'),
    Rule('model', ERROR, lambda v: v.get('reason_status') == ('model', ERROR), '{rejection}',
         'the log has the whole error'),
    Rule('model', WARN, given('fell_back_to_cpu'), 'no usable GPU: the network runs on the CPU',
         'the machine has one: take a CUDA build of torch that fits its driver, or device: cpu'),
)
