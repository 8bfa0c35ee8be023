"""Whether a judge is still the one that was measured: the same control items in every run.

Each run's shortfall is a standard normal value z if nothing changed. CUSUM (Page 1954) adds up what
exceeds a slack and never falls below 0, so a small lasting change shows that no single run would.
Control items are the same in all runs, so runs agree more closely than the independent draws for
which z is standardised: alarms come later than for those and false ones are rarer. A changed model
or template is another judge and begins anew.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array

# Half a standard error of slack and a limit of five: one false alarm in some 930 runs.
_SLACK = 0.5
_LIMIT = 5.0


@dataclass(frozen=True)
class Drift:
    """The standardised change z of each run [runs], its sums, and the first run above the limit."""

    change: Array
    sums: Array
    limit: float
    alarm: int | None


def cusum(change: ArrayLike, *, slack: float = _SLACK, limit: float = _LIMIT) -> Drift:
    """S_t = max(0, S_{t-1} + z_t - slack) of the changes [runs], with the first S_t > limit."""
    z = np.asarray(change, dtype=np.float64)
    steps = np.concatenate([[0.0], np.cumsum(z - slack)])
    # What lies above the lowest sum so far is the recursion without a loop.
    sums = (steps - np.minimum.accumulate(steps))[1:]
    above = np.flatnonzero(sums > limit)
    return Drift(z, sums, limit, int(above[0]) if above.size else None)


def agreement_drift(
    num_agreed: ArrayLike,
    num: ArrayLike,
    *,
    reference: tuple[int, int],
    slack: float = _SLACK,
    limit: float = _LIMIT,
) -> Drift:
    """Whether agreement with the human labels of the control items falls.

    `num_agreed` of `num` [runs] verdicts agreed in each run, and (agreed, all) in the `reference`
    that was trusted. Half an agreement more and less there keeps its rate off 0 and 1. Raises
    InputError for counts that cannot be.
    """
    agreed, total = np.asarray(num_agreed, dtype=np.float64), np.asarray(num, dtype=np.float64)
    known, known_total = reference
    if not 0 <= known <= known_total or known_total < 1:
        raise InputError(f"reference: {known} of {known_total} verdicts agreed cannot be counts.")
    if agreed.shape != total.shape or ((agreed < 0) | (agreed > total) | (total < 1)).any():
        raise InputError("runs: agreements and verdicts a run are needed, none above its verdicts.")
    rate = (known + 0.5) / (known_total + 1)
    z = (rate - agreed / total) / np.sqrt(rate * (1 - rate) / total)
    return cusum(z, slack=slack, limit=limit)


def label_drift(
    counts: ArrayLike,
    *,
    reference: ArrayLike,
    slack: float = _SLACK,
    limit: float = _LIMIT,
) -> Drift:
    """Whether the labels that are given change, in whichever way, without any human label.

    `counts` [runs, labels] and `reference` [labels] are how often each label was given; half a
    count more there keeps a label that was never given possible. A run's z is its chi-square
    against the reference made normal (Wilson and Hilferty 1931).
    """
    table, known = np.asarray(counts, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if table.ndim != 2 or known.shape != table.shape[1:] or known.size < 2:
        raise InputError(
            f"counts of shape {table.shape} and {known.shape}: a row a run with a column a label "
            "is needed, and the same two or more labels in the reference."
        )
    if (table < 0).any() or (known < 0).any() or (table.sum(axis=1) < 1).any():
        raise InputError("counts: none is below 0, and every run has a verdict.")
    shares = (known + 0.5) / (known + 0.5).sum()
    expected = table.sum(axis=1, keepdims=True) * shares
    statistic = ((table - expected) ** 2 / expected).sum(axis=1)
    freedom = known.size - 1
    width = 2 / (9 * freedom)
    z = (np.cbrt(statistic / freedom) - (1 - width)) / np.sqrt(width)
    return cusum(z, slack=slack, limit=limit)
