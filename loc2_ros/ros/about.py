# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Loading the localizer, and what diagnostics tell about it."""

from __future__ import annotations

from typing import Any, Mapping

from loc2_ros.core.frames import LocalFrame
from loc2_ros.maps.values import MapError
from loc2_ros.ros.frame_path import Localizer
from loc2_ros.ros.params import localizer_settings


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
