"""pass@k: the estimator is the share of subsets that hold a passing sample."""

from __future__ import annotations

from itertools import combinations

import pytest

from modelgraft.core.errors import InputError
from modelgraft.evaluation.passing import pass_at_k


def test_it_equals_the_enumeration_of_all_subsets():
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                subsets = list(combinations([True] * c + [False] * (n - c), k))
                share = sum(map(any, subsets)) / len(subsets)
                assert pass_at_k(n, c, k) == pytest.approx(share, abs=1e-15)


def test_the_golden_value():
    assert pass_at_k(20, 3, 10) == pytest.approx(0.894737, abs=5e-7)


def test_large_counts_do_not_overflow():
    assert 0.999 < pass_at_k(100_000, 50_000, 1000) <= 1
    assert pass_at_k(100_000, 1, 1) == pytest.approx(1e-5)


@pytest.mark.parametrize(("n", "c", "k"), [(5, 6, 1), (5, -1, 1), (0, 0, 1), (5, 1, 0), (5, 1, 6)])
def test_impossible_counts_are_refused(n, c, k):
    with pytest.raises(InputError, match="pass@k"):
        pass_at_k(n, c, k)
