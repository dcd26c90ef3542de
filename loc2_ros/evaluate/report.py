# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
From the files of a run to something to look at: pictures, and report.html that holds them.

It reads fixes.csv and metrics.json, takes the image with the median error out of the recording,
and localizes it again with the prior that was used: the picture shows what the run saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
import json
import math
from pathlib import Path
from typing import Any, Protocol

from loc2_ros.core.camera import Mount, mount_from_matrix
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.utm import frame_as
from loc2_ros.core.values import Camera, Fix, Image, Prior, Rejection, wrap_pi
from loc2_ros.data.bad_message import BadMessage
from loc2_ros.data.bag import open_bag
from loc2_ros.data.images import read_image, read_panorama
from loc2_ros.data.messages import camera_from_info, stamp_ns
from loc2_ros.data.recording import drive_topics, examine
from loc2_ros.data.tf_tree import TransformError
from loc2_ros.evaluate.frame_pictures import Frame, matches, overlay
from loc2_ros.evaluate.page import Picture, render_page
from loc2_ros.evaluate.pictures import errors, trajectory
from loc2_ros.evaluate.rows import FIX, PriorRow, read_csv, Row
from loc2_ros.maps.values import MapStore
import numpy as np

_TRAJECTORY = (
    'Prior, fixes with their claimed 95 % ellipses, and ground truth over the aerial map; '
    'where only one is to be seen, they lie on top of each other.')
_ERRORS = (
    'Errors of the fixes beside those of their priors. An honest claim keeps 95 % of the points '
    'inside the band. Triangles at the edge are beyond it.')
_MATCHES = (
    'The image with the median error, localized again with the prior that the run used: a choice '
    'of its matches, and the aerial crop turned so that the vehicle drives up.')
_OVERLAY = (
    'Left: points of the camera image, lifted by their depth and placed with the solved pose; '
    'the colours of roads and markings should continue the photo. Right: how far each lies from '
    'its match.')


class Localizer(Protocol):
    """What a report needs of ``pipeline.Localizer``."""

    store: MapStore
    frame: LocalFrame

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        """Estimate the pose of base_link in the map."""


def write_report(out: Path, bag: Path, settings: Mapping[str, Any], localizer: Localizer, *,
                 title: str = 'Localization of a recording') -> list[Path]:
    """
    Write the pictures and the page of a run beside its figures.

    :param out: holds fixes.csv and metrics.json; receives the rest.
    :param settings: the parameters of the run, by name, complete.
    :param localizer: as in the run; its frame is set to the run's datum.
    :returns: what was written; without matches.png and overlay.png where no image can be shown.
    :raises ValueError: the files of the run are missing or not what they should be.
    """
    rows, metrics = _read_run(out)
    pictures, note = [], 'nothing is known of any position'
    if metrics['datum'] and any(row.truth or row.prior or row.estimate for row in rows):
        localizer.frame = frame_as(metrics.get('frame_mode', LocalFrame.mode),
                                   LocalFrame(*metrics['datum']))
        pictures = _draw_run(rows, localizer, title)
        shown, note = _draw_image(rows, bag, settings, localizer)
        pictures += shown
    written = [_write(out / picture.file, picture.png) for picture in pictures]
    page = render_page(title, metrics, pictures, note)
    return [*written, _write(out / 'report.html', page.encode())]


def _draw_run(rows: Sequence[Row], localizer: Localizer, title: str) -> list[Picture]:
    return [Picture('Trajectory', trajectory(rows, localizer.store, localizer.frame, title),
                    _TRAJECTORY, 'trajectory.png'),
            Picture('Errors over time', errors(rows), _ERRORS, 'errors.png')]


def _draw_image(rows: Sequence[Row], bag: Path, settings: Mapping[str, Any],
                localizer: Localizer) -> tuple[list[Picture], str]:
    """Return the pictures of one image, or none and why."""
    row = choose_row(rows)
    if row is None or row.prior is None:
        return [], 'no image had a prior'
    try:
        frame = _localize_again(bag, settings, localizer, row, row.prior)
    except (BadMessage, TransformError, ValueError) as error:
        return [], str(error)
    seen = frame.evidence
    if seen is None:
        return [], f'it was rejected before the solver: {frame.result}'
    return [Picture('One image and its matches', matches(frame, seen, _facts(frame, row, rows)),
                    _MATCHES, 'matches.png'),
            Picture('Ground points on the aerial crop', overlay(frame, seen), _OVERLAY,
                    'overlay.png')], ''


