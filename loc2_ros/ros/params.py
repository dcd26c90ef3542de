# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The parameter table of the node: declared, validated and documented from one place.

It imports no ROS, so that the offline twin (``loc2 run --param name:=value``), the README test
and the node read the same rows; ``ros/declare.py`` turns them into ROS parameters.
"""

from __future__ import annotations

from typing import Any, Mapping

from loc2_ros.ros.param import nearest, Param, ParameterError

__all__ = ['BY_NAME', 'check', 'defaults', 'localizer_settings', 'Param', 'ParameterError',
           'PARAMS', 'parse', 'unknown']


def _row(name: str, default: Any, unit: str, description: str, **more: Any) -> Param:
    """Make a row whose kind is that of its default."""
    kind = more.pop('kind', list if isinstance(default, list) else type(default))
    return Param(name, kind, default, unit, description, **more)


_R = {'read_only': True}

PARAMS: tuple[Param, ...] = (
    _row('autostart', True, '', 'Configure and activate without a lifecycle manager.', **_R),
    _row('checkpoint', 'mini', '', 'The model: a built-in name or a model folder.', **_R),
    _row('device', 'auto', '', 'Where the network runs; auto: CUDA if there is one.',
         choices=('auto', 'cpu', 'cuda'), **_R),
    _row('precision', 'auto', '', 'Number format of the network; auto: what the device does best.',
         choices=('auto', 'fp32', 'fp16', 'bf16'), **_R),
    _row('backbone', '', '',
         'Folder of the DINOv2 weights of a published model; empty: the Hugging Face cache.',
         **_R),
    _row('preset', '', '', 'Refuse a checkpoint not imported as this preset; empty: take any.',
         **_R),
    _row('solver', 'auto', '', 'From matches to a pose; auto: what the model is meant for.',
         choices=('auto', 'guided', 'all_pairs', 'sampled', 'ransac'), **_R),
    _row('camera.model', 'pinhole', '',
         'Rectified pinhole images, or full panoramas, which need no camera_info.',
         choices=('pinhole', 'equirectangular'), **_R),
    _row('depth.source', 'model', '',
         'Depth of image points: the model, depth.model, depth_topic, points_topic, flat ground.',
         choices=('model', 'network', 'image', 'lidar', 'flat'), **_R),
    _row('depth.model', '', '',
         'Depth Anything V2 metric: a folder, or a name in the local cache; empty: outdoor small.',
         **_R),
    _row('depth.camera_height', 0.0, 'm',
         'Camera above the ground; 0: its height above base_frame, from TF.',
         low=0.0, high=5.0, **_R),
    _row('depth.camera_pitch', 0.0, 'rad',
         'Camera pitch, positive looking down; flat ground only.', low=-0.8, high=0.8, **_R),
    _row('depth.scale', 'auto', '',
         'Factor on the depth: free, fixed at 1, or pulled to 1; auto: as tuned with the model.',
         choices=('auto', 'free', 'fixed', 'prior'), **_R),
    _row('image_transport', 'raw', '', 'raw, or JPEG and PNG on <image_topic>/compressed.',
         choices=('raw', 'compressed'), **_R),
    _row('image_reliability', 'auto', '', 'QoS of the image; auto follows the publisher.',
         choices=('auto', 'reliable', 'best_effort'), **_R),
    _row('image_topic', 'image_rect', '',
         'Rectified camera image; with compressed transport, without /compressed.', **_R),
    _row('camera_info_topic', 'camera_info', '', 'Calibration; only its matrix P is used.', **_R),
    _row('fix_topic', 'fix', '', 'NavSatFix that gives the position prior.', **_R),
    _row('imu_topic', 'imu', '', 'Imu with absolute yaw (0 = east) that gives the heading prior.',
         **_R),
    _row('odometry_topic', 'odometry', '',
         'Odometry: an EKF in map_frame gives priors; in another frame it gives motion.', **_R),
    _row('depth_topic', 'depth', '',
         'Depth image beside the camera image; depth.source image only.', **_R),
    _row('points_topic', 'points', '', 'PointCloud2 of a scanner; depth.source lidar only.', **_R),
    _row('map_frame', 'map', '', 'Frame of the poses, at the datum; see map.frame_mode.', **_R),
    _row('odom_frame', 'odom', '',
         'Frame of the odometry in TF; empty: none, the node sends map -> base_link.', **_R),
    _row('base_frame', 'base_link', '', 'Frame of the vehicle.', **_R),
    _row('camera_frame', '', '',
         'Optical frame of the camera; empty: the frame in the image header.', **_R),
    _row('static_tf.child_frame', '', '',
         'A frame for which the node sends base_frame -> child if nobody else has; empty: none.',
         **_R),
    _row('static_tf.pose', [0.0] * 6, 'm, rad',
         'x, y, z, roll, pitch, yaw of static_tf.child_frame in base_frame.',
         low=-1000.0, high=1000.0, lengths=(6,), **_R),
    _row('map.path', '', '', 'The aerial map: MBTiles file or folder of tiles. Required.', **_R),
    _row('map.datum', None, 'deg, deg, m',
         'Latitude, longitude, height of the map origin; unset: local_xy_origin, else first fix.',
         kind=list, low=-20000.0, high=20000.0, lengths=(3,), **_R),
    _row('map.frame_mode', 'enu', '',
         'Axes of the map frame: true east and north at the datum, or those of its UTM zone.',
         choices=('enu', 'utm'), **_R),
    _row('map.crop_size', 0.0, 'm', 'Side of the aerial crop; 0: that of the model.',
         low=0.0, high=500.0, **_R),
    _row('map.resolution', 0.0, 'm/px', 'Pixel size of the aerial crop; 0: that of the model.',
         low=0.0, high=5.0, **_R),
    _row('map.offset', None, 'm',
         'East, north: where the imagery shows a point minus where it is; unset: what it says.',
         kind=list, low=-100.0, high=100.0, lengths=(2,), **_R),
    _row('map.cache_mb', 64.0, 'MB', 'Memory for decoded tiles.', low=1.0, high=8192.0, **_R),
    _row('map.prefetch', True, '', 'Decode tiles ahead of the motion, in the background.', **_R),
    _row('map.min_valid_fraction', 0.8, '', 'Share of the crop that the map must cover.',
         low=0.0, high=1.0, **_R),
    _row('map.crop_step', 0.0, 'm',
         'Grid of crop centres, so that frames share crops; 0: that of the model.',
         low=0.0, high=100.0, **_R),
    _row('map.crop_heading_step', 0.0, 'deg', 'The same for headings of crops.',
         low=0.0, high=90.0, **_R),
    _row('map.crops_mb', 256.0, 'MB',
         'Memory for shared crops and their features; 0: each crop is centred on its prior.',
         low=0.0, high=65536.0, **_R),
    _row('prior.source', 'fix', '',
         'Where to look: GNSS, an EKF on odometry_topic, or an initialpose and what it led to.',
         choices=('fix', 'odometry', 'initialpose')),
    _row('prior.reseed_period', 180.0, 's',
         'How often to look from GNSS all the same, if there is any; source fix always does.',
         low=1.0, high=86400.0),
    _row('prior.max_age', 2.0, 's', 'Reject a prior older than this at the image stamp.',
         low=0.0, high=60.0),
    _row('prior.max_jump', 30.0, 'm',
         'Reject neighbouring priors further apart than speed explains by this much.',
         low=0.1, high=10000.0),
    _row('prior.wait', 0.1, 's',
         'How long to wait for a prior (and depth) at or after the image stamp.',
         low=0.0, high=2.0),
    _row('prior.heading', 'imu', '',
         'Source of the heading: an Imu, the EKF or initialpose, the course over ground, none.',
         choices=('imu', 'odometry', 'course', 'none')),
    _row('prior.heading_offset', 0.0, 'deg', 'Added to an IMU heading that is not ENU.',
         low=-360.0, high=360.0),
    _row('prior.magnetic_declination', 0.0, 'deg',
         'Positive east, as published; for an Imu whose north is the magnetic one.',
         low=-180.0, high=180.0),
    _row('prior.course_min_speed', 2.0, 'm/s', 'Slower than this, fixes have no course.',
         low=0.1, high=100.0),
    _row('prior.position_stddev', 10.0, 'm', 'Taken when a position has no covariance.',
         low=0.01, high=1000.0),
    _row('prior.heading_stddev', 10.0, 'deg', 'Taken when a heading has no covariance.',
         low=0.01, high=180.0),
    _row('max_rate', 0.0, 'Hz', 'Use at most this many images per second; 0: all.',
         low=0.0, high=1000.0),
    _row('min_distance', 0.0, 'm',
         'After a pose use no image before base_link has moved this far, but one in half of '
         'tf.max_age; 0: all.', low=0.0, high=1000.0),
    _row('max_image_age', 2.0, 's', 'Reject an image older than this on arrival; 0: never.',
         low=0.0, high=3600.0),
    _row('ransac.threshold', 0.0, 'm',
         'Distance up to which a match is an inlier; 0: as tuned with the model.',
         low=0.0, high=50.0, **_R),
    _row('ransac.iterations', 0, '', 'Number of hypotheses; 0: as tuned with the model.',
         low=0, high=100000, **_R),
    _row('ransac.seed', 0, '', 'Same seed, same result.', low=0, high=2 ** 31 - 1, **_R),
    _row('gate.min_inliers', 0, '', 'Fewest inliers of a fix; 0: tuned with the model.',
         low=0, high=100000, **_R),
    _row('gate.min_score', 0.0, '', 'Lowest score of a fix; 0: tuned with the model.',
         low=0.0, high=1.0, **_R),
    _row('gate.max_prior_distance', 50.0, 'm', 'Reject a fix further away from its prior.',
         low=0.1, high=10000.0, **_R),
    _row('gate.max_consecutive', 5, '',
         'Rejections in a row before diagnostics say ERROR, and before looking from GNSS.',
         low=1, high=100000),
    _row('gate.max_innovation', 10.0, 'm',
         'Reject a fix this far, and 3 deviations, off the last one moved by odometry; 0: never.',
         low=0.0, high=10000.0),
    _row('gate.max_innovation_heading', 20.0, 'deg', 'The same for its heading.',
         low=0.1, high=180.0),
    _row('gate.relocate_time', 5.0, 's',
         'Fixes that agree with each other for about so long outvote those before.',
         low=0.1, high=3600.0),
    _row('gate.memory', 30.0, 's', 'Nothing is compared with a fix older than this.',
         low=0.1, high=100.0),
    _row('covariance.floor', None, 'm, m, rad',
         'Smallest standard deviations; unset: calibrated with the model.',
         kind=list, low=0.001, high=100.0, lengths=(3,), **_R),
    _row('covariance.ceiling', [30.0, 30.0, 1.6], 'm, m, rad',
         'A fix less certain than this is rejected.', low=0.001, high=1000.0, lengths=(3,), **_R),
    _row('covariance.scale', 1.0, '', 'Factor on the covariance.', low=0.01, high=100.0, **_R),
    _row('publish_tf', True, '', 'Send map -> odom, or map -> base_link without odometry.'),
    _row('tf.rate', 20.0, 'Hz', 'How often map -> odom is sent again.',
         low=0.1, high=1000.0, **_R),
    _row('tf.tolerance', 0.1, 's', 'map -> odom is stamped this far ahead.', low=0.0, high=10.0),
    _row('tf.max_age', 5.0, 's', 'Stop sending map -> odom this long after the last fix.',
         low=0.1, high=3600.0),
    _row('tf.lookup_timeout', 0.1, 's', 'How long the worker waits for a transform.',
         low=0.0, high=5.0),
    _row('debug.images', True, '', 'Whether debug topics are built while somebody listens.'),
    _row('diagnostics.period', 1.0, 's', 'Time between two diagnostics messages.',
         low=0.1, high=60.0, **_R),
)

# Pairs that must be in order, whichever of the two is changed
NOT_ABOVE: tuple[tuple[str, str, str], ...] = (
    ('gate.relocate_time', 'gate.memory', 'fixes are forgotten before they can outvote others'),
    ('tf.tolerance', 'tf.max_age', 'map -> odom would outlive its age'),
)

BY_NAME: Mapping[str, Param] = {param.name: param for param in PARAMS}


def defaults() -> dict[str, Any]:
    """Return every parameter's default, by name."""
    return {p.name: list(p.default) if isinstance(p.default, list) else p.default for p in PARAMS}


