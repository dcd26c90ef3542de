# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The numeric convention cases T1 to T19: signs, axes, half pixels, as numbers worked out on paper.

Whoever changes a frame, a sign or a grid convention meets them here first. Angles in degrees.
"""

from __future__ import annotations

import math

from loc2_ros.core.align import fit_similarity, Similarity
from loc2_ros.core.camera import map_to_tile, panorama_rays, tile_grid, tile_to_map, token_rays
from loc2_ros.core.lift import lift
from loc2_ros.core.values import Camera, wrap_pi
from loc2_ros.data.protocols import (along_across, kitti_ground_truth, vigor_ground_truth,
                                     vigor_theta)
from loc2_ros.model.matcher import dual_softmax
from loc2_ros.model.projector import sine_encoding
from loc2_ros.model.vit import interpolate_position_embedding, source_coordinates
import numpy as np
import pytest
import torch

TOLERANCE = 1e-3
KITTI = Camera(1242, 375, 721.5377, 721.5377, 609.5593, 172.854)
LEVEL = torch.eye(3, dtype=torch.float64)


def similarity(theta_deg: float, t: tuple[float, float]) -> Similarity:
    return Similarity(torch.tensor(math.radians(theta_deg), dtype=torch.float64),
                      torch.tensor(1.0, dtype=torch.float64),
                      torch.tensor(t, dtype=torch.float64), torch.tensor(True))


@pytest.mark.parametrize('theta_deg, t, point, forward, yaw_deg', [
    pytest.param(0, (3, -4), (-7, -2), (-1, 0), 90, id='T1'),
    pytest.param(-90, (3, -4), (5, 6), (0, 1), 0, id='T2'),
    pytest.param(-80, (0, 0), (0.2331, 10.1954), (-0.1736, 0.9848), 10, id='T3'),
    pytest.param(150, (-2, 6), (5.6603, -0.7321), (math.sqrt(0.75), -0.5), -120, id='T4')])
def test_a_point_ten_metres_ahead_and_two_to_the_right_lands_in_the_tile(
        theta_deg: float, t: tuple[float, float], point: tuple[float, float],
        forward: tuple[float, float], yaw_deg: float) -> None:
    fit = similarity(theta_deg, t)
    ground = torch.tensor([[-10.0, 2.0], [0.0, 0.0], [-1.0, 0.0]], dtype=torch.float64)
    placed = fit.apply(ground)
    assert placed[0].tolist() == pytest.approx(point, abs=TOLERANCE)
    assert placed[1].tolist() == pytest.approx(t, abs=TOLERANCE)  # t is the camera
    assert (placed[2] - placed[1]).tolist() == pytest.approx(forward, abs=TOLERANCE)
    pose = tile_to_map(math.radians(theta_deg), np.array(t), np.zeros(2), 0.0)
    assert (pose.x_m, pose.y_m) == pytest.approx((t[1], -t[0]), abs=TOLERANCE)
    assert math.degrees(pose.yaw_rad) == pytest.approx(yaw_deg, abs=TOLERANCE)


@pytest.mark.parametrize('content_deg, theta_deg, t, east_north, yaw_deg', [
    pytest.param(-30, -90, (-2, 6), (4.1962, 4.7321), 30, id='T5'),
    pytest.param(-113, -85.5, (4, -9.5), (7.3940, -7.1819), 117.5, id='T6')])
def test_a_pose_in_a_rotated_tile_lands_on_the_map(
        content_deg: float, theta_deg: float, t: tuple[float, float],
        east_north: tuple[float, float], yaw_deg: float) -> None:
    centre, psi = np.array([100.0, -50.0]), math.radians(-content_deg)
    pose = tile_to_map(math.radians(theta_deg), np.array(t), centre, psi)
    assert tuple(pose.xy_m - centre) == pytest.approx(east_north, abs=TOLERANCE)
    assert math.degrees(pose.yaw_rad) == pytest.approx(yaw_deg, abs=TOLERANCE)
    theta, back = map_to_tile(pose, centre, psi)
    assert math.degrees(theta) == pytest.approx(theta_deg, abs=1e-9)
    assert back.tolist() == pytest.approx(t, abs=1e-9)


@pytest.mark.parametrize('shifts, range_deg, turn_deg, theta_deg, t', [
    pytest.param((-0.3455326, -0.9653194, -0.0077375486), 10, -0.077375, -90.077375,
                 (19.2970, -6.9367), id='T7'),
    pytest.param((-0.3455326, -0.9653194, -0.0077375486), 180, -1.392759, -91.392759,
                 (19.1327, -7.3779), id='T8'),
    pytest.param((0.37390798, 0.36219868, -0.75242347), 180, -135.436225, 134.563775,
                 (10.4086, -0.2448), id='T9')])
def test_a_line_of_the_kitti_list_gives_turn_and_position(
        shifts: tuple[float, float, float], range_deg: float, turn_deg: float, theta_deg: float,
        t: tuple[float, float]) -> None:
    turn, theta, position = kitti_ground_truth(*shifts, range_deg)
    assert math.degrees(turn) == pytest.approx(turn_deg, abs=1e-5)
    assert math.degrees(wrap_pi(theta)) == pytest.approx(theta_deg, abs=1e-5)
    assert position.tolist() == pytest.approx(t, abs=TOLERANCE)


def test_t9_on_the_map_is_twenty_metres_times_the_shifts_and_the_heading() -> None:
    turn, theta, position = kitti_ground_truth(0.37390798, 0.36219868, -0.75242347, 180)
    pose = tile_to_map(theta, position, np.zeros(2), -turn)  # heading 0: a = 0 + turn
    assert (pose.x_m, pose.y_m) == pytest.approx((7.4782, 7.2440), abs=TOLERANCE)
    assert pose.yaw_rad == pytest.approx(0.0, abs=1e-6)


def test_t10_a_vigor_label_gives_metres_south_and_east() -> None:
    t = vigor_ground_truth(12.5, -30, 'Chicago')
    assert t.tolist() == pytest.approx((1.3908, 3.3379), abs=TOLERANCE)
    with pytest.raises(ValueError, match='Chicago'):
        vigor_ground_truth(0, 0, 'Karlsruhe')


def test_t11_a_panorama_rolled_right_by_a_quarter_looks_west() -> None:
    theta = vigor_theta(357, 1428)
    assert math.degrees(theta) == pytest.approx(90)
    assert math.degrees(tile_to_map(theta, np.zeros(2), np.zeros(2), 0.0).yaw_rad) == -180


@pytest.mark.parametrize('index, place', [(0, (-50.13, -50.13)), (41, (-47.6235, -50.13)),
                                          (840, (0, 0)), (1680, (50.13, 50.13))])
def test_t12_the_grid_of_the_released_weights_spans_the_tile_edge_to_edge(
        index: int, place: tuple[float, float]) -> None:
    points = tile_grid((41, 41), 100.26, 'edges')
    assert points[index].tolist() == pytest.approx(place, abs=TOLERANCE)


def test_t12_our_own_grid_sits_at_cell_centres() -> None:
    cell = 100.26 / 41
    points = tile_grid((41, 41), 100.26)
    assert points[0].tolist() == pytest.approx([-20 * cell, -20 * cell])
    assert points[42].tolist() == pytest.approx([-19 * cell, -19 * cell])


def test_t13_pinhole_columns_lift_to_the_ground() -> None:
    rays = torch.from_numpy(token_rays(KITTI, (26, 88), 'edges'))
    ground = lift(torch.full((26 * 88,), 10.0, dtype=torch.float64), rays)
    row = ground.reshape(26, 88, 2)[25]
    assert row[[0, 43, 44, 87], 1].tolist() == pytest.approx(
        (-8.4481, 0.0596, 0.2575, 8.7652), abs=TOLERANCE)
    assert row[:, 0].tolist() == pytest.approx([-10.0] * 88)


def test_t14_panorama_cells_lift_to_the_ground() -> None:
    rays = torch.from_numpy(panorama_rays((51, 102), 'edges'))
    ground = lift(torch.full((51 * 102,), 10.0, dtype=torch.float64), rays)
    cells = [25 * 102, 25 * 102 + 101, 25 * 102 + 25, 25 * 102 + 50, 10 * 102 + 76]
    assert ground[cells].tolist() == [pytest.approx(p, abs=TOLERANCE) for p in (
        (10, 0), (10, 0), (0.1555, -9.9988), (-9.9952, -0.3110), (0.0914, 5.8771))]


def test_t15_weighted_procrustes_of_four_matches() -> None:
    ground = torch.tensor([[-5, 0], [-10, 2], [-10, -2], [-20, 5]], dtype=torch.float64)
    tile = torch.tensor([[1, 4], [3.2, 9.5], [-0.8, 9], [6, 19.5]], dtype=torch.float64)
    weight = torch.tensor([0.9, 0.5, 0.5, 0.2], dtype=torch.float64)
    fit = fit_similarity(ground, tile, weight)
    assert math.degrees(fit.theta) == pytest.approx(-89.30922, abs=1e-4)
    assert float(fit.scale) == pytest.approx(1.0275772, abs=1e-6)
    assert fit.t.tolist() == pytest.approx((1.1912785, -1.0815164), abs=1e-6)


def test_t16_dual_softmax_of_two_by_two_with_a_dustbin() -> None:
    S, dustbin = torch.tensor([[[5.0, 0.0], [1.0, 3.0]]]), torch.tensor(1.0)
    expected = [[0.94109, 0.00027614], [0.0018818, 0.66405]]
    np.testing.assert_allclose(dual_softmax(S, dustbin)[0], expected, rtol=1e-4)
    masked = dual_softmax(S, dustbin, torch.tensor([[True, False]]))[0]
    np.testing.assert_allclose(masked, [[0.9473, 0.0], [0.0088, 0.0]], atol=5e-5)
    nothing = dual_softmax(S, dustbin, torch.tensor([[False, False]]))[0]
    assert nothing.tolist() == [[0.0, 0.0], [0.0, 0.0]]


def test_t16_masked_tokens_give_finite_gradients() -> None:
    S = torch.tensor([[[5.0, 0.0], [1.0, 3.0]]], requires_grad=True)
    dustbin = torch.tensor(1.0, requires_grad=True)
    dual_softmax(S, dustbin, torch.tensor([[True, False]])).sum().backward()
    assert S.grad is not None and dustbin.grad is not None
    assert torch.isfinite(S.grad).all() and torch.isfinite(dustbin.grad)
    assert S.grad[0, :, 1].tolist() == [0.0, 0.0]


def test_t17_sine_encoding_counts_positions_from_one() -> None:
    code = sine_encoding(4, 5, 128)
    assert code[:8, 0, 0].tolist() == pytest.approx(
        (0.8415, 0.5403, 0.8415, 0.5403, 0.6816, 0.7318, 0.6816, 0.7318), abs=1e-4)
    assert (float(code[0, 0, 2]), float(code[2, 0, 2])) == pytest.approx((0.1411, 0.8415),
                                                                         abs=1e-4)


@pytest.mark.parametrize('n, first, last', [
    (26, 0.2088, 35.6494), (36, 0.0125, 35.8850), (51, -0.1380, 36.0656),
    (88, -0.2900, 36.2480), (102, -0.3188, 36.2826)])
def test_t18_the_position_table_is_read_with_the_offset_of_a_tenth(
        n: int, first: float, last: float) -> None:
    at = source_coordinates(37, n)
    assert (float(at[0]), float(at[-1])) == pytest.approx((first, last), abs=1e-4)


@pytest.mark.parametrize('h, w', [(26, 88), (36, 36), (51, 102), (45, 45), (74, 11)])
def test_t18_the_position_table_equals_torch_bicubic_with_a_scale_factor(h: int, w: int) -> None:
    table = torch.randn((1, 1 + 37 * 37, 8), generator=torch.Generator().manual_seed(0))
    resized = interpolate_position_embedding(table, h, w)
    image = table[:, 1:].reshape(1, 37, 37, 8).permute(0, 3, 1, 2)
    by_torch = torch.nn.functional.interpolate(
        image, scale_factor=((h + 0.1) / 37, (w + 0.1) / 37), mode='bicubic',
        align_corners=False, recompute_scale_factor=False)
    assert by_torch.shape[-2:] == (h, w)
    expected = by_torch.permute(0, 2, 3, 1).reshape(1, h * w, 8)
    torch.testing.assert_close(resized[:, 1:], expected, rtol=0, atol=3e-5)
    assert torch.equal(resized[:, 0], table[:, 0])


def test_t18_the_training_grid_is_left_alone_and_a_broken_table_is_refused() -> None:
    table = torch.randn(1, 1 + 37 * 37, 4)
    assert interpolate_position_embedding(table, 37, 37) is table
    with pytest.raises(ValueError, match='position table'):
        interpolate_position_embedding(table[:, :-1], 26, 88)


@pytest.mark.parametrize('theta_deg, error, along, across', [
    pytest.param(-90, (1, 3), 3, 1, id='T19'), pytest.param(0, (1, 3), 1, 3, id='up'),
    pytest.param(135, (1, 1), 0, math.sqrt(2), id='diagonal')])
def test_errors_are_split_along_and_across_the_view(
        theta_deg: float, error: tuple[float, float], along: float, across: float) -> None:
    found = along_across(math.radians(theta_deg), np.array(error, dtype=float))
    assert found == pytest.approx((along, across), abs=1e-12)
