"""The action panel: several judges of the same items, what they come to, and what they add.

Each judge alone stands beside the panel in the same table, for a panel of clones buys nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import cast

import numpy as np

from modelgraft.core.files import dump_json, write_atomic
from modelgraft.core.results import Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.intervals import paired_bootstrap, wilson
from modelgraft.evaluation.report import Turn, save_trace
from modelgraft.methods.judge.config import PanelConfig
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Judge, Verdict
from modelgraft.methods.judge.judges.chat import ChatJudge
from modelgraft.methods.judge.judging import judgments as judging
from modelgraft.methods.judge.judging.judgments import TIE, Asking, Judgment
from modelgraft.methods.judge.method.agreement import cohen_kappa, krippendorff_alpha
from modelgraft.methods.judge.method.coefficients import bootstrap
from modelgraft.methods.judge.method.panels import Pooling, panel_worth
from modelgraft.methods.judge.opening import (
    asking_of,
    items_of,
    open_judges,
    store_of,
)
from modelgraft.methods.judge.panel.conferring import (
    Debate,
    Discussion,
    Talk,
    Verification,
    shipped_roles,
)
from modelgraft.methods.judge.panel.pooling import PairPool, fit_model, pool_pairs, pool_points
from modelgraft.methods.judge.summaries import (
    agreement_numbers,
    failure_numbers,
    percent,
    unanswered,
    write_judgments,
)

_REPEATS = 3  # looks of a verifier that draws its answers


@dataclass
class Seat:
    """A judge of the panel, how it is asked, and what it said of every item."""

    name: str
    judge: Judge
    asking: Asking
    judgments: list[Judgment] = field(default_factory=list)


def panel(config: PanelConfig, run: Run) -> Result:
    """Judge items by several judges, and by what they come to together."""
    askings = [asking_of(one, config.mode) for one in config.members]
    is_pair = config.mode == "pair"
    items = items_of(config, run, at_least=2 if is_pair else 1, at_most=2 if is_pair else None)
    verdicts: list[Verdict] = []
    with store_of(config, run) as store:
        judges, names = open_judges(config, run, store)
        seats = [Seat(*one) for one in zip(names, judges, askings, strict=True)]
        for seat in seats:
            verdicts += judge_seat(seat, items, config, run.seed)
        voters, talks, more = seats, list[Talk](), list[Number]()
        if config.protocol != "vote":
            voters, talks, more, said = confer(seats, items, config, run.seed)
            verdicts += said
    judgments = pooled(items, voters, config, verdicts, run.seed)
    write_judgments(run, judgments, verdicts)
    _write_seats(run, [*seats, *(one for one in voters if one not in seats)])
    if talks:
        _write_talks(run, talks)
    told, remarks = panel_numbers(items, seats, voters, judgments, config)
    numbers = (Number("items", len(items)), *told, *more, *failure_numbers(verdicts))
    return Result(numbers, remarks=tuple(remarks), partial=unanswered(verdicts))


def judge_seat(seat: Seat, items: Sequence[Item], config: PanelConfig, seed: int) -> list[Verdict]:
    """Fill in what a judge says of every item; its verdicts, with its name."""
    if config.mode == "point":
        found, verdicts = judging.score(items, seat.judge, seat.asking)
    else:
        found, verdicts = judging.compare(
            items, seat.judge, seat.asking, swap=config.swap, seed=seed
        )
    seat.judgments = found
    return [replace(one, meta={**one.meta, "judge": seat.name}) for one in verdicts]


def pooled(
    items: Sequence[Item],
    voters: Sequence[Seat],
    config: PanelConfig,
    verdicts: Sequence[Verdict],
    seed: int,
) -> list[Judgment]:
    """The panel's judgments. A single judge that was talked to decides alone."""
    table = [one.judgments for one in voters]
    if config.mode == "point":
        how = "mean" if config.pool == "auto" else config.pool
        better = voters[0].asking.rubric.better
        return pool_points(items, table, cast("Pooling", how), better=better, verdicts=verdicts)
    if len(voters) == 1:
        return list(table[0])
    how = "majority" if config.pool == "auto" else config.pool
    return pool_pairs(items, table, cast("PairPool", how), tie=config.tie, seed=seed)


# -- judges that talk first ------------------------------------------------------------------------


