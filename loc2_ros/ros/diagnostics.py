# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The diagnostics as data: which keys stand in which status, and what makes them WARN or ERROR.

No ROS in here; ``convert.diagnostics_to_msg`` makes the message.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any, Callable, Mapping

from loc2_ros.core.values import Reason

OK, WARN, ERROR = 0, 1, 2
Values = Mapping[str, Any]

SILENCE_S = 5.0             # no image for so long is an error
LATENCY_WARN_S = 2.5        # half the history of the EKF configuration

KEYS: Mapping[str, Mapping[str, str]] = {
    'input': {
        'state': 'lifecycle state of the node',
        'images_received': 'image messages that arrived',
        'images_dropped': 'images overtaken by a newer one, or skipped by max_rate',
        'image_age_s': 'age of the last image on arrival, node clock',
        'image_rate_hz': 'rate of arrival over the last seconds, wall clock',
        'image_silence_s': 'wall time since the last image',
        'image_qos': 'reliability of the image subscription',
        'image_encoding': 'encoding of the last image',
        'camera_calibrated': 'whether a usable camera_info has come',
        'prior_source': 'where the last prior came from: fix, odometry or initialpose',
        'prior_age_s': 'distance in time from the last image to the nearest prior',
        'prior_stddev_m': 'standard deviation of the last prior, per axis',
        'fix_status': 'status of the last NavSatFix',
        'fixes_received': 'NavSatFix messages that arrived',
        'odometry_received': 'Odometry messages that arrived',
        'odometry_resets': 'times that odometry jumped',
        'filter_off_m': 'distance of the EKF on odometry_topic from the last fixes, if it is off',
        'input_problem': 'what is wrong with the last unusable input message',
        'clock_jumps': 'times that time went backwards',
        'tf_base_camera': 'whether base -> camera was known for the last image',
        'tf_odom_base': 'fixes without odom -> base at their stamp',
        'tf_error': 'the last transform that was missing',
    },
    'map': {
        'path': 'the map',
        'datum': 'latitude, longitude, height of the map origin',
        'datum_source': 'parameter, local_xy_origin or first fix',
        'frame_mode': 'axes of the map frame, enu or utm',
        'valid_fraction': 'share of the last crop that the map covers',
        'crop_ms': 'time of cutting the last crop',
        'crops_mb': 'memory of shared crops and their features',
        'crops_reused': 'images that found the features of their crop ready',
        'crops_prepared': 'crops whose features were computed beforehand',
        'crops_waited_for': 'images that had to wait for the features of a crop',
        'tiles_missing': 'tiles that the map lacks, of those looked up',
        'tiles_broken': 'tiles that could not be read',
        'tile_error': 'what was wrong with the last of them',
        'map_warnings': 'what a user of the map should know',
        'attribution': 'whose imagery it is',
        'imagery_date': 'when it was flown',
        'map_error': 'why the map could not be opened',
    },
    'localization': {
        'fixes': 'poses published',
        'rejected': 'images that gave no pose, for a reason',
        'consecutive_rejected': 'of these, the last in a row',
        'reason': 'why the last image was rejected',
        'matches': 'matches of the last fix',
        'inliers': 'matches that agree with the last fix',
        'inlier_ratio': 'inliers / matches',
        'score': 'quality of the last fix, 0 to 1',
        'scale': 'factor from depth to metres of the last fix',
        'prior_distance_m': 'distance of the last fix from its prior',
        'stddev_xy_m': 'standard deviation of the last fix, per axis',
        'stddev_yaw_deg': 'standard deviation of its heading',
        'latency_s': 'publication minus stamp of the last fix, node clock',
        'latency_max_s': 'largest latency since activation or a jump of the clock',
    },
    'model': {
        'checkpoint': 'the model',
        'checkpoint_sha256': 'sum of its weights',
        'torch': 'version of torch',
        'device': 'where it runs',
        'precision': 'number format',
        'depth_model': 'the depth network, with depth.source network',
        'depth_licence': 'the licence of its weights',
        'inference_ms': 'time of the last image in the worker, without waiting',
        'gpu_memory_mb': 'most memory of the GPU so far',
        'warmup_ms': 'time of loading and warming up',
        'fell_back_to_cpu': 'whether a GPU was asked for and not found',
        'model_error': 'why the model could not be loaded, or what it raised',
    },
}

# What a rejection says about the status it belongs to; all the rest concerns localization alone
REASONS: Mapping[Reason, tuple[str, int]] = {
    Reason.NO_CAMERA_INFO: ('input', ERROR), Reason.BAD_CAMERA_INFO: ('input', ERROR),
    Reason.BAD_IMAGE: ('input', ERROR), Reason.NO_TF: ('input', ERROR),
    Reason.NO_PRIOR: ('input', ERROR), Reason.PRIOR_STALE: ('input', WARN),
    Reason.PRIOR_JUMP: ('input', WARN), Reason.NO_HEADING: ('input', WARN),
    Reason.BAD_STAMP: ('input', WARN), Reason.IMAGE_STALE: ('input', WARN),
    Reason.NO_DEPTH: ('input', WARN), Reason.MAP_COVERAGE: ('map', ERROR),
    Reason.MODEL_ERROR: ('model', ERROR),
}


@dataclass(frozen=True)
class Rule:
    """
    A condition on the values that raises a status to a level.

    :param when: true where the rule applies.
    :param sentence: a format string over the values.
    """

    status: str
    level: int
    when: Callable[[Values], bool]
    sentence: str


