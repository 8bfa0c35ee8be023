"""Rankings by comparing pairs, as generators that ask for comparisons and are sent their outcomes.

Each yields a batch of pairs (i, j) of item numbers that do not depend on each other, so a judge can
answer them at once, and is sent for each the probability that i is better: above 1/2 it is, below
it is not, and at 1/2 the item that stood first stays first. What a generator returns is a ranking,
the best first. `answered` runs one with a function.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import log
from typing import Any, TypeVar

import numpy as np

Pair = tuple[int, int]
Ranking = list[int]
Ranker = Generator[list[Pair], Sequence[float], Ranking]
Asked = TypeVar("Asked")
Told = TypeVar("Told")
Found = TypeVar("Found")

_LEAST = 1e-12


def answered(
    ranker: Generator[list[Asked], Sequence[Told], Found],
    answer: Callable[[list[Asked]], Sequence[Told]],
) -> Found:
    """What the generator returns when `answer` is asked its batches."""
    try:
        asked = next(ranker)
        while True:
            asked = ranker.send(answer(asked))
    except StopIteration as stop:
        return stop.value


def all_pairs(n: int) -> Ranker:
    """Copeland: a point for every win and half a one for a tie; n (n - 1) / 2 comparisons."""
    pairs = list(combinations(range(n), 2))
    points = np.zeros(n)
    if pairs:
        for (i, j), p in zip(pairs, (yield pairs), strict=True):
            points[i] += 1.0 if p > 0.5 else 0.5 if p == 0.5 else 0.0
            points[j] += 1.0 if p < 0.5 else 0.5 if p == 0.5 else 0.0
    return sorted(range(n), key=lambda item: -points[item])


def merge_sort(n: int) -> Ranker:
    """Merge sort, all merges of a level side by side.

    The true order if comparisons are those of one, within n ceil(log2 n) - 2^ceil(log2 n) + 1 of
    them (PairS, Liu et al. 2024).
    """
    return (yield from _merged(range(n), _merge_greedily))


def merge_sort_beam(n: int, *, beams: int = 8, gap: float = 0.1) -> Ranker:
    """Merge sort that keeps the likeliest ways to merge (PairS-beam).

    A way is worth the mean of the log-probabilities of its choices. Where a comparison is within
    `gap` of 1/2 both choices are followed, else the likelier one. With one beam and no gap it is
    `merge_sort`.
    """

    def merge(first: Ranking, second: Ranking) -> Ranker:
        return _merge_by_beam(first, second, beams, gap)

    return (yield from _merged(range(n), merge))


def _merged(items: Sequence[int], merge: Callable[[Ranking, Ranking], Ranker]) -> Ranker:
    if len(items) < 2:
        return list(items)
    middle = (len(items) + 1) // 2
    halves = (_merged(items[:middle], merge), _merged(items[middle:], merge))
    first, second = yield from _together(halves)
    return (yield from merge(first, second))


def _together(
    rankers: Sequence[Ranker],
) -> Generator[list[Pair], Sequence[float], list[Ranking]]:
    """The rankings of several, whose batches are joined."""
    found: dict[int, Ranking] = {}
    asked: dict[int, list[Pair]] = {}
    told: dict[int, Sequence[float] | None] = dict.fromkeys(range(len(rankers)))
    while told:
        for place, outcome in told.items():
            try:
                ranker = rankers[place]
                asked[place] = next(ranker) if outcome is None else ranker.send(outcome)
            except StopIteration as stop:
                asked.pop(place, None)
                found[place] = stop.value
        if not asked:
            break
        outcomes = iter((yield [pair for pairs in asked.values() for pair in pairs]))
        told = {place: [next(outcomes) for _ in pairs] for place, pairs in asked.items()}
    return [found[place] for place in range(len(rankers))]


def _merge_greedily(first: Ranking, second: Ranking) -> Ranker:
    merged: Ranking = []
    first, second = list(first), list(second)
    while first and second:
        [p] = yield [(first[0], second[0])]
        merged.append((first if p >= 0.5 else second).pop(0))
    return [*merged, *first, *second]


@dataclass(frozen=True)
class _Way:
    """A way to merge so far: how many of each list are taken, in which order, and its worth."""

    taken: Pair = (0, 0)
    order: tuple[int, ...] = ()
    total: float = 0.0

    @property
    def worth(self) -> float:
        return self.total / len(self.order) if self.order else 0.0


def _merge_by_beam(first: Ranking, second: Ranking, beams: int, gap: float) -> Ranker:
    known: dict[Pair, float] = {}
    open_, whole = [_Way()], list[_Way]()
    while open_:
        pairs = {(first[one.taken[0]], second[one.taken[1]]): None for one in open_}
        if fresh := [pair for pair in pairs if pair not in known]:
            known |= dict(zip(fresh, (yield fresh), strict=True))
        ways = [way for one in open_ for way in _next_ways(one, first, second, known, gap)]
        ways = sorted([*whole, *ways], key=lambda way: -way.worth)[:beams]
        ended = (len(first), len(second))
        whole = [one for one in ways if any(map(int.__eq__, one.taken, ended))]
        open_ = [one for one in ways if one not in whole]
    best = max(whole, key=lambda way: way.worth)
    rest = [*first[best.taken[0] :], *second[best.taken[1] :]]
    return [*best.order, *rest]


def _next_ways(
    way: _Way, first: Ranking, second: Ranking, known: dict[Pair, float], gap: float
) -> Iterator[_Way]:
    """The choices that follow, the likelier one first."""
    i, j = way.taken
    p = known[first[i], second[j]]
    choices = [(p, (i + 1, j), first[i]), (1 - p, (i, j + 1), second[j])]
    choices.sort(key=lambda choice: -choice[0])
    for chance, taken, item in choices[: 1 if abs(p - 0.5) > gap else 2]:
        yield _Way(taken, (*way.order, item), way.total + log(max(chance, _LEAST)))


# -- the best few ----------------------------------------------------------------------------------


def heap_top(n: int, k: int) -> Ranker:
    """The k best, the best first, from a heap: about 2 n + 2 k log2 n comparisons."""
    return (yield from top_of_heap(n, k, _sift))


def top_of_heap(
    n: int, k: int, sift: Callable[[list[int], int], Generator[Any, Any, None]]
) -> Generator[Any, Any, Ranking]:
    """The k best from a heap in which `sift(heap, place)` lets an item sink to where it belongs."""
    heap = list(range(n))
    for place in reversed(range(n)):
        yield from sift(heap, place)
    best: Ranking = []
    while heap and len(best) < k:
        best.append(heap[0])
        last = heap.pop()
        if heap:
            heap[0] = last
            yield from sift(heap, 0)
    return best


def _sift(heap: list[int], place: int) -> Generator[list[Pair], Sequence[float], None]:
    while (child := 2 * place + 1) < len(heap):
        if child + 1 < len(heap):
            [p] = yield [(heap[child], heap[child + 1])]
            child += p < 0.5
        [p] = yield [(heap[place], heap[child])]
        if p >= 0.5:
            return
        heap[place], heap[child] = heap[child], heap[place]
        place = child


def sliding_top(n: int, k: int) -> Ranker:
    """All items with the k best first: k passes of neighbours from the bottom (PRP-sliding-k).

    Exact for the k best when the comparisons are those of one order.
    """
    order = list(range(n))
    for top in range(min(k, n - 1)):
        for place in reversed(range(top, n - 1)):
            [p] = yield [(order[place], order[place + 1])]
            if p < 0.5:
                order[place], order[place + 1] = order[place + 1], order[place]
    return order


def knock_out(n: int, *, seed: int = 0) -> Generator[list[Pair], Sequence[float], int]:
    """One winner from n - 1 comparisons: rounds of pairs in a random order, who loses is out."""
    left = np.random.default_rng(seed).permutation(n).tolist()
    while len(left) > 1:
        pairs = list(zip(left[::2], left[1::2], strict=False))
        spare = left[len(pairs) * 2 :]
        outcomes = yield pairs
        left = [(pair[0] if p >= 0.5 else pair[1]) for pair, p in zip(pairs, outcomes, strict=True)]
        left = [*spare, *left]
    return left[0]
