"""Ratings with something held constant: the style of the answers, or how reliable each judge is.

Letters: m battles, n models, k covariates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize
from scipy.special import expit

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.battles import Battles, Places, sums_at
from modelgraft.methods.judge.method.pair_model import (
    DEFAULT_RIDGE,
    Ratings,
    choose_ridge,
    covariances,
    fit_pairs,
    gaps,
    logistic,
)


def style_covariates(first: Array, second: Array) -> Array:
    """(x_a - x_b) / (x_a + x_b + 1), each column standardised over the battles [m, k].

    `first` and `second` are counts [m, k] in the answers of both models: tokens, headers, list
    items, bold spans (style control of Chatbot Arena). A column without variation becomes zeros.
    """
    return _standardise((first - second) / (first + second + 1))


def density_covariates(
    first_tokens: Array, second_tokens: Array, first_marks: Array, second_marks: Array
) -> Array:
    """The covariates [m, 1 + k] of Arena-Hard: length, then densities of markdown.

    Length is (l_a - l_b) / (l_a + l_b), 0 for two empty answers; a density is a count [m, k] per
    token, x / (l + 1), compared as in `style_covariates`. All are standardised over the battles.
    """
    total = first_tokens + second_tokens
    length = (first_tokens - second_tokens) / np.where(total == 0, 1, total)
    one = first_marks / (first_tokens[:, None] + 1)
    other = second_marks / (second_tokens[:, None] + 1)
    return _standardise(np.column_stack((length, (one - other) / (one + other + 1))))


def style_controlled(battles: Battles, covariates: Array, *, ridge: float = 0.5) -> Ratings:
    """Bradley-Terry with logit = theta_a - theta_b + beta . f; `beta` [k] is in the result.

    The penalty is 1/2 ridge |(theta, beta)|^2. A column of ones beside the covariates gives what
    the first slot gains. Ratings are those of answers that are equal in style.
    """
    strength, warnings = choose_ridge(battles, ridge)
    point, curvature = fit_pairs(battles, covariates, logistic, ridge=strength)
    local = logistic(gaps(battles, covariates, point), battles.outcome)
    covariance, robust = covariances(battles, covariates, local, curvature)
    n = len(battles.models)
    return Ratings(
        battles.models, point[:n], point[n:], None, covariance, robust, strength, warnings
    )


@dataclass(frozen=True)
class CrowdRatings:
    """Strengths `theta` [n] with mean 0 and each judge's slope, in the order of `judges`.

    A judge of reliability 2 sees differences twice as large as one of reliability 1, so it errs
    less; the logarithms of all have mean 0.
    """

    models: tuple[str, ...]
    judges: tuple[str, ...]
    theta: Array
    reliability: Array


def crowd_bradley_terry(
    battles: Battles, judge: Sequence[str], *, ridge: float = DEFAULT_RIDGE
) -> CrowdRatings:
    """P(a beats b for judge j) = sigma(g_j (theta_a - theta_b)), g_j > 0, fitted jointly.

    The penalty 1/2 ridge (|theta|^2 + |ln g|^2) keeps a judge without an error, or worse than a
    coin, at a finite slope. `judge` [m] names who decided each battle.
    """
    if len(judge) != battles.outcome.size:
        raise InputError(
            f"judges: {len(judge)} names for {battles.outcome.size} battles: one each is needed."
        )
    judges = tuple(sorted(set(judge)))
    places = {name: place for place, name in enumerate(judges)}
    who = np.fromiter(map(places.__getitem__, judge), dtype=np.int64, count=len(judge))
    n = len(battles.models)
    none = np.zeros((battles.outcome.size, 0))
    theta, _ = fit_pairs(battles, none, logistic, ridge=ridge)
    # Strengths and log slopes count as deviations from their means, which nothing determines.
    start = np.concatenate((theta, np.zeros(len(judges))))
    found = minimize(
        _crowd_loss,
        start,
        args=(battles, who, n, ridge),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 1000, "ftol": 1e-13, "gtol": 1e-8},
    ).x
    slopes = np.exp(_centre(found[n:]))
    return CrowdRatings(battles.models, judges, _centre(found[:n]), slopes)


def _crowd_loss(
    point: Array, battles: Battles, who: Places, n: int, ridge: float
) -> tuple[float, Array]:
    """The penalised negative log-likelihood and its gradient in (theta, ln slopes)."""
    theta, logs = _centre(point[:n]), _centre(point[n:])
    slope = np.exp(logs)[who]
    gap = theta[battles.first] - theta[battles.second]
    delta = slope * gap
    loss = battles.mass @ (np.logaddexp(0, delta) - battles.outcome * delta)
    loss += ridge / 2 * (theta @ theta + logs @ logs)
    error = battles.mass * (expit(delta) - battles.outcome) * slope
    theta_slope = sums_at(battles.first, error, n)
    theta_slope -= sums_at(battles.second, error, n)
    log_slope = sums_at(who, error * gap, logs.size)
    parts = (_centre(theta_slope + ridge * theta), _centre(log_slope + ridge * logs))
    return float(loss), np.concatenate(parts)


def _centre(values: Array) -> Array:
    return values - values.mean()


def _standardise(columns: Array) -> Array:
    spread = columns.std(axis=0)
    # Equal values have a spread of rounding, not of style.
    flat = np.ptp(columns, axis=0) == 0
    return np.where(flat, 0, (columns - columns.mean(axis=0)) / np.where(flat, 1, spread))
