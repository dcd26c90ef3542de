# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The Loc2 network: two images in, descriptors, match probabilities and depth out.

Backbone, two projectors, dual softmax with dustbin (model.md 1 and 4). The embedded models add a
depth head, so that they need no other network; the published ones share a frozen DINOv2, which
is no part of their weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from loc2_ros.model.backbone import make_backbone
from loc2_ros.model.contract import Contract
from loc2_ros.model.dinov2 import size_of, SIZES
from loc2_ros.model.matcher import dual_softmax, scores
from loc2_ros.model.projector import Projector
import torch
from torch import nn, Tensor
import torch.nn.functional as functional

RAY_CHANNELS, HEIGHT_CHANNELS = 2, 2
REFERENCE_HEIGHT_M = 1.65


@dataclass(frozen=True)
class GroundFeatures:
    """
    What the camera image gives.

    :param descriptors: (B, C, h, w) unit vectors.
    :param depth_m: (B, h, w) planar depth of the tokens, None without a depth head.
    """

    descriptors: Tensor
    depth_m: Tensor | None


class Loc2Net(nn.Module):
    """
    The network of a contract.

    Models with backbones of their own have one per view. With the slope of each token's ray the
    depth head works for any pinhole camera, and, where the contract says so, with the camera's
    height: an image alone does not tell metres.

    :param backbone: the frozen one that both views share, for contracts that name a DINOv2. It
        goes where the network goes, but its tensors are not among the network's. Without it the
        network can be loaded and described, and matches features that were computed before.
    """

    def __init__(self, contract: Contract, backbone: nn.Module | None = None) -> None:
        super().__init__()
        self.contract = contract
        # In a tuple, where neither state_dict nor parameters() nor an optimiser finds it
        self._frozen = () if backbone is None else (backbone,)
        if contract.backbone in SIZES:
            channels = size_of(contract.backbone, contract.backbone_options).hidden
        else:
            self.grd_backbone = make_backbone(contract.backbone, **contract.backbone_options)
            self.sat_backbone = make_backbone(contract.backbone, **contract.backbone_options)
            channels = int(self.grd_backbone.channels)  # type: ignore[arg-type]
        widths, attention = contract.projector_widths, contract.attention
        ground_channels = (channels + RAY_CHANNELS * contract.knows_rays
                           + HEIGHT_CHANNELS * contract.knows_height)
        self.grd_projector = Projector(ground_channels, widths, attention, True)
        self.sat_projector = Projector(channels, widths, attention, False)
        self.dustbin_score = nn.Parameter(torch.ones(()))
        self.depth_head = nn.Sequential(
            nn.Conv2d(ground_channels, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 1, 1)) \
            if contract.own_depth else None

    def ground(self, image: Tensor, rays: Tensor, fx_px: Tensor,
               height_m: Tensor) -> GroundFeatures:
        """
        Describe camera images.

        :param image: (B, 3, H, W) RGB in [0, 1] at the contract's size.
        :param rays: (B, h * w, 3) token rays of a level camera, optical axes, z = 1.
        :param fx_px: (B,) focal length at that size; an object twice as large in the image of
            twice the focal length is as far away.
        :param height_m: (B,) camera above the ground, NaN where it is unknown.
        """
        return self.describe_ground(self.ground_backbone(image), rays, fx_px, height_m)

    def aerial(self, image: Tensor) -> Tensor:
        """Describe aerial crops (B, 3, S, S): unit vectors (B, C, a, a)."""
        return self.describe_aerial(self.aerial_backbone(image))

    @property
    def ground_backbone(self) -> nn.Module:
        """Return the backbone of camera images; its features may be cached if it is frozen."""
        return self._shared() if self.contract.backbone in SIZES else self.grd_backbone

    @property
    def aerial_backbone(self) -> nn.Module:
        """Return the backbone of aerial crops; see `ground_backbone`."""
        return self._shared() if self.contract.backbone in SIZES else self.sat_backbone

    def describe_ground(self, features: Tensor, rays: Tensor, fx_px: Tensor,
                        height_m: Tensor) -> GroundFeatures:
        """Do the rest of `ground` from the backbone's features (B, channels, h, w)."""
        b, _, h, w = features.shape
        if self.contract.knows_rays:
            slopes = rays[..., :2].transpose(1, 2).reshape(b, RAY_CHANNELS, h, w)
            features = torch.cat([features, slopes.to(features)], 1)
        if self.contract.knows_height:
            features = torch.cat([features, _height_channels(height_m, features)], 1)
        depth = None
        if self.depth_head is not None:
            log_depth = self.depth_head(features)[:, 0].clamp(-3.0, 3.0)
            focal = fx_px.to(features) / self.contract.reference_fx
            depth = 10.0 * torch.exp(log_depth) * focal[:, None, None]
        return GroundFeatures(self.grd_projector(features), depth)

    def describe_aerial(self, features: Tensor) -> Tensor:
        """Do the rest of `aerial` from the backbone's features (B, channels, a, a)."""
        if self.contract.aerial_cells:
            features = functional.interpolate(features, self.contract.aerial_grid,
                                              mode='bilinear', align_corners=False)
        described: Tensor = self.sat_projector(features)
        return described

    def match(self, aerial: Tensor, ground: Tensor, usable: Tensor | None = None) -> Tensor:
        """Return match probabilities (B, Na, Ng); see `dual_softmax`."""
        return dual_softmax(scores(aerial, ground, self.contract.temperature),
                            self.dustbin_score, usable)

    def _shared(self) -> nn.Module:
        if not self._frozen:
            raise RuntimeError(f'{self.contract.name} needs the backbone '
                               f'{self.contract.backbone}, and none was given')
        return self._frozen[0]

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> Loc2Net:
        """Let the frozen backbone follow to another device; what fn does not move, it keeps."""
        for backbone in self._frozen:
            backbone._apply(fn, recurse)
        super()._apply(fn, recurse)
        return self


def _height_channels(height_m: Tensor, like: Tensor) -> Tensor:
    """Return (B, 2, h, w): the log of the height over a usual one, and whether it is known."""
    known = torch.isfinite(height_m)
    log_height = torch.where(known, height_m / REFERENCE_HEIGHT_M, 1.0).log()
    channels = torch.stack([log_height, known.to(log_height)], 1).to(like)
    return channels[:, :, None, None].expand(-1, -1, *like.shape[-2:])
