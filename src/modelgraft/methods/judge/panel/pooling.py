"""Judgments of several judges on the same items, made one: votes, weights, means.

Tables are [items, judges] of winners (a candidate's id, "tie", None without a verdict). Nothing
depends on which candidate an item lists first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, cast

import numpy as np

from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging.judgments import TIE, Judgment, point_judgment
from modelgraft.methods.judge.method.dawid_skene import DawidSkene, dawid_skene
from modelgraft.methods.judge.method.panels import (
    Pooling,
    TieRule,
    log_odds_weights,
    pool,
    unanimous,
    vote,
)

PairPool = Literal["majority", "weighted", "dawid_skene", "unanimous", "mean", "median", "trimmed"]
Winners = Sequence[Sequence[str | None]]

_LOW, _HIGH = "low", "high"


def pool_pairs(
    items: Sequence[Item],
    table: Sequence[Sequence[Judgment]],
    how: PairPool,
    *,
    tie: TieRule,
    seed: int = 0,
) -> list[Judgment]:
    """One judgment an item from those of judges, `table` [judges][items].

    Its `confidence` is the share of the votes, the posterior or the mean probability behind the
    winner. Without unanimity, where that is asked for, the panel abstains.
    """
    rows = [list(own) for own in zip(*table, strict=True)]
    winners = [[one.winner for one in own] for own in rows]
    if how in ("mean", "median", "trimmed"):
        chances = [
            [_probability(item, one) for one in own] for item, own in zip(items, rows, strict=True)
        ]
        found = pool(chances, cast("Pooling", how))
        return [_by_probability(*one) for one in zip(items, rows, found.tolist(), strict=True)]
    if how == "dawid_skene":
        return _by_model(items, rows, winners)
    weights = label_weights(items, winners) if how == "weighted" else None
    judged = []
    for place, (item, own, said) in enumerate(zip(items, rows, winners, strict=True)):
        about = _about(item, own)
        if how == "unanimous":
            winner = cast("str | None", unanimous(said))
            judged.append(replace(about, winner=winner, abstained=winner is None))
            continue
        found_vote = vote(
            said,
            tie=tie,
            weights=None if weights is None else weights[place],
            offered=(*(one.id for one in item.candidates), TIE) if weights is not None else (),
            key=f"{seed}\0{item.id}",
        )
        winner = cast("str | None", found_vote.label)
        if winner is None and found_vote.is_tied:
            winner = TIE
        sure = float(found_vote.share) if found_vote.num else None
        judged.append(replace(about, winner=winner, confidence=sure))
    return judged


def label_weights(items: Sequence[Item], winners: Winners) -> Array:
    """ln(a / (1 - a)) of each judge for each item [items, judges], a by the labels of the others.

    An item's own label never weighs the votes on it, so agreement with labels is not flattered.
    """
    right = np.array(
        [
            [np.nan if one is None or not _has_label(item) else float(one == item.label)
             for one in own]
            for item, own in zip(items, winners, strict=True)
        ]
    )  # fmt: skip
    is_known = ~np.isnan(right)
    got = np.nan_to_num(right)
    return log_odds_weights(got.sum(axis=0) - got, is_known.sum(axis=0) - is_known)


def fit_model(items: Sequence[Item], winners: Winners) -> tuple[DawidSkene, list[int]] | None:
    """Dawid and Skene's model of the votes and the places of items with a vote; None without any.

    Classes are the candidate whose text sorts first, the other one, and a tie.
    """
    oriented = [
        [_oriented(item, one) for one in own] for item, own in zip(items, winners, strict=True)
    ]
    places = [place for place, own in enumerate(oriented) if any(one is not None for one in own)]
    if not places:
        return None
    return dawid_skene([oriented[place] for place in places]), places


def _by_model(
    items: Sequence[Item], rows: Sequence[list[Judgment]], winners: Winners
) -> list[Judgment]:
    judged = [_about(*one) for one in zip(items, rows, strict=True)]
    fitted = fit_model(items, winners)
    if fitted is None:
        return judged
    model, places = fitted
    for place, label, posterior in zip(places, model.labels, model.posterior, strict=True):
        item = items[place]
        winner = TIE if label == TIE else _ends(item)[label == _HIGH]
        judged[place] = replace(judged[place], winner=winner, confidence=float(posterior.max()))
    return judged


def _oriented(item: Item, winner: str | None) -> str | None:
    if winner in (None, TIE):
        return winner
    return _HIGH if winner == _ends(item)[1] else _LOW


def _ends(item: Item) -> tuple[str, str]:
    """The ids of both candidates by their texts."""
    low, high = sorted(item.candidates, key=lambda one: (one.text, one.id))
    return low.id, high.id


def _probability(item: Item, judgment: Judgment) -> float:
    """That of the first candidate; of a winner without one 1, 0, or 1/2 for a tie."""
    if judgment.winner is None:
        return np.nan
    if judgment.probability is not None:
        return judgment.probability
    return 0.5 if judgment.winner == TIE else float(judgment.winner == item.candidates[0].id)


def _by_probability(item: Item, own: Sequence[Judgment], probability: float) -> Judgment:
    about = _about(item, own)
    if np.isnan(probability):
        return about
    first, second = (one.id for one in item.candidates)
    winner = TIE if probability == 0.5 else first if probability > 0.5 else second
    return replace(
        about,
        winner=winner,
        probability=probability,
        confidence=max(probability, 1 - probability),
    )


def _about(item: Item, own: Sequence[Judgment]) -> Judgment:
    failed: dict[str, int] = {}
    for one in own:
        for status, num in one.failed.items():
            failed[status] = failed.get(status, 0) + num
    return Judgment(item.id, item.group, item.label, failed=failed)


def _has_label(item: Item) -> bool:
    return isinstance(item.label, str)


# -- points ----------------------------------------------------------------------------------------


def pool_points(
    items: Sequence[Item],
    table: Sequence[Sequence[Judgment]],
    how: Pooling,
    *,
    better: str,
    verdicts: Sequence[Verdict] = (),
) -> list[Judgment]:
    """One judgment an item from scores of judges, `table` [judges][items].

    A candidate without the score of a judge that scored others has none: a mean over the other
    judges would be one of another panel. Its `confidence` is the share of the judges whose own best
    candidate is the panel's.
    """
    by_item: dict[str, list[Verdict]] = {}
    for one in verdicts:
        by_item.setdefault(one.item, []).append(one)
    judged = []
    for item, own in zip(items, zip(*table, strict=True), strict=True):
        names = [one.id for one in item.candidates]
        rows = [[one.scores.get(name, np.nan) for one in own] for name in names]
        scores = np.array(rows, dtype=np.float64)
        is_known = ~np.isnan(scores)
        scores[~is_known[:, is_known.any(axis=0)].all(axis=1)] = np.nan
        pooled = dict(zip(names, pool(scores, how).tolist(), strict=True))
        found = point_judgment(item, pooled, by_item.get(item.id, ()), better)
        if found.winner not in (None, TIE):
            share = float(np.mean([one.winner == found.winner for one in own]))
            found = replace(found, confidence=share)
        judged.append(found)
    return judged
