"""Rankings by looking at several items at once, as generators like those of `sorting`.

Each yields a batch of groups of item numbers in the order in which they are to be shown. To a
list-wise question a group's ranking is sent, which may be malformed and is repaired, to a set-wise
one the place of the best of the group.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from functools import partial
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelgraft.methods.judge.method.sorting import top_of_heap

Group = tuple[int, ...]
Ranking = list[int]
ListRanker = Generator[list[Group], Sequence[Sequence[int]], Ranking]
SetRanker = Generator[list[Group], Sequence[int], Ranking]

_EXACT = 10  # items whose Kemeny order is found by going through all subsets


def repaired(ranking: Iterable[object], group: Sequence[int]) -> Ranking:
    """A ranking of just the group's items: unknown and repeated ones dropped, missing ones last.

    Those are in the order in which they were shown (RankGPT, Sun et al. 2023).
    """
    kept = dict.fromkeys(item for item in ranking if isinstance(item, int) and item in set(group))
    return [*kept, *(item for item in group if item not in kept)]


def window_starts(n: int, size: int, step: int) -> list[int]:
    """Where windows begin, from the back to the front; the first window begins at 0."""
    starts = list(range(n - size, 0, -step)) if n > size else []
    return [*starts, 0]


def sliding_windows(n: int, *, size: int = 20, step: int = 10) -> ListRanker:
    """RankGPT: windows from the back to the front, so that what is best can rise to the top."""
    order = list(range(n))
    for start in window_starts(n, size, step):
        group = tuple(order[start : start + size])
        [told] = yield [group]
        order[start : start + size] = repaired(told, group)
    return order


def shuffled_rankings(
    n: int, *, num: int = 20, seed: int = 0
) -> Generator[list[Group], Sequence[Sequence[int]], list[Ranking]]:
    """Rankings of all items shown in `num` random orders (permutation self-consistency).

    `borda` or `kemeny` makes one of them; slots that are preferred even out.
    """
    rng = np.random.default_rng(seed)
    groups = [tuple(rng.permutation(n).tolist()) for _ in range(num)]
    told = yield groups
    return [repaired(one, group) for one, group in zip(told, groups, strict=True)]


def heap_top_of_sets(n: int, k: int, *, size: int = 3) -> SetRanker:
    """The k best from a heap whose nodes have `size` - 1 children (set-wise, Zhuang et al. 2024).

    A question shows a node with its children; about n / (size - 1) log n of them sort everything.
    """
    return (yield from top_of_heap(n, k, partial(_sift, width=size - 1)))


def _sift(
    heap: list[int], place: int, *, width: int
) -> Generator[list[Group], Sequence[int], None]:
    while (first := width * place + 1) < len(heap):
        children = range(first, min(first + width, len(heap)))
        [chosen] = yield [(heap[place], *(heap[child] for child in children))]
        if chosen == 0:
            return
        child = children[chosen - 1]
        heap[place], heap[child] = heap[child], heap[place]
        place = child


# -- one ranking from several ----------------------------------------------------------------------


def preferences(rankings: Sequence[Sequence[int]], n: int) -> NDArray[np.int64]:
    """How often each item stands before each other one, [n, n]."""
    places = np.empty((len(rankings), n), dtype=np.int64)
    for row, ranking in enumerate(rankings):
        places[row, list(ranking)] = np.arange(n)
    return (places[:, :, None] < places[:, None, :]).sum(axis=0)


def borda(rankings: Sequence[Sequence[int]], n: int) -> Ranking:
    """By the mean place; equal means stay in the items' order."""
    points = preferences(rankings, n).sum(axis=1)
    return sorted(range(n), key=lambda item: -points[item])


def disagreement(ranking: Sequence[int], before: ArrayLike) -> int:
    """The sum of Kendall distances of a ranking to those counted in `before` [n, n]."""
    counts = np.asarray(before)
    order = np.asarray(ranking)
    return int(np.triu(counts[np.ix_(order, order)].T, 1).sum())


def kemeny(rankings: Sequence[Sequence[int]], n: int) -> Ranking:
    """The ranking with the least sum of Kendall distances to all of them.

    Exact up to ten items, by the best order of every subset; above, the order of Borda improved by
    moving single items until no move helps.
    """
    before = preferences(rankings, n)
    return _kemeny_exactly(before) if n <= _EXACT else _kemeny_by_moves(before, borda(rankings, n))


def _kemeny_exactly(before: NDArray[np.int64]) -> Ranking:
    n = len(before)
    best: dict[int, tuple[int, int]] = {0: (0, -1)}  # of a set, cost and last item of its order
    for size in range(1, n + 1):
        for members in combinations(range(n), size):
            key = sum(1 << item for item in members)
            options = []
            for last in members:
                rest = [item for item in members if item != last]
                cost = best[key & ~(1 << last)][0] + int(before[last, rest].sum())
                options.append((cost, -last))
            cost, last = min(options)
            best[key] = (cost, -last)
    order: Ranking = []
    key = (1 << n) - 1
    while key:
        last = best[key][1]
        order.append(last)
        key &= ~(1 << last)
    return order[::-1]


def _kemeny_by_moves(before: NDArray[np.int64], order: Ranking) -> Ranking:
    is_better = True
    while is_better:
        is_better = False
        for item in list(order):
            rest = [one for one in order if one != item]
            # Cost of standing behind the first k of the rest, for every k.
            ahead = np.concatenate([[0], np.cumsum(before[item, rest])])
            behind = np.concatenate([np.cumsum(before[rest, item][::-1])[::-1], [0]])
            costs = ahead + behind
            place = int(costs.argmin())
            if costs[place] < costs[order.index(item)]:
                order = [*rest[:place], item, *rest[place:]]
                is_better = True
    return order
