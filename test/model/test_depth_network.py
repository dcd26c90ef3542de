# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""The depth network: from a folder, offline, refused with a sentence; panoramas by cube."""

from __future__ import annotations

from collections.abc import Callable
import importlib.util
import json
import math
from pathlib import Path
import shutil
import socket
from typing import Any

from loc2_ros.core.camera import Mount, panorama_rays, token_rays
from loc2_ros.core.values import Camera, Image, Panorama, Pose2
from loc2_ros.model.cube import face_camera, merge_faces, ROTATIONS, split_panorama
from loc2_ros.model.depth_network import (DepthNetwork, load_depth_network, network_size,
                                          NetworkDepth)
from loc2_ros.model.weights import ModelError
import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch
import torch.nn.functional as functional

CPU = torch.device('cpu')
LEVEL = Mount(np.eye(3), Pose2(0.0, 0.0, 0.0), 1.65)
pytest.importorskip('transformers')


def save_tiny(folder: Path, **more: Any) -> Path:
    """Call the helper beside this file; tests are imported by path."""
    spec = importlib.util.spec_from_file_location(
        'depth_anything', Path(__file__).with_name('depth_anything.py'))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return Path(module.save_tiny(folder, **more))


@pytest.fixture(scope='module')
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp('depth') / 'tiny')


