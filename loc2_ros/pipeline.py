# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The localizer: one camera image and a prior go in, a fix or a reasoned rejection comes out.

``Localizer.localize`` reads like the paper: crop, features, match, lift, align, covariance,
gate. It knows no ROS; the node and the offline twin both call it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
import time
from typing import Any, Callable

from loc2_ros.core.align import Ransac
from loc2_ros.core.camera import (height_above_ground, Mount, tile_points_to_map,
                                  tile_to_map)
from loc2_ros.core.crop_grid import CropGrid
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.gate import gate, Limits
from loc2_ros.core.lift import lift
from loc2_ros.core.panorama import roll_panorama
from loc2_ros.core.similarity import ScalePrior
from loc2_ros.core.values import (Array, Evidence, Fix, Image, Pose2, Prior, Reason, Rejection,
                                  wrap_pi)
from loc2_ros.crops import Crops, Tile
from loc2_ros.maps.store import MapStore, open_store
from loc2_ros.maps.values import PX_RANGE, SIZE_RANGE_M
from loc2_ros.model.contract import Contract, ContractError
from loc2_ros.model.depth import (DepthImages, DepthSource, FlatGround, LidarDepth,
                                  ModelDepth)
from loc2_ros.model.depth_network import (DEFAULT_DEPTH_MODEL, load_depth_network, NetworkDepth)
from loc2_ros.model.inference import Network, Observation
from loc2_ros.model.presets import tile_for
from loc2_ros.model.quality import Quality
from loc2_ros.model.solve import (MIN_WEIGHT, PAIR_SEARCH, solve, Solved, Solver, to_host)
from loc2_ros.model.votes import camera_votes
from loc2_ros.model.weights import load_model, Model, ModelError
import numpy as np
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


