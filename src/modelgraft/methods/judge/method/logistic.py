"""Penalised logistic regression with soft targets, many weightings of the same rows at once.

The loss is sum_i w_i [softplus(x_i c) - t_i x_i c] + l1 |c|_1 + 1/2 l2 |c|^2, which is -log
likelihood of a target t in [0, 1]: the same as two rows of the labels 1 and 0 with the weights t w
and (1 - t) w. Letters: n rows, q columns, b fits. One call makes all fits of a cross-validation or
of a bootstrap, since those differ only in the weights [b, n] and the penalties.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import expit

from modelgraft.evaluation.intervals import Array

Penalty = Literal["l1", "l2"]

# What AlpacaEval searches: C is the weight of the likelihood against the penalty, lambda = 1 / C.
STRENGTHS = 1 / np.logspace(-4, 4, 10)
_FOLDS = 5
_MAX_STEPS = 200
_MAX_SWEEPS = 1000
_TOLERANCE = 1e-15


def fit_logistic(
    design: Array, targets: Array, weights: Array, strength: Array, penalty: Penalty
) -> Array:
    """The coefficients [b, q] for the weights [b, n] and the penalties `strength` [b, q].

    l2 takes Newton steps (iteratively reweighted least squares); l1 minimises the same quadratic by
    coordinate descent. A step is shortened by ln(1 + r) / r with r its largest change of a logit,
    which makes every step descend (F. Bach, Self-concordant analysis for logistic regression,
    2010). A column that nothing determines gets 0. Labels that can be separated have no finite
    answer without a penalty; the steps end where the likelihood no longer grows.
    """
    b, q = strength.shape
    coefficients = np.zeros((b, q))
    logits = np.zeros(weights.shape)
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), q * q)
    diagonal = np.arange(q)
    total = weights.sum(axis=1)
    for _ in range(_MAX_STEPS):
        shares = expit(logits)
        slope = (weights * (shares - targets)) @ design
        curvature = ((weights * shares * (1 - shares)) @ products).reshape(b, q, q)
        if penalty == "l2":
            curvature[:, diagonal, diagonal] += strength
            slope += strength * coefficients
            inverse = np.linalg.pinv(curvature, rcond=1e-12, hermitian=True)
            step = -(inverse @ slope[:, :, None])[:, :, 0]
        else:
            step = _descend(curvature, slope, coefficients, strength)
        moved = step @ design.T
        reach = np.maximum(np.abs(moved).max(axis=1), 1e-300)
        size = (np.log1p(reach) / reach)[:, None]
        coefficients += size * step
        logits += size * moved
        gain = np.einsum("bq,bqr,br->b", step, curvature, step)
        if (gain <= _TOLERANCE * total).all():
            break
    return coefficients


def choose_strength(
    design: Array,
    targets: Array,
    weights: Array,
    penalised: Array,
    penalty: Penalty,
    seed: int,
) -> float:
    """The strength of `STRENGTHS` with the least held-out loss in 5-fold cross-validation.

    A fold holds whole rows, so both labels of a soft target stay together. `penalised` [q] is 1 for
    the columns that the penalty acts on. The loss is the cross-entropy with the soft targets,
    weighted as in the fit; equal losses go to the stronger penalty.
    """
    folds = min(_FOLDS, len(targets))
    fold = np.random.default_rng(seed).permutation(len(targets)) % folds
    held = fold == np.arange(folds)[:, None]
    kept = np.repeat(np.where(held, 0, weights), STRENGTHS.size, axis=0)
    strength = np.tile(STRENGTHS[:, None] * penalised, (folds, 1))
    coefficients = fit_logistic(design, targets, kept, strength, penalty)
    logits = coefficients.reshape(folds, STRENGTHS.size, -1) @ design.T
    losses = weights * (np.logaddexp(0, logits) - targets * logits)
    means = (losses * held[:, None]).sum(axis=2) / held.sum(axis=1)[:, None]
    return float(STRENGTHS[np.argmin(means.mean(axis=0))])


def _descend(curvature: Array, slope: Array, point: Array, strength: Array) -> Array:
    """The step [b, q] that minimises the quadratic model plus the l1 norm, a coordinate a time."""
    step = np.zeros_like(point)
    rest = slope.copy()  # slope of the quadratic at the current step
    bends = np.einsum("bqq->bq", curvature)
    floor = 1e-12 * np.maximum(bends.max(axis=1), 1e-300)
    for _ in range(_MAX_SWEEPS):
        largest = 0.0
        for column in range(point.shape[1]):
            bend = np.maximum(bends[:, column], floor)
            aim = bend * (point[:, column] + step[:, column]) - rest[:, column]
            short = np.sign(aim) * np.maximum(np.abs(aim) - strength[:, column], 0) / bend
            change = short - point[:, column] - step[:, column]
            change[bends[:, column] <= floor] = 0
            step[:, column] += change
            rest += curvature[:, :, column] * change[:, None]
            largest = max(largest, float(np.abs(change).max()))
        if largest <= 1e-13:
            break
    return step
