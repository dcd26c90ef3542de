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

# Distances that a CPU holds in its cache: twice as fast as all sets at once, which a GPU prefers
_CACHED = 2 ** 20


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
    :param chosen: () int64, the set of matches that the three above are about.
    """

    similarity: Similarity
    inlier: Tensor
    soft_inliers: Tensor
    chosen: Tensor


@torch.no_grad()
def ransac(ground: Tensor, tile: Tensor, weight: Tensor, settings: Ransac,
           generator: torch.Generator) -> RansacFit:
    """
    Fit a similarity robustly; equal input and seed give an equal result.

    Not differentiated; for gradients call `fit_similarity` on the inliers it returns.

    :param ground: (N, 2) ground points, metres; or (S, N, 2), several sets of matches of one
        frame. Each has hypotheses of its own, and the best of all is refitted in its set.
    :param tile: (N, 2) or (S, N, 2) tile points, metres.
    :param weight: (N,) or (S, N) non-negative; a point of weight 0 takes no part.
    :param generator: seeded; may live on another device than the points.
    """
    if weight.shape[-1] == 0:  # the batched pass needs something to reduce over
        ground, tile, weight = (x.new_zeros((1, *x.shape[weight.ndim:]))
                                for x in (ground, tile, weight))
        none = ransac(ground, tile, weight, settings, generator)
        return RansacFit(none.similarity, none.inlier[:0], none.soft_inliers, none.chosen)
    used = weight > 0
    weight = torch.where(used, weight, 0.0)
    ground, tile = (torch.where(used[..., None], x, 0.0) for x in (ground, tile))
    best, chosen = _propose(ground, tile, weight, settings, generator, keep=1)
    fit = Similarity(best.theta[0], best.scale[0], best.t[0], best.valid[0])
    if weight.ndim == 2:
        # Not x[chosen]: indexing by a tensor of no axes reads it on the host
        ground, tile, weight = (x.index_select(0, chosen)[0] for x in (ground, tile, weight))
    share = _share(weight, settings)
    fit, distance = _refit(fit, ground, tile, weight, share, settings)
    inlier = (distance <= settings.threshold_m) & (weight > 0) & fit.valid
    soft = torch.where(fit.valid, (_soft(distance, settings.threshold_m) * share).sum(), 0.0)
    return RansacFit(fit, inlier, soft, chosen[0])


@torch.no_grad()
def propose(ground: Tensor, tile: Tensor, weight: Tensor, settings: Ransac,
            generator: torch.Generator, keep: int) -> Similarity:
    """
    Solve all minimal samples and return the best ones by soft inlier count, best first.

    Arguments as in `ransac`, finite and at least one match.

    :param keep: how many to return; those that are not acceptable come last, as not valid.
    """
    return _propose(ground, tile, weight, settings, generator, keep)[0]


def _propose(ground: Tensor, tile: Tensor, weight: Tensor, settings: Ransac,
             generator: torch.Generator, keep: int) -> tuple[Similarity, Tensor]:
    """Return the best hypotheses of all sets, best first, and the set (keep,) of each."""
    share = _share(weight, settings)
    index = draw_samples(weight, settings.hypotheses, settings.sample, generator)
    a, b = _take(ground, index), _take(tile, index)                  # (..., H, sample, 2)
    trial = _checked(_fit(a, b, torch.ones_like(a[..., 0]), settings), settings)
    score = _scores(trial, ground, tile, share, settings)
    best = torch.where(trial.valid, score, -1.0).flatten()
    best = best.topk(min(keep, len(best))).indices
    theta, scale, valid = (x.flatten()[best] for x in (trial.theta, trial.scale, trial.valid))
    return (Similarity(theta, scale, trial.t.flatten(0, -2)[best], valid),
            best // settings.hypotheses)


def _scores(trial: Similarity, ground: Tensor, tile: Tensor, share: Tensor,
            settings: Ransac) -> Tensor:
    """Return the soft inlier counts (..., H) of hypotheses, each over its own set."""
    width = settings.score_ratio * settings.threshold_m
    if share.ndim == 1:
        return _soft(_distance(trial, ground, tile), width) @ share
    together = max(1, _CACHED // (ground.shape[-2] * trial.theta.shape[-1]))
    if ground.device.type != 'cpu':
        together = len(share)
    parts = zip(*(x.split(together) for x in (trial.theta, trial.scale, trial.t, trial.valid,
                                              ground, tile, share)))
    return torch.cat([(_soft(_distance(Similarity(*fit), a, b), width) @ s[..., None])[..., 0]
                      for *fit, a, b, s in parts])


def _share(weight: Tensor, settings: Ransac) -> Tensor:
    return weight if settings.weighted else (weight > 0).to(weight)


def _take(points: Tensor, index: Tensor) -> Tensor:
    """Return the points (..., H, sample, 2) at an index (..., H, sample) into (..., N, 2)."""
    flat = index.flatten(-2)[..., None].expand(*index.shape[:-2], -1, 2)
    return points.gather(-2, flat).reshape(*index.shape, 2)


def draw_samples(weight: Tensor, hypotheses: int, sample: int,
                 generator: torch.Generator) -> Tensor:
    """
    Draw match indices with probability proportional to weight, without replacement in a row.

    Inverse of the cumulated weights; those already drawn are cut out of the interval, which is
    exact and costs a logarithm per draw instead of the N of an exponential race.

    :param weight: (..., N) non-negative.
    :returns: (..., hypotheses, sample) int64. With fewer positive weights than ``sample``
        indices repeat, and such samples do not determine a fit.
    """
    double = weight.double()
    edges = torch.cumsum(double, -1)
    numbers = torch.rand((sample, *weight.shape[:-1], hypotheses), generator=generator,
                         dtype=torch.float64, device=generator.device).to(weight.device)
    places = torch.arange(weight.shape[-1], device=weight.device)
    last = torch.where(weight > 0, places, -1).argmax(-1, keepdim=True)
    drawn: list[Tensor] = []
    for number in numbers:
        gone = list(torch.stack(drawn).sort(0).values) if drawn else []
        left = edges[..., -1:] - sum(double.gather(-1, i) for i in gone)
        point = number * left
        for i in gone:  # in ascending order: step over what is cut out
            own = double.gather(-1, i)
            point = torch.where(point >= edges.gather(-1, i) - own, point + own, point)
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
    """Return the distances (..., H, N) of matches (..., N, 2) under similarities (..., H)."""
    p, r = fit.linear()
    one = torch.ones_like(p)
    x, y = ground.unbind(-1)
    terms = torch.stack((torch.ones_like(x), x, y), -2)                   # (..., 3, N)
    row, col = tile.unbind(-1)
    dx = torch.stack((fit.t[..., 0], p, -r, -one), -1) @ torch.cat((terms, row[..., None, :]), -2)
    dy = torch.stack((fit.t[..., 1], r, p, -one), -1) @ torch.cat((terms, col[..., None, :]), -2)
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
