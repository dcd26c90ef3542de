# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The diagnostics as data: which keys stand in which status.

What makes them WARN or ERROR is in ``rules.py``. No ROS in here; ``convert.diagnostics_to_msg``
makes the message.
"""

from __future__ import annotations

from dataclasses import dataclass
import math
from typing import Any, Callable, Mapping

from loc2_ros.ros.reasons import ERROR, OK, REASONS, WARN
from loc2_ros.ros.rules import RULES, Values

__all__ = ['ERROR', 'evaluate', 'KEYS', 'OK', 'REASONS', 'RULES', 'WARN']

KEYS: Mapping[str, Mapping[str, str]] = {
    'input': {
        'state': 'lifecycle state of the node',
        'images_received': 'image messages that arrived',
        'images_dropped': 'images overtaken by a newer one, or skipped by max_rate, min_distance '
                          'or ~/enable',
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
        'imagery_age_years': 'how long ago that was, node clock',
        'distance_to_edge_m': 'from the last fix to where the map ends, negative outside',
        'map_error': 'why the map could not be opened',
    },
    'localization': {
        'fixes': 'poses published',
        'rejected': 'images that gave no pose, for a reason',
        'consecutive_rejected': 'of these, the last in a row',
        'reason': 'why the last image was rejected',
        'remedy': 'what to do about it',
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
        'fell_back_to_cpu': 'whether there is a GPU that torch cannot use',
        'model_error': 'why the model could not be loaded, or what it raised',
    },
}

# Shown before they are known: without them nobody can set up a filter
ALWAYS = ('latency_s', 'latency_max_s')

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
    shown = {key: text(values.get(key)) for key in KEYS[status]
             if values.get(key) is not None or key in ALWAYS}
    if status == 'localization':
        shown.update((k, text(v)) for k, v in sorted(values.items()) if k.startswith('rejected.'))
    return Status(f'{node_name}: {status}', level, message, shown)


def text(value: Any) -> str:
    """Return a value for people: six digits, true and false in lower case."""
    if value is None:
        return 'unknown'
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
