"""How hard each instruction is to win against the baseline, from one joint fit over many models.

Letters: m models, n instructions, k covariates; q = k + 1 parameters for a model.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import expit

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import Array

# Holds a slope that nothing determines (equal lengths) or that is infinite (a model that never
# loses); far too weak to move any other.
_HOLD = 1e-6
_MAX_STEPS = 200
_TOLERANCE = 1e-14


class JointFit(NamedTuple):
    """logit P(model m wins i) = bias_m + slopes_m . x_mi + difficulty_i: [m], [m, k], [n]."""

    bias: Array
    slopes: Array
    difficulty: Array


def fit_difficulty(preferences: Array, covariates: Array, *, ridge: float = 1.0) -> JointFit:
    """The joint fit to preferences [m, n] in [0, 1], NaN where none is known.

    `covariates` are [m, n, k]. Difficulties are random effects of variance 1 / `ridge`, shrunk
    towards 0, which is also their mean; high means that models win there. Newton's method on the
    penalised likelihood: instructions are eliminated one by one (they meet only through the
    models), so a step costs one system of m q equations. InputError if a model has no preference.
    """
    known = np.isfinite(preferences)
    if not known.any(axis=1).all():
        place = int(np.argmin(known.any(axis=1)))
        raise InputError(
            f"difficulty: model {place} has no preference on any instruction; leave it out."
        )
    m, n = preferences.shape
    covariates = np.where(known[:, :, None], covariates, 0)
    design = np.concatenate((np.ones((m, n, 1)), covariates), axis=2)
    targets, weights = np.where(known, preferences, 0.5), known.astype(np.float64)
    model, item = np.zeros((m, design.shape[2])), np.zeros(n)
    for _ in range(_MAX_STEPS):
        shares = expit(_logits(design, model, item))
        error = weights * (targets - shares)
        slope = np.einsum("mn,mnq->mq", error, design) - _HOLD * model
        pull = error.sum(axis=0) - ridge * item
        step, shift = _solve(design, weights * shares * (1 - shares), ridge, slope, pull)
        reach = max(float(np.abs(_logits(design, step, shift)).max()), 1e-300)
        size = np.log1p(reach) / reach  # the step that climbs from anywhere: see fit_logistic
        model, item = model + size * step, item + size * shift
        if float((slope * step).sum() + pull @ shift) <= _TOLERANCE * weights.sum():
            break
    return JointFit(model[:, 0], model[:, 1:], item)


def _logits(design: Array, model: Array, item: Array) -> Array:
    return np.einsum("mnq,mq->mn", design, model) + item


def _solve(
    design: Array, bends: Array, ridge: float, slope: Array, pull: Array
) -> tuple[Array, Array]:
    """The Newton step of the models [m, q] and of the instructions [n]."""
    m, n, q = design.shape
    links = (bends[:, :, None] * design).transpose(0, 2, 1).reshape(m * q, n)
    own = bends.sum(axis=0) + ridge
    system = -(links / own) @ links.T
    blocks = np.einsum("mn,mnq,mnr->mqr", bends, design, design)
    for place, block in enumerate(blocks):
        part = slice(place * q, (place + 1) * q)
        system[part, part] += block + _HOLD * np.eye(q)
    step = np.linalg.solve(system, slope.ravel() - links @ (pull / own))
    return step.reshape(m, q), (pull - step @ links) / own
