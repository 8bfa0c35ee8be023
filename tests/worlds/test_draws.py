"""Uniform numbers by place."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from modelgraft.worlds.draws import between, choose, pick, uniforms


def test_an_item_draws_the_same_in_any_batch_and_order() -> None:
    items = np.array([7, 3, 11])
    together = uniforms("a", 0, items, 5)
    alone = np.concatenate([uniforms("a", 0, [one], 5) for one in items])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("other", [("b", 0), ("a", 1)])
def test_another_name_or_seed_draws_something_else(other: tuple[str, int]) -> None:
    items = np.arange(50)
    assert abs(np.corrcoef(uniforms("a", 0, items, 1).T, uniforms(*other, items, 1).T)[0, 1]) < 0.4


def test_the_numbers_are_uniform_and_independent() -> None:
    drawn = uniforms("a", 0, np.arange(5000), 4)
    assert stats.kstest(drawn.ravel(), "uniform").pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn.T) - np.eye(4)).max() < 0.06
    neighbours = np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]
    assert abs(neighbours) < 0.06


def test_choices_follow_their_shares() -> None:
    numbers = uniforms("a", 0, np.arange(20000), 1)[:, 0]
    found = np.bincount(choose(numbers, [1, 0, 3]), minlength=3) / len(numbers)
    assert np.allclose(found, [0.25, 0, 0.75], atol=0.02)
    assert np.allclose(np.bincount(pick(numbers, 4)) / len(numbers), 0.25, atol=0.02)
    assert between(numbers, -2, 3).min() >= -2 and between(numbers, -2, 3).max() < 3
