"""Corrected rates: golden values, the ends of the power, and what the intervals really cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.evaluation.exact import mcnemar
from modelgraft.evaluation.intervals import Interval, wilson
from modelgraft.methods.judge.method.correction import (
    allocate_labels,
    clustered_prediction_powered_mean,
    prediction_powered_mean,
    rogan_gladen,
    stratified_mean,
)
from modelgraft.methods.judge.method.significance import (
    benjamini_yekutieli,
    clustered_error,
    clustered_mean,
    detectable_difference,
    holm,
)

LABELS = np.array([1.0, 0, 1, 1, 0, 1, 0, 0, 1, 1])
LABELLED = np.array([0.6, 0.5, 0.9, 0.3, 0.4, 0.7, 0.6, 0.1, 0.8, 0.2])
UNLABELLED = np.array(
    [
        *(0.8, 0.7, 0.2, 0.9, 0.6, 0.5, 0.4, 0.9, 0.7, 0.3),
        *(0.8, 0.6, 0.9, 0.1, 0.5, 0.7, 0.4, 0.6, 0.8, 0.2),
    ]
)


def corrected(share: float, num: int, wrong: tuple, right: tuple) -> Interval:
    """The corrected share, by (rate, items) of wrong and of right items."""
    q0, m0 = wrong
    q1, m1 = right
    return rogan_gladen(share, num, specificity=q0, num_wrong=m0, sensitivity=q1, num_right=m1)


def allocated(num: int, share: float, q0: float, q1: float, num_pilot: int) -> tuple[int, int]:
    return allocate_labels(num, share, specificity=q0, sensitivity=q1, num_pilot=num_pilot)


# -- Rogan and Gladen ------------------------------------------------------------------------------


def test_rogan_gladen_of_the_published_example():
    """Acceptance 18."""
    found = corrected(0.6, 1000, (0.8, 100), (0.9, 100))
    assert found.value == pytest.approx(0.571429, abs=5e-7)
    assert (found.low, found.high) == pytest.approx((0.48982, 0.65545), abs=5e-6)
    assert found.n == 1000


def test_a_perfect_judge_needs_no_correction():
    found = corrected(0.7, 400, (1.0, 10**6), (1.0, 10**6))
    plain = wilson(280, 400)
    assert found.value == pytest.approx(0.7)
    assert (found.low, found.high) == pytest.approx((plain.low, plain.high), abs=1e-3)


@given(st.floats(0, 1), st.floats(0.55, 1), st.floats(0.55, 1))
def test_the_correction_undoes_what_the_error_rates_did(theta, q0, q1):
    share = theta * q1 + (1 - theta) * (1 - q0)
    found = corrected(share, 500, (q0, 50), (q1, 50))
    assert found.value == pytest.approx(theta)
    assert 0 <= found.low <= found.high <= 1


def test_what_no_judge_can_give_is_held_within_zero_and_one():
    assert corrected(0.05, 100, (0.8, 50), (0.9, 50)).value == 0
    assert corrected(0.99, 100, (0.8, 50), (0.9, 50)).value == 1


def test_the_interval_covers_where_the_raw_share_does_not():
    """E7: a true rate of 0.3, a judge of specificity 0.7 and sensitivity 0.9, m = 100."""
    rng = np.random.default_rng(0)
    covered, raw = 0, 0
    for _ in range(600):
        share = rng.binomial(500, 0.3 * 0.9 + 0.7 * 0.3) / 500
        q0, q1 = rng.binomial(50, 0.7) / 50, rng.binomial(50, 0.9) / 50
        found = corrected(share, 500, (q0, 50), (q1, 50))
        covered += found.low <= 0.3 <= found.high
        plain = wilson(round(share * 500), 500)
        raw += plain.low <= 0.3 <= plain.high
    assert 0.93 <= covered / 600 <= 0.98 and raw / 600 < 0.4


def test_a_judge_no_better_than_a_coin_is_refused():
    with pytest.raises(InputError, match=r"specificity 0\.4 and sensitivity 0\.6 sum to 1"):
        corrected(0.5, 100, (0.4, 50), (0.6, 50))
    # Two right labels are not enough to make up for a specificity of 0.3.
    with pytest.raises(InputError, match="no better than a coin"):
        corrected(0.5, 100, (0.3, 1000), (0.8, 2))
    with pytest.raises(InputError, match=r"1\.5 is not a share"):
        corrected(1.5, 100, (0.8, 50), (0.9, 50))


def test_labels_go_where_they_lower_the_variance_most():
    assert allocated(100, 0.5, 0.8, 0.8, 10) == (50, 50)
    kappa = (10 * 0.3 + 1) / (10 * 0.1 + 1)
    num_right = round(200 / (1 + (1 / 0.4 - 1) * np.sqrt(kappa)))
    assert allocated(200, 0.4, 0.7, 0.9, 10) == (200 - num_right, num_right)
    assert allocated(40, 0.0, 0.7, 0.9, 10) == (30, 10)
    assert allocated(40, 1.0, 0.7, 0.9, 10) == (10, 30)
    with pytest.raises(InputError, match="20 or more"):
        allocated(15, 0.5, 0.8, 0.8, 10)


# -- prediction-powered inference ------------------------------------------------------------------


def test_prediction_powered_mean_of_the_published_example():
    """Acceptance 18."""
    found = prediction_powered_mean(LABELS, LABELLED, UNLABELLED)
    assert found.power == pytest.approx(0.469031, abs=5e-7)
    assert found.value == pytest.approx(0.632832, abs=5e-7)
    assert found.error == pytest.approx(0.147841, abs=5e-7)
    assert found.interval.low < found.value < found.interval.high


def test_no_power_is_the_mean_of_the_labels_and_full_power_adds_the_mean_residual():
    """Acceptance 18."""
    none = prediction_powered_mean(LABELS, LABELLED, UNLABELLED, power=0)
    assert none.value == pytest.approx(0.6) and none.error == pytest.approx(0.154919, abs=5e-7)
    full = prediction_powered_mean(LABELS, LABELLED, UNLABELLED, power=1)
    assert full.value == pytest.approx(0.67)
    assert full.value == pytest.approx(UNLABELLED.mean() + (LABELS - LABELLED).mean())


def test_the_power_is_the_one_of_least_error():
    """Where the judge's values vary as much in both parts, as the formula takes them to."""
    rng = np.random.default_rng(5)
    f = rng.normal(size=400)
    y = 0.6 * f + rng.normal(size=400)
    g = rng.permutation(f)
    best = prediction_powered_mean(y, f, g)
    others = [prediction_powered_mean(y, f, g, power=one).error for one in np.linspace(0, 1, 101)]
    assert best.error <= min(others) + 1e-5


