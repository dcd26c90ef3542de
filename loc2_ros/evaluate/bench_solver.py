# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
How fast RANSAC is when all hypotheses are solved at once, and whether fewer of them do as well.

The same closed-form fit runs one hypothesis at a time as the yardstick, on the same drawn sets.
Quality is measured on towns, with the matches of a model rather than made-up ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
import math
import time
from typing import Any

from loc2_ros.core.align import draw_samples, Ransac, ransac
from loc2_ros.core.pairs import draw_pairs, Pairs
from loc2_ros.core.similarity import fit_similarity, Similarity
from loc2_ros.model.matcher import cell_centres
from loc2_ros.model.solve import PAIR_SEARCH, published_ransac, Solver
import numpy as np
import torch
from torch import Tensor

PUBLISHED_RATIO, DEFAULT_RATIO = 4.0, 20.0      # times faster than one at a time, at least
INLIER_GAP = 2                                  # of 8192
GROSS_M = 10.0
GRID, CELL_M, TOKENS = (41, 41), 2.5065, 26 * 88        # KITTI's, as published
TRUTH = (-1.47, 1.07, (4.2, -8.1))                      # theta, scale, t
FIRST_TOWN, TOWNS = 960_000, 4      # validation has seen towns from 900,000, calibration 950,000


