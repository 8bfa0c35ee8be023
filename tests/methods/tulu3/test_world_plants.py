"""Planted prompts against a naive n-gram oracle that follows the paper's rule word by word."""

import re
from collections import defaultdict

import pytest

from modelgraft.methods.tulu3.world.plants import PLANT_KINDS, contaminate

N = 8
PLANTED = contaminate(num_train=600, num_tests=300, seed=4)


def words(text):
    return re.sub(r'[,.?!:;()"\n-]', " ", text.lower()).split()


def coverage(test, train):
    """The share of test words inside an 8-gram that also stands in the training prompt."""
    test, train = words(test), words(train)
    grams = {tuple(train[start : start + N]) for start in range(len(train) - N + 1)}
    matched = set()
    for start in range(len(test) - N + 1):
        if tuple(test[start : start + N]) in grams:
            matched |= set(range(start, start + N))
    return len(matched) / len(test)


@pytest.fixture(scope="module")
def found():
    """Of each kind, its plants with their coverage."""
    prompts = {test["id"]: test["prompt"] for test in PLANTED.tests}
    result = defaultdict(list)
    for row in PLANTED.train:
        if plant := PLANTED.plants.get(row["id"]):
            text = row["messages"][0]["content"]
            result[plant.kind].append((plant, coverage(prompts[plant.test_id], text)))
    return result


def test_prompts_have_thirty_words_and_ids_of_their_own():
    assert min(len(words(test["prompt"])) for test in PLANTED.tests) >= 30
    assert len({test["prompt"] for test in PLANTED.tests}) == 300
    assert len({row["id"] for row in PLANTED.train}) == len(PLANTED.train) == 600
    assert contaminate(600, 300, seed=4) == PLANTED


def test_every_second_test_has_one_plant_and_the_kinds_take_turns(found):
    assert found.keys() == set(PLANT_KINDS)
    assert {len(plants) for plants in found.values()} == {30}
    tests = [plant.test_id for plant in PLANTED.plants.values()]
    assert len(set(tests)) == len(tests) == 150


def test_copies_are_covered_whole_and_other_wordings_or_topics_hardly(found):
    assert {share for _, share in found["exact"]} == {1}
    assert max(share for _, share in found["paraphrase"]) < 0.3
    assert max(share for _, share in found["topic_only"]) < 0.3


def test_one_changed_number_is_found_and_many_changed_ones_fall_off(found):
    one = [share for plant, share in found["number_changed"] if plant.num_changed == 1]
    assert sum(share > 0.5 for share in one) / len(one) >= 0.95
    mean = {}
    for num in (2, 4, 6):
        shares = [share for plant, share in found["number_changed"] if plant.num_changed == num]
        mean[num] = sum(shares) / len(shares)
    assert mean[2] > mean[4] > mean[6] and mean[2] > 0.7 and mean[6] < 0.5


def test_a_kept_opening_is_found_exactly_when_it_is_more_than_half(found):
    for plant, share in found["half_overlap"]:
        assert share == pytest.approx(plant.kept_share, abs=1e-9)
    shares = {plant.kept_share > 0.5 for plant, _ in found["half_overlap"]}
    assert shares == {True, False}


def test_strangers_never_overlap_by_half():
    for test in PLANTED.tests[:20]:
        for row in PLANTED.train:
            plant = PLANTED.plants.get(row["id"])
            if plant is None:
                assert coverage(test["prompt"], row["messages"][0]["content"]) <= 0.5
