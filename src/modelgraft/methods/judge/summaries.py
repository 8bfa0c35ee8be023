"""What judgments and verdicts come to: files for people to read, and numbers for every action."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from modelgraft.core.files import dump_json, write_atomic
from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import bootstrap_mean, wilson
from modelgraft.language.endpoints.calls import LATER, still_open
from modelgraft.language.endpoints.exchange import Failure
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging.judgments import TIE, Judgment


def write_judgments(run: Run, judgments: Sequence[Judgment], verdicts: Sequence[Verdict]) -> None:
    """Both as JSONL artefacts."""
    write_rows(run, "judgments", judgments, "One row for each item")
    write_rows(run, "verdicts", verdicts, "One row for each look of the judge")


def write_rows(run: Run, name: str, rows: Sequence[Any], caption: str) -> None:
    """Rows as a JSONL artefact."""
    path = run.add("text", f"{name}.jsonl", caption)
    write_atomic(path, "".join(dump_json(one.as_row()) + "\n" for one in rows))


def agreement_numbers(judgments: Sequence[Judgment]) -> list[Number]:
    """How often the winner is the labelled one, a tie wrong.

    Items without a verdict are left out of the share, and counted beside it.
    """
    known = [one for one in judgments if isinstance(one.label, str) and one.label != TIE]
    if not known:
        return []
    decided = [one for one in known if one.winner is not None]
    return [
        *_share_of("agrees with the label", [one.is_right or False for one in decided], 50.0),
        Number("labelled items without a verdict", len(known) - len(decided), better="lower"),
    ]


def winner_numbers(items: Sequence[Item], winners: Sequence[str | None]) -> list[Number]:
    """How often the labelled candidate comes first; nothing without labels.

    Items of which nobody can say who is first are left out of the share, and counted beside it.
    """
    known = [
        (item.label, winner)
        for item, winner in zip(items, winners, strict=True)
        if isinstance(item.label, str) and item.label != TIE
    ]
    if not known:
        return []
    decided = [label == winner for label, winner in known if winner is not None]
    return [
        *_share_of("the labelled one comes first", decided, None),
        Number("labelled items without a winner", len(known) - len(decided), better="lower"),
    ]


def _share_of(name: str, hits: Sequence[bool], baseline: float | None) -> list[Number]:
    """The share in percent; nothing where there is nothing that it could be the share of."""
    if not hits:
        return []
    share = wilson(sum(hits), len(hits))
    return [
        Number(name, 100 * share.value, percent(share.low), percent(share.high), share.n,
               unit="%", baseline=baseline)
    ]  # fmt: skip


def abstention_numbers(judgments: Sequence[Judgment]) -> list[Number]:
    """How many verdicts were not sure enough to stand; nothing where no threshold was applied."""
    known = [one for one in judgments if one.abstained is not None]
    if not known:
        return []
    share = wilson(sum(one.abstained or False for one in known), len(known))
    return [
        Number("abstained", 100 * share.value, percent(share.low), percent(share.high), share.n,
               unit="%", better="lower")
    ]  # fmt: skip


def order_numbers(judgments: Sequence[Judgment]) -> list[Number]:
    """What both orders say: consistency, and what the first slot gains."""
    both = [one for one in judgments if one.is_consistent is not None]
    numbers = []
    if both:
        share = wilson(sum(one.is_consistent or False for one in both), len(both))
        numbers.append(Number("both orders agree", 100 * share.value, percent(share.low),
                              percent(share.high), share.n, unit="%"))  # fmt: skip
    gains = [one.position for one in both if one.position is not None]
    if gains:
        found = bootstrap_mean(np.array(gains))
        numbers.append(Number("gain of the first slot", found.value, found.low, found.high,
                              found.n, unit="nats", baseline=0.0))  # fmt: skip
    return numbers


def failure_numbers(verdicts: Sequence[Verdict]) -> list[Number]:
    """Verdicts that were not ok, by status, and the mean mass of the labels."""
    failed: Counter[str] = Counter(one.status for one in verdicts if one.status != "ok")
    numbers = [
        Number("verdicts", len(verdicts)),
        Number("verdicts that failed", failed.total(), n=len(verdicts), better="lower"),
        *(Number(f"failed: {name}", num, better="lower") for name, num in sorted(failed.items())),
    ]
    masses: list[Any] = [one.mass for one in verdicts if one.mass is not None]
    if masses:
        numbers.append(Number("probability on the labels", float(np.mean(masses)), n=len(masses)))
    return numbers


def unanswered(verdicts: Sequence[Verdict]) -> str:
    """Why calls wait for another attempt, as the sentence of a partial result; empty if none do."""
    waiting = [
        Failure(one.meta["reason"], "") for one in verdicts if one.meta.get("reason") in LATER
    ]
    return still_open(len(waiting), "calls", waiting)


def percent(share: float | None) -> float | None:
    """A share in percent; None stays None."""
    return None if share is None else 100 * share
