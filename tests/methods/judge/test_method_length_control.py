"""Length-controlled win rates: the identities they must keep and what they must undo."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.method.comparison import (
    Comparison,
    discrete_win_rate,
    length_covariate,
    raw_win_rate,
    read_preferences,
)
from modelgraft.methods.judge.method.length_control import (
    is_extreme,
    length_controlled,
    length_controlled_board,
    length_controlled_interval,
    win_rate_between,
)
from modelgraft.methods.judge.method.logistic import fit_logistic

PENALTIES = ["l1", "l2", None]


def judged(
    seed: int, *, n: int = 300, quality: float = 0.0, longer: float = 0.0, hardness=None
) -> Comparison:
    """Verdicts sigma(quality - 0.9 x + difficulty) of a judge that likes long answers.

    `longer` is by how many characters the model writes more than the baseline on average.
    """
    rng = np.random.default_rng(seed)
    x = length_covariate(800 + longer + 200 * rng.normal(size=n), np.full(n, 800.0))
    logits = quality - 0.9 * x + (0 if hardness is None else hardness)
    return Comparison(expit(logits + rng.normal(size=n)), x[:, None], hardness)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_equal_lengths_leave_the_raw_win_rate(penalty):
    """Acceptance 14: no deviation of length, no difficulty. l1 alone shrinks towards 50."""
    rng = np.random.default_rng(0)
    x = length_covariate(np.full(40, 12), np.full(40, 12))
    assert (x == 0).all()
    comparison = Comparison(rng.random(40) ** 2, x[:, None])
    found = length_controlled(comparison, penalty=penalty)
    assert found.raw == pytest.approx(100 * comparison.preference.mean())
    assert found.win_rate == pytest.approx(found.raw, abs=1e-6 if penalty != "l1" else 2)
    assert (found.slopes == 0).all() and found.difficulty_slope == 0


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_model_equal_to_the_baseline_has_fifty(penalty):
    """Acceptance 14: the verdicts of equal answers are ties."""
    same = Comparison(np.full(37, 0.5), np.zeros((37, 1)), np.linspace(-1, 1, 37))
    assert length_controlled(same, penalty=penalty).win_rate == pytest.approx(50, abs=1e-9)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_exchanging_model_and_baseline_gives_the_rest_of_a_hundred(penalty):
    comparison = judged(1, quality=0.4, longer=150, hardness=np.linspace(-1, 1, 300))
    turned = replace(comparison, preference=1 - comparison.preference)
    turned = replace(turned, covariates=-comparison.covariates)
    there = length_controlled(comparison, penalty=penalty)
    back = length_controlled(turned, penalty=penalty)
    assert there.win_rate + back.win_rate == pytest.approx(100, abs=1e-6)


@pytest.mark.parametrize("penalty", PENALTIES)
def test_models_compared_through_the_baseline_are_antisymmetric(penalty):
    """Acceptance 14: LC(m, m) = 50 and LC(a, b) + LC(b, a) = 100, to the last bit."""
    hardness = np.random.default_rng(3).normal(size=300)
    a = length_controlled(judged(1, quality=0.7, hardness=hardness), penalty=penalty)
    b = length_controlled(judged(2, quality=-0.2, longer=300, hardness=hardness), penalty=penalty)
    assert win_rate_between(a, a) == 50
    assert win_rate_between(a, b) + win_rate_between(b, a) == 100
    expected = expit(a.bias - b.bias + (a.difficulty_slope - b.difficulty_slope) * hardness)
    assert win_rate_between(a, b) == pytest.approx(100 * expected.mean())


def test_models_fitted_apart_are_not_compared():
    a = length_controlled(judged(1, hardness=np.linspace(-1, 1, 300)))
    b = length_controlled(judged(2, hardness=np.linspace(-2, 1, 300)))
    with pytest.raises(InputError, match="one difficulty"):
        win_rate_between(a, b)
    with pytest.raises(InputError, match="without difficulties"):
        win_rate_between(a, length_controlled(judged(2)))


@pytest.mark.parametrize("penalty", ["l1", "l2"])
def test_the_fit_equals_that_of_duplicated_rows(penalty):
    """Acceptance 14: rows (x, gamma, theta) with label 1 at y w and label 0 at (1 - y) w."""
    comparison = judged(4, quality=0.3, longer=100, hardness=np.linspace(-1, 1, 300))
    gamed = judged(5, longer=600, hardness=np.linspace(1, -1, 300))
    found = length_controlled(comparison, gamed=(gamed, gamed), penalty=penalty)
    y = np.concatenate((comparison.preference, *[gamed.preference] * 2))
    design = np.column_stack(
        (
            np.concatenate((comparison.covariates, *[gamed.covariates] * 2)),
            np.concatenate((comparison.difficulty, *[gamed.difficulty] * 2)),
            np.repeat([1.0, 0.0], [300, 600]),
        )
    )
    weight = np.repeat([1.0, 0.1], [300, 600])
    strength = found.strength * np.array([[1, 1, 1.0 if penalty == "l1" else 0]])
    (point,) = fit_logistic(
        np.vstack((design, design)),
        np.repeat([1.0, 0.0], 900),
        np.concatenate((y * weight, (1 - y) * weight))[None],
        strength,
        penalty,
    )
    own = [found.slopes[0], found.difficulty_slope, found.bias]
    assert np.allclose(own, point, atol=1e-8, rtol=0)
    predicted = expit(point[2] + point[1] * comparison.difficulty)
    assert found.win_rate == pytest.approx(100 * predicted.mean(), abs=1e-6)
    error = 100 * predicted.std(ddof=1) / np.sqrt(300)
    assert found.standard_error == pytest.approx(error, abs=1e-6)


@settings(max_examples=20, deadline=None)
@given(shift=st.integers(-500, 5000), seed=st.integers(0, 99))
def test_a_constant_added_to_all_lengths_changes_nothing(shift: int, seed: int):
    """Acceptance 14."""
    rng = np.random.default_rng(seed)
    model, baseline = rng.integers(500, 2000, size=(2, 50))
    there = length_covariate(model, baseline)
    assert np.array_equal(there, length_covariate(model + shift, baseline + shift))
    gap = baseline - model
    assert np.allclose(there, np.tanh(gap / np.std(gap, ddof=1)))


def test_thirty_seven_items_of_ones_own_are_enough():
    """Acceptance 14; the autouse fixture fails the test if the network is tried."""
    comparison = judged(6, n=37, quality=0.5, longer=400)
    found = length_controlled(comparison)
    interval = length_controlled_interval(comparison, found, rounds=200)
    assert interval.n == 37 and interval.low < found.win_rate < interval.high


def test_records_are_read_as_their_annotators_wrote_them():
    found = read_preferences([1, 2, 0, 1.5, 1.25, np.nan])
    assert np.array_equal(found, [0, 1, 0.5, 0.5, 0.25, np.nan], equal_nan=True)
    with pytest.raises(InputError, match=r"preference 1 is 2\.5"):
        read_preferences([1, 2.5])
    with pytest.raises(InputError, match=r"preference 0 is 0\.5"):
        read_preferences([0.5])


def test_raw_and_discrete_rates_leave_out_what_was_not_judged():
    preference = np.array([1.0, 0.8, 0.5, 0.1, np.nan])
    assert raw_win_rate(preference) == pytest.approx(60)
    assert discrete_win_rate(preference) == pytest.approx(100 * 2.5 / 4)
    missing = judged(7, n=50)
    missing.preference[::10] = np.nan
    found = length_controlled(missing)
    kept = np.isfinite(missing.preference)
    fewer = Comparison(missing.preference[kept], missing.covariates[kept])
    assert (found.num_items, found.num_missing) == (45, 5)
    assert found.win_rate == length_controlled(fewer).win_rate


def test_the_win_rate_of_a_long_winded_model_falls_to_what_its_content_earns():
    verbose, concise = (judged(8, n=2000, longer=longer) for longer in (200, -200))
    for comparison, sign in ((verbose, 1), (concise, -1)):
        found = length_controlled(comparison)
        assert sign * (found.raw - 50) > 8
        assert found.win_rate == pytest.approx(50, abs=4)
        assert found.slopes[0] < -0.5


def test_several_covariates_are_held_constant_together():
    rng = np.random.default_rng(9)
    x = np.tanh(rng.normal([0.5, 0.3, 0], size=(3000, 3)))
    preference = expit(0.4 + x @ [-0.9, -0.5, 0.2] + 0.3 * rng.normal(size=3000))
    found = length_controlled(Comparison(preference, x))
    assert np.allclose(found.slopes, [-0.9, -0.5, 0.2], atol=0.1)
    assert found.win_rate == pytest.approx(100 * expit(0.4), abs=1.5)


def test_gamed_rows_tie_the_slope_to_the_baselines_own():
    """Truncated answers lose on content, and their lengths hardly vary: the slope is a guess."""
    rng = np.random.default_rng(10)
    x = np.tanh(rng.normal(1.5, 0.5, size=400))
    truncated = Comparison(expit(-3 - 0.5 * x + 2 * (x < 0.7) + rng.normal(size=400)), x[:, None])
    gamed = [judged(seed, n=400, longer=longer) for seed, longer in ((11, 300), (12, -300))]
    alone, tied = length_controlled(truncated), length_controlled(truncated, gamed=gamed)
    own = length_controlled(gamed[0]).slopes[0]
    assert abs(tied.slopes[0] - own) < abs(alone.slopes[0] - own)
    assert abs(tied.win_rate - tied.raw) < abs(alone.win_rate - alone.raw)


def test_a_stronger_l2_moves_towards_the_raw_rate_and_l1_towards_fifty():
    comparison = judged(13, quality=1.5, longer=300)
    design = np.column_stack((comparison.covariates, np.ones(300)))
    found = {}
    for penalty, mask in (("l2", [1, 0]), ("l1", [1, 1])):
        (point,) = fit_logistic(
            design,
            comparison.preference,
            np.ones((1, 300)),
            1e6 * np.array([mask], dtype=float),
            penalty,
        )
        found[penalty] = 100 * expit(point[1])
    assert found["l2"] == pytest.approx(raw_win_rate(comparison.preference), abs=0.1)
    assert found["l1"] == 50


def test_the_interval_refits_every_sample():
    comparison = judged(14, n=60, quality=0.4, longer=100, hardness=np.linspace(-1, 1, 60))
    gamed = judged(15, n=40, longer=300, hardness=np.linspace(-1, 1, 40))
    fitted = length_controlled(comparison, gamed=[gamed])
    found = length_controlled_interval(comparison, fitted, gamed=[gamed], rounds=30, seed=2)
    rng, rates = np.random.default_rng(2), []
    own = rng.multinomial(60, np.full(60, 1 / 60), size=30)
    other = rng.multinomial(40, np.full(40, 1 / 40), size=30)
    for counts, extra in zip(own, other, strict=True):
        rows, more = np.repeat(np.arange(60), counts), np.repeat(np.arange(40), extra)
        x = np.concatenate((comparison.covariates[rows, 0], gamed.covariates[more, 0]))
        hardness = np.concatenate((comparison.difficulty[rows], gamed.difficulty[more]))
        (point,) = fit_logistic(
            np.column_stack((x, hardness, np.repeat([1.0, 0.0], [60, 40]))),
            np.concatenate((comparison.preference[rows], gamed.preference[more])),
            np.repeat([1.0, 0.2], [60, 40])[None],
            fitted.strength * np.array([[1.0, 1, 0]]),
            "l2",
        )
        rates.append(100 * expit(point[2] + point[1] * hardness[:60]).mean())
    assert min(rates) - 1e-6 <= found.low <= np.quantile(rates, 0.1)
    assert np.quantile(rates, 0.9) <= found.high <= max(rates) + 1e-6
    assert found.low == pytest.approx(np.quantile(rates, 0.0224), abs=0.3)


def test_intervals_of_the_controlled_rate_cover_what_was_planted():
    # The noise of the verdicts is inside sigma, so the truth is a mean over it.
    truth = 100 * expit(0.3 + np.random.default_rng(0).normal(size=200_000)).mean()
    inside = []
    for seed in range(100):
        comparison = judged(500 + seed, n=120, quality=0.3, longer=100)
        fitted = length_controlled(comparison, penalty=None)
        found = length_controlled_interval(comparison, fitted, rounds=200, seed=seed)
        inside.append(found.low < truth < found.high)
    assert 0.88 <= np.mean(inside) <= 1


def test_difficulties_come_from_five_models_on():
    hardness = 1.5 * np.random.default_rng(16).normal(size=200)
    models = [
        judged(20 + place, n=200, quality=place / 3 - 0.6, longer=50 * place, hardness=hardness)
        for place in range(6)
    ]
    many, few = length_controlled_board(models), length_controlled_board(models[:4])
    assert np.corrcoef(many[0].difficulty, hardness)[0, 1] > 0.8
    assert all(found.difficulty_slope > 0.5 and found.standard_error > 0 for found in many)
    assert all(found.difficulty is None and found.difficulty_slope == 0 for found in few)
    rates = [found.win_rate for found in many]
    assert rates == sorted(rates)
    assert win_rate_between(many[5], many[0]) > 60


def test_far_from_the_raw_rate_there_is_a_warning():
    assert not is_extreme(20, 15) and is_extreme(20, 9.9)
    assert not is_extreme(20, 40) and is_extreme(20, 40.1)
    assert not is_extreme(50, 62.5) and is_extreme(50, 37.4)
    rng = np.random.default_rng(17)
    x = np.tanh(rng.normal(2, 0.7, size=300))
    found = length_controlled(Comparison(expit(1 - 4 * x), x[:, None]))
    (warning,) = found.warnings
    assert f"{found.raw:.1f} to {found.win_rate:.1f}" in warning


@pytest.mark.parametrize("penalty", PENALTIES)
def test_a_model_that_always_wins_or_always_ties_has_that_rate(penalty):
    x = judged(18, n=50).covariates
    for verdict, rate in ((1.0, 100), (0.0, 0), (0.5, 50)):
        found = length_controlled(Comparison(np.full(50, verdict), x), penalty=penalty)
        assert found.win_rate == pytest.approx(rate, abs=0.5)


def test_too_few_verdicts_are_refused():
    preference = np.array([1, 0, 1, 0, np.nan, np.nan])
    with pytest.raises(InputError, match="4 of 6 items"):
        length_controlled(Comparison(preference, np.zeros((6, 1))))


def test_an_item_without_an_answer_is_left_out_and_one_half_measured_is_refused():
    lengths, baseline = np.array([10.0, np.nan, 30.0, 25.0]), np.full(4, 20.0)
    x = length_covariate(lengths, baseline)
    gap = np.array([10.0, -10.0, -5.0])
    assert np.isnan(x[1]) and np.allclose(x[[0, 2, 3]], np.tanh(gap / gap.std(ddof=1)))
    Comparison(np.array([1, np.nan, 0, 0.5]), x[:, None])
    with pytest.raises(InputError, match=r"item 1 .*1 of 4 items"):
        Comparison(np.array([1, 1, 0, 0.5]), x[:, None])
    with pytest.raises(InputError, match=r"preference 2 is 1\.5"):
        Comparison(np.array([1, 0, 1.5]), np.zeros((3, 1)))
    models = [judged(30 + place, n=40, hardness=np.zeros(40)) for place in range(5)]
    models[2].preference[7], models[2].covariates[7] = np.nan, np.nan
    assert all(np.isfinite(found.win_rate) for found in length_controlled_board(models))
