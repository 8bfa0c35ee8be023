"""Model against model: errors over clusters, many tests at once, and what a sample can show.

Paired bootstraps stand in `evaluation.intervals`, McNemar's exact test in `evaluation.exact`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array, Interval
from modelgraft.methods.judge.method.coefficients import encode


def clustered_mean(
    values: ArrayLike, clusters: Sequence[object], *, level: float = 0.95
) -> Interval:
    """The mean of values [n] of which those in one cluster may depend on each other.

    Its standard error is sqrt(sum_c (sum_{i in c} e_i)^2 C / (C - 1)) / n over the C clusters, with
    e the distance to the mean. The bounds are None for a single cluster and for no spread at all.
    """
    x = np.asarray(values, dtype=np.float64)
    error = clustered_error(x, clusters)
    mean = float(x.mean())
    if not error > 0:
        return Interval(mean, None, None, x.size)
    half = float(ndtri((1 + level) / 2)) * error
    return Interval(mean, mean - half, mean + half, x.size)


def clustered_error(values: ArrayLike, clusters: Sequence[object]) -> float:
    """The standard error of the mean as in `clustered_mean`; nan for a single cluster."""
    x = np.asarray(values, dtype=np.float64)
    if x.ndim != 1 or not x.size or len(clusters) != x.size:
        raise InputError(
            f"{len(clusters)} clusters for values of shape {x.shape}: one is needed a value."
        )
    place, names = encode(list(clusters))
    if len(names) < 2:
        return np.nan
    sums = np.bincount(place, x - x.mean())
    return float(np.sqrt((sums**2).sum() * len(names) / (len(names) - 1)) / x.size)


def holm(p_values: ArrayLike) -> Array:
    """Adjusted p-values [tests]: those up to a level are rejected with it for the whole family.

    Holm 1979, the step-down form of Bonferroni: valid however the tests depend on each other.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    adjusted = np.maximum.accumulate(p[order] * (p.size - np.arange(p.size)))
    return _in_place(np.minimum(adjusted, 1.0), order)


def benjamini_yekutieli(p_values: ArrayLike) -> Array:
    """Adjusted p-values [tests]: rejecting those up to a level keeps the false discovery rate.

    Benjamini and Yekutieli 2001, for tests that depend on each other in any way.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)
    ranks = np.arange(1, p.size + 1)
    steps = p[order] * p.size * (1 / ranks).sum() / ranks
    adjusted = np.minimum.accumulate(steps[::-1])[::-1]
    return _in_place(np.minimum(adjusted, 1.0), order)


def detectable_difference(
    spread: float, n: int, *, level: float = 0.95, power: float = 0.8
) -> float:
    """The smallest mean difference that a two-sided test of n paired items finds with `power`.

    `spread` is the standard deviation of the difference of an item; for two win rates that differ
    on a share d of the items it is at most sqrt(d).
    """
    return float((ndtri((1 + level) / 2) + ndtri(power)) * spread / np.sqrt(n))


def _in_place(values: Array, order: NDArray[np.int64]) -> Array:
    found = np.empty_like(values)
    found[order] = values
    return found
