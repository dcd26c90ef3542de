# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What every kind of map store does the same way."""

from __future__ import annotations

from abc import ABC, abstractmethod
from types import TracebackType
from typing import TypeVar

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.cache import InUse
from loc2_ros.maps.values import (check_request, Crop, east_north_in, MapFrame, REACH_M,
                                  StoreInfo)
from loc2_ros.maps.warp import Array
import numpy as np
from numpy.typing import ArrayLike

Self = TypeVar('Self', bound='StoreBase')
_USUAL_PX = 504


class StoreBase(ABC):
    """
    The part of ``MapStore`` that does not depend on where pixels come from.

    :ivar _info: what is known about the map; set before the first call.
    """

    _info: StoreInfo

    def __init__(self) -> None:
        self._in_use = InUse()

    @property
    def info(self) -> StoreInfo:
        """Return what is known about the map."""
        return self._info

    @abstractmethod
    def crop(self, frame: MapFrame, xy_map_m: ArrayLike, yaw_map_rad: float, size_m: float,
             px: int) -> Crop:
        """Cut a square out of the map; see ``TileStore.crop``."""

    def crop_latlon(self, lat_deg: float, lon_deg: float, yaw_true_rad: float, size_m: float,
                    px: int) -> Crop:
        """Cut a square around a place, in a throw-away frame at that place."""
        return self.crop(LocalFrame(lat_deg, lon_deg), (0.0, 0.0), yaw_true_rad, size_m, px)

    def covered(self, frame: MapFrame, xy_map_m: ArrayLike, size_m: float) -> float:
        """Return the fraction of a north-up square the index knows, 0..1; decodes nothing."""
        xy = check_request(xy_map_m, 0.0, size_m, _USUAL_PX)
        if not self._reachable(xy):
            return 0.0
        with self._in_use:
            return self._covered(frame, self._shown_at(frame, xy), size_m, size_m / _USUAL_PX)

    def close(self) -> None:
        """Release files and threads; waits for crops under way."""
        self._in_use.end()

    def __enter__(self: Self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    @abstractmethod
    def _covered(self, frame: MapFrame, at: Array, size_m: float, gsd_m: float) -> float:
        """Return the fraction of a square in the imagery's own place."""

    def _shown_at(self, frame: MapFrame, xy: Array) -> Array:
        """Return where the imagery shows a map point."""
        return np.asarray(xy + east_north_in(frame, xy, self._info.offset_m))

    @staticmethod
    def _reachable(xy: Array) -> bool:
        return bool(np.abs(xy).max() <= REACH_M)
