"""Both forms of ground truth, and everything that can be wrong with one."""

from __future__ import annotations

import json

import pytest

from modelgraft.core.errors import InputError
from modelgraft.language.verify.instructions.scoring import ifeval
from modelgraft.language.verify.instructions.truth import (
    Instruction,
    read_instructions,
    truth_faults,
)

EMPTY = dict.fromkeys(
    "N quantifier end_phrase keyword_list word forbidden_words letter language i first_word "
    "postscript_marker options section_splitter original_prompt".split()
)
# func_name, arguments, a text that follows, one that does not.
OLD = [
    ("verify_keywords", {"keyword_list": ["a+b", "Sun"]}, "sun, A+B", "sun, aab"),
    ("verify_keyword_frequency", {"word": "sun", "N": 2}, "Sun and sun.", "sun sunny sunset"),
    ("validate_forbidden_words", {"forbidden_words": ["bad"]}, "badge", "a Bad one"),
    ("verify_letter_frequency", {"letter": "x", "N": 2}, "x and X", "x x x"),
    ("verify_letter_frequency", {"letter": "x", "N": 0}, "none", "x"),
    ("validate_response_language", {"language": "en"}, "this is plain English text here",
     "dies ist ganz gewiss ein deutscher Satz"),
    ("verify_paragraph_count", {"N": 2}, "one\n* * *\ntwo", "one\n***\ntwo"),
    ("validate_word_constraint", {"N": 20, "quantifier": "around"}, "w " * 18, "w " * 17),
    ("validate_word_constraint", {"N": 3, "quantifier": "at most"}, "w w w", "w w w w"),
    ("verify_sentence_constraint", {"N": 3, "quantifier": "around"}, "One. Two.", "One."),
    ("validate_paragraphs", {"N": 2, "i": 2, "first_word": "so"}, "One.\n\nSo on.", "So.\n\nOn."),
    ("verify_postscript", {"postscript_marker": "P.S."}, "a\nP.S. b", "a"),
    ("validate_placeholders", {"N": 1}, "[a]", "none at all"),
    ("verify_bullet_points", {"N": 2}, "* a\n* b", "* a\n* b\n* c"),
    ("validate_title", {}, "<<a>>", "<<>>"),
    ("validate_choice", {"options": ["yes", "no"]}, "I say no.", "n"),
    ("validate_choice", {"options": "yes, no"}, "I say no.", "maybe"),
    ("validate_highlighted_sections", {"N": 1}, "*a*", "a * b"),
    ("validate_sections", {"N": 2, "section_splitter": "Part"}, "Part 1 a Part 2 b", "pre Part 1"),
    ("validate_json_format", {}, "[1]", "[1"),
    ("validate_repeat_prompt", {"original_prompt": "Say it."}, "Say it. It.", "It. Say it."),
    ("validate_two_responses", {}, "a\n******\nb", "a\n******\na"),
    ("validate_uppercase", {}, "THIS IS A PLAIN SENTENCE", "This is a plain sentence"),
    ("validate_lowercase", {}, "this is a plain sentence", "This is a plain sentence"),
    ("validate_frequency_capital_words", {"N": 1, "quantifier": "at most"}, "A b", "A B"),
    ("validate_end", {"end_phrase": "bye"}, "good Bye", "bye now"),
    ("validate_quotation", {}, '"a"', "a"),
    ("validate_no_commas", {}, "a", "a,"),
]  # fmt: skip


@pytest.mark.parametrize(("function", "arguments", "follows", "fails"), OLD)
def test_the_old_form_is_understood_with_its_nulls(function, arguments, follows, fails):
    row = json.dumps({"func_name": function, **EMPTY, **arguments})
    assert truth_faults(row) == []
    assert ifeval(follows, row).passed
    assert not ifeval(fails, row).passed
    assert not ifeval("", row).passed


def test_the_old_form_has_25_functions():
    assert len({function for function, *_ in OLD}) == 25


