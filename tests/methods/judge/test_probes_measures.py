"""Measures of bias against naive loops, with an interval each and a reason where undefined."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import wilson
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.judging.judgments import Judgment
from modelgraft.methods.judge.probes import measured, measures, pairs, slopes

NAN, INF = float("nan"), float("inf")
odds = st.sampled_from([NAN, -INF, -1.5, 0.0, 0.5, 2.0, INF])
orders = st.lists(st.tuples(odds, odds), min_size=1, max_size=12)
verdicts = st.sampled_from(["a", "b", "tie", None])


def columns(rows: list[tuple]) -> list[list]:
    return [list(column) for column in zip(*rows, strict=True)]


def is_sound(found: measured.Measured, value: float | None, num_skipped: int) -> bool:
    """Whether it is this value, within its bounds, or for None undefined with a reason."""
    assert found.num_skipped == num_skipped
    if value is None:
        return np.isnan(found.value) and bool(found.reason) and found.n == 0 and found.low is None
    assert found.value == pytest.approx(value) and not found.reason and found.n > 0
    return found.low is None or found.low - 1e-12 <= found.value <= found.high + 1e-12


# -- the two orders --------------------------------------------------------------------------------


def sign(value: float) -> int:
    return (value > 0) - (value < 0)


@given(orders)
@settings(max_examples=30, deadline=None)
def test_position_measures_are_those_of_naive_loops(rows):
    known = [(s1, s2) for s1, s2 in rows if s1 == s1 and s2 == s2]
    agreed = [sign(s1) == -sign(s2) for s1, s2 in known]
    found = measures.consistency(*columns(rows))
    assert is_sound(found, np.mean(agreed) if agreed else None, len(rows) - len(known))

    every = [one for row in rows for one in row]
    decided = [one > 0 for one in every if one == one and one != 0]
    found = measures.first_slot_share(*columns(rows))
    assert is_sound(found, np.mean(decided) if decided else None, len(every) - len(decided))

    sized = [(s1 + s2) / 2 for s1, s2 in known if abs(s1) < INF and abs(s2) < INF]
    found = measures.mean_position(*columns(rows))
    assert is_sound(found, np.mean(sized) if sized else None, len(rows) - len(sized))

    first = sum(s1 > 0 and s2 > 0 for s1, s2 in known)
    second = sum(s1 < 0 and s2 < 0 for s1, s2 in known)
    num = len(known) - sum(agreed)
    found = measures.preference_fairness(*columns(rows))
    assert is_sound(found, (first - second) / num if num else None, len(rows) - num)


def test_a_judge_of_the_slot_alone_has_bounds_too():
    ones = np.ones(40)
    found = measures.first_slot_share(ones, ones)
    assert (found.value, found.low, found.high, found.n) == (1.0, *wilson(40, 40)[1:])
    fairness = measures.preference_fairness(ones, ones)
    assert fairness.value == 1 and fairness.low == pytest.approx(2 * wilson(40, 40).low - 1)
    assert measures.consistency(ones, ones).value == 0
    written = measures.mean_position([INF], [-INF])
    assert "not by how much" in written.reason
    assert measures.first_slot_share([2, 2, 2], [-2, -2, -1]).value == 0.5


# -- the same again --------------------------------------------------------------------------------


@given(st.lists(st.tuples(verdicts, verdicts, verdicts), min_size=1, max_size=10))
@settings(max_examples=30, deadline=None)
def test_verdict_measures_are_those_of_naive_loops(rows):
    shares = []
    for row in rows:
        known = [one for one in row if one]
        if len(known) >= 2:
            shares.append(max(known.count(one) for one in known) / len(known))
    found = measures.repetition_stability(rows)
    assert is_sound(found, np.mean(shares) if shares else None, len(rows) - len(shares))

    before, again, after = columns(rows)
    for measure in (measures.verdict_change_rate, measures.mode_gap):
        changed = [one != other for one, other in zip(before, after, strict=True) if one and other]
        found = measure(before, after)
        assert is_sound(found, np.mean(changed) if changed else None, len(rows) - len(changed))

    whole = [row for row in rows if all(row)]
    found = measures.robustness(before, again, after)
    num_skipped = len(rows) - len(whole)
    rr, cr = (
        np.mean([row[0] == row[place] for row in whole]) if whole else None for place in (2, 1)
    )
    assert is_sound(found.rate, rr, num_skipped) and is_sound(found.consistency, cr, num_skipped)
    assert is_sound(found.delta, cr - rr if whole else None, num_skipped)
    assert not whole or found.delta.low is not None or len(whole) == 1


def test_scores_that_change_are_averaged_and_missing_ones_counted():
    found = measures.delta_score([1, 2, NAN, 4], [2, 2, 3, NAN])
    assert is_sound(found, 0.5, 2) and found.n == 2
    assert is_sound(measures.delta_score([NAN], [1]), None, 1)


def test_versions_of_one_item_count_as_one_when_it_comes_to_bounds():
    rng = np.random.default_rng(0)
    hits = np.repeat(rng.random(40) < 0.5, 5)  # five versions that always go together
    items = np.repeat(np.arange(40), 5).tolist()
    before, after = ["a"] * 200, np.where(hits, "a", "b").tolist()
    alone = measures.verdict_change_rate(before, after)
    together = measures.verdict_change_rate(before, after, items)
    assert alone.value == together.value and (alone.n, together.n) == (200, 40)
    assert together.high - together.low > 1.8 * (alone.high - alone.low)


def test_a_fault_is_found_where_the_sound_answer_wins():
    assert is_sound(measures.detection_rate([1, -1, 0, NAN, 2]), 0.5, 1)
    assert is_sound(measures.detection_rate([NAN]), None, 1)


def test_what_the_wording_explains_lies_within_the_items():
    scores = np.array([[1, 2, 1], [4, 4, 5], [3, 3, 3], [2, NAN, 2]])
    kept = scores[:3]
    total = sum((one - kept.mean()) ** 2 for one in kept.ravel())
    inner = sum((one - row.mean()) ** 2 for row in kept for one in row)
    assert is_sound(measures.share_explained(scores), inner / total, 1)
    assert measures.share_explained([[1, 1], [2, 2]]).value == 0
    assert measures.share_explained([[1, 2], [1, 2]]).value == 1
    assert measures.share_explained([[1, 1], [1, 1]]).reason == "all scores are the same"


# -- what is preferred -----------------------------------------------------------------------------

lead = st.sampled_from([NAN, -1.0, 0.0, 1.0])


@given(st.lists(st.tuples(lead, st.integers(0, 90), st.integers(0, 90)), min_size=1, max_size=12))
@settings(max_examples=30, deadline=None)
def test_preferences_are_those_of_naive_loops(rows):
    won, of_a, of_b = columns(rows)
    hits = [(w > 0) == (a > b) for w, a, b in rows if abs(a - b) > 30 and w == w and w != 0]
    found = measures.prefers_longer(won, [of_a, of_b])
    assert is_sound(found, np.mean(hits) if hits else None, len(rows) - len(hits))
    has = [[a > 45 for a in of_a], [b > 45 for b in of_b]]
    hits = [(w > 0) == a for w, a, b in zip(won, *has, strict=True) if a != b and w == w and w != 0]
    found = measures.prefers_list(won, has)
    assert is_sound(found, np.mean(hits) if hits else None, len(rows) - len(hits))


def test_the_gap_of_equal_opportunity_is_newcombes():
    """56 of 70 against 48 of 80: the published interval of method 10."""
    human = [1] * 70 + [0] * 80 + [1]
    judge = [1] * 56 + [0] * 14 + [0] * 48 + [1] * 32 + [NAN]
    found = measures.equal_opportunity_gap(judge, human)
    assert is_sound(found, 0.2, 1)
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    found = measures.equal_opportunity_gap([1, 0], [1, 1])
    assert np.isnan(found.value) and found.reason == "people never pick the other answer"


# -- slopes ----------------------------------------------------------------------------------------


def naive_slope(wins, design):
    def loss(x):
        logit = design @ x
        return np.sum(np.logaddexp(0, logit) - wins * logit) + 0.005 * np.sum(x**2)

    return minimize(loss, np.zeros(design.shape[1]), tol=1e-12).x[0]


def test_slopes_are_those_of_a_direct_minimisation_and_found_again():
    rng = np.random.default_rng(1)
    n = 600
    lengths = rng.integers(20, 900, size=(2, n)).astype(float)
    gap = lengths[0] - lengths[1]
    x = np.tanh(gap / gap.std(ddof=1))
    label = rng.integers(0, 2, n)
    wins = (rng.random(n) < 1 / (1 + np.exp(-0.9 * x))).astype(float)
    found = slopes.length_slope(np.append(wins, NAN), np.c_[lengths, [1, 2]])
    assert is_sound(found, naive_slope(wins, x[:, None]), 1) and found.n == n
    assert found.low < 0.9 < found.high and found.high - found.low < 1

    likelihoods = rng.normal(size=(2, n))
    logit = 1.2 * (2 * label - 1) + 0.5 * (likelihoods[0] - likelihoods[1])
    wins = (rng.random(n) < 1 / (1 + np.exp(-logit))).astype(float)
    found = slopes.likelihood_slope(wins, likelihoods, label)
    design = np.c_[likelihoods[0] - likelihoods[1], 2 * label - 1]
    assert is_sound(found, naive_slope(wins, design), 0) and found.low < 0.5 < found.high
    turned = slopes.likelihood_slope(1 - wins, likelihoods[::-1], 1 - label)
    assert turned.value == pytest.approx(found.value)


def test_slopes_without_anything_to_follow_say_so():
    assert slopes.length_slope([1, 0], [[5, 9], [5, 9]]).reason == "the lengths do not differ"
    assert "no pair" in slopes.length_slope([NAN], [[5], [9]]).reason
    steep = slopes.length_slope([1, 0, 1, 0] * 9, [[9, 1, 8, 2] * 9, [1, 9, 2, 8] * 9])
    assert np.isfinite(steep.value) and steep.value > 3


# -- triples ---------------------------------------------------------------------------------------


@given(st.lists(st.lists(lead, min_size=10, max_size=10), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_cycles_are_those_of_a_naive_loop(rows):
    tables, cyclic, decided = [], 0, 0
    for row in rows:
        table = np.full((5, 5), NAN)
        table[np.triu_indices(5, 1)] = row
        tables.append(table)
        for i, j, k in combinations(range(5), 3):
            signs = (table[i, j], table[j, k], -table[i, k])
            if all(one == one and one != 0 for one in signs):
                decided += 1
                cyclic += len(set(signs)) == 1
    found = measures.cycle_rate(tables)
    value = cyclic / decided if decided else None
    assert np.isnan(found.value) if value is None else found.value == pytest.approx(value)
    assert bool(found.reason) == (value is None)


# -- what they are made of -------------------------------------------------------------------------


def test_pairs_say_who_leads_how_long_they_are_and_which_is_a_list():
    items = [
        Item("1", "q", (Candidate("x", "abc"), Candidate("y", "- a\n- b")), label="y"),
        Item("2", "q", (Candidate("x", ""), Candidate("y", "1234")), label="tie"),
        Item("3", "q", (Candidate("x", "a"), Candidate("y", "b")), label="x"),
    ]
    judgments = [Judgment(str(n), "", None, winner) for n, winner in enumerate(("x", "tie", None))]
    np.testing.assert_equal(pairs.leads(items, judgments), [1, 0, NAN])
    np.testing.assert_equal(pairs.lengths(items), [[3, 0, 1], [7, 4, 1]])
    np.testing.assert_equal(pairs.lists(items), [[False] * 3, [True, False, False]])
    np.testing.assert_equal(pairs.good_places(items), [1, -1, 0])
    with pytest.raises(InputError, match="item one: 1 candidates; a pair is needed"):
        pairs.lengths([Item("one", "q", (Candidate("x", ""),))])


# -- shares and their bounds -----------------------------------------------------------------------


def test_shares_of_single_rows_are_wilsons_and_of_many_a_bootstrap_over_items():
    """Acceptance 19."""
    found = measured.share([1] * 35 + [0] * 15, empty="x")
    assert (found.low, found.high) == pytest.approx((0.5625, 0.8090), abs=5e-5)
    assert measured.share([], empty="nothing").reason == "nothing"
    halves = measured.share([0.5] * 9, empty="x")
    assert (halves.value, halves.low) == (0.5, None)


def test_bounds_of_a_gain_hold_the_truth():
    """Agresti and Min: simulated coverage of paired shares, at the ends as well."""
    rng = np.random.default_rng(0)
    for p, q in ((0.6, 0.4), (0.95, 0.9), (1.0, 0.0)):
        held = []
        for _ in range(300):
            one, other = rng.random(40) < p, rng.random(40) < q
            found = measured.paired_gain(one, other, empty="x")
            assert found.value == pytest.approx(one.mean() - other.mean())
            held.append(found.low <= p - q <= found.high)
        assert np.mean(held) > 0.92, (p, q)


def test_bounds_of_a_mean_of_two_shares_hold_the_truth():
    rng = np.random.default_rng(0)
    held = []
    for _ in range(400):
        one = measured.share(rng.random(60) < 0.95, empty="x")
        other = measured.share(rng.random(15) < 0.3, empty="x")
        found = measured.middle(one, other)
        held.append(found.low <= 0.625 <= found.high)
        gap = measured.difference(one, other)
        assert gap.value == pytest.approx(one.value - other.value) and gap.low < gap.high
    assert 0.92 < np.mean(held) <= 0.99
