"""Battles between models as arrays: checked once, collapsed to what a likelihood needs.

Letters: m rows, n models, p prompts. An outcome is the score of the model named first: 1 if it won,
0 if it lost, 1/2 for a tie, and anything between for a judge that gives probabilities.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array

Places = NDArray[np.int64]
# A message names this many models of a group; more would not be read.
_NAMED = 8


@dataclass(frozen=True)
class Battles:
    """Rows of battles; `first`, `second` [m] are places in `models`, which are sorted by name.

    A row stands for `count` equal battles of this `weight` each: the likelihood sees the product,
    an interval knows that there were `count` of them. `prompt` [m] numbers the prompts from 0.
    """

    models: tuple[str, ...]
    first: Places
    second: Places
    outcome: Array
    weight: Array
    count: Array
    prompt: Places | None = None

    @property
    def mass(self) -> Array:
        """What each row weighs in a likelihood [m]."""
        return self.weight * self.count


def read_battles(
    first: Sequence[str],
    second: Sequence[str],
    outcome: ArrayLike,
    *,
    weight: ArrayLike = 1.0,
    count: ArrayLike = 1.0,
    prompt: Sequence[str | int] | None = None,
) -> Battles:
    """Battles of the models named in `first` and `second`, checked.

    Raises InputError that names the row: an outcome outside 0 to 1, a weight or count that is not
    above zero, a model against itself; or columns of different lengths.
    """
    columns = {"second": second, "outcome": np.atleast_1d(np.asarray(outcome, dtype=np.float64))}
    if prompt is not None:
        columns["prompt"] = prompt
    for name, column in columns.items():
        if len(column) != len(first):
            raise InputError(
                f"battles: {len(first)} rows of first and {len(column)} of {name}: one is needed "
                "for each battle."
            )
    if len(first) == 0:
        raise InputError("battles: there are none, so there is nothing to rate.")
    models = tuple(sorted({*first, *second}))
    read = Battles(
        models,
        _number(first, models),
        _number(second, models),
        np.asarray(columns["outcome"]),
        np.broadcast_to(np.asarray(weight, dtype=np.float64), len(first)),
        np.broadcast_to(np.asarray(count, dtype=np.float64), len(first)),
        None if prompt is None else _number(prompt, tuple(dict.fromkeys(prompt))),
    )
    _check_rows(read)
    return read


def collapse(battles: Battles) -> Battles:
    """The same battles with equal ones counted in one row; prompts and who stood first are lost.

    Equal are battles of the same two models with the same outcome and weight. A Bradley-Terry
    likelihood cannot tell the result from its source.
    """
    swapped = battles.first > battles.second
    low = np.where(swapped, battles.second, battles.first)
    high = np.where(swapped, battles.first, battles.second)
    outcomes, outcome = np.unique(
        np.where(swapped, 1 - battles.outcome, battles.outcome), return_inverse=True
    )
    weights, weight = np.unique(battles.weight, return_inverse=True)
    shape = (len(battles.models), len(battles.models), outcomes.size, weights.size)
    keys, place = np.unique(
        np.ravel_multi_index((low, high, outcome, weight), shape), return_inverse=True
    )
    low, high, outcome, weight = np.unravel_index(keys, shape)
    counts = sums_at(place, battles.count, keys.size)
    return replace(
        battles,
        first=low,
        second=high,
        outcome=outcomes[outcome],
        weight=weights[weight],
        count=counts,
        prompt=None,
    )


def win_matrix(battles: Battles) -> Array:
    """What each row's model took from each column's [n, n]: wins plus half the ties, weighted."""
    n = len(battles.models)
    mass = battles.mass
    won = sums_at(battles.first * n + battles.second, mass * battles.outcome, n * n)
    lost = sums_at(battles.second * n + battles.first, mass * (1 - battles.outcome), n * n)
    return (won + lost).reshape(n, n)


def sums_at(places: Places, values: Array, num: int) -> Array:
    """The sum of the values [m] that share a place [m], for the places 0 to num - 1 [num]."""
    return np.bincount(places, values, minlength=num).astype(np.float64, copy=False)


def components(wins: Array) -> Places:
    """The group of each model [n] such that inside a group all are linked by wins both ways.

    One group (all zeros) is the condition under which the Bradley-Terry likelihood has a maximum
    (L. R. Ford, Solution of a ranking problem from binary comparisons, 1957). `wins` is [n, n];
    groups are numbered by their first models.
    """
    _, groups = connected_components(csr_array(wins > 0), directed=True, connection="strong")
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[place]


def describe_components(models: Sequence[str], groups: Places) -> str:
    """The groups by the names of their models, for a message."""
    named = []
    for group in np.unique(groups):
        members = [models[place] for place in np.flatnonzero(groups == group)]
        more = f" and {len(members) - _NAMED} more" if len(members) > _NAMED else ""
        named.append("{" + ", ".join(members[:_NAMED]) + more + "}")
    more = f" and {len(named) - _NAMED} more groups" if len(named) > _NAMED else ""
    return ", ".join(named[:_NAMED]) + more


def _number(names: Sequence[str | int], known: Sequence[str | int]) -> Places:
    places = {name: place for place, name in enumerate(known)}
    return np.fromiter(map(places.__getitem__, names), dtype=np.int64, count=len(names))


def _check_rows(battles: Battles) -> None:
    # A comparison with NaN is false, so each line below says what is wanted and negates it.
    outside = ~((battles.outcome >= 0) & (battles.outcome <= 1))
    faults = (
        (outside, battles.outcome, "its outcome must lie between 0 and 1 (1/2 is a tie)"),
        (~_is_positive(battles.weight), battles.weight, "its weight must be above zero"),
        (~_is_positive(battles.count), battles.count, "its count must be above zero"),
        (battles.first == battles.second, battles.first, "a model cannot meet itself"),
    )
    for broken, values, demand in faults:
        if broken.any():
            row = int(np.argmax(broken))
            pair = f"{battles.models[battles.first[row]]} - {battles.models[battles.second[row]]}"
            raise InputError(
                f"battle {row} ({pair}): {demand}; {values[row]:g} came "
                f"({int(broken.sum())} of {broken.size} rows).\n"
                "  Leave out what was not judged and report how many there were."
            )


def _is_positive(values: Array) -> NDArray[np.bool_]:
    return np.isfinite(values) & (values > 0)