def test_the_new_form_arrives_as_object_json_or_literal():
    new = [
        {
            "instruction_id": ["punctuation:no_comma", "length_constraints:number_words"],
            "kwargs": [None, {"num_words": 3.0, "relation": "at least", "keyword": None}],
        }
    ]
    expected = [
        Instruction("punctuation:no_comma", {}),
        Instruction("length_constraints:number_words", {"num_words": 3, "relation": "at least"}),
    ]
    ifeval_row = {"instruction_id_list": new[0]["instruction_id"], "kwargs": new[0]["kwargs"]}
    for form in (new, json.dumps(new), repr(new), new[0], [json.dumps(new[0])], ifeval_row):
        assert read_instructions(form) == expected


FAULTS = [
    ("not json", "neither JSON"),
    ("", "neither JSON"),
    (None, "neither JSON"),
    ("5", "neither JSON"),
    ([], "no instruction"),
    ([[]], "list within a list"),
    ({}, "missing"),
    ({"func_name": "verify_keyword"}, "did you mean verify_keywords?"),
    ({"func_name": "validate_end"}, "end_phrase is missing"),
    ({"func_name": "validate_word_constraint", "N": 5}, "relation is missing"),
    ({"func_name": "validate_title", "N": 5}, "unknown argument 'N'"),
    ({"instruction_id": ["keywords:existance"], "kwargs": [{}]}, "did you mean keywords:existence"),
    ({"instruction_id": ["punctuation:no_comma"], "kwargs": []}, "1 instruction_id but 0 kwargs"),
    ({"instruction_id": ["punctuation:no_comma"], "kwargs": ["x"]}, "no table"),
    ({"instruction_id": ["punctuation:no_comma"]}, "missing"),
]
ARGUMENTS = [
    ("keywords:existence", {}, "keywords is missing"),
    ("keywords:existence", {"keywords": []}, "a list of texts"),
    ("keywords:existence", {"keywords": "sun"}, "a list of texts"),
    ("keywords:existence", {"keywords": ["sun", ""]}, "not blank"),
    ("keywords:existence", {"keywords": ["a("]}, "regular expression with a fault"),
    ("keywords:existence", {"keywords": ["a*"]}, "found everywhere"),
    ("keywords:forbidden_words", {"forbidden_words": [5]}, "not blank"),
    ("keywords:letter_frequency",
     {"letter": "ab", "let_frequency": 1, "let_relation": "at least"}, "one letter"),
    ("length_constraints:number_words", {"num_words": 5, "relation": "over"}, "one of at least"),
    ("length_constraints:number_words", {"num_words": -1, "relation": "at least"}, "from 0 on"),
    ("length_constraints:number_words", {"num_words": 2.5, "relation": "at least"}, "from 0 on"),
    ("length_constraints:number_words", {"num_words": True, "relation": "at least"}, "from 0 on"),
    ("length_constraints:number_words", {"num_words": "5", "relation": "at least"}, "from 0 on"),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 0, "first_word": "a"}, "from 1 on"),
    ("length_constraints:nth_paragraph_first_word",
     {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "a"}, "beyond num_paragraphs"),
    ("language:response_language", {"language": "tlh"}, "one of af"),
]  # fmt: skip


@pytest.mark.parametrize(("truth", "expected"), FAULTS)
def test_a_truth_that_cannot_be_used_says_why(truth, expected):
    assert expected in truth_faults(truth)[0]
    with pytest.raises(InputError, match="cannot be used"):
        ifeval("any text", truth)


@pytest.mark.parametrize(("name", "arguments", "expected"), ARGUMENTS)
def test_a_missing_or_wrong_argument_is_a_fault_and_never_drawn(name, arguments, expected):
    faults = truth_faults({"instruction_id": [name], "kwargs": [arguments]})
    assert len(faults) == 1
    assert name in faults[0] and expected in faults[0]


def test_all_faults_come_together():
    truth = {
        "instruction_id": ["keywords:existence", "startend:end_checker", "no:such"],
        "kwargs": [None, {"end_phrase": " "}, None],
    }
    assert len(truth_faults(truth)) == 3


@pytest.mark.parametrize("code", ["zh-cn", "zh-tw", "EN", "pt"])
def test_language_codes_may_have_a_region(code):
    row = {"instruction_id": ["language:response_language"], "kwargs": [{"language": code}]}
    assert truth_faults(row) == []
