# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Loading the localizer, and what diagnostics tell about it."""

from __future__ import annotations

from datetime import datetime, timezone
import math
from pathlib import Path
from typing import Any, Mapping

from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.values import Array
from loc2_ros.maps.values import MapError, MapStore
from loc2_ros.maps.verify import age_years
from loc2_ros.ros.frame_path import Localizer
from loc2_ros.ros.params import localizer_settings, ParameterError
import numpy as np

_NVIDIA = Path('/proc/driver/nvidia/version')    # there with the driver


def load(settings: Mapping[str, Any], frame: LocalFrame) -> Localizer:
    """
    Load model and map as the parameters say.

    :raises MapError, ModelError: one sentence with the remedy.
    """
    if not settings['map.path']:
        raise MapError('no map: set map.path to an MBTiles file or a folder of tiles')
    # Here, not above: torch takes seconds, and the node must be able to say that it is missing
    try:
        from loc2_ros.loading import load_localizer, LocalizerSettings
    except ModuleNotFoundError as error:
        raise RuntimeError(f'{error.name} is missing; install it into the environment that runs '
                           f'the node, see README') from error
    return load_localizer(LocalizerSettings(**localizer_settings(settings)), frame)


def open_map(settings: Mapping[str, Any]) -> MapStore:
    """
    Open the map that the parameters name.

    :raises MapError: one sentence with the remedy.
    """
    from loc2_ros.loading import LocalizerSettings, open_map as open_it
    return open_it(LocalizerSettings(**localizer_settings(settings)))


def check_model(localizer: Any, settings: Mapping[str, Any]) -> None:
    """
    Check parameters against the model that is loaded, if one is.

    :raises ParameterError: it cannot work with them.
    """
    contract = getattr(localizer, 'contract', None)
    problem = contract.heading_problem(settings['prior.heading']) if contract else ''
    if problem:
        raise ParameterError(problem)


def about_model(localizer: Any) -> dict[str, Any]:
    """Return checkpoint, device and so on; a fake may have none of it."""
    about = getattr(localizer, 'about', None)
    return dict(about() if callable(about) else about or {})


def about_map(localizer: Any) -> dict[str, Any]:
    """Return where the imagery comes from, what was missing or broken, and the memory used."""
    store = getattr(localizer, 'store', None)
    if store is None:
        return {}
    info, stats = store.info, store.stats()
    use = getattr(localizer, 'use', None)
    return {**(use() if callable(use) else {}), 'map_warnings': '; '.join(info.warnings) or None,
            'attribution': info.attribution or None, 'imagery_date': info.date,
            'tiles_missing': stats.holes, 'tiles_broken': stats.broken,
            'tile_error': stats.last_error or None}


def fell_back(asked: str, device: str, driver: Path = _NVIDIA) -> bool:
    """Return whether there is a GPU that the network was to use and torch cannot."""
    return asked == 'auto' and device == 'cpu' and driver.exists()


def attribution(localizer: Any) -> str:
    """Return whose imagery the map is, '' if unknown."""
    store = getattr(localizer, 'store', None)
    return '' if store is None else str(store.info.attribution)


def about_place(localizer: Any, frame: LocalFrame | None, xy_map_m: Array | None,
                now_ns: int) -> dict[str, Any]:
    """Return how old the imagery is, and how far the last fix is from where it ends."""
    store = getattr(localizer, 'store', None)
    if store is None:
        return {}
    contract = getattr(localizer, 'contract', None)
    # By the node's clock, which a bag sets back; 0 where simulated time has not begun
    today = datetime.fromtimestamp(now_ns / 1e9, timezone.utc).date()
    found = {'imagery_age_years': age_years(store.info, today) if now_ns > 0 else None,
             'crop_size_m': getattr(contract, 'tile_m', None)}
    if store.info.bounds is not None and frame is not None and xy_map_m is not None:
        found['distance_to_edge_m'] = edge_m(store.info.bounds, frame, xy_map_m)
    return found


def edge_m(bounds_deg: tuple[float, float, float, float], frame: LocalFrame,
           xy_map_m: Array) -> float:
    """
    Return how far a point is from the nearest edge of a map, negative outside.

    :param bounds_deg: west, south, east, north.
    """
    west, south, east, north = bounds_deg
    lat, lon = (float(n) for n in frame.inverse(xy_map_m))
    edges = ((lat, west, lon - west), (lat, east, east - lon),
             (south, lon, lat - south), (north, lon, north - lat))
    return min(math.copysign(float(np.linalg.norm(frame.forward(at, along) - xy_map_m)), inside)
               for at, along, inside in edges)
