# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How far a solved pose may be off: a 3x3 covariance, positive definite for any input.

The sandwich estimate of model.md 12.3. With centred ground points the linear parameters decouple
from the mean, so what each match does to the pose has a closed form and no matrix is inverted.
"""

from __future__ import annotations

from loc2_ros.core.similarity import Similarity
import torch
from torch import Tensor

# What is claimed when the matches say nothing: 1 km and more than half a turn
_UNKNOWN_SIGMAS = (1000.0, 1000.0, 4.0)
# Ratio of observed to modelled noise that is believed, per frame
_RESIDUAL_RATIO = (0.25, 16.0)
# Largest standard deviation in units of the floor; keeps the matrix invertible
_LARGEST = 1e4


def pose_covariance(ground: Tensor, tile: Tensor, weight: Tensor, inlier: Tensor,
                    similarity: Similarity, *, cell_m: float, sigma_depth_rel: float,
                    sigma_ray_rad: float, correlation: float | Tensor = 1.0,
                    match_variance_m2: Tensor | None = None, use_residuals: bool = True,
                    scale_gain: float | Tensor = 1.0, sigma_scale: float = 0.0) -> Tensor:
    """
    Compute the covariance of (t_x, t_y, theta) in the tile plane.

    :param ground: (..., N, 2) ground points the similarity was fitted to.
    :param tile: (..., N, 2) tile points.
    :param weight: (..., N) non-negative weights of the fit.
    :param inlier: (..., N) bool, those that took part.
    :param cell_m: side of an aerial cell; its rounding is uniform noise.
    :param sigma_depth_rel: standard deviation of depth per metre of depth.
    :param sigma_ray_rad: standard deviation of a token's direction.
    :param correlation: matches per independent match, at least 1, see `thinning_factor`.
    :param match_variance_m2: (..., N) further noise per axis, as from the match's own spread.
    :param use_residuals: scale the point noise by what the residuals of this frame show.
    :param scale_gain: 1 for a free scale, 0 for a fixed one, D / (D + lambda) for MAP.
    :param sigma_scale: standard deviation of the fixed or prior scale.
    :returns: (..., 3, 3) float64, symmetric, semidefinite at least; very large when unknown.
    """
    weight = (weight * inlier).double()
    used = (weight > 0)[..., None]
    a = torch.where(used, ground, 0.0).double()
    residual = torch.where(used, similarity.apply(ground) - tile, 0.0).double()
    p, r = (x.double()[..., None] for x in similarity.linear())
    seen = torch.stack((p * a[..., 0] - r * a[..., 1], r * a[..., 0] + p * a[..., 1]), -1)
    noise = _point_noise(seen, cell_m, sigma_depth_rel, sigma_ray_rad, match_variance_m2)
    if use_residuals:
        noise = noise * _residual_ratio(residual, noise, weight)[..., None, None, None]
    influence, lever, valid = _influence(seen, weight, scale_gain)
    cov = (influence @ noise @ influence.mT).sum(-3) * correlation
    by_scale = torch.cat((lever, torch.zeros_like(lever[..., :1])), -1)  # what ds / s does
    sigma = sigma_scale * (1.0 - torch.as_tensor(scale_gain, dtype=cov.dtype, device=cov.device))
    scale = similarity.scale.double()
    cov = cov + (sigma / scale.clamp_min(1e-6)).square()[..., None, None] \
        * by_scale[..., :, None] * by_scale[..., None, :]
    valid = valid & similarity.valid & torch.isfinite(cov).all(-1).all(-1)
    unknown = torch.diag(torch.tensor(_UNKNOWN_SIGMAS).to(cov).square())
    return torch.where(valid[..., None, None], (cov + cov.mT) / 2, unknown)


def thinning_factor(ground: Tensor, tile: Tensor, inlier: Tensor, cell_m: float) -> Tensor:
    """
    Count the matches per independent one: one per aerial cell and per ground cell.

    :returns: () float64, at least 1: inliers over the occupied cells of the sparser side.
    """
    cells = torch.minimum(_occupied(ground, inlier, cell_m), _occupied(tile, inlier, cell_m))
    return inlier.sum().double().clamp_min(1.0) / cells.double().clamp_min(1.0)


def floor_covariance(cov: Tensor, floor_sigmas: Tensor | tuple[float, float, float],
                     scale: float = 1.0) -> Tensor:
    """
    Scale a covariance and lift it until no direction is below the floor.

    The result is the smallest matrix above both, ``C' >= scale C`` and ``C' >= F``, in the
    directions of C seen in units of the floor; gradients pass as if nothing were lifted.

    :param cov: (..., 3, 3); non-finite ones become the largest that is ever claimed.
    :param floor_sigmas: (3,) standard deviations, metres, metres, radians, all positive.
    :param scale: calibration factor of the covariance, positive.
    :returns: (..., 3, 3) float64, symmetric positive definite.
    :raises ValueError: if a floor or the scale is not positive.
    """
    sigmas = torch.as_tensor(floor_sigmas, dtype=torch.float64, device=cov.device)
    if sigmas.shape != (3,) or not bool((sigmas > 0).all()) or not scale > 0:
        raise ValueError('a covariance needs three positive floors and a positive scale, got '
                         f'{sigmas.tolist()} and {scale}')
    unit = sigmas[:, None] * sigmas[None, :]
    white = scale * cov.double() / unit
    finite = torch.isfinite(white).all(-1).all(-1)[..., None, None]
    largest = _LARGEST ** 2 * torch.eye(3, dtype=torch.float64, device=cov.device)
    white = torch.where(finite, (white + white.mT) / 2, largest).clamp(-1e12, 1e12)
    with torch.no_grad():
        values, axes = torch.linalg.eigh(white)
        lift = axes @ torch.diag_embed(values.clamp(1.0, _LARGEST ** 2) - values) @ axes.mT
    white = white + lift
    return (white + white.mT) / 2 * unit


def rotate_to_map(cov_tile: Tensor, psi_rad: float) -> Tensor:
    """
    Turn a covariance of (t_x, t_y, theta) into one of (x, y, yaw) in the map.

    :param psi_rad: direction of the tile's right-hand side in the map, 0 for north-up.
    """
    psi = torch.as_tensor(psi_rad, dtype=cov_tile.dtype, device=cov_tile.device)
    c, s, zero, one = torch.cos(psi), torch.sin(psi), torch.zeros_like(psi), torch.ones_like(psi)
    turn = torch.stack((s, c, zero, -c, s, zero, zero, zero, one)).reshape(3, 3)
    return turn @ cov_tile @ turn.mT


def carry_to_base(cov_camera: Tensor, lever_m: Tensor, yaw_base_rad: float) -> Tensor:
    """
    Move a covariance of (x, y, yaw) from the camera to base_link along the lever arm.

    ``p_base = p_camera - R(yaw_base) lever``, so yaw and position get correlated.

    :param cov_camera: (3, 3) in the map.
    :param lever_m: (2,) camera in base_link.
    :param yaw_base_rad: heading of base_link in the map.
    """
    dtype, device = cov_camera.dtype, cov_camera.device
    lever = torch.as_tensor(lever_m, dtype=dtype, device=device)
    yaw = torch.as_tensor(yaw_base_rad, dtype=dtype, device=device)
    c, s = torch.cos(yaw), torch.sin(yaw)
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    dx = s * lever[0] + c * lever[1]  # derivative of -R(yaw) lever
    dy = -c * lever[0] + s * lever[1]
    jacobian = torch.stack((one, zero, dx, zero, one, dy, zero, zero, one)).reshape(3, 3)
    return jacobian @ cov_camera @ jacobian.mT


def _point_noise(seen: Tensor, cell_m: float, sigma_depth_rel: float, sigma_ray_rad: float,
                 match_variance_m2: Tensor | None) -> Tensor:
    """
    Add up the noise of one match in the tile (..., N, 2, 2).

    :param seen: (..., N, 2) ground points turned and scaled into the tile, from the camera.
    """
    isotropic = torch.full_like(seen[..., 0], cell_m ** 2 / 12.0)
    if match_variance_m2 is not None:
        isotropic = isotropic + match_variance_m2.double()
    across = torch.stack((-seen[..., 1], seen[..., 0]), -1)
    eye = torch.eye(2, dtype=seen.dtype, device=seen.device)
    return (isotropic[..., None, None] * eye
            + sigma_depth_rel ** 2 * seen[..., :, None] * seen[..., None, :]
            + sigma_ray_rad ** 2 * across[..., :, None] * across[..., None, :])


def _residual_ratio(residual: Tensor, noise: Tensor, weight: Tensor) -> Tensor:
    """Compare the squared residuals with the modelled noise, (...), within what is believed."""
    count = (weight > 0).sum(-1).double()
    freedom = (1.0 - 2.0 / count.clamp_min(3.0)).clamp_min(0.1)  # 4 parameters, 2 N rows
    observed = (weight * residual.square().sum(-1)).sum(-1) / freedom
    modelled = (weight * (noise[..., 0, 0] + noise[..., 1, 1])).sum(-1)
    ratio = torch.where(modelled > 0, observed / torch.where(modelled > 0, modelled, 1.0), 1.0)
    return ratio.clamp(*_RESIDUAL_RATIO)


def _influence(seen: Tensor, weight: Tensor,
               gain: float | Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """
    Return how (t_x, t_y, theta) move with each match's error.

    :returns: influence (..., N, 3, 2), the lever -mean(seen) (..., 2), valid (...) bool.
    """
    total = weight.sum(-1)
    share = weight / torch.where(total > 0, total, 1.0)[..., None]
    mean = (share[..., None] * seen).sum(-2)
    x, y = (seen - mean[..., None, :]).unbind(-1)
    spread = (share * (x * x + y * y)).sum(-1)
    valid = (total > 0) & (spread > 1e-6)
    w = share / torch.where(valid, spread, 1.0)[..., None]
    turn = torch.stack((-y * w, x * w), -1)  # d theta
    free = torch.as_tensor(gain, dtype=w.dtype, device=w.device)[..., None, None]
    grow = free * torch.stack((x * w, y * w), -1)  # d s / s
    # t = mean(tile) - s R mean(ground): the mean shifts, turns and grows
    mx, my = mean[..., None, 0, None], mean[..., None, 1, None]
    zero = torch.zeros_like(share)
    tx = torch.stack((share, zero), -1) + my * turn - mx * grow
    ty = torch.stack((zero, share), -1) - mx * turn - my * grow
    return torch.stack((tx, ty, turn), -2), -mean, valid


def _occupied(points: Tensor, inlier: Tensor, cell_m: float) -> Tensor:
    """Count the square cells that hold an inlier, without a data-dependent shape."""
    cell = torch.floor(torch.where(inlier[..., None], points, 0.0).double() / cell_m)
    code = torch.where(inlier, cell[..., 0] * 1048576.0 + cell[..., 1], torch.inf)
    code = code.sort(-1).values
    new = torch.cat((torch.ones_like(code[:1], dtype=torch.bool), code[1:] != code[:-1]))
    return (new & torch.isfinite(code)).sum()
