"""The 25 types: each with texts that follow it, that do not, and that only look as if."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.language.verify.instructions import layout, whole, words
from modelgraft.language.verify.instructions.relations import RELATIONS, holds
from modelgraft.language.verify.instructions.scoring import ifeval
from modelgraft.language.verify.instructions.table import RULES

AT_LEAST = {"relation": "at least"}
ENGLISH = "the quick brown fox jumps over the lazy dog and runs away"
FRENCH = "je ne sais pas ce que tu veux, mais je viens avec toi demain"

# name: arguments, a text that follows, one that does not, one that only looks as if.
EXAMPLES: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "keywords:existence": (
        {"keywords": ["Sun", "moon"]},
        "MOON and sun",
        "only the moon",
        "s u n and moon",
    ),
    "keywords:frequency": (
        {"keyword": "sun", "frequency": 2, **AT_LEAST},
        "Sun, sun",
        "sun",
        "s-un sun so un",
    ),
    "keywords:forbidden_words": (
        {"forbidden_words": ["bad", "c++"]},
        "a badge and some c",
        "too BAD!",
        "I write c++ code",
    ),
    "keywords:letter_frequency": (
        {"letter": "q", "let_frequency": 2, "let_relation": "at least"},
        "Quick quiz",
        "one q",
        "kuick kuiz, cucumber",
    ),
    "language:response_language": ({"language": "fr"}, FRENCH, ENGLISH, f"fr francais: {ENGLISH}"),
    "length_constraints:number_sentences": (
        {"num_sentences": 3, **AT_LEAST},
        "One. Two! Three?",
        "One. Two.",
        "Dr. J. Smith paid 3.50, e.g. in U.S. dollars.",
    ),
    "length_constraints:number_paragraphs": (
        {"num_paragraphs": 2},
        "one\n***\ntwo",
        "one\n\ntwo",
        "one\n***\n***\ntwo",
    ),
    "length_constraints:number_words": (
        {"num_words": 3, **AT_LEAST},
        "one two three",
        "one two",
        "one - two ... !",
    ),
    "length_constraints:nth_paragraph_first_word": (
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "Then"},
        'First.\n\n"Then, it was',
        "First.\n\nLater",
        "First.\nThen\n\nThenceforth",
    ),
    "detectable_content:number_placeholders": (
        {"num_placeholders": 2},
        "Dear [name], at [time]",
        "Dear [name]",
        "[][ ] [[a]",
    ),
    "detectable_content:postscript": (
        {"postscript_marker": "P.S."},
        "Bye.\nP. S. one more",
        "Bye.\nPS one more",
        "The shop.s. window",
    ),
    "detectable_format:number_bullet_lists": (
        {"num_bullets": 2},
        "* one\n  - two",
        "* one",
        "**one**\n** two",
    ),
    "detectable_format:constrained_response": (
        {},
        "Well: My answer is no.",
        "My answer is not known",
        "yes",
    ),
    "detectable_format:number_highlighted_sections": (
        {"num_highlights": 2},
        "*one* and **two**",
        "*one*",
        "** ** * * *one**",
    ),
    "detectable_format:multiple_sections": (
        {"section_spliter": "Section", "num_sections": 2},
        "Section 1\na\nSection 2\nb",
        "Section 1\na",
        "A preamble\nSection 1\nand a last section",
    ),
    "detectable_format:json_format": (
        {},
        '```json\n{"a": [1]}\n```',
        "a: 1",
        'Here it is: {"a": 1}',
    ),
    "detectable_format:title": ({}, "<<On joy>>\ntext", "On joy", "<< >> and <<one\nline>>"),
    "combination:two_responses": (
        {},
        "one\n******\ntwo",
        "one\n******\ntwo\n******\nthree",
        "same\n******\n same ",
    ),
    "combination:repeat_prompt": (
        {"prompt_to_repeat": "Write a poem."},
        " write a POEM. Roses ...",
        "Roses ...",
        "Sure! Write a poem. Roses ...",
    ),
    "startend:end_checker": (
        {"end_phrase": "The end."},
        '"... the END."\n',
        "no end",
        "The end. Or not",
    ),
    "startend:quotation": ({}, '"all of it"', '"not all" of it', '"'),
    "change_case:english_capital": (
        {},
        ENGLISH.upper(),
        ENGLISH.title(),
        FRENCH.upper(),
    ),
    "change_case:english_lowercase": ({}, ENGLISH, ENGLISH.title(), FRENCH),
    "change_case:capital_word_frequency": (
        {"capital_frequency": 2, "capital_relation": "at least"},
        "BIG and WELL-KNOWN",
        "BIG and small",
        "McDONALD BiG Big 12 34",
    ),
    "punctuation:no_comma": ({}, "no such sign", "one, two", "1,000 in a number"),
}
PIECES = [text for _, *texts in EXAMPLES.values() for text in texts]
TEXTS = st.one_of(
    st.text(max_size=200),
    st.text(alphabet='aA1 .,*-"<>[]\n', max_size=80),
    st.lists(st.sampled_from([*PIECES, "\n", "***", "* ", "Sure:\n"]), max_size=4).map("".join),
)


def truth(name: str, arguments: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"instruction_id": [name], "kwargs": [arguments or None]}]


def test_all_25_types_have_a_rule_and_an_example():
    assert len(RULES) == 25
    assert EXAMPLES.keys() == RULES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_type_tells_texts_that_follow_it_from_those_that_do_not(name):
    arguments, follows, fails, adversarial = EXAMPLES[name]
    assert ifeval(follows, truth(name, arguments)).passed
    assert not ifeval(fails, truth(name, arguments)).passed
    assert not ifeval(adversarial, truth(name, arguments)).passed


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("blank", ["", " ", "\n\n", "\t\u00a0"])
def test_a_blank_response_follows_nothing(name, blank):
    arguments = EXAMPLES[name][0]
    assert not ifeval(blank, truth(name, arguments)).passed
    assert not ifeval(blank, truth(name, arguments), loose=True).passed


@settings(max_examples=150, deadline=None)
@given(TEXTS)
def test_what_follows_strictly_follows_loosely(text):
    for name, (arguments, *_) in EXAMPLES.items():
        if ifeval(text, truth(name, arguments)).passed:
            assert ifeval(text, truth(name, arguments), loose=True).passed


@pytest.mark.parametrize("count", range(8))
def test_relations_compare_counts(count):
    assert holds(count, "at least", 4) is (count >= 4)
    assert holds(count, "less than", 4) is (count < 4)
    assert holds(count, "at most", 4) is (count <= 4)
    assert holds(count, "exactly", 4) is (count == 4)
    assert holds(count, "around", 4, slack=1) is (count in (3, 4, 5))
    assert len(RELATIONS) == 5


@pytest.mark.parametrize(
    ("name", "arguments", "text"),
    [
        ("keywords:frequency", {"keyword": "x", "frequency": 1, "relation": "less than"}, "y"),
        (
            "keywords:letter_frequency",
            {"letter": "X", "let_frequency": 0, "let_relation": "exactly"},
            "y",
        ),
        ("length_constraints:number_words", {"num_words": 0, "relation": "at least"}, "y"),
        ("detectable_format:number_bullet_lists", {"num_bullets": 0}, "no list"),
        (
            "change_case:capital_word_frequency",
            {"capital_frequency": 0, "capital_relation": "at most"},
            "none",
        ),
    ],
)
def test_a_number_that_is_zero_is_a_number(name, arguments, text):
    # A known checker dropped arguments equal to 0 and drew random ones instead.
    assert ifeval(text, truth(name, arguments)).passed


def test_a_placeholder_check_can_fail():
    # A known checker returned a pair, which is always true.
    assert layout.number_placeholders("none", num_placeholders=1) is False


@pytest.mark.parametrize("response", ["", "My", "My answer is", "yes", "a"])
def test_a_part_of_an_option_is_no_option(response):
    # A known checker looked for the response in the option, so that "" was one.
    assert not whole.constrained_response(response)
    assert not whole.constrained_response(response, options=["My answer is yes, and a half"])


def test_an_option_is_found_as_whole_words():
    assert whole.constrained_response("It is A.", options=["A", "B"])
    assert not whole.constrained_response("An Apple", options=["A", "B"])


def test_a_preamble_is_no_section():
    # A known checker counted the text before the first mark.
    for text in ("words\nSection 1", "words", "Section one\nSection two"):
        assert not layout.multiple_sections(text, section_spliter="Section", num_sections=2)
    assert layout.multiple_sections("SECTION 1 SECTION2", section_spliter="SECTION", num_sections=2)


def test_around_allows_a_tenth_of_words_and_one_sentence():
    for count, follows in ((89, False), (90, True), (110, True), (111, False)):
        text = "word " * count
        assert words.number_words(text, num_words=100, relation="around") is follows
    for count, follows in ((2, False), (3, True), (5, True), (6, False)):
        text = "A word. " * count
        assert words.number_sentences(text, num_sentences=4, relation="around") is follows


def test_paragraphs_may_have_blank_ends_but_no_blank_inside():
    for text in ("a *** b", "***\na\n***\nb\n***", "a***b***  "):
        assert layout.number_paragraphs(text, num_paragraphs=2)
    assert not layout.number_paragraphs("a\n******\nb", num_paragraphs=2)
    assert layout.number_paragraphs("a\n* * *\nb", num_paragraphs=2, divider="* * *")


def test_highlights_are_counted_once_each():
    for text, count in (
        ("*a* *b*", 2),
        ("**a** *b*", 2),
        ("***a***", 1),
        ("* a\n* b", 0),
        ("*a\nb*", 0),
        ("****", 0),
    ):
        assert layout.number_highlights(text, num_highlights=count)
        assert not layout.number_highlights(text, num_highlights=count + 1)


@pytest.mark.parametrize("text", ["NaN", "Infinity", "[1,]", "{'a': 1}", "[" * 100_000, "1" * 9999])
def test_what_is_not_json_is_refused(text):
    assert not layout.json_format(text)


@pytest.mark.parametrize("text", ["{}", "[1, 2]", '"text"', "```\n[1]\n```", "```JSON\n[1]```"])
def test_json_may_stand_in_a_fence(text):
    assert layout.json_format(text)


def test_the_second_postscript_has_its_own_letters():
    assert layout.postscript("so\nP.P.S more", postscript_marker="P.P.S")
    assert layout.postscript("so\np. p. s. more", postscript_marker="P.P.S")
    assert not layout.postscript("so\nP.S. more", postscript_marker="P.P.S")
    assert layout.postscript("so\nNote: more", postscript_marker="NOTE:")
    assert not layout.postscript("so\nN.te more", postscript_marker="N*te")


@pytest.mark.parametrize(
    "piece", [".", "[", "*", "<", "\n", "! ", "a.", "A-", '"', "e.g. ", "* \n", "<<>>"], ids=ascii
)
def test_a_long_response_takes_time_in_proportion_in_every_rule(piece):
    text = piece * (100_000 // len(piece))
    begin = time.perf_counter()
    for name, (arguments, *_) in EXAMPLES.items():
        RULES[name].check(text, **arguments)
    assert time.perf_counter() - begin < 10
