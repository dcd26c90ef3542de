# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""A localizer as a user's settings ask for it: model, map, depth, solver, gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from typing import Callable

from loc2_ros.core.align import Ransac
from loc2_ros.core.crop_grid import CropGrid
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.gate import Limits
from loc2_ros.core.similarity import ScalePrior
from loc2_ros.crops import Crops
from loc2_ros.maps.store import MapStore, open_store
from loc2_ros.maps.values import PX_RANGE, SIZE_RANGE_M
from loc2_ros.model.contract import Contract, ContractError
from loc2_ros.model.depth import DepthImages, DepthSource, FlatGround, LidarDepth, ModelDepth
from loc2_ros.model.depth_network import (DEFAULT_DEPTH_MODEL, load_depth_network, NetworkDepth)
from loc2_ros.model.inference import Network
from loc2_ros.model.presets import tile_for
from loc2_ros.model.quality import Quality
from loc2_ros.model.solve import PAIR_SEARCH, Solver
from loc2_ros.model.weights import load_model, Model, ModelError
from loc2_ros.pipeline import Localizer
import torch

# Off the prior heading by more than the trained range and this much is no answer any more
HEADING_MARGIN_RAD = math.radians(5.0)


@dataclass(frozen=True)
class LocalizerSettings:
    """
    What a user may set; 0, '', 'auto' and () mean: as tuned with the model.

    :param backbone: where the weights of a frozen backbone are, see `load_model`.
    :param preset: refuse a model that is not this published checkpoint.
    :param solver: one of `model.contract.SOLVERS`; ``depth_scale`` is free, fixed or prior.
    :param heading: where the heading prior comes from, 'none' if there is none.
    :param map_path: MBTiles, tile folder or raster; see ``open_store``.
    :param map_offset_m: () or (east, north), where the imagery shows a point minus where it is.
    :param prefetch: decode tiles ahead of the motion.
    :param camera_model: pinhole or equirectangular.
    :param depth_model: folder or cached name of a depth network, for ``depth_source`` network.
    :param crop_size_m: side of the aerial crop, ``resolution`` its metres per pixel.
    :param crop_step_m: side of the grid on which crops are shared by frames, ``crop_step_deg``
        step of their headings, ``crops_mb`` memory for them; 0 MB shares none.
    :param covariance_floor: () or standard deviations (m, m, rad).
    """

    checkpoint: str = 'mini'
    device: str = 'auto'
    precision: str = 'auto'
    backbone: str = ''
    preset: str = ''
    solver: str = 'auto'
    depth_scale: str = 'auto'
    heading: str = 'imu'
    map_path: str = ''
    map_offset_m: tuple[float, ...] = ()
    cache_mb: float = 64.0
    prefetch: bool = True
    crop_size_m: float = 0.0
    resolution: float = 0.0
    crop_step_m: float = 0.0
    crop_step_deg: float = 0.0
    crops_mb: float = 256.0
    ransac_threshold_m: float = 0.0
    ransac_iterations: int = 0
    seed: int = 0
    min_inliers: int = 0
    min_score: float = 0.0
    max_prior_distance_m: float = 50.0
    min_valid_fraction: float = 0.8
    covariance_floor: tuple[float, ...] = ()
    covariance_ceiling: tuple[float, ...] = (30.0, 30.0, 1.6)
    covariance_scale: float = 1.0
    camera_model: str = 'pinhole'
    depth_source: str = 'model'
    depth_model: str = ''
    camera_height: float = 0.0
    camera_pitch: float = 0.0


def load_localizer(settings: LocalizerSettings, frame: LocalFrame) -> Localizer:
    """
    Load model and map.

    :raises ModelError: the model cannot be used.
    :raises MapError: the map cannot be opened.
    """
    return localizer_of(load_model(settings.checkpoint, settings.device, settings.precision,
                                   settings.backbone, settings.preset), settings, frame)


