"""Exact tests for small samples: no normal approximation, so they hold for any number of items.

`ours` and `baseline` hold one value per item, in the same order. `alternative` is SciPy's word:
"greater" asks whether ours is higher. Items where both are equal carry no information about the
direction and are left out of the test, but stay in `n`.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array, paired_differences

Alternative = Literal["two-sided", "greater", "less"]
# Distinct sums up to which the permutation distribution is kept whole (20 items without ties).
_EXACT_SUMS = 2**20
_SIGNS_AT_ONCE = 4_000_000


class PairedTest(NamedTuple):
    """A p-value with the items behind it; `exact` is False when it was estimated by sampling."""

    p: float
    wins: int
    losses: int
    n: int
    exact: bool = True


def sign_test(
    ours: ArrayLike, baseline: ArrayLike, *, alternative: Alternative = "two-sided"
) -> PairedTest:
    """Whether wins and losses are equally likely, whatever their size."""
    differences = paired_differences(ours, baseline)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    decided = wins + losses
    p = stats.binomtest(wins, decided, alternative=alternative).pvalue if decided else 1.0
    return PairedTest(float(p), wins, losses, differences.size)


def mcnemar(
    ours: ArrayLike, baseline: ArrayLike, *, alternative: Alternative = "two-sided"
) -> PairedTest:
    """McNemar's exact test: the sign test of yes/no outcomes, given as 0 and 1 or as booleans."""
    for name, values in (("ours", ours), ("baseline", baseline)):
        array = np.asarray(values)
        strange = ~np.isin(array, (0, 1))
        if strange.any():
            raise InputError(
                f"{name} holds {array[strange].flat[0]}: McNemar's test compares yes/no outcomes, "
                "0 or 1.\n  For scores take sign_flip_test."
            )
    return sign_test(ours, baseline, alternative=alternative)


def sign_flip_test(
    ours: ArrayLike,
    baseline: ArrayLike,
    *,
    alternative: Alternative = "two-sided",
    seed: int = 0,
    samples: int = 100_000,
) -> PairedTest:
    """The paired permutation test of the mean: how often random signs reach this difference.

    All 2 ** n sign patterns are counted while their sums stay below a million different values:
    any number of items for scores on a coarse grid of whole numbers or binary fractions, 20 items
    otherwise. Beyond that `samples` random patterns estimate it, the observed one included.
    """
    differences = paired_differences(ours, baseline)
    wins, losses = int((differences > 0).sum()), int((differences < 0).sum())
    moving = differences[differences != 0]
    distribution = _sign_flip_sums(moving)
    if distribution is not None:
        sums, shares = distribution
        p = shares[_as_extreme(sums, moving, alternative)].sum()
    else:
        assert samples > 0
        rng = np.random.default_rng(seed)
        step = max(1, _SIGNS_AT_ONCE // moving.size)
        sizes = [min(step, samples - start) for start in range(0, samples, step)]
        signs = (2.0 * rng.integers(2, size=(size, moving.size)) - 1 for size in sizes)
        sums = np.concatenate([rows @ moving for rows in signs])
        p = (1 + _as_extreme(sums, moving, alternative).sum()) / (samples + 1)
    return PairedTest(min(1.0, float(p)), wins, losses, differences.size, distribution is not None)


def fisher(
    successes: int,
    n: int,
    other_successes: int,
    other_n: int,
    *,
    alternative: Alternative = "two-sided",
) -> float:
    """Fisher's exact p-value for two shares measured on different items."""
    for k, total in ((successes, n), (other_successes, other_n)):
        if not 0 <= k <= total:
            raise InputError(f"fisher: {k} successes out of {total} cannot be counts.")
    table = [[successes, n - successes], [other_successes, other_n - other_successes]]
    return float(stats.fisher_exact(table, alternative=alternative).pvalue)


def _sign_flip_sums(values: Array) -> tuple[Array, Array] | None:
    """The different sums of +-values and their shares of all sign patterns; None if too many."""
    sums: Array = np.zeros(1)
    shares: Array = np.ones(1)
    for value in np.abs(values):
        both = np.concatenate((sums - value, sums + value))
        sums, place = np.unique(both, return_inverse=True)
        if sums.size > _EXACT_SUMS:
            return None
        shares = np.bincount(place, weights=np.tile(shares / 2, 2)).astype(np.float64)
    return sums, shares


def _as_extreme(sums: Array, values: Array, alternative: Alternative) -> NDArray[np.bool_]:
    """Which sums are at least as extreme as the observed one."""
    observed = values.sum()
    # The same sum added in another order differs by rounding, and must count as a tie.
    slack = 1e-12 * np.abs(values).sum()
    if alternative == "greater":
        return sums >= observed - slack
    if alternative == "less":
        return sums <= observed + slack
    return np.abs(sums) >= abs(observed) - slack
