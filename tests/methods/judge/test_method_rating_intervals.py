"""Bootstraps, sandwich and ranks of ratings against loops, and what the intervals really cover."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import percentile_bounds
from modelgraft.methods.judge.method.battles import Battles, collapse, read_battles
from modelgraft.methods.judge.method.pair_model import DEFAULT_RIDGE
from modelgraft.methods.judge.method.rating_intervals import (
    normal_bounds,
    outcome_bootstrap,
    pairwise_rank_intervals,
    prompt_bootstrap,
    rank_intervals,
)
from modelgraft.methods.judge.method.ratings import bradley_terry
from modelgraft.methods.judge.method.ties import davidson, davidson_shares


def draw_battles(
    seed: int,
    *,
    models: int = 4,
    rows: int = 300,
    prompts: int = 25,
    slot: float = 0.0,
    nu: float = 0.6,
) -> tuple[Battles, np.ndarray]:
    """Battles by Davidson's model and the strengths they were drawn with."""
    rng = np.random.default_rng(seed)
    theta = np.linspace(1, -1, models)
    first = rng.integers(models, size=rows)
    second = (first + rng.integers(1, models, size=rows)) % models
    chances = davidson_shares(theta[first] - theta[second] + slot, nu)
    place = (rng.random((rows, 1)) > np.cumsum(chances, axis=1)).sum(axis=1)
    names = [f"m{number:02d}" for number in range(models)]
    battles = read_battles(
        [names[a] for a in first],
        [names[b] for b in second],
        1 - place / 2,
        weight=rng.choice([1.0, 3.0], size=rows) if seed == 1 else 1.0,
        prompt=rng.integers(prompts, size=rows).tolist(),
    )
    return battles, theta


def rated_again(battles: Battles, rows: np.ndarray) -> np.ndarray:
    """The strengths of the battles in `rows`, rated from nothing."""
    names = np.array(battles.models)
    sample = read_battles(
        names[battles.first[rows]].tolist(),
        names[battles.second[rows]].tolist(),
        battles.outcome[rows],
        weight=battles.weight[rows],
        count=battles.count[rows],
    )
    return bradley_terry(sample).theta


def test_the_outcome_bootstrap_equals_rating_every_sample_anew():
    battles, _ = draw_battles(1)
    found = outcome_bootstrap(battles, bradley_terry(battles), rounds=6, seed=3)
    unique = collapse(battles)
    drawn = np.random.default_rng(3).multinomial(300, unique.count / 300, size=6)
    for theta, counts in zip(found.theta, drawn, strict=True):
        rows = np.repeat(np.arange(counts.size), counts)
        one = Battles(
            unique.models,
            unique.first,
            unique.second,
            unique.outcome,
            unique.weight,
            np.ones(counts.size),
        )
        assert np.allclose(theta, rated_again(one, rows), atol=1e-7)
    assert found.num_drawn == 300 and found.num_held == 0


def test_the_prompt_bootstrap_equals_rating_every_sample_anew():
    battles, _ = draw_battles(1)
    num = int(battles.prompt.max()) + 1
    found = prompt_bootstrap(battles, bradley_terry(battles), rounds=5, seed=4)
    drawn = np.random.default_rng(4).multinomial(num, np.full(num, 1 / num), size=5)
    for theta, counts in zip(found.theta, drawn, strict=True):
        rows = np.repeat(np.arange(300), counts[battles.prompt])
        assert np.allclose(theta, rated_again(battles, rows), atol=1e-7)
    assert found.num_drawn == num


def test_rounds_do_not_depend_on_how_many_are_asked_for():
    battles, _ = draw_battles(2)
    ratings = bradley_terry(battles)
    many = outcome_bootstrap(battles, ratings, rounds=40, seed=1).theta
    assert np.allclose(many[:5], outcome_bootstrap(battles, ratings, rounds=5, seed=1).theta)


def test_a_sample_that_falls_apart_is_held_by_the_default_ridge_and_counted():
    battles = read_battles(["a"] * 6, ["b"] * 6, [1] * 5 + [0])
    found = outcome_bootstrap(battles, bradley_terry(battles), rounds=400, seed=0)
    all_won = found.theta[:, 0] > 2
    assert np.isfinite(found.theta).all()
    assert found.num_held == int(all_won.sum())
    assert found.num_held / 400 == pytest.approx((5 / 6) ** 6, abs=0.08)
    gap = found.theta[all_won][0] @ [1, -1]
    assert DEFAULT_RIDGE * gap / 2 == pytest.approx(6 / (1 + np.exp(gap)), rel=1e-6)


def test_prompts_must_be_named_to_be_drawn():
    battles = read_battles(["a", "b"], ["b", "a"], [1, 1])
    with pytest.raises(InputError, match="do not name their prompts"):
        prompt_bootstrap(battles, bradley_terry(battles))