def confer(
    seats: Sequence[Seat], items: Sequence[Item], config: PanelConfig, seed: int
) -> tuple[list[Seat], list[Talk], list[Number], list[Verdict]]:
    """The seats of those who judge after a talk, what was said, numbers of it, and verdicts."""
    chats = [cast("ChatJudge", one.judge) for one in seats]
    asking = seats[-1].asking
    voters: list[Seat]
    if config.protocol == "discuss":
        judges = chats if len(chats) > 1 else chats * 2
        roles = shipped_roles()
        given = [roles[place % len(roles)] for place in range(len(judges))]
        talk = Discussion(judges, given, rounds=config.rounds, turns=config.turns)
        names = [seats[place % len(seats)].name for place in range(len(judges))]
        voters = [
            Seat(f"{name} as {role}", one, asking)
            for name, role, one in zip(names, given, talk.speakers(), strict=True)
        ]
    elif config.protocol == "debate":
        talk = Debate((chats[0], chats[1 % len(chats)]), chats[-1], rounds=config.rounds)
        voters = [Seat(f"{seats[-1].name} after a debate", talk, asking)]
    else:
        repeats = _REPEATS if config.temperature else 1
        talk = Verification(chats[0], chats[-1], repeats=repeats)
        name = f"{seats[0].name}, verified by {seats[-1].name}"
        voters = [Seat(name, talk, seats[0].asking)]
    verdicts = [verdict for voter in voters for verdict in judge_seat(voter, items, config, seed)]
    numbers = [
        Number("talks", len(talk.talks)),
        Number("talks that somebody did not answer in",
               sum(bool(one.broken) for one in talk.talks), better="lower"),
    ]  # fmt: skip
    if isinstance(talk, Verification) and talk.num_checked:
        share = wilson(talk.num_flipped, talk.num_checked)
        bounds = percent(share.low), percent(share.high)
        name = "decisions that the verifier changed"
        numbers.append(Number(name, 100 * share.value, *bounds, share.n, unit="%"))
    return voters, talk.talks, numbers, verdicts


# -- what a panel is worth -------------------------------------------------------------------------


def panel_numbers(
    items: Sequence[Item],
    seats: Sequence[Seat],
    voters: Sequence[Seat],
    judgments: Sequence[Judgment],
    config: PanelConfig,
) -> tuple[list[Number], list[str]]:
    """Agreement with labels and among judges, of the panel beside each judge alone; remarks."""
    numbers, remarks = _right(seats, judgments)
    if config.mode == "pair":
        ties = sum(one.winner == TIE for one in judgments)
        numbers.append(Number("ties of the panel", ties, n=len(judgments), better="lower"))
    else:
        numbers.append(_unpooled(items, voters, judgments))
    sure = [one.confidence for one in judgments if one.confidence is not None]
    if sure:
        numbers.append(Number("mean confidence of the panel", float(np.mean(sure)), n=len(sure)))
    for told in (
        _agreement(items, voters, config) if len(voters) > 1 else ([], []),
        _worth(voters) if len(voters) > 1 else ([], []),
        _model(items, voters) if len(voters) > 1 and config.mode == "pair" else ([], []),
    ):
        numbers += told[0]
        remarks += told[1]
    return numbers, remarks


def _right(seats: Sequence[Seat], judgments: Sequence[Judgment]) -> tuple[list[Number], list[str]]:
    """Agreement with labels where there is a verdict; those without one are counted beside it."""
    if not agreement_numbers(judgments):
        return [], ["no item has a label that names the better candidate: nothing is compared."]
    alone = {one.name: _points(one.judgments) for one in seats}
    ours = _points(judgments)
    means = {name: np.mean(list(own.values())) for name, own in alone.items() if own}
    best = max(means, key=means.__getitem__, default=None)
    numbers = [
        replace(one, name=f"the panel {one.name}", baseline=100 * float(means[best]))
        if one.unit and best is not None else one
        for one in agreement_numbers(judgments)
    ]  # fmt: skip
    for seat in seats:
        for one in agreement_numbers(seat.judgments):
            name = f"alone: {seat.name}" if one.unit else f"{one.name}: {seat.name}"
            numbers.append(replace(one, name=name))
    if best is None:
        return numbers, ["no judge has a verdict on a labelled item: nothing is compared."]
    both = sorted(ours.keys() & alone[best].keys())
    if both:
        gain = paired_bootstrap(
            [ours[place] for place in both], [alone[best][place] for place in both]
        )
        numbers.append(
            Number("gain over its best judge alone", 100 * gain.value, percent(gain.low),
                   percent(gain.high), gain.n, unit="points", baseline=0.0)
        )  # fmt: skip
    return numbers, [f"the best judge alone, chosen on the same labels, is {best}."]


def _points(judgments: Sequence[Judgment]) -> dict[int, float]:
    """Whether each verdict on an item with a better candidate is right, by the item's place."""
    return {
        place: float(one.winner == one.label)
        for place, one in enumerate(judgments)
        if one.winner is not None and isinstance(one.label, str) and one.label != TIE
    }


def _unpooled(
    items: Sequence[Item], voters: Sequence[Seat], judgments: Sequence[Judgment]
) -> Number:
    """How many candidates some judges scored and others did not, so that the panel does not."""
    num = sum(
        len({name for voter in voters for name in voter.judgments[place].scores} - set(one.scores))
        for place, one in enumerate(judgments)
    )
    total = sum(len(one.candidates) for one in items)
    return Number("candidates without the score of a judge", num, n=total, better="lower")


