"""What a text says of the two slots, said with the slots exchanged."""

from __future__ import annotations

import re

_NOUNS = "answer|assistant|response|output|candidate|completion|model|option|summary|text"
_PAIRS = (("A", "B"), ("a", "b"), ("1", "2"), ("first", "second"), ("First", "Second"))
_OTHER = {**dict(_PAIRS), **{second: first for first, second in _PAIRS}}
_NAME = "[AB]|[ab]|[12]"
_REFERENCES = re.compile(
    rf"""
    (?P<lead>\b(?i:{_NOUNS})\s+\(?) (?P<behind>{_NAME}) (?![\w'])       # Answer A, Output (b)
    | (?P<open>\[\[|\[) (?P<bracketed>[AB]|[12]) (?=\]|(?:>>|>|=|<|<<)[AB12]\])   # [[A]], [A>B]
    | (?P<graded>(?<=[>=<])) (?P<last>[AB]|[12]) (?=\])                  # the B of [A>B]
    | (?P<ordinal>\b[Ff]irst|\b[Ss]econd) (?=\s+(?i:{_NOUNS})\b)         # the first answer
    """,
    re.VERBOSE,
)


def exchange_slots(text: str) -> str:
    """The text with its references to the two slots exchanged; all else stays as it is.

    References are a noun with a name (`Answer A`, `response 2`, `Output (b)`), an ordinal before a
    noun (`the first answer`) and a verdict in brackets (`[[A]]`, `[[A>>B]]`). Doing it twice gives
    the text back.
    """
    return _REFERENCES.sub(_exchanged, text)


def _exchanged(match: re.Match[str]) -> str:
    groups = match.groupdict(default="")
    name = groups["behind"] or groups["bracketed"] or groups["last"] or groups["ordinal"]
    return groups["lead"] + groups["open"] + _OTHER[name]
