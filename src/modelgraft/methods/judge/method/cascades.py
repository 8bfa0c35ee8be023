"""Cheap judges first: a verdict stands where a tier is sure enough, else the next tier is asked.

Letters: t tiers from the cheapest on, n labelled items, g points of a grid. `confidence` and
`is_right` are [t, n]: what every tier said of every labelled item, with confidence 0 where it could
not be read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.guarantees import (
    DEFAULT_AT_LEAST,
    DEFAULT_GRID,
    Certificate,
    certify,
    certify_counts,
    fixed_grid,
)
from modelgraft.methods.judge.method.reliability import stated

Tiers = NDArray[np.int64]


@dataclass(frozen=True)
class Cascade:
    """Thresholds [t], inf for a tier that accepts nothing, and what they do on the labelled items.

    `certificates` hold one for each tier, or one for the whole path. `coverage` is the share of
    the labelled items that some tier accepts, `error_rate` that of their verdicts (nan without).
    """

    thresholds: Array
    certificates: tuple[Certificate, ...]
    coverage: float
    error_rate: float

    @property
    def is_certified(self) -> bool:
        """Whether anything at all may be accepted."""
        return bool(np.isfinite(self.thresholds).any())


def deciding_tier(confidence: ArrayLike, thresholds: ArrayLike) -> Tiers:
    """The first tier [n] that is sure enough, -1 where none is, from confidences [t, n].

    `thresholds` are [t], or [g, t] for a result [g, n].
    """
    p = np.asarray(confidence, dtype=np.float64)
    is_sure = p >= np.asarray(thresholds, dtype=np.float64)[..., None]
    return np.where(is_sure.any(axis=-2), is_sure.argmax(axis=-2), -1)


def cascade_by_tier(
    confidence: ArrayLike,
    is_right: ArrayLike,
    *,
    alpha: float,
    delta: float = 0.1,
    grid: ArrayLike = DEFAULT_GRID,
    at_least: int = DEFAULT_AT_LEAST,
) -> Cascade:
    """Each tier certified on the items that the tiers before it passed on, with delta / t.

    A tier that fails accepts nothing. Which items reach a tier depends on the labels that chose the
    thresholds before it, which the split of delta does not count; `cascade_by_path` has no such
    gap.
    """
    p, y = _checked(confidence, is_right)
    is_left = np.ones(p.shape[1], dtype=bool)
    found: list[Certificate] = []
    for sure, right in zip(p, y, strict=True):
        if is_left.any():
            one = certify(
                sure[is_left],
                right[is_left],
                alpha=alpha,
                delta=delta / len(p),
                grid=grid,
                at_least=at_least,
            )
        else:
            one = Certificate("uncertifiable", np.inf, 0, 0, 0, 1.0)
        found.append(one)
        is_left &= sure < one.threshold
    return _cascade(p, y, np.array([one.threshold for one in found]), tuple(found))


def cascade_by_path(
    confidence: ArrayLike,
    is_right: ArrayLike,
    *,
    alpha: float,
    delta: float = 0.1,
    path: ArrayLike = DEFAULT_GRID,
    at_least: int = DEFAULT_AT_LEAST,
) -> Cascade:
    """All tiers certified together, along one path of thresholds, with the whole of delta.

    `path` holds the same threshold for all tiers [g] or one for each [g, t], fixed in advance and
    falling. A point of it is one fixed rule, whose errors are counted over everything that any tier
    accepts. Ours: tested once for all tiers, it accepts more than a test a tier.
    """
    p, y = _checked(confidence, is_right)
    points = _path(path, len(p))
    tier = deciding_tier(p, points)
    is_accepted = tier >= 0
    right = np.take_along_axis(y, np.maximum(tier, 0), axis=0)
    num = is_accepted.sum(axis=1)
    num_errors = (is_accepted & (right == 0)).sum(axis=1)
    place, found = certify_counts(
        num_errors, num, p.shape[1], alpha=alpha, delta=delta, at_least=at_least
    )
    if place < 0:
        return _cascade(p, y, np.full(len(p), np.inf), (found,))
    found = replace(found, threshold=float(points[place].min()))
    return _cascade(p, y, points[place], (found,))


def _path(path: ArrayLike, num_tiers: int) -> Array:
    points = np.asarray(path, dtype=np.float64)
    if points.ndim == 1:
        return np.repeat(fixed_grid(points)[:, None], num_tiers, axis=1)
    is_falling = points.ndim == 2 and (points[1:] <= points[:-1]).all() and (points > 0).all()
    if not is_falling or points.shape[1] != num_tiers:
        raise ConfigError(
            "path",
            f"path of shape {points.shape}: {num_tiers} thresholds a point above 0, none above the "
            "one of the point before.",
        )
    return points


def _checked(confidence: ArrayLike, is_right: ArrayLike) -> tuple[Array, Array]:
    p, y = (np.asarray(one, dtype=np.float64) for one in (confidence, is_right))
    if p.ndim != 2 or p.shape != y.shape or not p.size:
        raise InputError(
            f"cascade: confidences of shape {p.shape} and truths of shape {y.shape}: one of each "
            "is needed of every tier for every item."
        )
    stated(p.ravel(), y.ravel())
    return p, y


def _cascade(p: Array, y: Array, thresholds: Array, found: tuple[Certificate, ...]) -> Cascade:
    tier = deciding_tier(p, thresholds)
    items = np.flatnonzero(tier >= 0)
    error_rate = float(1 - y[tier[items], items].mean()) if items.size else np.nan
    return Cascade(thresholds, found, items.size / p.shape[1], error_rate)


# -- cost ------------------------------------------------------------------------------------------


def cost_per_verdict(cascade: Cascade, confidence: ArrayLike, costs: ArrayLike) -> float:
    """What an accepted verdict costs when `costs` [t] are those of asking each tier once.

    An item pays for every tier up to the one that decides, and for all if none does. Tiers that
    accept nothing are not asked. inf when nothing is accepted.
    """
    is_asked = np.isfinite(cascade.thresholds)
    if not is_asked.any():
        return np.inf
    p = np.asarray(confidence, dtype=np.float64)[is_asked]
    tier = deciding_tier(p, cascade.thresholds[is_asked])
    paid = np.cumsum(np.asarray(costs, dtype=np.float64)[is_asked])
    num_accepted = int((tier >= 0).sum())
    return float(paid[tier].sum() / num_accepted) if num_accepted else np.inf


@dataclass(frozen=True)
class Route:
    """The tiers to ask, in order, their cascade, and what a certified verdict costs (inf: none)."""

    tiers: tuple[int, ...]
    cascade: Cascade
    cost: float


def cheapest_route(
    options: Sequence[Sequence[int]],
    confidence: ArrayLike,
    is_right: ArrayLike,
    *,
    costs: ArrayLike,
    alpha: float,
    delta: float = 0.1,
    coverage: float = 0.0,
    grid: ArrayLike = DEFAULT_GRID,
) -> Route:
    """Of the tier lists in `options` that accept at least `coverage`, the one of least cost.

    The options are fixed in advance. Each is certified by its path with delta over their number,
    for choosing among several on the same labels is testing each of them. If none accepts as much
    it is the one that accepts most. Asking little of the coverage favours routes that leave the
    hard items undecided.
    """
    p, y = _checked(confidence, is_right)
    price = np.asarray(costs, dtype=np.float64)
    if not options or price.shape != (len(p),):
        raise ConfigError("costs", f"costs: {len(p)} tiers need as many, and an option to take.")
    share = delta / len(options)
    routes = []
    for tiers in map(list, options):
        found = cascade_by_path(p[tiers], y[tiers], alpha=alpha, delta=share, path=grid)
        cost = cost_per_verdict(found, p[tiers], price[tiers])
        routes.append(Route(tuple(tiers), found, cost))
    enough = [route for route in routes if route.cascade.coverage >= coverage]
    if enough:
        return min(enough, key=lambda route: route.cost)
    return max(routes, key=lambda route: route.cascade.coverage)
