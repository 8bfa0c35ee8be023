"""Ratings at equal style, and ratings by judges of unequal reliability."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.method.battles import Battles, read_battles
from modelgraft.methods.judge.method.ratings import bradley_terry
from modelgraft.methods.judge.method.style import (
    crowd_bradley_terry,
    density_covariates,
    style_controlled,
    style_covariates,
)

THETA = np.array([0.8, 0.1, -0.3, -0.6])
BETA = np.array([0.5, -0.2, 0.3])


def styled_battles(seed: int, *, rows: int = 3000) -> tuple[Battles, np.ndarray]:
    """Battles whose winner depends on THETA, two covariates and the slot, with weights BETA."""
    rng = np.random.default_rng(seed)
    first = rng.integers(4, size=rows)
    second = (first + rng.integers(1, 4, size=rows)) % 4
    covariates = np.column_stack((rng.normal(size=(rows, 2)), np.ones(rows)))
    won = rng.random(rows) < expit(THETA[first] - THETA[second] + covariates @ BETA)
    names = ["a", "b", "c", "d"]
    battles = read_battles([names[p] for p in first], [names[p] for p in second], won)
    return battles, covariates


def test_a_covariate_is_the_difference_over_the_sum_plus_one_standardised():
    first, second = np.array([[9.0], [0.0], [4.0]]), np.array([[0.0], [9.0], [0.0]])
    raw = np.array([0.9, -0.9, 0.8])
    golden = (raw - raw.mean()) / raw.std()
    assert style_covariates(first, second)[:, 0].tolist() == pytest.approx(golden.tolist())
    assert np.allclose(style_covariates(second, first), -style_covariates(first, second))


def test_a_covariate_without_variation_is_zero():
    same = np.full((5, 2), 7.0)
    assert (style_covariates(same, same) == 0).all()
    assert (style_covariates(same, same + 0.1) == 0).all()


def test_the_arena_hard_covariates_are_length_and_density():
    tokens, other = np.array([99.0, 0.0, 49.0]), np.array([49.0, 0.0, 99.0])
    marks, rest = np.array([[10.0], [0.0], [5.0]]), np.array([[10.0], [0.0], [0.0]])
    found = density_covariates(tokens, other, marks, rest)
    length = np.array([50 / 148, 0, -50 / 148])
    density = np.array([(0.1 - 0.2) / 1.3, 0, 0.1 / 1.1])
    for column, raw in zip(found.T, (length, density), strict=True):
        assert np.allclose(column, (raw - raw.mean()) / raw.std())


def test_style_control_maximises_the_penalised_likelihood():
    battles, covariates = styled_battles(1, rows=200)

    def loss(point: np.ndarray) -> float:
        delta = point[battles.first] - point[battles.second] + covariates @ point[4:]
        fit = np.logaddexp(0, delta) - battles.outcome * delta
        return float(fit.sum()) + 0.25 * float(point @ point)

    best = minimize(loss, np.zeros(7), options={"gtol": 1e-7}).x
    found = style_controlled(battles, covariates)
    assert np.allclose(np.concatenate((found.theta, found.beta)), best, atol=1e-5)


def test_style_without_effect_leaves_bradley_terry():
    battles, covariates = styled_battles(2, rows=300)
    plain = bradley_terry(battles, ridge=0.5)
    empty = style_controlled(battles, covariates[:, :0])
    assert np.allclose(empty.theta, plain.theta) and np.allclose(empty.robust, plain.robust)


def test_planted_coefficients_lie_within_two_errors_in_nineteen_of_twenty_samples():
    """E4's statement on style: 60 samples of three coefficients."""
    hits = []
    for seed in range(60):
        found = style_controlled(*styled_battles(100 + seed, rows=800))
        errors = np.sqrt(np.diag(found.robust))[4:]
        hits.append(np.abs(found.beta - BETA) < 2 * errors)
    assert 0.90 <= np.mean(hits) <= 0.99


def test_a_battle_whose_style_was_not_measured_is_named():
    battles, covariates = styled_battles(2, rows=20)
    covariates[7, 1] = np.nan
    with pytest.raises(InputError, match=r"battle 7 .*1 of 20 rows"):
        style_controlled(battles, covariates)


