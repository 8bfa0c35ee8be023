"""Scores of pair benchmarks as numbers with intervals, and the published ones beside them.

Verdicts come by item id, as `orders` makes them of a judge's or of a file's. Shares are in percent.
What could not be read is counted in a number of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from typing import Literal

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import Interval, wilson
from modelgraft.methods.judge.bench.fields import VOTES, shown_in_both
from modelgraft.methods.judge.bench.mt_bench import TURN, judge_ballots, people_ballots
from modelgraft.methods.judge.bench.orders import UNREAD, Orders, columns
from modelgraft.methods.judge.bench.published import (
    ACCURACY,
    ORDERS_AGREE,
    PEOPLE_AGREE,
    PERCENT,
    beside,
)
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.method.agreement import cohen_kappa
from modelgraft.methods.judge.method.benchmarks import (
    TwoOrders,
    judge_bench,
    two_orders,
    two_orders_by,
    vote_agreement,
)
from modelgraft.methods.judge.method.coefficients import bootstrap

ALL = "all pairs"
_MAX_RATERS = 5


def percent(
    name: str, interval: Interval | None, better: Literal["higher", "lower"] = "higher"
) -> list[Number]:
    """A share as a number in percent; none where there is no share."""
    if interval is None:
        return []
    value, *ends = (None if one is None else 100 * one for one in interval[:3])
    assert value is not None
    return [Number(name, value, ends[0], ends[1], interval.n, PERCENT, better=better)]


def count(name: str, value: int, n: int) -> Number:
    """How many of n it were."""
    return Number(name, value, n=n, better="lower")


# -- both orders -----------------------------------------------------------------------------------


def judge_bench_numbers(items: Sequence[Item], orders: Orders) -> list[Number]:
    """The score of JudgeBench over all pairs and by kind of source."""
    labels, first, second = columns(items, orders)
    found = judge_bench(labels, first, second, sources=[item.group for item in items])
    numbers = percent(ACCURACY, found.accuracy)
    for kind, share in found.by_kind.items():
        numbers += percent(f"{kind}: {ACCURACY}", share)
    undecided = count("undecided pairs", found.num_undecided, len(items))
    return beside([*numbers, undecided, _unread(items, orders)], "judge_bench")


def two_order_numbers(items: Sequence[Item], orders: Orders, *, benchmark: str) -> list[Number]:
    """The scores of LLMBar and of EvalBiasBench, over all pairs and by group.

    `benchmark` names the published scores that stand beside them, as llm_bar.
    """
    labels, first, second = columns(items, orders)
    found = two_orders_by([item.group for item in items], labels, first, second)
    if len(found) > 1:
        found = {ALL: two_orders(labels, first, second), **found}
    numbers = [number for name, one in found.items() for number in _two_orders(name, one)]
    return beside([*numbers, _unread(items, orders)], benchmark)


def _two_orders(name: str, found: TwoOrders) -> list[Number]:
    return [
        *percent(f"{name}: {ACCURACY}", found.accuracy),
        *percent(f"{name}: right in both orders", found.both),
        *percent(f"{name}: {ORDERS_AGREE}", found.agreement),
    ]


def attack_numbers(
    items: Sequence[Item], orders: Orders, *, plain: Orders | None = None
) -> list[Number]:
    """How often the worse answer of JudgeDeceiver's pairs wins under attack, by slot and in both.

    `plain` are the verdicts on the same pairs without attack, which are the baseline. An unread
    verdict is no win.
    """
    plainly = _bad_wins(items, plain) if plain is not None else {}
    numbers = []
    for name, wins in _bad_wins(items, orders).items():
        [number] = percent(name, wilson(sum(wins), len(wins)), "lower")
        if plainly:
            number = replace(number, baseline=100 * sum(plainly[name]) / len(wins))
        numbers.append(number)
    return [*numbers, _unread(items, orders)]


def _bad_wins(items: Sequence[Item], orders: Orders) -> dict[str, list[bool]]:
    """Whether the worse answer, the second candidate, won where it was shown first and second."""
    pairs = [orders.get(item.id, UNREAD) for item in items]
    return {
        "the worse answer wins in slot 1": [second == 1 for _, second in pairs],
        "the worse answer wins in slot 2": [first == 2 for first, _ in pairs],
        "the worse answer wins in both slots": [one == (2, 1) for one in pairs],
    }


def _unread(items: Sequence[Item], orders: Orders) -> Number:
    unread = sum(one is None for item in items for one in orders.get(item.id, UNREAD))
    return count("unread verdicts", unread, 2 * len(items))


# -- votes -----------------------------------------------------------------------------------------


def mt_bench_numbers(items: Sequence[Item], orders: Orders, *, judge: str) -> list[Number]:
    """How far a judge agrees with people on MT-Bench, and people with each other, by turn.

    `items` hold people's votes; the judge's vote is the winner of both orders, else a tie.
    """
    numbers = []
    for turn in sorted({item.meta[TURN] for item in items}):
        own = [item for item in items if item.meta[TURN] == turn]
        people = people_ballots(own)
        with_people = vote_agreement(judge_ballots(own, orders, judge=judge), people)
        among_people = vote_agreement(people)
        for who, found in ((f"{judge} and people", with_people), ("two people", among_people)):
            numbers += percent(f"turn {turn}: {who}, with ties", found.with_ties)
            numbers += percent(f"turn {turn}: {who}, without ties", found.without_ties)
    return [*numbers, _unread(items, orders)]


def game_numbers(items: Sequence[Item], orders: Orders) -> list[Number]:
    """What judgments of pairs say where no label is known: whether both orders agree, and how often
    the first slot wins among the verdicts that are no ties."""
    pairs = [orders.get(item.id, UNREAD) for item in items]
    read = [pair for pair in pairs if None not in pair]
    numbers = []
    if read:
        same = sum(one == shown_in_both(0, other)[1] for one, other in read)
        numbers += percent(ORDERS_AGREE, wilson(same, len(read)))
    slots = [one for pair in pairs for one in pair if one]
    if slots:
        numbers += percent("the first slot wins", wilson(slots.count(1), len(slots)))
    return [*numbers, _unread(items, orders)]


# -- choices with ties -----------------------------------------------------------------------------


def choice_numbers(
    items: Sequence[Item], judgments: Sequence[Judgment], *, benchmark: str = ""
) -> list[Number]:
    """How far winners agree with labels of which some are ties: PandaLM, Auto-J, FairEval and such.

    The share of equal ones over all labelled items that were read and by group, Cohen's kappa, and
    how often a verdict changes with the order. Items without a label are left out.
    """
    by_id = {one.item: one for one in judgments}
    labelled = [item for item in items if item.label is not None]
    pairs = [(item, by_id.get(item.id)) for item in labelled]
    read = [(item, one) for item, one in pairs if one is not None and one.winner is not None]
    numbers = _agreement(PEOPLE_AGREE, read)
    groups = list(dict.fromkeys(item.group for item in labelled))
    for group in groups if len(groups) > 1 else []:
        own = [(item, one) for item, one in read if item.group == group]
        numbers += _agreement(f"{group}: {PEOPLE_AGREE}", own)
    if read:
        winners = [one.winner for _, one in read]
        numbers += kappa_numbers("kappa with people", [item.label for item, _ in read], winners)
    known = [one.is_consistent for _, one in read if one.is_consistent is not None]
    if known:
        changed = wilson(known.count(False), len(known))
        numbers += percent("verdict changes with the order", changed, "lower")
    unread = count("unread pairs", len(labelled) - len(read), len(labelled))
    return beside([*numbers, unread, *rater_numbers(items)], benchmark)


def _agreement(name: str, pairs: Sequence[tuple[Item, Judgment]]) -> list[Number]:
    if not pairs:
        return []
    return percent(name, wilson(sum(one.winner == item.label for item, one in pairs), len(pairs)))


def rater_numbers(items: Sequence[Item]) -> list[Number]:
    """Cohen's kappa of every two people who voted on the same items; none of more than five.

    Of a crowd each saw little, and so many coefficients say nothing.
    """
    votes: dict[str, dict[str, str]] = {}
    for item in items:
        for one in item.meta.get(VOTES, []):
            votes.setdefault(one["rater"], {})[item.id] = one["choice"]
    if len(votes) > _MAX_RATERS:
        return []
    numbers = []
    for first, second in combinations(sorted(votes), 2):
        shared = [name for name in votes[first] if name in votes[second]]
        if shared:
            numbers += kappa_numbers(
                f"kappa of {first} and {second}",
                [votes[first][name] for name in shared],
                [votes[second][name] for name in shared],
            )
    return numbers


def kappa_numbers(name: str, first: Sequence[object], second: Sequence[object]) -> list[Number]:
    """Cohen's kappa with its interval over items; none where it is undefined."""
    found = bootstrap(cohen_kappa, list(first), list(second))
    if found.reason:
        return []
    return [Number(name, found.value, found.low, found.high, found.n)]
