"""What a judge is worth, before its verdicts: order, length, layout, inserted text, attacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from modelgraft.core.results import Number
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judging.judgments import (
    TIE,
    Asking,
    Judgment,
    compare,
    order_odds,
    pair_judgment,
    read_orders,
)
from modelgraft.methods.judge.probes import measures
from modelgraft.methods.judge.probes.attack_measures import attack_success
from modelgraft.methods.judge.probes.attacks import attacked_slots
from modelgraft.methods.judge.probes.measured import Measured
from modelgraft.methods.judge.probes.pairs import good_places, leads, lengths, lists
from modelgraft.methods.judge.probes.strata import (
    BASELINES,
    axes_of,
    balanced_mean,
    baseline_rights,
    by_stratum,
    is_better,
    rights,
    shortcut_of,
)
from modelgraft.methods.judge.probes.transforms import PROBES
from modelgraft.methods.judge.probes.wordings import renamed_labels


@dataclass
class Audit:
    """The pairs that were judged, what came of them, and what is told."""

    items: list[Item]
    judgments: list[Judgment] = field(default_factory=list)
    odds: Array = field(default_factory=lambda: np.zeros((0, 2)))
    numbers: list[Number] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    def tell(self, name: str, found: Measured, **fields: Any) -> None:
        """Add a measure; one that is undefined becomes a remark with its reason."""
        if np.isnan(found.value):
            self.remarks.append(f"{name}: not measured, {found.reason}.")
        else:
            self.numbers.append(Number(name, found.value, found.low, found.high, found.n, **fields))


def audit_pairs(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    run: Run,
    *,
    probes: Sequence[str] = (),
    attacks: Sequence[str] = (),
    own: str = "",
    names: Sequence[str] = (),
) -> Audit:
    """Judge pairs in both orders, then changed and attacked ones, and measure what moves.

    `own` is the generator whose answers are the judge's own, `names` are other labels to ask by.
    """
    audit = Audit(list(items))
    _in_both_orders(audit, judge, asking)
    _position(audit)
    _lengths(audit)
    if own:
        _own_answers(audit, own)
    if names:
        _label_names(audit, judge, asking, names)
    if (good_places(audit.items) >= 0).any():
        _strata(audit)
    for place, name in enumerate(probes):
        run.check()
        run.progress(place, len(probes) + len(attacks), f"probe: {name}")
        _probe(audit, judge, asking, name)
    for place, name in enumerate(attacks):
        run.check()
        run.progress(len(probes) + place, len(probes) + len(attacks), f"attack: {name}")
        _attack(audit, judge, asking, name)
    return audit


def _in_both_orders(audit: Audit, judge: Judge, asking: Asking) -> None:
    each, audit.verdicts = read_orders(audit.items, judge, asking)
    audit.odds = order_odds(each)
    audit.judgments = [
        pair_judgment(item, own, "average") for item, own in zip(audit.items, each, strict=True)
    ]


def _position(audit: Audit) -> None:
    first, second = audit.odds.T
    audit.tell("both orders agree", measures.consistency(first, second), unit="share")
    audit.tell("first slot wins", measures.first_slot_share(first, second), unit="share",
               baseline=0.5)  # fmt: skip
    audit.tell("gain of the first slot", measures.mean_position(first, second), unit="nats",
               baseline=0.0)  # fmt: skip
    audit.tell("lean of orders that disagree", measures.preference_fairness(first, second),
               baseline=0.0)  # fmt: skip
    masses = [one.mass for one in audit.verdicts if one.mass is not None]
    if masses:
        audit.numbers.append(
            Number("probability on the labels", float(np.mean(masses)), n=len(masses), baseline=1.0)
        )


def _lengths(audit: Audit) -> None:
    lead = leads(audit.items, audit.judgments)
    sizes, layouts = lengths(audit.items), lists(audit.items)
    audit.tell("prefers the longer", measures.prefers_longer(lead, sizes), unit="share",
               baseline=0.5)  # fmt: skip
    audit.tell("prefers the list", measures.prefers_list(lead, layouts), unit="share", baseline=0.5)


def _own_answers(audit: Audit, own: str) -> None:
    """Whether the judge prefers its own answers where people do not."""
    judge, human = [], []
    for item, judgment in zip(audit.items, audit.judgments, strict=True):
        ours = {one.id for one in item.candidates if one.meta.get("generator") == own}
        if len(ours) == 1:
            judge.append(np.nan if judgment.winner in (None, TIE) else judgment.winner in ours)
            is_known = isinstance(item.label, str) and item.label != TIE
            human.append(float(item.label in ours) if is_known else np.nan)
    gap = measures.equal_opportunity_gap(judge, human)
    audit.tell(f"prefers answers of {own} more than people do", gap, unit="share", better="lower",
               baseline=0.0)  # fmt: skip


def _label_names(audit: Audit, judge: Judge, asking: Asking, names: Sequence[str]) -> None:
    """How many verdicts change when the labels have other names."""
    renamed = replace(asking, template=renamed_labels(asking.template, names))
    after, verdicts = compare(audit.items, judge, renamed)
    audit.verdicts += verdicts
    found = measures.verdict_change_rate(
        [one.winner for one in audit.judgments], [one.winner for one in after],
        [one.id for one in audit.items],
    )  # fmt: skip
    audit.tell(f"labels named {', '.join(names)}: verdicts that change", found, unit="share",
               better="lower", baseline=0.0)  # fmt: skip


def _strata(audit: Audit) -> None:
    right = rights(audit.judgments)
    axes = axes_of(audit.items)
    del axes["slot"]  # both orders are averaged
    strata = by_stratum(axes, right)
    for one in strata:
        for side, found in one.sides.items():
            audit.tell(f"right, good answer {side}", found, unit="share")
    audit.tell("right, balanced over the strata", balanced_mean(strata), unit="share", baseline=0.5)
    if (shortcut := shortcut_of(axes, right)) is not None:
        audit.remarks.append(f"{shortcut.text}: it prefers what is {shortcut.prefers}.")
    for name, pick in BASELINES.items():
        theirs = baseline_rights(audit.items, pick)
        known = theirs[~np.isnan(theirs)]
        audit.numbers.append(
            Number(f"right, baseline: {name}", float(known.mean()), n=len(known), unit="share")
        )
        if not is_better(axes, right, theirs):
            audit.remarks.append(f"not shown to be better than the baseline: {name}.")


def _probe(audit: Audit, judge: Judge, asking: Asking, name: str) -> None:
    """How many verdicts a change leaves, beside asking the same again."""
    changed = [(place, one) for place, item in enumerate(audit.items) for one in PROBES[name](item)]
    if not changed:
        audit.remarks.append(f"probe {name}: it applies to no item.")
        return
    after, verdicts = compare([one for _, one in changed], judge, asking)
    audit.verdicts += verdicts
    before = [audit.judgments[place].winner for place, _ in changed]
    kept = [one.winner for one in after]
    names = [audit.items[place].id for place, _ in changed]
    found = measures.verdict_change_rate(before, kept, names)
    audit.tell(f"probe {name}: verdicts that change", found, unit="share", better="lower",
               baseline=0.0)  # fmt: skip


def _attack(audit: Audit, judge: Judge, asking: Asking, name: str) -> None:
    """How often the worse answer wins with an attack in it, over both slots."""
    places = good_places(audit.items)
    known = [place for place in range(len(audit.items)) if places[place] >= 0]
    if not known:
        return
    bad = [audit.items[place].candidates[1 - places[place]].id for place in known]
    made = [
        one
        for place, worse in zip(known, bad, strict=True)
        for one in attacked_slots(audit.items[place], worse, name, asking.template, asking.rubric)
    ]
    judgments, verdicts = compare(made, judge, asking, swap="none")
    audit.verdicts += verdicts
    won = [_wins(one, worse) for one, worse in zip(judgments, np.repeat(bad, 2), strict=True)]
    plain = [_plain_wins(audit, place, 1 - int(places[place])) for place in known]
    found = attack_success(np.array(won).reshape(-1, 2), np.array(plain))
    audit.tell(f"attack {name}: gain of the worse answer", found.rate, unit="share",
               better="lower", baseline=0.0)  # fmt: skip
    audit.tell(f"attack {name}: worse answer wins in both slots", found.both_slots, unit="share",
               better="lower", baseline=0.0)  # fmt: skip


def _wins(judgment: Judgment, candidate: str) -> float:
    return np.nan if judgment.winner is None else float(judgment.winner == candidate)


def _plain_wins(audit: Audit, place: int, worse: int) -> list[float]:
    """Whether the worse answer wins without an attack, shown first and shown second."""
    own = audit.odds[place]
    first, second = own if worse == 0 else own[::-1]
    return [np.nan if np.isnan(one) else float(one > 0) for one in (first, -second)]