def localizer_of(model: Model, settings: LocalizerSettings, frame: LocalFrame) -> Localizer:
    """Make the localizer of a loaded model; see `load_localizer`."""
    contract = _sized(model.contract, settings)
    _check_camera(contract, settings)
    problem = contract.heading_problem(settings.heading)
    if problem:
        raise ModelError(problem)
    depth = DEPTH_SOURCES[settings.depth_source](settings, model.device, model.dtype)
    if depth.from_model and not contract.own_depth:
        raise ModelError(f'the model {contract.name} has no depth head; set depth.source to '
                         'image, lidar or flat')
    # Last of what may fail, so that nothing is left open
    store = open_map(settings)
    network = Network(replace(model, contract=contract))
    network.warm_up()
    quality = Quality.of(contract, settings.covariance_floor, settings.covariance_scale)
    return Localizer(network, store, frame, _limits(contract, settings),
                     solver_of(contract, settings), quality, depth, settings.seed,
                     settings.camera_height,
                     Crops(network, crop_grid(contract, settings), settings.crops_mb))


def open_map(settings: LocalizerSettings) -> MapStore:
    """
    Open the map of a localizer.

    :raises MapError: it cannot be used; one sentence with the remedy.
    """
    return open_store(settings.map_path, cache_mb=settings.cache_mb,
                      map_offset_m=_pair(settings.map_offset_m), ahead=settings.prefetch)


DEPTH_SOURCES: dict[str, Callable[[LocalizerSettings, torch.device, torch.dtype], DepthSource]] = {
    'model': lambda settings, device, dtype: ModelDepth(),
    'network': lambda settings, device, dtype: NetworkDepth(load_depth_network(
        settings.depth_model or DEFAULT_DEPTH_MODEL, device, dtype)),
    'image': lambda settings, device, dtype: DepthImages(),
    'lidar': lambda settings, device, dtype: LidarDepth(),
    'flat': lambda settings, device, dtype: FlatGround(settings.camera_height,
                                                       settings.camera_pitch)}


def _check_camera(contract: Contract, settings: LocalizerSettings) -> None:
    expected = contract.camera_model
    if settings.camera_model != expected:
        raise ModelError(f'the model {contract.name} was trained with {expected} images and '
                         f'camera.model is {settings.camera_model}; use a model for such cameras')


def crop_grid(contract: Contract, settings: LocalizerSettings) -> CropGrid:
    """
    Return how the crops of a model are placed, as the user has changed it.

    :raises ModelError: no prior could be good enough for such a grid.
    """
    step_m = settings.crop_step_m or contract.crop_step_m
    step_deg = settings.crop_step_deg or contract.crop_step_deg
    if step_m / 2 >= contract.reach_m:
        raise ModelError(f'map.crop_step {step_m:g} m leaves nothing of the '
                         f'{contract.reach_m:g} m that {contract.name} reaches for the error of '
                         f'the prior; make it smaller than {2 * contract.reach_m:g} m')
    if contract.heading_up and step_m and not 0 < step_deg < 2 * contract.heading_range_deg:
        raise ModelError(f'crops of {contract.name} follow the heading: shared ones need a '
                         f'map.crop_heading_step between 0 and '
                         f'{2 * contract.heading_range_deg:g} degrees, not {step_deg:g}')
    return CropGrid(contract.heading_up, step_m, math.radians(step_deg), contract.reach_m,
                    math.radians(contract.heading_range_deg))


def _pair(values: tuple[float, ...]) -> tuple[float, float] | None:
    return (values[0], values[1]) if values else None


