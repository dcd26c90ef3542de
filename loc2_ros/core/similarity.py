# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
The pose behind a set of matches: weighted 2-D similarity, closed form.

``X = s R(theta) Y + t`` takes ground points Y (x backward, y right) onto tile points X (x down
the rows, y along the columns); t is the camera's position in the tile. Everything is batched,
differentiable and free of host synchronisation, so training and the node share it; `align`
makes it robust.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Similarity:
    """
    A batch of similarities, one per leading index; a shape of () is a single one.

    :param theta: (...) rotation from ground to tile, radians.
    :param scale: (...) metres in the tile per metre of lifted depth.
    :param t: (..., 2) camera position in the tile, metres.
    :param valid: (...) bool; where False the other fields hold the identity.
    """

    theta: Tensor
    scale: Tensor
    t: Tensor
    valid: Tensor

    def linear(self) -> tuple[Tensor, Tensor]:
        """Return p and r, each (...), of ``s R = [[p, -r], [r, p]]``."""
        return self.scale * torch.cos(self.theta), self.scale * torch.sin(self.theta)

    def apply(self, ground: Tensor) -> Tensor:
        """Take ground points (..., N, 2) to tile points (..., N, 2)."""
        p, r = (x[..., None] for x in self.linear())
        x, y = ground[..., 0], ground[..., 1]
        return torch.stack((p * x - r * y, r * x + p * y), -1) + self.t[..., None, :]

    def select(self, condition: Tensor, other: Similarity) -> Similarity:
        """Return this where the condition (...) holds, the other elsewhere."""
        return Similarity(torch.where(condition, self.theta, other.theta),
                          torch.where(condition, self.scale, other.scale),
                          torch.where(condition[..., None], self.t, other.t),
                          torch.where(condition, self.valid, other.valid))


@dataclass(frozen=True)
class ScalePrior:
    """
    What is known of the depth scale beforehand, for the MAP estimate of model.md section 6.

    :param scale: expected scale, for instance a slow filter's.
    :param sigma: its standard deviation.
    :param sigma_match_m: noise of one match of weight 1.
    """

    scale: float = 1.0
    sigma: float = 0.05
    sigma_match_m: float = 1.5

    @property
    def strength_m2(self) -> float:
        """Return lambda, the spread D at which data and prior count the same."""
        return (self.sigma_match_m / self.sigma) ** 2


def fit_similarity(ground: Tensor, tile: Tensor, weight: Tensor, *,
                   fixed_scale: float | None = None,
                   scale_prior: ScalePrior | None = None) -> Similarity:
    """
    Fit the weighted 2-D similarity that takes ground points onto tile points.

    :param ground: (..., N, 2) ground plane, x backward, y right.
    :param tile: (..., N, 2) tile plane, x down the rows, y along the columns.
    :param weight: (..., N) non-negative. A point of weight 0 may hold anything, NaN as well.
    :param fixed_scale: hold the scale here; rotation and position follow.
    :param scale_prior: pull the scale towards this; weights then count effective points.
    :returns: the fit; ``valid`` is False when fewer than two distinct points carry weight.

    Closed form in the plane; Umeyama, PAMI 1991, equations 40-42. Gradients are finite for
    invalid items too.
    """
    used = weight > 0
    weight = torch.where(used, weight, 0.0)
    a, b = (torch.where(used[..., None], x, 0.0) for x in (ground, tile))
    total = weight.sum(-1)
    w = (weight / torch.where(total > 0, total, 1.0)[..., None])[..., None]  # sums to 1
    a_mean, b_mean = (w * a).sum(-2), (w * b).sum(-2)
    a, b = a - a_mean[..., None, :], b - b_mean[..., None, :]
    cosine = (w * a * b).sum((-2, -1))
    sine = (w[..., 0] * (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0])).sum(-1)
    spread = (w * a * a).sum((-2, -1))
    return _solve(total, a_mean, b_mean, cosine, sine, spread, fixed_scale, scale_prior)


def scale_gain(ground: Tensor, weight: Tensor, scale_prior: ScalePrior | None) -> Tensor:
    """
    Return how far the matches set the scale of a fit, (...): 1 alone, 0 against a firm prior.

    D / (D + lambda) of model.md section 6, with D the weighted spread of the ground points.
    """
    if scale_prior is None:
        return torch.ones_like(weight.sum(-1))
    weight = weight[..., None]
    a = torch.where(weight > 0, ground, 0.0)
    mean = (weight * a).sum(-2) / weight.sum(-2).clamp_min(1e-12)
    spread = (weight * (a - mean[..., None, :]).square()).sum((-2, -1))
    return spread / (spread + scale_prior.strength_m2)


