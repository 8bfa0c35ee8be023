"""A linear probe: two forms of one minimum, and pairs whose position tells nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.method.probe import (
    _fit_columns,
    _fit_rows,
    both_orders,
    cross_validated,
    fit_probe,
    grouped_folds,
    swap_averaged,
)


def data(n: int, d: int, seed: int = 0):
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(n, d)) + 3
    truth = rng.normal(size=d)
    targets = (rng.random(n) < expit((rows - 3) @ truth)).astype(float)
    return rows, targets


@pytest.mark.parametrize(("n", "d"), [(30, 8), (8, 30), (40, 40)])
def test_both_forms_have_one_minimum(n, d):
    """Acceptance 28."""
    rows, targets = data(n, d)
    rows = rows - rows.mean(axis=0)
    for one, other in zip(_fit_rows(rows, targets, 1.0), _fit_columns(rows, targets, 1.0),
                          strict=True):  # fmt: skip
        assert np.abs(np.asarray(one) - np.asarray(other)).max() < 1e-6


def test_the_minimum_is_that_of_a_general_optimiser():
    rows, targets = data(30, 5)
    probe = fit_probe(rows, targets, ridge=2.0)
    centred = (rows - probe.mean) / probe.scale

    def objective(w):
        logits = centred @ w[:-1] + w[-1]
        return (np.logaddexp(0, logits) - targets * logits).sum() + w[:-1] @ w[:-1]

    best = minimize(objective, np.zeros(6), tol=1e-12)
    assert np.append(probe.weights, probe.bias) == pytest.approx(best.x, abs=1e-4)
    assert probe(rows) == pytest.approx(centred @ best.x[:-1] + best.x[-1], abs=1e-3)


def test_the_scale_of_the_states_changes_nothing():
    rows, targets = data(20, 40)
    assert fit_probe(rows * 1000, targets)(rows * 1000) == pytest.approx(
        fit_probe(rows, targets)(rows)
    )


def test_separable_rows_end_and_one_kind_of_label_is_refused():
    rows = np.concatenate([np.full((10, 3), 5.0), np.full((10, 3), -5.0)])
    targets = np.repeat([1.0, 0.0], 10)
    assert ((fit_probe(rows, targets, ridge=1e-6)(rows) > 0) == targets).all()
    with pytest.raises(ConfigError, match="nothing to tell apart"):
        fit_probe(rows, np.ones(20))


def test_position_tells_nothing_to_a_probe_of_both_orders():
    """A feature that is the slot alone gets no weight; the content does."""
    rng = np.random.default_rng(1)
    content = rng.normal(size=200)
    wins = content > 0
    noise = rng.normal(size=(400, 6))
    slot = np.full(200, 9.0)
    first = np.column_stack([content, slot, noise[:200]])
    second = np.column_stack([-content, slot, noise[200:]])
    rows, targets = both_orders(first, second, wins)
    probe = fit_probe(rows, targets)
    d = swap_averaged(first, second, probe)
    assert ((d > 0) == wins).mean() > 0.97
    assert abs(probe.weights[1]) < 1e-9
    assert np.array_equal(swap_averaged(second, first, probe), -d)
    assert d == pytest.approx((probe(first) - probe(second)) / 2)


def test_rows_of_a_group_are_never_on_both_sides():
    groups = [f"g{number // 3}" for number in range(60)]
    folds = grouped_folds(groups, 5)
    assert sorted(np.concatenate(folds).tolist()) == list(range(60))
    sides = [{groups[row] for row in fold} for fold in folds]
    assert sum(map(len, sides)) == 20
    with pytest.raises(ConfigError, match="only 2 groups"):
        grouped_folds(["a", "b"], 5)


def test_what_is_noise_is_chance_when_it_is_not_trained_on():
    rng = np.random.default_rng(2)
    rows, targets = rng.normal(size=(100, 300)), (np.arange(100) % 2).astype(float)
    found = cross_validated(rows, targets, list(range(100)))
    assert 0.3 < ((found > 0) == targets).mean() < 0.7
    assert ((fit_probe(rows, targets)(rows) > 0) == targets).mean() > 0.95
