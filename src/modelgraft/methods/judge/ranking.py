"""Rankings and selections of an item's candidates by comparisons, of all items side by side."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.config import Ranker, Swap
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judging import TIE, Asking, Judgment, compare
from modelgraft.methods.judge.method.sorting import (
    Pair,
    all_pairs,
    heap_top,
    knock_out,
    merge_sort,
    merge_sort_beam,
    sliding_top,
)
from modelgraft.methods.judge.method.tournaments import active, swiss

_SHARE = 0.3  # of all comparisons, for those that choose them


@dataclass(frozen=True)
class Ranked:
    """The ids of an item's candidates, the best first, and how it came about.

    `num_compared` pairs were compared and `num_open` of them had no verdict, which counts as a tie.
    """

    item: str
    order: tuple[str, ...]
    num_compared: int
    num_open: int

    def as_row(self) -> dict[str, Any]:
        """The ranking as a row of JSONL."""
        return {
            "item": self.item,
            "order": list(self.order),
            "compared": self.num_compared,
            "open": self.num_open,
        }


def ranker(by: Ranker, n: int, *, budget: int | None, top: int | None, seed: int) -> Any:
    """The generator that ranks n candidates.

    Raises `ConfigError` for a budget that is not enough.
    """
    made: dict[str, Callable[[], Any]] = {
        "all_pairs": lambda: all_pairs(n),
        "merge_sort": lambda: merge_sort(n),
        "beam": lambda: merge_sort_beam(n),
        "swiss": lambda: swiss(n, seed=seed),
        "active": lambda: active(n, budget or max(n, int(_SHARE * n * (n - 1) / 2)), seed=seed),
        "sliding": lambda: sliding_top(n, top or n),
        "knock_out": lambda: _winner_first(n, seed),
    }
    if budget is not None and by != "active":
        raise ConfigError("budget", f"--budget goes with --by active, and not with {by}.")
    if top is not None and by == "merge_sort":
        return heap_top(n, top)
    return made[by]()


def _winner_first(n: int, seed: int) -> Generator[list[Pair], Sequence[float], list[int]]:
    winner = yield from knock_out(n, seed=seed)
    return [winner]


def rank(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    by: Ranker,
    *,
    swap: Swap = "average",
    budget: int | None = None,
    top: int | None = None,
    seed: int = 0,
) -> tuple[list[Ranked], list[Verdict]]:
    """Rankings of the items' candidates, and the verdicts they rest on.

    What all items want compared next is asked together, so calls on the same texts share their
    computation and endpoints are kept busy.
    """
    rankers = {
        place: ranker(by, len(item.candidates), budget=budget, top=top, seed=seed)
        for place, item in enumerate(items)
    }
    orders: dict[int, list[int]] = {}
    counts = np.zeros((len(items), 2), dtype=np.int64)
    verdicts: list[Verdict] = []
    asked = _advanced(rankers, dict.fromkeys(rankers), orders)
    while asked:
        pairs = [(place, pair) for place, found in asked.items() for pair in found]
        shown = [
            items[place].with_candidates([items[place].candidates[one] for one in pair])
            for place, pair in pairs
        ]
        judgments, found = compare(shown, judge, asking, swap=swap, seed=seed)
        verdicts += found
        told: dict[int, list[float] | None] = {}
        for (place, _), item, one in zip(pairs, shown, judgments, strict=True):
            counts[place] += (1, one.winner is None)
            told[place] = [*(told.get(place) or ()), _chance(one, item)]
        asked = _advanced(rankers, told, orders)
    rankings = [
        Ranked(
            item.id,
            tuple(item.candidates[one].id for one in orders[place])[:top],
            int(counts[place, 0]),
            int(counts[place, 1]),
        )
        for place, item in enumerate(items)
    ]
    return rankings, verdicts


def _advanced(
    rankers: dict[int, Any],
    told: dict[int, list[float] | None],
    orders: dict[int, list[int]],
) -> dict[int, list[Pair]]:
    """What the rankers ask next, given what they are told; the ended ones leave their order."""
    asked: dict[int, list[Pair]] = {}
    for place, outcome in told.items():
        try:
            own = rankers[place]
            asked[place] = next(own) if outcome is None else own.send(outcome)
        except StopIteration as stop:
            orders[place] = stop.value
    return asked


def _chance(judgment: Judgment, item: Item) -> float:
    """The probability that the first is better; 1/2 without a verdict."""
    if judgment.probability is not None:
        return judgment.probability
    if judgment.winner in (None, TIE):
        return 0.5
    return float(judgment.winner == item.candidates[0].id)
