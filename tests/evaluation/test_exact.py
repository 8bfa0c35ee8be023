"""Exact tests against enumeration and scipy."""

from __future__ import annotations

import itertools
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from modelgraft.core.errors import InputError
from modelgraft.evaluation.exact import PairedTest, fisher, mcnemar, sign_flip_test, sign_test

ALTERNATIVES = ("two-sided", "greater", "less")
scores = st.lists(st.integers(-4, 4), min_size=1, max_size=9)


def outcomes(wins: int, losses: int, both: int = 0) -> tuple[list[int], list[int]]:
    """Yes/no outcomes of two arms with these discordant and concordant pairs."""
    ours = [1] * wins + [0] * losses + [1] * both
    return ours, [0] * wins + [1] * losses + [1] * both


def test_mcnemar_equals_the_published_value_for_nine_against_two():
    assert mcnemar(*outcomes(9, 2, both=30)) == PairedTest(
        p=pytest.approx(0.065430, abs=1e-6), wins=9, losses=2, n=41
    )


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5))
def test_mcnemar_equals_the_sum_of_binomial_shares(wins, losses, both):
    if wins + losses + both == 0:
        return
    decided, fewer = wins + losses, min(wins, losses)
    tail = Fraction(sum(comb(decided, k) for k in range(fewer + 1)), 2**decided)
    assert mcnemar(*outcomes(wins, losses, both)).p == pytest.approx(float(min(1, 2 * tail)))


def test_equal_arms_give_no_evidence():
    same = [1, 0, 1, 1]
    assert mcnemar(same, same) == PairedTest(1.0, 0, 0, 4)
    assert sign_flip_test(same, same) == PairedTest(1.0, 0, 0, 4)


def test_sign_test_looks_at_the_direction_only():
    small = sign_test([0.1, 0.2, 0.3, -5.0], [0.0] * 4)
    large = sign_test([9.0, 8.0, 7.0, -0.1], [0.0] * 4)
    assert small == large and (small.wins, small.losses) == (3, 1)


@given(scores, st.sampled_from(ALTERNATIVES))
def test_sign_flips_equal_the_enumeration_of_all_signs(differences, alternative):
    observed = sum(differences)
    extreme = {
        "two-sided": lambda total: abs(total) >= abs(observed),
        "greater": lambda total: total >= observed,
        "less": lambda total: total <= observed,
    }[alternative]
    signs = itertools.product((-1, 1), repeat=len(differences))
    totals = [sum(s * d for s, d in zip(row, differences, strict=True)) for row in signs]
    expected = sum(map(extreme, totals)) / len(totals)
    zeros = np.zeros(len(differences))
    assert sign_flip_test(differences, zeros, alternative=alternative).p == pytest.approx(expected)


@settings(max_examples=25)
@given(
    st.lists(st.floats(-1, 1, allow_subnormal=False), min_size=2, max_size=8),
    st.sampled_from(ALTERNATIVES),
)
def test_sign_flips_equal_the_peer_on_floats(differences, alternative):
    values = np.round(np.array(differences), 6)
    peer = stats.permutation_test(
        (values, np.zeros_like(values)),
        lambda a, b, axis: np.mean(a - b, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
        alternative=alternative,
    ).pvalue
    ours = sign_flip_test(values, np.zeros_like(values), alternative=alternative)
    if alternative == "two-sided":  # the peer doubles the smaller tail; ours are symmetric
        assert ours.p == pytest.approx(min(1.0, peer))
    else:
        assert ours.p == pytest.approx(peer)


@pytest.mark.parametrize("alternative", ALTERNATIVES)
def test_sign_flips_of_yes_no_outcomes_are_mcnemar_for_hundreds_of_items(alternative):
    rng = np.random.default_rng(1)
    ours, baseline = rng.random(400) < 0.6, rng.random(400) < 0.5
    flips = sign_flip_test(ours, baseline, alternative=alternative)
    assert flips.exact
    assert flips.p == pytest.approx(mcnemar(ours, baseline, alternative=alternative).p, rel=1e-9)


def test_sums_that_differ_by_rounding_only_count_as_ties():
    differences = [0.1, 0.2, 0.3, -0.3, -0.2, -0.1]
    assert sign_flip_test(differences, [0.0] * 6).p == 1.0


def test_many_distinct_scores_are_sampled_and_say_so():
    rng = np.random.default_rng(2)
    differences = rng.normal(0.4, 1.0, size=60)
    sampled = sign_flip_test(differences, np.zeros(60), seed=3)
    normal = 2 * stats.norm.sf(abs(differences.sum()) / np.sqrt((differences**2).sum()))
    assert not sampled.exact
    assert sampled.p == pytest.approx(normal, abs=0.01)
    assert sign_flip_test(differences, np.zeros(60), seed=3) == sampled


def test_sampling_never_claims_a_p_value_of_zero():
    differences = np.random.default_rng(2).normal(50.0, 1.0, size=60)
    assert sign_flip_test(differences, np.zeros(60), samples=999).p == 1 / 1000


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12))
def test_p_values_are_shares_and_do_not_depend_on_which_arm_comes_first(differences):
    zeros = np.zeros(len(differences))
    for test in (sign_test, sign_flip_test):
        there, back = test(differences, zeros), test(zeros, differences)
        assert 0 < there.p <= 1
        assert there.p == pytest.approx(back.p)
        assert (there.wins, there.losses) == (back.losses, back.wins)


def test_false_alarms_stay_below_the_level():
    rng = np.random.default_rng(4)
    alarms = [sign_flip_test(rng.normal(size=9), np.zeros(9)).p <= 0.05 for _ in range(400)]
    assert np.mean(alarms) <= 0.065


def test_fisher_equals_the_published_value_for_13_against_12_of_30():
    assert fisher(13, 30, 12, 30) == pytest.approx(1.0)


@given(st.data())
def test_fisher_equals_the_sum_of_hypergeometric_shares(data):
    n, other_n = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    k, other_k = data.draw(st.integers(0, n)), data.draw(st.integers(0, other_n))
    total = k + other_k
    shares = {
        i: Fraction(comb(n, i) * comb(other_n, total - i), comb(n + other_n, total))
        for i in range(max(0, total - other_n), min(n, total) + 1)
    }
    expected = sum(share for share in shares.values() if share <= shares[k])
    assert fisher(k, n, other_k, other_n) == pytest.approx(float(expected))


def test_faults_name_the_arm_and_the_value():
    with pytest.raises(InputError, match=r"baseline holds 0\.5: McNemar"):
        mcnemar([0, 1], [0.5, 1])
    with pytest.raises(InputError, match=r"ours holds nan"):
        mcnemar([np.nan, 1], [0, 1])
    with pytest.raises(InputError, match=r"ours\[1\] is nan"):
        sign_flip_test([0, np.nan], [0, 1])
    with pytest.raises(InputError, match=r"7 successes out of 5"):
        fisher(7, 5, 1, 5)
