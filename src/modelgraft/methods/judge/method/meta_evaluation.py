"""How well a judge's scores follow people's: by document, by system, and over everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.coefficients import (
    Coefficient,
    encode,
    undefined,
)
from modelgraft.methods.judge.method.rank_correlation import CORRELATIONS, Correlation


@dataclass(frozen=True)
class MetaEvaluation:
    """Correlations of judge and people at three levels, and what could not take part.

    `by_document` is the mean of `documents` [used documents], the correlation across systems inside
    each; its `num_skipped` documents had constant scores or fewer than two systems. `by_system`
    correlates the systems' means. `pooled` forgets both. `num_unread` rows had no score of one
    side and are in none of them.
    """

    by_document: Coefficient
    by_system: Coefficient
    pooled: Coefficient
    documents: Array
    num_unread: int


def meta_evaluate(
    documents: Sequence[object],
    systems: Sequence[object],
    human: ArrayLike,
    judge: ArrayLike,
    *,
    correlation: Correlation = "kendall",
) -> MetaEvaluation:
    """The meta-evaluation of G-Eval (section 4) over rows that name a document and a system.

    `human` and `judge` [rows] are scores, nan where there is none. `bootstrap_mean(documents)` of
    the result gives the mean over documents its interval.
    """
    scores = [np.asarray(one, dtype=np.float64) for one in (human, judge)]
    if not len(documents) == len(systems) == len(scores[0]) == len(scores[1]):
        raise InputError(
            f"{len(documents)} documents, {len(systems)} systems, {len(scores[0])} human and "
            f"{len(scores[1])} judge scores: one of each is needed in a row."
        )
    is_read = ~(np.isnan(scores[0]) | np.isnan(scores[1]))
    human_read, judge_read = (one[is_read] for one in scores)
    document = encode(list(documents))[0][is_read]
    system = encode(list(systems))[0][is_read]

    correlate = CORRELATIONS[correlation]
    order = np.argsort(document, kind="stable")
    ends = np.flatnonzero(np.diff(document[order])) + 1
    rows = np.split(order, ends) if len(order) else []
    found = [correlate(human_read[row], judge_read[row]) for row in rows]
    used = np.array([one.value for one in found if not one.reason])
    num_skipped = len(set(documents)) - len(used)
    if len(used):
        by_document = Coefficient(float(used.mean()), len(used), num_skipped)
    else:
        by_document = undefined("no document has scores that differ", 0, num_skipped)

    named = np.unique(system)
    means = [_means(one, system)[named] for one in (human_read, judge_read)]
    return MetaEvaluation(
        by_document,
        correlate(*means),
        correlate(human_read, judge_read),
        used,
        int((~is_read).sum()),
    )


def _means(scores: Array, groups: Array) -> Array:
    with np.errstate(invalid="ignore"):
        return np.bincount(groups, scores) / np.bincount(groups)


@dataclass(frozen=True)
class Decisiveness:
    """How much further apart a judge puts systems than people do, and whom it favours.

    `slope` is above 1 for a judge that exaggerates the differences; `bias` [systems] is what it
    gives to a system beyond the line through all of them.
    """

    slope: Coefficient
    bias: Array


def decisiveness(gold: ArrayLike, judge: ArrayLike) -> Decisiveness:
    """The line of a judge's win rates [systems] over people's, by least squares.

    After JuStRank (Gera et al. 2024), which fits the curve of a beta distribution instead.
    """
    x, y = (np.asarray(one, dtype=np.float64) for one in (gold, judge))
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"win rates have shapes {x.shape} and {y.shape}: a pair a system.")
    centred = x - x.mean()
    spread = float(centred @ centred)
    if spread == 0:
        slope = undefined("the systems have the same win rate with people", len(x))
        return Decisiveness(slope, np.full(len(x), np.nan))
    slope = float(centred @ y) / spread
    return Decisiveness(Coefficient(slope, len(x)), y - y.mean() - slope * centred)