class Localizer:
    """
    Localizes images in one map.

    :param network: the model.
    :param store: the aerial map; may be exchanged while running.
    :param frame: the map frame; may be exchanged, as when the datum becomes known.
    :param quality: turns what the solver saw into a covariance and a score.
    :param camera_height_m: above the ground; 0 takes the mount's, as if base_link were on it.
    :param crops: cuts and describes the map; None keeps no crop for the next frame.
    """

    def __init__(self, network: Network, store: MapStore, frame: LocalFrame, limits: Limits,
                 solver: Solver, quality: Quality, depth: DepthSource, seed: int = 0,
                 camera_height_m: float = 0.0, crops: Crops | None = None) -> None:
        self.network, self.store, self.frame = network, store, frame
        self.limits, self.solver, self.quality = limits, solver, quality
        self.depth, self.seed, self.camera_height_m = depth, seed, camera_height_m
        self.crops = crops or Crops(network, CropGrid(network.contract.heading_up))
        self.explain = False        # evidence with layout and votes, which cost time

    @property
    def contract(self) -> Contract:
        """Return the contract in use."""
        return self.network.contract

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        """Estimate the pose of base_link at ``image.stamp_ns``; never raises for bad data."""
        frame = self.frame
        result = self._localize(image, prior, mount, frame)
        self.crops.look_ahead(frame, prior)
        return result

    def _localize(self, image: Image, prior: Prior, mount: Mount,
                  frame: LocalFrame) -> Fix | Rejection:
        watch = _Watch()
        contract = self.contract
        view = _expected_camera(prior, mount)
        if contract.needs_heading and prior.yaw_map_rad is None:
            return Rejection(image.stamp_ns, Reason.NO_HEADING,
                             {'heading_range_deg': contract.heading_range_deg},
                             f'the model {contract.name} needs a heading prior')
        tile = self.crops.at(self.store, frame, view, prior)
        watch.lap('crop')
        if tile.covered == 0.0 or not tile.covered >= self.limits.min_valid_fraction:
            return Rejection(image.stamp_ns, Reason.MAP_COVERAGE,
                             {'valid_fraction': tile.covered,
                              'min_valid_fraction': self.limits.min_valid_fraction})
        rolled_px = 0
        if contract.north_aligned:
            image, mount, rolled_px = roll_panorama(image, mount,
                                                    wrap_pi(math.pi / 2 - view.yaw_rad))
        try:
            depth = self.depth.tokens(image, mount, contract.ground_grid, contract.rays,
                                      rolled_px)
            if depth is None and not self.depth.from_model:
                return Rejection(image.stamp_ns, Reason.NO_DEPTH,
                                 detail=_why_no_depth(self.depth, mount))
            watch.lap('depth')
            seen = self.network.observe(image, self.crops.described(tile), depth, mount,
                                        height_above_ground(self.camera_height_m, mount))
            watch.lap('network')
            on_device = lift(seen.depth_m, seen.level)
            device = seen.P.device
            solved, (lifted, usable) = solve(
                seen.P, on_device, seen.usable, contract.aerial_grid, contract.cell_m,
                self.solver, torch.Generator(device).manual_seed(self.seed)
            ).on_host(on_device, seen.usable)
        except RuntimeError as error:       # what torch raises, out of memory included
            return Rejection(image.stamp_ns, Reason.MODEL_ERROR, {}, str(error)[:300])
        watch.lap('solve')
        scene = _Scene(image, tile, contract, lifted, usable, solved, rolled_px)
        shown = _evidence(scene, watch)
        if self.explain and bool(solved.similarity.valid):
            shown = _explained(shown, scene, seen)
        return self._judged(scene, shown, prior, mount)

    def _judged(self, scene: _Scene, shown: Evidence, prior: Prior,
                mount: Mount) -> Fix | Rejection:
        """Turn a solved frame into a fix, or say why it is none."""
        stamp, solved, place = scene.image.stamp_ns, scene.solved, scene.tile.place
        matches = int((solved.weight > MIN_WEIGHT).sum())
        # Less than any image it was calibrated on: the model does not know what it sees
        if float(solved.total) < self.limits.min_match_mass:
            return Rejection(stamp, Reason.FEW_MATCHES,
                             {'match_mass': float(solved.total),
                              'min_match_mass': self.limits.min_match_mass}, evidence=shown)
        if not bool(solved.similarity.valid):
            return Rejection(stamp, Reason.DEGENERATE, {'matches': matches}, evidence=shown)
        map_T_camera = tile_to_map(float(solved.similarity.theta),
                                   solved.similarity.t.double().numpy(), place.xy_m,
                                   place.psi_rad)
        map_T_base = map_T_camera @ mount.base_T_camera.inverse()
        claim = self.quality.judge(scene.lifted, solved, scene.contract.cell_m, place.psi_rad,
                                   mount.base_T_camera.xy_m, map_T_base.yaw_rad)
        fix = Fix(stamp, map_T_base, claim.covariance, claim.score,
                  float(solved.similarity.scale), matches, int(solved.inlier.sum()),
                  float(np.linalg.norm(map_T_base.xy_m - prior.xy_map_m)),
                  replace(shown, numbers={**shown.numbers, **claim.features,
                                          'valid_fraction': scene.tile.covered}))
        return gate(fix, prior, self.limits)

    def about(self) -> dict[str, Any]:
        """Return what diagnostics tell about the model, and about a depth network beside it."""
        more = self.depth.about() if isinstance(self.depth, NetworkDepth) else {}
        return {**self.network.about(), **more}

    def use(self) -> dict[str, Any]:
        """Return what diagnostics tell about shared crops and memory, as of now."""
        return {**self.crops.about(), **self.network.use()}

    def close(self) -> None:
        """Release the map and the network's memory."""
        self.crops.close()
        self.store.close()
        self.network.close()


class _Watch:
    """Seconds per stage."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


@dataclass(frozen=True)
class _Scene:
    """A solved frame on the host; ``rolled_px`` as `DepthSource.tokens` takes it."""

    image: Image
    tile: Tile
    contract: Contract
    lifted: torch.Tensor
    usable: torch.Tensor
    solved: Solved
    rolled_px: int

    def in_map(self, tile_m: torch.Tensor) -> Array:
        """Take points (..., 2) of the tile to the map."""
        place = self.tile.place
        return tile_points_to_map(tile_m.double().numpy(), place.xy_m, place.psi_rad)

    def pixels(self) -> Array:
        """Return the pixel at each token's centre, (h * w, 2), in the image as it came."""
        rows, cols = self.contract.ground_grid
        camera = self.image.camera
        v, u = np.meshgrid((np.arange(rows) + 0.5) * camera.height / rows - 0.5,
                           (np.arange(cols) + 0.5) * camera.width / cols - 0.5, indexing='ij')
        u = (u + 0.5 - self.rolled_px) % camera.width - 0.5
        return np.stack([u.ravel(), v.ravel()], -1)


