"""The two normal forms of an answer, form by form."""

from __future__ import annotations

import pytest

from modelgraft.language.verify.latex import minerva_form, string_form

MINERVA = [
    ("x = 5", "5"),
    ("a = b = 7", "7"),
    ("f(x,y)=3", "3"),
    ("x=1,y=2", "x=1,y=2"),
    ("x = 5 \\text{ or } x = 2", "x=5orx=2"),
    ("x >= 5", "x>=5"),
    ("the 12", "12"),
    ("a right triangle", "righttriangle"),
    ("a + b", "a+b"),
    ("\\alpha + a", "\\alpha+a"),
    ("12 dollars", "12"),
    ("\\$12.50", "12.50"),
    ("60 mph.", "60"),
    ("5 feet", "5"),
    ("7 square inches", "7"),
    ("45 degrees", "45"),
    ("45^\\circ", "45"),
    ("45^{\\circ}", "45"),
    ("45\u00b0", "45"),
    ("25 cents", "25"),
    ("3 points", "3"),
    ("3 units", "3"),
    ("5\\text{ cm}^2", "5"),
    ("5\\ \\mathrm{cm}^{3}", "5"),
    ("5\\text{ apples}", "5"),
    ("\\frac{1}{2}\\text{ mile}", "\\frac{1}{2}"),
    ("9\\text{ p.m.}", "9p.m"),
    ("\\text{degrees}", "degrees"),
    ("\\text{Evelyn}", "Evelyn"),
    ("\\text{(B)}", "(B)"),
    ("\\left( 3, \\frac{\\pi}{2} \\right)", "(3,\\frac{\\pi}{2})"),
    ("1,234", "1234"),
    ("1{,}234", "1234"),
    ("10,\\!000", "10000"),
    ("1,2", "1,2"),
    ("(1,234)", "(1,234)"),
    ("\\frac ab", "\\frac{a}{b}"),
    ("\\frac12", "\\frac{1}{2}"),
    ("\\dfrac{1}2", "\\frac{1}{2}"),
    ("\\tfrac1{2}", "\\frac{1}{2}"),
    ("\\frac\\pi4", "\\frac{\\pi}{4}"),
    ("\\sqrt a", "\\sqrt{a}"),
    ("\\sqrt2", "\\sqrt{2}"),
    ("\\sqrt[3]{2}", "\\sqrt[3]{2}"),
    ("2\\pi r", "2\\pi r"),
    ("2 \\pi", "2\\pi"),
    ("\\log_2 8", "\\log_{2}8"),
    (b"\\u2212".decode("unicode_escape") + "3", "-3"),
    ("so it is $5$ indeed", "5"),
    ("$5$", "5"),
    (".5", ".5"),
    ("0.\\overline{3}", "0.\\overline{3}"),
    ('"42"', "42"),
    ("", ""),
    ("$", ""),
]


@pytest.mark.parametrize(("answer", "expected"), MINERVA)
def test_the_bare_answer_is_left(answer, expected):
    assert minerva_form(answer) == expected


@pytest.mark.parametrize("answer", [answer for answer, _ in MINERVA if "=" not in answer])
def test_the_bare_answer_is_its_own_bare_answer(answer):
    once = minerva_form(answer)
    assert minerva_form(once) == once


STRINGS = [
    ("50\\%", "50"),
    ("50%", "50"),
    ("0.5", "\\frac{1}{2}"),
    (".5", "\\frac{1}{2}"),
    ("x.5", "x0.5"),
    ("10.5", "10.5"),
    ("3/4", "\\frac{3}{4}"),
    ("-3/4", "\\frac{-3}{4}"),
    ("a/b", "a/b"),
    ("3/4+1", "3/4+1"),
]


@pytest.mark.parametrize(("answer", "expected"), STRINGS)
def test_the_string_form_writes_fractions_one_way(answer, expected):
    assert string_form(answer) == expected
