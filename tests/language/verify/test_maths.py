"""Which candidate counts, and which answers are equal."""

from __future__ import annotations

import sys
import time

import pytest

from modelgraft.core.errors import MissingExtra
from modelgraft.language.verify.maths import (
    candidates,
    flex,
    flex_faults,
    is_equal,
    last_boxed,
)

BOXES = [
    ("\\boxed{5}", "5"),
    ("\\fbox{5}", "5"),
    ("\\boxed {5}", "5"),
    ("\\boxed 5 is it", "5"),
    ("\\boxed{1}, no, \\boxed{2}", "2"),
    ("\\boxed{\\frac{1}{\\sqrt{2}}}", "\\frac{1}{\\sqrt{2}}"),
    ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
    ("\\boxed{\\left\\{ x \\right.}", "\\left\\{ x \\right."),
    ("\\boxed{}", ""),
    ("\\boxed{5", None),
    ("\\boxed", None),
    ("\\boxed+", None),
    ("5", None),
]


@pytest.mark.parametrize(("text", "expected"), BOXES)
def test_the_last_box_is_read_to_its_own_brace(text, expected):
    assert last_boxed(text) == expected


def sentence(answer: str) -> str:
    return f"Final Answer: The final answer is {answer}. I hope it is correct."


def test_box_and_closing_sentence_are_candidates_and_all_else_only_without_them():
    assert candidates(f"\\boxed{{1}} $2$ {sentence('3')}") == ["1", "3"]
    assert candidates(f"$2$ {sentence('$3$')}") == ["$3$"]
    assert candidates("$1$ then $2$, at $3") == [", at "]
    assert candidates("$1$ then $2$") == ["2"]
    assert candidates("it costs $5") == ["it costs $5"]
    assert candidates("plain") == ["plain"]


@pytest.mark.parametrize(
    "form",
    [
        "\\boxed{{{}}}",
        "\\fbox{{{}}}",
        sentence("{}"),
        sentence("${}$"),
        "It is ${}$",
        "{}",
        "\\boxed{{1}} but then \\boxed{{{}}}",
        "\\boxed{{}} " + sentence("{}"),
    ],
)
@pytest.mark.parametrize(
    "answer", ["\\frac{3}{2}", "\\frac32", "\\dfrac{3}{2}", "3/2", "1.5", "x = 1.5", "1.5 feet"]
)
def test_every_form_of_three_halves_verifies_wherever_it_stands(form, answer):
    assert flex(form.format(answer), "\\frac{3}{2}").passed
    assert not flex(form.format(answer), "\\frac{2}{3}").passed


def test_the_last_of_two_boxes_counts():
    assert flex("\\boxed{1} \\boxed{2}", "2").passed
    assert not flex("\\boxed{1} \\boxed{2}", "1").passed


@pytest.mark.parametrize("truth", ["5", "", "\\text{}"])
def test_an_empty_box_never_verifies(truth):
    assert not flex("It is 5: \\boxed{}", truth).passed
    assert not flex("\\boxed{ }", truth).passed
    assert not flex("", truth).passed


EQUAL = [
    ("x^2+2x+1", "(x+1)^2"),
    ("\\sqrt{12}", "2\\sqrt{3}"),
    ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt{2}}"),
    ("\\sin^{2}x+\\cos^{2}x", "1"),
    ("0.1+0.2", "0.3"),
    ("2^{10}", "1024"),
    ("5!", "120"),
    ("1\\frac{1}{2}", "1.5"),
    ("ab", "ba"),
    ("\\log_{2}8", "3"),
    ("-\\frac{1}{2}", "\\frac{-1}{2}"),
    ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}1\\\\\\frac{4}{2}\\end{pmatrix}"),
]
DIFFERENT = [
    ("x+1", "x+2"),
    ("hello", "olleh"),  # the letters as a product
    ("(2,1)", "(5,3)"),  # two empty intervals
    ("11_{2}", "11"),
    ("0.\\overline{3}", "0.3"),
    ("1/0", "1/0"),
    ("-5", "5"),
    ("x<5", "x<5"),  # a relation has no difference; as strings they are equal
    ("x" * 400, "x" * 400),
    ("", ""),
    ("\\frac{1}", "1"),
    ("\\badcommand{", "1"),
]


@pytest.mark.parametrize(("left", "right"), EQUAL)
def test_sympy_sees_that_two_forms_are_equal(left, right):
    assert is_equal(left, right) and is_equal(right, left)


@pytest.mark.parametrize(("left", "right"), DIFFERENT)
def test_what_is_not_shown_to_be_equal_is_different(left, right):
    assert not is_equal(left, right) and not is_equal(right, left)


@pytest.mark.parametrize(
    "answer",
    [
        "9^{9^9}",
        "9^{9^{9^9}}",
        "9**9**9",
        "(10^{10})!",
        "(" * 150 + "x" + ")" * 149,
        "{" * 20 + "2" + "}" * 20,
        "\\sqrt{2+" * 30 + "x" + "}" * 30,
        "1" * 100_000,
        "\\frac{1}{" * 1000,
    ],
    ids=lambda answer: answer[:12],
)
def test_a_monstrous_answer_is_refused_at_once(answer):
    flex("\\boxed{1}", "x+1")  # imports
    begin = time.perf_counter()
    assert not flex(f"\\boxed{{{answer}}}", "5").passed
    assert not flex(answer, "5").passed
    assert time.perf_counter() - begin < 5


def test_a_missing_package_is_said_and_no_wrong_answer(monkeypatch):
    monkeypatch.setitem(sys.modules, "latex2sympy2_extended", None)
    monkeypatch.setitem(sys.modules, "math_verify", None)
    assert flex("\\boxed{1.5}", "\\frac32").passed  # plain numbers need no parser
    with pytest.raises(MissingExtra, match=r"modelgraft\[llm\]"):
        flex("\\boxed{x+1}", "1+x")
    with pytest.raises(MissingExtra, match=r"modelgraft\[llm\]"):
        flex("\\boxed{5}", "5", backend="math_verify")


@pytest.mark.parametrize("backend", ["sympy", "math_verify"])
@pytest.mark.parametrize("form", ["\\boxed{{{}}}", "${}$", "{}", sentence("{}")])
def test_what_a_model_wrote_is_never_run(backend, form, tmp_path):
    target = tmp_path / "written"
    code = f"__import__('pathlib').Path('{target}').touch()"
    assert not flex(form.format(code), "5", backend=backend).passed
    assert not target.exists()


def test_the_second_opinion_decides_and_disagreements_are_said():
    agreed = flex("\\boxed{\\frac12}", "0.5", backend="math_verify")
    assert agreed.passed and "agree;" in agreed.detail
    other = flex("\\boxed{hello}", "olleh", backend="math_verify")
    assert other.passed and "disagree;" in other.detail


def test_an_empty_truth_and_a_strange_backend_are_faults():
    assert flex_faults("5") == flex_faults("\\text{degrees}") == []
    for truth in ("", " ", "$$", None, 5):
        assert len(flex_faults(truth)) == 1
    assert "math_verify" in flex_faults("5", backend="sage")[0]