def test_style_control_undoes_what_style_did():
    """The weaker model writes more and is preferred for it."""
    battles, _ = styled_battles(3)
    rng = np.random.default_rng(3)
    longer = np.where(battles.first == 3, 1.0, 0) - np.where(battles.second == 3, 1.0, 0)
    covariate = longer + rng.normal(scale=0.5, size=longer.size)
    won = rng.random(longer.size) < expit(
        THETA[battles.first] - THETA[battles.second] + 1.5 * covariate
    )
    names = np.array(battles.models)
    judged = read_battles(names[battles.first].tolist(), names[battles.second].tolist(), won)
    assert bradley_terry(judged).theta.argmax() == 3
    assert style_controlled(judged, covariate[:, None]).theta.argmin() == 3


def crowd(seed: int, slopes: dict[str, float], *, rows: int) -> tuple[Battles, list[str]]:
    rng = np.random.default_rng(seed)
    judge = rng.choice(list(slopes), size=rows)
    first = rng.integers(4, size=rows)
    second = (first + rng.integers(1, 4, size=rows)) % 4
    gaps = np.array([slopes[name] for name in judge]) * (THETA[first] - THETA[second])
    names = ["a", "b", "c", "d"]
    won = rng.random(rows) < expit(gaps)
    battles = read_battles([names[p] for p in first], [names[p] for p in second], won)
    return battles, judge.tolist()


def test_the_slopes_of_judges_come_back_and_their_logarithms_average_zero():
    battles, judge = crowd(1, {"sharp": 4.0, "plain": 1.0, "blunt": 0.25}, rows=6000)
    found = crowd_bradley_terry(battles, judge)
    assert found.judges == ("blunt", "plain", "sharp")
    assert np.log(found.reliability).sum() == pytest.approx(0, abs=1e-9)
    assert np.allclose(np.log(found.reliability), np.log([0.25, 1, 4]), atol=0.35)
    assert found.theta.sum() == pytest.approx(0, abs=1e-9)
    assert np.abs(found.theta - THETA).max() < 0.15


def test_one_judge_alone_is_bradley_terry():
    battles, judge = crowd(2, {"only": 1.0}, rows=400)
    found = crowd_bradley_terry(battles, judge)
    assert found.reliability.tolist() == [1.0]
    assert np.allclose(found.theta, bradley_terry(battles, ridge=0.01).theta, atol=1e-5)


def test_a_perfect_judge_and_a_random_one_stay_finite():
    battles, judge = crowd(3, {"plain": 1.0, "blunt": 1e-9, "sharp": 60.0}, rows=900)
    found = crowd_bradley_terry(battles, judge)
    assert np.isfinite(found.reliability).all() and (found.reliability > 0).all()
    assert found.reliability[2] > found.reliability[1] > found.reliability[0]


def test_the_joint_fit_cannot_be_bettered_nearby():
    battles, judge = crowd(4, {"one": 2.0, "two": 0.5}, rows=500)
    found = crowd_bradley_terry(battles, judge)
    who = np.array([found.judges.index(name) for name in judge])

    def loss(theta: np.ndarray, logs: np.ndarray) -> float:
        delta = np.exp(logs)[who] * (theta[battles.first] - theta[battles.second])
        fit = np.logaddexp(0, delta) - battles.outcome * delta
        return float(fit.sum()) + 0.005 * float(theta @ theta + logs @ logs)

    logs = np.log(found.reliability)
    best, rng = loss(found.theta, logs), np.random.default_rng(0)
    for scale in (1e-3, 1e-2, 0.3):
        moves, turns = rng.normal(size=(20, 4)) * scale, rng.normal(size=(20, 1)) * scale
        for move, turn in zip(moves, turns * [1, -1], strict=True):
            assert loss(found.theta + move - move.mean(), logs + turn) >= best - 1e-9


def test_a_judge_is_needed_for_each_battle():
    battles, judge = crowd(5, {"one": 1.0}, rows=9)
    with pytest.raises(InputError, match="8 names for 9 battles"):
        crowd_bradley_terry(battles, judge[:8])