@pytest.mark.parametrize("by_prompt", [False, True])
def test_the_sandwich_is_the_sum_over_clusters_written_out(by_prompt: bool):
    battles, _ = draw_battles(1)
    unknown = Battles(
        *(getattr(battles, name) for name in ("models", "first", "second", "outcome", "weight")),
        battles.count,
        battles.prompt if by_prompt else None,
    )
    found = bradley_terry(unknown)
    bread, scores = np.full((4, 4), 0.25), {}
    for row in range(300):
        x = np.zeros(4)
        x[battles.first[row]], x[battles.second[row]] = 1, -1
        share = 1 / (1 + np.exp(-x @ found.theta))
        bread += battles.weight[row] * share * (1 - share) * np.outer(x, x)
        key = int(battles.prompt[row]) if by_prompt else row
        slope = battles.weight[row] * (battles.outcome[row] - share) * x
        scores[key] = scores.get(key, 0) + slope
    meat = sum(np.outer(score, score) for score in scores.values())
    inverse = np.linalg.inv(bread)
    golden = len(scores) / (len(scores) - 1) * inverse @ meat @ inverse
    assert np.allclose(found.robust, golden, atol=1e-10)
    assert np.allclose(found.covariance, inverse - 0.25, atol=1e-10)
    assert np.allclose(found.robust.sum(axis=0), 0, atol=1e-10)


def test_the_three_errors_agree_where_battles_are_independent():
    battles, _ = draw_battles(5, rows=4000, prompts=800)
    ratings = bradley_terry(battles)
    robust = np.sqrt(np.diag(ratings.robust))
    for bootstrap in (outcome_bootstrap, prompt_bootstrap):
        spread = bootstrap(battles, ratings, rounds=600).theta.std(axis=0)
        assert np.allclose(spread / robust, 1, atol=0.12)


def test_repeating_a_prompts_verdicts_widens_only_what_knows_prompts():
    """Every verdict given four times over: four times the battles, no new knowledge."""
    battles, _ = draw_battles(6, prompts=300)
    names = np.array(battles.models)
    rows = np.tile(np.arange(300), 4)
    copied = read_battles(
        names[battles.first[rows]].tolist(),
        names[battles.second[rows]].tolist(),
        battles.outcome[rows],
        prompt=rows.tolist(),
    )
    once = np.sqrt(np.diag(bradley_terry(battles).covariance))
    again = bradley_terry(copied)
    assert np.allclose(np.sqrt(np.diag(again.covariance)), once / 2)
    spread = prompt_bootstrap(copied, again, rounds=500).theta.std(axis=0)
    assert np.allclose(spread / np.sqrt(np.diag(again.robust)), 1, atol=0.15)


def test_intervals_of_davidson_cover_what_was_planted():
    """E4's statement: 95 % intervals cover 93 to 97 %, with ties and a slot that gains."""
    inside = []
    for seed in range(150):
        battles, theta = draw_battles(1000 + seed, models=8, rows=1200, prompts=400, slot=0.4)
        found = davidson(battles, np.ones((1200, 1)))
        low, high = normal_bounds(found.theta, found.robust)
        least, most = normal_bounds(found.beta, found.robust[8:, 8:])
        inside.append([*((low < theta) & (theta < high)), least[0] < 0.4 < most[0]])
    assert 0.93 <= np.mean(inside) <= 0.97


def test_bootstrap_intervals_of_bradley_terry_cover_what_was_planted():
    inside = []
    for seed in range(60):
        battles, theta = draw_battles(2000 + seed, models=6, rows=600, nu=1e-9)
        ratings = bradley_terry(battles)
        draws = outcome_bootstrap(battles, ratings, rounds=200, seed=seed)
        low, high = percentile_bounds(draws.theta, draws.num_drawn)
        inside.append((low < theta) & (theta < high))
    assert binom.cdf(np.sum(inside), 360, 0.95) > 0.001 and np.mean(inside) < 0.99


def test_percentile_bounds_are_quantiles_widened_for_few_units():
    draws = np.linspace(0, 1, 10_001)[:, None]
    low, high = percentile_bounds(draws, 10**9)
    assert (low[0], high[0]) == pytest.approx((0.025, 0.975), abs=1e-6)
    wider, _ = percentile_bounds(draws, 10)
    assert wider[0] < low[0]


def test_ranks_count_the_models_that_are_surely_above_and_below():
    low, high = np.array([3.0, 2.0, 0.0, -9.0]), np.array([4.0, 3.5, 1.0, 9.0])
    assert rank_intervals(low, high).tolist() == [[1, 3], [1, 3], [3, 4], [1, 4]]
    same = np.zeros(3)
    assert rank_intervals(same - 1, same + 1).tolist() == [[1, 3]] * 3


def test_pairwise_ranks_know_that_a_difference_is_surer_than_its_ends():
    theta, shared = np.array([1.0, 0.0]), np.array([[1.0, 0.99], [0.99, 1.0]])
    assert pairwise_rank_intervals(theta, shared).tolist() == [[1, 1], [2, 2]]
    assert pairwise_rank_intervals(theta, np.eye(2)).tolist() == [[1, 2], [1, 2]]
    low, high = normal_bounds(theta, shared)
    assert rank_intervals(low, high).tolist() == [[1, 2], [1, 2]]
