# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Scores, dual softmax and the matches read from them."""

from __future__ import annotations

from loc2_ros.model.matcher import (dual_softmax, guided_matches, log_normalizers, token_matches,
                                    token_matches_from_scores)
import pytest
import torch

GRID, CELL_M = (6, 8), 2.0


def _bump(row: float, col: float, tokens: int = 3) -> torch.Tensor:
    """Return P (1, 48, tokens) with bilinear mass around one place for every token."""
    P = torch.zeros(6, 8)
    r, c = int(row), int(col)
    for dr in (0, 1):
        for dc in (0, 1):
            P[r + dr, c + dc] = abs(1 - dr - (row - r)) * abs(1 - dc - (col - c))
    return P.reshape(1, 48, 1).repeat(1, 1, tokens)


def test_a_match_is_read_finer_than_a_cell() -> None:
    found = token_matches(_bump(2.3, 4.6), GRID, CELL_M)
    expected = torch.tensor([(2.3 - 2.5) * CELL_M, (4.6 - 3.5) * CELL_M])
    torch.testing.assert_close(found.tile_m[0], expected.expand(3, 2))
    torch.testing.assert_close(found.weight, torch.ones(1, 3))


def test_a_guided_match_prefers_the_expected_place_to_a_higher_peak() -> None:
    P = 0.2 * _bump(1.0, 1.0, 1) + 0.8 * _bump(4.0, 6.0, 1)
    expected = torch.tensor([[[(1.0 - 2.5) * CELL_M + 0.3, (1.0 - 3.5) * CELL_M - 0.4]]])
    found = guided_matches(P, GRID, CELL_M, expected)
    torch.testing.assert_close(found.tile_m[0, 0], torch.tensor([-3.0, -5.0]))
    assert float(found.weight) == pytest.approx(0.2)


def test_a_match_expected_outside_of_the_tile_has_no_weight() -> None:
    found = guided_matches(_bump(1.0, 1.0, 1), GRID, CELL_M, torch.tensor([[[-9.0, 0.0]]]))
    assert float(found.weight) == 0.0


def test_matches_from_scores_equal_matches_from_probabilities() -> None:
    S = 3 * torch.randn((2, 48, 5), generator=torch.Generator().manual_seed(1))
    dustbin = torch.tensor(1.0)
    over_cells, over_tokens = log_normalizers(S, dustbin)
    a = token_matches(dual_softmax(S, dustbin), GRID, CELL_M)
    b = token_matches_from_scores(S, over_cells, over_tokens, GRID, CELL_M)
    torch.testing.assert_close(a.tile_m, b.tile_m)
    torch.testing.assert_close(a.weight, b.weight)


def test_masked_tokens_get_exactly_nothing_even_when_all_are_masked() -> None:
    S = torch.randn((1, 48, 5), generator=torch.Generator().manual_seed(2))
    P = dual_softmax(S, torch.tensor(1.0), torch.zeros((1, 5), dtype=torch.bool))
    assert torch.equal(P, torch.zeros_like(P))
