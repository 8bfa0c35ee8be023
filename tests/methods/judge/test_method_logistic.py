"""Penalised logistic regression against a general minimiser and against duplicated rows."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from modelgraft.methods.judge.method.logistic import STRENGTHS, choose_strength, fit_logistic


def rows(seed: int, *, n: int = 60, q: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Design [n, q], soft targets [n] and weights [n]."""
    rng = np.random.default_rng(seed)
    design = rng.normal(size=(n, q))
    targets = np.clip(1 / (1 + np.exp(-design @ rng.normal(size=q))) + rng.normal(size=n) / 4, 0, 1)
    return design, targets, rng.choice([0.1, 1.0], size=n)


def loss(point, design, targets, weights) -> float:
    logits = design @ point
    return float(weights @ (np.logaddexp(0, logits) - targets * logits))


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), strength=st.sampled_from([0.0, 0.05, 3.0]))
def test_l2_reaches_the_minimum(seed: int, strength: float):
    design, targets, weights = rows(seed)
    penalties = strength * np.array([[1.0, 1.0, 0.0]])
    (found,) = fit_logistic(design, targets, weights[None], penalties, "l2")

    def total(point):
        return loss(point, design, targets, weights) + point**2 @ penalties[0] / 2

    best = minimize(total, np.zeros(3), options={"gtol": 1e-8})
    assert total(found) <= best.fun + 1e-9
    assert np.allclose(found, best.x, atol=1e-4)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), strength=st.sampled_from([0.05, 1.0, 6.0, 1e4]))
def test_l1_reaches_the_minimum_of_the_split_problem(seed: int, strength: float):
    """With c = plus - minus, both >= 0, the absolute values are linear."""
    design, targets, weights = rows(seed)
    (found,) = fit_logistic(design, targets, weights[None], np.full((1, 3), strength), "l1")

    def total(parts):
        return loss(parts[:3] - parts[3:], design, targets, weights) + strength * parts.sum()

    options = {"ftol": 1e-15, "gtol": 1e-9, "maxiter": 5000}
    best = minimize(total, np.full(6, 0.1), bounds=[(0, None)] * 6, options=options)
    own = loss(found, design, targets, weights) + strength * np.abs(found).sum()
    assert own <= best.fun + 1e-7
    if strength == 1e4:
        assert (found == 0).all()


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_a_soft_target_is_two_weighted_labels(penalty):
    """Acceptance 14."""
    design, targets, weights = rows(1)
    strength = np.full((1, 3), 0.4)
    (soft,) = fit_logistic(design, targets, weights[None], strength, penalty)
    twice = np.concatenate((weights * targets, weights * (1 - targets)))
    labels = np.repeat([1.0, 0.0], 60)
    (hard,) = fit_logistic(np.vstack((design, design)), labels, twice[None], strength, penalty)
    assert np.allclose(soft, hard, atol=1e-8, rtol=0)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_fits_made_together_equal_fits_made_alone(penalty):
    design, targets, _ = rows(2)
    rng = np.random.default_rng(0)
    weights = rng.integers(0, 3, size=(7, 60)).astype(float)
    strength = np.tile(np.geomspace(1e-3, 10, 7)[:, None], (1, 3))
    together = fit_logistic(design, targets, weights, strength, penalty)
    for place in range(7):
        part = slice(place, place + 1)
        alone = fit_logistic(design, targets, weights[part], strength[part], penalty)
        assert np.allclose(together[place], alone[0], atol=1e-8)


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_a_column_that_says_nothing_gets_nothing(penalty):
    design, targets, weights = rows(3)
    strength = 0.0 if penalty == "l2" else 0.1
    wide = np.column_stack((design, np.zeros(60)))
    (found,) = fit_logistic(wide, targets, weights[None], np.full((1, 4), strength), penalty)
    (plain,) = fit_logistic(design, targets, weights[None], np.full((1, 3), strength), penalty)
    assert found[3] == 0 and np.allclose(found[:3], plain, atol=1e-9)


def test_labels_that_can_be_separated_end_at_certainty():
    (found,) = fit_logistic(np.ones((9, 1)), np.ones(9), np.ones((1, 9)), np.zeros((1, 1)), "l2")
    assert 20 < found[0] < 60


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_the_strength_has_the_least_held_out_loss(penalty):
    design, targets, weights = rows(4, n=33)
    fold = np.random.default_rng(9).permutation(33) % 5
    means = []
    for strength in STRENGTHS:
        losses = []
        for held in range(5):
            inside, outside = fold != held, fold == held
            (point,) = fit_logistic(
                design[inside],
                targets[inside],
                weights[None, inside],
                np.full((1, 3), strength),
                penalty,
            )
            losses.append(loss(point, design[outside], targets[outside], weights[outside]))
            losses[-1] /= outside.sum()
        means.append(np.mean(losses))
    found = choose_strength(design, targets, weights, np.ones(3), penalty, 9)
    assert found == STRENGTHS[int(np.argmin(means))]
