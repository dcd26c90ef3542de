# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Calibration: make the claimed covariance agree with the errors on towns nobody trained on.

The logarithm of the error is regressed on what the solver saw, so that a poor frame claims
more; one constant then makes the 95 % ellipses hold the wanted share of the errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
import math
from pathlib import Path

from loc2_ros.core.values import wrap_pi
from loc2_ros.evaluate.metrics import spearman
from loc2_ros.loading import LocalizerSettings, solver_of
from loc2_ros.model.contract import Contract
from loc2_ros.model.quality import describe, FEATURES, Quality
from loc2_ros.model.solve import Solver
from loc2_ros.model.weights import CONFIG, load_model, Model
from loc2_ros.synthetic.dataset import PairsConfig, render_pairs, town_file
from loc2_ros.train.pairs import Pair, TownPairs
from loc2_ros.train.validate import solve_pairs
import numpy as np
from numpy.typing import NDArray
import torch
from torch.utils.data import DataLoader
from tqdm import tqdm

Array = NDArray[np.float64]

FIRST_SEED = 950_000
CHI2_XY, NORMAL_95 = 5.991, 1.960
HELD_SHARE = 0.94           # of what the gate passes; the tails are heavier than Gaussian ones
GROSS_M, GOOD_M = 8.0, 5.0
UNKNOWN_SHARE = 0.01        # of calibration images count as unlike what the model knows
RIDGE = 1e-2


@dataclass(frozen=True)
class Samples:
    """
    Solved calibration pairs.

    :param features: (N, F) as in ``quality.FEATURES``.
    :param offset_m: (N, 2) position error in the tile, ``yaw_rad`` (N,) heading error.
    :param tile_cov: (N, 3, 3) uncalibrated covariance.
    """

    features: Array
    offset_m: Array
    yaw_rad: Array
    tile_cov: Array
    total: Array


def calibrate_model(folder: Path, pairs: Path, towns: int, views: int) -> dict[str, float]:
    """
    Calibrate a model folder in place and return figures on the half that was not fitted.

    :raises ModelError: the model cannot be used.
    """
    model = load_model(str(folder), 'cpu')
    contract = model.contract
    wanted = PairsConfig(FIRST_SEED, towns, views, contract.ground_hw, contract.stride)
    with tqdm(total=towns, unit='town', desc='rendering') as bar:
        render_pairs(wanted, pairs, 2, report=lambda n: bar.update(n - bar.n))
    files = [town_file(pairs, s) for s in range(FIRST_SEED, FIRST_SEED + towns)]
    samples = draw_samples(model, files, towns * views)
    calibrated = fit(contract, samples)
    part = folder / f'{CONFIG}.part'
    part.write_text(calibrated.to_json(), encoding='utf-8')
    part.replace(folder / CONFIG)
    return figures(calibrated, samples)


@torch.inference_mode()
def draw_samples(model: Model, files: list[Path], count: int) -> Samples:
    """Solve calibration pairs as the localizer would."""
    contract, net = model.contract, model.net
    solver: Solver = solver_of(contract, LocalizerSettings())
    data = TownPairs(files, contract, count, seed=2, augment=False)
    batches = tqdm((Pair(*b) for b in DataLoader(data, 1)), total=count, unit='pair',
                   desc='solving')
    rows: list[tuple[list[float], Array, float, Array, float]] = []
    for found in solve_pairs(net, batches, solver):
        pair, lifted, solved = found.pair, found.lifted, found.solved
        if not bool(solved.similarity.valid):
            continue
        cov = Quality.tile_covariance(lifted, solved, contract.cell_m)
        seen = describe(lifted, solved, cov)
        rows.append(([seen[k] for k in FEATURES],
                     (solved.similarity.t - pair.t).double().numpy(),
                     wrap_pi(float(solved.similarity.theta - pair.theta)), cov.numpy(),
                     float(solved.total)))
    columns = [np.array(c) for c in zip(*rows)]
    return Samples(*columns)


def fit(contract: Contract, samples: Samples) -> Contract:
    """Return the contract with calibration and gate fitted on the even samples."""
    half = _part(samples, 0)
    error = np.linalg.norm(half.offset_m, axis=1)
    base_xy = 0.5 * np.log((half.tile_cov[:, 0, 0] + half.tile_cov[:, 1, 1]) / 2)
    base_yaw = 0.5 * np.log(half.tile_cov[:, 2, 2])
    position = _regress(half.features, np.log(np.maximum(error, 0.05)) - base_xy)
    heading = _regress(half.features,
                       np.log(np.maximum(np.abs(half.yaw_rad), 1e-3)) - base_yaw)
    score = _logistic(half.features, error < GOOD_M)
    trial = replace(contract, calibration={
        'position': position, 'heading': heading, 'score': score,
        'floor': [0.25, 0.25, math.radians(0.3)]})
    known = round(float(np.quantile(half.total, UNKNOWN_SHARE)), 3)
    trial = replace(trial, gate={**contract.gate, 'min_match_mass': known,
                                 'min_score': _threshold(trial, half, error)})
    # One constant each, on what the gate lets pass
    passed = _scores(trial, half) >= trial.gate['min_score']
    grown = _claims(trial, half)
    whitened = np.einsum('ni,nij,nj->n', half.offset_m, np.linalg.inv(grown[:, :2, :2]),
                         half.offset_m)
    position['bias'] += 0.5 * math.log(np.quantile(whitened[passed], HELD_SHARE) / CHI2_XY)
    ratio = np.abs(half.yaw_rad) / np.sqrt(grown[:, 2, 2])
    heading['bias'] += math.log(np.quantile(ratio[passed], HELD_SHARE) / NORMAL_95)
    return trial


