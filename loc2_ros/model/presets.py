# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The contracts of the six published checkpoints (model.md 3).

Their files hold tensors alone, and all six have the same names and shapes: which one a file is,
only the user can say.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from loc2_ros.model.contract import Contract, ContractError, TRAINED

# 640 pixels of the satellite images of VIGOR, per city
VIGOR_TILES_M = {'NewYork': 640 * 0.113248, 'Seattle': 640 * 0.100817,
                 'SanFrancisco': 640 * 0.118141, 'Chicago': 640 * 0.111262}

_PUBLISHED: dict[str, Any] = {
    'stride': 14, 'aerial_cells': 41, 'rays': 'edges', 'grid': 'edges',
    'backbone': 'dinov2_vitl14', 'projector_widths': (512, 256, 128), 'attention': 3,
    'own_depth': False, 'knows_rays': False, 'masks_tokens': True,
    'solver': {'kind': 'all_pairs', 'draws': 1024, 'threshold_m': 2.5},
    # Metric depth from a network may be off by half; the free scale takes that up
    'gate': {'scale_low': 0.4, 'scale_high': 2.5}}
_KITTI: dict[str, Any] = {
    'ground_hw': (364, 1232), 'aerial_px': 504, 'tile_m': 100.26, 'max_depth_m': 40.0,
    # Half of the reach for the motion, half for the error of the prior (model.md 12.2)
    'reach_m': 20.0, 'crop_step_m': 20.0}
# Chicago's tile: training took 71 m for every city, and only there was that nearly true
_VIGOR: dict[str, Any] = {
    'ground_hw': (714, 1428), 'aerial_px': 630, 'tile_m': VIGOR_TILES_M['Chicago'],
    'tiles_m': VIGOR_TILES_M, 'max_depth_m': 35.0, 'camera_model': 'equirectangular',
    'heading_up': False,
    # Positives of VIGOR lie within a quarter of the tile
    'reach_m': VIGOR_TILES_M['Seattle'] / 4, 'crop_step_m': 16.0}


def _preset(name: str, **values: Any) -> Contract:
    return Contract(name, preset=name, **{**_PUBLISHED, **values})


def _vigor(area: str, known: bool) -> Contract:
    name = f'vigor_{area}_{"known" if known else "unknown"}'
    return _preset(name, **_VIGOR, north_aligned=known, heading_range_deg=0.0 if known else 180.0)


PRESETS: Mapping[str, Contract] = {contract.name: contract for contract in (
    _preset('kitti_ori10', **_KITTI, heading_range_deg=10.0, heading_up=True, crop_step_deg=10.0),
    _preset('kitti_ori180', **_KITTI, heading_range_deg=180.0, heading_up=False),
    *(_vigor(area, known) for area in ('samearea', 'crossarea') for known in (True, False)))}


def preset_contract(name: str) -> Contract:
    """
    Return the contract of a published checkpoint.

    :raises ContractError: naming the known ones, if the name is unknown.
    """
    if name not in PRESETS:
        raise ContractError(f'unknown preset {name!r}; known: {", ".join(PRESETS)}')
    return PRESETS[name]


def check_preset(contract: Contract, wanted: str = '') -> None:
    """
    Refuse a contract that is not the preset it claims to be, or not the wanted one.

    :param wanted: the preset that whoever loads the weights expects; '' takes any.
    :raises ContractError: naming what differs.
    """
    if wanted and contract.preset != preset_contract(wanted).preset:
        is_one = f'was imported as {contract.preset}' if contract.preset else 'is no preset'
        raise ContractError(f'{contract.name} {is_one} and cannot be used as {wanted}; import '
                            f'the checkpoint of {wanted}')
    if not contract.preset:
        return
    told = preset_contract(contract.preset)
    changed = [f.name for f in fields(Contract) if f.name in TRAINED
               and getattr(contract, f.name) != getattr(told, f.name)]
    if changed:
        raise ContractError(f'{contract.name}: the contract says it is the preset '
                            f'{contract.preset} but differs in {", ".join(changed)}; import the '
                            'checkpoint again')


def tile_for(contract: Contract, tile_m: float) -> Contract:
    """
    Return a contract for tiles of another side, within what the weights were trained with.

    :raises ContractError: if they were not; only weights of our own scale freely.
    """
    sides = (contract.tile_m, *contract.tiles_m.values())
    if not 0.995 * min(sides) <= tile_m <= 1.005 * max(sides):
        raise ContractError(f'{contract.name} was trained with tiles of '
                            f'{min(sides):.2f} to {max(sides):.2f} m, not {tile_m:.2f} m; leave '
                            'map.crop_size and map.resolution at 0')
    return replace(contract, tile_m=tile_m)
