"""Models of ties against the likelihood written out, and what they share with Bradley-Terry."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.method import ties
from modelgraft.methods.judge.method.battles import Battles, read_battles
from modelgraft.methods.judge.method.ratings import bradley_terry
from modelgraft.methods.judge.method.ties import (
    davidson,
    davidson_shares,
    rao_kupper,
    rao_kupper_shares,
)

MODELS = [(davidson, davidson_shares), (rao_kupper, rao_kupper_shares)]


def simulate(
    shares, theta: np.ndarray, tie: float, slot: float, *, rows: int, seed: int
) -> tuple[Battles, np.ndarray]:
    """Battles drawn from a model of ties in which the first slot gains `slot`."""
    rng = np.random.default_rng(seed)
    n = theta.size
    first = rng.integers(n, size=rows)
    second = (first + rng.integers(1, n, size=rows)) % n
    chances = shares(theta[first] - theta[second] + slot, tie)
    place = (rng.random((rows, 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    battles = read_battles(
        [f"m{a:02d}" for a in first], [f"m{b:02d}" for b in second], 1 - place / 2
    )
    return battles, np.ones((rows, 1))


def test_shares_are_those_of_the_papers():
    gap, nu, eta = 0.8, 0.6, 1.7
    p, q = np.exp(gap), 1.0
    total = p + q + nu * np.sqrt(p * q)
    golden = [p / total, nu * np.sqrt(p * q) / total, q / total]
    assert davidson_shares(np.array([gap]), nu)[0].tolist() == pytest.approx(golden)
    win, lose = p / (p + eta * q), q / (q + eta * p)
    tie = (eta**2 - 1) * p * q / ((p + eta * q) * (eta * p + q))
    found = rao_kupper_shares(np.array([gap]), eta)[0]
    assert found.tolist() == pytest.approx([win, tie, lose])


@pytest.mark.parametrize(("fit", "shares"), MODELS)
@pytest.mark.parametrize("ridge", [0.0, 0.4])
def test_the_fit_maximises_the_likelihood(fit, shares, ridge: float):
    theta = np.array([0.9, 0.0, -0.3, -0.6])
    battles, ones = simulate(shares, theta, 1.5, 0.4, rows=400, seed=1)

    def loss(point: np.ndarray) -> float:
        gaps = point[battles.first] - point[battles.second] + point[4]
        chances = shares(gaps, 1 + np.exp(point[5]) if fit is rao_kupper else np.exp(point[5]))
        seen = np.take_along_axis(chances, (2 - 2 * battles.outcome).astype(int)[:, None], 1)
        return -float(np.log(seen).sum()) + ridge / 2 * float(point[:5] @ point[:5])

    best = minimize(loss, np.zeros(6), options={"gtol": 1e-6}).x
    tie = 1 + np.exp(best[5]) if fit is rao_kupper else np.exp(best[5])
    found = fit(battles, ones, ridge=ridge)
    assert found.theta.tolist() == pytest.approx((best[:4] - best[:4].mean()).tolist(), abs=1e-4)
    assert found.beta[0] == pytest.approx(best[4], abs=1e-4)
    assert found.tie == pytest.approx(tie, abs=1e-4)


@pytest.mark.parametrize("rule", [ties._davidson, ties._rao_kupper])
def test_slopes_and_curvatures_are_those_of_the_value(rule):
    delta, outcome = np.repeat([-2.0, 0.3, 1.1], 3), np.tile([0, 0.5, 1], 3)
    tau, step = 0.7, 1e-5

    def shifted(by_delta: float, by_tau: float):
        return rule(delta + by_delta * step, outcome, tau + by_tau * step)

    at = shifted(0, 0)
    up, down, more, less = shifted(1, 0), shifted(-1, 0), shifted(0, 1), shifted(0, -1)
    assert np.allclose(at.slope_d, (up.value - down.value) / (2 * step), atol=1e-8)
    assert np.allclose(at.slope_t, (more.value - less.value) / (2 * step), atol=1e-8)
    assert np.allclose(-at.curve_dd, (up.slope_d - down.slope_d) / (2 * step), atol=1e-8)
    assert np.allclose(-at.curve_dt, (more.slope_d - less.slope_d) / (2 * step), atol=1e-8)
    assert np.allclose(-at.curve_tt, (more.slope_t - less.slope_t) / (2 * step), atol=1e-8)


@pytest.mark.parametrize(("fit", "nothing"), [(davidson, 0.0), (rao_kupper, 1.0)])
def test_without_ties_the_fit_is_bradley_terry(fit, nothing: float):
    battles = read_battles(["a"] * 10 + ["c"], ["b"] * 9 + ["c", "b"], [1] * 6 + [0] * 5)
    found, plain = fit(battles, ridge=0.1), bradley_terry(battles, ridge=0.1)
    assert found.tie == nothing and np.allclose(found.theta, plain.theta)
    assert found.covariance.shape == (3, 3)


@pytest.mark.parametrize(("fit", "shares"), MODELS)
def test_planted_strengths_slot_and_ties_come_back_within_three_errors(fit, shares):
    theta = np.linspace(-1, 1, 6)
    battles, ones = simulate(shares, theta, 1.4, -0.3, rows=4000, seed=3)
    found = fit(battles, ones)
    errors = np.sqrt(np.diag(found.robust))
    assert (np.abs(found.theta - theta) < 3 * errors[:6]).all()
    assert abs(found.beta[0] + 0.3) < 3 * errors[6]
    assert abs(np.log(found.tie) - np.log(1.4)) < 3 * errors[7]


@pytest.mark.parametrize(("fit", "shares"), MODELS)
def test_exchanging_the_models_turns_the_strengths_and_keeps_the_ties(fit, shares):
    battles, _ = simulate(shares, np.array([0.5, -0.5]), 1.6, 0.0, rows=90, seed=4)
    names = {"m00": "z", "m01": "a"}
    turned = read_battles(
        [names[battles.models[place]] for place in battles.first],
        [names[battles.models[place]] for place in battles.second],
        battles.outcome,
    )
    there, back = fit(battles), fit(turned)
    assert np.allclose(there.theta, back.theta[::-1]) and there.tie == pytest.approx(back.tie)


@pytest.mark.parametrize("fit", [davidson, rao_kupper])
def test_a_slot_that_follows_from_the_models_is_named(fit):
    battles = read_battles(["a"] * 6, ["b", "b", "b", "c", "c", "c"], [1, 0, 0.5, 1, 0, 0.5])
    with pytest.raises(InputError, match="always stands first"):
        fit(battles, np.ones((6, 1)))
    with pytest.raises(InputError, match="constant"):
        fit(battles, np.zeros((6, 1)))
    assert np.isfinite(fit(battles, np.ones((6, 1)), ridge=0.1).beta).all()


@pytest.mark.parametrize("fit", [davidson, rao_kupper])
def test_what_no_model_of_ties_can_take_is_named(fit):
    with pytest.raises(InputError, match=r"battle 1.*0\.7"):
        fit(read_battles(["a", "b"], ["b", "a"], [0.5, 0.7]))
    with pytest.raises(InputError, match="all 2 battles are ties"):
        fit(read_battles(["a", "b"], ["b", "a"], [0.5, 0.5]))
    (warning,) = fit(read_battles(["a", "a", "b"], ["b", "c", "c"], [1, 1, 0.5])).warnings
    assert "{a}" in warning and "{b, c}" in warning
