"""Pairs by construction: one answer is better, words of the splits are apart, places are even."""

from __future__ import annotations

import json
import re

import pytest

from modelgraft.methods.judge.world.lexicon import CAPITALS, DECOYS, WORDS
from modelgraft.methods.judge.world.pairs import (
    ADVERSARIAL,
    BAD,
    CATEGORIES,
    GOOD,
    category_of,
    world_pairs,
)

ITEMS = world_pairs(60)


def answers(item):
    texts = {one.id: one.text for one in item.candidates}
    return texts[GOOD], texts[BAD]


def test_pairs_depend_on_the_seed_alone_and_are_all_different():
    assert world_pairs(5) == world_pairs(5) != world_pairs(5, seed=1)
    assert len({item.id for item in ITEMS}) == len(ITEMS) == 60 * len(CATEGORIES)
    assert all(answers(item)[0] != answers(item)[1] for item in ITEMS)


def test_the_good_answer_stands_first_in_half_of_the_pairs():
    first = [item.candidates[0].id == GOOD for item in ITEMS]
    assert 0.42 < sum(first) / len(first) < 0.58
    assert all(item.label == GOOD for item in ITEMS)


def test_the_splits_share_no_word_and_no_country():
    used = {}
    for split in ("train", "held-out"):
        text = " ".join(
            f"{item.instruction} {' '.join(answers(item))}"
            for item in world_pairs(200, split=split, categories=("copying", "capitals"))
        )
        names = {*WORDS, *CAPITALS} - {"word"}
        used[split] = {name for name in names if re.search(rf"\b{name}\b", text)}
    assert used["train"] and used["held-out"] and not used["train"] & used["held-out"]


def is_right(item, text) -> bool:
    """By the instruction alone."""
    said = item.instruction
    if category_of(item) == "sums":
        first, second = map(int, re.findall(r"\d+", said))
        return int(re.findall(r"\d+", text)[-1]) == first + second
    if category_of(item) in ("capitals", "short_right"):
        country = said.removeprefix("What is the capital of ").rstrip("?")
        return CAPITALS[country] in text
    if category_of(item) == "less_familiar":
        country = said.removeprefix("What is the capital of ").rstrip("?")
        return DECOYS[country].split("/")[0] in text
    if category_of(item) == "copying":
        return text == re.findall(r'"(\w+)"', said)[0]
    if category_of(item) == "off_topic":
        return said.removeprefix("Tell me one fact about ").rstrip(".") in text
    if category_of(item) == "word_count":
        return len(text.split()) == int(re.findall(r"\d+", said)[0])
    if category_of(item) == "forbidden":
        return re.findall(r'"(\w+)"', said)[0] not in text.rstrip(".").split()
    if category_of(item) == "json":
        return text.startswith("{") and bool(json.loads(text))
    return text[0].isupper()  # fluency: the sentence in its order


@pytest.mark.parametrize("category", CATEGORIES)
def test_the_good_answer_is_right_by_what_was_asked_and_the_bad_one_is_not(category):
    for item in (one for one in ITEMS if category_of(one) == category):
        good, bad = answers(item)
        assert is_right(item, good), item
        if category != "fluency":
            assert not is_right(item, bad), item


def test_in_adversarial_pairs_the_shorter_answer_is_often_the_good_one():
    short = [item for item in ITEMS if category_of(item) == "short_right"]
    assert all(len(answers(item)[0]) < len(answers(item)[1]) for item in short)
    assert set(ADVERSARIAL) == {"word_count", "forbidden", "json", "less_familiar", "short_right"}