def choose_row(rows: Sequence[Row]) -> Row | None:
    """Return the fix with the median error; without truth one in the middle; else any image."""
    usable = [row for row in rows if row.prior is not None]
    fixes = [row for row in usable if row.outcome == FIX]
    judged = sorted((row for row in fixes if row.truth is not None), key=_error)
    best = judged or fixes or usable
    return best[(len(best) - 1) // 2] if best else None


def _read_run(out: Path) -> tuple[list[Row], dict[str, Any]]:
    try:
        return read_csv(out / 'fixes.csv'), json.loads((out / 'metrics.json').read_text())
    except OSError as error:
        raise ValueError(f'{out} holds no run ({error}); write one with loc2 run or record'
                         ) from error


def _localize_again(bag: Path, settings: Mapping[str, Any], localizer: Localizer, row: Row,
                    given: PriorRow) -> Frame:
    """Return a row's image with what the localizer makes of it and of the run's prior."""
    image, mount = _find_image(bag, settings, localizer.frame, row.stamp_ns)
    prior = Prior(row.stamp_ns, np.array([given.x_m, given.y_m]), given.yaw_rad,
                  given.sigma_m or 0.0, given.sigma_yaw_rad)
    result = localizer.localize(image, prior, mount)
    return Frame(image, prior, result, row.truth, localizer.store.info.attribution)


def _find_image(path: Path, settings: Mapping[str, Any], frame: LocalFrame,
                stamp: int) -> tuple[Image, Mount]:
    """
    Read one image and how its camera is mounted.

    :raises ValueError: it is not in the recording.
    """
    camera: Camera | None = None
    panoramic = settings['camera.model'] == 'equirectangular'
    with open_bag(path) as bag:
        drive = examine(bag, settings, None, frame=frame)
        for record in bag.records(drive_topics(drive.topics)):
            message = record.message
            if record.topic.name == drive.topics.camera_info:
                camera = camera_from_info(message)
            elif (record.topic.name == drive.topics.image and (camera is not None or panoramic)
                  and stamp_ns(message.header.stamp) == stamp):
                mount = mount_from_matrix(drive.tree.lookup(
                    settings['base_frame'], settings['camera_frame'] or message.header.frame_id))
                return (read_panorama(message, stamp) if camera is None else
                        read_image(message, camera, stamp)), mount
    raise ValueError(f'{path} holds no image with stamp {stamp} after a camera_info')


def _facts(frame: Frame, row: Row, rows: Sequence[Row]) -> dict[str, str]:
    """Return what to say beside the picture of a frame."""
    result = frame.result
    said = {'image': f'{rows.index(row) + 1} of {len(rows)}, '
                     f'{(row.stamp_ns - rows[0].stamp_ns) * 1e-9:.1f} s'}
    if isinstance(result, Rejection):
        return {**said, 'rejected': str(result)}
    seen = result.evidence
    if seen is not None:
        said['matches'] = f'{len(seen.weight)}, {int(seen.inlier.sum())} inliers'
    said |= {'claimed': f'{result.sigma_xy_m:.2f} m per axis, '
                        f'{math.degrees(result.sigma_yaw_rad):.2f} deg'}
    if row.truth is not None and row.prior is not None:
        off = math.hypot(row.prior.x_m - row.truth.x_m, row.prior.y_m - row.truth.y_m)
        pose = result.map_T_base
        said['error of the prior'] = f'{off:.2f} m'
        said['error of the fix'] = (
            f'{math.dist(pose.xy_m, row.truth.xy_m):.2f} m, '
            f'{math.degrees(abs(wrap_pi(pose.yaw_rad - row.truth.yaw_rad))):.2f} deg')
    return said


def _error(row: Row) -> float:
    if row.estimate is None or row.truth is None:
        return math.inf
    return math.dist(row.estimate.xy_m, row.truth.xy_m)


def _write(path: Path, content: bytes) -> Path:
    partial = path.with_name(f'.{path.name}.partial')
    partial.write_bytes(content)
    partial.replace(path)
    return path
