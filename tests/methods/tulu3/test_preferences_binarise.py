"""Ratings become pairs: strictly lower rejected, missing ratings in no mean, ties counted out."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from modelgraft.methods.tulu3.preferences.binarise import Choice, binarise, highest, mean_rating

TEXTS = ("a", "b", "c", "d")


@pytest.mark.parametrize(
    ("ratings", "mean"),
    [
        ({"helpfulness": 5, "honesty": 2}, 3.5),
        ({"helpfulness": 5, "honesty": None}, 5.0),  # N/A is no rating of -1
        ({"helpfulness": 5}, 5.0),  # one that could not be read is no rating of 1
        ({"honesty": None}, None),
        ({}, None),
    ],
)
def test_the_mean_is_over_valid_aspects_only(ratings, mean):
    assert mean_rating(ratings) == mean


def test_pairs_agree_with_a_naive_reading_of_the_rule():
    for number in range(2000):
        rng = random.Random(number)
        num = rng.randint(2, 5)
        means = [rng.choice((None, 1.0, 2.5, 4.0, 4.0, 5.0)) for _ in range(num)]
        texts = [rng.choice(TEXTS) for _ in range(num)]
        found = binarise(means, texts, random.Random(number))
        if None in means:
            assert found == "no rating"
            continue
        best = max(mean for mean in means if mean is not None)
        if all(mean == best for mean in means):
            assert found == "tied"
        elif isinstance(found, Choice):
            assert means[found.chosen] == best and means[found.rejected] < best
            assert texts[found.chosen] != texts[found.rejected]
        else:
            assert found == "same text"
            # Every lower response repeats the text of one that shares the highest mean.
            top = {texts[at] for at in range(num) if means[at] == best}
            assert {texts[at] for at in range(num) if means[at] < best} <= top


def test_the_rejected_one_is_drawn_evenly_among_all_strictly_lower_ones():
    draws = [binarise((5.0, 1.0, 4.0, 3.0), TEXTS, random.Random(seed)) for seed in range(3000)]
    counts = Counter(draws)
    assert {choice.chosen for choice in counts} == {0}
    assert {choice.rejected for choice in counts} == {1, 2, 3}
    assert all(900 < num < 1100 for num in counts.values())


def test_equal_highest_means_are_drawn_from_evenly_and_never_rejected():
    draws = [binarise((4.0, 2.0, 4.0), TEXTS[:3], random.Random(seed)) for seed in range(2000)]
    assert {choice.rejected for choice in draws} == {1}
    assert 900 < sum(choice.chosen == 0 for choice in draws) < 1100


def test_the_highest_is_the_only_maximum_or_one_of_several():
    assert highest((1, 3, 2), random.Random(0)) == 1
    assert {highest((3, 3, 2), random.Random(seed)) for seed in range(20)} == {0, 1}
