"""What a tuned judge is worth on held-out pairs, beside what costs nothing, by shortcut stratum."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import Array
from modelgraft.evaluation.report import Table
from modelgraft.evaluation.tables import markdown_rows
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Judge
from modelgraft.methods.judge.judges.local import LikelihoodJudge
from modelgraft.methods.judge.judging.judgments import (
    Asking,
    order_odds,
    pair_judgment,
    read_orders,
)
from modelgraft.methods.judge.probes.measured import Measured, share
from modelgraft.methods.judge.probes.strata import (
    BASELINES,
    SIDES,
    Strata,
    axes_of,
    balanced_mean,
    baseline_rights,
    by_stratum,
    is_better,
    rights,
    shortcut_of,
)
from modelgraft.methods.judge.tuning.labelled import first_is_better

TUNED, UNTUNED, LIKELIHOOD = "tuned", "untuned", "likelihood"


@dataclass
class Report:
    """Numbers, what is told, and the table of readers by strata."""

    numbers: list[Number] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    table: Table = field(default_factory=lambda: Table((), [], ""))

    def tell(self, name: str, found: Measured, **fields: Any) -> None:
        """Add a measure; one that is undefined becomes a remark with its reason."""
        if np.isnan(found.value):
            self.remarks.append(f"{name}: not measured, {found.reason}.")
        else:
            self.numbers.append(
                Number(name, found.value, found.low, found.high, found.n, unit="share", **fields)
            )


def read_pairs(judge: Judge, items: Sequence[Item], asking: Asking) -> tuple[Array, Array]:
    """Log-odds of the first shown [pairs, 2] in both orders, and what is right when averaged.

    Equal texts have no log-odds, and are a tie, which is right of no pair with a better one.
    """
    each, _ = read_orders(items, judge, asking)
    judgments = [pair_judgment(item, own, "average") for item, own in zip(items, each, strict=True)]
    return order_odds(each), rights(judgments)


def likelihoods_of(judge: LikelihoodJudge, items: Sequence[Item]) -> Array:
    """The likelihood of both candidates [2, pairs], in nats for each token."""
    pairs = [(item.instruction, one.text) for item in items for one in item.candidates]
    return np.array(judge.likelihoods(pairs)).reshape(-1, 2).T


def report_of(
    items: Sequence[Item], odds: Array, right: Array, untuned: Array, likelihoods: Array
) -> Report:
    """The report on held-out pairs.

    `odds` and `right` are those of `read_pairs`, `untuned` what the same model is right on by its
    own words, `likelihoods` [2, pairs] those of the candidates. A reader is called better than a
    baseline only by the mean that is balanced over the strata.
    """
    axes = axes_of(items, likelihoods)
    del axes["slot"]  # both orders are averaged
    likelier = np.where(likelihoods[0] > likelihoods[1], 1.0, 0.0) == first_is_better(items)
    likelier = np.where(np.isnan(likelihoods).any(0), np.nan, likelier)
    readers: dict[str, Array] = {UNTUNED: untuned, LIKELIHOOD: likelier}
    readers |= {name: baseline_rights(items, pick) for name, pick in BASELINES.items()}
    found = Report()
    strata = by_stratum(axes, right)
    base = _share(likelier).value
    found.tell("right, both orders averaged", _share(right), baseline=base)
    balanced = {name: balanced_mean(by_stratum(axes, own)) for name, own in readers.items()}
    known = [one.value for one in balanced.values() if not np.isnan(one.value)]
    found.tell("right, balanced over the strata", balanced_mean(strata),
               baseline=max(known, default=None))  # fmt: skip
    _orders(found, items, odds)
    for one in strata:
        for side, measured in one.sides.items():
            found.tell(f"right, good answer {side}", measured)
    for name, own in readers.items():
        found.tell(f"right, {name}", _share(own))
        found.tell(f"right, {name}, balanced", balanced[name])
        told = "better" if is_better(axes, right, own) else "not shown to be better"
        found.remarks.append(f"{told} than the baseline, balanced over the strata: {name}.")
    if (shortcut := shortcut_of(axes, right)) is not None:
        found.remarks.append(f"{shortcut.text}: it prefers what is {shortcut.prefers}.")
    everyone = {TUNED: right, **readers}
    found.table = _table({name: by_stratum(axes, one) for name, one in everyone.items()}, everyone)
    return found


def _orders(found: Report, items: Sequence[Item], odds: Array) -> None:
    """What each order says by itself."""
    known = ~np.isnan(odds).any(1)
    first, second = odds[known].T
    is_first = first_is_better(items)[known]
    turned = (first > 0) == (second > 0)
    found.tell("turned by the order", share(turned, empty="no verdict in both orders"),
               better="lower", baseline=0.0)  # fmt: skip
    shown_first = np.where(is_first, first > 0, second > 0)
    shown_second = np.where(is_first, second < 0, first < 0)
    for name, hits in (("first", shown_first), ("second", shown_second)):
        found.tell(f"right, good answer shown {name}", share(hits, empty="no verdict"))
    if failed := int((~known).sum()):
        found.remarks.append(f"{failed} pairs have no verdict in both orders.")


def _share(right: Array) -> Measured:
    known = ~np.isnan(right)
    return share(right[known], num_skipped=int((~known).sum()), empty="there is no verdict")


def _table(strata: dict[str, list[Strata]], right: dict[str, Array]) -> Table:
    sides = [side for one in strata[TUNED] for side in SIDES[one.axis]]
    rows: list[list[Any]] = []
    for name, own in strata.items():
        cells = [_share(right[name]), balanced_mean(own)]
        cells += [one for part in own for one in part.sides.values()]
        rows.append([name, *(_cell(one) for one in cells)])
    caption = "Held-out pairs judged rightly (%), all and by what the good answer is."
    return Table(("reader", "all", "balanced", *sides), rows, caption)


def _cell(one: Measured) -> str:
    if np.isnan(one.value):
        return "-"
    bounds = "" if one.low is None or one.high is None else (
        f" [{100 * one.low:.0f}, {100 * one.high:.0f}]"
    )  # fmt: skip
    return f"{100 * one.value:.1f}{bounds}"


def card_text(title: str, facts: dict[str, Any], found: Report) -> str:
    """The card of a judge's folder, in Markdown."""
    lines = [f"# {title}", "", "Open it with `--judge FOLDER`.", ""]
    lines += [markdown_rows(("", "value"), [(name, str(one)) for name, one in facts.items()]), ""]
    rows = [tuple(map(str, row)) for row in found.table.rows]
    lines += ["## Held-out pairs", "", found.table.caption, ""]
    lines += [markdown_rows(tuple(found.table.columns), rows), ""]
    lines += [f"- {one}" for one in found.remarks]
    return "\n".join(lines) + "\n"
