"""Rankings from comparisons: exact for a consistent judge, within the number of questions said."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.methods.judge.method.sorting import (
    all_pairs,
    answered,
    heap_top,
    knock_out,
    merge_sort,
    merge_sort_beam,
    sliding_top,
)
from modelgraft.methods.judge.method.windows import (
    borda,
    disagreement,
    heap_top_of_sets,
    kemeny,
    preferences,
    repaired,
    shuffled_rankings,
    sliding_windows,
    window_starts,
)

SIZES = st.integers(0, 40)


class Judge:
    """Knows the true order, and counts what it is asked."""

    def __init__(self, n: int, seed: int = 0, *, accuracy: float = 1.0) -> None:
        self.rng = np.random.default_rng(seed)
        self.truth = self.rng.permutation(n).tolist()
        self.rank = {item: place for place, item in enumerate(self.truth)}
        self.num = self.batches = 0
        self.accuracy = accuracy

    def compare(self, pairs):
        self.num += len(pairs)
        self.batches += 1
        right = self.rng.random(len(pairs)) < self.accuracy
        better = [self.rank[i] < self.rank[j] for i, j in pairs]
        return [0.9 if is_better == is_right else 0.1
                for is_better, is_right in zip(better, right, strict=True)]  # fmt: skip

    def order(self, groups):
        self.num += len(groups)
        return [sorted(group, key=self.rank.__getitem__) for group in groups]

    def best(self, groups):
        self.num += len(groups)
        return [min(range(len(one)), key=lambda place: self.rank[one[place]]) for one in groups]


def most_merges(n: int) -> int:
    depth = math.ceil(math.log2(n)) if n > 1 else 0
    return n * depth - 2**depth + 1


@given(SIZES, st.integers(0, 99))
def test_merge_sort_finds_the_order_within_its_bound(n, seed):
    """Acceptance 10."""
    judge = Judge(n, seed)
    assert answered(merge_sort(n), judge.compare) == judge.truth
    assert judge.num <= max(0, most_merges(n))


def test_merges_of_a_level_are_asked_together():
    judge = Judge(64)
    answered(merge_sort(64), judge.compare)
    assert judge.batches <= 2 * 64 and judge.num > 2 * judge.batches


@given(SIZES, st.integers(0, 99), st.sampled_from([0.6, 0.9, 1.0]))
def test_one_beam_without_a_gap_is_greedy(n, seed, accuracy):
    """Acceptance 10."""
    found = []
    for ranker in (merge_sort(n), merge_sort_beam(n, beams=1, gap=0.0)):
        judge = Judge(n, seed, accuracy=accuracy)
        cache: dict = {}

        def compare(pairs, judge=judge, cache=cache, seed=seed):
            for i, j in pairs:
                if (i, j) not in cache:
                    flip = np.random.default_rng([seed, i, j]).random() > judge.accuracy
                    cache[i, j] = 0.9 if (judge.rank[i] < judge.rank[j]) != flip else 0.1
            return [cache[pair] for pair in pairs]

        found.append(answered(ranker, compare))
    assert found[0] == found[1]


def test_beams_see_past_a_choice_that_is_nearly_even():
    """By the mean of its choices, 2 first is worth more: what follows is nearly sure."""
    p = {(0, 1): 0.9, (2, 3): 0.9, (0, 2): 0.51, (1, 2): 0.55, (0, 3): 0.99, (1, 3): 0.99}

    def compare(pairs):
        return [p[pair] if pair in p else 1 - p[pair[1], pair[0]] for pair in pairs]

    ways = {(0, 1, 2, 3): [0.51, 0.55], (2, 0, 1, 3): [0.49, 0.99, 0.99]}
    worth = {way: np.log(chances).mean() for way, chances in ways.items()}
    assert worth[2, 0, 1, 3] > worth[0, 1, 2, 3]
    assert answered(merge_sort(4), compare) == [0, 1, 2, 3]
    assert answered(merge_sort_beam(4, beams=8, gap=0.1), compare) == [2, 0, 1, 3]


@given(SIZES, st.integers(0, 99))
def test_all_pairs_is_exact_and_ties_keep_the_order(n, seed):
    judge = Judge(n, seed)
    assert answered(all_pairs(n), judge.compare) == judge.truth
    assert judge.num == n * (n - 1) // 2
    assert answered(all_pairs(n), lambda pairs: [0.5] * len(pairs)) == list(range(n))


@given(SIZES, st.integers(0, 12), st.integers(0, 99), st.integers(2, 6))
def test_the_best_few_are_exact(n, k, seed, size):
    for ranker, ask in (
        (heap_top(n, k), "compare"),
        (heap_top_of_sets(n, k, size=size), "best"),
    ):
        judge = Judge(n, seed)
        assert answered(ranker, getattr(judge, ask)) == judge.truth[:k]
    judge = Judge(n, seed)
    assert answered(sliding_top(n, k), judge.compare)[:k] == judge.truth[:k]
    assert judge.num <= k * max(0, n - 1)


def test_sets_take_fewer_questions_than_pairs():
    judges = Judge(64), Judge(64)
    answered(heap_top(64, 10), judges[0].compare)
    answered(heap_top_of_sets(64, 10, size=8), judges[1].best)
    assert judges[1].num < judges[0].num / 3


@given(st.integers(1, 40), st.integers(0, 99))
def test_a_knock_out_finds_the_best_in_n_minus_1(n, seed):
    judge = Judge(n, seed)
    assert answered(knock_out(n, seed=seed), judge.compare) == judge.truth[0]
    assert judge.num == n - 1


# -- windows ---------------------------------------------------------------------------------------


def test_a_hundred_items_take_nine_windows():
    """Acceptance 11: windows of 20, ten apart."""
    assert window_starts(100, 20, 10) == [80, 70, 60, 50, 40, 30, 20, 10, 0]
    judge = Judge(100)
    assert answered(sliding_windows(100), judge.order)[:10] == judge.truth[:10]
    assert judge.num == 9
    assert window_starts(5, 20, 10) == [0]


@given(st.lists(st.integers(-2, 12) | st.none() | st.text(max_size=2)), st.permutations(range(10)))
def test_any_answer_is_repaired_to_a_ranking(told, group):
    """Acceptance 11."""
    found = repaired(told, group)
    assert sorted(found) == list(range(10))
    known = [item for item in dict.fromkeys(told) if isinstance(item, int) and item in group]
    assert found[: len(known)] == known
    missing = [item for item in group if item not in known]
    assert found[len(known) :] == missing


def test_slots_that_are_preferred_even_out():
    """A judge that puts its first three slots on top, and else knows the order."""
    truth = Judge(8, 3)

    def order(groups):
        return [[*group[:2], *sorted(group[2:], key=truth.rank.__getitem__)] for group in groups]

    rankings = answered(shuffled_rankings(8, num=200), order)
    assert borda(rankings, 8) == truth.truth
    assert kemeny(rankings, 8) == truth.truth


@given(st.lists(st.permutations(range(5)), min_size=1, max_size=6))
def test_kemeny_is_the_least_of_all_orders(rankings):
    before = preferences(rankings, 5)
    least = min(disagreement(one, before) for one in itertools.permutations(range(5)))
    assert disagreement(kemeny(rankings, 5), before) == least


def test_above_ten_items_no_single_move_helps():
    rng = np.random.default_rng(0)
    rankings = [rng.permutation(14).tolist() for _ in range(5)]
    before, found = preferences(rankings, 14), kemeny(rankings, 14)
    cost = disagreement(found, before)
    for item, place in itertools.product(range(14), repeat=2):
        rest = [one for one in found if one != item]
        assert disagreement([*rest[:place], item, *rest[place:]], before) >= cost
    assert cost <= disagreement(borda(rankings, 14), before)


@pytest.mark.parametrize("ranker", [all_pairs, merge_sort])
def test_nothing_and_one_need_no_question(ranker):
    assert answered(ranker(0), lambda pairs: []) == []
    assert answered(ranker(1), lambda pairs: []) == [0]