def test_a_judge_against_people_or_without_spread_gets_no_power():
    against = prediction_powered_mean(LABELS, 1 - LABELS, UNLABELLED)
    assert against.power == 0 and against.value == pytest.approx(0.6)
    constant = prediction_powered_mean(LABELS, np.ones(10), np.ones(20))
    assert constant.power == 0 and constant.value == pytest.approx(0.6)
    sure = prediction_powered_mean(np.ones(5), np.ones(5), np.ones(9))
    assert (sure.value, sure.low, sure.high) == (1.0, None, None)


def world(seed: int, n: int, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels of mean 0.3 and a judge that adds 0.2 and some noise."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n + num) < 0.3).astype(float)
    f = y * 0.8 + 0.26 + rng.normal(0, 0.2, n + num)
    return y[:n], f[:n], f[n:]


def test_intervals_cover_and_are_narrower_than_the_labels_alone():
    found = [prediction_powered_mean(*world(seed, 100, 500)) for seed in range(400)]
    covered = np.mean([one.low <= 0.3 <= one.high for one in found])
    classical = [
        prediction_powered_mean(*world(seed, 100, 500), power=0).error for seed in range(400)
    ]
    assert 0.92 <= covered <= 0.98
    assert np.mean([one.error for one in found]) < 0.8 * np.mean(classical)


def test_one_stratum_is_the_plain_mean_and_more_are_weighted():
    whole = prediction_powered_mean(LABELS, LABELLED, UNLABELLED)
    one = stratified_mean([(LABELS, LABELLED, UNLABELLED)])
    assert (one.value, one.error, one.power) == pytest.approx(
        (whole.value, whole.error, whole.power)
    )
    parts = [world(1, 40, 100), world(2, 60, 300)]
    found = stratified_mean(parts, weights=[1, 3])
    each = [prediction_powered_mean(*part) for part in parts]
    assert found.value == pytest.approx(0.25 * each[0].value + 0.75 * each[1].value)
    assert found.error == pytest.approx(np.hypot(0.25 * each[0].error, 0.75 * each[1].error))
    by_size = stratified_mean(parts)
    assert by_size.value == pytest.approx((140 * each[0].value + 360 * each[1].value) / 500)
    with pytest.raises(InputError, match="1 weights for 2 strata"):
        stratified_mean(parts, weights=[1])


def test_strata_labelled_unevenly_stay_unbiased():
    values = []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        strata = []
        for rate, n in ((0.9, 60), (0.2, 90)):
            y = (rng.random(n + 200) < rate).astype(float)
            f = np.clip(y + rng.normal(0, 0.4, n + 200), 0, 1)
            strata.append((y[:n], f[:n], f[n:]))
        values.append(stratified_mean(strata, weights=[0.5, 0.5]))
    assert np.mean([one.value for one in values]) == pytest.approx(0.55, abs=0.01)
    assert 0.91 <= np.mean([one.low <= 0.55 <= one.high for one in values]) <= 0.98


def test_clusters_of_one_item_are_independent_items():
    y, f, g = world(3, 80, 300)
    plain = prediction_powered_mean(y, f, g)
    found = clustered_prediction_powered_mean(
        y, f, g, clusters=range(80), unlabelled_clusters=range(80, 380)
    )
    assert (found.value, found.power) == pytest.approx((plain.value, plain.power))
    rest = y - plain.power * f
    variance = plain.power**2 * g.var(ddof=1) / 300 + rest.var(ddof=1) / 80
    assert found.error == pytest.approx(np.sqrt(variance))


def test_copied_items_make_the_error_no_smaller():
    y, f, g = world(4, 50, 200)
    once = clustered_prediction_powered_mean(
        y, f, g, clusters=range(50), unlabelled_clusters=range(50, 250), power=0.5
    )
    twice = clustered_prediction_powered_mean(
        np.tile(y, 2),
        np.tile(f, 2),
        np.tile(g, 2),
        clusters=list(range(50)) * 2,
        unlabelled_clusters=list(range(50, 250)) * 2,
        power=0.5,
    )
    assert (twice.value, twice.error) == pytest.approx((once.value, once.error))


def test_clusters_with_labelled_and_unlabelled_items_cover():
    """An item of every prompt is labelled and four are not; the prompt's shift cancels in part."""
    covered, width = [], []
    for seed in range(300):
        rng = np.random.default_rng(seed)
        shift = rng.normal(0, 0.5, 60)
        y = 0.3 + shift[:, None] + rng.normal(0, 0.3, (60, 5))
        f = y + 0.2 + rng.normal(0, 0.3, (60, 5))
        prompts = np.repeat(np.arange(60), 4)
        found = clustered_prediction_powered_mean(
            y[:, 0],
            f[:, 0],
            f[:, 1:].ravel(),
            clusters=range(60),
            unlabelled_clusters=prompts.tolist(),
        )
        covered.append(found.low <= 0.3 <= found.high)
        width.append(found.error)
    assert 0.91 <= np.mean(covered) <= 0.98


def test_values_that_were_not_read_are_refused():
    with pytest.raises(InputError, match=r"labelled\[1\] is nan"):
        prediction_powered_mean([1, 0], [0.5, np.nan], [0.5])
    with pytest.raises(InputError, match="two or more items"):
        prediction_powered_mean([1], [0.5], [0.5])
    with pytest.raises(InputError, match="1 and 1 clusters for 2"):
        clustered_prediction_powered_mean(
            [1, 0], [0.5, 0.2], [0.5], clusters=["a"], unlabelled_clusters=["b"]
        )


# -- model against model ---------------------------------------------------------------------------


def test_published_values_of_mcnemar_and_wilson():
    """Acceptance 19: the tests of `evaluation` serve here too."""
    found = mcnemar([1] * 9 + [0] * 2, [0] * 9 + [1] * 2)
    assert found.p == pytest.approx(0.065430, abs=5e-7)
    share = wilson(35, 50)
    assert (share.low, share.high) == pytest.approx((0.5625, 0.8090), abs=5e-5)


def test_the_clustered_error_equals_its_formula():
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(size=30), [f"p{place % 7}" for place in range(30)]
    errors = values - values.mean()
    sums = [sum(e for e, c in zip(errors, clusters, strict=True) if c == f"p{k}") for k in range(7)]
    expected = np.sqrt(sum(one**2 for one in sums) * 7 / 6) / 30
    assert clustered_error(values, clusters) == pytest.approx(expected)
    single = clustered_error(values, range(30))
    assert single == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    found = clustered_mean(values, clusters)
    assert found.high - found.value == pytest.approx(1.959964 * expected)
    assert clustered_mean([1.0, 2.0], ["a", "a"]).low is None
    with pytest.raises(InputError, match="1 clusters"):
        clustered_error(values, ["a"])


def test_adjusted_p_values_are_those_of_the_step_procedures():
    p = np.array([0.01, 0.04, 0.03, 0.005])
    assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    harmonic = 1 + 1 / 2 + 1 / 3 + 1 / 4
    expected = [0.01 * 4 / 2, 0.04, 0.03 * 4 / 3, 0.005 * 4]
    assert benjamini_yekutieli(p) == pytest.approx([harmonic * one for one in expected])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.sampled_from([0.01, 0.05, 0.2]))
def test_rejections_equal_those_of_the_published_rules(p_values, level):
    m = len(p_values)
    order = sorted(range(m), key=lambda place: p_values[place])
    step_down = set()
    for rank, place in enumerate(order):
        if p_values[place] * (m - rank) > level:
            break
        step_down.add(place)
    assert {place for place in range(m) if holm(p_values)[place] <= level} == step_down
    harmonic = sum(1 / k for k in range(1, m + 1))
    ends = [
        rank
        for rank, place in enumerate(order)
        if p_values[place] * m * harmonic / (rank + 1) <= level
    ]
    step_up = set(order[: ends[-1] + 1]) if ends else set()
    assert {k for k in range(m) if benjamini_yekutieli(p_values)[k] <= level} == step_up


def test_the_detectable_difference_is_found_as_often_as_stated():
    difference = detectable_difference(1.0, 100)
    assert difference == pytest.approx(2.8016 / 10, abs=1e-4)
    rng = np.random.default_rng(1)
    means = rng.normal(difference, 0.1, size=4000)
    assert (np.abs(means) > 0.1959964).mean() == pytest.approx(0.8, abs=0.02)
