"""Tournaments: nearly the order of all pairs from a part of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import kendalltau

from modelgraft.core.errors import ConfigError
from modelgraft.methods.judge.method.sorting import all_pairs, answered
from modelgraft.methods.judge.method.tournaments import (
    active,
    covariance_of,
    is_separated,
    rate,
    swiss,
)


class Noisy:
    """Prefers by strengths, wrongly as often as Bradley-Terry says, always the same of a pair."""

    def __init__(self, n: int, seed: int, spread: float = 3.0) -> None:
        rng = np.random.default_rng(seed)
        self.theta = rng.normal(size=n) * spread
        wins = rng.random((n, n)) < expit(self.theta[:, None] - self.theta[None, :])
        self.says = np.triu(wins, 1) + np.tril(~wins.T, -1)
        self.asked: list[tuple[int, int]] = []

    def compare(self, pairs):
        self.asked += pairs
        return [float(self.says[pair]) for pair in pairs]

    def tau(self, ranking) -> float:
        places = np.empty(len(ranking))
        places[ranking] = np.arange(len(ranking))
        return kendalltau(-places, self.theta).statistic


def share_of_all_pairs(ranker, n: int) -> tuple[float, float]:
    """Kendall's tau against that of all pairs, and the share of comparisons; over five judges."""
    taus, calls = [], []
    for seed in range(5):
        some, every = Noisy(n, seed), Noisy(n, seed)
        found = some.tau(answered(ranker(), some.compare))
        taus.append(found / every.tau(answered(all_pairs(n), every.compare)))
        calls.append(len(some.asked) / len(every.asked))
    return float(np.mean(taus)), float(np.max(calls))


def test_tournaments_come_near_all_pairs_with_a_part_of_the_calls():
    n = 64
    tau, calls = share_of_all_pairs(lambda: active(n, int(0.3 * n * (n - 1) / 2)), n)
    assert tau > 0.95 and calls <= 0.3
    tau, calls = share_of_all_pairs(lambda: swiss(n, rounds=16), n)
    assert tau > 0.93 and calls <= 0.3


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 14), st.integers(0, 50))
def test_no_pair_meets_twice_and_nobody_plays_itself(n, seed):
    for ranker in (swiss(n, seed=seed), active(n, 40, seed=seed)):
        judge = Noisy(n, seed)
        ranking = answered(ranker, judge.compare)
        assert sorted(ranking) == list(range(n))
        met = [frozenset(pair) for pair in judge.asked]
        assert len(set(met)) == len(met) and all(len(pair) == 2 for pair in met)


def test_a_round_lets_every_item_play_at_most_once():
    judge = Noisy(9, 0)
    sizes = []

    def compare(pairs):
        assert len({item for pair in pairs for item in pair}) == 2 * len(pairs)
        sizes.append(len(pairs))
        return judge.compare(pairs)

    answered(swiss(9), compare)
    assert len(sizes) == 6 and max(sizes) == 4 and sum(sizes) >= 22


def test_the_covariance_is_the_curvature_of_the_fit():
    judge = Noisy(4, 1)
    wins = np.zeros((4, 4))
    for i, j in [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]:
        wins[i, j] += judge.says[i, j]
        wins[j, i] += 1 - judge.says[i, j]
    theta, step = rate(wins), 1e-4

    def gradient(point):
        p = expit(point[:, None] - point[None, :])
        return ((wins + wins.T) * p - wins).sum(axis=1) + 0.1 * point

    curvature = np.column_stack(
        [(gradient(theta + step * unit) - gradient(theta - step * unit)) / (2 * step)
         for unit in np.eye(4)]
    )  # fmt: skip
    assert covariance_of(wins) == pytest.approx(np.linalg.inv(curvature), rel=1e-4)


def test_asking_ends_when_neighbours_are_told_apart():
    theta = np.array([9.0, 6.0, 3.0, 0.0])
    assert is_separated(theta, 0.1 * np.eye(4)) and not is_separated(theta, 9 * np.eye(4))


def test_a_budget_that_is_not_enough_for_a_beginning_is_refused():
    with pytest.raises(ConfigError, match="10 items need 10 to begin"):
        answered(active(10, 5), lambda pairs: [0.5] * len(pairs))
