"""Pairs whose verdict turns with the order, asked again with the reasons of both orders.

After LLMBar's Swap (Zeng et al. 2024). What was said in the other order speaks of the slots of that
order, so its slot names are exchanged before it is shown in this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Call, Judge, Verdict
from modelgraft.methods.judge.judging.judgments import (
    BOTH_ORDERS,
    Asking,
    Judgment,
    compare,
    pair_judgment,
)
from modelgraft.methods.judge.method.slots import exchange_slots
from modelgraft.methods.judge.panel.conferring import shipped_talk


def compare_reconsidered(
    items: Sequence[Item], judge: Judge, asking: Asking
) -> tuple[list[Judgment], list[Verdict], int]:
    """Judgments of pairs, the verdicts they rest on, and how many pairs were asked again.

    A verdict that both orders give stands. Others are asked again in both orders; where those turn
    too, or have no verdict, the pair is a tie or has none. The judge has to write its reasons.
    """
    judgments, verdicts = compare(items, judge, asking)
    said = {(one.item, one.order): one.text for one in verdicts if one.sample == 0}
    again = [
        place
        for place, one in enumerate(judgments)
        if one.is_consistent is False and not one.failed
    ]
    calls = [_call(asking, items[place], order, said) for place in again for order in BOTH_ORDERS]
    found = judge.read(calls)
    for number, place in enumerate(again):
        own = found[2 * number : 2 * number + 2]
        by_order = {order: [one] for order, one in zip(BOTH_ORDERS, own, strict=True)}
        judgments[place] = pair_judgment(items[place], by_order, "average")
    return judgments, [*verdicts, *found], len(again)


def _call(
    asking: Asking, item: Item, order: tuple[int, int], said: dict[tuple[str, tuple[int, ...]], str]
) -> Call:
    """The second question in an order: what was said in it first, then what was in the other."""
    ours, theirs = said[item.id, order], exchange_slots(said[item.id, order[::-1]])
    talk = f"Judge 1: {ours}\n\nJudge 2: {theirs}"
    return replace(asking.call(item, *order), template=shipped_talk("synthesise"),
                   notes={"talk": talk})  # fmt: skip
