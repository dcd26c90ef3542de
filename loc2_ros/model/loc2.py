# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The Loc2 network: two images in, descriptors, match probabilities and depth out.

Backbone, two projectors, dual softmax with dustbin (model.md 1 and 4). The embedded models add a
depth head, so that they need no other network.
"""

from __future__ import annotations

from dataclasses import dataclass

from loc2_ros.model.backbone import make_backbone
from loc2_ros.model.contract import Contract
from loc2_ros.model.matcher import dual_softmax, scores
from loc2_ros.model.projector import Projector
import torch
from torch import nn, Tensor

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

    Both views go through backbones of the same kind; ground features also carry the slope of
    each token's ray, so that the depth head works for any pinhole camera, and, where the contract
    says so, the camera's height: an image alone does not tell metres.
    """

    def __init__(self, contract: Contract) -> None:
        super().__init__()
        self.contract = contract
        self.grd_backbone = make_backbone(contract.backbone, **contract.backbone_options)
        self.sat_backbone = make_backbone(contract.backbone, **contract.backbone_options)
        channels = int(self.grd_backbone.channels)  # type: ignore[arg-type]
        widths, attention = contract.projector_widths, contract.attention
        ground_channels = channels + RAY_CHANNELS + HEIGHT_CHANNELS * contract.knows_height
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
        features = self.grd_backbone(image)
        b, _, h, w = features.shape
        slopes = rays[..., :2].transpose(1, 2).reshape(b, RAY_CHANNELS, h, w).to(features)
        features = torch.cat([features, slopes], 1)
        if self.contract.knows_height:
            features = torch.cat([features, _height_channels(height_m, features)], 1)
        depth = None
        if self.depth_head is not None:
            log_depth = self.depth_head(features)[:, 0].clamp(-3.0, 3.0)
            focal = fx_px.to(features) / self.contract.reference_fx
            depth = 10.0 * torch.exp(log_depth) * focal[:, None, None]
        return GroundFeatures(self.grd_projector(features), depth)

    def aerial(self, image: Tensor) -> Tensor:
        """Describe aerial crops (B, 3, S, S): unit vectors (B, C, a, a)."""
        return self.sat_projector(self.sat_backbone(image))

    def match(self, aerial: Tensor, ground: Tensor, usable: Tensor | None = None) -> Tensor:
        """Return match probabilities (B, Na, Ng); see `dual_softmax`."""
        return dual_softmax(scores(aerial, ground), self.dustbin_score, usable)


def _height_channels(height_m: Tensor, like: Tensor) -> Tensor:
    """Return (B, 2, h, w): the log of the height over a usual one, and whether it is known."""
    known = torch.isfinite(height_m)
    log_height = torch.where(known, height_m / REFERENCE_HEIGHT_M, 1.0).log()
    channels = torch.stack([log_height, known.to(log_height)], 1).to(like)
    return channels[:, :, None, None].expand(-1, -1, *like.shape[-2:])
