"""Short answers: the last number of a worked solution, the letter of a multiple choice."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

from modelgraft.language.verify.verdict import Verdict

# The sign belongs to the number only where no operand stands before it: 10-5 ends in 5, not in -5.
_NUMBER = re.compile(r"((?<![\w.)\]])[-+])?\$?([0-9]+(?:\.[0-9]+)?|\.[0-9]+)")
_GROUP_COMMA = re.compile(r"(?<=[0-9]),(?=[0-9])")
_MINUS = str.maketrans({"\u2212": "-"})
# What may stand between "the answer is" and the letter: (B), **B**, "$B", option B.
_BEFORE_LETTER = r"[\s:*_$(\[{\"']{0,12}(?:(?:option|choice)[\s*_$(\[{\"']{1,12})?"
_SENTENCE = "Therefore, the answer is: X"


def last_number(text: str) -> str | None:
    """The last number as written, without commas between digits and without a plus; None if none.

    A dollar sign between sign and digits is skipped, a typographic minus counts as one.
    """
    plain = _GROUP_COMMA.sub("", text.translate(_MINUS))
    found = _NUMBER.findall(plain)
    return found[-1][0].removeprefix("+") + found[-1][1] if found else None


def gsm8k(response: str, truth: str, *, numeric: bool = False) -> Verdict:
    """Whether the last number is the label's, as text; as a value with `numeric` (5 = 5.00)."""
    found = last_number(response)
    if found is None:
        return Verdict.of(False, "no number in the response")
    expected = _label(truth)
    same = Decimal(found) == Decimal(expected) if numeric else found == expected
    return Verdict.of(same, f"{found[:80]} {'is' if same else 'is not'} {expected[:80]}")


def gsm8k_faults(truth: Any, *, numeric: bool = False) -> list[str]:
    """Why this label cannot be compared with a number; empty if it can."""
    if not isinstance(truth, str):
        return [f"the label is {truth!r:.60}; write the number as text"]
    if not re.fullmatch(r"-?(?:[0-9]+(?:\.[0-9]+)?|\.[0-9]+)", _label(truth)):
        return [f"the label {truth!r:.60} is not one plain number"]
    return []


def _label(truth: str) -> str:
    return _GROUP_COMMA.sub("", truth.strip().translate(_MINUS)).removeprefix("+")


def find_letter(text: str, *, letters: str = "ABCD", sentence: str = _SENTENCE) -> str | None:
    """The chosen letter, or None: the first of four rules that finds one decides.

    In order: the last match of the requested `sentence` (X is the letter), the last "answer is" or
    "answer:", the last letter in parentheses, the last capital that stands alone. Capitals only,
    so "the answer is a matter of taste" names no letter; every rule but the last two ignores the
    case of its words.
    """
    letter = f"([{letters}])(?![\\w'\u2019])"
    opening = sentence.removesuffix("X").rstrip(" :")
    asked = r"\s+".join(re.escape(word) for word in opening.split())
    rules = (
        f"(?i:{asked}{_BEFORE_LETTER}){letter}",
        f"(?i:answer(?:\\s+is|\\s*:){_BEFORE_LETTER}){letter}",
        f"\\(([{letters}])\\)",
        f"(?<!\\w){letter}",
    )
    for rule in rules:
        found = re.findall(rule, text)
        if found:
            return found[-1]
    return None


def mcq(response: str, truth: str, *, letters: str = "ABCD", sentence: str = _SENTENCE) -> Verdict:
    """Whether the letter that `find_letter` reads is the right one."""
    found = find_letter(response, letters=letters, sentence=sentence)
    if found is None:
        return Verdict.of(False, f"no letter of {letters} in the response")
    return Verdict.of(found == truth, f"{found}, the answer is {truth}")


def mcq_faults(truth: Any, *, letters: str = "ABCD", sentence: str = _SENTENCE) -> list[str]:
    """Why this letter or these options cannot be used; empty if they can."""
    found = []
    if not re.fullmatch("[A-Z]+", letters):
        found.append(f"letters must be capitals such as ABCD, not {letters!r}")
    elif not (isinstance(truth, str) and len(truth) == 1 and truth in letters):
        found.append(f"the answer is {truth!r:.60}; it must be one of the letters {letters}")
    if len(sentence) < 2 or not sentence.endswith("X"):
        found.append(f"sentence must end with X, where the letter stands, not {sentence!r}")
    return found
