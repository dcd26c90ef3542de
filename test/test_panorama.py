# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Panoramas through the localizer, the offline twin and the topics, around a planted network.

The planted network reads the column code painted into the panorama, so it knows what each token
shows wherever it stands in the image, and answers with the probabilities of a perfect one. Where
things are it computes by the formulas of model.md 5, not by the code under test.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from pathlib import Path
from typing import Any

from loc2_ros.core.camera import Mount, mount_from_matrix
from loc2_ros.core.frames import LocalFrame
from loc2_ros.core.gate import Limits
from loc2_ros.core.values import Camera, Fix, Image, Panorama, Pose2, Prior
from loc2_ros.data.bag import open_bag
from loc2_ros.data.bag_writer import BagWriter
from loc2_ros.evaluate.run import run_bag
from loc2_ros.loading import _check_camera, LocalizerSettings
from loc2_ros.maps.values import Crop
from loc2_ros.model.contract import Contract
from loc2_ros.model.depth import DepthImages, DepthSource, FlatGround
from loc2_ros.model.inference import Observation
from loc2_ros.model.quality import Quality
from loc2_ros.model.solve import Solver
from loc2_ros.model.weights import ModelError
from loc2_ros.pipeline import Localizer
from loc2_ros.ros.params import defaults
from loc2_ros.synthetic.drive import DriveFrames, INFO, write_drive
import numpy as np
import pytest
import torch

HEIGHT, WIDTH = 714, 1428               # VIGOR's network input
ROWS, COLS, CELLS = 51, 102, 41
CITY_M = 72.479                         # New York


@dataclass(frozen=True)
class RoundContract(Contract):
    """What VIGOR checkpoints of unknown orientation expect."""

    ground_hw: tuple[int, int] = (HEIGHT, WIDTH)
    stride: int = 14
    aerial_px: int = 14 * CELLS
    tile_m: float = CITY_M
    max_depth_m: float = 35.0
    heading_range_deg: float = 180.0
    heading_up: bool = False
    own_depth: bool = False
    camera_model: str = 'equirectangular'


class FakeStore:
    """Blank north-up imagery; remembers its centre."""

    centre = np.zeros(2)

    def crop(self, frame: LocalFrame, xy_map_m: Any, yaw_map_rad: float, size_m: float,
             px: int) -> Crop:
        assert yaw_map_rad == 0.0
        self.centre = np.asarray(xy_map_m)
        gsd = size_m / px
        map_T_px = np.array([[gsd, 0.0, self.centre[0] - gsd * (px - 1) / 2],
                             [0.0, -gsd, self.centre[1] + gsd * (px - 1) / 2]])
        return Crop(np.zeros((px, px, 3), np.uint8), np.ones((px, px), bool), 1.0, map_T_px, 0.2,
                    19, False)


class PlantedNetwork:
    """Knows the scene: range by row and by the column it had when the centre looked north."""

    def __init__(self, store: FakeStore, xy_map_m: tuple[float, float], range_m: Any,
                 rays: str) -> None:
        self.store, self.xy, self.range_m = store, xy_map_m, range_m
        self.contract = RoundContract('planted', rays=rays)

    def describe(self, crop_rgb: Any) -> Any:
        return None

    def observe(self, image: Image, described: Any, depth_m: Any, mount: Mount,
                height_m: float | None) -> Observation:
        from loc2_ros.core.camera import token_rays
        rays = torch.from_numpy(token_rays(image.camera, (ROWS, COLS), self.contract.rays))
        depth = depth_m
        usable = torch.isfinite(depth) & (depth > 0) & (depth < self.contract.max_depth_m)
        east, south = self._places(image)
        # North-up tile: x counts rows southwards, y columns eastwards
        cell = CITY_M / CELLS
        row = (south + self.store.centre[1] - self.xy[1]) / cell
        col = (east - (self.store.centre[0] - self.xy[0])) / cell
        P = _planted(np.stack((row, col), -1) + (CELLS - 1) / 2, usable.numpy())
        return Observation(P, (rays @ torch.from_numpy(mount.level_R_camera).T).float(),
                           torch.where(usable, depth, 0.0), usable)

    def _places(self, image: Image) -> tuple[Any, Any]:
        """Return where each token's content lies, metres east and south of the camera."""
        r, c = np.indices((ROWS, COLS)).reshape(2, -1)
        if self.contract.rays == 'edges':
            phi, theta = 2 * math.pi * c / (COLS - 1), math.pi * r / (ROWS - 1)
            d = np.full(len(r), 10.0)
        else:
            code = image.rgb[14 * r + 7, 14 * c + 7].astype(float)
            content = 256 * code[:, 0] + code[:, 1]         # left edge of that pixel's content
            phi, theta = 2 * math.pi * content / WIDTH, math.pi * (r + 0.5) / ROWS
            d = self.range_m(theta, phi)
        # model.md 5: Y = (d sin th cos phi, -d sin th sin phi), north-up: x south, y east
        return -d * np.sin(theta) * np.sin(phi), d * np.sin(theta) * np.cos(phi)

    def about(self) -> dict[str, Any]:
        return {}


