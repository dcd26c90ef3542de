# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The aerial crop of a frame with the network's description of it, kept for the frames after it.

A vehicle that moves on meets a new crop every few metres. A thread of its own makes the next one
beforehand, so that no frame has to wait for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from loc2_ros.core.crop_grid import CropGrid, CropPlace
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array, Pose2, Prior
from loc2_ros.maps.cache import ByteLru, NewestJob
from loc2_ros.maps.store import MapStore
from loc2_ros.model.contract import Contract
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

TRAIL_S = 1.0           # motion is taken from views up to this old, and goes on for as long
_STEPS_AHEAD = 10


class Describer(Protocol):
    """What is needed of ``model.inference.Network``."""

    contract: Contract

    def describe(self, crop_rgb: NDArray[np.uint8]) -> Tensor:
        """Return the descriptors of an aerial crop."""


@dataclass(frozen=True)
class Tile:
    """
    An aerial crop in its place.

    :param rgb: (S, S, 3) uint8, the crop; ``map_T_px`` (2, 3) its pixels in the map.
    :param covered: share of it that the map covers.
    :param key: under which it and its description are kept, None where they are not.
    """

    place: CropPlace
    rgb: NDArray[np.uint8]
    map_T_px: Array
    covered: float
    key: tuple[Any, ...] | None


@dataclass(frozen=True)
class _Job:
    """Something to do beforehand."""

    store: MapStore
    frame: LocalFrame
    places: tuple[CropPlace, ...]
    age: int


class Crops:
    """
    Cuts and describes crops, for one worker thread.

    :param grid: where they are put.
    :param limit_mb: memory for those that are kept; 0 keeps none, and then centres each on its
        prior.
    """

    def __init__(self, network: Describer, grid: CropGrid, limit_mb: float = 0.0) -> None:
        self._network, self._grid = network, grid
        self._kept: ByteLru[Any] = ByteLru(int(limit_mb * 1e6))
        self._ahead: NewestJob[_Job] = NewestJob(self._prepare, 'aerial prefetch')
        self._trail: deque[tuple[int, Pose2]] = deque()
        self._store: MapStore | None = None
        self._age = 0
        self.hits = self.misses = self.prepared = 0

    def at(self, store: MapStore, frame: LocalFrame, view: Pose2, prior: Prior) -> Tile:
        """
        Return the crop for an image.

        :param view: expected pose of the camera, from ``prior``.
        """
        if store is not self._store:        # another map: what is kept shows the one before
            self._store, self._age = store, self._age + 1
        place = self._grid.shared(view, prior) if self._kept.keeps else None
        self._remember(prior.stamp_ns, view if place else None)
        if place is None:
            return self._cut(store, frame, self._grid.around(view), None)
        key = (self._age, frame, place)
        return self._kept.get(key, None) or self._cut(store, frame, place, key)

    def described(self, tile: Tile) -> Tensor:
        """
        Return the descriptors of a crop.

        :raises RuntimeError: as torch does.
        """
        found = self._kept.get((tile.key, 'described'), None)
        self.hits += found is not None
        self.misses += found is None
        return self._describe(tile) if found is None else found

    def look_ahead(self, frame: LocalFrame, prior: Prior) -> None:
        """Make the crops that come next if the motion goes on, in the background."""
        if self._store is None or len(self._trail) < 2:
            return
        places: dict[CropPlace, None] = {}
        for view in _going_on(self._trail[0][1], self._trail[-1][1]):
            place = self._grid.shared(view, prior)
            if place and ((self._age, frame, place), 'described') not in self._kept:
                places[place] = None
        if places:
            self._ahead.submit(_Job(self._store, frame, tuple(places), self._age))

    def settle(self, timeout_s: float) -> bool:
        """Wait until nothing is being made in the background; returns whether that came about."""
        return self._ahead.wait(timeout_s)

    def about(self) -> dict[str, Any]:
        """Return what diagnostics tell: memory, and how often a description was there."""
        if not self._kept.keeps or not self._grid.step_m > 0:
            return {}
        return {'crops_mb': round(self._kept.bytes / 1e6, 1), 'crops_reused': self.hits,
                'crops_prepared': self.prepared, 'crops_waited_for': self.misses}

    def forget(self) -> None:
        """Give back the memory of all crops that are kept; those that are needed are made anew."""
        self._kept.clear()

    def close(self) -> None:
        """End the thread and forget everything."""
        self._ahead.close()
        self._kept = ByteLru(0)
        self._store = None

    def _cut(self, store: MapStore, frame: LocalFrame, place: CropPlace,
             key: tuple[Any, ...] | None) -> Tile:
        contract = self._network.contract
        crop = store.crop(frame, place.xy_m, place.psi_rad, contract.tile_m, contract.aerial_px)
        covered = crop.valid_fraction if crop.valid.any() else 0.0
        tile = Tile(place, crop.image, crop.map_T_px, covered, key)
        if key is not None:
            self._kept.put(key, tile, tile.rgb.nbytes)
        return tile

    def _describe(self, tile: Tile) -> Tensor:
        # Both threads may describe the same crop at once, which is harmless
        found = self._network.describe(tile.rgb)
        if tile.key is not None:
            self._kept.put((tile.key, 'described'), found, found.numel() * found.element_size())
        return found

    def _prepare(self, job: _Job) -> None:
        for place in job.places:
            key = (job.age, job.frame, place)
            if job.age != self._age or (key, 'described') in self._kept:
                continue
            try:
                tile = self._kept.get(key, None) or self._cut(job.store, job.frame, place, key)
                if tile.covered > 0.0:
                    self._describe(tile)
                    self.prepared += 1
            # A network that fails, or a map that was closed: the frame that needs it tells
            except (RuntimeError, ValueError):
                return

    def _remember(self, stamp_ns: int, view: Pose2 | None) -> None:
        """Keep the views of the last second; a gap or a jump back in time starts anew."""
        trail = self._trail
        if view is None or trail and not 0 < stamp_ns - trail[-1][0] <= TRAIL_S * 1e9:
            trail.clear()
        if view is not None:
            trail.append((stamp_ns, view))
            while stamp_ns - trail[0][0] > TRAIL_S * 1e9:
                trail.popleft()


def _going_on(first: Pose2, last: Pose2) -> Iterator[Pose2]:
    """Yield views on the way that repeats the one from the first to the last."""
    step = first.inverse() @ last
    for k in range(1, _STEPS_AHEAD + 1):
        share = k / _STEPS_AHEAD
        yield last @ Pose2(share * step.x_m, share * step.y_m, share * step.yaw_rad)