def localizer_settings(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of ``loading.LocalizerSettings`` for parameter values by name."""
    return {
        'checkpoint': values['checkpoint'], 'device': values['device'],
        'precision': values['precision'], 'backbone': values['backbone'],
        'preset': values['preset'], 'solver': values['solver'],
        'depth_scale': values['depth.scale'], 'heading': values['prior.heading'],
        'map_path': values['map.path'],
        'map_offset_m': tuple(values['map.offset'] or ()), 'cache_mb': values['map.cache_mb'],
        'prefetch': values['map.prefetch'],
        'crop_size_m': values['map.crop_size'], 'resolution': values['map.resolution'],
        'crop_step_m': values['map.crop_step'],
        'crop_step_deg': values['map.crop_heading_step'], 'crops_mb': values['map.crops_mb'],
        'ransac_threshold_m': values['ransac.threshold'],
        'ransac_iterations': values['ransac.iterations'], 'seed': values['ransac.seed'],
        'min_inliers': values['gate.min_inliers'], 'min_score': values['gate.min_score'],
        'max_prior_distance_m': values['gate.max_prior_distance'],
        'min_valid_fraction': values['map.min_valid_fraction'],
        'covariance_floor': tuple(values['covariance.floor'] or ()),
        'covariance_ceiling': tuple(values['covariance.ceiling']),
        'covariance_scale': values['covariance.scale'], 'depth_source': values['depth.source'],
        'camera_model': values['camera.model'], 'depth_model': values['depth.model'],
        'camera_height': values['depth.camera_height'],
        'camera_pitch': values['depth.camera_pitch'],
    }


def check(name: str, value: Any) -> None:
    """
    Check one parameter.

    :raises ParameterError: unknown name (with close matches), wrong type, out of range.
    """
    if name not in BY_NAME:
        raise ParameterError(unknown(name))
    problem = BY_NAME[name].problem(value)
    if problem:
        raise ParameterError(problem)


def check_together(values: Mapping[str, Any]) -> None:
    """
    Check parameters against each other; each of them has been checked alone.

    :param values: of every parameter, as they would be.
    :raises ParameterError: two of them contradict each other.
    """
    for low, high, why in NOT_ABOVE:
        if values[low] > values[high]:
            raise ParameterError(f'{low} {values[low]:g} must not exceed {high} '
                                 f'{values[high]:g}, or {why}; set both in one call')


def unknown(name: str, known: tuple[str, ...] = ()) -> str:
    """Return the sentence for a name that is no parameter, of the localizer or of ``known``."""
    return f'there is no parameter {name!r}' + nearest(name, known or tuple(BY_NAME))


def parse(text: str) -> tuple[str, Any]:
    """
    Read ``name:=value`` as given on a command line, and check it.

    :raises ParameterError: not of that form, or ``check`` refuses it.
    """
    name, separator, value_text = text.partition(':=')
    name = name.strip()
    if not separator or not name:
        raise ParameterError(f'write a parameter as name:=value, not {text!r}')
    if name not in BY_NAME:
        raise ParameterError(unknown(name))
    value = _read(value_text.strip(), BY_NAME[name].kind)
    check(name, value)
    return name, value


def _read(text: str, kind: type) -> Any:
    """Read a value as YAML would, so that 30 and 30.0 stay different."""
    if kind is str:
        return text.strip('"\'')
    if kind is list:
        return [_read(part.strip(), float) for part in text.strip('[]').split(',') if part.strip()]
    if text in ('true', 'True', 'false', 'False'):
        return text in ('true', 'True')
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text
