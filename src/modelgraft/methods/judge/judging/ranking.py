"""Rankings and selections of an item's candidates by comparisons, of all items side by side."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.config import Ranker, Swap
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judging.judgments import (
    TIE,
    Asking,
    Judgment,
    pair_judgment,
    read_orders,
)
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
    which counts as a tie, and of a list as the order in which it was shown. The first place
    `is_decided` where verdicts and not the order in the file put it there (`Outcomes.decide`).
    """

    item: str
    order: tuple[str, ...]
    num_compared: int
    num_open: int
    is_decided: bool

    @property
    def winner(self) -> str | None:
        """The first, where it is decided who that is."""
        return self.order[0] if self.is_decided else None

    def as_row(self) -> dict[str, Any]:
        """The ranking as a row of JSONL."""
        return {
            "item": self.item,
            "order": list(self.order),
            "winner": self.winner,
            "compared": self.num_compared,
            "open": self.num_open,
        }


class Outcomes:
    """What verdicts say of an item's candidates, by their places: who beat whom, and who met."""

    def __init__(self, item: Item) -> None:
        texts = [one.text for one in item.candidates]
        self._is_same = np.array([[one == other for other in texts] for one in texts])
        self._wins = np.zeros(self._is_same.shape, dtype=np.int64)
        self._met = np.zeros(self._is_same.shape, dtype=np.bool_)
        self.num_compared = self.num_open = 0

    def note(self, group: Sequence[int], wins: Iterable[tuple[int, int]], *, is_open: bool) -> None:
        """Add what was said of candidates that were shown together: pairs of better and worse."""
        self.num_compared += 1
        self.num_open += is_open
        self._met[np.ix_(group, group)] = True
        for better, worse in wins:
            self._wins[better, worse] += 1

    def decide(self, first: int) -> bool:
        """Whether verdicts put this candidate first.

        It beat another, and whom it met without a winner it beats by way of others, or that has the
        same text. A candidate that is alone is first.
        """
        if len(self._wins) == 1:
            return True
        beats = self._wins > self._wins.T
        reached = beats[first]
        while (further := reached | beats[reached].any(axis=0)).sum() > reached.sum():
            reached = further
        is_even = self._met[first] & (self._wins[first] == self._wins[:, first])
        return bool(beats[first].any() and (reached | ~is_even | self._is_same[first]).all())


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
        raise ConfigError("comparisons", f"--comparisons goes with --by active, and not with {by}.")
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
    outcomes = [Outcomes(item) for item in items]
    verdicts: list[Verdict] = []

    def told(asked: Sequence[tuple[int, Group]]) -> list[float]:
        shown = [
            items[place].with_candidates([items[place].candidates[one] for one in pair])
            for place, pair in asked
        ]
        each, _ = read_orders(shown, judge, asking, swap, seed=seed)
        chances = []
        for (place, pair), item, own in zip(asked, shown, each, strict=True):
            verdicts.extend(with_names(one, item) for looks in own.values() for one in looks)
            judgment = pair_judgment(item, own, swap)
            chance = _chance(judgment, item)
            first, second = pair
            wins = [(first, second) if chance > 0.5 else (second, first)] if chance != 0.5 else []
            outcomes[place].note(pair, wins, is_open=judgment.winner is None)
            chances.append(chance)
        return chances

    orders = driven(rankers, told)
    return [
        ranked(item, order[:top], own)
        for item, order, own in zip(items, orders, outcomes, strict=True)
    ], verdicts


def ranked(item: Item, order: Sequence[int], outcomes: Outcomes) -> Ranked:
    """The ranking of an item's candidates by their places, with what it rests on."""
    return Ranked(
        item.id,
        tuple(item.candidates[place].id for place in order),
        outcomes.num_compared,
        outcomes.num_open,
        outcomes.decide(order[0]),
    )


def with_names(verdict: Verdict, item: Item) -> Verdict:
    """The verdict with the ids of the candidates that it was shown, in the order of its slots."""
    names = [item.candidates[place].id for place in verdict.order]
    return replace(verdict, meta={**verdict.meta, "candidates": names})


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
    """The probability that the first is better; 1/2 without a verdict and for a tie."""
    if judgment.winner in (None, TIE):
        return 0.5
    if judgment.probability is not None:
        return judgment.probability
    return float(judgment.winner == item.candidates[0].id)
