"""The other rules, each on what it finds and on what it misses."""

from __future__ import annotations

import pytest

from modelgraft.language.decontamination.baselines import (
    any_ngram,
    dict_coverage,
    exact_string,
    tokens_per_second,
)
from modelgraft.language.decontamination.index import Evaluation

TEST = " ".join(f"w{number}" for number in range(30))
EVALUATIONS = [Evaluation.of("e", {"t": TEST, "s": "what is it"})]
ROWS = [
    ("copy", TEST),
    ("case", TEST.upper()),
    ("inside", f"Please solve this: {TEST}. Thank you!"),
    ("number", TEST.replace("w15", "w99")),
    ("thirteen", f"{' '.join(TEST.split()[:13])} and then something else altogether"),
    ("twelve", f"{' '.join(TEST.split()[:12])} and then something else altogether"),
    ("topic", "a text on the same topic that shares no run of words with any test"),
    ("short", "what is it"),
    ("short case", "What is it?"),
]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (exact_string, {"copy", "short"}),
        (any_ngram, {"copy", "case", "inside", "number", "thirteen"}),
        (dict_coverage, {"copy", "case", "inside", "number", "short", "short case"}),
    ],
)
def test_each_rule_finds_its_kind_of_copy(rule, expected: set[str]) -> None:
    found = rule(EVALUATIONS, ROWS)
    assert found.rows.keys() == expected
    assert found.documents == len(ROWS)


def test_the_plain_version_scores_the_worked_example() -> None:
    letters = "abcdefghijklmnop"
    evaluation = Evaluation.of("e", {"t": " ".join(letters)})
    found = dict_coverage([evaluation], [("r", " ".join(letters[2:11]))])
    assert found.rows["r"].score == 0.5625


def test_the_speed_of_a_rule_is_in_tokens_per_second() -> None:
    rows = ROWS * 50
    assert 0 < tokens_per_second(lambda documents: dict_coverage(EVALUATIONS, documents), rows)