def above(key: str, limit: float) -> Callable[[Values], bool]:
    """Return a condition: the value is a number above the limit."""
    return lambda v: isinstance(v.get(key), (int, float)) and v[key] > limit


def given(key: str) -> Callable[[Values], bool]:
    """Return a condition: there is a value, and it is not empty or zero."""
    return lambda v: bool(v.get(key))


def _active(condition: Callable[[Values], bool]) -> Callable[[Values], bool]:
    return lambda v: v.get('state') == 'active' and condition(v)


# The first rule of the highest level gives the message
RULES: tuple[Rule, ...] = (
    Rule('input', ERROR, _active(lambda v: not v.get('images_received')
                                 and v.get('image_silence_s', 0.0) > SILENCE_S),
         'no image on {image_topic} yet; compare with `ros2 topic list`'),
    Rule('input', ERROR, _active(above('image_silence_s', SILENCE_S)),
         'no image on {image_topic} for {image_silence_s:.0f} s'),
    Rule('input', ERROR, lambda v: v.get('reason_status') == ('input', ERROR), '{rejection}'),
    Rule('input', ERROR, _active(lambda v: not v.get('fixes_received')
                                 and v.get('prior.source', 'fix') == 'fix'
                                 and v.get('image_silence_s', 0.0) > SILENCE_S),
         'no fix on {fix_topic} yet; compare with `ros2 topic list`'),
    Rule('input', WARN, lambda v: v.get('reason_status') == ('input', WARN), '{rejection}'),
    Rule('input', ERROR, given('tf_stale'), 'map -> {odom_frame} is too old and no longer sent'),
    Rule('input', WARN, given('tf_error'), '{tf_error}'),
    Rule('input', WARN, given('lever_unknown'),
         'no transform {base_frame} -> {fix_frame}: the antenna is taken for {base_frame}'),
    Rule('input', WARN, given('sigma_unknown'),
         'the fix gives no covariance; prior.position_stddev is used'),
    Rule('input', WARN, _active(lambda v: v.get('prior.source') == 'odometry'
                                and not v.get('odometry_received')),
         'no odometry on {odometry_topic} yet; compare with `ros2 topic list`'),
    Rule('input', WARN, given('filter_off_m'),
         'the EKF on {odometry_topic} is {filter_off_m:.1f} m from the last fixes; if it has '
         'locked them out, call its set_pose'),
    Rule('map', ERROR, given('map_error'), '{map_error}'),
    Rule('map', ERROR, lambda v: v.get('reason_status') == ('map', ERROR), '{rejection}'),
    Rule('map', WARN, lambda v: v.get('valid_fraction', 1.0) < 1.0,
         'the map covers {valid_fraction:.0%} of the last crop'),
    Rule('map', WARN, given('tiles_broken'), '{tiles_broken} tiles cannot be read: {tile_error}'),
    Rule('localization', ERROR, given('many_rejected'),
         '{consecutive_rejected} images rejected in a row: {rejection}'),
    Rule('localization', WARN, given('rejection'), 'last image rejected: {rejection}'),
    Rule('localization', WARN, above('latency_max_s', LATENCY_WARN_S),
         'latency up to {latency_max_s:.1f} s; the EKF needs a history_length of twice that'),
    Rule('model', ERROR, given('model_error'), '{model_error}'),
    Rule('model', ERROR, lambda v: v.get('reason_status') == ('model', ERROR), '{rejection}'),
    Rule('model', WARN, given('fell_back_to_cpu'), 'no usable GPU: the network runs on the CPU'),
)

FINE: Mapping[str, Callable[[Values], str]] = {
    'input': lambda v: 'images arrive' if v.get('images_received') else f'{v.get("state")}',
    'map': lambda v: f'map at {v["datum"]}' if v.get('datum') else 'waiting for a datum',
    'localization': lambda v: (
        f'localized, {v["stddev_xy_m"]:.2f} m, {v["stddev_yaw_deg"]:.1f} deg'
        if v.get('stddev_xy_m') is not None else 'no fix yet'),
    'model': lambda v: f'{v["checkpoint"]} on {v["device"]}' if v.get('device') else 'not loaded',
}


@dataclass(frozen=True)
class Status:
    """One evaluated status: everything a DiagnosticStatus holds, as text."""

    name: str
    level: int
    message: str
    values: Mapping[str, str]


def evaluate(values: Values, node_name: str = 'loc2') -> list[Status]:
    """
    Judge the values by the rules.

    :param values: by key; ``rejected.<reason>`` counts are appended to localization.
    """
    return [_evaluate(status, values, node_name) for status in KEYS]


def _evaluate(status: str, values: Values, node_name: str) -> Status:
    level, message = OK, FINE[status](values)
    for rule in RULES:
        if rule.status == status and rule.level > level and rule.when(values):
            level, message = rule.level, rule.sentence.format_map(_Gaps(values))
    shown = {key: text(values[key]) for key in KEYS[status] if values.get(key) is not None}
    if status == 'localization':
        shown.update((k, text(v)) for k, v in sorted(values.items()) if k.startswith('rejected.'))
    return Status(f'{node_name}: {status}', level, message, shown)


def text(value: Any) -> str:
    """Return a value for people: six digits, true and false in lower case."""
    if isinstance(value, bool):
        return 'true' if value else 'false'
    if isinstance(value, float):
        return f'{value:.6g}' if math.isfinite(value) else 'unknown'
    return str(value)


class _Gaps(dict):      # type: ignore[type-arg]
    """A mapping that answers 'unknown' for what is missing, so that no sentence can raise."""

    def __missing__(self, key: str) -> str:
        """Return a word instead of raising KeyError."""
        return 'unknown'
