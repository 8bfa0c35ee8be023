"""How often the first candidate wins by people, from a judge's verdicts and some labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import Array, Interval, bootstrap_mean
from modelgraft.methods.judge.data import Item, cluster_of
from modelgraft.methods.judge.judging.judgments import TIE, Judgment
from modelgraft.methods.judge.method.correction import (
    clustered_prediction_powered_mean,
    prediction_powered_mean,
    rogan_gladen,
)
from modelgraft.methods.judge.summaries import percent

_NAME = "win rate of the first candidate"


def win_rates(
    items: Sequence[Item], judgments: Sequence[Judgment]
) -> tuple[list[Number], list[str]]:
    """The rate by the judge alone, corrected by the labels, and by the labels alone; remarks.

    Nothing where all items are labelled or none is: there is nothing to correct. Ties count half;
    items without a verdict are left out. The bounds of PPI++ count clusters (`data.cluster_of`).
    """
    kept = [(i, j) for i, j in zip(items, judgments, strict=True) if j.winner is not None]
    is_labelled = np.array([isinstance(item.label, str) for item, _ in kept], dtype=bool)
    if is_labelled.all() or is_labelled.sum() < 2:
        return [], []
    wins = np.array([_half(item, one.winner) for item, one in kept])
    labels = np.array([_half(item, item.label) for item, _ in kept])
    y, f, g = labels[is_labelled], wins[is_labelled], wins[~is_labelled]
    alone = bootstrap_mean(y)
    rates = {"by the judge alone": bootstrap_mean(wins), "by the labels alone": alone}
    remarks = []
    groups = [cluster_of(item) for item, _ in kept]
    try:
        rates["PPI++"] = _powered(y, f, g, groups, is_labelled)
    except InputError as error:
        remarks.append(f"{_NAME}, PPI++: not measured: {_first_line(error)}")
    try:
        rates["Rogan-Gladen"] = _inverted(y, f, wins)
    except InputError as error:
        remarks.append(f"{_NAME}, Rogan-Gladen: not measured: {_first_line(error)}")
    numbers = [
        Number(f"{_NAME}, {name}", 100 * found.value, percent(found.low), percent(found.high),
               found.n, unit="%", baseline=100 * alone.value)
        for name, found in rates.items()
    ]  # fmt: skip
    return numbers, remarks


def _half(item: Item, winner: object) -> float:
    return 0.5 if winner == TIE else float(winner == item.candidates[0].id)


def _powered(
    y: Array, f: Array, g: Array, groups: Sequence[str], is_labelled: NDArray[np.bool_]
) -> Interval:
    own = np.array(groups, dtype=object)
    if len(set(groups)) == len(groups):
        return prediction_powered_mean(y, f, g).interval
    return clustered_prediction_powered_mean(
        y,
        f,
        g,
        clusters=list(own[is_labelled]),
        unlabelled_clusters=list(own[~is_labelled]),
    ).interval


def _inverted(y: Array, f: Array, wins: Array) -> Interval:
    first, second = f[y == 1], f[y == 0]
    if not first.size or not second.size:
        raise InputError("labels of both sides are needed, and all prefer one candidate.")
    return rogan_gladen(
        float(wins.mean()),
        wins.size,
        specificity=float(1 - second.mean()),
        num_wrong=second.size,
        sensitivity=float(first.mean()),
        num_right=first.size,
    )


def _first_line(error: InputError) -> str:
    return str(error).splitlines()[0]
