"""Difficulties of instructions: against a general minimiser, and what was planted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.method.difficulty import fit_difficulty


def board(seed: int, m: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Preferences [m, n], covariates [m, n, 2] and the difficulties [n] behind them."""
    rng = np.random.default_rng(seed)
    covariates = np.tanh(rng.normal(size=(m, n, 2)))
    hardness = rng.normal(size=n)
    logits = rng.normal(size=(m, 1)) + covariates @ np.array([-0.8, 0.3]) + hardness
    return (rng.random((m, n)) < expit(logits)).astype(float), covariates, hardness


def test_the_joint_fit_maximises_the_penalised_likelihood():
    preferences, covariates, _ = board(1, 3, 12)
    preferences[0, 3] = preferences[2, 7] = np.nan
    known = np.isfinite(preferences)
    targets = np.where(known, preferences, 0)

    def total(point: np.ndarray) -> float:
        model, item = point[:9].reshape(3, 3), point[9:]
        logits = model[:, :1] + np.einsum("mnk,mk->mn", covariates, model[:, 1:]) + item
        fit = (np.logaddexp(0, logits) - targets * logits)[known].sum()
        return float(fit + 0.7 * item @ item / 2 + 5e-7 * (model**2).sum())

    best = minimize(total, np.zeros(21), options={"gtol": 1e-7, "maxiter": 5000}).x
    found = fit_difficulty(preferences, covariates, ridge=0.7)
    ours = np.concatenate([
        np.column_stack([found.bias, found.slopes]).ravel(), found.difficulty
    ])  # fmt: skip
    # Where a model's answers can all but be told apart, the maximum is flat: scipy stops near it.
    assert total(ours) <= total(best) + 1e-9
    assert np.allclose(ours, best, rtol=1e-3, atol=1e-3)


def test_many_models_give_back_the_planted_difficulties_centred():
    preferences, covariates, hardness = board(2, 30, 150)
    found = fit_difficulty(preferences, covariates)
    assert np.corrcoef(found.difficulty, hardness)[0, 1] > 0.85
    assert found.difficulty.mean() == pytest.approx(0, abs=1e-6)


def test_a_model_that_always_wins_and_equal_lengths_do_no_harm():
    preferences, covariates, _ = board(3, 6, 40)
    preferences[0], covariates[1] = 1, 0
    found = fit_difficulty(preferences, covariates)
    assert np.isfinite(found.difficulty).all() and found.bias[0] > 3
    assert (found.slopes[1] == 0).all()


def test_an_instruction_nobody_answered_has_no_difficulty():
    preferences, covariates, _ = board(4, 5, 20)
    preferences[:, 6] = np.nan
    assert fit_difficulty(preferences, covariates).difficulty[6] == 0


def test_a_model_without_a_preference_is_named():
    preferences, covariates, _ = board(5, 3, 9)
    preferences[1] = np.nan
    with pytest.raises(InputError, match="model 1"):
        fit_difficulty(preferences, covariates)
