"""Verifiers by name, and ground truths that are refused before any training."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from modelgraft.core.errors import InputError
from modelgraft.language.verify import VERIFIERS, Verdict, check_ground_truth, verifier

GOOD = {
    "gsm8k": ("it is 5", "5"),
    "mcq": ("the answer is B", "B"),
    "math": ("\\boxed{\\frac12}", "0.5"),
    "ifeval": ("<<a>>", json.dumps({"func_name": "validate_title"})),
}


@pytest.mark.parametrize("name", GOOD)
def test_a_verifier_answers_with_a_verdict(name):
    response, truth = GOOD[name]
    assert check_ground_truth(name, truth) == []
    good = verifier(name)(response, truth)
    bad = verifier(name)("", truth)
    assert isinstance(good, Verdict) and (good.passed, good.score) == (True, 1.0)
    assert isinstance(bad, Verdict) and (bad.passed, bad.score) == (False, 0.0)
    assert good.detail and bad.detail and not good.is_error


def test_names_are_found_in_any_case():
    assert verifier("MATH") is VERIFIERS["math"]
    assert check_ground_truth("MATH", "5") == []


@pytest.mark.parametrize(("name", "hint"), [("maths", "math"), ("gsm8", "gsm8k"), ("x", "mcq")])
def test_an_unknown_name_is_a_fault_that_names_a_known_one(name, hint):
    (fault,) = check_ground_truth(name, "5")
    assert name in fault and hint in fault
    with pytest.raises(InputError, match=hint):
        verifier(name)


@pytest.mark.parametrize("name", [None, 5, ["gsm8k"]])
def test_a_name_that_is_no_text_is_a_fault_too(name):
    assert "unknown verifier" in check_ground_truth(name, "5")[0]
    with pytest.raises(InputError):
        verifier(name)


def test_options_are_checked_with_the_truth():
    assert check_ground_truth("gsm8k", "5", {"numeric": True}) == []
    assert check_ground_truth("mcq", "E", {"letters": "ABCDE"}) == []
    assert "one of the letters ABCD" in check_ground_truth("mcq", "E")[0]
    (fault,) = check_ground_truth("ifeval", GOOD["ifeval"][1], {"lose": True})
    assert "no option lose" in fault and "loose" in fault
    assert "has none" in check_ground_truth("reasoning_gym", "{}", {"x": 1})[0]


@pytest.mark.parametrize("name", GOOD)
@pytest.mark.parametrize("truth", ["", None, 3.5, {}, []])
def test_no_verifier_takes_an_unusable_truth(name, truth):
    assert check_ground_truth(name, truth)


def test_a_checking_process_starts_without_the_heavy_packages():
    script = (
        "import sys, modelgraft.language.verify.worker\n"
        "print(sorted({'torch', 'numpy', 'sympy', 'py3langid', 'reasoning_gym'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "[]\n"
