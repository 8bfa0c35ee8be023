"""Strict, loose and partial scores."""

from __future__ import annotations

import pytest

from modelgraft.language.verify.instructions.scoring import ifeval, loose_variants


def test_there_are_eight_variants():
    assert loose_variants("*a*\nb\n*c*") == [
        "*a*\nb\n*c*", "b\n*c*", "*a*\nb", "b",
        "a\nb\nc", "b\nc", "a\nb", "b",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        (
            "combination:repeat_prompt",
            {"prompt_to_repeat": "Write a poem."},
            "Sure, here it is:\nWrite a poem. Roses ...",
        ),
        ("startend:end_checker", {"end_phrase": "The end."}, "... The end.\nLet me know!"),
        ("startend:quotation", None, 'Sure:\n"all of it"\nBye'),
        ("startend:quotation", None, '**"all of it"**'),
        ("detectable_format:json_format", None, 'Here:\n{"a": 1}\nDone'),
    ],
)
def test_loose_forgives_an_opening_a_closing_and_asterisks(name, arguments, text):
    truth = [{"instruction_id": [name], "kwargs": [arguments]}]
    assert not ifeval(text, truth).passed
    assert ifeval(text, truth, loose=True).passed


def test_a_variant_that_is_blank_follows_nothing():
    truth = [{"instruction_id": ["punctuation:no_comma"], "kwargs": [None]}]
    assert not ifeval("one, two\n", truth, loose=True).passed
    assert not ifeval("***", [{"func_name": "validate_title"}], loose=True).passed


def test_all_instructions_must_be_followed_unless_the_score_is_partial():
    names = ["punctuation:no_comma", "startend:quotation", "detectable_format:title"]
    truth = [{"instruction_id": names, "kwargs": [None] * 3}]
    whole = ifeval('"<<a>>, b"', truth)
    assert (whole.passed, whole.score) == (False, 0.0)
    assert whole.detail == "not followed: punctuation:no_comma"
    part = ifeval('"<<a>>, b"', truth, partial=True)
    assert not part.passed and part.score == pytest.approx(2 / 3)
    for partial in (False, True):
        full = ifeval('"<<a>> b"', truth, partial=partial)
        assert (full.passed, full.score) == (True, 1.0)
    assert ifeval("", truth, partial=True).score == 0


def test_loose_judges_each_instruction_by_itself():
    names = ["startend:quotation", "detectable_format:title"]
    truth = [{"instruction_id": names, "kwargs": [None, None]}]
    assert ifeval('<<Title>>\n"all of it"', truth, loose=True).passed
