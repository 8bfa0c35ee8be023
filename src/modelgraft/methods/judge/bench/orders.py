"""Verdicts on pairs in both orders, as the scores of benchmarks take them: by slot, by item id."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.bench.fields import ORDERS, TIE, shown_in_both
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging.judgments import BOTH_ORDERS, Judgment, pair_judgment
from modelgraft.methods.judge.method.benchmarks import Pair, Shown

Orders = Mapping[str, Pair]
UNREAD: Pair = (None, None)


def recorded_orders(items: Iterable[Item]) -> dict[str, Pair]:
    """The verdicts that a benchmark's file of results holds, of the items that have any."""
    found = {}
    for item in items:
        if ORDERS in item.meta:
            first, second = item.meta[ORDERS]
            found[item.id] = (first, second)
    return found


def read_orders(items: Iterable[Item], verdicts: Iterable[Verdict]) -> dict[str, Pair]:
    """The slots that a judge preferred, from its verdicts in both orders; samples vote.

    Two equal texts are a tie. InputError for an item that was judged in one order alone: half of a
    two-order score would look like unread verdicts.
    """
    by_order: dict[tuple[str, tuple[int, ...]], list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        by_order[verdict.item, verdict.order].append(verdict)
    found: dict[str, Pair] = {}
    for item in items:
        a, b = (one.text for one in item.candidates)
        if a == b:
            found[item.id] = (0, 0)
            continue
        slots: list[Shown] = []
        for order in BOTH_ORDERS:
            own = by_order.get((item.id, order))
            if not own:
                raise InputError(
                    f"item {item.id} has no verdict in the order {order[0] + 1}, {order[1] + 1}.\n"
                    "  This score needs both: judge with --swap average, consensus or score."
                )
            winner = pair_judgment(item, {order: own}, "random").winner
            slots.append(_slot(item, winner, order))
        found[item.id] = (slots[0], slots[1])
    return found


def pointwise_orders(items: Iterable[Item], judgments: Iterable[Judgment]) -> dict[str, Pair]:
    """The same of judgments that looked at each candidate alone, so that no order matters."""
    winners = {one.item: one.winner for one in judgments}
    found = {}
    for item in items:
        slot = _slot(item, winners.get(item.id), BOTH_ORDERS[0])
        found[item.id] = shown_in_both(slot, slot)
    return found


def _slot(item: Item, winner: str | None, order: tuple[int, int]) -> Shown:
    """The slot in which the winner was shown."""
    if winner is None:
        return None
    if winner == TIE:
        return 0
    place = [one.id for one in item.candidates].index(winner)
    return order.index(place) + 1


def columns(items: Sequence[Item], orders: Orders) -> tuple[list[int], list[Shown], list[Shown]]:
    """Labels, 1 or 2, and the verdicts in the first and in the second order.

    An item without verdicts is unread in both. InputError for one that is not labelled with a
    candidate.
    """
    labels, first, second = [], [], []
    for item in items:
        names = [one.id for one in item.candidates]
        if not isinstance(item.label, str) or item.label not in names:
            raise InputError(
                f"item {item.id}: its label is {item.label!r}; {' or '.join(names)} is needed here."
            )
        labels.append(names.index(item.label) + 1)
        one, other = orders.get(item.id, UNREAD)
        first.append(one)
        second.append(other)
    return labels, first, second


def require_texts(items: Iterable[Item]) -> None:
    """InputError for an item without any text to judge, as in files that hold verdicts alone."""
    for item in items:
        if not any(one.text for one in item.candidates):
            raise InputError(
                f"item {item.id} has no texts: this file holds verdicts and no answers.\n"
                "  Its recorded verdicts can be scored; to judge anew, give a file with answers."
            )
