"""Maximum likelihood for models of a battle that see only a difference of strengths.

Letters: m rows, n models, k covariates. A row's log-likelihood is a function of
delta = theta_first - theta_second + beta . f and, where ties are modelled, of one number tau that
all rows share. Parameters stand in the order (theta [n], beta [k], tau [0 or 1]). The strengths
theta are centred; their mean has no meaning and no variance.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy.special import expit

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.battles import (
    Battles,
    Places,
    components,
    describe_components,
    sums_at,
    win_matrix,
)

# The ridge taken where the likelihood has no maximum (the specification's default).
DEFAULT_RIDGE = 1e-2
_MAX_STEPS = 200
_TOLERANCE = 1e-12


@dataclass(frozen=True)
class Ratings:
    """Strengths `theta` [n], natural logarithms with mean 0, and what was fitted beside them.

    `beta` [k] are the coefficients of covariates. `tie` is Davidson's nu or Rao and Kupper's eta,
    None where ties are half wins. Both covariances are those of (theta, beta, tau) [p, p] with
    tau = ln nu or ln eta: `covariance` is the inverse information, right if the model is, and
    `robust` the sandwich clustered by prompt, or by battle where prompts are not known. `ridge` is
    the lambda of 1/2 lambda |(theta, beta)|^2; `warnings` say what a reader must know.
    """

    models: tuple[str, ...]
    theta: Array
    beta: Array
    tie: float | None
    covariance: Array
    robust: Array
    ridge: float
    warnings: tuple[str, ...] = ()


class Local(NamedTuple):
    """A row's log-likelihood [m] with its slopes and negative second derivatives.

    The names end in the letters of what is derived by: d for delta, t for tau.
    """

    value: Array
    slope_d: Array
    slope_t: Array
    curve_dd: Array
    curve_dt: Array
    curve_tt: Array


Likelihood = Callable[[Array, Array, float], Local]


def logistic(delta: Array, outcome: Array, _: float = 0.0) -> Local:
    """Bradley-Terry: y ln sigma(delta) + (1 - y) ln sigma(-delta)."""
    share = expit(delta)
    value = outcome * delta - np.logaddexp(0, delta)
    none = np.zeros_like(delta)
    return Local(value, outcome - share, none, share * (1 - share), none, none)


def choose_ridge(battles: Battles, ridge: float | None) -> tuple[float, tuple[str, ...]]:
    """The ridge to take and what to say about it: none where a maximum exists.

    None asks for `DEFAULT_RIDGE` where the win graph is not strongly connected. Raises InputError
    for a ridge of 0 there, since some strengths would be infinite.
    """
    if ridge is not None and ridge > 0:
        return ridge, ()
    groups = components(win_matrix(battles))
    if not groups.any():
        return 0.0, ()
    fault = (
        f"{int(groups.max()) + 1} groups of models are not linked by wins in both directions: "
        f"{describe_components(battles.models, groups)}"
    )
    if ridge == 0:
        raise InputError(
            f"ratings: {fault}.\n"
            "  The likelihood grows without end as they move apart, so it has no maximum.\n"
            "  Judge more pairs across the groups, rate each group alone, or let a ridge hold them."
        )
    return DEFAULT_RIDGE, (
        f"{fault}; a ridge of {DEFAULT_RIDGE:g} holds them together, and the distance between "
        "groups says little.",
    )


def fit_pairs(
    battles: Battles,
    covariates: Array,
    likelihood: Likelihood,
    *,
    ridge: float,
    tau: float | None = None,
) -> tuple[Array, Array]:
    """The parameters [p] that maximise the penalised likelihood, and its curvature there [p, p].

    Newton's method with step halving; `tau` is where the tie parameter starts. The curvature is
    that of the penalised likelihood, with 1 in the direction of the mean strength. InputError for a
    covariate that is not finite or, without a ridge, one that says nothing that the models or the
    other covariates do not.
    """
    _check_covariates(battles, covariates)
    point = np.zeros(len(battles.models) + covariates.shape[1] + (tau is not None))
    if tau is not None:
        point[-1] = tau
    penalty = _penalty(battles, covariates, ridge, point.size)

    def evaluate(at: Array) -> tuple[float, Local]:
        local = likelihood(gaps(battles, covariates, at), battles.outcome, _tau(at, tau))
        return float(battles.mass @ local.value - at @ penalty @ at / 2), local

    height, local = evaluate(point)
    if ridge == 0 and covariates.shape[1] > 0:
        _check_rank(_curvature(battles, covariates, local, penalty))
    for _ in range(_MAX_STEPS):
        slope = _gradient(battles, covariates, local, point.size) - penalty @ point
        curvature = _curvature(battles, covariates, local, penalty)
        step = np.linalg.solve(curvature, slope)
        gain = float(slope @ step)
        if gain <= _TOLERANCE * (1 + abs(height)):
            return point + step, curvature
        size = 1.0
        while not (candidate := evaluate(point + size * step))[0] >= height + 1e-4 * size * gain:
            size /= 2
        point, (height, local) = point + size * step, candidate
    raise AssertionError("the likelihood is concave, so Newton steps must end")


def gaps(battles: Battles, covariates: Array, point: Array) -> Array:
    """delta [m] at the parameters `point`."""
    n, k = len(battles.models), covariates.shape[1]
    theta = point[:n]
    return theta[battles.first] - theta[battles.second] + covariates @ point[n : n + k]


def covariances(
    battles: Battles, covariates: Array, local: Local, curvature: Array
) -> tuple[Array, Array]:
    """The inverse of the curvature, and the sandwich H^-1 G H^-1 clustered by prompt; [p, p].

    G sums the outer products of the slopes of each prompt's battles, or of each battle where
    prompts are not known, times C / (C - 1) for C of them.
    """
    inverse = np.linalg.inv(curvature)
    n, p = len(battles.models), curvature.shape[0]
    others = np.column_stack((local.slope_d[:, None] * covariates, local.slope_t))[:, : p - n]
    if battles.prompt is None:
        mass = battles.count * battles.weight**2
        num = float(battles.count.sum())
        outer = _blocks(
            battles,
            mass * local.slope_d**2,
            (mass * local.slope_d)[:, None] * others,
            others.T @ (mass[:, None] * others),
        )
    else:
        sums = _prompt_sums(battles, battles.prompt, local.slope_d, others)
        num, outer = sums.shape[0], sums.T @ sums
    factor = num / (num - 1) if num > 1 else np.nan  # one prompt knows nothing of its spread
    mean = _mean_direction(n, p)
    return inverse - mean, factor * inverse @ outer @ inverse


def _check_covariates(battles: Battles, covariates: Array) -> None:
    assert covariates.shape[0] == battles.outcome.size, "a row of covariates for each battle"
    broken = ~np.isfinite(covariates).all(axis=1)
    if broken.any():
        raise InputError(
            f"battle {int(np.argmax(broken))} has a covariate that is not a number "
            f"({int(broken.sum())} of {broken.size} rows); leave the battle out or measure it."
        )


def _check_rank(curvature: Array) -> None:
    scale = np.sqrt(np.maximum(np.diag(curvature), 1e-300))
    if np.linalg.eigvalsh(curvature / np.outer(scale, scale))[0] < 1e-9:
        raise InputError(
            "ratings: a covariate is constant, or a sum of the others, or follows from which "
            "models meet (as a slot does if one model always stands first).\n"
            "  Its coefficient has no one value. Leave it out, or give a ridge above zero."
        )


def _tau(point: Array, start: float | None) -> float:
    return 0.0 if start is None else float(point[-1])


def _mean_direction(n: int, p: int) -> Array:
    """The projection [p, p] on equal strengths, which no battle can see."""
    found = np.zeros((p, p))
    found[:n, :n] = 1 / n
    return found


def _penalty(battles: Battles, covariates: Array, ridge: float, p: int) -> Array:
    n = len(battles.models)
    diagonal = np.zeros(p)
    diagonal[: n + covariates.shape[1]] = ridge
    # The strengths stay centred, so the ridge need not act on their mean: the 1 there fixes it.
    return np.diag(diagonal) + (1 - ridge) * _mean_direction(n, p)


def _gradient(battles: Battles, covariates: Array, local: Local, p: int) -> Array:
    n = len(battles.models)
    weighted = battles.mass * local.slope_d
    theta = sums_at(battles.first, weighted, n)
    theta -= sums_at(battles.second, weighted, n)
    found = np.concatenate((theta, weighted @ covariates, [battles.mass @ local.slope_t]))
    return found[:p]


def _curvature(battles: Battles, covariates: Array, local: Local, penalty: Array) -> Array:
    mass = battles.mass
    q = penalty.shape[0] - len(battles.models)
    weighted = (mass * local.curve_dd)[:, None] * covariates
    cross = mass * local.curve_dt
    corner = np.zeros((covariates.shape[1] + 1, covariates.shape[1] + 1))
    corner[:-1, :-1] = covariates.T @ weighted
    corner[:-1, -1] = corner[-1, :-1] = cross @ covariates
    corner[-1, -1] = mass @ local.curve_tt
    sides = np.column_stack((weighted, cross))[:, :q]
    return _blocks(battles, mass * local.curve_dd, sides, corner[:q, :q]) + penalty


def _blocks(battles: Battles, pairs: Array, sides: Array, corner: Array) -> Array:
    """[[sum pairs x x', sum x sides'], [its transpose, corner]] with x = e_first - e_second."""
    n, q = len(battles.models), corner.shape[0]
    found = np.zeros((n + q, n + q))
    links = sums_at(battles.first * n + battles.second, pairs, n * n).reshape(n, n)
    links = links + links.T
    found[:n, :n] = np.diag(links.sum(axis=1)) - links
    for column, side in enumerate(sides.T, start=n):
        found[:n, column] = sums_at(battles.first, side, n)
        found[:n, column] -= sums_at(battles.second, side, n)
        found[column, :n] = found[:n, column]
    found[n:, n:] = corner
    return found


def _prompt_sums(battles: Battles, prompt: Places, slope: Array, others: Array) -> Array:
    """The slope of each prompt's battles together [prompts, p]."""
    n, num = len(battles.models), int(prompt.max()) + 1
    mass = battles.mass
    theta = sums_at(prompt * n + battles.first, mass * slope, num * n)
    theta -= sums_at(prompt * n + battles.second, mass * slope, num * n)
    columns = [sums_at(prompt, mass * other, num) for other in others.T]
    return np.column_stack((theta.reshape(num, n), *columns))