def _why_no_depth(source: DepthSource, mount: Mount) -> str:
    if not isinstance(source, FlatGround):
        return ''
    return (f'the camera is {mount.height_m:.2f} m above base_frame, which is no height above '
            'the ground; set depth.camera_height')


def _expected_camera(prior: Prior, mount: Mount) -> Pose2:
    """Return where the camera should be; without a heading, where base_link should be."""
    if prior.yaw_map_rad is None:
        return Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), 0.0)
    base = Pose2(float(prior.xy_map_m[0]), float(prior.xy_map_m[1]), prior.yaw_map_rad)
    return base @ mount.base_T_camera


def _evidence(scene: _Scene, watch: _Watch) -> Evidence:
    solved = scene.solved
    shown = (solved.weight > MIN_WEIGHT).numpy()
    placed = solved.similarity.apply(torch.where(scene.usable[:, None], scene.lifted, 0.0))
    return Evidence(
        crop_rgb=scene.tile.rgb, map_T_px=scene.tile.map_T_px,
        ground_uv_px=scene.pixels()[shown], lifted_map_m=scene.in_map(placed)[shown],
        matched_map_m=scene.in_map(solved.tile_m)[shown],
        weight=solved.weight.double().numpy()[shown], inlier=solved.inlier.numpy()[shown],
        timings_s=watch.laps)


def _explained(shown: Evidence, scene: _Scene, seen: Observation) -> Evidence:
    """Add where all tokens of the ground lie, and where all the pairs put the camera."""
    contract, fit = scene.contract, scene.solved.similarity
    P, level = to_host(seen.P, seen.level)
    # Above the horizon is no ground but sky and roofs
    ground = scene.usable & (level[:, 1] > 0.0)
    placed = fit.apply(torch.where(ground[:, None], scene.lifted, math.nan))
    votes = camera_votes(P, scene.lifted, scene.usable, fit, contract.aerial_grid,
                         contract.cell_m)
    rows, cols = contract.aerial_grid
    corner = torch.tensor([-(rows - 1) / 2, -(cols - 1) / 2]) * contract.cell_m
    ends = corner + torch.tensor([[0.0, 0.0], [0.0, contract.cell_m], [contract.cell_m, 0.0]])
    origin, right, down = scene.in_map(ends)
    return replace(shown, votes=votes.share.numpy(),
                   layout_map_m=scene.in_map(placed).reshape(*contract.ground_grid, 2),
                   layout_uv_px=scene.pixels().reshape(*contract.ground_grid, 2),
                   map_T_vote=np.column_stack([right - origin, down - origin, origin]),
                   numbers={**shown.numbers, 'votes_near': votes.near,
                            'votes_entropy': votes.entropy})


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
    if contract.needs_heading and settings.heading == 'none':
        raise ModelError(f'the model {contract.name} needs a heading prior; set prior.heading to '
                         'imu, or take a model that needs none, such as kitti_ori180')
    depth = DEPTH_SOURCES[settings.depth_source](settings, model.device, model.dtype)
    if depth.from_model and not contract.own_depth:
        raise ModelError(f'the model {contract.name} has no depth head; set depth.source to '
                         'image, lidar or flat')
    # Last of what may fail, so that nothing is left open
    store = open_store(settings.map_path, cache_mb=settings.cache_mb,
                       map_offset_m=_pair(settings.map_offset_m), ahead=True)
    network = Network(replace(model, contract=contract))
    network.warm_up()
    quality = Quality.of(contract, settings.covariance_floor, settings.covariance_scale)
    return Localizer(network, store, frame, _limits(contract, settings),
                     solver_of(contract, settings), quality, depth, settings.seed,
                     settings.camera_height,
                     Crops(network, crop_grid(contract, settings), settings.crops_mb))


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
    """Return how the crops of a model are placed, as the user has changed it."""
    step_deg = settings.crop_step_deg or contract.crop_step_deg
    return CropGrid(contract.heading_up, settings.crop_step_m or contract.crop_step_m,
                    math.radians(step_deg), contract.reach_m,
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
