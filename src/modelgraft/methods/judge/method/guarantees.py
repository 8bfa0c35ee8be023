"""Verdicts with a promise: the error rate among accepted ones is at most alpha, with 1 - delta.

The promise is about new items like the labelled ones that it was certified on (Jung et al. 2024,
arXiv 2407.18370). Thresholds are walked from strict to loose over a grid fixed in advance, and the
walk ends at the first that fails; since a later one is tested only if all before it passed, each
may use the whole delta (fixed-sequence testing, Bauer 1991). A verdict that could not be read has
the confidence 0 and is never accepted.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv

from modelgraft.core.errors import ConfigError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.reliability import stated

Status = Literal["certified", "uncertifiable"]
Counts = NDArray[np.int64]

# From certain down to a coin toss, which is what two candidates can be told apart by.
DEFAULT_GRID: Array = np.round(np.linspace(1.0, 0.5, 26), 2)
# A first test of 30 items fails by a single unlucky error.
DEFAULT_AT_LEAST = 100
_MOST_LABELS = 10**9


def clopper_pearson_upper(num_errors: ArrayLike, num: ArrayLike, delta: float) -> Array:
    """The largest error rate r with P(Bin(n, r) <= k) >= delta, for k of n errors; 1 for n = 0.

    It lies below the true rate in at most a share delta of samples (Clopper and Pearson 1934).
    """
    k, n = np.broadcast_arrays(
        np.asarray(num_errors, dtype=np.float64), np.asarray(num, dtype=np.float64)
    )
    assert (k >= 0).all() and (k <= n).all(), "errors are some of the items"
    # Where all are errors the second parameter would be 0, and the bound is 1.
    bound = betaincinv(k + 1, np.maximum(n - k, 1), 1 - delta)
    return np.where(k == n, 1.0, bound)


def last_pass(
    num_errors: ArrayLike, num: ArrayLike, *, alpha: float, delta: float, at_least: int
) -> int:
    """Where in the grid [points], from strict to loose, the walk passed its last test; -1 nowhere.

    Points with fewer than `at_least` items are not tested, which the confidences alone decide. A
    point after a failed one is never certified, whatever its own bound is.
    """
    n = np.asarray(num)
    is_tested = n >= at_least
    is_passed = is_tested & (clopper_pearson_upper(num_errors, n, delta) <= alpha)
    failed = np.flatnonzero(is_tested & ~is_passed)
    reached = is_passed[: failed[0]] if failed.size else is_passed
    passed = np.flatnonzero(reached)
    return int(passed[-1]) if passed.size else -1


@dataclass(frozen=True)
class Certificate:
    """The loosest `threshold` that is certified, inf (accept nothing) when none is.

    `num_accepted` of `num` labelled items have at least this confidence and `num_errors` of those
    verdicts are wrong; `bound` is the upper bound of the error rate there. When nothing is
    certified they are those of the strictest point that was tested, and `num_needed` says how many
    labels in all would do if its share and its error rate stayed what they are: None if that rate
    is not below alpha, or if no item is accepted at all.
    """

    status: Status
    threshold: float
    num: int
    num_accepted: int
    num_errors: int
    bound: float
    num_needed: int | None = None

    @property
    def coverage(self) -> float:
        """The share of labelled items that the threshold accepts."""
        return self.num_accepted / self.num if self.status == "certified" and self.num else 0.0


def certify(
    confidence: ArrayLike,
    is_right: ArrayLike,
    *,
    alpha: float,
    delta: float = 0.1,
    grid: ArrayLike = DEFAULT_GRID,
    at_least: int = DEFAULT_AT_LEAST,
) -> Certificate:
    """The loosest threshold of `grid` whose accepted verdicts err in at most alpha.

    `confidence` and `is_right` [items] are of labelled items. The grid must not depend on the
    labels. Raises ConfigError for a grid that does not fall, and for alpha or delta outside 0 to 1.
    """
    points = fixed_grid(grid)
    p, y = stated(confidence, is_right)
    order = np.argsort(-p, kind="stable")
    num = np.searchsorted(-p[order], -points, side="right")
    num_errors = np.concatenate([[0], np.cumsum(1 - y[order])])[num].astype(np.int64)
    place, found = certify_counts(
        num_errors, num, p.size, alpha=alpha, delta=delta, at_least=at_least
    )
    return found if place < 0 else replace(found, threshold=float(points[place]))


def certify_counts(
    num_errors: Counts, num: Counts, total: int, *, alpha: float, delta: float, at_least: int
) -> tuple[int, Certificate]:
    """The place in the grid of the last pass, -1 for none, and a certificate without threshold.

    `num` [points] of `total` labelled items are accepted at each point, with `num_errors` [points].
    """
    for name, value in (("alpha", alpha), ("delta", delta)):
        if not 0 < value < 1:
            raise ConfigError(name, f"{name} {value:g}: it lies between 0 and 1.")
    place = last_pass(num_errors, num, alpha=alpha, delta=delta, at_least=at_least)
    if place >= 0:
        k, n = int(num_errors[place]), int(num[place])
        bound = float(clopper_pearson_upper(k, n, delta))
        return place, Certificate("certified", np.inf, total, n, k, bound)
    # The first test failed; or nothing was tested, and then the point that asks for least counts.
    tested = np.flatnonzero(num >= at_least)
    options = tested[:1] if tested.size else np.flatnonzero(num)
    found = [
        _uncertifiable(
            int(num_errors[point]),
            int(num[point]),
            total,
            alpha=alpha,
            delta=delta,
            at_least=at_least,
        )
        for point in options
    ]
    nothing = Certificate("uncertifiable", np.inf, total, 0, 0, 1.0)
    return -1, min(found, key=lambda one: one.num_needed or np.inf, default=nothing)


def _uncertifiable(
    k: int, n: int, total: int, *, alpha: float, delta: float, at_least: int
) -> Certificate:
    bound = float(clopper_pearson_upper(k, n, delta))
    accepted = labels_needed(k, n, alpha=alpha, delta=delta, at_least=at_least)
    needed = None if accepted is None else ceil(accepted * total / n)
    return Certificate("uncertifiable", np.inf, total, n, k, bound, needed)


def labels_needed(
    num_errors: int, num: int, *, alpha: float, delta: float, at_least: int = 1
) -> int | None:
    """The least number of accepted items that passes the test at the error rate seen so far.

    Without errors that is ln delta / ln(1 - alpha), rounded up. None when the rate is not below
    alpha, for then no number does.
    """
    rate = num_errors / num
    if rate >= alpha:
        return None

    def passes(n: int) -> bool:
        return bool(betaincinv(rate * n + 1, (1 - rate) * n, 1 - delta) <= alpha)

    low, high = 0, 1
    while not passes(high):
        low, high = high, 2 * high
        if high > _MOST_LABELS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if passes(middle) else (middle, high)
    return max(high, at_least)


def fixed_grid(grid: ArrayLike) -> Array:
    """Thresholds [points] from strict to loose, all above 0, which is the confidence of no verdict.

    Raises ConfigError unless each is below the one before.
    """
    points = np.asarray(grid, dtype=np.float64)
    if points.ndim != 1 or not points.size or not (np.diff(points) < 0).all() or points[-1] <= 0:
        raise ConfigError(
            "grid",
            "grid: thresholds must fall from strict to loose, each below the one before and all "
            "above 0.",
        )
    return points
