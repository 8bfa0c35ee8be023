"""Correlations of two lists of scores; items with a missing score are left out and counted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import kendalltau, rankdata

from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.coefficients import (
    Coefficient,
    complete_pairs,
    undefined,
)

Correlation = Literal["pearson", "spearman", "kendall"]


def pearson(first: ArrayLike, second: ArrayLike) -> Coefficient:
    """The correlation of the values; undefined when either is constant."""
    return _correlate(first, second, _linear)


def spearman(first: ArrayLike, second: ArrayLike) -> Coefficient:
    """The correlation of the mean ranks; undefined when either is constant."""
    return _correlate(first, second, lambda one, other: _linear(rankdata(one), rankdata(other)))


def kendall(first: ArrayLike, second: ArrayLike) -> Coefficient:
    """tau-b (Kendall 1945) in O(n log n): concordant less discordant pairs over their most.

    Pairs tied in one list lower the most, so lists with ties of their own can still reach 1.
    """
    return _correlate(first, second, lambda one, other: float(kendalltau(one, other).statistic))


CORRELATIONS: dict[Correlation, Callable[[ArrayLike, ArrayLike], Coefficient]] = {
    "pearson": pearson,
    "spearman": spearman,
    "kendall": kendall,
}
"""The correlations by name."""


def _correlate(
    first: ArrayLike, second: ArrayLike, measure: Callable[[Array, Array], float]
) -> Coefficient:
    both, num_skipped = complete_pairs(first, second)
    num = both.shape[1]
    if num < 2:
        return undefined("two items with both scores are needed", num, num_skipped)
    for name, values in zip(("first", "second"), both, strict=True):
        if np.ptp(values) == 0:
            return undefined(f"the {name} scores are constant", num, num_skipped)
    return Coefficient(measure(both[0], both[1]), num, num_skipped)


def _linear(first: Array, second: Array) -> float:
    one, other = first - first.mean(), second - second.mean()
    # Each divided by its own length, so that no square of a small number is lost.
    one, other = one / np.linalg.norm(one), other / np.linalg.norm(other)
    return float(np.clip(one @ other, -1.0, 1.0))