def _planted(place: Any, usable: Any) -> torch.Tensor:
    """Return P with each token's probability on the four cells around its place."""
    P = np.zeros((CELLS * CELLS, len(place)), np.float32)
    base = np.floor(place).astype(int)
    share = place - base
    inside = usable & ((base >= 0) & (base < CELLS - 1)).all(-1)
    base = np.clip(base, 0, CELLS - 2)
    for dr in (0, 1):
        for dc in (0, 1):
            part = np.abs(1 - dr - share[:, 0]) * np.abs(1 - dc - share[:, 1]) * inside
            P[(base[:, 0] + dr) * CELLS + base[:, 1] + dc, np.arange(len(place))] = part
    return torch.from_numpy(P)


def coded_panorama(roll_px: int = 0, stamp_ns: int = 7) -> Image:
    """Return a panorama whose colours count its columns, rolled to the right."""
    column = np.arange(WIDTH)
    code = np.stack((column // 256, column % 256, 0 * column), -1).astype(np.uint8)
    rgb = np.broadcast_to(np.roll(code, roll_px, axis=0), (HEIGHT, WIDTH, 3))
    return Image(np.ascontiguousarray(rgb), stamp_ns, Panorama(WIDTH, HEIGHT))


def street(theta: Any, phi: Any) -> Any:
    """Return the range of a street: flat ground 2.5 m below, walls 6 m west and 9 m east."""
    with np.errstate(divide='ignore'):
        ground = np.where(np.cos(theta) < 0, -2.5 / np.minimum(np.cos(theta), -1e-9), np.inf)
        east = -np.sin(theta) * np.sin(phi)
        wall = np.where(east > 0, 9.0, -6.0) / np.where(np.abs(east) < 1e-9, 1e-9, east)
    return np.minimum(np.minimum(ground, wall), 60.0)


def range_image(roll_px: int = 0) -> Any:
    """Return the street's range at every pixel, rolled with the image."""
    row, col = np.indices((HEIGHT, WIDTH))
    metres = street(math.pi * (row + 0.5) / HEIGHT, 2 * math.pi * (col + 0.5) / WIDTH)
    return np.roll(metres, roll_px, axis=1).astype(np.float32)


def upright(height_m: float = 2.5) -> Mount:
    """Return a panorama camera on the vehicle's origin that looks ahead."""
    matrix = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, height_m],
                       [0.0, 0.0, 0.0, 1.0]])
    return mount_from_matrix(matrix)


def localizer(depth: DepthSource, xy: tuple[float, float], rays: str = 'centers') -> Localizer:
    store: Any = FakeStore()
    network: Any = PlantedNetwork(store, xy, street, rays)
    return Localizer(network, store, LocalFrame(40.7, -74.0), Limits(), Solver(), Quality(), depth)


def prior(xy: tuple[float, float] = (103.0, 46.0)) -> Prior:
    return Prior(7, np.array(xy), None, 8.0, None)