@dataclass(frozen=True)
class SolverBench:
    """
    What was measured, seconds of one frame.

    :param one_by_one_s: the published protocol, from the drawn sets on, one hypothesis at a time.
    :param published_s: the same at once, ``default_s`` with the default's sets and hypotheses.
    :param published_draw_s: drawing the published sets, ``default_draw_s`` the default's.
    :param inlier_gap: difference of the inliers that both ways find, of 8192.
    """

    one_by_one_s: float
    published_s: float
    default_s: float
    published_draw_s: float
    default_draw_s: float
    inlier_gap: int

    @property
    def published_ratio(self) -> float:
        """Return how many times faster the published protocol is at once."""
        return self.one_by_one_s / self.published_s

    @property
    def default_ratio(self) -> float:
        """Return how many times faster the default is than the published, one by one."""
        return self.one_by_one_s / self.default_s

    @property
    def passed(self) -> bool:
        """Return whether both are as fast as they must be, and find the same."""
        return (self.published_ratio >= PUBLISHED_RATIO and self.default_ratio >= DEFAULT_RATIO
                and self.inlier_gap <= INLIER_GAP)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain numbers."""
        return {**asdict(self), 'published_ratio': self.published_ratio,
                'default_ratio': self.default_ratio, 'passed': self.passed}


def bench_solver(repeats: int = 5, device: torch.device = torch.device('cpu'),
                 protocol: Solver | None = None) -> SolverBench:
    """
    Time RANSAC on matches of the published size, half of them wrong; on a CPU on one core.

    :param protocol: what is run one by one; None for the published one.
    """
    threads = torch.get_num_threads()
    # Threads that wait for each other on a busy machine would be all that is measured
    torch.set_num_threads(1)
    try:
        return _bench(repeats, device, protocol or published_ransac())
    finally:
        torch.set_num_threads(threads)


def _bench(repeats: int, device: torch.device, slow: Solver) -> SolverBench:
    P, lifted = scene(device)
    fast = Solver(PAIR_SEARCH, kind='ransac')
    draws = {}
    times = {}
    for name, solver in (('published', slow), ('default', fast)):
        draws[name] = [_timed(lambda: _draw(P, solver), device) for _ in range(repeats)]
        points = _points(draws[name][0][1], lifted)
        times[name] = [_timed(lambda: ransac(*points, solver.ransac, _generator(device)), device)
                       for _ in range(repeats)]
    points = _points(draws['published'][0][1], lifted)
    one_by_one = [_timed(lambda: ransac_one_by_one(*points, slow.ransac, _generator(device)),
                         device) for _ in range(min(repeats, 2))]
    found, expected = times['published'][0][1], one_by_one[0][1]
    return SolverBench(
        _best(one_by_one), _best(times['published']), _best(times['default']),
        _best(draws['published']), _best(draws['default']),
        abs(int(found.inlier.sum()) - int(expected)))


def scene(device: torch.device, wrong: float = 0.5, seed: int = 0,
          tokens: int = TOKENS) -> tuple[Tensor, Tensor]:
    """Return soft matches (1681, tokens) around true places and wrong ones, and ground points."""
    g = torch.Generator().manual_seed(seed)
    lifted = torch.rand((tokens, 2), generator=g) * torch.tensor([-35.0, 30.0]) \
        + torch.tensor([-4.0, -15.0])
    theta, scale, t = TRUTH
    c, s = scale * math.cos(theta), scale * math.sin(theta)
    place = lifted @ torch.tensor([[c, s], [-s, c]]) + torch.tensor(t)
    bad = torch.rand(tokens, generator=g) < wrong
    place = torch.where(bad[:, None], 90 * torch.rand((tokens, 2), generator=g) - 45, place)
    away = torch.cdist(cell_centres(GRID, CELL_M), place).square()
    P = 0.5 * torch.softmax(-away / (2 * 1.5 ** 2), 0)
    return (P + 1e-6 * torch.rand(P.shape, generator=g)).to(device), lifted.to(device)


@torch.no_grad()
def ransac_one_by_one(ground: Tensor, tile: Tensor, weight: Tensor, settings: Ransac,
                      generator: torch.Generator) -> int:
    """
    Do what `ransac` does in a loop over hypotheses, as one would write it first.

    Arguments as there, for sets (S, N, 2).

    :returns: the inliers after the last refit.
    """
    samples = draw_samples(weight, settings.hypotheses, settings.sample, generator)
    width = settings.score_ratio * settings.threshold_m
    best, fit, chosen = -1.0, None, 0
    for k in range(len(ground)):
        for index in samples[k]:
            trial = _fit(ground[k][index], tile[k][index])
            distance = _distance(trial, ground[k], tile[k])
            score = float(torch.sigmoid(5 / width * (width - distance)).sum())
            if bool(trial.valid) and score > best:
                best, fit, chosen = score, trial, k
    if fit is None:
        return 0
    count = settings.sample - 1
    for _ in range(settings.refits):
        inlier = _distance(fit, ground[chosen], tile[chosen]) <= settings.threshold_m
        if int(inlier.sum()) <= count:
            break
        count = int(inlier.sum())
        fit = _fit(ground[chosen][inlier], tile[chosen][inlier])
    return int((_distance(fit, ground[chosen], tile[chosen]) <= settings.threshold_m).sum())


@dataclass(frozen=True)
class Quality:
    """Errors of a solver on frames: median, and share of those over `GROSS_M`."""

    median_m: float
    gross_share: float

    @staticmethod
    def of(errors_m: Sequence[float]) -> Quality:
        """Summarise position errors; inf counts as one where there was no pose."""
        errors = np.asarray(errors_m)
        return Quality(float(np.median(errors)), float(np.mean(errors > GROSS_M)))


def compare_on_town(pairs: int, folder: Any, report: Callable[[int], None] = lambda n: None
                    ) -> dict[str, Quality]:
    """
    Compare the published search with the default on views of towns, matched by ``mini``.

    :param folder: where towns are rendered.
    :returns: what each makes of the same matches, at any scale and heading.
    """
    from loc2_ros.data.pair import load_batches
    from loc2_ros.model.weights import load_model
    from loc2_ros.synthetic.dataset import PairsConfig, render_pairs, town_file
    from loc2_ros.train.pairs import TownPairs
    from loc2_ros.train.validate import pose_errors

    model = load_model('mini', 'cpu')
    towns = range(FIRST_TOWN, FIRST_TOWN + TOWNS)
    contract = model.contract
    render_pairs(PairsConfig(towns[0], TOWNS, -(-pairs // TOWNS), contract.ground_hw,
                             contract.stride), folder, 2)
    data: Any = TownPairs([town_file(folder, s) for s in towns], contract, pairs, 3,
                          augment=False)
    solvers = {'published': published_ransac(),
               'default': Solver(PAIR_SEARCH, kind='ransac')}
    found = {}
    for n, (name, solver) in enumerate(solvers.items()):
        errors = pose_errors(model.net, load_batches(data, 8), solver)
        found[name] = Quality.of(errors['position_m'].tolist())
        report(n + 1)
    return found


def _draw(P: Tensor, solver: Solver) -> Pairs:
    return draw_pairs(P, solver.matches, _generator(P.device), solver.sets, solver.pool)


def _points(pairs: Pairs, lifted: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    cells = cell_centres(GRID, CELL_M, lifted.device)
    return lifted[pairs.token], cells[pairs.cell], pairs.weight


def _fit(ground: Tensor, tile: Tensor) -> Similarity:
    return fit_similarity(ground, tile, torch.ones_like(ground[:, 0]))


def _distance(fit: Similarity, ground: Tensor, tile: Tensor) -> Tensor:
    return ((fit.apply(ground) - tile).square().sum(-1) + 1e-6).sqrt()


def _generator(device: torch.device) -> torch.Generator:
    return torch.Generator(device).manual_seed(0)


def _timed(action: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return CPU seconds, which other work on the machine does not change; of a GPU, wall."""
    clock = time.process_time if device.type == 'cpu' else time.perf_counter
    if device.type != 'cpu':
        torch.cuda.synchronize(device)
    start = clock()
    result = action()
    if device.type != 'cpu':
        torch.cuda.synchronize(device)
    return clock() - start, result


def _best(runs: Sequence[tuple[float, Any]]) -> float:
    return min(seconds for seconds, _ in runs)


def smaller(solver: Solver, sets: int, matches: int, hypotheses: int) -> Solver:
    """Return a protocol of less work, for tests."""
    return replace(solver, sets=sets, matches=matches,
                   ransac=replace(solver.ransac, hypotheses=hypotheses))
