# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
What a set of weights expects and promises: read from and written to ``config.json``.

Image sizes, tile, heading range, solver and gate values belong to the weights, not to the user.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
import json
import math
from typing import Any

MAX_PX = 8192       # a side beyond this would only exhaust the memory


class ContractError(ValueError):
    """A ``config.json`` that cannot be used; the message names the key and the remedy."""


@dataclass(frozen=True)
class Contract:
    """
    The contract of a model.

    :param ground_hw: network input of the camera image, rows and columns.
    :param aerial_px: network input of the aerial crop, pixels per side.
    :param tile_m: side of the crop.
    :param max_depth_m: ground points further away take no part.
    :param heading_range_deg: largest error of the heading prior; 180 needs none.
    :param heading_up: whether the crop is turned so that the prior heading points right.
    :param rays: 'centers', or 'edges' for weights trained with that defect (model.md B3).
    :param knows_height: whether the network is told how high the camera is above the ground.
    """

    name: str
    ground_hw: tuple[int, int] = (160, 512)
    stride: int = 8
    aerial_px: int = 320
    tile_m: float = 80.0
    max_depth_m: float = 40.0
    heading_range_deg: float = 10.0
    heading_up: bool = True
    rays: str = 'centers'
    reference_fx: float = 300.0
    backbone: str = 'mini'
    backbone_options: dict[str, Any] = field(default_factory=dict)
    projector_widths: tuple[int, ...] = (96,)
    attention: int = 2
    own_depth: bool = True
    knows_height: bool = False
    solver: dict[str, float] = field(default_factory=dict)
    gate: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ('ground_hw', 'projector_widths'):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        sizes = (*self.ground_hw, self.aerial_px)
        if len(sizes) != 3 or self.stride <= 0 or any(
                not 0 < s <= MAX_PX or s % self.stride for s in sizes):
            raise ContractError(f'{self.name}: image sizes {sizes} must be three multiples of the '
                                f'stride {self.stride} up to {MAX_PX}')
        if not (self.tile_m > 0 and self.max_depth_m > 0 and 0 < self.heading_range_deg <= 180):
            raise ContractError(f'{self.name}: tile_m, max_depth_m and heading_range_deg must '
                                'be positive and the last at most 180')
        if self.rays not in ('centers', 'edges'):
            raise ContractError(f"{self.name}: rays is 'centers' or 'edges', not {self.rays!r}")

    @property
    def ground_grid(self) -> tuple[int, int]:
        """Return rows and columns of ground tokens."""
        return self.ground_hw[0] // self.stride, self.ground_hw[1] // self.stride

    @property
    def aerial_grid(self) -> tuple[int, int]:
        """Return rows and columns of aerial cells."""
        return self.aerial_px // self.stride, self.aerial_px // self.stride

    @property
    def cell_m(self) -> float:
        """Return the pitch of the aerial cells."""
        return self.tile_m / self.aerial_grid[0]

    @property
    def heading_range_rad(self) -> float | None:
        """Return the heading range, None when the model needs no heading prior."""
        if self.heading_range_deg >= 180.0:
            return None
        return math.radians(self.heading_range_deg)

    def to_json(self) -> str:
        """Return the text of ``config.json``."""
        return json.dumps(asdict(self), indent=2) + '\n'

    @staticmethod
    def from_json(text: str, where: str) -> Contract:
        """
        Read ``config.json``.

        :param where: what to call the file in messages.
        :raises ContractError: if it is not JSON, a key is unknown, or a value is impossible.
        """
        try:
            values = json.loads(text)
        except json.JSONDecodeError as error:
            raise ContractError(f'{where} is not JSON ({error}); export the model again') from None
        if not isinstance(values, dict) or 'name' not in values:
            raise ContractError(f'{where} is no model contract: it has no "name"')
        unknown = sorted(set(values) - {f.name for f in fields(Contract)})
        if unknown:
            raise ContractError(f'{where} has unknown keys {", ".join(unknown)}; '
                                'was it written by a newer version?')
        try:
            return Contract(**values)
        except TypeError as error:
            raise ContractError(f'{where}: {error}') from None