def test_t14_ten_metres_along_five_rays_of_the_released_weights() -> None:
    """Where the localizer lifts ranges to, read back from the evidence of its fix."""
    source = DepthImages()
    source.add(7, np.full((HEIGHT, WIDTH), 10.0))
    found = localizer(source, (100.0, 50.0), 'edges').localize(coded_panorama(), prior(),
                                                               upright())
    assert isinstance(found, Fix) and found.evidence is not None, found
    assert found.scale == pytest.approx(1.0, abs=1e-3)
    assert found.map_T_base.xy_m == pytest.approx((100.0, 50.0), abs=0.05)
    shown = found.evidence
    token = {(int(v // 14), int(u // 14)): xy for (u, v), xy in
             zip(shown.ground_uv_px, shown.lifted_map_m - found.map_T_base.xy_m)}
    expected = {(25, 0): (10.0, 0.0), (25, 101): (10.0, 0.0), (25, 25): (0.1555, -9.9988),
                (25, 50): (-9.9952, -0.3110), (10, 76): (0.0914, 5.8771)}
    for cell, (south, east) in expected.items():
        assert token[cell] == pytest.approx((east, -south), abs=0.02), cell


@pytest.mark.parametrize('roll_px, yaw_deg', [(0, 90.0), (357, 180.0), (-357, 0.0),
                                              (700, 90.0 + 700 * 360 / 1428)])
def test_t11_a_panorama_rolled_right_by_a_quarter_looks_west(roll_px: int,
                                                             yaw_deg: float) -> None:
    source = DepthImages()
    source.add(7, range_image(roll_px))
    found = localizer(source, (100.0, 50.0)).localize(coded_panorama(roll_px), prior(), upright())
    assert isinstance(found, Fix), found
    assert found.map_T_base.xy_m == pytest.approx((100.0, 50.0), abs=0.1)
    turn = found.map_T_base.yaw_rad - math.radians(yaw_deg)
    assert math.degrees(math.remainder(turn, 2 * math.pi)) == pytest.approx(0.0, abs=0.5)


def test_flat_ground_gives_the_range_below_the_horizon_alone() -> None:
    image, mount = coded_panorama(), upright(2.5)
    depth = FlatGround(0.0).tokens(image, mount, (ROWS, COLS))
    assert depth is not None
    grid = depth.reshape(ROWS, COLS).numpy()
    assert np.isnan(grid[:26]).all()            # row 25 looks at the horizon itself
    depression = math.pi * (np.arange(26, ROWS) + 0.5) / ROWS - math.pi / 2
    assert grid[26:, 17] == pytest.approx(2.5 / np.sin(depression), rel=1e-5)


def test_the_released_weights_take_the_top_left_pixel_of_a_cell() -> None:
    source = DepthImages()
    row, col = np.indices((102, 204))
    source.add(7, 1.0 + row + 0.001 * col)
    corner = source.tokens(coded_panorama(), upright(), (ROWS, COLS), 'edges')
    assert corner is not None
    assert corner.reshape(ROWS, COLS)[[0, 3, 50], [0, 7, 101]] == pytest.approx(
        [1.0, 7.014, 101.202])


def test_a_model_for_one_kind_of_camera_is_refused_for_the_other() -> None:
    with pytest.raises(ModelError, match='equirectangular images and camera.model is pinhole'):
        _check_camera(RoundContract('vigor'), LocalizerSettings())
    with pytest.raises(ModelError, match='pinhole images and camera.model is equirectangular'):
        _check_camera(Contract('mini'), LocalizerSettings(camera_model='equirectangular'))


def test_a_drive_of_panoramas_without_camera_info_runs_in_the_twin(tmp_path: Path) -> None:
    """JPEG spoils the painted code, so the twin meets raw images; the node's path is the same."""
    count = 3
    t = np.arange(count) * 0.2
    stamps = 1_700_000_000_000_000_000 + (t * 1e9).astype(np.int64)
    truth = [Pose2(100.0 + 2.0 * s, 50.0, 0.0) for s in t]
    optical = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 2.5],
                        [0.0, 0.0, 0.0, 1.0]])
    frames = DriveFrames(
        stamps, np.array([[p.x_m, p.y_m, p.yaw_rad] for p in truth]), np.full(count, 2.0),
        [np.zeros((20, 40, 3), np.uint8)] * count, Camera(40, 20, 20.0, 20.0, 19.5, 9.5),
        optical, LocalFrame(48.9, 8.4, 110.0), seed=1)
    path = _as_panoramas(write_drive(frames, tmp_path / 'pinhole.mcap'), tmp_path / 'round.mcap')
    places = iter([p.xy_m for p in truth])

    def make(frame: LocalFrame) -> Any:
        found = localizer(FlatGround(0.0), (0.0, 0.0))
        network: Any = found.network
        network.range_m = lambda theta, phi: np.where(
            np.cos(theta) < 0, -2.5 / np.minimum(np.cos(theta), -1e-9), 60.0)
        inner = found.localize

        def localize(image: Image, prior: Prior, mount: Mount) -> Any:
            network.xy = tuple(next(places))
            return inner(image, replace(prior, yaw_map_rad=None, sigma_yaw_rad=None), mount)
        setattr(found, 'localize', localize)
        return found

    result = run_bag(path, {**defaults(), 'camera.model': 'equirectangular'}, make,
                     progress=False)
    assert [row.outcome for row in result.rows] == ['fix'] * count
    for row, pose in zip(result.rows, truth):
        assert row.estimate is not None and row.truth is not None
        assert row.estimate.xy_m == pytest.approx(pose.xy_m, abs=0.15)
        assert row.estimate.yaw_rad == pytest.approx(0.0, abs=0.01)


def _as_panoramas(path: Path, out: Path) -> Path:
    """Copy a drive: raw coded panoramas that look east instead of its images, no camera_info."""
    # East: a quarter turn right of north, so the content moves left
    from loc2_ros.data.bag_writer import make
    rgb = coded_panorama(-357).rgb
    kind = 'sensor_msgs/msg/Image'
    with open_bag(path) as bag, BagWriter(out) as writer:
        for topic in bag.topics.values():
            if topic.msgtype == 'sensor_msgs/msg/CompressedImage':
                writer.add_topic('/pano/image', kind)
            elif topic.name != INFO:
                writer.add_topic(topic.name, topic.msgtype, topic.qos)
        for record in bag.records():
            if record.topic.msgtype == 'sensor_msgs/msg/CompressedImage':
                writer.write('/pano/image', record.log_ns, make(
                    kind, header=record.message.header, height=HEIGHT, width=WIDTH,
                    encoding='rgb8', is_bigendian=0, step=3 * WIDTH, data=rgb.reshape(-1)))
            elif record.topic.name != INFO:
                writer.write_bytes(record.topic.name, record.log_ns, record.data)
    return out
