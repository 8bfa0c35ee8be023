"""Pairs whose verdict turns with the order, read again part by part (PORTIA, Li et al. 2023).

Both answers are split at sentence ends into parts of nearly equal length, and part i of one is
shown below part i of the other. Where the verdict still turns, the parts are cut anew so that those
side by side speak of the same things.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Call, Judge, Verdict
from modelgraft.methods.judge.judging.judgments import (
    BOTH_ORDERS,
    Asking,
    Judgment,
    compare,
    pair_judgment,
)
from modelgraft.methods.judge.method.alignment import split_alike, split_evenly
from modelgraft.methods.judge.prompts import Template, read_template

PARTS = 3

Parts = tuple[tuple[str, ...], tuple[str, ...]]


def compare_aligned(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    template: Template,
    *,
    k: int = PARTS,
) -> tuple[list[Judgment], list[Verdict], int]:
    """Judgments of pairs in both orders, the verdicts they rest on, and how many were read again.

    A verdict that is the same in both orders stands. Others are read again by `template`, which
    shows parts: first even ones, then like ones. What turns to the end is the mean of the last
    orders, and is not consistent.
    """
    judgments, verdicts = compare(items, judge, asking)
    num_again = sum(one.is_consistent is False for one in judgments)
    for split in (even_parts, like_parts):
        again = [place for place, one in enumerate(judgments) if one.is_consistent is False]
        if not again:
            break
        asked = replace(asking, template=template)
        calls = [
            call
            for place in again
            for order in BOTH_ORDERS
            for call in _calls(asked, items[place], order, split, k)
        ]
        found = judge.read(calls)
        verdicts += found
        width = len(calls) // len(again)
        for number, place in enumerate(again):
            own = found[number * width : (number + 1) * width]
            first, second = own[: width // 2], own[width // 2 :]
            told = pair_judgment(items[place], dict(zip(BOTH_ORDERS, (first, second), strict=True)),
                                 "average")  # fmt: skip
            # A reading without a verdict does not undo the one before.
            judgments[place] = told if told.winner is not None else judgments[place]
    return judgments, verdicts, num_again


def parts_template(asking: Asking) -> Template:
    """The template of parts that goes with the shipped ones of pairs; ConfigError with others."""
    name = asking.template.name
    if name not in ("pair", "pair_written"):
        raise ConfigError(
            "swap",
            f"--swap align: there is no template of parts that goes with {name}.\n"
            "  Use --template pair or pair_written.",
        )
    return read_template(name.replace("pair", "pair_parts"))


def even_parts(item: Item, k: int) -> Parts:
    """Parts of both texts that are nearly as long as each other."""
    first, second = (tuple(split_evenly(one.text, k)) for one in item.candidates)
    return first, second


def like_parts(item: Item, k: int) -> Parts:
    """Parts of both texts that share as many words as possible."""
    first, second = split_alike(*(one.text for one in item.candidates), k)
    return tuple(first), tuple(second)


def _calls(
    asking: Asking,
    item: Item,
    order: tuple[int, int],
    split: Callable[[Item, int], Parts],
    k: int,
) -> list[Call]:
    parts = split(item, k)
    shown = tuple(parts[place] for place in order)
    return [
        replace(asking.call(item, *order, sample=sample), parts=shown)
        for sample in range(asking.samples)
    ]
