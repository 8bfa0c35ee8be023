"""Panels: explicit ties, unread verdicts, weights that help, and what several judges are worth."""

from __future__ import annotations

from itertools import product
from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.method.panels import (
    copeland,
    effective_size,
    error_correlation,
    log_odds_weights,
    majority_accuracy,
    panel_accuracy,
    panel_worth,
    peer_rank,
    pool,
    unanimous,
    vote,
)
from modelgraft.methods.judge.method.windows import borda

NAN = float("nan")


# -- votes -----------------------------------------------------------------------------------------


def test_the_most_frequent_label_wins_and_unread_votes_take_no_part():
    found = vote(["A", None, "B", "A"], tie="tie")
    assert (found.label, found.is_tied, found.num) == ("A", False, 3)
    assert found.share == pytest.approx(2 / 3)
    nothing = vote([None, None], tie="chair")
    assert (nothing.label, nothing.num) == (None, 0) and np.isnan(nothing.share)


def test_each_rule_for_ties_does_what_it_says():
    labels = ["B", "A", "A", "B", "C"]
    assert vote(labels, tie="tie").label is None
    assert vote(labels, tie="chair").label == "B"
    assert vote(["C", "A", "A", "B", "B"], tie="chair").label is None
    assert vote(labels, tie="random", key="item 1").is_tied
    drawn = [vote(labels, tie="random", key=f"item {place}").label for place in range(400)]
    assert 0.4 < drawn.count("A") / 400 < 0.6 and set(drawn) == {"A", "B"}


@given(st.permutations(["A", "A", "B", "B", "C", None]), st.text(max_size=4))
def test_the_random_rule_depends_on_the_key_and_not_on_the_order_of_judges(labels, key):
    expected = vote(["A", "A", "B", "B", "C", None], tie="random", key=key)
    assert vote(labels, tie="random", key=key) == expected


def test_weights_decide_and_a_bad_judge_votes_against():
    assert vote(["A", "B", "B"], tie="tie", weights=[3, 1, 1]).label == "A"
    assert vote(["A"], tie="tie", weights=[-1.0], offered=["A", "B"]).label == "B"
    # Sums of weights that differ by rounding alone are a tie.
    assert vote(["A", "A", "A", "B"], tie="tie", weights=[0.1, 0.1, 0.1, 0.3]).is_tied
    with pytest.raises(InputError, match="2 weights for 3 judges"):
        vote(["A", "B", "A"], tie="tie", weights=[1, 2])


def test_log_odds_weights_are_the_best_rule_for_independent_judges():
    """Of all ways to decide by three votes none is right more often, by enumeration."""
    accuracies = np.array([0.9, 0.6, 0.6])
    weights = log_odds_weights(accuracies * 1e6, np.full(3, 1e6))

    def chance(rule) -> float:
        total = 0.0
        for is_right in product((0, 1), repeat=3):
            p = np.prod(np.where(is_right, accuracies, 1 - accuracies))
            total += p * rule(["good" if one else "bad" for one in is_right])
        return float(total)

    weighted = chance(lambda votes: vote(votes, tie="tie", weights=weights).label == "good")
    majority = chance(lambda votes: vote(votes, tie="tie").label == "good")
    assert weighted == pytest.approx(0.9) and majority < weighted
    assert log_odds_weights([8], [10]) == pytest.approx(np.log(9 / 3))
    assert log_odds_weights([0, 5], [0, 10]) == pytest.approx([0, 0])
    with pytest.raises(InputError, match="0 to all are right"):
        log_odds_weights([3], [2])


def test_unanimity_needs_every_judge():
    assert unanimous(["safe", "safe"]) == "safe"
    assert unanimous(["safe", "unsafe"]) is None and unanimous(["safe", None]) is None
    assert unanimous([]) is None


@pytest.mark.parametrize("how", ["mean", "median", "trimmed", "min"])
def test_pooled_scores_equal_the_loop(how):
    rng = np.random.default_rng(0)
    table = rng.integers(1, 6, size=(30, 7)).astype(float)
    table[rng.random(table.shape) < 0.3] = NAN
    table[0] = NAN
    found = pool(table, how)
    assert np.isnan(found[0])
    for row, value in zip(table[1:], found[1:], strict=True):
        kept = np.sort(row[~np.isnan(row)])
        cut = int(0.2 * len(kept))
        expected = {
            "mean": kept.mean(),
            "median": np.median(kept),
            "trimmed": kept[cut : len(kept) - cut].mean(),
            "min": kept.min(),
        }[how]
        assert value == pytest.approx(expected)


