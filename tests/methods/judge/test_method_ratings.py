"""Elo and Bradley-Terry: golden values, the likelihood itself, and a naive loop as judges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from modelgraft.core.errors import InputError
from modelgraft.methods.judge.method.battles import (
    Battles,
    collapse,
    components,
    read_battles,
    win_matrix,
)
from modelgraft.methods.judge.method.ratings import (
    POINTS,
    bradley_terry,
    elo,
    elo_bootstrap,
    elo_scale,
    fit_wins,
)

THREE = read_battles(
    ["a", "a", "b", "b", "a", "a"],
    ["b", "b", "c", "c", "c", "c"],
    [1, 0, 1, 0, 1, 0],
    count=[6, 4, 7, 3, 8, 2],
)


def random_battles(seed: int, *, models: int = 5, rows: int = 200) -> Battles:
    """Soft outcomes and ties (so all are linked both ways), weights 1 and 3, prompts."""
    rng = np.random.default_rng(seed)
    first = rng.integers(models, size=rows)
    second = (first + rng.integers(1, models, size=rows)) % models
    return read_battles(
        [f"m{place}" for place in first],
        [f"m{place}" for place in second],
        rng.choice([0.0, 0.2, 0.5, 0.9, 1.0], size=rows),
        weight=rng.choice([1.0, 3.0], size=rows),
        prompt=rng.integers(20, size=rows).tolist(),
    )


def loss(theta: np.ndarray, battles: Battles, ridge: float = 0.0) -> float:
    """The negative log-likelihood, a battle at a time."""
    total = ridge / 2 * float(theta @ theta)
    for a, b, y, w in zip(
        battles.first, battles.second, battles.outcome, battles.mass, strict=True
    ):
        gap = theta[a] - theta[b]
        total += w * (y * np.log1p(np.exp(-gap)) + (1 - y) * np.log1p(np.exp(gap)))
    return total


def test_seven_wins_of_ten_are_a_gap_of_ln_7_over_3():
    """Acceptance 12."""
    battles = read_battles(["a"] * 10, ["b"] * 10, [1] * 7 + [0] * 3)
    found = bradley_terry(battles)
    gap = found.theta[0] - found.theta[1]
    assert gap == pytest.approx(0.847298, abs=1e-6) and gap == pytest.approx(np.log(7 / 3))
    assert np.diff(elo_scale(found.theta))[0] == pytest.approx(-147.191, abs=5e-4)


def test_three_models_have_the_golden_strengths():
    """Acceptance 12."""
    golden = [0.591468, 0.149102, -0.740570]
    assert bradley_terry(THREE).theta.tolist() == pytest.approx(golden, abs=1e-6)
    assert fit_wins(win_matrix(THREE)[None])[0].tolist() == pytest.approx(golden, abs=1e-6)


def test_groups_without_wins_both_ways_are_refused_or_held_by_a_ridge_that_is_said():
    """Acceptance 12: {a, b} always beats {c, d}."""
    battles = read_battles(
        ["a", "b", "c", "d", "a", "b"], ["b", "a", "d", "c", "c", "d"], [1, 1, 1, 1, 1, 1]
    )
    found = bradley_terry(battles)
    (warning,) = found.warnings
    assert found.ridge == 0.01
    assert "{a, b}" in warning and "{c, d}" in warning and "0.01" in warning
    with pytest.raises(InputError, match=r"2 groups.*\{a, b\}, \{c, d\}"):
        bradley_terry(battles, ridge=0)
    assert bradley_terry(THREE).warnings == () and bradley_terry(THREE).ridge == 0


def test_a_group_of_many_models_is_named_in_short():
    names = [f"m{place:02d}" for place in range(12)]
    battles = read_battles([*names, "x"], [*names[1:], names[0], "m00"], [1] * 13)
    (warning,) = bradley_terry(battles).warnings
    assert "m07 and 4 more}" in warning and "{x}" in warning


@pytest.mark.parametrize("ridge", [0.0, 0.5])
def test_strengths_maximise_the_likelihood(ridge: float):
    battles = random_battles(1)
    best = minimize(loss, np.zeros(5), (battles, ridge), options={"gtol": 1e-8}).x
    found = bradley_terry(battles, ridge=ridge)
    assert found.theta.tolist() == pytest.approx((best - best.mean()).tolist(), abs=1e-5)


def test_collapsing_keeps_the_likelihood_and_counts_equal_battles_together():
    battles = random_battles(2, models=3)
    few = collapse(battles)
    theta = np.array([0.3, -0.5, 0.9])
    assert few.outcome.size <= 3 * 8 * 2 and few.count.sum() == battles.count.sum()
    assert loss(theta, few) == pytest.approx(loss(theta, battles))
    assert np.allclose(win_matrix(few), win_matrix(battles))
    twice = read_battles(["a", "b"], ["b", "a"], [1, 0])
    assert collapse(twice).count.tolist() == [2.0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), ridge=st.sampled_from([0.0, 0.3]))
def test_exchanging_the_sides_of_any_battle_changes_nothing(seed: int, ridge: float):
    battles = random_battles(seed, rows=80)
    names = np.array(battles.models)
    swap = np.random.default_rng(seed).random(80) < 0.5
    turned = read_battles(
        names[np.where(swap, battles.second, battles.first)].tolist(),
        names[np.where(swap, battles.first, battles.second)].tolist(),
        np.where(swap, 1 - battles.outcome, battles.outcome),
        weight=battles.weight,
        prompt=battles.prompt.tolist(),
    )
    there, back = bradley_terry(battles, ridge=ridge), bradley_terry(turned, ridge=ridge)
    assert np.allclose(there.theta, back.theta, atol=1e-9)
    assert np.allclose(there.robust, back.robust, atol=1e-9)


def test_fits_made_together_equal_fits_made_alone_wherever_they_start():
    many = [random_battles(seed) for seed in range(8)]
    wins = np.stack([win_matrix(battles) for battles in many])
    ridge = np.linspace(0, 0.7, 8)
    far = np.array([9.0, -9.0, 4.0, 0.0, -4.0])
    together = fit_wins(wins, ridge=ridge, start=far)
    for battles, strength, found in zip(many, ridge, together, strict=True):
        alone = bradley_terry(battles, ridge=float(strength)).theta
        assert np.allclose(found, alone, atol=1e-7)


def test_extreme_odds_are_found():
    wins = np.array([[[0.0, 1e6, 0], [1, 0, 1e6], [0, 1, 0]]])
    gap = np.log(1e6)
    assert fit_wins(wins)[0].tolist() == pytest.approx([gap, 0, -gap], abs=1e-6)


def test_only_ties_rate_all_models_equal():
    found = bradley_terry(read_battles(["a", "b", "a"], ["b", "c", "c"], [0.5] * 3))
    assert np.allclose(found.theta, 0) and np.allclose(found.robust, 0)


def test_a_rating_list_is_centred_at_1000_or_anchored_at_a_model():
    theta = np.array([[0.5, 1.5], [1.0, -1.0]])
    assert np.allclose(elo_scale(theta).mean(axis=1), 1000)
    assert np.allclose(elo_scale(theta)[0, 1] - elo_scale(theta)[0, 0], 400 / np.log(10))
    anchored = elo_scale(theta, anchor=(1, 1114.0))
    assert np.allclose(anchored[:, 1], 1114)
    assert anchored[1, 0] == pytest.approx(1114 + 2 * POINTS)


def test_one_win_between_equals_moves_elo_by_two_points():
    """Acceptance 13."""
    assert elo(read_battles(["a"], ["b"], [1])).tolist() == [1002.0, 998.0]
    assert elo(read_battles(["a"], ["b"], [0.5])).tolist() == [1000.0, 1000.0]


def test_the_vectorised_bootstrap_of_elo_equals_the_loop():
    """Acceptance 13."""
    battles = random_battles(3, rows=60)
    found = elo_bootstrap(battles, rounds=7, seed=5)
    rows = np.repeat(np.arange(60), battles.mass.astype(int))
    draws = np.random.default_rng(5).integers(rows.size, size=(rows.size, 7))
    for place in range(7):
        ratings = [1000.0] * 5
        for row in rows[draws[:, place]]:
            a, b = battles.first[row], battles.second[row]
            expected = 1 / (1 + 10 ** ((ratings[b] - ratings[a]) / 400))
            ratings[a] += 4 * (battles.outcome[row] - expected)
            ratings[b] -= 4 * (battles.outcome[row] - expected)
        assert found[place].tolist() == pytest.approx(ratings, abs=1e-9)


def test_elo_depends_on_the_order_and_keeps_its_sum():
    battles = read_battles(["a", "a", "a"], ["b", "c", "b"], [1, 0, 0])
    other = read_battles(["a", "a", "a"], ["b", "b", "c"], [0, 1, 0])
    assert elo(battles, k=32).sum() == pytest.approx(3000)
    assert not np.allclose(elo(battles, k=32), elo(other, k=32))


def test_a_verdict_that_counts_thrice_is_fought_three_times():
    thrice = read_battles(["a"], ["b"], [1], weight=3)
    assert np.allclose(elo(thrice), elo(read_battles(["a"] * 3, ["b"] * 3, [1] * 3)))
    with pytest.raises(InputError, match=r"0\.5.*whole"):
        elo(read_battles(["a"], ["b"], [1], weight=0.5))


@pytest.mark.parametrize(
    ("columns", "options", "said"),
    [
        ((["a", "a"], ["b", "b"], [1, np.nan]), {}, "battle 1.*a - b.*1/2 is a tie"),
        ((["a"], ["b"], [2]), {}, "battle 0.*between 0 and 1"),
        ((["a"], ["b"], [1]), {"weight": 0}, "weight must be above zero"),
        ((["a"], ["b"], [1]), {"count": np.inf}, "count must be above zero"),
        ((["a"], ["a"], [1]), {}, "cannot meet itself"),
        ((["a"], ["b", "c"], [1]), {}, "1 rows of first and 2 of second"),
        ((["a"], ["b"], [1]), {"prompt": [1, 2]}, "2 of prompt"),
        (([], [], []), {}, "none"),
    ],
)
def test_bad_battles_are_named(columns, options, said):
    with pytest.raises(InputError, match=f"(?s){said}"):
        read_battles(*columns, **options)


def test_components_are_the_groups_linked_in_both_directions():
    wins = np.zeros((4, 4))
    wins[0, 1] = wins[1, 2] = wins[2, 0] = wins[2, 3] = 1
    groups = components(wins)
    assert groups[0] == groups[1] == groups[2] != groups[3]