def _sized(contract: Contract, settings: LocalizerSettings) -> Contract:
    """Apply the user's crop size and resolution to the contract."""
    tile = settings.crop_size_m or contract.tile_m
    # Published weights know one number of pixels, ours one pixel size
    side = tile if contract.preset else contract.tile_m
    gsd = settings.resolution or side / contract.aerial_px
    px = max(contract.stride, round(tile / gsd / contract.stride) * contract.stride)
    for value, (low, high), unit in ((tile, SIZE_RANGE_M, 'm'), (px, PX_RANGE, 'px')):
        if not low <= value <= high:
            raise ModelError(f'map.crop_size and map.resolution ask for a crop of {value:g} '
                             f'{unit}; possible are {low:g} to {high:g} {unit}')
    if not contract.preset:
        return replace(contract, tile_m=tile, aerial_px=px)
    try:
        if px != contract.aerial_px:
            raise ContractError(f'{contract.name} takes {contract.aerial_px} pixels a side, not '
                                f'{px}; leave map.resolution at 0')
        return tile_for(contract, tile)
    except ContractError as error:
        raise ModelError(f'{error}') from None


def _limits(contract: Contract, settings: LocalizerSettings) -> Limits:
    tuned, reach = contract.gate, contract.heading_range_rad
    ceiling = settings.covariance_ceiling
    return Limits(
        min_valid_fraction=settings.min_valid_fraction,
        min_match_mass=float(tuned.get('min_match_mass', 0.0)),
        min_inliers=settings.min_inliers or int(tuned.get('min_inliers', 20)),
        min_score=settings.min_score or float(tuned.get('min_score', 0.0)),
        max_prior_distance_m=settings.max_prior_distance_m,
        max_sigma_xy_m=min(ceiling[0], ceiling[1]), max_sigma_yaw_rad=ceiling[2],
        heading_range_rad=None if reach is None else reach + HEADING_MARGIN_RAD,
        scale_range=(tuned.get('scale_low', 0.75), tuned.get('scale_high', 1.35)))


def solver_of(contract: Contract, settings: LocalizerSettings) -> Solver:
    """Return the solver of a model, as the user has changed it."""
    tuned, default = contract.solver, Solver()
    kind = contract.solver_kind if settings.solver == 'auto' else settings.solver
    base = PAIR_SEARCH if kind == 'ransac' else Ransac()
    # What was tuned for one solver means nothing to another
    own = tuned if kind == contract.solver_kind else {}
    hypotheses = settings.ransac_iterations or int(own.get('hypotheses', base.hypotheses))
    search = replace(
        base, hypotheses=hypotheses, theta_range=_theta_range(contract),
        threshold_m=settings.ransac_threshold_m or tuned.get('threshold_m', base.threshold_m))
    return Solver(
        search, rounds=int(own.get('rounds', default.rounds)),
        reach_m=own.get('reach_m', default.reach_m), kind=kind,
        scale_prior=_scale_prior(contract, settings.depth_scale),
        fixed_scale=1.0 if settings.depth_scale == 'fixed' else None,
        draws=int(own.get('draws', default.draws)), sets=int(own.get('sets', default.sets)),
        matches=int(own.get('matches', default.matches)),
        pool=int(own.get('pool', default.pool)))


def _theta_range(contract: Contract) -> tuple[float, float] | None:
    """Return the rotations that a heading prior leaves, None for all."""
    reach = contract.heading_range_rad
    if reach is None or not contract.needs_heading:
        return None
    # The prior heading is to the right in a heading-up crop, and up where panoramas look north
    middle = -math.pi / 2 if contract.heading_up else 0.0
    return middle - reach - HEADING_MARGIN_RAD, middle + reach + HEADING_MARGIN_RAD


def _scale_prior(contract: Contract, depth_scale: str) -> ScalePrior | None:
    tuned, default = contract.solver, ScalePrior()
    sigma = tuned.get('scale_sigma', 0.0)
    if depth_scale == 'prior':
        sigma = sigma or default.sigma
    elif depth_scale != 'auto':
        sigma = 0.0
    if sigma <= 0:
        return None
    return ScalePrior(1.0, sigma, tuned.get('sigma_match_m', default.sigma_match_m))
