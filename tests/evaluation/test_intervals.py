"""Intervals: reference values, identities, coverage by simulation, and what they refuse."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from modelgraft.core.errors import InputError
from modelgraft.core.results import Number
from modelgraft.evaluation.intervals import (
    Interval,
    bootstrap_mean,
    paired_bootstrap,
    paired_bootstrap_over_seeds,
    ratio_interval,
    wilson,
)


def covers(interval: Interval, truth: float) -> bool:
    return interval.low <= truth <= interval.high


# -- Wilson ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(35, 50, 56.25, 80.90), (13, 30, 27.4, 60.8), (12, 30, 24.6, 57.7), (61, 68, 80.2, 94.9)],
)
def test_wilson_equals_published_intervals(successes, n, low, high):
    interval = wilson(successes, n)
    assert (100 * interval.low, 100 * interval.high) == pytest.approx((low, high), abs=0.05)
    assert interval.value == successes / n and interval.n == n


@given(st.integers(1, 5000), st.data(), st.floats(0.5, 0.999))
def test_wilson_equals_scipy_for_every_count_and_level(n, data, level):
    successes = data.draw(st.integers(0, n))
    ours = wilson(successes, n, level)
    peer = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    assert (ours.low, ours.high) == pytest.approx((peer.low, peer.high), abs=1e-12)
    assert 0 <= ours.low <= ours.value <= ours.high <= 1


@given(st.integers(1, 500), st.data())
def test_wilson_of_failures_mirrors_wilson_of_successes(n, data):
    successes = data.draw(st.integers(0, n))
    ours, mirror = wilson(successes, n), wilson(n - successes, n)
    assert (ours.low, ours.high) == pytest.approx((1 - mirror.high, 1 - mirror.low), abs=1e-12)


def test_wilson_stays_wide_when_every_item_succeeds():
    interval = wilson(20, 20)
    assert interval.high == 1.0 and interval.low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-6)


def test_wilson_says_what_a_single_item_says():
    assert covers(wilson(1, 1), 0.25) and not covers(wilson(1, 1), 0.1)


@pytest.mark.parametrize("n", [10, 20, 50, 200])
def test_wilson_covers_95_percent_averaged_over_all_shares(n):
    shares = np.linspace(0.001, 0.999, 999)
    counts = np.arange(n + 1)
    intervals = [wilson(count, n) for count in counts]
    low, high = (np.array([getattr(i, name) for i in intervals]) for name in ("low", "high"))
    inside = (low <= shares[:, None]) & (shares[:, None] <= high)
    coverage = (stats.binom.pmf(counts, n, shares[:, None]) * inside).sum(axis=1)
    assert coverage.mean() == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(
    ("successes", "n", "message"),
    [
        (0, 0, "n is 0"),
        (5, 4, "5 successes out of 4"),
        (-1, 4, "successes is -1"),
        (1.5, 4, "successes is 1.5"),
        (math.nan, 4, "successes is nan"),
        (1, math.inf, "n is inf"),
    ],
)
def test_wilson_refuses_what_is_not_a_count(successes, n, message):
    with pytest.raises(InputError, match=message):
        wilson(successes, n)


# -- bootstrap of means ------------------------------------------------------------------------


def test_an_interval_unpacks_into_a_number():
    number = Number("exact match", *wilson(18, 20), baseline=0.85)
    assert (number.value, number.n) == (0.9, 20)
    assert number.low < 0.9 < number.high


def test_bootstrap_equals_the_peer_at_the_widened_level():
    values = np.random.default_rng(3).exponential(size=25)
    # Hesterberg's expanded level for 25 values, computed from the t and the normal distribution.
    tail = stats.norm.cdf(-math.sqrt(25 / 24) * stats.t.ppf(0.975, 24))
    peer = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=100_000,
        confidence_level=1 - 2 * tail,
        method="percentile",
        rng=np.random.default_rng(1),
    ).confidence_interval
    ours = bootstrap_mean(values, seed=2, resamples=100_000)
    width = peer.high - peer.low
    assert (ours.low, ours.high) == pytest.approx((peer.low, peer.high), abs=0.03 * width)


@pytest.mark.parametrize(
    ("draw", "truth", "n"),
    [
        (lambda rng, n: rng.normal(3.0, 2.0, n), 3.0, 10),
        (lambda rng, n: rng.random(n), 0.5, 20),
        (lambda rng, n: rng.gamma(4.0, size=n), 4.0, 25),
    ],
    ids=["ten normal", "twenty uniform", "twenty-five skewed"],
)
def test_bootstrap_covers_the_mean_95_percent_of_the_time(draw, truth, n):
    # 2,000 samples, so that the share itself is known to half a percent.
    rng = np.random.default_rng(11)
    hits = [
        covers(bootstrap_mean(draw(rng, n), seed=trial, resamples=600), truth)
        for trial in range(2000)
    ]
    assert np.mean(hits) == pytest.approx(0.95, abs=0.02)


def test_another_level_covers_that_level():
    rng = np.random.default_rng(12)
    hits = [
        covers(bootstrap_mean(rng.normal(size=15), seed=trial, level=0.8, resamples=600), 0.0)
        for trial in range(1000)
    ]
    assert np.mean(hits) == pytest.approx(0.8, abs=0.02)


def test_the_same_seed_gives_the_same_interval_and_another_seed_nearly_so():
    values = np.random.default_rng(0).normal(size=50)
    first = bootstrap_mean(values, 7)
    assert bootstrap_mean(values, 7) == first
    other = bootstrap_mean(values, 8)
    assert other != first
    assert (other.low, other.high) == pytest.approx((first.low, first.high), abs=0.02)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=30), st.floats(-50, 50))
def test_shifting_every_value_shifts_the_interval(values, shift):
    plain = bootstrap_mean(values, resamples=200)
    moved = bootstrap_mean(np.array(values) + shift, resamples=200)
    assert moved.value == pytest.approx(plain.value + shift, abs=1e-9)
    if plain.low is not None and moved.low is not None:
        assert moved.low == pytest.approx(plain.low + shift, abs=1e-9)
        assert moved.high == pytest.approx(plain.high + shift, abs=1e-9)
        assert min(values) - 1e-9 <= plain.low <= plain.high <= max(values) + 1e-9


def test_a_sample_larger_than_one_batch_of_draws_is_resampled_whole():
    values = np.random.default_rng(0).normal(size=500_000)
    interval = bootstrap_mean(values, resamples=12)
    assert interval.high - interval.low == pytest.approx(4 / math.sqrt(values.size), rel=0.5)


@pytest.mark.parametrize("values", [[0.3], [1.0, 1.0, 1.0]], ids=["one value", "equal values"])
def test_a_sample_without_spread_has_no_bounds(values):
    assert bootstrap_mean(values) == Interval(values[0], None, None, len(values))


# -- paired differences ------------------------------------------------------------------------


def test_paired_bootstrap_is_the_bootstrap_of_the_differences():
    rng = np.random.default_rng(5)
    ours, baseline = rng.normal(size=40), rng.normal(size=40)
    assert paired_bootstrap(ours, baseline, seed=3) == bootstrap_mean(ours - baseline, 3)


def test_swapping_the_arms_mirrors_the_interval():
    rng = np.random.default_rng(5)
    ours, baseline = rng.normal(size=200), rng.normal(size=200)
    there = paired_bootstrap(ours, baseline, resamples=40_000)
    back = paired_bootstrap(baseline, ours, resamples=40_000)
    assert back.value == -there.value
    assert (back.low, back.high) == pytest.approx((-there.high, -there.low), abs=0.01)


def test_pairing_removes_the_difficulty_of_items():
    rng = np.random.default_rng(6)
    difficulty = rng.normal(scale=10.0, size=100)
    interval = paired_bootstrap(difficulty + 0.5 + rng.normal(scale=0.1, size=100), difficulty)
    assert covers(interval, 0.5) and interval.high - interval.low < 0.1


def draw_rows(rng, seeds: int, items: int, *, same_items: bool, between_seeds: float):
    """Differences with true mean 0: a part per seed, a part per item, and noise."""
    per_item = rng.normal(size=(1 if same_items else seeds, items))
    noise = rng.normal(scale=0.5, size=(seeds, items))
    return rng.normal(scale=between_seeds, size=(seeds, 1)) + per_item + noise


def coverage_over_seeds(*, declared: bool, trials: int = 250, **design) -> float:
    rng = np.random.default_rng(9)
    hits = []
    for trial in range(trials):
        rows = draw_rows(rng, **design)
        interval = paired_bootstrap_over_seeds(
            rows, np.zeros_like(rows), same_items=declared, seed=trial, resamples=300
        )
        hits.append(covers(interval, 0.0))
    return float(np.mean(hits))


@pytest.mark.parametrize("between_seeds", [0.0, 0.3])
def test_shared_items_and_seeds_are_covered_95_percent_of_the_time(between_seeds):
    design = {"seeds": 6, "items": 20, "same_items": True, "between_seeds": between_seeds}
    assert coverage_over_seeds(declared=True, trials=600, **design) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("between_seeds", [0.0, 2.0])
def test_items_of_their_own_in_each_seed_are_covered_at_least_so_often(between_seeds):
    design = {"seeds": 8, "items": 10, "same_items": False, "between_seeds": between_seeds}
    assert coverage_over_seeds(declared=False, **design) >= 0.91


def test_calling_shared_items_independent_claims_too_much():
    design = {"seeds": 10, "items": 25, "same_items": True, "between_seeds": 0.0}
    assert coverage_over_seeds(declared=False, **design) < 0.75


@pytest.mark.parametrize("same_items", [True, False])
def test_equal_seeds_give_the_interval_of_the_items_or_wider(same_items):
    row = np.random.default_rng(4).normal(size=60)
    rows = np.tile(row, (5, 1))
    two_levels = paired_bootstrap_over_seeds(rows, np.zeros_like(rows), same_items=same_items)
    one_level = bootstrap_mean(row)
    width = (two_levels.high - two_levels.low) / (one_level.high - one_level.low)
    # Shared: the items alone vary. Own items: the same 60 values count as 300 different ones.
    assert width == pytest.approx(1.0 if same_items else 5**-0.5, rel=0.05)


def test_one_item_per_seed_is_the_bootstrap_of_the_seeds():
    values = np.random.default_rng(4).normal(size=(9, 1))
    rows = paired_bootstrap_over_seeds(values, np.zeros((9, 1)), same_items=False, resamples=50_000)
    flat = bootstrap_mean(values[:, 0], resamples=50_000)
    assert (rows.low, rows.high) == pytest.approx((flat.low, flat.high), abs=0.03)


def test_one_seed_says_nothing_about_seeds():
    rows = np.random.default_rng(4).normal(size=(1, 50))
    interval = paired_bootstrap_over_seeds(rows, np.zeros((1, 50)), same_items=True)
    assert interval == Interval(pytest.approx(rows.mean()), None, None, 50)


def test_rows_and_columns_that_average_out_still_give_an_interval():
    rows = np.array([[1.0, -1.0], [-1.0, 1.0]])
    interval = paired_bootstrap_over_seeds(rows, np.zeros((2, 2)), same_items=True)
    assert covers(interval, 0.0) and math.isfinite(interval.low)


# -- ratios ------------------------------------------------------------------------------------


def test_ratio_is_the_median_over_rounds_and_ignores_a_disturbed_round():
    star = np.array([1.0, 1.1, 0.9, 1.0, 1.05])
    dense = 2 * star
    dense[3] = 40.0
    interval = ratio_interval(dense, star)
    assert interval.value == 2.0 and interval.n == 5


def test_a_load_that_slows_both_arms_of_a_round_cancels():
    load = np.array([1.0, 3.0, 1.5, 8.0, 1.0, 2.0])
    speed = np.array([1.9, 2.0, 2.1, 2.0, 1.95, 2.05])
    quiet, loaded = ratio_interval(speed, np.ones(6)), ratio_interval(speed * load, load)
    assert quiet == Interval(*(pytest.approx(value) for value in loaded))


def test_few_rounds_give_the_t_interval_of_the_log_ratios():
    value, low, high, n = ratio_interval([3.0, 2.0, 4.0], [1, 1, 1])
    logs = np.log([3.0, 2.0, 4.0])
    expected = stats.t.interval(0.95, 2, logs.mean(), stats.sem(logs))
    assert (value, n) == (3.0, 3) and (low, high) == pytest.approx(np.exp(expected))


@pytest.mark.parametrize("rounds", [2, 3, 4, 5])
def test_few_rounds_cover_the_median_95_percent_of_the_time(rounds):
    rng = np.random.default_rng(11)
    hits = [
        covers(ratio_interval(rng.lognormal(0.3, 0.2, rounds), np.ones(rounds)), np.exp(0.3))
        for _ in range(4000)
    ]
    assert 0.94 <= np.mean(hits) <= 0.96


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=5))
def test_bounds_of_few_rounds_hold_the_median_and_are_finite(ratios):
    value, low, high, _ = ratio_interval(ratios, np.ones(len(ratios)))
    if low is not None:
        assert 0 < low <= value <= high < math.inf


def test_swapping_numerator_and_denominator_inverts_the_interval():
    rng = np.random.default_rng(8)
    first, second = rng.lognormal(size=31), rng.lognormal(size=31)
    there, back = ratio_interval(first, second), ratio_interval(second, first)
    assert back.value == pytest.approx(1 / there.value)
    assert (1 / back.high, 1 / back.low) == pytest.approx((there.low, there.high), rel=0.1)


@pytest.mark.parametrize("rounds", [7, 15])
def test_ratio_covers_the_median_at_least_93_percent_of_the_time(rounds):
    rng = np.random.default_rng(10)
    hits = [
        covers(ratio_interval(rng.lognormal(size=rounds), np.ones(rounds), resamples=400), 1.0)
        for _ in range(500)
    ]
    assert 0.93 <= np.mean(hits) <= 0.99


def test_one_round_has_no_bounds():
    assert ratio_interval([3.0], [2.0]) == Interval(1.5, None, None, 1)


@pytest.mark.parametrize("place", ["numerator", "denominator"])
def test_a_time_of_zero_is_refused_by_name_and_place(place):
    arms = {"numerator": [1.0, 1.0], "denominator": [1.0, 1.0]}
    arms[place] = [1.0, 0.0]
    with pytest.raises(InputError, match=rf"{place}\[1\] is 0"):
        ratio_interval(**arms)


# -- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None])
def test_a_value_that_is_not_finite_is_named_with_its_place(bad):
    with pytest.raises(InputError, match=r"values\[2\] is .*\(1 of 4 values"):
        bootstrap_mean([0.1, 0.2, bad, 0.4])
    with pytest.raises(InputError, match=r"baseline\[1, 0\] is"):
        paired_bootstrap_over_seeds(
            [[1.0, 2.0], [3.0, 4.0]], [[1.0, 2.0], [bad, 4.0]], same_items=True
        )
    with pytest.raises(InputError, match=r"denominator\[0\] is"):
        ratio_interval([1.0], [bad])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bootstrap_mean([]), "values is empty"),
        (lambda: bootstrap_mean([[1.0]]), r"values has shape \(1, 1\): one value per item"),
        (lambda: paired_bootstrap([1, 2], [1]), r"ours has shape \(2,\) and baseline \(1,\)"),
        (lambda: ratio_interval([1, 2], [1]), "the same items in the same order"),
        (
            lambda: paired_bootstrap_over_seeds([1, 2], [1, 2], same_items=True),
            "rows of seeds with a column per item",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused(call, message):
    with pytest.raises(InputError, match=message):
        call()
