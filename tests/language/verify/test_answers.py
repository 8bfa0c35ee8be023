"""The last number and the chosen letter, in the forms that models write them."""

from __future__ import annotations

import time

import pytest

from modelgraft.language.verify.answers import (
    find_letter,
    gsm8k,
    gsm8k_faults,
    last_number,
    mcq,
    mcq_faults,
)

NUMBERS = [
    ("The answer is 12.", "12"),
    ("5.", "5"),
    ("-5", "-5"),
    ("= -5", "-5"),
    ("(-5)", "-5"),
    ("so x = +7", "7"),
    ("10-5", "5"),
    ("between 3-5 days", "5"),
    ("(2)-3", "3"),
    ("1,234", "1234"),
    ("1,234,567.50 dollars", "1234567.50"),
    ("$5.00", "5.00"),
    ("-$5", "-5"),
    ("$-5", "-5"),
    (".5", ".5"),
    ("3.14, about", "3.14"),
    ("\u22128", "-8"),
    ("12 apples and 3 pears", "3"),
    ("#### 72", "72"),
    ("\\boxed{-1,000}", "-1000"),
    ("H2O", "2"),
    ("50%", "50"),
    ("no number", None),
    ("", None),
    ("- . , $", None),
]


@pytest.mark.parametrize(("text", "expected"), NUMBERS)
def test_the_last_number_is_read_with_its_sign_and_without_commas(text, expected):
    assert last_number(text) == expected


EQUAL = [
    ("5.", "5", True, True),
    ("1,234", "1234", True, True),
    ("1234", "1,234", True, True),
    ("$5.00", "5", False, True),
    ("5.0", "5.00", False, True),
    ("05", "5", False, True),
    (".50", "0.5", False, True),
    ("-5", "5", False, False),
    ("5", "-5", False, False),
    ("5.01", "5", False, False),
    ("12", "2", False, False),
    ("none at all", "5", False, False),
    ("9" * 5000, "9" * 5000, True, True),
]


@pytest.mark.parametrize(("response", "label", "as_text", "as_value"), EQUAL)
def test_numbers_are_compared_as_text_or_as_values(response, label, as_text, as_value):
    assert gsm8k(response, label).passed is as_text
    assert gsm8k(response, label, numeric=True).passed is as_value


def test_the_sign_of_a_whole_number_counts():
    # The first published pattern matched signs only before decimals.
    assert not gsm8k("The answer is -5", "5").passed
    assert gsm8k("The answer is -5", "-5").passed


@pytest.mark.parametrize("label", ["", "five", "5 apples", "1 2", "--5", "5e3", None, 5, ["5"]])
def test_a_label_that_is_no_number_is_a_fault(label):
    assert len(gsm8k_faults(label)) == 1


@pytest.mark.parametrize("label", ["5", "-5", "+5", "1,234", " 7 ", "0.5", ".5"])
def test_a_plain_number_is_a_good_label(label):
    assert gsm8k_faults(label) == []
    assert gsm8k(f"it is {label}", label, numeric=True).passed


LETTERS = [
    # The requested sentence beats all else, and its last match the earlier ones.
    ("Therefore, the answer is: B. Not (C), answer: D", "B"),
    ("therefore the answer is (A)\n... Therefore, the answer is: **C**", "C"),
    ("Therefore,\nthe answer is B", "B"),
    # Softer forms beat parentheses.
    ("(A) is wrong. The correct answer is D. See (B)", "D"),
    ("Answer: (C)", "C"),
    ("The answer is option B", "B"),
    ("the answer is $\\boldsymbol$ or so (D)", "D"),
    # The last letter in parentheses beats a bare one.
    ("(A) or (B), I say. C", "B"),
    # The last capital that stands alone.
    ("First A, later D", "D"),
    ("\\boxed{C}", "C"),
    ("A", "A"),
    # No letter.
    ("the answer is a matter of taste", None),
    ("ABCD", None),
    ("E, F", None),
    ("D'Artagnan", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), LETTERS)
def test_the_letter_is_read_by_four_rules_in_order(text, expected):
    assert find_letter(text) == expected


def test_another_closing_sentence_and_more_letters_can_be_asked_for():
    text = "My final choice is J, though answer: B"
    assert find_letter(text, letters="ABCDEFGHIJ", sentence="My final choice is X") == "J"
    assert find_letter("I am sure", letters="ABCDEFGHI") == "I"
    assert find_letter("I'm sure", letters="ABCDEFGHI") is None


def test_a_choice_is_right_or_wrong():
    assert mcq("the answer is B", "B").passed
    assert not mcq("the answer is B", "C").passed
    assert not mcq("", "C").passed


def test_faults_of_a_choice_are_named():
    assert mcq_faults("B") == []
    assert mcq_faults("E", letters="ABCDE") == []
    for truth in ("E", "b", "AB", "", None, 1):
        assert "one of the letters" in mcq_faults(truth)[0]
    assert "capitals" in mcq_faults("A", letters="a-z")[0]
    assert "end with X" in mcq_faults("A", sentence="The answer is")[0]


@pytest.mark.parametrize("piece", ["9", "answer is ", " ", "-$", "(A ", "1,"])
def test_a_long_response_takes_time_in_proportion(piece):
    text = "answer is" + piece * (500_000 // len(piece))
    begin = time.perf_counter()
    last_number(text)
    find_letter(text)
    assert time.perf_counter() - begin < 10
