"""Two spellings of a short mathematical answer, in which equal answers are often the same string.

`minerva_form` follows the rules that the Minerva paper lists in its appendix (Lewkowycz et al.
2022, arXiv 2206.14858): units, articles and dollar signs go. `string_form` is the comparison form
of the MATH dataset (Hendrycks et al. 2021, arXiv 2103.03874). Where the published lists delete
letters anywhere (ft in \\left, a after \\alpha), ours delete whole words only; 1,2 is not 12; a bar
over repeating decimals is kept.
"""

from __future__ import annotations

import re

_UNITS = (
    "dollars? cents? mph kmph feet foot ft inch(?:es)? yards? miles? meters? metres? cm mm km kg "
    "gm grams? kilograms? pounds? ounces? lbs? degrees? seconds? minutes? hours? days? weeks? "
    "months? years? points? units? digits? integers? ways? students? people edges? meals? tickets? "
    "multiples? square cubic sq"
).split()
_UNIT = re.compile(
    rf"(?<![A-Za-z\\])(?:{'|'.join(_UNITS)})\.?(?![A-Za-z])(?:\s*\^\s*(?:[23]|\{{[23]\}}))?",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"(?<![A-Za-z\\])(?:(?:the|an)\s+(?=\S)|a\s+(?=[A-Za-z]{2}))", re.IGNORECASE)
_WORDS = re.compile(r"\\(?:text|textrm|textbf|textit|mathrm|mathbf|mbox|rm)\s*\{([^{}]*)\}")
# After a number a \text of letters only is a unit, whatever it says.
_UNIT_TEXT = re.compile(
    r"(?<=[0-9}])\s*\\(?:text|textrm|mathrm|mbox)\s*\{[A-Za-z ]+\}(?:\^(?:[23]|\{[23]\}))?\s*$"
)
_DEGREE = re.compile(r"\^\s*(?:\\circ|\{\s*\\circ\s*\})|\\degree|\u00b0")
_SPACING = re.compile(r"\\(?:[,;:! ]|quad\b|qquad\b)|~")
_THOUSANDS = re.compile(r"[-+]?\$?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]*)?")
_LIST = re.compile(r"[,;]|\b(?:and|or)\b")
_EQUALS = re.compile(r"(?<![<>!:=])=(?!=)")
_ONE = r"([0-9A-Za-z]|\\[A-Za-z]+)"


def minerva_form(answer: str) -> str:
    """The bare answer: the right side of the last =, no units, articles, $ or spaces.

    An answer that is nothing but such words (\\text{degrees}) keeps them.
    """
    text = _DEGREE.sub("", _without_markup(_right_side(answer)))
    text = _UNIT_TEXT.sub("", text)
    text = _ARTICLE.sub("", _WORDS.sub(r" \1 ", text))
    bare = _UNIT.sub(" ", text)
    text = bare if bare.strip(" .,") else text
    text = _with_braces(_without_spaces(text)).strip("\"'").rstrip(".,")
    return text.replace(",", "") if _THOUSANDS.fullmatch(text) else text


def string_form(answer: str) -> str:
    """The form in which two answers are compared letter by letter; takes a `minerva_form`.

    Percent signs go, .5 and 0.5 become 1/2, a/b of whole numbers becomes a fraction.
    """
    text = answer.replace("\\%", "").replace("%", "")
    text = re.sub(r"(?<![0-9])\.(?=[0-9])", "0.", text)
    if text == "0.5":
        return r"\frac{1}{2}"
    ratio = re.fullmatch(r"(-?[0-9]+)/([0-9]+)", text)
    return rf"\frac{{{ratio[1]}}}{{{ratio[2]}}}" if ratio else text


def _right_side(text: str) -> str:
    """What stands after the last =, unless it is one of several equations in a list."""
    sides = _EQUALS.split(text)
    is_list = any(_LIST.search(side) for side in sides[1:-1])
    return text if is_list else sides[-1]


def _without_markup(text: str) -> str:
    text = text.replace("\\$", "").replace("\\!", "").replace("{,}", ",").replace("\u2212", "-")
    inside, closing, _ = text.partition("$")[2].partition("$")
    if closing and inside.strip():  # words around one formula: the formula is the answer
        text = inside
    text = text.replace("$", "")
    text = re.sub(r"\\(?:left|right)(?![A-Za-z])", "", text)
    text = re.sub(r"\\[dt]frac(?![A-Za-z])", r"\\frac", text)
    return _SPACING.sub(" ", text)


def _without_spaces(text: str) -> str:
    """No spaces but those that end a command (\\pi r is not \\pir); x_2 8 becomes x_{2}8."""
    text = re.sub(r"([_^])([0-9A-Za-z])(?=\s)", r"\1{\2}", text)
    text = re.sub(r"(\\[A-Za-z]+)\s+(?=[A-Za-z])", "\\1\0", text)
    return re.sub(r"\s+", "", text).replace("\0", " ")


def _with_braces(text: str) -> str:
    r"""\frac12, \frac ab, \frac{a}b and \sqrt2 with their braces written out."""
    gap = r"\s*"
    text = re.sub(rf"\\frac{gap}{_ONE}{gap}{_ONE}", r"\\frac{\1}{\2}", text)
    text = re.sub(rf"\\frac{gap}{_ONE}{gap}(?=\{{)", r"\\frac{\1}", text)
    text = re.sub(rf"(\\frac\{{[^{{}}]*\}}){gap}{_ONE}", r"\1{\2}", text)
    return re.sub(rf"\\sqrt{gap}{_ONE}", r"\\sqrt{\1}", text)
