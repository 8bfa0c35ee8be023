"""E5: rankings from a part of all comparisons."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import kendalltau

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.evaluation.intervals import Interval, bootstrap_mean
from modelgraft.evaluation.report import Axis, Plot, Series
from modelgraft.evaluation.reproduction import DOES_NOT_HOLD, HOLDS, Experiment, Findings
from modelgraft.methods.judge.method.sorting import (
    Pair,
    Ranker,
    all_pairs,
    answered,
    merge_sort,
    merge_sort_beam,
)
from modelgraft.methods.judge.method.tournaments import active, ranked, rate, swiss
from modelgraft.methods.judge.method.windows import sliding_windows

ALL, RATED = "all pairs", "all pairs, rated"
SIZES = (8, 16, 32, 64)
ACCURACIES = (0.75, 0.9, 1.0)
# Thresholds of the verdict, at the largest size: share of tau and of comparisons.
OF_TAU, OF_CALLS = 0.95, 0.30
_JUDGED = ("swiss", "active")


class NoisyJudge:
    """Is right about a pair with a fixed chance, and says the same of it each time it is asked.

    It is surer where it is right: the distance of what it says to 1/2 has the density 8 x there and
    8 (1/2 - x) where it is wrong.
    """

    def __init__(self, n: int, accuracy: float, seed: int) -> None:
        rng = np.random.default_rng(rng_seed("judge", "E5", n, f"{accuracy:g}", seed))
        self.truth = rng.permutation(n).tolist()
        self.place = {item: place for place, item in enumerate(self.truth)}
        self.is_right = rng.random((n, n)) < accuracy
        drawn = rng.random((n, n))
        self.sure = np.where(self.is_right, np.sqrt(drawn), 1 - np.sqrt(1 - drawn)) / 2
        self.num = 0

    def compare(self, pairs: Sequence[Pair]) -> list[float]:
        """The probability that the first of each pair is better."""
        self.num += len(pairs)
        found = []
        for i, j in pairs:
            is_better = self.place[i] < self.place[j]
            pair = min(i, j), max(i, j)
            says = is_better if self.is_right[pair] else not is_better
            found.append(0.5 + (self.sure[pair] if says else -self.sure[pair]))
        return found

    def order(self, groups: Sequence[Sequence[int]]) -> list[list[int]]:
        """The ranking of each group by all its pairs: what a list-wise judge would say."""
        ranked = []
        for group in groups:
            points = {
                i: sum(self.compare([(i, j)])[0] > 0.5 for j in group if j != i) for i in group
            }
            self.num -= len(group) * (len(group) - 1)
            ranked.append(sorted(group, key=lambda item, points=points: -points[item]))
        self.num += len(groups)
        return ranked

    def tau(self, ranking: Sequence[int]) -> float:
        """Kendall's tau of a ranking with the true order."""
        return float(kendalltau([self.place[item] for item in ranking], range(len(ranking)))[0])


def all_pairs_rated(n: int) -> Ranker:
    """Bradley-Terry strengths from the probabilities of all pairs: nothing left to ask."""
    pairs = list(combinations(range(n), 2))
    wins = np.zeros((n, n))
    for (i, j), p in zip(pairs, (yield pairs), strict=True):
        wins[i, j], wins[j, i] = p, 1 - p
    return ranked(rate(wins))


# What ranks n items; windows are counted in list-wise calls.
RANKERS: dict[str, Callable[[int], Any]] = {
    ALL: all_pairs,
    RATED: all_pairs_rated,
    "merge sort": merge_sort,
    "merge sort, beams": lambda n: merge_sort_beam(n, beams=16, gap=0.3),
    "swiss": lambda n: swiss(n, rounds=max(2, round(0.28 * (n - 1)))),
    "active": lambda n: active(n, max(n, int(OF_CALLS * n * (n - 1) / 2))),
}
WINDOWS = "windows of 20"


def measured(name: str, n: int, accuracy: float, seeds: Sequence[int]) -> tuple[list[float], float]:
    """Tau by seed, and the mean number of questions."""
    taus, calls = [], []
    for seed in seeds:
        judge = NoisyJudge(n, accuracy, seed)
        if name == WINDOWS:
            ranking = answered(sliding_windows(n), judge.order)
        else:
            ranking = answered(RANKERS[name](n), judge.compare)
        taus.append(judge.tau(ranking))
        calls.append(judge.num)
    return taus, float(np.mean(calls))


def _run(run: Run, quick: bool) -> Findings:
    seeds = range(run.seed, run.seed + (3 if quick else 40))
    sizes = SIZES[:2] if quick else SIZES
    taus: dict[tuple[str, int, float], list[float]] = {}
    calls: dict[tuple[str, int, float], float] = {}
    for n in sizes:
        for accuracy in ACCURACIES:
            for name in (*RANKERS, WINDOWS):
                run.check()
                taus[name, n, accuracy], calls[name, n, accuracy] = measured(
                    name, n, accuracy, seeds
                )
    largest = sizes[-1]
    numbers = []
    for accuracy in ACCURACIES:
        for name in (*RANKERS, WINDOWS):
            numbers += _numbers(name, largest, accuracy, taus, calls)
    _draw(run, largest, taus, calls)
    is_exact = all(
        np.allclose(taus[name, n, 1.0], 1.0) for n in sizes for name in (ALL, "merge sort")
    )
    is_near = all(
        np.mean(taus[name, largest, accuracy])
        >= OF_TAU * max(np.mean(taus[every, largest, accuracy]) for every in (ALL, RATED))
        and calls[name, largest, accuracy] <= OF_CALLS * calls[ALL, largest, accuracy] + 1
        for name in _JUDGED
        for accuracy in ACCURACIES
    )
    return Findings(
        tuple(numbers),
        HOLDS if is_exact and is_near else DOES_NOT_HOLD,
        seeds=tuple(seeds),
        subject={"model": "simulated", "dtype": "none", "device": "cpu"},
    )


def _numbers(
    name: str, n: int, accuracy: float, taus: dict[Any, list[float]], calls: dict[Any, float]
) -> list[Number]:
    found: Interval = bootstrap_mean(taus[name, n, accuracy])
    every = max(float(np.mean(taus[one, n, accuracy])) for one in (ALL, RATED))
    label = f"{name}, {n} items, judge right in {accuracy:.0%}"
    return [
        Number(f"{label}: tau", found.value, found.low, found.high, found.n, baseline=every),
        Number(f"{label}: questions", calls[name, n, accuracy], n=found.n,
               baseline=calls[ALL, n, accuracy], better="lower"),
    ]  # fmt: skip


def _draw(run: Run, n: int, taus: dict[Any, list[float]], calls: dict[Any, float]) -> None:
    lines: dict[str, tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for name in (*RANKERS, WINDOWS):
        for accuracy in ACCURACIES:
            xs, ys = lines[name]
            xs.append(calls[name, n, accuracy])
            ys.append(float(np.mean(taus[name, n, accuracy])))
    series = [Series(name, xs, ys) for name, (xs, ys) in lines.items()]
    plot = Plot("dots", f"Ranking {n} items", Axis("questions"), Axis("Kendall's tau"), series)
    caption = "One dot for each accuracy of the judge."
    plot.save(run.add("plot", "E5-acceleration.json", caption))


ACCELERATION = Experiment(
    "E5",
    "Swiss rounds and actively chosen pairs come to 95 % of the Kendall's tau of all pairs with 30 "
    "% of the comparisons; merge sort is exact where the judge is.",
    "PORTIA, PairS and RankGPT save calls each on its own data; no common figure.",
    _run,
)