def _agreement(
    items: Sequence[Item], voters: Sequence[Seat], config: PanelConfig
) -> tuple[list[Number], list[str]]:
    """Krippendorff's alpha, and of pairs Cohen's kappa of every two judges."""
    numbers, remarks = [], []
    is_point = config.mode == "point"
    if is_point:
        table = np.array(
            [
                [voter.judgments[place].scores.get(one.id, np.nan) for voter in voters]
                for place, item in enumerate(items)
                for one in item.candidates
            ]
        )
        found = bootstrap(lambda rows: krippendorff_alpha(rows, scale="interval"), table)
    else:
        columns = [[_side(*one) for one in zip(items, voter.judgments, strict=True)]
                   for voter in voters]  # fmt: skip
        table = np.array(columns, dtype=object).T
        found = bootstrap(krippendorff_alpha, table)
    if np.isnan(found.value):
        remarks.append(f"agreement among judges: not measured, {found.reason}.")
    else:
        numbers.append(Number("agreement among judges (alpha)", found.value, found.low, found.high,
                              found.n))  # fmt: skip
    for one, other in combinations(range(len(voters)), 2) if not is_point else ():
        kappa = cohen_kappa(list(table[:, one]), list(table[:, other]))
        names = f"{voters[one].name} and {voters[other].name}"
        if np.isnan(kappa.value):
            remarks.append(f"kappa of {names}: not measured, {kappa.reason}.")
        else:
            numbers.append(Number(f"kappa: {names}", kappa.value, n=kappa.num))
    return numbers, remarks


def _side(item: Item, judgment: Judgment) -> str | None:
    if judgment.winner in (None, TIE):
        return judgment.winner
    return "first" if judgment.winner == item.candidates[0].id else "second"


def _worth(voters: Sequence[Seat]) -> tuple[list[Number], list[str]]:
    """How many independent judges they amount to, and what a majority of those would reach."""
    rows = [
        [float(one.is_right or False) for one in own]
        for own in zip(*(voter.judgments for voter in voters), strict=True)
        if isinstance(own[0].label, str) and own[0].label != TIE
        and all(one.winner is not None for one in own)
    ]  # fmt: skip
    if not rows:
        return [], []
    found = panel_worth(rows)
    if np.isnan(found.size):
        return [], [f"effective size of the panel: not measured, {found.correlation.reason}."]
    numbers = [
        Number("correlation of the judges' errors", found.correlation.value, n=found.num,
               better="lower", baseline=0.0),
        Number("majority of the judges is right", 100 * found.observed, n=found.num, unit="%",
               baseline=100 * found.predicted),
    ]  # fmt: skip
    if np.isfinite(found.size):
        numbers.insert(1, Number("independent judges they amount to", found.size, n=found.num,
                                 baseline=float(len(voters))))  # fmt: skip
    told = (
        f"a majority of as many independent judges would be right in "
        f"{100 * found.if_independent:.1f} %, of as many as they amount to in "
        f"{100 * found.predicted:.1f} %, and theirs is in {100 * found.observed:.1f} %."
    )
    return numbers, [told]


def _model(items: Sequence[Item], voters: Sequence[Seat]) -> tuple[list[Number], list[str]]:
    """How often each judge is right by Dawid and Skene, which needs no labels."""
    rows = zip(*(voter.judgments for voter in voters), strict=True)
    fitted = fit_model(items, [[one.winner for one in own] for own in rows])
    if fitted is None:
        return [], []
    model, places = fitted
    numbers = [
        Number(f"right by Dawid-Skene: {voter.name}", 100 * float(accuracy), n=len(places),
               unit="%")
        for voter, accuracy in zip(voters, model.accuracies, strict=True)
    ]  # fmt: skip
    return numbers, [] if model.is_settled else ["Dawid-Skene has not settled in its steps."]


# -- files -----------------------------------------------------------------------------------------


def _write_seats(run: Run, seats: Sequence[Seat]) -> None:
    path = run.add("text", "members.jsonl", "One row for each item of each judge")
    rows = [{"judge": seat.name, **one.as_row()} for seat in seats for one in seat.judgments]
    write_atomic(path, "".join(dump_json(row) + "\n" for row in rows))


def _write_talks(run: Run, talks: Sequence[Talk]) -> None:
    path = run.add("text", "talks.jsonl", "One row for each talk: who said what")
    write_atomic(path, "".join(dump_json(one.as_row()) + "\n" for one in talks))
    first = next((one for one in talks if one.speeches), talks[0])
    turns = [Turn(one.speaker, one.text) for one in first.speeches]
    turns += [Turn(name, f"verdict: {label}") for name, label in first.verdicts.items()]
    save_trace(run.add("trace", "talk.jsonl", f"The talk about item {first.call.item.id}"), turns)
