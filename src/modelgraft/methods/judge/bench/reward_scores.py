"""Scores of RewardBench in both versions as numbers with intervals, in percent.

Intervals resample items within their subsets, since a benchmark's subsets are fixed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import Array, percentile_bounds
from modelgraft.methods.judge.bench.fields import TIE
from modelgraft.methods.judge.bench.published import PERCENT
from modelgraft.methods.judge.bench.reward_sets import CORRECT, TIES
from modelgraft.methods.judge.bench.scores import count, percent
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.method.reward_bench import (
    SECTIONS,
    Rated,
    chosen_of_four,
    rated_of_four,
    reward_bench,
    ties_score,
)

_ROUNDS = 1000
Draw = Callable[[np.random.Generator], float]


# -- version 1 -------------------------------------------------------------------------------------


def reward_bench_numbers(items: Sequence[Item], judgments: Sequence[Judgment]) -> list[Number]:
    """The scores of RewardBench 1: overall, by section, by subset.

    A section without any of its subsets has no score, and without one there is none overall.
    """
    winners = {one.item: one.winner for one in judgments}
    right = [_points(winners.get(item.id), item.label) for item in items]
    subsets = [item.group for item in items]
    found = reward_bench(subsets, right)
    values = {name: _values(name, subsets, right) for name in found.subsets}
    weights = {name: _section_weights(name, subsets) for name in values}
    scores = {"overall": found.overall, **found.sections}
    numbers = []
    for place, (name, score) in enumerate(scores.items()):
        if np.isnan(score):
            continue
        # Scores are linear in the means of subsets: what one of them weighs is its own score.
        own = {subset: weights[subset][place] for subset in values if weights[subset][place]}

        def draw(rng: np.random.Generator, own: Mapping[str, float] = own) -> float:
            return sum(weight * _resampled(values[one], rng) for one, weight in own.items())

        numbers.append(_drawn(name, score, draw, sum(len(values[one]) for one in own)))
    for name, interval in found.subsets.items():
        numbers += percent(name, interval)
    return [*numbers, count("unread pairs", found.num_unread, len(items))]


def _points(winner: str | None, label: str | float | None) -> float | None:
    if winner is None:
        return None
    return 0.5 if winner == TIE else float(winner == label)


def _values(subset: str, subsets: Sequence[str], right: Sequence[float | None]) -> Array:
    own = [one for name, one in zip(subsets, right, strict=True) if name == subset]
    return np.array([0.5 if one is None else one for one in own])


def _section_weights(subset: str, subsets: Sequence[str]) -> list[float]:
    """The scores, overall and by section, of a judge that is right in this subset alone."""
    found = reward_bench(subsets, [float(name == subset) for name in subsets])
    return [found.overall, *(found.sections[name] for name in SECTIONS)]


# -- version 2 -------------------------------------------------------------------------------------


def reward_bench_2_numbers(items: Sequence[Item], judgments: Sequence[Judgment]) -> list[Number]:
    """The scores of RewardBench 2: the mean of its subsets, and each of them.

    Judgments with scores are rated, 1/k for a right answer among k at the top; those with a winner
    alone are choices of four, of which an unread one counts a quarter. An item with a score that is
    missing is left out and counted. Ties needs scores.
    """
    by_id = {one.item: one for one in judgments}
    is_rated = any(one.scores for one in judgments)
    num_unread = 0
    draws: dict[str, tuple[float, Draw, int]] = {}
    for subset in dict.fromkeys(item.group for item in items):
        own = [item for item in items if item.group == subset]
        if subset == TIES:
            rated = _rated(own, by_id)
            num_unread += len(own) - len(rated)
            if found := _ties(rated):
                draws[subset] = found
            continue
        points, missing = (_rating_points if is_rated else _choice_points)(own, by_id)
        num_unread += missing
        if len(points):
            draws[subset] = float(points.mean()), _mean_of(points), len(points)
    numbers = [_drawn(name, *found) for name, found in draws.items()]
    if draws:
        mean = float(np.mean([value for value, _, _ in draws.values()]))
        total = sum(n for _, _, n in draws.values())

        def overall(rng: np.random.Generator) -> float:
            return float(np.mean([draw(rng) for _, draw, _ in draws.values()]))

        numbers.insert(0, _drawn("overall", mean, overall, total))
    return [*numbers, count("unread items", num_unread, len(items))]


def _rating_points(items: Sequence[Item], by_id: Mapping[str, Judgment]) -> tuple[Array, int]:
    table = [_row(item, by_id) for item in items]
    points = np.array(rated_of_four(table, [_place(item) for item in items]))
    return points[~np.isnan(points)], int(np.isnan(points).sum())


def _choice_points(items: Sequence[Item], by_id: Mapping[str, Judgment]) -> tuple[Array, int]:
    choices: list[int | None] = []
    for item in items:
        winner = by_id[item.id].winner if item.id in by_id else None
        names = [one.id for one in item.candidates]
        choices.append(names.index(winner) if winner in names else None)
    points = np.array(chosen_of_four(choices, [_place(item) for item in items]))
    return points, choices.count(None)


def _row(item: Item, by_id: Mapping[str, Judgment]) -> list[float]:
    scores = by_id[item.id].scores if item.id in by_id else {}
    return [scores.get(one.id, np.nan) for one in item.candidates]


def _place(item: Item) -> int:
    return [one.id for one in item.candidates].index(str(item.label))


def _rated(items: Sequence[Item], by_id: Mapping[str, Judgment]) -> dict[tuple[str, str], Rated]:
    """The ratings by form, tied or ref, and number of the question; none where one is missing."""
    found = {}
    for item in items:
        row = _row(item, by_id)
        if not np.isnan(row).any():
            names = [one.id for one in item.candidates]
            is_right = [name in item.meta[CORRECT] for name in names]
            right = tuple(score for score, one in zip(row, is_right, strict=True) if one)
            wrong = tuple(score for score, one in zip(row, is_right, strict=True) if not one)
            _, form, number = item.id.split(":", 2)
            found[form, number] = Rated(right, wrong)
    return found


def _ties(rated: Mapping[tuple[str, str], Rated]) -> tuple[float, Draw, int] | None:
    """The score of Ties and a draw of it over questions that are there in both forms."""
    tied = {number: one for (form, number), one in rated.items() if form == "tied"}
    reference = {number: one for (form, number), one in rated.items() if form == "ref"}
    names = [number for number in tied if number in reference]
    if not names:
        return None

    def draw(rng: np.random.Generator) -> float:
        rows = enumerate(rng.integers(len(names), size=len(names)))
        drawn = {str(place): names[row] for place, row in rows}
        pairs = ({place: form[name] for place, name in drawn.items()} for form in (tied, reference))
        return ties_score(*pairs).score

    return ties_score(tied, reference).score, draw, len(rated)


# -- intervals -------------------------------------------------------------------------------------


def _mean_of(points: Array) -> Draw:
    return lambda rng: _resampled(points, rng)


def _resampled(values: Array, rng: np.random.Generator) -> float:
    return float(values[rng.integers(len(values), size=len(values))].mean())


def _drawn(name: str, value: float, draw: Draw, n: int) -> Number:
    """A share in percent with its bootstrap interval."""
    rng = np.random.default_rng(0)
    draws = np.array([draw(rng) for _ in range(_ROUNDS)])
    if np.ptp(draws) == 0:
        return Number(name, 100 * value, n=n, unit=PERCENT)
    low, high = percentile_bounds(draws, n)
    return Number(name, 100 * value, 100 * float(low), 100 * float(high), n, PERCENT)
