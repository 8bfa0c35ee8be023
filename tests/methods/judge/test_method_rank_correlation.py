"""Correlations against loops over pairs, and meta-evaluation by document, system and pooled."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.evaluation.intervals import bootstrap_mean
from modelgraft.methods.judge.method.coefficients import bootstrap
from modelgraft.methods.judge.method.meta_evaluation import decisiveness, meta_evaluate
from modelgraft.methods.judge.method.rank_correlation import kendall, pearson, spearman

NAN = float("nan")
lists = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=20)


@given(lists)
def test_tau_b_equals_the_count_of_all_pairs(pairs):
    found = kendall(*zip(*pairs, strict=True))
    if found.reason:
        assert np.isnan(found.value)
        return
    signs = [(np.sign(a[0] - b[0]), np.sign(a[1] - b[1])) for a, b in combinations(pairs, 2)]
    untied = [sum(sign[side] != 0 for sign in signs) for side in (0, 1)]
    score = sum(one * other for one, other in signs)
    assert found.value == pytest.approx(score / np.sqrt(untied[0] * untied[1]))


def test_tau_b_of_many_items():
    """A list of 200,000 in which every item stands next to its true place."""
    n = 200_000
    swapped = np.arange(n) ^ 1
    assert kendall(np.arange(n), swapped).value == pytest.approx(1 - 4 * (n / 2) / (n * (n - 1)))


@given(lists)
def test_spearman_is_pearson_of_mean_ranks(pairs):
    first, second = zip(*pairs, strict=True)
    found = spearman(first, second)
    ranks = [
        [sum(x < one for x in side) + sum(x == one for x in side) / 2 for one in side]
        for side in (first, second)
    ]
    assert found.reason == pearson(*ranks).reason
    if not found.reason:
        assert found.value == pytest.approx(pearson(*ranks).value)
        assert found.value == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_constant_and_missing_scores():
    assert kendall([1, 1, 1], [1, 2, 3]).reason == "the first scores are constant"
    assert pearson([1, 2, 3], [2, 2, 2]).reason == "the second scores are constant"
    assert "two items" in spearman([1.0], [2.0]).reason
    found = spearman([1, 2, NAN, 4], [1, 2, 3, 5])
    assert (found.value, found.num, found.num_skipped) == (pytest.approx(1.0), 3, 1)
    with pytest.raises(InputError, match="a value an item"):
        kendall([1, 2], [1, 2, 3])


def test_a_correlation_has_an_interval_over_items():
    rng = np.random.default_rng(0)
    x = rng.normal(size=60)
    found = bootstrap(kendall, x, x + rng.normal(size=60), rounds=200)
    assert 0 < found.low < found.value < found.high < 1


# -- meta-evaluation -------------------------------------------------------------------------------


def rows(human: np.ndarray, judge: np.ndarray) -> tuple[list[str], list[str], list, list]:
    """Rows of tables [documents, systems]."""
    documents = [f"d{i}" for i in range(len(human)) for _ in human[0]]
    systems = [f"s{j}" for _ in human for j in range(len(human[0]))]
    return documents, systems, human.ravel().tolist(), judge.ravel().tolist()


@pytest.mark.parametrize(
    ("name", "measure"), [("kendall", kendall), ("spearman", spearman), ("pearson", pearson)]
)
def test_each_level_correlates_what_it_says(name, measure):
    rng = np.random.default_rng(1)
    human = rng.integers(1, 6, size=(8, 5)).astype(float)
    judge = human + rng.normal(size=(8, 5))
    found = meta_evaluate(*rows(human, judge), correlation=name)
    per_document = [measure(h, j).value for h, j in zip(human, judge, strict=True)]
    assert found.documents == pytest.approx(per_document)
    assert found.by_document.value == pytest.approx(np.mean(per_document))
    assert found.by_system.value == pytest.approx(
        measure(human.mean(axis=0), judge.mean(axis=0)).value
    )
    assert found.pooled.value == pytest.approx(measure(human.ravel(), judge.ravel()).value)
    assert bootstrap_mean(found.documents).value == pytest.approx(found.by_document.value)


def test_documents_with_constant_scores_are_skipped_and_counted():
    human = np.array([[1.0, 2, 3], [2, 2, 2], [1, 3, 2], [1, 2, 3]])
    judge = np.array([[1.0, 2, 3], [1, 2, 3], [4, 4, 4], [NAN, NAN, 3]])
    found = meta_evaluate(*rows(human, judge))
    assert (found.by_document.value, found.by_document.num) == (1.0, 1)
    assert (found.by_document.num_skipped, found.num_unread) == (3, 2)
    assert found.pooled.num == 10


def test_the_order_of_the_rows_does_not_matter():
    rng = np.random.default_rng(2)
    table = rows(rng.normal(size=(6, 4)), rng.normal(size=(6, 4)))
    order = rng.permutation(24)
    shuffled = [[column[place] for place in order] for column in table]
    one, other = meta_evaluate(*table), meta_evaluate(*shuffled)
    assert one.by_document == other.by_document
    assert one.by_system.value == pytest.approx(other.by_system.value)
    assert one.pooled.value == pytest.approx(other.pooled.value)


def test_nothing_that_differs_is_no_correlation():
    found = meta_evaluate(*rows(np.ones((3, 2)), np.ones((3, 2))))
    assert np.isnan(found.by_document.value) and "no document" in found.by_document.reason
    assert found.by_system.reason and found.pooled.reason
    with pytest.raises(InputError, match="one of each is needed in a row"):
        meta_evaluate(["d"], ["s", "t"], [1.0], [1.0])


def test_a_judge_that_exaggerates_has_a_slope_above_one_and_its_favourite_a_bias():
    gold = np.array([0.2, 0.4, 0.5, 0.6, 0.8])
    found = decisiveness(gold, 0.5 + 1.5 * (gold - 0.5))
    assert found.slope.value == pytest.approx(1.5) and found.bias == pytest.approx(np.zeros(5))
    favoured = gold.copy()
    favoured[2] += 0.1
    assert np.argmax(decisiveness(gold, favoured).bias) == 2
    assert np.isnan(decisiveness([0.5, 0.5], [0.1, 0.9]).slope.value)
