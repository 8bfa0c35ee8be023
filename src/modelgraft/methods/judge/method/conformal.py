"""Scores with a margin and sets of labels that hold the human one, whatever the judge is like.

Split conformal prediction: labelled items that the judge was not tuned on say how wide it must be.
The promise, a share 1 - alpha on average over samples, needs new items to be like those.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.evaluation.intervals import Array


def conformal_quantile(residuals: ArrayLike, *, alpha: float) -> float:
    """The ceil((n + 1)(1 - alpha))-th smallest of the residuals [n]; inf if there is none such.

    With residuals |human - score| the human score of a new item lies within this of the judge's
    with probability 1 - alpha or more.
    """
    values = np.sort(np.asarray(residuals, dtype=np.float64))
    if not 0 < alpha < 1:
        raise ConfigError("alpha", f"alpha {alpha:g}: it lies between 0 and 1.")
    if np.isnan(values).any():
        raise InputError("residuals: some are nan.\n  Leave out the items without a score.")
    # Rounding must not push a whole number up to the next.
    place = ceil((values.size + 1) * (1 - alpha) - 1e-9)
    return float(values[place - 1]) if place <= values.size else np.inf


def quantiles_by_group(
    residuals: ArrayLike, groups: Sequence[object], *, alpha: float
) -> dict[object, float]:
    """`conformal_quantile` of each group, so that the promise holds in each (Mondrian).

    A group of fewer than 1 / alpha - 1 items has inf: it cannot be promised anything.
    """
    values = np.asarray(residuals, dtype=np.float64)
    if len(groups) != values.size:
        raise InputError(f"{len(groups)} groups for {values.size} items: one an item is needed.")
    rows: dict[object, list[int]] = {}
    for row, group in enumerate(groups):
        rows.setdefault(group, []).append(row)
    return {group: conformal_quantile(values[row], alpha=alpha) for group, row in rows.items()}


def masses_before(probabilities: ArrayLike, places: ArrayLike) -> Array:
    """How much mass the interval around the likeliest label has before it takes in a label [n].

    `probabilities` [n, labels] in the order of the scale, `places` [n] the human labels. These are
    the residuals from which `conformal_quantile` makes the `mass` of `label_intervals`.
    """
    p = _distributions(probabilities)
    wanted = np.asarray(places, dtype=np.int64)
    if wanted.shape != (len(p),) or ((wanted < 0) | (wanted >= p.shape[1])).any():
        raise InputError(f"places: one of 0 to {p.shape[1] - 1} is needed for each of {len(p)}.")
    entered, masses = _grown(p)
    step = np.argmax(entered == wanted[:, None], axis=1)
    before = np.concatenate([np.zeros((len(p), 1)), masses], axis=1)
    return before[np.arange(len(p)), step]


def label_intervals(probabilities: ArrayLike, mass: float) -> NDArray[np.int64]:
    """The first and last label [n, 2] of the smallest interval with more than `mass`.

    It grows from the likeliest label by the likelier of its two neighbours, so a larger mass never
    takes a label away. Where the probabilities fall to both sides no interval with this mass is
    shorter.
    """
    p = _distributions(probabilities)
    entered, masses = _grown(p)
    reached = masses > mass
    last = np.where(reached.any(axis=1), reached.argmax(axis=1), p.shape[1] - 1)
    is_in = np.arange(p.shape[1]) <= last[:, None]
    low = np.where(is_in, entered, p.shape[1]).min(axis=1)
    high = np.where(is_in, entered, -1).max(axis=1)
    return np.stack([low, high], axis=1)


def _distributions(probabilities: ArrayLike) -> Array:
    p = np.asarray(probabilities, dtype=np.float64)
    if p.ndim != 2 or not np.allclose(p.sum(axis=1), 1):
        raise InputError(
            f"probabilities of shape {p.shape}: a row of labels that sums to 1 is needed an item.\n"
            "  Leave out items without a verdict."
        )
    return p


def _grown(p: Array) -> tuple[NDArray[np.int64], Array]:
    """Labels in the order in which the interval takes them in, and its mass then, [n, labels]."""
    n, num_labels = p.shape
    rows = np.arange(n)
    # A guard on both sides that is never chosen while a label is left.
    guarded = np.pad(p, ((0, 0), (1, 1)), constant_values=-1.0)
    entered = np.empty((n, num_labels), dtype=np.int64)
    masses = np.empty((n, num_labels))
    low = high = p.argmax(axis=1)
    entered[:, 0], masses[:, 0] = low, p[rows, low]
    for step in range(1, num_labels):
        below, above = guarded[rows, low], guarded[rows, high + 2]
        is_below = below > above
        entered[:, step] = np.where(is_below, low - 1, high + 1)
        masses[:, step] = masses[:, step - 1] + np.maximum(below, above)
        low, high = np.where(is_below, low - 1, low), np.where(is_below, high, high + 1)
    return entered, masses
