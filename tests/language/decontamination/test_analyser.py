"""What a token is, and that finding many at once finds the same ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from modelgraft.language.decontamination import analyser
from modelgraft.language.decontamination.analyser import (
    BOUNDARY,
    SEPARATORS,
    analyse,
    hash_tokens,
    tokenise,
)

# Any code point, lone surrogates too, and often what separates or looks as if it did.
LETTERS = st.characters() | st.sampled_from(SEPARATORS + "\t\r\x0b\x0c\x00\x1c\x85\u00a0\u2028aB")
TEXTS = st.lists(st.text(LETTERS, max_size=40), max_size=8)


def as_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def test_the_analyser_lowers_and_cuts_at_the_thirteen_separators() -> None:
    assert len(SEPARATORS) == len(set(SEPARATORS)) == 13
    text = 'He said: "Well-known, isn\'t it?"\nYes (no)! a;b\\c. 1.5'
    assert analyse(text) == "he said well known isn't it yes no a b c 1 5".split()


@pytest.mark.parametrize("text", ["", SEPARATORS, " \n\n "])
def test_a_text_of_separators_has_no_tokens(text: str) -> None:
    assert analyse(text) == []


def test_only_the_separators_separate() -> None:
    others = "\t\r\x0b\x0c\x00\x1c\x85\u00a0\u2028/_'"
    assert analyse(f"a{others}b") == [f"a{others}b"]


@given(TEXTS)
@example(["\ud800", "\x00", "A\x00 B", "\u0130stanbul", "\u039f\u03a3", "\u039f\u03a3.\u03a3"])
def test_tokens_found_at_once_are_those_of_each_text(texts: list[str]) -> None:
    expected: list[bytes] = []
    for place, text in enumerate(texts):
        expected += [BOUNDARY] * (place > 0) + list(map(as_bytes, analyse(text)))
    tokens = tokenise(iter(texts))
    assert tokens.words() == expected
    boundaries = [place for place, word in enumerate(expected) if word == BOUNDARY]
    assert tokens.boundaries().tolist() == boundaries


@given(st.lists(st.text("ab\u00e9 ", max_size=60), min_size=1, max_size=6), st.integers(1, 30))
def test_hashes_are_equal_exactly_where_tokens_are(texts: list[str], size: int) -> None:
    tokens = tokenise(texts)
    hashes = hash_tokens(tokens, 0).tolist()
    assert len(set(zip(tokens.words(), hashes, strict=True))) == len(set(hashes))
    assert len(set(hashes)) == len(set(tokens.words()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(analyser, "_SLICE", size)
        assert hash_tokens(tokens, 0).tolist() == hashes


def test_a_token_longer_than_any_slice_is_hashed_by_its_beginning() -> None:
    tokens = tokenise(["x" * 1_000_000 + " y", "x" * 1_000_001 + " y", "z" + "x" * 999_999])
    hashes = hash_tokens(tokens, 0)[[0, 3, 6]]
    assert hashes[0] == hashes[1] != hashes[2]


def test_another_seed_gives_other_hashes() -> None:
    tokens = tokenise(["one two three"])
    assert not np.any(hash_tokens(tokens, 0) == hash_tokens(tokens, 1))
