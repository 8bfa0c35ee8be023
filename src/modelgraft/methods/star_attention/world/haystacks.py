"""Text that hides the facts: a repeated filler, or an essay.

The essay is the prose of the language reference that comes with Python, unless the user brings a
text. The reference grows with each Python version, so essay samples have the same bytes only
under the same version; pass a text of your own where that matters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import cycle

from modelgraft.core.errors import InputError

REPEAT = (
    "The grass grows soft and green. The sky stretches wide and blue. The sun shines warm and "
    "yellow. Clouds drift by without a sound. Another quiet day goes on."
)

_MARKUP = str.maketrans({"*": None, "`": None, '"': None, "\u2018": "'", "\u2019": "'"})
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"'(])")
_QUOTES = re.compile("[\u201c\u201d]")


@lru_cache(maxsize=1)
def reference_prose() -> str:
    """The paragraphs of Python's language reference that read as prose, each once."""
    from pydoc_data.topics import topics

    paragraphs: dict[str, None] = {}
    for name in sorted(topics):
        for raw in re.split(r"\n[ \t]*\n", topics[name]):
            paragraph = _as_prose(raw)
            if paragraph:
                paragraphs[paragraph] = None
    return "\n".join(paragraphs)


def _as_prose(raw: str) -> str:
    """The paragraph on one line without markup, or nothing when it is code, grammar or a title."""
    text = re.sub(r"^\s*(\* |\d+\. |- )", "", raw)
    text = re.sub(r"(?<=\w)-\s*\n\s*", "-", text)
    text = _QUOTES.sub("", " ".join(text.split()).translate(_MARKUP))
    is_sentence = bool(text) and text[0].isupper() and text.endswith(".")
    if not is_sentence or len(text.split()) < 8 or not text.isascii():
        return ""
    if text.startswith(("Changed in version", "Added in version", "New in version", "Deprecated")):
        return ""
    letters = sum(char.isalpha() or char.isspace() for char in text)
    return text if letters >= 0.92 * len(text) and "::=" not in text else ""


def split_sentences(text: str) -> tuple[str, ...]:
    """The sentences of a text in order, white space folded."""
    flat = " ".join(text.split())
    return tuple(part for part in _SENTENCE_END.split(flat) if part)


@lru_cache(maxsize=2)
def essay(text: str | None = None) -> tuple[str, ...]:
    """The sentences of the user's text, or of `reference_prose`."""
    return split_sentences(reference_prose() if text is None else text)


def essay_sentences(num_words: int, text: str | None = None) -> list[str]:
    """The first `num_words` words of the essay as sentences; a short essay starts over.

    `text` is the user's own essay; None takes `reference_prose`.
    """
    return take_words(essay(text), num_words)


def take_words(sentences: Sequence[str], num_words: int) -> list[str]:
    """The first `num_words` words of these sentences, again from the start when they run out."""
    if not sentences:
        raise InputError("The essay text is empty; give a text file with some prose in it.")
    taken: list[str] = []
    left = num_words
    for sentence in cycle(sentences):
        if left <= 0:
            break
        words = sentence.split()
        taken.append(sentence if len(words) <= left else " ".join(words[:left]))
        left -= len(words)
    return taken


def insert_at(units: list[str], facts: Sequence[str], spots: Sequence[int]) -> list[str]:
    """The units with every fact before the unit of its spot; facts of one spot keep their order."""
    placed = list(units)
    in_order = sorted(range(len(facts)), key=lambda number: spots[number])
    for number in reversed(in_order):
        placed.insert(spots[number], facts[number])
    return placed