def figures(contract: Contract, samples: Samples) -> dict[str, float]:
    """Return how the calibration does on the odd samples, after the gate."""
    half = _part(samples, 1)
    passed = ((_scores(contract, half) >= contract.gate.get('min_score', 0.0))
              & (half.total >= contract.gate.get('min_match_mass', 0.0)))
    error = np.linalg.norm(half.offset_m, axis=1)
    grown = _claims(contract, half)
    sigma = np.sqrt((grown[:, 0, 0] + grown[:, 1, 1]) / 2)
    whitened = np.einsum('ni,nij,nj->n', half.offset_m, np.linalg.inv(grown[:, :2, :2]),
                         half.offset_m)
    yaw = np.degrees(np.abs(half.yaw_rad))
    return {'samples': float(len(error)), 'passed_share': float(passed.mean()),
            'position_median_m': float(np.median(error[passed])),
            'position_p95_m': float(np.quantile(error[passed], 0.95)),
            'position_median_all_m': float(np.median(error)),
            'gross_share_all': float(np.mean(error > GROSS_M)),
            'yaw_median_deg': float(np.median(yaw[passed])),
            'ellipse95_coverage': float(np.mean(whitened[passed] <= CHI2_XY)),
            'claimed_sigma_median_m': float(np.median(sigma[passed])),
            'sigma_error_spearman': spearman(sigma[passed], error[passed]) or 0.0,
            'yaw95_coverage': float(np.mean(np.radians(yaw)[passed] <= NORMAL_95 * np.sqrt(
                grown[passed, 2, 2])))}


def _part(samples: Samples, parity: int) -> Samples:
    return Samples(*(getattr(samples, k)[parity::2] for k in Samples.__dataclass_fields__))


def _claims(contract: Contract, samples: Samples) -> Array:
    """Return the calibrated tile covariances (N, 3, 3), floored."""
    stored = contract.calibration
    factor = np.ones((len(samples.features), 3))
    factor[:, :2] = np.exp(_line(stored['position'], samples.features))[:, None]
    factor[:, 2] = np.exp(_line(stored['heading'], samples.features))
    grown = samples.tile_cov * factor[:, :, None] * factor[:, None, :]
    floor = np.square(stored['floor'])
    diagonal = np.einsum('nii->ni', grown)
    return grown + np.einsum('ni,ij->nij', np.maximum(floor - diagonal, 0), np.eye(3))


def _scores(contract: Contract, samples: Samples) -> Array:
    return 1 / (1 + np.exp(-_line(contract.calibration['score'], samples.features)))


def _line(coefficients: dict[str, float], features: Array) -> Array:
    weights = np.array([coefficients[k] for k in FEATURES])
    return np.clip(coefficients['bias'] + features @ weights, -10, 10)


def _named(solution: Array) -> dict[str, float]:
    return {k: round(float(v), 5) for k, v in zip((*FEATURES, 'bias'), solution)}


def _regress(features: Array, target: Array, rounds: int = 20) -> dict[str, float]:
    """Fit a line by iteratively reweighted least squares (least absolute deviations)."""
    design = np.concatenate([features, np.ones((len(features), 1))], 1)
    ridge = RIDGE * len(design) * np.diag([1.0] * features.shape[1] + [0.0])
    weight = np.ones(len(design))
    for _ in range(rounds):
        solution = np.linalg.solve(design.T @ (design * weight[:, None]) + ridge,
                                   design.T @ (weight * target))
        weight = 1 / np.maximum(np.abs(target - design @ solution), 0.1)
    return _named(np.asarray(solution, np.float64))


def _logistic(features: Array, good: NDArray[np.bool_], rounds: int = 30) -> dict[str, float]:
    """Fit log-odds by Newton's method with a ridge."""
    design = np.concatenate([features, np.ones((len(features), 1))], 1)
    ridge = RIDGE * len(design) * np.diag([1.0] * features.shape[1] + [0.0])
    solution = np.zeros(design.shape[1])
    for _ in range(rounds):
        p = 1 / (1 + np.exp(-np.clip(design @ solution, -30, 30)))
        gradient = design.T @ (good - p) - ridge @ solution
        curvature = (design * (p * (1 - p) + 1e-6)[:, None]).T @ design + ridge
        solution = solution + np.linalg.solve(curvature + 1e-9 * np.eye(len(solution)), gradient)
    return _named(solution)


def _threshold(contract: Contract, samples: Samples, error: Array,
               keep: float = 0.95) -> float:
    """Return the score below which frames are refused: the worst twentieth, or hardly any."""
    scores = _scores(contract, samples)
    if np.mean(error > GOOD_M) < 0.005:
        return 0.05
    return round(float(np.quantile(scores, 1 - keep)), 4)
