"""How many sentences a text has, by its punctuation.

A sentence ends at . ! ? or their CJK and Devanagari forms, with what closes quotes and brackets
behind them. No sentence ends after a title or an abbreviation that needs a continuation (Dr.,
e.g.), after an initial, after the number that opens a list item, or inside 3.14; after other
abbreviations (etc., U.S., p.m.) it ends when a capital follows. A line break ends none, so a
heading belongs to the next sentence; text after the last stop counts as one. On lists and tables
a trained splitter may count one or two more or fewer.
"""

from __future__ import annotations

import re

# Possessive, and only from the start of a run of stops: a million dots take one pass.
_STOP = re.compile(
    r"(?<![.!?\u2026])[.!?\u2026]++[\"')\]*_\u201d\u2019\u00bb]*+(?=\s|$)"
    r"|[\u3002\uff01\uff1f\u0964]++[\u300d\u300f\u201d]*+"
)
_BINDING = frozenset(
    "mr mrs ms dr prof st sr jr gen col capt lt sgt rev hon gov pres mt messrs mme "
    "vs cf no nos fig figs eq eqs vol pp ch sec ed eds e.g i.e approx ca viz".split()
)
_OPEN = frozenset(
    "etc inc ltd co corp dept est al a.m p.m u.s u.k u.n e.u d.c ph.d b.a m.a".split()
)
_LAST_WORD = re.compile(r"[\w.]+$")


def count_sentences(text: str) -> int:
    """The number of sentences; a text without a letter or digit has none."""
    count = start = 0
    for stop in _STOP.finditer(text):
        if _ends_sentence(text, stop):
            count += _says_something(text[start : stop.end()])
            start = stop.end()
    return count + _says_something(text[start:])


def _ends_sentence(text: str, stop: re.Match[str]) -> bool:
    if stop[0][0] != "." or stop[0].startswith(".."):
        return True
    before = text[max(0, stop.start() - 40) : stop.start()]
    found = _LAST_WORD.search(before)
    if found is None:
        return True
    word, head = found[0].lower(), before[: found.start()]
    if word in _BINDING:
        return False
    if word.isdigit() and not head.rpartition("\n")[2].strip():
        return False
    if len(word) == 1 and word.isalpha() and word != "i":
        # An initial opens a sentence or follows a name: George W. Bush, but not "is B."
        previous = (head.split() or ["."])[-1]
        return not (previous[0].isupper() or previous[-1] in ".!?")
    following = text[stop.end() : stop.end() + 40].lstrip(" \t\n\"'(*_\u201c\u2018")
    return not (word in _OPEN and following[:1].islower())


def _says_something(text: str) -> bool:
    return any(letter.isalnum() for letter in text)
