"""Rankings of an item's candidates by looking at several of them at once.

A judge that is read in probabilities ranks a list by those of the candidates' letters where the
best one would be named; one that writes, by what it writes. Slots of lists are preferred too:
candidates are shown in an order that depends on their texts and the seed alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from typing import Any

import numpy as np

from modelgraft.methods.judge.config import ListRanker
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judging.judgments import Asking
from modelgraft.methods.judge.judging.ranking import (
    Outcomes,
    Ranked,
    driven,
    ranked,
    with_names,
)
from modelgraft.methods.judge.method.windows import (
    Group,
    heap_top_of_sets,
    kemeny,
    shuffled_rankings,
    sliding_windows,
)

SET_SIZE = 4  # a node of the heap and its children


def rank_lists(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    by: ListRanker,
    *,
    top: int | None = None,
    seed: int = 0,
) -> tuple[list[Ranked], list[Verdict]]:
    """Rankings of the items' candidates by lists, and the verdicts they rest on.

    `asking` has a template of lists. A list without a verdict stays as it was shown.
    """
    shuffled = [item.with_candidates(_shuffled(item, seed)) for item in items]
    rankers = [list_ranker(by, len(item.candidates), top=top, seed=seed) for item in items]
    outcomes = [Outcomes(item) for item in shuffled]
    verdicts: list[Verdict] = []

    def told(asked: Sequence[tuple[int, Group]]) -> list[Any]:
        found = judge.read([asking.call(shuffled[place], *group) for place, group in asked])
        verdicts.extend(
            with_names(one, shuffled[place]) for (place, _), one in zip(asked, found, strict=True)
        )
        answers: list[Any] = []
        for (place, group), one in zip(asked, found, strict=True):
            slots = slots_of(one)
            outcomes[place].note(group, _wins(one, slots, group), is_open=not slots)
            best_first = [group[slot] for slot in slots]
            answers.append((slots[0] if slots else 0) if by == "sets" else best_first)
        return answers

    orders = driven(rankers, told)
    return [
        ranked(item, order[:top], own)
        for item, order, own in zip(shuffled, orders, outcomes, strict=True)
    ], verdicts


def list_ranker(by: ListRanker, n: int, *, top: int | None, seed: int) -> Any:
    """The generator that ranks n candidates by lists."""
    if by == "windows":
        return sliding_windows(n)
    if by == "sets":
        return heap_top_of_sets(n, top or n, size=SET_SIZE)
    return _self_consistent(n, seed)


def _self_consistent(
    n: int, seed: int
) -> Generator[list[Group], Sequence[Sequence[int]], list[int]]:
    """The order that disagrees least with those of many permutations (Tang et al. 2023)."""
    rankings = yield from shuffled_rankings(n, seed=seed)
    return kemeny(rankings, n)


def slots_of(verdict: Verdict) -> list[int]:
    """The slots of a list that a verdict ranks, the best first; none where it has no verdict."""
    if verdict.probabilities is not None:
        return np.argsort(-np.array(verdict.probabilities), kind="stable").tolist()
    if verdict.label is None:
        return []
    places = {label: slot for slot, label in enumerate(verdict.labels)}
    return [places[one] for one in verdict.label.split(">")]


def _wins(verdict: Verdict, slots: Sequence[int], group: Group) -> list[tuple[int, int]]:
    """Whom a list's verdict puts before whom: also before those that it does not name.

    Candidates of one probability are even.
    """
    chances = verdict.probabilities
    return [
        (group[one], group[other])
        for place, one in enumerate(slots)
        for other in (*slots[place + 1 :], *(set(range(len(group))) - set(slots)))
        if chances is None or chances[one] > chances[other]
    ]


def _shuffled(item: Item, seed: int) -> list[Any]:
    def key(one: Any) -> bytes:
        return hashlib.sha256(f"{seed}\n{one.text}".encode("utf-8", "surrogatepass")).digest()

    return sorted(item.candidates, key=key)
