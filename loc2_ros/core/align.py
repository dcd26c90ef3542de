# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
A similarity from matches of which many are wrong: every hypothesis in one batched pass.

Minimal samples are drawn with probability proportional to weight, solved in closed form,
scored by soft inlier count (model.md 7.3); the best is refitted on its inliers.
"""

from __future__ import annotations

from dataclasses import dataclass
import math

from loc2_ros.core.similarity import (fit_from_moments, fit_similarity, race_weights, ScalePrior,
                                      Similarity)
import torch
from torch import Tensor

__all__ = ['Ransac', 'RansacFit', 'ScalePrior', 'Similarity', 'draw_samples', 'fit_from_moments',
           'fit_similarity', 'propose', 'race_weights', 'ransac']


@dataclass(frozen=True)
class Ransac:
    """
    Settings of the robust fit.

    :param hypotheses: minimal samples, all solved at once.
    :param sample: matches per minimal sample, 2 or 3.
    :param threshold_m: distance in the tile below which a match agrees.
    :param score_ratio: hypotheses are ranked at this multiple of the threshold.
    :param scale_range: hypotheses outside are invalid.
    :param refits: least-squares rounds on the inliers of the best hypothesis.
    :param weighted: count and refit matches by weight; False gives each the same say.
    :param theta_range: (low, high) radians of valid rotations; None accepts all.
    :param centre_m: tile position the radius is about.
    :param radius_m: valid distance of the camera from the centre; None accepts all.
    :param fixed_scale: hold the scale, see `fit_similarity`.
    :param scale_prior: pull the scale, see `fit_similarity`.
    """

    hypotheses: int = 512
    sample: int = 2
    threshold_m: float = 2.5
    score_ratio: float = 2.0
    scale_range: tuple[float, float] = (0.75, 1.35)
    refits: int = 4
    weighted: bool = True
    theta_range: tuple[float, float] | None = None
    centre_m: tuple[float, float] = (0.0, 0.0)
    radius_m: float | None = None
    fixed_scale: float | None = None
    scale_prior: ScalePrior | None = None

    def __post_init__(self) -> None:
        if self.sample not in (2, 3) or self.hypotheses < 1 or self.refits < 0:
            raise ValueError('RANSAC draws 2 or 3 matches, at least once, with refits >= 0')
        if self.threshold_m <= 0 or self.score_ratio <= 0:
            raise ValueError(f'RANSAC needs a positive threshold, got {self.threshold_m} m '
                             f'x {self.score_ratio}')


@dataclass(frozen=True)
class RansacFit:
    """
    What survived.

    :param similarity: a single similarity; ``valid`` False when no hypothesis was acceptable.
    :param inlier: (N,) bool, matches of positive weight within the threshold.
    :param soft_inliers: () soft count at the threshold, in units of weight if weighted.
    """

    similarity: Similarity
    inlier: Tensor
    soft_inliers: Tensor


@torch.no_grad()
def ransac(ground: Tensor, tile: Tensor, weight: Tensor, settings: Ransac,
           generator: torch.Generator) -> RansacFit:
    """
    Fit a similarity robustly; equal input and seed give an equal result.

    Not differentiated; for gradients call `fit_similarity` on the inliers it returns.

    :param ground: (N, 2) ground points, metres.
    :param tile: (N, 2) tile points, metres.
    :param weight: (N,) non-negative; a point of weight 0 takes no part.
    :param generator: seeded; may live on another device than the points.
    """
    if len(weight) == 0:  # the batched pass needs something to reduce over
        ground, tile, weight = (x.new_zeros((1, *x.shape[1:])) for x in (ground, tile, weight))
        none = ransac(ground, tile, weight, settings, generator)
        return RansacFit(none.similarity, none.inlier[:0], none.soft_inliers)
    used = weight > 0
    weight = torch.where(used, weight, 0.0)
    ground, tile = (torch.where(used[:, None], x, 0.0) for x in (ground, tile))
    share = weight if settings.weighted else used.to(weight)
    best = propose(ground, tile, weight, settings, generator, keep=1)
    fit = Similarity(best.theta[0], best.scale[0], best.t[0], best.valid[0])
    fit, distance = _refit(fit, ground, tile, weight, share, settings)
    inlier = (distance <= settings.threshold_m) & (weight > 0) & fit.valid
    soft = torch.where(fit.valid, (_soft(distance, settings.threshold_m) * share).sum(), 0.0)
    return RansacFit(fit, inlier, soft)


@torch.no_grad()
def propose(ground: Tensor, tile: Tensor, weight: Tensor, settings: Ransac,
            generator: torch.Generator, keep: int) -> Similarity:
    """
    Solve all minimal samples and return the best ones by soft inlier count, best first.

    Arguments as in `ransac`, finite and at least one match.

    :param keep: how many to return; those that are not acceptable come last, as not valid.
    """
    share = weight if settings.weighted else (weight > 0).to(weight)
    index = draw_samples(weight, settings.hypotheses, settings.sample, generator)
    trial = _checked(_fit(ground[index], tile[index], torch.ones_like(weight[index]), settings),
                     settings)
    score = _soft(_distance(trial, ground, tile), settings.score_ratio * settings.threshold_m)
    best = torch.where(trial.valid, score @ share, -1.0).topk(min(keep, len(index))).indices
    return Similarity(trial.theta[best], trial.scale[best], trial.t[best], trial.valid[best])


def draw_samples(weight: Tensor, hypotheses: int, sample: int,
                 generator: torch.Generator) -> Tensor:
    """
    Draw match indices with probability proportional to weight, without replacement in a row.

    Inverse of the cumulated weights; those already drawn are cut out of the interval, which is
    exact and costs a logarithm per draw instead of the N of an exponential race.

    :param weight: (N,) non-negative.
    :returns: (hypotheses, sample) int64. With fewer positive weights than ``sample`` indices
        repeat, and such samples do not determine a fit.
    """
    edges = torch.cumsum(weight.double(), 0)
    numbers = torch.rand((sample, hypotheses), generator=generator, dtype=torch.float64,
                         device=generator.device).to(weight.device)
    last = torch.argmax(torch.where(weight > 0, torch.arange(len(weight), device=weight.device),
                                    -1))
    drawn: list[Tensor] = []
    for number in numbers:
        gone = list(torch.stack(drawn).sort(0).values) if drawn else []
        left = edges[-1] - sum(weight.double()[i] for i in gone)
        point = number * left
        for i in gone:  # in ascending order: step over what is cut out
            start = edges[i] - weight.double()[i]
            point = torch.where(point >= start, point + weight.double()[i], point)
        drawn.append(torch.minimum(torch.searchsorted(edges, point, right=True), last))
    return torch.stack(drawn, -1)


def _fit(ground: Tensor, tile: Tensor, weight: Tensor, settings: Ransac) -> Similarity:
    return fit_similarity(ground, tile, weight, fixed_scale=settings.fixed_scale,
                          scale_prior=settings.scale_prior)


def _checked(fit: Similarity, settings: Ransac) -> Similarity:
    """Mark similarities outside of the ranges invalid."""
    low, high = settings.scale_range
    valid = fit.valid & (fit.scale >= low) & (fit.scale <= high)
    if settings.theta_range is not None:
        first, final = settings.theta_range
        turn = torch.remainder(fit.theta - (first + final) / 2 + math.pi, 2 * math.pi) - math.pi
        valid = valid & (turn.abs() <= (final - first) / 2)
    if settings.radius_m is not None:
        away = fit.t - torch.tensor(settings.centre_m).to(fit.t)
        valid = valid & (torch.linalg.vector_norm(away, dim=-1) <= settings.radius_m)
    return Similarity(fit.theta, fit.scale, fit.t, valid)


def _distance(fit: Similarity, ground: Tensor, tile: Tensor) -> Tensor:
    """Return the distances (..., N) of N matches under a batch of similarities (...)."""
    p, r = fit.linear()
    one = torch.ones_like(p)
    terms = torch.stack((torch.ones_like(ground[:, 0]), ground[:, 0], ground[:, 1]))  # (3, N)
    dx = torch.stack((fit.t[..., 0], p, -r, -one), -1) @ torch.cat((terms, tile[None, :, 0]))
    dy = torch.stack((fit.t[..., 1], r, p, -one), -1) @ torch.cat((terms, tile[None, :, 1]))
    # In place: half the time of a thousand hypotheses goes into memory
    return dx.square_().add_(dy.square_()).add_(1e-6).sqrt_()


def _soft(distance: Tensor, threshold_m: float) -> Tensor:
    return distance.mul(-5.0 / threshold_m).add_(5.0).sigmoid_()


def _refit(fit: Similarity, ground: Tensor, tile: Tensor, weight: Tensor, share: Tensor,
           settings: Ransac) -> tuple[Similarity, Tensor]:
    """Refit on the inliers while their number grows; return the fit and its distances (N,)."""
    distance = _distance(fit, ground, tile)
    count = torch.full_like(fit.theta, float(settings.sample - 1))
    going = fit.valid
    for _ in range(settings.refits):
        inlier = (distance <= settings.threshold_m) & (weight > 0)
        going = going & (inlier.sum() > count)
        count = inlier.sum().to(count)
        trial = _checked(_fit(ground, tile, share * inlier, settings), settings)
        going = going & trial.valid
        fit = trial.select(going, fit)
        distance = torch.where(going, _distance(trial, ground, tile), distance)
    return fit, distance
