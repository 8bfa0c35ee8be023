"""E3: what it counts, and that its verdict falls with each claim that is not so."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import pytest

from modelgraft.core.results import Number
from modelgraft.core.runs import open_run
from modelgraft.evaluation.reproduction import Findings
from modelgraft.language.decontamination.baselines import any_ngram, dict_coverage, exact_string
from modelgraft.language.decontamination.index import Evaluation
from modelgraft.language.decontamination.overlaps import Overlap, Scan
from modelgraft.methods.tulu3.experiments.decontamination import (
    ANY,
    APART,
    CHANGED,
    COPY,
    DECONTAMINATION,
    DIFFERENT,
    HALF_KEPT,
    MOST_KEPT,
    OURS,
    PARAPHRASE,
    PLAIN,
    SHARED,
    STRANGERS,
    TOPIC,
    Planted,
    count,
    coverage,
    criteria,
    datatrove_filter,
    found_numbers,
    group,
    race,
    race_numbers,
    share,
    speed_numbers,
)
from modelgraft.methods.tulu3.world.plants import NUM_NUMBERS, Plant, contaminate

MADE = contaminate(num_train=1500, num_tests=1000, seed=3)
PLANTED = Planted.of(MADE)


def test_every_planted_copy_is_counted_once_in_its_group():
    counted = count(PLANTED, coverage)
    plants = MADE.plants.values()
    some = sum(
        plant.kind == "number_changed" and 1 < plant.num_changed < plant.num_numbers
        for plant in plants
    )
    assert counted.total() == 1500 - some
    assert counted[STRANGERS, True] + counted[STRANGERS, False] == 1000
    for name in (COPY, PARAPHRASE, TOPIC):
        assert counted[name, True] + counted[name, False] == 100
    changed = [counted[name, True] + counted[name, False] for name in CHANGED.values()]
    assert sum(changed) == 100 - some and all(changed) and len(changed) == len(NUM_NUMBERS)


def test_the_rule_finds_what_is_covered_by_more_than_half_and_nothing_else():
    counted = count(PLANTED, coverage)
    assert counted[COPY, False] == counted[MOST_KEPT, False] == 0
    assert counted[HALF_KEPT, True] == counted[TOPIC, True] == counted[STRANGERS, True] == 0
    one, many = share(counted, CHANGED[1]), share(counted, CHANGED[6])
    assert one and many and one.value >= 0.95 and many.value < 0.5


def test_an_exact_string_finds_copies_alone_and_a_13_gram_too_much():
    exact = count(PLANTED, exact_string)
    assert {name for name, is_found in exact if is_found} == {COPY}
    usual = count(PLANTED, any_ngram)
    assert usual[COPY, False] == 0 and usual[HALF_KEPT, True] > 0


def test_a_rule_that_removes_every_row_or_none_is_seen_to():
    def everything(tests, documents):
        return Scan(rows={row_id: Overlap(row_id, "", "", 1.0) for row_id, _ in documents})

    every, none = count(PLANTED, everything), count(PLANTED, lambda tests, documents: Scan())
    assert {is_found for _, is_found in every} == {True}
    assert {is_found for _, is_found in none} == {False}
    values = {one.name: one for one in found_numbers({OURS: every, ANY: none})}
    found = values[f"{TOPIC}: found by {OURS}"]
    assert (found.value, found.baseline, found.n, found.better) == (1, 0, 100, "lower")
    assert found.low is not None and found.low < 1


def test_a_plant_with_some_of_its_numbers_changed_is_in_no_group():
    plant = Plant("r", "t", "number_changed", num_numbers=4, num_changed=1, kept_share=1.0)
    assert group(plant) == group(replace(plant, num_numbers=1)) == CHANGED[1]
    assert group(replace(plant, num_changed=4)) == CHANGED[4]
    assert group(replace(plant, num_changed=3)) is None
    assert group(None) == STRANGERS


def test_few_strangers_share_eight_words_with_a_test_but_for_the_question():
    apart = Planted.of(MADE, shared=False)
    assert not any(text.endswith(("?", ".")) for _, text in apart.documents)

    def touched(planted):
        strangers = [one for one in planted.documents if one[0] not in planted.plants]
        tests = [replace(planted.tests[0], instances=planted.tests[0].instances[:50])]
        return len(any_ngram(tests, strangers, n=8).rows)

    assert touched(PLANTED) > 300 and touched(apart) < 50


def test_the_plain_version_finds_the_same():
    apart = Planted.of(MADE, shared=False)
    assert coverage(apart.tests, apart.documents) == dict_coverage(apart.tests, apart.documents)


def test_rules_race_in_turn_and_the_ratio_says_how_much_faster_ours_is():
    called = []

    def rule(name):
        def search(tests, documents):
            called.append(name)
            return exact_string(tests, documents)

        return search

    laps = list(race(PLANTED, {name: rule(name) for name in (OURS, PLAIN)}, 2))
    assert len(laps) == 2 and called == [PLAIN, OURS, OURS, PLAIN, PLAIN, OURS]
    assert all(seconds > 0 for lap in laps for seconds in lap.values())
    (ratio,) = race_numbers(SHARED, [{OURS: 1.0, PLAIN: 6.0}, {OURS: 2.0, PLAIN: 12.0}])
    assert ratio.value == 6 and ratio.name.endswith(PLAIN) and ratio.better == "higher"


def test_speeds_are_compared_with_that_of_the_smallest_size():
    numbers = speed_numbers([{1: 100.0, 2: 90.0, 4: 110.0}] * 2)
    assert [one.value for one in numbers] == pytest.approx([0.9, 1.1])


def measured(**changed: float) -> list[Number]:
    """Numbers as they come out when everything is reached, some of them changed."""
    values = {
        f"{COPY}: found by {OURS}": 1.0,
        f"{CHANGED[1]}: found by {OURS}": 0.96,
        f"{TOPIC}: found by {OURS}": 0.0,
        f"{PARAPHRASE}: found by {OURS}": 0.04,
        f"{SHARED}: times as fast as {PLAIN}": 5.1,
        f"{APART}: times as fast as {PLAIN}": 5.1,
        "tokens/s with 2 times the documents": 1.1,
        "tokens/s with 4 times the documents": 0.9,
        DIFFERENT: 0.0,
    }
    assert set(changed) <= set(values)
    return [Number(name, value) for name, value in {**values, **changed}.items()]


WORSE = {0.0: [1.0], 0.04: [0.06], 1.0: [0.99], 0.96: [0.94], 5.1: [4.9], 1.1: [0.7, 1.3],
         0.9: [0.7, 1.3]}  # fmt: skip


def test_each_threshold_is_told_apart():
    assert all(is_met for is_met, _ in criteria(measured()))
    for one in measured():
        for worse in WORSE[one.value]:
            judged = criteria(measured(**{one.name: worse}))
            assert [text.startswith(one.name) for is_met, text in judged if not is_met] == [True]


def test_a_threshold_without_its_number_is_not_met():
    assert len({text for is_met, text in criteria([]) if not is_met}) >= len(measured())


def test_a_quick_pass_measures_and_races_every_rule(tmp_path):
    with open_run(tmp_path, seed=0) as run:
        found = DECONTAMINATION.run(run, True)
    assert isinstance(found, Findings)
    values = {one.name: one for one in found.numbers}
    assert values[f"{COPY}: found by {OURS}"].value == 1
    assert values[DIFFERENT].value == 0
    for one in measured():
        assert values[one.name].n
    assert (tmp_path / "artefacts/E3-numbers.json").exists()
    if importlib.util.find_spec("datatrove") is None:
        assert any("datatrove" in remark for remark in found.remarks)


@pytest.mark.peer
def test_the_peer_finds_copies_and_takes_all_numbers_for_the_same():
    pytest.importorskip("datatrove")
    test = " ".join(f"word{letter}" for letter in "abcdefghijklmnop") + " and 12 apples"
    rows = [
        ("copy", f"Please: {test}."),
        ("number", test.replace("12", "345")),
        ("twelve", " ".join(test.split()[:12])),
        ("eleven", " ".join(test.split()[:11])),
    ]
    found = datatrove_filter([Evaluation.of("e", {"t": test})], rows)
    assert found.rows.keys() == {"copy", "number", "twelve"} and found.documents == 4
