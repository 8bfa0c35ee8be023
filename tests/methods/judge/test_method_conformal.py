"""Conformal margins and label sets: the rank that is taken, nested sets, and what they cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.methods.judge.method.conformal import (
    conformal_quantile,
    label_intervals,
    masses_before,
    quantiles_by_group,
)


@pytest.mark.parametrize(
    ("n", "alpha", "place"),
    [(9, 0.1, 9), (19, 0.1, 18), (99, 0.05, 95), (10, 0.1, 10), (20, 0.2, 17)],
)
def test_the_quantile_is_the_stated_rank(n, alpha, place):
    residuals = np.random.default_rng(0).permutation(np.arange(1, n + 1))
    assert conformal_quantile(residuals, alpha=alpha) == place


def test_too_few_items_promise_nothing():
    assert conformal_quantile(np.ones(8), alpha=0.1) == np.inf
    assert conformal_quantile([], alpha=0.1) == np.inf
    with pytest.raises(ConfigError, match="alpha 0"):
        conformal_quantile([1.0], alpha=0.0)
    with pytest.raises(InputError, match="some are nan"):
        conformal_quantile([1.0, np.nan], alpha=0.5)


def test_margins_cover_as_promised_and_hardly_more():
    rng = np.random.default_rng(1)
    residuals = np.abs(rng.standard_t(3, size=(2000, 50)))
    margins = [conformal_quantile(row[:49], alpha=0.1) for row in residuals]
    covered = np.mean(residuals[:, 49] <= margins)
    assert 0.9 - 0.015 < covered < 0.9 + 1 / 50 + 0.015


def test_every_group_keeps_the_promise_where_one_margin_for_all_does_not():
    rng = np.random.default_rng(2)
    groups = rng.choice(["easy", "hard"], size=2000, p=[0.8, 0.2])
    residuals = np.abs(rng.normal(size=2000)) * np.where(groups == "hard", 3, 1)
    known, new = slice(0, 1000), slice(1000, 2000)
    found = quantiles_by_group(residuals[known], groups[known].tolist(), alpha=0.1)
    one = conformal_quantile(residuals[known], alpha=0.1)
    hard = residuals[new][groups[new] == "hard"]
    assert (hard <= found["hard"]).mean() > 0.85 > 0.75 > (hard <= one).mean()
    assert quantiles_by_group([1.0], ["alone"], alpha=0.1) == {"alone": np.inf}
    with pytest.raises(InputError, match="2 groups for 1 items"):
        quantiles_by_group([1.0], ["a", "b"], alpha=0.1)


# -- labels on an ordered scale --------------------------------------------------------------------


def test_the_interval_grows_from_the_mode_by_the_likelier_neighbour():
    p = [[0.1, 0.2, 0.4, 0.25, 0.05]]
    found = [label_intervals(p, mass)[0].tolist() for mass in (0.0, 0.4, 0.7, 0.9, 1.0)]
    assert found == [[2, 2], [2, 3], [1, 3], [0, 3], [0, 4]]
    assert masses_before(p * 5, [2, 3, 1, 0, 4]) == pytest.approx([0, 0.4, 0.65, 0.85, 0.95])


@given(st.integers(0, 10_000), st.floats(0, 0.999))
def test_no_interval_of_that_mass_is_shorter_where_probabilities_fall_to_both_sides(seed, mass):
    rng = np.random.default_rng(seed)
    mode = rng.integers(5)
    heights = rng.random(5)
    p = np.concatenate([np.sort(heights[:mode]), np.sort(heights[mode:])[::-1]])
    p[mode] = heights.max()
    p /= p.sum()
    low, high = label_intervals([p], mass)[0]
    assert p[low : high + 1].sum() > mass or (low, high) == (0, 4)
    shorter = [p[i : i + high - low].sum() for i in range(5) if i + high - low <= 5]
    assert all(one <= mass + 1e-12 for one in shorter)


@given(st.integers(0, 10_000))
def test_intervals_are_nested_and_hold_a_label_from_its_entry_on(seed):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(6), size=4)
    places = rng.integers(6, size=4)
    before = masses_before(p, places)
    for row, (place, mass) in enumerate(zip(places, before, strict=True)):
        at = label_intervals(p[row : row + 1], mass)[0]
        assert at[0] <= place <= at[1]
        if mass > 0:
            below = label_intervals(p[row : row + 1], mass * (1 - 1e-9))[0]
            assert not below[0] <= place <= below[1]
            assert at[0] <= below[0] and below[1] <= at[1]


def test_label_sets_cover_as_promised_even_for_a_judge_that_is_wrong_about_itself():
    rng = np.random.default_rng(3)
    truth = rng.dirichlet(np.ones(5), size=4000)
    labels = (rng.random((4000, 1)) > np.cumsum(truth, axis=1)).sum(axis=1)
    stated = truth**3 / (truth**3).sum(axis=1, keepdims=True)
    mass = conformal_quantile(masses_before(stated[:2000], labels[:2000]), alpha=0.1)
    sets = label_intervals(stated[2000:], mass)
    covered = ((sets[:, 0] <= labels[2000:]) & (labels[2000:] <= sets[:, 1])).mean()
    assert 0.88 < covered < 0.93


def test_rows_that_are_no_distributions_and_labels_off_the_scale_are_refused():
    with pytest.raises(InputError, match="sums to 1"):
        label_intervals([[0.5, 0.2]], 0.9)
    with pytest.raises(InputError, match="0 to 1 is needed"):
        masses_before([[0.5, 0.5]], [2])
