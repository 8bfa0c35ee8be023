"""Both orders of a pair: content and position come apart, and no name or order decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import expit

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.method.pairwise import (
    average_samples,
    calibrate_swaps,
    content_and_position,
    decide,
    decide_one,
    diversity_entropy,
    mix_coin,
    option_prior,
    shows_b_first,
    slot_prior,
    without_prior,
)

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(size=(2, 10_000))
MIRROR = {"a": "b", "b": "a", "tie": "tie"}


def test_exchanging_the_candidates_negates_content_and_keeps_position_exactly():
    """Acceptance 4."""
    d, u = content_and_position(FIRST, SECOND)
    swapped_d, swapped_u = content_and_position(SECOND, FIRST)
    assert np.array_equal(swapped_d, -d) and np.array_equal(swapped_u, u)


def test_averaging_probabilities_and_averaging_log_odds_decide_alike():
    """Acceptance 4: both ask whether s1 > s2."""
    d, _ = content_and_position(FIRST, SECOND)
    by_probability = (expit(FIRST) + 1 - expit(SECOND)) / 2
    assert np.array_equal(by_probability > 0.5, d > 0)


@pytest.mark.parametrize("policy", ["average", "consensus", "score"])
def test_judging_the_candidates_in_reverse_mirrors_the_outcome(policy):
    """Acceptance 5."""
    for first, second in zip(FIRST[:200], SECOND[:200], strict=True):
        one, other = decide(first, second, policy), decide(second, first, policy)
        assert other.winner == MIRROR[one.winner]
        assert other.probability == pytest.approx(1 - one.probability)


@pytest.mark.parametrize(
    ("first", "second", "average", "consensus", "score"),
    [
        (2.0, -1.0, "a", "a", "a"),
        (2.0, 1.0, "a", "tie", "tie"),
        (1.0, 2.0, "b", "tie", "tie"),
        (-1.0, 3.0, "b", "b", "b"),
        (1.0, 0.0, "a", "tie", "a"),
        (0.0, 0.0, "tie", "tie", "tie"),
    ],
)
def test_each_policy_has_its_own_rule_for_orders_that_disagree(
    first, second, average, consensus, score
):
    found = [decide(first, second, one).winner for one in ("average", "consensus", "score")]
    assert found == [average, consensus, score]


def test_a_policy_of_one_order_is_not_for_two():
    with pytest.raises(ConfigError, match="reads one order"):
        decide(1.0, 1.0, "random")


@given(st.text(), st.text(), st.integers(0, 3))
def test_the_random_order_depends_on_the_texts_and_not_on_their_names(one, other, seed):
    if one != other:
        assert shows_b_first(one, other, seed=seed) != shows_b_first(other, one, seed=seed)


def test_the_random_order_is_even():
    shares = [shows_b_first(f"text {i}", f"text {i + 1}") for i in range(2000)]
    assert 0.45 < np.mean(shares) < 0.55


def test_one_order_less_the_prior_is_mirrored_too():
    one = decide_one(0.4, 0.1)
    other = decide_one(0.4, 0.1, is_swapped=True)
    assert one.winner == "a" and other.winner == "b"
    assert one.probability == pytest.approx(1 - other.probability)


def test_scores_are_averaged_over_orders_and_near_ones_tie():
    found = average_samples([[8, 9, np.nan], [6.0]], [[7.0], [7, 7.05]], tie=0.1)
    assert found[0] == pytest.approx(7.25) and found[1] == pytest.approx(7.0125)
    assert found[2] == "a"
    assert average_samples([[7.0], [7.0]], [[7.05], [7.0]])[2] == "tie"
    with pytest.raises(ConfigError, match="no score that could be read"):
        average_samples([[np.nan], [1.0]], [[1.0], [1.0]])


def test_entropy_of_outcomes():
    """Acceptance 9."""
    assert diversity_entropy(4, 1, 1) == pytest.approx(0.86756, abs=5e-6)
    assert diversity_entropy(6, 0, 0) == 0


def test_a_fair_coin_pulls_towards_one_half():
    assert mix_coin([1.0, 0.0, 0.5], 0.1) == pytest.approx([0.9, 0.1, 0.5])
    with pytest.raises(ConfigError, match=r"from 0 to 0\.5"):
        mix_coin([1.0], 0.7)


# -- calibration -----------------------------------------------------------------------------------


def test_without_its_prior_the_first_slot_gains_nothing_on_the_items_it_was_taken_from():
    """Acceptance 6."""
    prior = slot_prior(FIRST, SECOND)
    _, left = content_and_position(FIRST - prior, SECOND - prior)
    assert abs(left.mean()) < 1e-12


def test_a_judge_that_is_all_position_is_right_half_of_the_time_without_its_prior():
    """Acceptance 6: noise around one slot preference knows nothing."""
    rng = np.random.default_rng(1)
    first, second = -3 + 0.3 * rng.normal(size=(2, 4000))
    prior = slot_prior(first[:200], second[:200])
    is_a_better = rng.random(4000) < 0.5
    wins = np.array([decide_one(one, prior).winner == "a" for one in first])
    assert abs((wins == is_a_better).mean() - 0.5) < 0.05


def test_the_prior_of_labels_is_found_below_any_contents():
    rng = np.random.default_rng(2)
    prior = np.array([0.5, 0.3, 0.2])
    content = rng.dirichlet(np.ones(3) * 2, size=50)
    rotated = np.stack([np.roll(content, shift, axis=1) for shift in range(3)], axis=1)
    observed = np.log(rotated * prior)
    found = option_prior(observed)
    # What contents add is the same at every label, but for what normalising an order mixes.
    assert found == pytest.approx(prior, abs=0.02)
    assert without_prior(observed, prior) == pytest.approx(rotated)


def test_calibration_makes_the_orders_agree_and_stays_monotone():
    rng = np.random.default_rng(3)
    d, u = rng.normal(size=300), 0.8
    first, second = expit(d + u), expit(-d + u)
    found = calibrate_swaps(first, second, stiffness=0.01)
    before = np.abs(first + second - 1).mean()
    after = np.abs(found(first) + found(second) - 1).mean()
    assert after < before / 4
    assert (np.diff(found.values) >= -1e-12).all() and found(0.5) == pytest.approx(0.5)


def test_a_judge_without_preference_is_left_as_it_is():
    d = np.random.default_rng(4).normal(size=300)
    found = calibrate_swaps(expit(d), expit(-d))
    assert found.values == pytest.approx(found.knots, abs=1e-6)


def test_calibration_is_the_minimum_of_its_objective():
    rng = np.random.default_rng(5)
    first, second = rng.random((2, 40))
    found = calibrate_swaps(first, second, stiffness=2.0)

    def objective(values):
        def g(p):
            return np.interp(p, found.knots, values)

        return ((g(first) + g(second) - 1) ** 2).sum() + 2 * ((values - found.knots) ** 2).sum()

    best = objective(found.values)
    for _ in range(200):
        other = np.sort(np.clip(found.values + 0.01 * rng.normal(size=101), 0, 1))
        other[50] = 0.5
        other = np.concatenate([np.minimum(other[:50], 0.5), [0.5], np.maximum(other[51:], 0.5)])
        assert objective(other) >= best - 1e-9