def blocks(height: int, width: int) -> Any:
    """Return an image of coloured blocks."""
    few = np.random.default_rng(0).integers(0, 255, (height // 10 + 1, width // 10 + 1, 3))
    return np.kron(few, np.ones((10, 10, 1)))[:height, :width].astype(np.uint8)


def test_a_folder_gives_metres_over_the_whole_image_without_touching_the_network(
        tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **more: Any) -> Any:
        raise AssertionError('the network was asked')
    monkeypatch.setattr(socket.socket, 'connect', refuse)
    network = load_depth_network(str(tiny), CPU, short_side=42)
    image = blocks(50, 120)
    depth = network.metres(image)
    assert depth.shape == (42, 98) and depth.dtype == np.float32
    assert 0.0 < depth.min() < depth.max() < 80.0
    assert network.metres(image, size=(50, 120)).shape == (50, 120)
    # Small ones, or of unknown width, may be used by anyone; the sentence is for the others
    assert network.notice == ''
    np.testing.assert_array_equal(depth, network.metres(image))


def test_the_input_keeps_its_shape_in_multiples_of_the_patch() -> None:
    assert network_size((375, 1242)) == (518, 1722)     # as model.md 12.1 counts it
    assert network_size((1024, 2048)) == (518, 1036)
    assert network_size((480, 640), 350) == (350, 462)


def test_depth_is_that_of_the_network_as_it_was_trained(tiny: Path) -> None:
    """Its input built by hand: ImageNet's mean, positions as the original DINOv2 resizes them."""
    from transformers import DepthAnythingForDepthEstimation
    image = blocks(42, 98)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    pixels = torch.from_numpy(((image / 255.0 - mean) / std).transpose(2, 0, 1)[None]).float()
    net = DepthAnythingForDepthEstimation.from_pretrained(tiny, local_files_only=True)
    embeddings = net.backbone.embeddings
    table = embeddings.position_embeddings                  # (1, 1 + 5 * 5, channels)

    def original(_: torch.Tensor, height: int, width: int) -> torch.Tensor:
        patches = functional.interpolate(
            table[:, 1:].reshape(1, 5, 5, -1).permute(0, 3, 1, 2), mode='bicubic',
            scale_factor=((height // 14 + 0.1) / 5, (width // 14 + 0.1) / 5))
        return torch.cat([table[:, :1], patches.flatten(2).transpose(1, 2)], 1)

    with torch.no_grad():
        other = net(pixels).predicted_depth[0].numpy()
        embeddings.interpolate_pos_encoding = original
        expected = net(pixels).predicted_depth[0].numpy()
    assert np.abs(other / expected - 1).max() > 1e-3        # transformers' own way matters
    found = load_depth_network(str(tiny), CPU, short_side=42).metres(image)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_non_commercial_weights_say_so_by_their_width() -> None:
    for licence, told in (('Apache-2.0', False), ('CC-BY-NC-4.0', True), ('unknown', False)):
        network = DepthNetwork(torch.nn.Identity(), 'some', licence, CPU)
        assert bool(network.notice) is told
        assert not told or 'not for commercial use' in network.notice


def test_a_base_sized_network_is_told_from_a_small_one(tmp_path: Path) -> None:
    assert load_depth_network(str(save_tiny(tmp_path / 's', width=384)), CPU).licence == (
        'Apache-2.0')
    network = load_depth_network(str(save_tiny(tmp_path / 'b', width=768)), CPU)
    assert network.licence == 'CC-BY-NC-4.0' and 'not for commercial use' in network.notice


def _without_a_tensor(folder: Path) -> None:
    tensors = load_file(folder / 'model.safetensors')
    tensors.pop(sorted(tensors)[5])
    save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})


def _with_one_more(folder: Path) -> None:
    tensors = {**load_file(folder / 'model.safetensors'), 'surplus': torch.zeros(3)}
    save_file(tensors, folder / 'model.safetensors', metadata={'format': 'pt'})


def _cut_off(folder: Path) -> None:
    with open(folder / 'model.safetensors', 'r+b') as file:
        file.truncate(5000)


def _pickled(folder: Path) -> None:
    torch.save(load_file(folder / 'model.safetensors'), folder / 'pytorch_model.bin')
    (folder / 'model.safetensors').unlink()


def _edited(**changes: Any) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        facts = json.loads((folder / 'config.json').read_text())
        (folder / 'config.json').write_text(json.dumps({**facts, **changes}))
    return edit


@pytest.mark.parametrize('damage, words', [
    (_without_a_tensor, 'does not fit its config.json: 1 tensors'),
    (_with_one_more, 'does not fit its config.json: 1 tensors'),
    (_cut_off, 'damaged or incomplete'), (_pickled, 'damaged or incomplete'),
    (_edited(depth_estimation_type='relative'), 'relative depth, not metres'),
    (_edited(model_type='dpt'), "is a 'dpt', not Depth Anything"),
    (_edited(head_hidden_size=16), 'damaged or incomplete'),
    (lambda folder: (folder / 'config.json').write_text('{'), 'damaged or incomplete'),
    (lambda folder: (folder / 'config.json').unlink(), 'no config.json')])
def test_a_damaged_folder_is_one_sentence(tiny: Path, tmp_path: Path, damage: Any, words: str,
                                          capfd: pytest.CaptureFixture[str]) -> None:
    folder = shutil.copytree(tiny, tmp_path / 'copy')
    damage(folder)
    capfd.readouterr()
    with pytest.raises(ModelError, match=words) as error:
        load_depth_network(str(folder), CPU)
    assert '\n' not in str(error.value)
    assert 'Traceback' not in capfd.readouterr().err


@pytest.mark.parametrize('name', ['/nowhere/at/all', 'depth-anything/never-downloaded', 'a b c'])
def test_what_is_not_there_is_told_with_the_remedy(name: str) -> None:
    with pytest.raises(ModelError, match='neither as a folder nor in the local cache.*hf downl'):
        load_depth_network(name, CPU)


class ByRow(torch.nn.Module):
    """Answers with depth 1 m in the first row of its input and 1 m more per row."""

    def forward(self, pixels: torch.Tensor) -> Any:
        class Answer:
            predicted_depth = (1.0 + torch.arange(pixels.shape[-2]).float())[None, :, None].expand(
                1, -1, pixels.shape[-1])
        return Answer


def test_tokens_are_the_medians_of_their_cells_or_their_corners() -> None:
    network = DepthNetwork(ByRow(), 'rows', 'Apache-2.0', CPU, short_side=28)
    image = Image(np.zeros((28, 56, 3), np.uint8), 0, Camera(56, 28, 30.0, 30.0, 27.5, 13.5))
    source = NetworkDepth(network)
    centre = source.tokens(image, LEVEL, (2, 4))
    corner = source.tokens(image, LEVEL, (2, 4), 'edges')
    assert centre is not None and corner is not None
    assert centre.tolist() == pytest.approx([8.0] * 4 + [22.0] * 4)
    assert corner.tolist() == [1.0] * 4 + [15.0] * 4
    assert source.about()['depth_model'] == 'rows'


# ---- the cube ---------------------------------------------------------------------------------

def test_faces_look_forward_right_back_left_up_and_down() -> None:
    forward = [tuple(np.rint(R @ (0.0, 0.0, 1.0)).astype(int)) for R in ROTATIONS]
    assert forward == [(0, 0, 1), (1, 0, 0), (0, 0, -1), (-1, 0, 0), (0, -1, 0), (0, 1, 0)]
    assert all(np.linalg.det(R) == pytest.approx(1.0) for R in ROTATIONS)


def test_a_face_shows_what_the_panorama_shows_in_its_directions() -> None:
    """The panorama is painted with its own viewing directions, seam and poles included."""
    rays = panorama_rays((128, 256))
    painted = torch.from_numpy(rays.reshape(128, 256, 3).transpose(2, 0, 1)).float()
    faces = split_panorama(painted, 32)
    looks = token_rays(face_camera(32), (32, 32))
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    for face, panorama_R_face in zip(faces, ROTATIONS):
        found = face.numpy().reshape(3, -1).T
        np.testing.assert_allclose(found, looks @ panorama_R_face.T, atol=0.03)


def test_a_sphere_and_a_box_come_back_from_their_faces() -> None:
    looks = token_rays(face_camera(96), (96, 96))
    length = torch.from_numpy(np.linalg.norm(looks, axis=1)).reshape(96, 96)
    sphere = merge_faces(torch.stack([5.0 / length] * 6), (20, 40))
    np.testing.assert_allclose(sphere, 5.0, rtol=1e-3)
    # A cube of 8 m around the camera: each face proper sees a plane 4 m ahead, and beyond its
    # 45 degrees the neighbouring wall
    slope = torch.from_numpy(np.abs(looks[:, :2]).max(axis=1)).reshape(96, 96)
    box = merge_faces(torch.stack([4.0 / slope.clamp(min=1.0)] * 6), (40, 80))
    expected = 4.0 / np.abs(panorama_rays((40, 80))).max(axis=1)
    np.testing.assert_allclose(box.flatten(), expected, rtol=0.02)


def test_a_panorama_goes_through_the_network_face_by_face() -> None:
    class Planes(torch.nn.Module):
        """Answers with a wall 4 m ahead."""

        def forward(self, pixels: torch.Tensor) -> Any:
            assert pixels.shape == (1, 3, 42, 42)

            class Answer:
                predicted_depth = torch.full((1, 42, 42), 4.0)
            return Answer

    network = DepthNetwork(Planes(), 'planes', 'Apache-2.0', CPU, short_side=42)
    image = Image(np.zeros((60, 120, 3), np.uint8), 0, Panorama(120, 60))
    tokens = NetworkDepth(network).tokens(image, LEVEL, (15, 40))
    assert tokens is not None and tokens.shape == (600,)
    beside = tokens.reshape(15, 40)[7, 17]          # 22.5 degrees left of straight ahead
    assert beside == pytest.approx(4.0 / math.cos(math.radians(22.5)), rel=0.02)
