"""Calibration: maps that find what distorted the probabilities, and measures against loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit, logit

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.method.calibration import (
    CALIBRATORS,
    OddsMap,
    beta,
    cross_fitted,
    isotonic,
    platt,
    temperature,
)
from modelgraft.methods.judge.method.coefficients import bootstrap
from modelgraft.methods.judge.method.reliability import (
    area_under_roc,
    brier_score,
    calibration_error,
    negative_log_likelihood,
    reliability,
    risk_coverage,
)

RNG = np.random.default_rng(0)
TRUE = expit(RNG.normal(0.8, 1.2, size=20_000))
IS_SO = (RNG.random(20_000) < TRUE).astype(float)
stated = st.lists(
    st.tuples(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]), st.integers(0, 1)),
    min_size=1,
    max_size=20,
)


def test_temperature_finds_the_temperature_that_distorted():
    found = temperature(expit(logit(TRUE) * 2.5), IS_SO)
    assert found.a == found.b == pytest.approx(1 / 2.5, rel=0.05) and found.c == 0


def test_platt_finds_slope_and_offset_and_beta_both_slopes():
    found = platt(expit((logit(TRUE) + 0.7) / 1.5), IS_SO)
    assert (found.a, found.b, found.c) == pytest.approx((1.5, 1.5, -0.7), abs=0.08)
    # ln odds = 2 ln p - 0.5 ln(1 - p) + 0.3, undone on a grid of p.
    grid = np.linspace(1e-5, 1 - 1e-5, 200_001)
    distorted = np.interp(TRUE, OddsMap(2.0, 0.5, 0.3)(grid), grid)
    found = beta(distorted, IS_SO)
    assert (found.a, found.b, found.c) == pytest.approx((2.0, 0.5, 0.3), abs=0.15)


@pytest.mark.parametrize(("fit", "free"), [(temperature, 1), (platt, 2), (beta, 3)])
def test_the_fit_is_the_minimum_over_platts_targets(fit, free):
    p, y = TRUE[:200] ** 0.5, IS_SO[:200]
    targets = np.where(y == 1, (y.sum() + 1) / (y.sum() + 2), 1 / (200 - y.sum() + 2))

    def loss(x):
        a, b, c = {1: (x[0], x[0], 0), 2: (x[0], x[0], x[-1]), 3: tuple(x)}[free]
        z = a * np.log(p) - b * np.log1p(-p) + c
        return (np.logaddexp(0, z) - targets * z).sum()

    best = minimize(loss, np.ones(free), tol=1e-10)
    found = fit(p, y)
    values = {1: [found.a], 2: [found.a, found.c], 3: [found.a, found.b, found.c]}[free]
    assert loss(values) <= best.fun + 1e-7


@pytest.mark.parametrize("name", CALIBRATORS)
def test_calibration_lowers_the_error_and_keeps_the_order(name):
    overconfident = expit(3 * logit(TRUE) + 0.5)
    found = CALIBRATORS[name](overconfident[:10_000], IS_SO[:10_000])
    after = found(overconfident[10_000:])
    before = calibration_error(overconfident[10_000:], IS_SO[10_000:])
    assert calibration_error(after, IS_SO[10_000:]) < before / 3
    grid = found(np.linspace(0, 1, 101))
    assert (np.diff(grid) >= -1e-12).all() and ((grid >= 0) & (grid <= 1)).all()


@pytest.mark.parametrize("fit", [temperature, platt, beta])
def test_a_judge_that_points_the_wrong_way_is_flattened_and_never_turned_round(fit):
    found = fit(1 - TRUE, IS_SO)
    assert np.ptp(found(np.linspace(0, 1, 11))) < 0.02 or (found.a >= 0 and found.b >= 0)
    assert found.a >= 0 and found.b >= 0


@pytest.mark.parametrize("fit", [temperature, platt, beta])
def test_separable_labels_and_certain_probabilities_stay_finite(fit):
    found = fit([0.0, 0.2, 0.8, 1.0], [0, 0, 1, 1])
    values = found([0.0, 0.5, 1.0])
    assert np.isfinite([found.a, found.b, found.c]).all()
    assert ((values > 0) & (values < 1)).all()


@settings(max_examples=60)
@given(stated)
def test_isotonic_values_are_the_min_max_means(pairs):
    p, y = map(np.array, zip(*pairs, strict=True))
    if np.ptp(y) == 0:
        return
    found = isotonic(p, y)
    for value in np.unique(p):
        # The best monotone fit is the max over lower ends of the min over upper ends of means.
        expected = max(
            min(y[(p >= low) & (p <= high)].mean() for high in np.unique(p[p >= value]))
            for low in np.unique(p[p <= value])
        )
        assert found([value])[0] == pytest.approx(expected)


def test_labels_of_one_kind_cannot_calibrate():
    for fit in CALIBRATORS.values():
        with pytest.raises(InputError, match="all 3 labels are 1"):
            fit([0.2, 0.5, 0.9], [1, 1, 1])


def test_cross_fitting_never_uses_an_item_for_itself():
    p, y = TRUE[:60], IS_SO[:60]
    before = cross_fitted(platt, p, y, seed=3)
    for place in (0, 17, 42):
        changed = y.copy()
        changed[place] = 1 - changed[place]
        assert cross_fitted(platt, p, changed, seed=3)[place] == before[place]


def test_cross_fitting_keeps_groups_together():
    groups = [f"g{place // 4}" for place in range(60)]
    seen = []

    def fit(p, y):
        seen.append(set(p.tolist()))
        return platt(p, y)

    p = TRUE[:60]
    cross_fitted(fit, p, IS_SO[:60], groups=groups, num_folds=3)
    for used in seen:
        held = {place for place in range(60) if p[place] not in used}
        assert all((place // 4) * 4 + i in held for place in held for i in range(4))
    with pytest.raises(ConfigError, match="5 folds for 2 groups"):
        cross_fitted(platt, p, IS_SO[:60], groups=["a", "b"] * 30)


# -- measures --------------------------------------------------------------------------------------


@given(stated, st.integers(1, 15))
def test_calibration_error_equals_the_loop_over_bins(pairs, num_bins):
    p, y = map(np.array, zip(*pairs, strict=True))
    expected = 0.0
    for place in range(num_bins):
        low, high = place / num_bins, (place + 1) / num_bins
        inside = (p * num_bins >= place) & ((p * num_bins < place + 1) | (high == 1))
        if inside.any():
            expected += inside.mean() * abs(y[inside].mean() - p[inside].mean())
        assert low < high
    assert calibration_error(p, y, num_bins=num_bins) == pytest.approx(expected, abs=1e-9)


def test_equal_mass_bins_hold_equally_many_items():
    p = np.sort(RNG.random(150)) ** 4
    y = (RNG.random(150) < 0.5).astype(float)
    expected = np.mean(
        [abs(y[i : i + 10].mean() - p[i : i + 10].mean()) for i in range(0, 150, 10)]
    )
    assert calibration_error(p, y, by="mass") == pytest.approx(expected)


@given(stated)
def test_area_under_roc_equals_the_share_of_pairs(pairs):
    p, y = map(np.array, zip(*pairs, strict=True))
    found = area_under_roc(p, y)
    so, other = p[y == 1], p[y == 0]
    if not len(so) or not len(other):
        assert np.isnan(found.value) and found.reason == "all items are of one kind"
        return
    above = (so[:, None] > other).mean() + 0.5 * (so[:, None] == other).mean()
    assert found.value == pytest.approx(above)


@given(stated)
def test_the_risk_curve_equals_the_loop_over_thresholds(pairs):
    p, y = map(np.array, zip(*pairs, strict=True))
    found = risk_coverage(p, y)
    for threshold, coverage, risk in zip(found.threshold, found.coverage, found.risk, strict=True):
        accepted = p >= threshold
        assert coverage == pytest.approx(accepted.mean())
        assert risk == pytest.approx(1 - y[accepted].mean())
    assert found.coverage[-1] == 1


def test_the_area_is_the_mean_over_random_orders_of_equal_confidences():
    p = np.array([0.9, 0.9, 0.9, 0.7, 0.7, 0.6])
    y = np.array([1, 0, 1, 0, 1, 0])
    rng = np.random.default_rng(4)

    def area() -> float:
        order = np.lexsort((rng.random(6), -p))
        return float((np.cumsum(1 - y[order]) / np.arange(1, 7)).mean())

    assert risk_coverage(p, y).area == pytest.approx(
        np.mean([area() for _ in range(4000)]), abs=0.01
    )


@given(stated, st.randoms())
def test_no_measure_depends_on_the_order_of_the_items(pairs, random):
    shuffled = random.sample(pairs, len(pairs))
    one, other = (reliability(*zip(*rows, strict=True)) for rows in (pairs, shuffled))
    for name in ("error_by_width", "error_by_mass", "brier", "nll", "aurc"):
        assert getattr(one, name) == pytest.approx(getattr(other, name))


def test_proper_scores_and_certainty_that_was_wrong():
    assert brier_score([0.8, 0.3], [1, 0]) == pytest.approx((0.04 + 0.09) / 2)
    expected = -(np.log(0.8) + np.log(0.7)) / 2
    assert negative_log_likelihood([0.8, 0.3], [1, 0]) == pytest.approx(expected)
    assert negative_log_likelihood([1.0, 0.0], [1, 0]) == 0
    assert negative_log_likelihood([1.0, 0.0], [0, 0]) == np.inf


def test_area_under_roc_has_an_interval():
    found = bootstrap(area_under_roc, TRUE[:200], IS_SO[:200], rounds=200)
    assert 0.5 < found.low < found.value < found.high < 1


def test_what_is_no_probability_or_no_truth_is_refused_by_item():
    with pytest.raises(InputError, match=r"probability of item 1 is 1\.2 \(1 of 2 items\)"):
        brier_score([0.5, 1.2], [0, 1])
    with pytest.raises(InputError, match=r"truth of item 0 is 0\.5"):
        brier_score([0.5], [0.5])
    with pytest.raises(InputError, match="probability of item 0 is nan"):
        reliability([np.nan], [1])
    with pytest.raises(InputError, match="at least one item"):
        reliability([], [])
