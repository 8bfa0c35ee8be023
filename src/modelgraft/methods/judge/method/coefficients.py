"""Coefficients that can be undefined, labels that can be missing, and intervals over items.

A coefficient that the data do not determine is nan and says why: raters who always say the same
have no agreement beyond chance, neither a good nor a bad one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.evaluation.intervals import percentile_bounds

Codes = NDArray[np.int64]
Labels = ArrayLike | Sequence[object] | Sequence[Sequence[object]]


@dataclass(frozen=True)
class Coefficient:
    """A coefficient over `num` items; where it is undefined `value` is nan and `reason` says why.

    `num_skipped` items could not take part, for want of a second rating or of anything to compare.
    """

    value: float
    num: int
    num_skipped: int = 0
    reason: str = ""


def undefined(reason: str, num: int, num_skipped: int = 0) -> Coefficient:
    """A coefficient that these items do not determine."""
    return Coefficient(np.nan, num, num_skipped, reason)


@dataclass(frozen=True)
class Estimate:
    """A coefficient with the bounds of its interval, None when the items cannot bound it.

    In `num_undefined` of the resamples it was undefined; the bounds are those of the others.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    reason: str
    num_undefined: int


def bootstrap(
    measure: Callable[..., Coefficient],
    *columns: Labels,
    seed: int = 0,
    level: float = 0.95,
    rounds: int = 1000,
) -> Estimate:
    """The coefficient `measure(*columns)` with its bootstrap interval over items.

    The first axis of every column is items, and those are resampled. Bounds are percentiles,
    widened for few items as in `evaluation.intervals`.
    """
    tables = [as_labels(column) for column in columns]
    found = measure(*tables)
    num_items = len(tables[0])
    if np.isnan(found.value):
        return Estimate(found.value, None, None, found.num, found.reason, 0)
    rng = np.random.default_rng(seed)
    rows = rng.integers(num_items, size=(rounds, num_items))
    drawn = np.array([measure(*(table[row] for table in tables)).value for row in rows])
    kept = drawn[~np.isnan(drawn)]
    num_undefined = rounds - kept.size
    if not kept.size or np.ptp(kept) == 0:
        return Estimate(found.value, None, None, found.num, "", num_undefined)
    low, high = percentile_bounds(kept, found.num, level=level)
    return Estimate(found.value, float(low), float(high), found.num, "", num_undefined)


def as_labels(labels: Labels) -> NDArray[Any]:
    """Labels as an array; words and missing ones stay the objects they are, nan among words too."""
    if isinstance(labels, np.ndarray):
        return labels
    values = np.asarray(labels, dtype=object)
    if all(isinstance(one, int | float | np.number) for one in values.flat):
        return np.asarray(values.tolist())
    return values


def encode(labels: Labels) -> tuple[Codes, NDArray[Any]]:
    """The place of each label among the distinct ones, sorted, and those; -1 where it is missing.

    Missing are None and nan.
    """
    values = as_labels(labels)
    if values.dtype == object:
        flat = [one is None or one != one for one in values.ravel()]
        is_missing = np.array(flat, dtype=bool).reshape(values.shape)
    else:
        is_missing = values != values
    codes = np.full(values.shape, -1, dtype=np.int64)
    distinct, codes[~is_missing] = np.unique(values[~is_missing], return_inverse=True)
    return codes, distinct


def encode_ratings(ratings: Labels) -> tuple[Codes, NDArray[Any]]:
    """`encode` of a table [items, raters]; InputError for anything else."""
    codes, distinct = encode(ratings)
    if codes.ndim != 2:
        raise InputError(
            f"ratings have shape {codes.shape}: a row an item with a column a rater is needed.\n"
            "  Put None or nan where a rater did not see an item."
        )
    return codes, distinct


def as_numbers(labels: NDArray[Any], option: str, chosen: str) -> NDArray[np.float64]:
    """Distinct labels as numbers, for the `chosen` value of an option; ConfigError for words."""
    try:
        return labels.astype(np.float64)
    except ValueError as error:
        named = ", ".join(map(str, labels[:8]))
        raise ConfigError(
            option,
            f"{option} {chosen}: labels {named} are not numbers.\n"
            "  Number them in their order, or take one for words.",
        ) from error


def complete_pairs(first: ArrayLike, second: ArrayLike) -> tuple[NDArray[np.float64], int]:
    """Numbers [2, items] where both are there, and how many items had one missing.

    InputError when the two are not lists of the same length.
    """
    pairs = [np.asarray(one, dtype=np.float64) for one in (first, second)]
    if pairs[0].ndim != 1 or pairs[0].shape != pairs[1].shape:
        raise InputError(
            f"shapes {pairs[0].shape} and {pairs[1].shape}: a value an item is needed in both, "
            "in the same order."
        )
    both = np.stack(pairs)
    is_complete = ~np.isnan(both).any(axis=0)
    return both[:, is_complete], int((~is_complete).sum())
