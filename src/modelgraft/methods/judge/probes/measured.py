"""What was measured of a judge: a value with its bounds, over how many items, or why there is none.

Rows of one item, such as the two orders of a pair or its perturbed versions, are not independent of
each other: `items` names the item of every row, and intervals are over items.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from modelgraft.evaluation.intervals import Array, wilson
from modelgraft.methods.judge.method.coefficients import Coefficient, bootstrap

Names = Sequence[Hashable]


@dataclass(frozen=True)
class Measured:
    """A value over `n` items with the bounds of its 95 % interval.

    Bounds are None where the items cannot say how far off the value may be. Where nothing could be
    measured `value` is nan and `reason` says why. `num_skipped` rows took no part: they had no
    verdict, or nothing that the measure asks about.
    """

    value: float
    low: float | None
    high: float | None
    n: int
    num_skipped: int = 0
    reason: str = ""


def unknown(reason: str, num_skipped: int = 0) -> Measured:
    """What no row can tell."""
    return Measured(np.nan, None, None, 0, num_skipped, reason)


def share(
    hits: ArrayLike,
    items: Names | None = None,
    *,
    empty: str,
    num_skipped: int = 0,
    level: float = 0.95,
    seed: int = 0,
) -> Measured:
    """The mean of hits [rows] from 0 to 1; `empty` is the reason that there is none.

    Of one yes or no an item the bounds are Wilson's, and otherwise those of a bootstrap over items.
    A share of 0 or 1, from which that would learn nothing, has Wilson's bounds for so many items.
    """
    values = np.asarray(hits, dtype=np.float64)
    if not values.size:
        return unknown(empty, num_skipped)
    return _share(*_by_item(values, items), num_skipped, level, seed)


def mean(
    values: ArrayLike,
    items: Names | None = None,
    *,
    empty: str,
    num_skipped: int = 0,
    seed: int = 0,
) -> Measured:
    """The mean of values [rows], with bounds by a bootstrap over items."""
    numbers = np.asarray(values, dtype=np.float64)
    if not numbers.size:
        return unknown(empty, num_skipped)
    return _resampled(*_by_item(numbers, items), num_skipped, 0.95, seed)


def of_items(
    hits: ArrayLike, trials: ArrayLike, *, empty: str, num_skipped: int = 0, seed: int = 0
) -> Measured:
    """The share of all hits [items] among all trials [items]; an item without trials is skipped."""
    counts = np.asarray(trials, dtype=np.float64)
    sums = np.asarray(hits, dtype=np.float64)[counts > 0]
    num_skipped += int((counts == 0).sum())
    if not sums.size:
        return unknown(empty, num_skipped)
    return _share(sums, counts[counts > 0], num_skipped, 0.95, seed)


def gain(
    ours: ArrayLike,
    baseline: ArrayLike,
    items: Names | None = None,
    *,
    empty: str,
    num_skipped: int = 0,
    seed: int = 0,
) -> tuple[Measured, Measured, Measured]:
    """The share of ours [rows], that of the baseline [rows], and the first less the second.

    The bounds of the difference are those of a bootstrap over items. Where every item has the same
    they come from the bounds of both shares, as if those were of different items.
    """
    both = [np.asarray(one, dtype=np.float64) for one in (ours, baseline)]
    shares = [share(one, items, empty=empty, num_skipped=num_skipped, seed=seed) for one in both]
    apart = mean(both[0] - both[1], items, empty=empty, num_skipped=num_skipped, seed=seed)
    if apart.low is None:
        wide = difference(*shares)
        apart = replace(apart, low=wide.low, high=wide.high)
    return shares[0], shares[1], apart


def _by_item(values: Array, items: Names | None) -> tuple[Array, Array]:
    """The sum and the number of rows of every item."""
    if items is None:
        return values, np.ones(values.size)
    places = {name: place for place, name in enumerate(dict.fromkeys(items))}
    codes = np.array([places[name] for name in items])
    sums = np.bincount(codes, values).astype(np.float64)
    return sums, np.bincount(codes).astype(np.float64)


def _share(sums: Array, counts: Array, num_skipped: int, level: float, seed: int) -> Measured:
    value = float(sums.sum() / counts.sum())
    is_plain = bool((counts == 1).all() and np.isin(sums, (0, 1)).all())
    if is_plain or value in (0.0, 1.0):
        return Measured(*wilson(round(value * counts.size), counts.size, level), num_skipped)
    return _resampled(sums, counts, num_skipped, level, seed)


def _resampled(sums: Array, counts: Array, num_skipped: int, level: float, seed: int) -> Measured:
    def ratio(top: Array, below: Array) -> Coefficient:
        return Coefficient(float(top.sum() / below.sum()), top.size)

    found = bootstrap(ratio, sums, counts, seed=seed, level=level)
    return Measured(found.value, found.low, found.high, found.n, num_skipped)


# -- two of them -----------------------------------------------------------------------------------


def difference(one: Measured, other: Measured) -> Measured:
    """`one - other` of different items, with bounds from those of both.

    Newcombe 1998, method 10, for shares; Zou and Donner 2008 in general.
    """
    return _combined(one, other, 1.0, -1.0)


def middle(one: Measured, other: Measured) -> Measured:
    """The mean of both, each counting the same whatever its n; bounds as in `difference`."""
    return _combined(one, other, 0.5, 0.5)


def _combined(one: Measured, other: Measured, weight: float, other_weight: float) -> Measured:
    value = weight * one.value + other_weight * other.value
    n, num_skipped = one.n + other.n, one.num_skipped + other.num_skipped
    reason = one.reason or other.reason
    reach = (_reach(one, weight), _reach(other, other_weight))
    if reason or reach[0] is None or reach[1] is None:
        return Measured(value, None, None, n, num_skipped, reason)
    below, above = (float(np.hypot(reach[0][end], reach[1][end])) for end in (0, 1))
    return Measured(value, value - below, value + above, n, num_skipped)


def _reach(one: Measured, weight: float) -> tuple[float, float] | None:
    """How far `weight` times the value may lie below and above."""
    if one.low is None or one.high is None:
        return None
    ends = sorted((weight * (one.low - one.value), weight * (one.high - one.value)))
    return ends[0], ends[1]


def paired_gain(ours: ArrayLike, baseline: ArrayLike, *, empty: str) -> Measured:
    """The share of items that ours is right on less that of the baseline, on the same items.

    Bounds are those of Agresti and Min 2005: half an item is added to each cell of the table, so
    they also hold where the two never differ or always do.
    """
    first, second = (np.asarray(one, dtype=np.float64) for one in (ours, baseline))
    n = first.size
    if not n:
        return unknown(empty)
    lead, apart = float((first - second).sum()), float((first != second).sum())
    centre = lead / (n + 2)
    error = np.sqrt(apart + 1 - lead**2 / (n + 2)) / (n + 2)
    low, high = np.clip(centre + np.array([-1, 1]) * float(ndtri(0.975)) * error, -1, 1)
    return Measured(lead / n, float(low), float(high), n)
