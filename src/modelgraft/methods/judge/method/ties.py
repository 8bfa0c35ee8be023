"""Ratings that model ties instead of halving them: Davidson, and Rao and Kupper.

Both are log-concave in the difference of strengths and the logarithm of their tie parameter, so
Newton's method finds the one maximum. With covariates (a column of ones is what the first slot
gains) delta = theta_a - theta_b + beta . f takes the place of theta_a - theta_b.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy.special import expit, log_expit

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array
from modelgraft.methods.judge.method.battles import Battles, collapse
from modelgraft.methods.judge.method.pair_model import (
    Likelihood,
    Local,
    Ratings,
    choose_ridge,
    covariances,
    fit_pairs,
    gaps,
    logistic,
)


def davidson(
    battles: Battles, covariates: Array | None = None, *, ridge: float | None = None
) -> Ratings:
    """P(tie) = nu sqrt(p_a p_b) / (p_a + p_b + nu sqrt(p_a p_b)) with p = e^theta; `tie` is nu.

    R. R. Davidson, On extending the Bradley-Terry model to accommodate ties, JASA 65, 1970.
    `covariates` are [m, k]; the ridge is that of `bradley_terry`. Without ties nu is 0 and this is
    Bradley-Terry. InputError where an outcome is not 0, 1/2 or 1, or where all are ties.
    """
    return _fit(battles, covariates, ridge, _davidson)


def rao_kupper(
    battles: Battles, covariates: Array | None = None, *, ridge: float | None = None
) -> Ratings:
    """P(a) = p_a / (p_a + eta p_b), P(b) alike, and a tie otherwise; `tie` is eta >= 1.

    P. V. Rao and L. L. Kupper, Ties in paired-comparison experiments, JASA 62, 1967. Arguments and
    errors are those of `davidson`. Without ties eta is 1 and this is Bradley-Terry.
    """
    return _fit(battles, covariates, ridge, _rao_kupper)


def davidson_shares(delta: Array, nu: float) -> Array:
    """The probabilities [..., 3] of a win, a tie and a loss at the difference `delta`."""
    logits = np.stack((delta / 2, np.full_like(delta, np.log(nu)), -delta / 2), axis=-1)
    shares = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shares / shares.sum(axis=-1, keepdims=True)


def rao_kupper_shares(delta: Array, eta: float) -> Array:
    """The probabilities [..., 3] of a win, a tie and a loss at the difference `delta`."""
    win, loss = expit(delta - np.log(eta)), expit(-delta - np.log(eta))
    return np.stack((win, 1 - win - loss, loss), axis=-1)


def _davidson(delta: Array, outcome: Array, tau: float) -> Local:
    """Outcomes are choices with the utilities delta / 2, tau and -delta / 2."""
    win, tie, loss = np.moveaxis(davidson_shares(delta, float(np.exp(tau))), -1, 0)
    score = outcome - 0.5
    mean = (win - loss) / 2
    is_tie = score == 0
    half = np.abs(delta) / 2
    log_total = half + np.log1p(np.exp(-2 * half) + np.exp(tau - half))
    return Local(
        value=score * delta + is_tie * tau - log_total,
        slope_d=score - mean,
        slope_t=is_tie - tie,
        curve_dd=(win + loss) / 4 - mean**2,
        curve_dt=-tie * mean,
        curve_tt=tie * (1 - tie),
    )


def _rao_kupper(delta: Array, outcome: Array, tau: float) -> Local:
    """A tie is sigma(tau + delta) sigma(tau - delta) (1 - e^(-2 tau)), a win sigma(delta - tau)."""
    is_tie = outcome == 0.5
    sign = 2 * outcome - 1
    if tau <= 0:  # outside the model: no step may end here
        return Local(np.full_like(delta, -np.inf), *np.zeros((5, delta.size)))
    lead, lag = expit(-tau - delta), expit(delta - tau)
    log_ties = log_expit(tau + delta) + log_expit(tau - delta) + np.log(-np.expm1(-2 * tau))
    ahead = expit(tau - sign * delta)  # of a decided battle: what it lacks to certainty
    grown = np.expm1(2 * tau)
    bent = ahead * (1 - ahead)
    up, down = lead * (1 - lead), lag * (1 - lag)
    return Local(
        value=np.where(is_tie, log_ties, log_expit(sign * delta - tau)),
        slope_d=np.where(is_tie, lead - lag, sign * ahead),
        slope_t=np.where(is_tie, lead + lag + 2 / grown, -ahead),
        curve_dd=np.where(is_tie, up + down, bent),
        curve_dt=np.where(is_tie, up - down, -sign * bent),
        curve_tt=np.where(is_tie, up + down + 4 * (grown + 1) / grown**2, bent),
    )


def _fit(
    battles: Battles, covariates: Array | None, ridge: float | None, likelihood: Likelihood
) -> Ratings:
    _check_outcomes(battles.outcome)
    rows = collapse(battles) if covariates is None and battles.prompt is None else battles
    design = np.zeros((rows.outcome.size, 0)) if covariates is None else covariates
    strength, warnings = choose_ridge(rows, ridge)
    share = float(rows.mass @ (rows.outcome == 0.5) / rows.mass.sum())
    if share == 0:
        rule, tau = logistic, None
    else:
        # Where all models are equal these are the maxima.
        is_davidson = likelihood is _davidson
        nu, eta = 2 * share / (1 - share), (1 + share) / (1 - share)
        rule, tau = likelihood, float(np.log(nu if is_davidson else eta))
    point, curvature = fit_pairs(rows, design, rule, ridge=strength, tau=tau)
    n, k = len(rows.models), design.shape[1]
    local = rule(gaps(rows, design, point), rows.outcome, float(point[-1]))
    covariance, robust = covariances(rows, design, local, curvature)
    found = Ratings(
        rows.models, point[:n], point[n : n + k], None, covariance, robust, strength, warnings
    )
    nothing = 0.0 if likelihood is _davidson else 1.0
    return replace(found, tie=nothing if tau is None else float(np.exp(point[-1])))


def _check_outcomes(outcome: Array) -> None:
    strange = ~np.isin(outcome, (0.0, 0.5, 1.0))
    if strange.any():
        row = int(np.argmax(strange))
        raise InputError(
            f"battle {row}: the outcome {outcome[row]:g} is neither a win, a loss nor a tie, and a "
            "model of ties needs one of them.\n  Bradley-Terry takes outcomes in between."
        )
    if (outcome == 0.5).all():
        raise InputError(
            f"ratings: all {outcome.size} battles are ties, so nothing separates the models and "
            "the share of ties has no finite parameter.\n  Bradley-Terry rates them equal."
        )
