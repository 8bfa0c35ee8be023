"""Parts that join to the text, code that stays whole, and slots exchanged by name alone."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.methods.judge.method.alignment import sentence_cuts, split_alike, split_evenly
from modelgraft.methods.judge.method.slots import exchange_slots

PIECES = ["One. ", "Two two! ", "Line\n", "```\ncode. more.\n```\n", "x", "~~~\n", " ", "\u00e9?) "]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=12).map("".join)


@given(TEXTS, TEXTS, st.integers(1, 4))
def test_parts_join_to_the_very_text(a, b, k):
    """Acceptance 8."""
    even = split_evenly(a, k)
    assert len(even) == k and "".join(even) == a
    parts_a, parts_b = split_alike(a, b, k)
    assert len(parts_a) == len(parts_b) == k
    assert "".join(parts_a) == a and "".join(parts_b) == b


def test_one_part_is_the_text():
    """Acceptance 8: k = 1 is the plain pair prompt."""
    assert split_evenly("One. Two.", 1) == ["One. Two."]
    assert split_alike("One. Two.", "Three.", 1) == (["One. Two."], ["Three."])


def test_code_is_never_cut():
    """Acceptance 8."""
    block = "```python\na = 1. \nb = 2\n\nc = 3\n```\n"
    text = f"Before it.\n{block}After it. "
    start = text.index(block)
    assert not [cut for cut in sentence_cuts(text) if start < cut < start + len(block)]
    assert any(block in part for part in split_evenly(text, 3))
    unclosed = "Before.\n```\na. \nb. "
    assert all(cut <= unclosed.index("```") for cut in sentence_cuts(unclosed))


def test_parts_are_nearly_equal():
    parts = split_evenly("A sentence here. " * 30, 3)
    assert max(map(len, parts)) - min(map(len, parts)) <= 17


def test_parts_on_the_same_thing_stand_side_by_side():
    a = "Cats sleep a lot. Cats purr softly. Dogs bark. Birds sing in the morning."
    b = "Cats purr. Dogs bark at night. Dogs run and run. Birds sing."
    parts_a, parts_b = split_alike(a, b, 3)
    for word, part_a, part_b in zip(("Cats", "Dogs", "Birds"), parts_a, parts_b, strict=True):
        assert word in part_a and word in part_b


def test_the_cuts_are_the_best_of_all():
    a, b = "p q. q r. s t. u v. ", "q. r s t. u. v. p. "
    parts = split_alike(a, b, 3)

    def likeness(one, other):
        words = [text.replace(".", "").split() for text in (one, other)]
        total = sum(map(len, words))
        common = sum(min(words[0].count(w), words[1].count(w)) for w in set(words[0]))
        return 2 * common / total if total else 0.0

    def value(one, other):
        return sum(itertools.starmap(likeness, zip(one, other, strict=True)))

    def splits(text):
        cuts = [0, *sentence_cuts(text), len(text)]
        for first, second in itertools.combinations_with_replacement(cuts, 2):
            yield [text[:first], text[first:second], text[second:]]

    best = max(value(one, other) for one in splits(a) for other in splits(b))
    assert value(*parts) == pytest.approx(best)


# -- slots -----------------------------------------------------------------------------------------

REFERENCES = {
    "Answer A is right, Answer B is not.": "Answer B is right, Answer A is not.",
    "[[A]]": "[[B]]",
    "[[A>>B]] and [B=A]": "[[B>>A]] and [A=B]",
    "Output (a) beats output (b)": "Output (b) beats output (a)",
    "The first answer, not the second response.": "The second answer, not the first response.",
    "Response 1 wins; assistant 2 loses": "Response 2 wins; assistant 1 loses",
    "A good answer and a bad one": "A good answer and a bad one",
    "Answer A's tone": "Answer A's tone",
    "first of all, Model Bravo": "first of all, Model Bravo",
    "answer 12 and B12": "answer 12 and B12",
}


@pytest.mark.parametrize(("text", "expected"), REFERENCES.items())
def test_references_are_exchanged_and_nothing_else(text, expected):
    """Acceptance 7."""
    assert exchange_slots(text) == expected


WORDS = st.lists(
    st.sampled_from([*REFERENCES, "Answer", "A", "B", "[[", "]]", ">>", "first", "text", "(a)"]),
    max_size=8,
)


@given(WORDS.map(" ".join) | st.text(alphabet="ABab12[]>=() answer"))
def test_exchanging_twice_gives_the_text_back(text):
    """Acceptance 7."""
    assert exchange_slots(exchange_slots(text)) == text
