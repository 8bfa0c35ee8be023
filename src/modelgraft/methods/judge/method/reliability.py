"""Whether stated probabilities can be believed: calibration error, proper scores, risk by coverage.

`probability` [items] is what was stated that something is so, `is_so` [items] whether it is (0 or
1). With the confidence in a verdict and whether it is right, all measures apply; with the
probability that a wins and whether it did, all but the risk by coverage. Items with equal
probabilities are never told apart, so no measure depends on the order of the items.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import xlogy
from scipy.stats import rankdata

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.coefficients import Coefficient, undefined

Bins = Literal["width", "mass"]


def calibration_error(
    probability: ArrayLike, is_so: ArrayLike, *, by: Bins = "width", num_bins: int = 15
) -> float:
    """The expected calibration error: |share that is so - mean probability| over bins, by size.

    Bins divide 0 to 1 (`width`) or the ranks of the items (`mass`) into equal parts.
    """
    p, y = stated(probability, is_so)
    place = p if by == "width" else (rankdata(p) - 0.5) / p.size
    bins = np.minimum((place * num_bins).astype(np.int64), num_bins - 1)
    return float(np.abs(np.bincount(bins, y - p)).sum() / p.size)


def brier_score(probability: ArrayLike, is_so: ArrayLike) -> float:
    """The mean square of the difference between what is stated and what is (Brier 1950)."""
    p, y = stated(probability, is_so)
    return float(((p - y) ** 2).mean())


def negative_log_likelihood(probability: ArrayLike, is_so: ArrayLike) -> float:
    """The mean of -ln of what was stated of the truth, in nats; infinite if that was ever 0."""
    p, y = stated(probability, is_so)
    return float(-(xlogy(y, p) + xlogy(1 - y, 1 - p)).mean()) + 0.0


def area_under_roc(probability: ArrayLike, is_so: ArrayLike) -> Coefficient:
    """The chance that what is so was stated higher than what is not, half of it where equal."""
    p, y = stated(probability, is_so)
    num_so = int(y.sum())
    num_not = y.size - num_so
    if not num_so or not num_not:
        return undefined("all items are of one kind", y.size)
    above = rankdata(p)[y == 1].sum() - num_so * (num_so + 1) / 2
    return Coefficient(float(above / (num_so * num_not)), y.size)


@dataclass(frozen=True)
class RiskCoverage:
    """Error rate among what is accepted, as the threshold falls through the stated confidences.

    `threshold`, `coverage`, `risk` [distinct confidences], from the highest confidence. `area` is
    the mean risk over all coverages 1/n, 2/n, ..., 1 (AURC, Geifman et al. 2019), with items of
    equal confidence accepted in random order.
    """

    threshold: Array
    coverage: Array
    risk: Array
    area: float


def risk_coverage(confidence: ArrayLike, is_right: ArrayLike) -> RiskCoverage:
    """The curve of verdicts whose confidence is at least a threshold."""
    p, y = stated(confidence, is_right)
    negative, place, counts = np.unique(-p, return_inverse=True, return_counts=True)
    errors = np.bincount(place, 1 - y)
    accepted = np.cumsum(counts)
    # Inside a block of equal confidences an item errs as often as its block does.
    running = np.cumsum(np.repeat(errors / counts, counts)) / np.arange(1, p.size + 1)
    return RiskCoverage(
        -negative, accepted / p.size, np.cumsum(errors) / accepted, float(running.mean())
    )


@dataclass(frozen=True)
class Reliability:
    """The measures of one set of confidences, to be set beside those after calibration."""

    num: int
    error_by_width: float
    error_by_mass: float
    brier: float
    nll: float
    auroc: Coefficient
    aurc: float


def reliability(confidence: ArrayLike, is_right: ArrayLike) -> Reliability:
    """All of them, of the confidence [items] in verdicts and whether those are right."""
    p, y = stated(confidence, is_right)
    return Reliability(
        p.size,
        calibration_error(p, y, by="width"),
        calibration_error(p, y, by="mass"),
        brier_score(p, y),
        negative_log_likelihood(p, y),
        area_under_roc(p, y),
        risk_coverage(p, y).area,
    )


def stated(probability: ArrayLike, is_so: ArrayLike) -> tuple[Array, Array]:
    """Both as checked arrays [items]; InputError names the first that is no probability or 0/1."""
    p = np.asarray(probability, dtype=np.float64)
    y = np.asarray(is_so, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not p.size:
        raise InputError(
            f"probabilities of shape {p.shape} and truths of shape {y.shape}: one of each is "
            "needed for every item, and at least one item."
        )
    for name, values, is_sound in (
        ("probability", p, (p >= 0) & (p <= 1)),
        ("truth", y, (y == 0) | (y == 1)),
    ):
        if not is_sound.all():
            place = int(np.argmin(is_sound))
            raise InputError(
                f"{name} of item {place} is {values[place]:g} ({int((~is_sound).sum())} of "
                f"{p.size} items): probabilities lie from 0 to 1, and a truth is 0 or 1.\n"
                "  Leave out what was not read and report how many there were."
            )
    return p, y
