"""Maps from what a judge states to what can be believed, fitted on people's labels.

Temperature, Platt and beta calibration are one family, ln odds = a ln p - b ln(1 - p) + c: all
three numbers free are the beta map, a = b the Platt map, a = b and c = 0 a temperature 1 / a.
Probabilities are held within 1e-6 of 0 and 1, where a logarithm would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import isotonic_regression
from scipy.special import expit

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.coefficients import encode
from modelgraft.methods.judge.method.logistic import fit_logistic
from modelgraft.methods.judge.method.pairwise import Calibration
from modelgraft.methods.judge.method.reliability import stated

Method = Literal["temperature", "platt", "isotonic", "beta"]

_EDGE = 1e-6


class Calibrator(Protocol):
    """A map of probabilities [items]."""

    def __call__(self, probability: ArrayLike) -> Array:
        """The calibrated probabilities."""
        ...


@dataclass(frozen=True)
class OddsMap:
    """ln odds = a ln p - b ln(1 - p) + c; monotone, since neither a nor b is below 0."""

    a: float
    b: float
    c: float

    def __call__(self, probability: ArrayLike) -> Array:
        """The calibrated probabilities."""
        above, below = _logarithms(np.asarray(probability, dtype=np.float64))
        return expit(self.a * above + self.b * below + self.c)


def temperature(probability: ArrayLike, is_so: ArrayLike) -> OddsMap:
    """The temperature 1 / a that fits best (Guo et al. 2017); a = 0 where p points the wrong way.

    All maps but the isotonic one are fitted to Platt's targets, (N1 + 1) / (N1 + 2) for what is so
    and 1 / (N0 + 2) for what is not, which keep separable labels from an infinite answer. All four
    raise InputError if the labels are all the same, and for what `reliability.stated` refuses.
    """
    above, below, targets = _fitted_to(probability, is_so)
    (a,) = _fit(np.stack([above + below], axis=1), targets)
    return OddsMap(max(a, 0.0), max(a, 0.0), 0.0)


def platt(probability: ArrayLike, is_so: ArrayLike) -> OddsMap:
    """A temperature and an offset (Platt 1999), in the ln odds of p."""
    above, below, targets = _fitted_to(probability, is_so)
    a, c = _fit(np.stack([above + below, np.ones_like(above)], axis=1), targets)
    if a < 0:
        a, (c,) = 0.0, _fit(np.ones((len(above), 1)), targets)
    return OddsMap(a, a, c)


def beta(probability: ArrayLike, is_so: ArrayLike) -> OddsMap:
    """The beta map (Kull et al. 2017); a or b that comes out below 0 is 0 and the rest refitted."""
    above, below, targets = _fitted_to(probability, is_so)
    columns = np.stack([above, below, np.ones_like(above)], axis=1)
    used = [0, 1, 2]
    while True:
        values = np.zeros(3)
        values[used] = _fit(columns[:, used], targets)
        negative = [place for place in used[:-1] if values[place] < 0]
        if not negative:
            a, b, c = values.tolist()
            return OddsMap(a, b, c)
        used.remove(min(negative, key=lambda place: values[place]))


def isotonic(probability: ArrayLike, is_so: ArrayLike) -> Calibration:
    """The best monotone map, by pooling adjacent violators; straight lines between what was seen.

    Equal probabilities are pooled first. It reaches 0 and 1 where only one kind was seen.
    """
    p, y = _both_kinds(probability, is_so)
    knots, place, counts = np.unique(p, return_inverse=True, return_counts=True)
    means = np.bincount(place, y) / counts
    values = isotonic_regression(means, weights=counts).x
    return Calibration(knots, np.asarray(values, dtype=np.float64))


CALIBRATORS: dict[Method, Callable[[ArrayLike, ArrayLike], Calibrator]] = {
    "temperature": temperature,
    "platt": platt,
    "isotonic": isotonic,
    "beta": beta,
}
"""What fits each map."""


def cross_fitted(
    fit: Callable[[ArrayLike, ArrayLike], Calibrator],
    probability: ArrayLike,
    is_so: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    num_folds: int = 5,
    seed: int = 0,
) -> Array:
    """Each item's probability [items] by a map fitted to the other folds, so never to itself.

    Items of one group stay in one fold. Measures of these are what a map fitted to all items will
    reach on new ones. Raises ConfigError for more folds than groups.
    """
    p, y = stated(probability, is_so)
    group = np.arange(p.size) if groups is None else encode(list(groups))[0]
    if group.size != p.size:
        raise InputError(f"{group.size} groups for {p.size} items: one an item is needed.")
    num_groups = np.unique(group).size
    if not 2 <= num_folds <= num_groups:
        raise ConfigError(
            "folds", f"{num_folds} folds for {num_groups} groups of items: from 2 to as many."
        )
    rng = np.random.default_rng(seed)
    fold = (rng.permutation(group.max() + 1) % num_folds)[group]
    found = np.empty_like(p)
    for number in range(num_folds):
        held = fold == number
        found[held] = fit(p[~held], y[~held])(p[held])
    return found


def _logarithms(p: Array) -> tuple[Array, Array]:
    inside = np.clip(p, _EDGE, 1 - _EDGE)
    return np.log(inside), -np.log1p(-inside)


def _fitted_to(probability: ArrayLike, is_so: ArrayLike) -> tuple[Array, Array, Array]:
    """ln p, -ln(1 - p) and Platt's targets [items]."""
    p, y = _both_kinds(probability, is_so)
    num_so = y.sum()
    targets = np.where(y == 1, (num_so + 1) / (num_so + 2), 1 / (y.size - num_so + 2))
    return *_logarithms(p), targets


def _both_kinds(probability: ArrayLike, is_so: ArrayLike) -> tuple[Array, Array]:
    p, y = stated(probability, is_so)
    if np.ptp(y) == 0:
        raise InputError(
            f"calibration: all {y.size} labels are {y[0]:g}: both kinds are needed to see where "
            "the judge goes wrong.\n  Label more items."
        )
    return p, y


def _fit(design: Array, targets: Array) -> list[float]:
    no_penalty = np.zeros((1, design.shape[1]))
    found = fit_logistic(design, targets, np.ones((1, len(targets))), no_penalty, "l2")
    return found[0].tolist()
