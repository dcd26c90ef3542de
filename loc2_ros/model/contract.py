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
SPACINGS = ('centers', 'edges')
CAMERAS = ('pinhole', 'equirectangular')
SOLVERS = ('guided', 'all_pairs', 'sampled', 'ransac')
# Fields that describe what weights were trained with, so that nobody may change them; the others
# are settings, or are found out later, like the calibration
TRAINED = ('name', 'ground_hw', 'stride', 'aerial_px', 'aerial_cells', 'tile_m', 'tiles_m',
           'max_depth_m', 'heading_range_deg', 'heading_up', 'north_aligned', 'camera_model',
           'rays', 'grid', 'backbone', 'backbone_options', 'projector_widths', 'attention',
           'own_depth', 'knows_height', 'knows_rays', 'masks_tokens', 'temperature')


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
    :param tiles_m: further sides the weights were trained with, by place.
    :param aerial_cells: aerial features are resampled to so many per side; 0 leaves them.
    :param heading_range_deg: largest error of the heading prior; 180 needs none.
    :param heading_up: whether the crop is turned so that the prior heading points right.
    :param north_aligned: whether panoramas must be rolled until their centre looks north.
    :param camera_model: 'pinhole', or 'equirectangular' for panoramas of 360 x 180 degrees.
    :param rays: 'centers', or 'edges' for weights trained with that defect (model.md B3);
        ``grid`` the same for the aerial cells (B2).
    :param knows_height: whether the network is told how high the camera is above the ground;
        ``knows_rays`` whether it is told where its tokens look.
    :param masks_tokens: whether tokens without depth are kept out of the softmax.
    :param temperature: of the softmax; scores are divided by it.
    :param reach_m: how far from the middle of the crop, along its sides, the camera may be.
    :param crop_step_m: side of the grid on which crops are centred, so that the next frames can
        use them again; 0 centres each crop on its prior. ``crop_step_deg`` the same for headings.
    :param solver: 'kind' is one of `SOLVERS`, the rest are its settings.
    :param preset: the published checkpoint these weights are, if they are one.
    """

    name: str
    preset: str = ''
    ground_hw: tuple[int, int] = (160, 512)
    stride: int = 8
    aerial_px: int = 320
    aerial_cells: int = 0
    tile_m: float = 80.0
    tiles_m: dict[str, float] = field(default_factory=dict)
    max_depth_m: float = 40.0
    heading_range_deg: float = 10.0
    heading_up: bool = True
    north_aligned: bool = False
    camera_model: str = 'pinhole'
    rays: str = 'centers'
    grid: str = 'centers'
    reference_fx: float = 300.0
    backbone: str = 'mini'
    backbone_options: dict[str, Any] = field(default_factory=dict)
    projector_widths: tuple[int, ...] = (96,)
    attention: int = 2
    own_depth: bool = True
    knows_height: bool = False
    knows_rays: bool = True
    masks_tokens: bool = False
    temperature: float = 0.1
    reach_m: float = 20.0
    crop_step_m: float = 0.0
    crop_step_deg: float = 0.0
    solver: dict[str, Any] = field(default_factory=dict)
    gate: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for key in ('ground_hw', 'projector_widths'):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        self._check_kinds()
        sizes = (*self.ground_hw, self.aerial_px)
        if len(sizes) != 3 or self.stride <= 0 or any(
                not 0 < s <= MAX_PX or s % self.stride for s in sizes):
            raise ContractError(f'{self.name}: image sizes {sizes} must be three multiples of the '
                                f'stride {self.stride} up to {MAX_PX}')
        if not (min((self.tile_m, self.max_depth_m, *self.tiles_m.values())) > 0
                and 0 <= self.heading_range_deg <= 180):
            raise ContractError(f'{self.name}: tile_m, tiles_m and max_depth_m must be positive, '
                                'heading_range_deg between 0 and 180')
        if not (self.temperature > 0 and self.reach_m > 0
                and min(self.crop_step_m, self.crop_step_deg) >= 0):
            raise ContractError(f'{self.name}: temperature and reach_m must be positive, '
                                'crop_step_m and crop_step_deg not negative')
        if not 0 <= self.aerial_cells <= self.aerial_px or self.aerial_cells == 1:
            raise ContractError(f'{self.name}: aerial_cells is 0 or from 2 to aerial_px, not '
                                f'{self.aerial_cells}')
        for key, known in (('rays', SPACINGS), ('grid', SPACINGS), ('camera_model', CAMERAS)):
            _one_of(self.name, key, getattr(self, key), known)
        _one_of(self.name, "solver['kind']", self.solver_kind, SOLVERS)

    def _check_kinds(self) -> None:
        """Refuse values of a kind that would only fail at the first image."""
        whole = {'ground_hw': self.ground_hw, 'projector_widths': self.projector_widths,
                 'stride': (self.stride,), 'aerial_px': (self.aerial_px,),
                 'aerial_cells': (self.aerial_cells,), 'attention': (self.attention,)}
        for key, numbers in whole.items():
            if not all(type(n) is int and n >= 0 for n in numbers):
                raise ContractError(f'{self.name}: {key} takes whole numbers, not '
                                    f'{", ".join(map(repr, numbers))}')
        if not self.projector_widths or 0 in self.projector_widths:
            raise ContractError(f'{self.name}: projector_widths needs at least one width, and '
                                'none of 0')
        settings = {k: v for k, v in self.solver.items() if k != 'kind'}
        tables = {'solver': settings, 'gate': self.gate,
                  **{f'calibration.{k}': v for k, v in self.calibration.items() if k != 'floor'}}
        for key, table in tables.items():
            for name, value in table.items():
                if not _is_number(value):
                    raise ContractError(f'{self.name}: {key}.{name} is no number: {value!r}')
        floor = self.calibration.get('floor', (1.0, 1.0, 1.0))
        if len(floor) != 3 or not all(_is_number(n) and n > 0 for n in floor):
            raise ContractError(f'{self.name}: calibration.floor takes three positive numbers')

    @property
    def ground_grid(self) -> tuple[int, int]:
        """Return rows and columns of ground tokens."""
        return self.ground_hw[0] // self.stride, self.ground_hw[1] // self.stride

    @property
    def aerial_grid(self) -> tuple[int, int]:
        """Return rows and columns of aerial cells."""
        side = self.aerial_cells or self.aerial_px // self.stride
        return side, side

    @property
    def cell_m(self) -> float:
        """
        Return the pitch of the aerial cells, as the weights were trained to see it.

        With ``grid`` 'edges' the outermost cells lie on the borders of the tile.
        """
        return self.tile_m / (self.aerial_grid[0] - (self.grid == 'edges'))

    @property
    def solver_kind(self) -> str:
        """Return which of `SOLVERS` these weights are used with."""
        return str(self.solver.get('kind', 'guided'))

    @property
    def needs_heading(self) -> bool:
        """Return whether the model cannot do without a heading prior."""
        return self.heading_up or self.north_aligned

    def heading_problem(self, source: str) -> str:
        """Return why the model cannot work with a ``prior.heading``; '' where it can."""
        if self.needs_heading and source == 'none':
            return (f'the model {self.name} needs a heading prior; set prior.heading to imu, or '
                    'take a model that needs none, such as kitti_ori180')
        return ''

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
        except (json.JSONDecodeError, RecursionError) as error:
            raise ContractError(f'{where} is not JSON ({error}); export the model again') from None
        if isinstance(values, dict) and 'model_type' in values:
            raise ContractError(f'{where} belongs to a {values["model_type"]} of transformers; a '
                                'backbone is given as --backbone, or as the parameter backbone')
        if not isinstance(values, dict) or 'name' not in values:
            raise ContractError(f'{where} is no model contract: it has no "name"')
        unknown = sorted(set(values) - {f.name for f in fields(Contract)})
        if unknown:
            raise ContractError(f'{where} has unknown keys {", ".join(unknown)}; '
                                'was it written by a newer version?')
        try:
            return Contract(**values)
        except (TypeError, AttributeError) as error:     # a list where an object should be
            raise ContractError(f'{where}: {error}') from None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _one_of(name: str, key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ContractError(f'{name}: {key} is one of {", ".join(known)}, not {value!r}')
