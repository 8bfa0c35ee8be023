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
from modelgraft.methods.judge.judging.judgments import TIE, Asking, Judgment, compare
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

SHARE = 0.3  # of all comparisons, for those that choose them

Group = tuple[int, ...]


@dataclass(frozen=True)
class Ranked:
    """The ids of an item's candidates, the best first, and how it came about.

    `num_compared` pairs (or lists) were put to the judge and `num_open` of them had no verdict,
    which counts as a tie, and of a list as the order in which it was shown.
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
    """The generator that ranks n candidates by pairs.

    Raises `ConfigError` for a budget that is not enough.
    """
    made: dict[str, Callable[[], Any]] = {
        "all_pairs": lambda: all_pairs(n),
        "merge_sort": lambda: merge_sort(n),
        "beam": lambda: merge_sort_beam(n),
        "swiss": lambda: swiss(n, seed=seed),
        "active": lambda: active(n, budget or max(n, int(SHARE * n * (n - 1) / 2)), seed=seed),
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
    """Rankings of the items' candidates by pairs, and the verdicts they rest on."""
    rankers = [
        ranker(by, len(item.candidates), budget=budget, top=top, seed=seed) for item in items
    ]
    counts = np.zeros((len(items), 2), dtype=np.int64)
    verdicts: list[Verdict] = []

    def told(asked: Sequence[tuple[int, Group]]) -> list[float]:
        shown = [
            items[place].with_candidates([items[place].candidates[one] for one in pair])
            for place, pair in asked
        ]
        judgments, found = compare(shown, judge, asking, swap=swap, seed=seed)
        verdicts.extend(found)
        for (place, _), one in zip(asked, judgments, strict=True):
            counts[place] += (1, one.winner is None)
        return [_chance(one, item) for one, item in zip(judgments, shown, strict=True)]

    orders = driven(rankers, told)
    return [
        Ranked(
            item.id,
            tuple(item.candidates[one].id for one in order)[:top],
            int(counts[place, 0]),
            int(counts[place, 1]),
        )
        for place, (item, order) in enumerate(zip(items, orders, strict=True))
    ], verdicts


def driven(
    rankers: Sequence[Any], told: Callable[[Sequence[tuple[int, Group]]], Sequence[Any]]
) -> list[list[int]]:
    """The order that each ranker comes to.

    `told` gets what all of them want looked at next, with the place of the ranker, and gives an
    outcome for each: calls on the same texts then share their computation, and endpoints are kept
    busy.
    """
    orders: dict[int, list[int]] = {}
    asked = _advanced(rankers, dict.fromkeys(range(len(rankers))), orders)
    while asked:
        groups = [(place, group) for place, found in asked.items() for group in found]
        outcomes: dict[int, list[Any] | None] = {place: [] for place in asked}
        for (place, _), outcome in zip(groups, told(groups), strict=True):
            own = outcomes[place]
            assert own is not None
            own.append(outcome)
        asked = _advanced(rankers, outcomes, orders)
    return [orders[place] for place in range(len(rankers))]


def _advanced(
    rankers: Sequence[Any],
    outcomes: dict[int, list[Any] | None],
    orders: dict[int, list[int]],
) -> dict[int, list[Group]]:
    """What the rankers ask next, given what they are told; the ended ones leave their order."""
    asked: dict[int, list[Group]] = {}
    for place, outcome in outcomes.items():
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
