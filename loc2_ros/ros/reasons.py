# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Why an image gives no pose: what each reason means, what to do, and whose trouble it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Mapping

from loc2_ros.core.values import Reason

OK, WARN, ERROR = 0, 1, 2


@dataclass(frozen=True)
class Explanation:
    """
    A reason for people.

    :param status: the status that takes ``level`` beside localization; '' for localization alone.
    """

    means: str
    remedy: str
    status: str = ''
    level: int = WARN


_LOOKS = ('images unlike those the model was trained on, imagery that is too old, or a prior in '
          'the wrong place')

EXPLAINED: Mapping[Reason, Explanation] = {
    Reason.NO_PRIOR: Explanation(
        'no usable position yet, or no datum yet',
        'is fix_topic right, has the receiver a fix? input_problem says what was refused',
        'input', ERROR),
    Reason.PRIOR_STALE: Explanation(
        'the nearest position is older than prior.max_age at the stamp of the image, or less '
        'certain than gate.max_prior_distance',
        'compare the clocks of camera and receiver, and the rate of the fixes', 'input'),
    Reason.PRIOR_JUMP: Explanation(
        'neighbouring fixes are further apart than the speed explains, or a fix is away from '
        'where odometry takes the last poses, or the heading is turned by 45 degrees from them',
        'a receiver that jumps, as between houses, or a compass; prior.max_jump; believed again '
        'after gate.memory', 'input'),
    Reason.NO_HEADING: Explanation(
        'the model needs a heading and there is none',
        'imu_topic and prior.heading; is the frame of the Imu in TF?', 'input'),
    Reason.MAP_COVERAGE: Explanation(
        'the map covers too little of the crop',
        'has the vehicle left the map? Is the datum right? map.min_valid_fraction',
        'map', ERROR),
    Reason.NO_CAMERA_INFO: Explanation(
        'no camera_info has come yet', 'camera_info_topic', 'input', ERROR),
    Reason.BAD_CAMERA_INFO: Explanation(
        'fx is 0 or not finite, or the size is not that of the image',
        'calibrate the camera; send the camera_info that belongs to the rectified image',
        'input', ERROR),
    Reason.BAD_IMAGE: Explanation(
        'an unknown encoding, short or undecodable data',
        'the message names it; image_transport', 'input', ERROR),
    Reason.BAD_STAMP: Explanation(
        'the stamp is zero, not after the last one, or in the future',
        'the camera driver; synchronise the clocks', 'input'),
    Reason.IMAGE_STALE: Explanation(
        'older than max_image_age on arrival',
        'synchronise the clocks; use_sim_time with recordings', 'input'),
    Reason.NO_TF: Explanation(
        'base_link -> camera is unknown at the stamp of the image',
        'publish it, latched; camera_frame where headers name a wrong frame', 'input', ERROR),
    Reason.NO_DEPTH: Explanation(
        'the depth source has nothing for this stamp',
        'depth_topic, points_topic, depth.source; for flat ground depth.camera_height', 'input'),
    Reason.FEW_MATCHES: Explanation(
        'the model finds less of the image in the crop than of any it was calibrated on', _LOOKS),
    Reason.DEGENERATE: Explanation('the matches do not determine a pose', _LOOKS),
    Reason.FEW_INLIERS: Explanation(
        'fewer matches than gate.min_inliers agree on a pose', f'{_LOOKS}; ransac.threshold'),
    Reason.LOW_SCORE: Explanation('the quality is below gate.min_score', _LOOKS),
    Reason.SCALE: Explanation(
        'the depth would have to be scaled beyond belief',
        'height and pitch of the camera in TF; depth.camera_height; depth.source'),
    Reason.FAR_FROM_PRIOR: Explanation(
        'further than gate.max_prior_distance from the prior',
        'raise it only if the prior really is that bad'),
    Reason.HEADING_OFF: Explanation(
        'turned further from the prior heading than the model was trained for',
        'the heading is too far off: prior.heading_offset, prior.magnetic_declination'),
    Reason.UNCERTAIN: Explanation(
        'less certain than covariance.ceiling',
        'nothing, if it is rare; else as for few_inliers'),
    Reason.INNOVATION: Explanation(
        'away from where odometry takes the last poses',
        'one of them is wrong; those that agree for gate.relocate_time are believed. '
        'gate.max_innovation; is odom_frame really odometry?'),
    Reason.MODEL_ERROR: Explanation(
        'the network raised an error',
        'the log has all of it; out of memory: precision, map.crops_mb', 'model', ERROR),
}

# What a rejection says about the status it belongs to; all the rest concerns localization alone
REASONS: Mapping[Reason, tuple[str, int]] = {
    reason: (e.status, e.level) for reason, e in EXPLAINED.items() if e.status}