def fit_from_moments(ground: Tensor, tile: Tensor, weight: Tensor, *,
                     fixed_scale: float | None = None,
                     scale_prior: ScalePrior | None = None) -> Similarity:
    """
    Fit over all pairs of a dense match matrix without listing them (model.md 7.2).

    :param ground: (..., G, 2), finite; tokens that cannot be lifted have zero columns.
    :param tile: (..., A, 2).
    :param weight: (..., A, G), non-negative, for instance from `race_weights`.
    """
    rows, columns = weight.sum(-1), weight.sum(-2)
    total = rows.sum(-1)
    safe = torch.where(total > 0, total, 1.0)
    a_mean = (columns[..., None] * ground).sum(-2) / safe[..., None]
    b_mean = (rows[..., None] * tile).sum(-2) / safe[..., None]
    # Centred first: the moments are then small differences of small numbers
    a, b = ground - a_mean[..., None, :], tile - b_mean[..., None, :]
    cross = a.mT @ (weight.mT @ b) / safe[..., None, None]  # (..., 2, 2)
    spread = (columns[..., None] * a * a).sum((-2, -1)) / safe
    return _solve(total, a_mean, b_mean, cross[..., 0, 0] + cross[..., 1, 1],
                  cross[..., 0, 1] - cross[..., 1, 0], spread, fixed_scale, scale_prior)


def race_weights(probability: Tensor, draws: int = 1024, rounds: int = 8) -> Tensor:
    """
    Weigh pairs by what sampling without replacement would give them on average.

    ``v = P (1 - exp(-L P))`` with L such that the inclusion probabilities sum to ``draws``;
    Newton from below, monotone (model.md 7.2). Plain P is half a metre off in comparison.

    :param probability: (..., A, G) match probabilities.
    :returns: the weights; P itself where fewer than ``draws`` entries are positive.
    """
    flat = probability.detach().flatten(-2).double()
    rate = draws / flat.sum(-1, keepdim=True).clamp_min(1e-300)
    for _ in range(rounds):
        missed = torch.exp(-rate * flat)
        gap = draws - (1.0 - missed).sum(-1, keepdim=True)
        rate = rate + gap / (flat * missed).sum(-1, keepdim=True).clamp_min(1e-300)
    enough = (flat > 0).sum(-1, keepdim=True) > draws
    included = torch.where(enough, -torch.expm1(-rate * flat), 1.0)
    return probability * included.to(probability).reshape(probability.shape)


def _solve(total: Tensor, a_mean: Tensor, b_mean: Tensor, cosine: Tensor, sine: Tensor,
           spread: Tensor, fixed_scale: float | None,
           scale_prior: ScalePrior | None) -> Similarity:
    """Turn normalised, centred moments into a similarity; every argument is (...[, 2])."""
    if fixed_scale is not None and scale_prior is not None:
        raise ValueError('give a fixed scale or a scale prior, not both')
    squared = cosine * cosine + sine * sine
    valid = ((total > 0) & (spread > 1e-6) & (squared > (1e-9 * spread) ** 2)
             & torch.isfinite(squared) & torch.isfinite(spread)
             & torch.isfinite(b_mean).all(-1) & torch.isfinite(a_mean).all(-1))
    # Invalid items are replaced before roots and divisions, or their gradients would be NaN
    cosine, sine = torch.where(valid, cosine, 1.0), torch.where(valid, sine, 0.0)
    length = torch.where(valid, squared, 1.0).sqrt()
    spread = torch.where(valid, spread, 1.0)
    if fixed_scale is not None:
        scale = torch.where(valid, torch.full_like(length, fixed_scale), 1.0)
    elif scale_prior is not None:
        pull = scale_prior.strength_m2 / torch.where(valid, total, 1.0)
        scale = torch.where(valid, (length + pull * scale_prior.scale) / (spread + pull), 1.0)
    else:
        scale = length / spread
    p, r = scale * cosine / length, scale * sine / length
    x, y = a_mean[..., 0], a_mean[..., 1]
    t = b_mean - torch.stack((p * x - r * y, r * x + p * y), -1)
    return Similarity(torch.atan2(sine, cosine), scale,
                      torch.where(valid[..., None], t, 0.0), valid)
