"""The adapter for reasoning_gym: what needs no package, and the package itself as a peer."""

from __future__ import annotations

import itertools
import json
import sys

import pytest

from modelgraft.core.errors import InputError, MissingExtra
from modelgraft.language.verify import check_ground_truth, gym

ANSWERS = [
    ("so <answer> 12 </answer>", "12"),
    ("<answer>1</answer> no <answer>2</answer>", "2"),
    ("<answer>one\ntwo</answer>", "one\ntwo"),
    ("The answer is 12.", "12"),
    ("Answer: 7\nand more", "7"),
    ("The answer is 1. No:\nthe answer is 2.", "2"),
    (" 12 ", "12"),
    ("", ""),
]


@pytest.mark.parametrize(("response", "expected"), ANSWERS)
def test_the_answer_is_found_in_its_tag_or_behind_its_phrase(response, expected):
    assert gym.find_answer(response) == expected


@pytest.mark.parametrize(
    "truth", ["", "{", "5", {}, {"answer": "5"}, {"answer": 5, "metadata": {}}]
)
def test_a_truth_that_is_no_entry_is_refused_without_the_package(truth):
    assert "reasoning_gym entry" in check_ground_truth("reasoning_gym", truth)[0]
    with pytest.raises(InputError):
        gym.reasoning_gym("5", truth)


def test_the_package_is_needed_only_when_used(monkeypatch):
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    with pytest.raises(MissingExtra, match=r"modelgraft\[gym\]"):
        next(gym.rows("chain_sum", seed=0, size=1))


@pytest.mark.peer
@pytest.mark.parametrize("task", ["simple_equations", "chain_sum", "gsm_symbolic", "leg_counting"])
def test_the_answer_of_an_entry_passes_and_another_does_not(task):
    pytest.importorskip("reasoning_gym")
    for row in itertools.islice(gym.rows(task, seed=3, size=5), 5):
        answer = json.loads(row["ground_truth"])["answer"]
        assert check_ground_truth("reasoning_gym", row["ground_truth"]) == []
        assert gym.reasoning_gym(f"The answer is {answer}.", row["ground_truth"]).passed
        assert gym.reasoning_gym(f"<answer>{answer}</answer>", row["ground_truth"]).passed
        for wrong in ("", "x", "-1234567"):
            assert not gym.reasoning_gym(wrong, row["ground_truth"]).passed


@pytest.mark.peer
def test_the_same_seed_gives_the_same_rows():
    pytest.importorskip("reasoning_gym")
    first, again, other = (list(gym.rows("chain_sum", seed=s, size=4)) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.peer
@pytest.mark.parametrize("task", ["countdown", "puzzle24", "n_queens", "polynomial_multiplication"])
def test_a_scorer_that_runs_the_answer_as_python_is_refused(task):
    pytest.importorskip("reasoning_gym")
    truth = {"answer": "1", "metadata": {"source_dataset": task}}
    assert "runs Python" in check_ground_truth("reasoning_gym", truth)[0]
    with pytest.raises(InputError, match="runs Python"):
        next(gym.rows(task, seed=0, size=1))
