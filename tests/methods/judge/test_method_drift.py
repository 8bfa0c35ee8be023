"""Drift: the recursion against its loop, silence without change, alarms with it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare, norm

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.method.drift import agreement_drift, cusum, label_drift


@given(st.lists(st.floats(-5, 5), min_size=1, max_size=30), st.floats(0, 1))
def test_the_sums_equal_the_recursion(changes, slack):
    found = cusum(changes, slack=slack, limit=3.0)
    total, expected = 0.0, []
    for change in changes:
        total = max(0.0, total + change - slack)
        expected.append(total)
    assert found.sums == pytest.approx(expected, abs=1e-9)
    above = [place for place, one in enumerate(found.sums) if one > 3.0]
    assert found.alarm == (above[0] if above else None)


def test_a_small_lasting_fall_of_agreement_is_found_and_none_is_not():
    rng = np.random.default_rng(0)
    same = rng.binomial(200, 0.85, size=40)
    assert agreement_drift(same, np.full(40, 200), reference=(850, 1000)).alarm is None
    fallen = np.concatenate([same[:20], rng.binomial(200, 0.80, size=20)])
    found = agreement_drift(fallen, np.full(40, 200), reference=(850, 1000))
    assert found.alarm is not None and 20 <= found.alarm < 30
    risen = rng.binomial(200, 0.95, size=40)
    assert agreement_drift(risen, np.full(40, 200), reference=(850, 1000)).alarm is None


def test_false_alarms_are_as_rare_as_a_limit_of_five_says():
    rng = np.random.default_rng(1)
    alarms = [cusum(rng.normal(size=100)).alarm is not None for _ in range(500)]
    assert 0.05 < np.mean(alarms) < 0.16  # one in some 930 runs


def test_a_change_of_labels_is_found_whichever_way_it_goes():
    rng = np.random.default_rng(2)
    before, after = [0.5, 0.3, 0.2], [0.4, 0.3, 0.3]
    reference = rng.multinomial(20_000, before)
    same = rng.multinomial(300, before, size=40)
    assert label_drift(same, reference=reference).alarm is None
    changed = np.concatenate([same[:20], rng.multinomial(300, after, size=20)])
    found = label_drift(changed, reference=reference)
    assert found.alarm is not None and 20 <= found.alarm < 26
    mirrored = label_drift(changed[:, ::-1], reference=reference[::-1])
    assert mirrored.sums == pytest.approx(found.sums)


def test_the_change_of_labels_is_the_normal_value_of_its_chi_square():
    counts, reference = np.array([[30, 45, 25]]), np.array([4000, 4000, 2000])
    shares = (reference + 0.5) / (reference + 0.5).sum()
    p = chisquare(counts[0], 100 * shares).pvalue
    assert label_drift(counts, reference=reference).change[0] == pytest.approx(
        norm.isf(p), abs=0.02
    )


def test_a_perfect_reference_and_a_label_never_given_stay_possible():
    found = agreement_drift([99, 100], [100, 100], reference=(100, 100))
    assert np.isfinite(found.change).all() and found.alarm is None
    assert np.isfinite(label_drift([[50, 1]], reference=[1000, 0]).change).all()


def test_counts_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="5 of 3"):
        agreement_drift([1], [2], reference=(5, 3))
    with pytest.raises(InputError, match="none above its verdicts"):
        agreement_drift([3], [2], reference=(5, 10))
    with pytest.raises(InputError, match="the same two or more labels"):
        label_drift([[1, 2]], reference=[1, 2, 3])
    with pytest.raises(InputError, match="every run has a verdict"):
        label_drift([[0, 0]], reference=[1, 2])
