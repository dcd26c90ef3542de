# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What an import is told, and what it tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Callable

from loc2_ros.maps.area import Area
from loc2_ros.maps.values import MapError
from loc2_ros.maps.writer import OVERVIEWS

Bounds = tuple[float, float, float, float]
# (done, of how many)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class ImportOptions:
    """
    How to import.

    :param zoom: finest level; None takes the coarsest that keeps the detail.
    :param crs: takes the place of what rasters say.
    :param empty: value of all bands where rasters have no imagery.
    :param later_wins: where sources overlap.
    :param append: go on with the map that is there.
    """

    zoom: int | None = None
    webp: bool = False
    quality: int = 90
    crs: str | None = None
    scheme: str | None = None
    empty: int | None = None
    area: Area | None = None
    later_wins: bool = False
    append: bool = False
    overviews: int = OVERVIEWS
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Imported:
    """
    What an import did.

    :param skipped: tiles that could not be read, by reason.
    """

    path: str
    tiles: int
    zooms: tuple[int, ...]
    skipped: int = 0
    warnings: tuple[str, ...] = ()


def united(a: Bounds, b: Bounds | None) -> Bounds:
    """Return what two bounds span together, west, south, east, north."""
    if b is None:
        return a
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def within(a: Bounds, b: Bounds) -> Bounds:
    """Return what two bounds share; :raises MapError: nothing."""
    west, south, east, north = max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])
    if west >= east or south >= north:
        raise MapError('the imagery does not reach into the area; compare loc2 map info with it')
    return west, south, east, north
