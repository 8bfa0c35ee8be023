"""The rate that people would give, from a judge's verdicts and a few labels of theirs.

Rogan and Gladen invert a judge's error rates; prediction-powered inference adds to the judge's mean
what the labelled items show it to be off by. Both have intervals that know how few the labels are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array, Interval
from modelgraft.methods.judge.method.coefficients import encode


def rogan_gladen(
    share: float,
    num: int,
    *,
    specificity: float,
    num_wrong: int,
    sensitivity: float,
    num_right: int,
    level: float = 0.95,
) -> Interval:
    """The share of right items, when a judge calls `share` of `num` right (arXiv 2511.21140).

    `specificity` is the share of `num_wrong` items, wrong by people's labels, that it calls wrong;
    `sensitivity` that of `num_right` right ones that it calls right. The estimate inverts those;
    the interval does so with all three shares drawn a little towards 1/2, moved by a correction of
    its bias, and both are held within 0 and 1. Raises InputError if specificity and sensitivity,
    drawn so or not, sum to 1 or less, for then the verdicts tell nothing.
    """
    _check_shares(share, specificity, sensitivity)
    value = _inverted(share, specificity, sensitivity)
    z = float(ndtri((1 + level) / 2))
    n, m0, m1 = num + z**2, num_wrong + 2, num_right + 2
    p = (num * share + z**2 / 2) / n
    q0, q1 = (num_wrong * specificity + 1) / m0, (num_right * sensitivity + 1) / m1
    theta = _inverted(p, q0, q1)
    of_q0, of_q1 = q0 * (1 - q0) / m0, q1 * (1 - q1) / m1
    shift = 2 * z**2 * (-(1 - theta) * of_q0 + theta * of_q1)
    variance = p * (1 - p) / n + (1 - theta) ** 2 * of_q0 + theta**2 * of_q1
    half = z * np.sqrt(variance) / (q0 + q1 - 1)
    low, high = np.clip([theta + shift - half, theta + shift + half], 0, 1)
    return Interval(float(np.clip(value, 0, 1)), float(low), float(high), num)


def _inverted(share: float, specificity: float, sensitivity: float) -> float:
    gained = specificity + sensitivity - 1
    if gained <= 0:
        raise InputError(
            f"Rogan-Gladen: specificity {specificity:g} and sensitivity {sensitivity:g} sum to "
            f"{gained + 1:g}: up to 1 the judge is no better than a coin, and nothing can be "
            "corrected.\n  Take another judge, or label more items if there are few."
        )
    return (share + specificity - 1) / gained


def _check_shares(*shares: float) -> None:
    for share in shares:
        if not 0 <= share <= 1:
            raise InputError(f"Rogan-Gladen: {share:g} is not a share; they lie from 0 to 1.")


def allocate_labels(
    num_labels: int, share: float, *, specificity: float, sensitivity: float, num_pilot: int
) -> tuple[int, int]:
    """How many wrong and right items to label, so that the corrected rate varies least.

    From a pilot of `num_pilot` labels of each kind, which count among the `num_labels`; `share` is
    that of items called right (arXiv 2511.21140: kappa is the ratio of the smoothed error rates,
    m1 = m / (1 + (1/p - 1) sqrt(kappa))).
    """
    _check_shares(share, specificity, sensitivity)
    least = max(num_pilot, 1)
    if num_labels < 2 * least:
        raise InputError(
            f"{num_labels} labels: {least} of each kind are needed.\n  Take {2 * least} or more."
        )
    wrong, right = num_pilot * (1 - specificity) + 1, num_pilot * (1 - sensitivity) + 1
    # m / (1 + (1/p - 1) sqrt(wrong / right)), which is also defined for p = 0.
    weight_right, weight_wrong = share * np.sqrt(right), (1 - share) * np.sqrt(wrong)
    num_right = round(num_labels * float(weight_right / (weight_right + weight_wrong)))
    num_right = min(max(num_right, least), num_labels - least)
    return num_labels - num_right, num_right


# -- prediction-powered inference ------------------------------------------------------------------


@dataclass(frozen=True)
class Corrected:
    """A mean with its standard error and interval; `power` is lambda, the weight of the judge.

    `num` labels stand behind it. The bounds are None where the items show no spread at all.
    """

    value: float
    error: float
    low: float | None
    high: float | None
    num: int
    power: float

    @property
    def interval(self) -> Interval:
        """The value and its bounds."""
        return Interval(self.value, self.low, self.high, self.num)


def prediction_powered_mean(
    labels: ArrayLike,
    labelled: ArrayLike,
    unlabelled: ArrayLike,
    *,
    power: float | None = None,
    level: float = 0.95,
) -> Corrected:
    """The mean of people's labels over all items (PPI++, Angelopoulos et al. 2023).

    `labels` [n] and the judge's values `labelled` [n] are of the same items, `unlabelled` [N] the
    judge's values of the others. Without `power` it is the one of the least variance,
    Cov(Y, f) / ((1 + n / N) Var(f)), held within 0 and 1; 0 is the mean of the labels alone, 1 the
    judge's mean plus the mean residual.
    """
    y, f, g = _checked(labels, labelled, unlabelled)
    weight = _power(y, f, g) if power is None else power
    return _with_bounds(*_estimate(y, f, g, weight), len(y), weight, level)


def stratified_mean(
    strata: Sequence[tuple[ArrayLike, ArrayLike, ArrayLike]],
    *,
    weights: ArrayLike | None = None,
    level: float = 0.95,
) -> Corrected:
    """The same from strata, each with its own power: (labels, labelled, unlabelled) of each.

    `weights` are the strata's shares of the population, without them their shares of the items.
    Labels may then be taken from a stratum as often as is useful. `power` is the weighted mean.
    """
    tables = [_checked(*one) for one in strata]
    sizes = np.array([len(y) + len(g) for y, _, g in tables], dtype=np.float64)
    given = sizes if weights is None else np.asarray(weights, dtype=np.float64)
    if given.shape != sizes.shape or not (given > 0).all():
        raise InputError(f"{len(given)} weights for {len(sizes)} strata: one above 0 is needed.")
    parts = given / given.sum()
    powers = np.array([_power(*one) for one in tables])
    found = [_estimate(*one, power) for one, power in zip(tables, powers, strict=True)]
    value = float(parts @ [one[0] for one in found])
    variance = float(parts**2 @ [one[1] for one in found])
    num = sum(len(y) for y, _, _ in tables)
    return _with_bounds(value, variance, num, float(parts @ powers), level)


def clustered_prediction_powered_mean(
    labels: ArrayLike,
    labelled: ArrayLike,
    unlabelled: ArrayLike,
    *,
    clusters: Sequence[object],
    unlabelled_clusters: Sequence[object],
    power: float | None = None,
    level: float = 0.95,
) -> Corrected:
    """The same where items of one cluster, such as one prompt, depend on each other.

    A cluster may hold both labelled [n] and unlabelled [N] items. The variance is the sum over
    clusters of the squared sum of what their items move the estimate by, each part enlarged by
    C / (C - 1) for its C clusters. The power is that of independent items, which costs precision
    at most.
    """
    y, f, g = _checked(labels, labelled, unlabelled)
    if len(clusters) != len(y) or len(unlabelled_clusters) != len(g):
        raise InputError(
            f"{len(clusters)} and {len(unlabelled_clusters)} clusters for {len(y)} labelled and "
            f"{len(g)} unlabelled items: one an item is needed."
        )
    weight = _power(y, f, g) if power is None else power
    rest = y - weight * f
    place, names = encode([*clusters, *unlabelled_clusters])
    moved = np.zeros(len(names))
    for values, own in ((rest, place[: len(y)]), (weight * g, place[len(y) :])):
        num_own = np.unique(own).size
        if num_own < 2:
            raise InputError("clusters: two labelled and two unlabelled ones are needed.")
        size = np.sqrt(num_own / (num_own - 1)) / len(values)
        moved += size * np.bincount(own, values - values.mean(), minlength=len(names))
    value = float(weight * g.mean() + rest.mean())
    return _with_bounds(value, float((moved**2).sum()), len(y), weight, level)


def _checked(
    labels: ArrayLike, labelled: ArrayLike, unlabelled: ArrayLike
) -> tuple[Array, Array, Array]:
    y, f, g = (np.asarray(one, dtype=np.float64) for one in (labels, labelled, unlabelled))
    if y.ndim != 1 or y.shape != f.shape or len(y) < 2 or g.ndim != 1 or not len(g):
        raise InputError(
            f"shapes {y.shape}, {f.shape} and {g.shape}: labels and the judge's values of the same "
            "two or more items are needed, and its values of at least one without a label."
        )
    for name, values in (("labels", y), ("labelled", f), ("unlabelled", g)):
        if not np.isfinite(values).all():
            place = int(np.argmin(np.isfinite(values)))
            raise InputError(
                f"{name}[{place}] is {values[place]}: leave out what was not read, and report how "
                "many there were."
            )
    return y, f, g


def _power(y: Array, f: Array, g: Array) -> float:
    spread = float(np.concatenate([f, g]).var(ddof=1))
    if spread == 0:
        return 0.0
    covariance = float(((y - y.mean()) * (f - f.mean())).mean())
    return float(np.clip(covariance / ((1 + len(y) / len(g)) * spread), 0, 1))


def _estimate(y: Array, f: Array, g: Array, power: float) -> tuple[float, float]:
    """The mean and its variance."""
    rest = y - power * f
    value = float(power * g.mean() + rest.mean())
    return value, float(power**2 * g.var() / len(g) + rest.var() / len(y))


def _with_bounds(value: float, variance: float, num: int, power: float, level: float) -> Corrected:
    error = float(np.sqrt(variance))
    if error == 0:
        return Corrected(value, error, None, None, num, power)
    half = float(ndtri((1 + level) / 2)) * error
    return Corrected(value, error, value - half, value + half, num, power)
