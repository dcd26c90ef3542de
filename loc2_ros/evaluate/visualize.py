# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""One image, explained: its matches, its ground on the photo, its votes, its pose."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
import math
from pathlib import Path
from typing import Any

from loc2_ros.core.camera import Mount
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Fix, Image, Pose2, Prior, Reason, Rejection, wrap_pi
from loc2_ros.data.bag import open_bag
from loc2_ros.data.messages import stamp_ns
from loc2_ros.data.perturb import PriorNoise
from loc2_ros.data.recording import drive_topics, examine
from loc2_ros.evaluate.frame_pictures import Frame, layout, matches, overlay, votes
from loc2_ros.evaluate.page import Picture, render_frame_page
from loc2_ros.evaluate.report import Localizer
from loc2_ros.evaluate.run import Twin

_MATCHES = (
    'A choice of the matches: inliers coloured by their confidence, outliers dotted. The crop is '
    'turned so that the vehicle drives up.')
_OVERLAY = (
    'Left: points of the camera image, lifted by their depth, scaled by the solved factor and '
    'placed with the solved pose; roads and markings should continue the photo. Right: how far '
    'each lies from its match.')
_LAYOUT = (
    'Left: what the camera saw, laid on the photo by its depth, the solved scale and the solved '
    'pose. Right: the photo alone.')
_VOTES = (
    'At the solved heading and scale each pair of image and crop says where the camera is. One '
    'spot is a sure pose, several are places that look alike.')


@dataclass(frozen=True)
class Query:
    """One image of a recording with all that the localizer was given, and its answer."""

    localizer: Any
    image: Image
    prior: Prior
    mount: Mount
    result: Fix | Rejection
    truth: Pose2 | None

    @property
    def frame(self) -> Frame:
        """Return what pictures are drawn from."""
        return Frame(self.image, self.prior, self.result, self.truth,
                     self.localizer.store.info.attribution)


def query_of_bag(path: Path, settings: Mapping[str, Any],
                 make_localizer: Callable[[LocalFrame], Localizer], *, index: int = 0,
                 stamp_s: float | None = None, noise: PriorNoise | None = None,
                 seed: int = 0) -> Query:
    """
    Localize one image of a recording, with the prior that a run would give it.

    :param index: which image; negative from the end.
    :param stamp_s: take the image nearest to this stamp instead.
    :param noise: as for ``run_bag``.
    :raises BagError: the recording cannot be read or lacks what is needed.
    :raises ValueError: there is no such image, or it did not reach the localizer.
    """
    with open_bag(path) as bag:
        drive = examine(bag, settings, noise, seed)
        stamps = [stamp_ns(record.message.header.stamp)
                  for record in bag.records([drive.topics.image])]
        wanted = _choose(stamps, index, stamp_s, path)
        localizer = make_localizer(drive.frame)
        only = _Only(localizer, wanted)
        twin = Twin(drive, settings, only)
        for record in bag.records(drive_topics(drive.topics)):
            twin.take(record)
            if only.seen is not None:
                break
        else:
            twin.finish()
        if only.seen is None:
            row = next((row for row in twin.rows if row.stamp_ns == wanted), None)
            raise ValueError(f'the image with stamp {wanted} was not localized: '
                             f'{row.detail if row else "it is a repetition"}')
        image, prior, mount, result = only.seen
        return Query(localizer, image, prior, mount, result, drive.reference.at(wanted))


def write_frame(frame: Frame, out: Path, title: str) -> list[Path]:
    """
    Write the pictures of a frame, and visualize.html with all of them.

    :returns: what was written; without pictures where the image was rejected before the solver.
    """
    seen, facts = frame.evidence, describe(frame)
    pictures: list[Picture] = []
    if seen is not None:
        pictures = [Picture('Matches', matches(frame, seen, facts), _MATCHES, 'matches.png'),
                    Picture('The ground on the aerial photo', overlay(frame, seen), _OVERLAY,
                            'overlay.png')]
        if seen.layout_map_m is not None:
            pictures.append(Picture('The camera image from above', layout(frame, seen), _LAYOUT,
                                    'layout.png'))
        if seen.votes is not None:
            pictures.append(Picture('Votes', votes(frame, seen), _VOTES, 'votes.png'))
    out.mkdir(parents=True, exist_ok=True)
    written = [_write(out / picture.file, picture.png) for picture in pictures]
    page = render_frame_page(title, facts, pictures)
    return [*written, _write(out / 'visualize.html', page.encode())]


def describe(frame: Frame) -> dict[str, str]:
    """Return what to say about a frame, by name, in order."""
    result, seen = frame.result, frame.evidence
    said: dict[str, str] = {}
    if seen is not None:
        said['matches'] = f'{len(seen.weight)}, {int(seen.inlier.sum())} inliers'
    if isinstance(result, Rejection):
        said['rejected'] = str(result)
    else:
        pose = result.map_T_base
        said['pose'] = (f'{pose.x_m:.2f} m east, {pose.y_m:.2f} m north, '
                        f'{math.degrees(pose.yaw_rad):.1f} deg')
        said['claimed'] = (f'{result.sigma_xy_m:.2f} m per axis, '
                           f'{math.degrees(result.sigma_yaw_rad):.2f} deg')
        said['scale, score'] = f'{result.scale:.3f}, {result.score:.2f}'
    if seen is not None and 'votes_near' in seen.numbers:
        said['votes near the pose'] = (f'{100 * seen.numbers["votes_near"]:.0f} %, entropy '
                                       f'{seen.numbers["votes_entropy"]:.2f}')
    if frame.truth is not None:
        said['error of the prior'] = _error(
            Pose2(float(frame.prior.xy_map_m[0]), float(frame.prior.xy_map_m[1]),
                  frame.prior.yaw_map_rad or 0.0), frame.truth, frame.prior.yaw_map_rad)
        if isinstance(result, Fix):
            said['error of the fix'] = _error(result.map_T_base, frame.truth, 0.0)
    return said


@dataclass
class _Only:
    """Lets one image through to a localizer."""

    localizer: Localizer
    stamp_ns: int
    seen: tuple[Image, Prior, Mount, Fix | Rejection] | None = None

    @property
    def depth(self) -> Any:
        """Return the source that the twin fills."""
        return getattr(self.localizer, 'depth', None)

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        """Estimate the pose of base_link in the map, for that image."""
        if image.stamp_ns != self.stamp_ns:
            return Rejection(image.stamp_ns, Reason.NO_PRIOR, detail='another image is wanted')
        result = self.localizer.localize(image, prior, mount)
        self.seen = image, prior, mount, result
        return result


def _choose(stamps: list[int], index: int, stamp_s: float | None, path: Path) -> int:
    if stamp_s is not None and stamps:
        return min(stamps, key=lambda stamp: abs(stamp - stamp_s * 1e9))
    if not -len(stamps) <= index < len(stamps):
        raise ValueError(f'{path} has {len(stamps)} images, there is none with index {index}')
    return stamps[index]


def _error(pose: Pose2, truth: Pose2, yaw_rad: float | None) -> str:
    position = f'{math.dist(pose.xy_m, truth.xy_m):.2f} m'
    if yaw_rad is None:
        return position
    return f'{position}, {math.degrees(abs(wrap_pi(pose.yaw_rad - truth.yaw_rad))):.2f} deg'


def _write(path: Path, content: bytes) -> Path:
    part = path.with_name(f'{path.name}.part')
    part.write_bytes(content)
    part.replace(path)
    return path
