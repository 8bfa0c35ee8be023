"""From items to judgments: which calls are made, and what their verdicts come to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import numpy as np

from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Call, Judge, Verdict
from modelgraft.methods.judge.method.pairwise import (
    Policy,
    average_samples,
    decide,
    decide_one,
    shows_b_first,
)
from modelgraft.methods.judge.method.pointwise import Pooling, sampled_score
from modelgraft.methods.judge.prompts import Hardening, Template
from modelgraft.methods.judge.rubric import Rubric

TIE = "tie"
BOTH_ORDERS = ((0, 1), (1, 0))
Orders = dict[tuple[int, int], list[Verdict]]
Reading = Literal["expectation", "argmax"]


@dataclass(frozen=True)
class Asking:
    """How items are put to a judge.

    With `own_rubrics` an item that has a "rubric" in its meta is judged by that question. Of
    several sets of `examples` each sample shows the next.
    """

    template: Template
    rubric: Rubric
    hardening: Hardening = "fence"
    samples: int = 1
    own_rubrics: bool = False
    examples: tuple[tuple[Item, ...], ...] = ()

    def call(self, item: Item, *order: int, sample: int = 0) -> Call:
        """The call on candidates of an item in this order."""
        rubric = self.rubric
        if self.own_rubrics and (own := item.meta.get("rubric")):
            rubric = replace(rubric, question=str(own), levels=(), steps=(), rules=())
        shown = self.examples[sample % len(self.examples)] if self.examples else ()
        return Call(item, order, self.template, rubric, self.hardening, sample, examples=shown)


@dataclass(frozen=True)
class Judgment:
    """What a judge's verdicts on an item come to.

    Of a pair `winner` is a candidate's id, "tie", or None without a verdict, `probability` that of
    the item's first candidate, `content` d and `position` u in nats. `scores` are those of the
    candidates by id, `failed` counts verdicts by their status where it is not ok. `confidence` is
    the calibrated probability that the winner is right; with a threshold `abstained` says whether
    it was below, and then there is no winner.
    """

    item: str
    group: str
    label: str | float | None
    winner: str | None = None
    probability: float | None = None
    content: float | None = None
    position: float | None = None
    is_consistent: bool | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    mass: float | None = None
    confidence: float | None = None
    abstained: bool | None = None

    @property
    def is_right(self) -> bool | None:
        """Whether the winner is the labelled one; None without a label or a verdict."""
        if self.winner is None or not isinstance(self.label, str):
            return None
        return self.winner == self.label

    def as_row(self) -> dict[str, Any]:
        """The judgment as a row of JSONL, without what is not known."""
        return {name: one for name, one in asdict(self).items() if one not in (None, "", {})}


# -- pairs -----------------------------------------------------------------------------------------


def pair_orders(item: Item, swap: Policy, *, seed: int = 0) -> tuple[tuple[int, int], ...]:
    """The orders in which a pair is shown; none for two equal texts, which are a tie."""
    a, b = (one.text for one in item.candidates)
    if a == b:
        return ()
    if swap == "none":
        return ((0, 1),)
    if swap == "random":
        return ((1, 0),) if shows_b_first(a, b, seed=seed) else ((0, 1),)
    return BOTH_ORDERS


def compare(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    *,
    swap: Policy = "average",
    prior: float = 0.0,
    seed: int = 0,
) -> tuple[list[Judgment], list[Verdict]]:
    """Judgments of pairs, and the verdicts they rest on.

    `prior` is what the first slot gains (`pairwise.slot_prior`), for policies of one order. Of
    several samples the log-odds are averaged.
    """
    each, verdicts = read_orders(items, judge, asking, swap, seed=seed)
    pairs = zip(items, each, strict=True)
    return [pair_judgment(item, own, swap, prior) for item, own in pairs], verdicts


def read_orders(
    items: Sequence[Item], judge: Judge, asking: Asking, swap: Policy = "average", *, seed: int = 0
) -> tuple[list[Orders], list[Verdict]]:
    """The verdicts on each pair by the order in which it was shown, and all of them in one list.

    An order has one verdict for each sample; a pair of equal texts is not asked and has no order.
    """
    shown = [(item, pair_orders(item, swap, seed=seed)) for item in items]
    verdicts = judge.read(
        [
            asking.call(item, *order, sample=sample)
            for item, orders in shown
            for order in orders
            for sample in range(asking.samples)
        ]
    )
    found = iter(verdicts)
    each = [
        {order: [next(found) for _ in range(asking.samples)] for order in orders}
        for _, orders in shown
    ]
    return each, verdicts


def order_odds(each: Sequence[Mapping[tuple[int, int], Sequence[Verdict]]]) -> Array:
    """Log-odds of the first shown [pairs, 2] in both orders, nan where there are none.

    Of several samples it is their mean, of written ones the majority; equal texts have none.
    """
    found = [[_mean_odds(own.get(order, ())) for order in BOTH_ORDERS] for own in each]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def pair_judgment(
    item: Item,
    verdicts: Mapping[tuple[int, int], Sequence[Verdict]],
    swap: Policy,
    prior: float = 0.0,
) -> Judgment:
    """The judgment of a pair from its verdicts in each order."""
    names = {"a": item.candidates[0].id, "b": item.candidates[1].id, TIE: TIE}
    every = [one for found in verdicts.values() for one in found]
    about = _about(item, every)
    if not verdicts:
        return replace(about, winner=TIE, probability=0.5, is_consistent=True)
    odds = {order: _mean_odds(found) for order, found in verdicts.items()}
    if any(np.isnan(value) for value in odds.values()):
        return about
    if len(odds) == 1:
        [(order, value)] = odds.items()
        outcome = decide_one(value, prior, is_swapped=order == (1, 0))
        return replace(about, winner=names[outcome.winner], probability=outcome.probability)
    first, second = odds[0, 1], odds[1, 0]
    if swap == "average" and all(any(one.scores for one in own) for own in verdicts.values()):
        return _by_scores(about, item, verdicts, bool(np.sign(first) == -np.sign(second)))
    share = _vote_share(verdicts)
    if swap == "average" and share is not None:
        winner = TIE if share == 0.5 else names["a" if share > 0.5 else "b"]
        agree = bool(np.sign(first) == -np.sign(second))
        return replace(about, winner=winner, probability=share, is_consistent=agree)
    outcome = decide(first, second, swap)
    judged = replace(about, winner=names[outcome.winner], is_consistent=outcome.is_consistent)
    if not np.isfinite([first, second]).all():
        return judged  # written verdicts say who wins, and not by how much
    d, u = (first - second) / 2, (first + second) / 2
    return replace(judged, probability=outcome.probability, content=d, position=u)


def _by_scores(
    about: Judgment,
    item: Item,
    verdicts: Mapping[tuple[int, int], Sequence[Verdict]],
    is_consistent: bool,
) -> Judgment:
    """The candidate with the higher mean of the scores that both orders and all samples give it."""
    of_first = [[one.scores[0] for one in verdicts[order] if one.scores] for order in BOTH_ORDERS]
    of_second = [[one.scores[1] for one in verdicts[order] if one.scores] for order in BOTH_ORDERS]
    of_a, of_b = (of_first[0], of_second[1]), (of_second[0], of_first[1])
    a, b, winner = average_samples(of_a, of_b)
    names = [one.id for one in item.candidates]
    return replace(
        about,
        winner={"a": names[0], "b": names[1]}.get(winner, TIE),
        scores=dict(zip(names, (a, b), strict=True)),
        is_consistent=is_consistent,
    )


def _vote_share(verdicts: Mapping[tuple[int, int], Sequence[Verdict]]) -> float | None:
    """The share of written verdicts for the first candidate, a tie as half of one.

    Both orders count as much. None unless several samples of each order were asked for: a single
    verdict has no size.
    """
    shares = []
    for order, found in verdicts.items():
        odds = np.array([one.log_odds for one in found])
        known = odds[~np.isnan(odds)]
        if len(found) < 2 or not (np.isinf(known) | (known == 0)).all():
            return None
        won = (known > 0) + 0.5 * (known == 0)
        shares.append(float(won.mean()) if order == (0, 1) else 1 - float(won.mean()))
    return float(np.mean(shares))


def _about(item: Item, verdicts: Sequence[Verdict]) -> Judgment:
    """What is known before anything is decided: failures, and the mean mass of the labels."""
    masses = [one.mass for one in verdicts if one.mass is not None]
    return Judgment(
        item.id,
        item.group,
        item.label,
        failed=dict(Counter(str(one.status) for one in verdicts if one.status != "ok")),
        mass=float(np.mean(masses)) if masses else None,
    )


def _mean_odds(verdicts: Sequence[Verdict]) -> float:
    """The mean log-odds of those that have any; of written verdicts the sign of the majority."""
    values = np.array([one.log_odds for one in verdicts])
    values = values[~np.isnan(values)]
    if not len(values):
        return np.nan
    if np.isinf(values).any():
        lead = float(np.sign(values).sum())
        return lead * np.inf if lead else 0.0
    return float(values.mean())


# -- points ----------------------------------------------------------------------------------------


def score(
    items: Sequence[Item],
    judge: Judge,
    asking: Asking,
    *,
    reading: Reading = "expectation",
    pooling: Pooling = "mean",
) -> tuple[list[Judgment], list[Verdict]]:
    """The score of every candidate by itself; the best one is the winner, equal ones are a tie."""
    calls = [
        asking.call(item, place, sample=sample)
        for item in items
        for place in range(len(item.candidates))
        for sample in range(asking.samples)
    ]
    verdicts = judge.read(calls)
    found = zip(calls, verdicts, strict=True)
    judgments = []
    for item in items:
        every: list[Verdict] = []
        scores: dict[str, float] = {}
        for one in item.candidates:
            own = [next(found) for _ in range(asking.samples)]
            numbers = [verdict_score(verdict, call.values, reading) for call, verdict in own]
            scores[one.id] = sampled_score(numbers, pooling=pooling).value
            every += [verdict for _, verdict in own]
        judgments.append(point_judgment(item, scores, every, asking.rubric.better))
    return judgments, verdicts


def verdict_score(verdict: Verdict, values: Sequence[float], reading: Reading) -> float:
    """The number of a verdict: the expectation of the labels' values, or that of the label."""
    if verdict.score is not None:
        return verdict.score
    if verdict.label is None and verdict.status != "truncated":
        return np.nan
    found = verdict.reading
    if found is not None and reading == "expectation":
        return found.expectation(values)[0]
    label = verdict.label or (found.label if found is not None else None)
    return float(values[verdict.labels.index(label)]) if label is not None else np.nan


def point_judgment(
    item: Item, scores: dict[str, float], verdicts: Sequence[Verdict], better: str
) -> Judgment:
    """The judgment of scored candidates: nan is left out, and then there is no winner."""
    known = {name: value for name, value in scores.items() if not np.isnan(value)}
    winner = None
    if len(scores) > 1 and len(known) == len(scores):
        best = (max if better == "higher" else min)(known.values())
        leaders = [name for name, value in known.items() if value == best]
        winner = leaders[0] if len(leaders) == 1 else TIE
    return replace(_about(item, verdicts), winner=winner, scores=known)