def test_scores_that_cannot_be_pooled_are_refused():
    with pytest.raises(ConfigError, match=r"trim 0\.5"):
        pool([[1.0]], "trimmed", trim=0.5)
    with pytest.raises(InputError, match="a column a judge"):
        pool([1.0], "mean")


def test_copeland_finds_the_winner_of_all_majorities_where_borda_does_not():
    rankings = [[0, 1, 2]] * 3 + [[1, 2, 0]] * 2
    assert copeland(rankings, 3) == [0, 1, 2]
    assert borda(rankings, 3)[0] == 1
    assert copeland([[0, 1], [1, 0]], 2) == [0, 1]


# -- what a panel is worth -------------------------------------------------------------------------


@given(st.floats(0, 1), st.integers(1, 15))
def test_majority_accuracy_equals_the_sum(accuracy, num):
    terms = [comb(num, k) * accuracy**k * (1 - accuracy) ** (num - k) for k in range(num + 1)]
    expected = sum(term for k, term in enumerate(terms) if k > num / 2)
    assert majority_accuracy(accuracy, num) == pytest.approx(expected, abs=1e-12)
    drawn = terms[num // 2] / 2 if num % 2 == 0 else 0.0
    assert panel_accuracy(accuracy, num) == pytest.approx(expected + drawn, abs=1e-12)


def test_accuracy_grows_with_the_size_between_odd_ones_too():
    sizes = [1, 1.5, 2.2, 3, 3.7, 5]
    values = [panel_accuracy(0.7, size) for size in sizes]
    assert values[0] == pytest.approx(0.7) and values == sorted(values)
    assert panel_accuracy(0.7, np.inf) == 1.0 and np.isnan(panel_accuracy(0.7, NAN))


def test_clones_are_worth_one_judge_and_independent_ones_their_number():
    rng = np.random.default_rng(1)
    right = (rng.random(20_000) < 0.7).astype(float)
    clones = panel_worth(np.stack([right] * 5, axis=1))
    assert clones.correlation.value == pytest.approx(1) and clones.size == pytest.approx(1)
    assert clones.predicted == pytest.approx(clones.observed) and clones.if_independent > 0.8
    independent = panel_worth((rng.random((20_000, 5)) < 0.7).astype(float))
    assert independent.size == pytest.approx(5, abs=0.3)
    assert independent.observed == pytest.approx(independent.if_independent, abs=0.02)
    assert independent.observed == pytest.approx(independent.predicted, abs=0.02)


def test_judges_without_errors_have_no_correlation_but_a_reason():
    table = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 1], [1, 0, 0]])
    found = error_correlation(table)
    assert (found.num, found.num_skipped) == (1, 2)
    assert found.value == pytest.approx(np.corrcoef(table[:, 1], table[:, 2])[0, 1])
    perfect = panel_worth(np.ones((4, 3)))
    assert "no two judges" in perfect.correlation.reason
    assert np.isnan(perfect.size) and np.isnan(perfect.predicted) and perfect.observed == 1
    assert effective_size(3, -0.5) == np.inf
    with pytest.raises(InputError, match="0 or 1 of every judge"):
        panel_worth([[0.5, 1.0]])


# -- peers -----------------------------------------------------------------------------------------


def test_peer_rank_is_a_fixed_point_that_nobody_raises_by_praising_themselves():
    rng = np.random.default_rng(2)
    scores = rng.random((5, 5))
    found = peer_rank(scores)
    received = []
    for reviewed in range(5):
        others = [k for k in range(5) if k != reviewed]
        weight = sum(found[k] for k in others)
        received.append(sum(found[k] * scores[k, reviewed] for k in others) / weight)
    assert found == pytest.approx(np.array(received) / sum(received))
    np.fill_diagonal(scores, 100)
    assert peer_rank(scores) == pytest.approx(found)


def test_a_reviewer_that_is_rated_low_counts_for_little():
    """Judge 3 praises judge 0, the others do not."""
    scores = np.array([[0, 0.8, 0.8, 0.0], [0.3, 0, 0.8, 0.0], [0.3, 0.8, 0, 0.0], [1, 0, 0, 0.0]])
    found = peer_rank(scores)
    assert found[3] == pytest.approx(0, abs=1e-6) and found[1] > found[0]
    assert scores[:, 0].sum() == pytest.approx(1.6) == scores[:, 1].sum()


def test_peers_that_do_not_all_review_are_refused():
    with pytest.raises(InputError, match="three or more judges"):
        peer_rank(np.ones((2, 2)))
    with pytest.raises(InputError, match="every judge scores every other one"):
        peer_rank(np.array([[0, 1, NAN], [1, 0, 1], [1, 1, 0]]))
