"""Scores of benchmarks of win rates and ratings, as numbers with intervals.

AlpacaEval and Arena-Hard, and how far scores follow people's (SummEval as G-Eval uses it, the sets
of Prometheus).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import Array, bootstrap_mean
from modelgraft.methods.judge.bench.fields import GIVEN
from modelgraft.methods.judge.bench.published import PERCENT
from modelgraft.methods.judge.bench.scores import count, percent
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.method.coefficients import Coefficient, bootstrap, encode
from modelgraft.methods.judge.method.comparison import (
    discrete_win_rate,
    raw_win_rate,
    read_preferences,
)
from modelgraft.methods.judge.method.meta_evaluation import meta_evaluate
from modelgraft.methods.judge.method.pairwise import GRADES
from modelgraft.methods.judge.method.rank_correlation import CORRELATIONS, Correlation
from modelgraft.methods.judge.method.significance import clustered_mean

_ROUNDS = 1000

# -- win rates -------------------------------------------------------------------------------------


def win_rate_numbers(preferences: Sequence[float | None]) -> list[Number]:
    """AlpacaEval's win rates of a model, from recorded preferences; None is one that failed."""
    y = read_preferences([np.nan if one is None else one for one in preferences])
    known = y[np.isfinite(y)]
    failed = count("failed annotations", len(y) - len(known), len(y))
    if not len(known):
        return [failed]
    numbers = []
    for name, rate, values in (
        ("win rate", raw_win_rate(y), known),
        ("discrete win rate", discrete_win_rate(y), (np.sign(known - 0.5) + 1) / 2),
    ):
        _, *ends, n = bootstrap_mean(values)
        low, high = (None if one is None else 100 * one for one in ends)
        numbers.append(Number(name, rate, low, high, n, PERCENT))
    return [*numbers, failed]


def arena_hard_numbers(items: Sequence[Item]) -> list[Number]:
    """Each model's win rate against the baseline by the grades of both games, ties half a win.

    A grade of much better counts three times. A battle with a game that could not be read is left
    out whole, since one game alone would favour a slot. Battles on one question are one unit.
    """
    battles: dict[str, list[tuple[float, str]]] = defaultdict(list)
    num_unread = 0
    for item in items:
        grades = item.meta[GIVEN]
        if None in grades:
            num_unread += 1
            continue
        (as_a, often), (as_b, often_b) = GRADES[grades[1]], GRADES[grades[0]]
        model = item.candidates[1].id
        battles[model] += [(as_a, item.id)] * often + [(1 - as_b, item.id)] * often_b
    numbers = []
    for model, won in battles.items():
        found = clustered_mean([value for value, _ in won], [name for _, name in won])
        num = len({name for _, name in won})
        numbers += percent(f"{model}: win rate", found._replace(n=num))
    return [*numbers, count("battles with an unread game", num_unread, len(items))]


# -- scores beside people's ------------------------------------------------------------------------


def meta_evaluation_numbers(
    items: Sequence[Item], scores: Mapping[str, float | None], *, systems: str = ""
) -> list[Number]:
    """Correlations of a judge's scores by item id with people's, the labels.

    With `systems`, the name in meta of who wrote a text, they are taken across systems inside each
    group and then averaged, as G-Eval does, between the systems' means, and over everything, and
    groups are what intervals resample. Else they are over all items alone, which are resampled.
    """
    human = np.array([np.nan if item.label is None else float(item.label) for item in items])
    given = (scores.get(item.id) for item in items)
    judge = np.array([np.nan if one is None else one for one in given], dtype=np.float64)
    numbers: list[Number] = []
    if systems:
        written = [item.meta[systems] for item in items]
        table = _Table([item.group for item in items], written, human, judge)
        for name in CORRELATIONS:
            numbers += table.numbers(name)
    else:
        for name, correlate in CORRELATIONS.items():
            numbers += _estimated(f"{name}, pooled", correlate, human, judge)
    return [*numbers, count("unread scores", int(np.isnan(judge).sum()), len(items))]


class _Table:
    """Scores [rows] of people and of a judge, with the document and the system of each."""

    def __init__(
        self, documents: Sequence[str], systems: Sequence[str], human: Array, judge: Array
    ) -> None:
        self.documents, self.systems = documents, systems
        self.human, self.judge = human, judge
        places, names = encode(documents)
        self.units = [np.flatnonzero(places == unit) for unit in range(len(names))]
        self.system, self.names = encode(systems)

    def numbers(self, name: Correlation) -> list[Number]:
        """One correlation at its three levels."""
        found = meta_evaluate(
            self.documents, self.systems, self.human, self.judge, correlation=name
        )
        mean = found.by_document
        numbers = []
        if not mean.reason:
            numbers.append(Number(f"{name} by document", *bootstrap_mean(found.documents)))
        numbers.append(count(f"{name}: documents skipped", mean.num_skipped, len(self.units)))
        correlate = CORRELATIONS[name]
        units = np.arange(len(self.units))
        for level, select in (("by system", self._means), ("over all", self._rows)):
            measure = partial(_correlated, correlate, select)
            numbers += _estimated(f"{name} {level}", measure, units)
        return numbers

    def _rows(self, drawn: Array) -> tuple[Array, Array]:
        """The scores in these documents."""
        rows = np.concatenate([self.units[int(unit)] for unit in drawn])
        return self.human[rows], self.judge[rows]

    def _means(self, drawn: Array) -> tuple[Array, Array]:
        """The systems' mean scores [systems] in these documents, where both sides have one."""
        rows = np.concatenate([self.units[int(unit)] for unit in drawn])
        rows = rows[np.isfinite(self.human[rows]) & np.isfinite(self.judge[rows])]
        system, num = self.system[rows], len(self.names)
        with np.errstate(invalid="ignore"):
            human, judge = (
                np.bincount(system, one[rows], num) / np.bincount(system, minlength=num)
                for one in (self.human, self.judge)
            )
        return human, judge


def _correlated(
    correlate: Callable[..., Coefficient],
    select: Callable[[Array], tuple[Array, Array]],
    drawn: Array,
) -> Coefficient:
    return correlate(*select(drawn))


def _estimated(
    name: str, measure: Callable[..., Coefficient], *columns: NDArray[Any]
) -> list[Number]:
    """A coefficient with its bootstrap interval; none where it is undefined."""
    found = bootstrap(measure, *columns, rounds=_ROUNDS)
    if found.reason:
        return []
    return [Number(name, found.value, found.low, found.high, found.n)]
