# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The localizer: one camera image and a prior go in, a fix or a reasoned rejection comes out.

``Localizer.localize`` reads like the paper: crop, features, match, lift, align, covariance,
gate. It knows no ROS; the node and the offline twin both call it. `loading` makes one of a
user's settings.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
import threading
import time
from typing import Any

from loc2_ros.core.camera import (height_above_ground, Mount, tile_points_to_map,
                                  tile_to_map)
from loc2_ros.core.crop_grid import CropGrid
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.gate import gate, Limits
from loc2_ros.core.lift import lift
from loc2_ros.core.panorama import roll_panorama
from loc2_ros.core.values import (Array, Evidence, Fix, Image, Pose2, Prior, Reason, Rejection,
                                  wrap_pi)
from loc2_ros.crops import Crops, Tile
from loc2_ros.maps.store import MapStore
from loc2_ros.model.contract import Contract
from loc2_ros.model.depth import DepthSource, FlatGround
from loc2_ros.model.depth_network import NetworkDepth
from loc2_ros.model.inference import Network, Observation
from loc2_ros.model.quality import Quality
from loc2_ros.model.solve import MIN_WEIGHT, solve, Solved, Solver, to_host
from loc2_ros.model.votes import camera_votes
import numpy as np
import torch


_OUT_OF_MEMORY = ('the GPU is out of memory; end what else runs on it, lower map.crops_mb, or set '
                  'precision to fp16 or device to cpu ({})')


class Localizer:
    """
    Localizes images in one map.

    :param network: the model.
    :param store: the aerial map; `exchange` takes another while running.
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
        self._free = threading.Condition()
        self._in_use: MapStore | None = None
        self._closed = False

    @property
    def contract(self) -> Contract:
        """Return the contract in use."""
        return self.network.contract

    def localize(self, image: Image, prior: Prior, mount: Mount) -> Fix | Rejection:
        """Estimate the pose of base_link at ``image.stamp_ns``; never raises for bad data."""
        frame = self.frame
        with self._free:
            store = self._in_use = self.store
        try:
            return self._within_memory(image, prior, mount, frame, store)
        finally:
            with self._free:
                self._in_use = None
                self._free.notify_all()

    def _within_memory(self, image: Image, prior: Prior, mount: Mount, frame: LocalFrame,
                       store: MapStore) -> Fix | Rejection:
        """Localize, or free what a GPU without room for it can free."""
        try:
            result = self._localize(image, prior, mount, frame, store)
        except torch.cuda.OutOfMemoryError as error:
            detail = _OUT_OF_MEMORY.format(str(error)[:200])
            result = Rejection(image.stamp_ns, Reason.MODEL_ERROR, detail=detail)
        else:
            self.crops.look_ahead(frame, prior)
            return result
        # Not in the handler: until its end the traceback holds what the frame had allocated
        self.crops.forget()
        torch.cuda.empty_cache()
        return result

    def exchange(self, store: MapStore) -> None:
        """
        Take another map; an image under way ends on the one it began with, which is then closed.

        :raises RuntimeError: the localizer has been closed, and now the new map is as well.
        """
        with self._free:
            closed, before = self._closed, self.store
            if not closed:
                self.store = store
                self._free.wait_for(lambda: self._in_use is not before)
        (store if closed else before).close()
        if closed:
            raise RuntimeError('the localizer was closed meanwhile')

    def _localize(self, image: Image, prior: Prior, mount: Mount, frame: LocalFrame,
                  store: MapStore) -> Fix | Rejection:
        watch = _Watch()
        contract = self.contract
        view = _expected_camera(prior, mount)
        if contract.needs_heading and prior.yaw_map_rad is None:
            return Rejection(image.stamp_ns, Reason.NO_HEADING,
                             {'heading_range_deg': contract.heading_range_deg},
                             f'the model {contract.name} needs a heading prior')
        tile = self.crops.at(store, frame, view, prior)
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
        except torch.cuda.OutOfMemoryError:
            raise
        except RuntimeError as error:       # what torch raises
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
        with self._free:
            self._closed = True
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
