"""The index of the tests: names, short tests, colliding hashes, shared preambles."""

from __future__ import annotations

import numpy as np
import pytest

from modelgraft.core.errors import InputError
from modelgraft.language.decontamination import index as module
from modelgraft.language.decontamination.analyser import Hashes, Tokens, hash_tokens, tokenise
from modelgraft.language.decontamination.index import (
    EvalIndex,
    Evaluation,
    Instance,
    distinct,
    rolling_hash,
    spread,
)
from modelgraft.language.decontamination.matching import scan


def numbered(start: int, size: int) -> str:
    return " ".join(f"w{number}" for number in range(start, start + size))


def test_the_rolling_hash_tells_every_window_and_its_order() -> None:
    hashes = hash_tokens(tokenise(["a b c a b c b a"]), 0)
    first, second, third, again, *_, last = rolling_hash(hashes, 2).tolist()
    assert first == again and len({first, second, third, last}) == 4
    assert rolling_hash(hashes, 9).size == 0


def test_an_index_finds_its_own_ngrams_and_nothing_else() -> None:
    index = EvalIndex.build([Evaluation.of("e", {"a": numbered(0, 20), "b": numbered(10, 20)})])
    assert index.hashes.size == 23
    begins, grams = index.find(tokenise(["x " + numbered(5, 9) + " y " + numbered(0, 7)]))
    assert begins.tolist() == [1, 2]
    assert [index.tokens[place] for place in index.places[grams]] == [5, 6]


def test_windows_do_not_cross_fields_tests_or_documents() -> None:
    test = Instance("a", (numbered(0, 10), numbered(10, 10)))
    index = EvalIndex.build([Evaluation("e", (test,))])
    assert index.hashes.size == 6
    assert index.find(tokenise([numbered(6, 8)]))[0].size == 0
    assert index.find(tokenise([numbered(0, 5), numbered(5, 5)]))[0].size == 0


@pytest.mark.parametrize("num_tests", [0, 1])
def test_an_index_without_ngrams_finds_nothing(num_tests: int) -> None:
    tests = {str(number): "" for number in range(num_tests)}
    index = EvalIndex.build([Evaluation.of("e", tests)])
    assert scan(index, [("r", numbered(0, 30)), ("s", "")]).rows == {}
    assert scan(EvalIndex.build([]), [("r", numbered(0, 30))]).documents == 1


def test_names_that_come_twice_are_refused() -> None:
    one = Evaluation("e", (Instance("a", ("x",)), Instance("a", ("y",))))
    with pytest.raises(InputError, match="evaluation e, test a: this name comes twice"):
        EvalIndex.build([one])
    with pytest.raises(InputError, match="evaluation e: this name comes twice"):
        EvalIndex.build([Evaluation.of("e", {"a": "x"}), Evaluation.of("e", {"b": "x"})])
    EvalIndex.build([Evaluation.of("e", {"a": "x"}), Evaluation.of("f", {"a": "x"})])


def test_tests_whose_ngrams_share_a_hash_are_hashed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def constant(tokens: Tokens, seed: int) -> Hashes:
        return hash_tokens(tokens, seed) * np.uint64(seed > 1)

    monkeypatch.setattr(module, "hash_tokens", constant)
    index = EvalIndex.build([Evaluation.of("e", {"a": numbered(0, 20)})])
    assert index.seed == 2
    assert list(scan(index, [("r", numbered(0, 20))]).rows) == ["r"]


def test_a_hash_shared_with_a_train_ngram_is_seen_through(monkeypatch: pytest.MonkeyPatch) -> None:
    def of_first_letter(tokens: Tokens, seed: int) -> Hashes:
        letters = np.frombuffer(tokens.data, np.uint8)[tokens.starts]
        return letters.astype(np.uint64) << np.uint64(seed + 20)

    monkeypatch.setattr(module, "hash_tokens", of_first_letter)
    index = EvalIndex.build([Evaluation.of("e", {"a": "ab bc cd de ef fg gh hi"})])
    assert list(scan(index, [("r", "ax bc cd de ef fg gh hi")]).rows) == []
    assert list(scan(index, [("r", "ab bc cd de ef fg gh hi")]).rows) == ["r"]


def test_a_preamble_of_many_tests_is_not_looked_up_unless_it_is_most_of_them() -> None:
    def postings(preamble: int) -> int:
        """Tests that have to be looked at for a document that holds the preamble only."""
        tests = {
            str(number): numbered(0, preamble) + " " + numbered(1000 * (number + 1), 30)
            for number in range(50)
        }
        index = EvalIndex.build([Evaluation.of("e", tests)])
        _, grams = index.find(tokenise([numbered(0, preamble)]))
        assert grams.size == preamble - 7
        return int((index.posting_starts[grams + 1] - index.posting_starts[grams]).sum())

    assert postings(25) == 0
    assert postings(31) >= 50


def test_spread_and_distinct_do_what_they_say() -> None:
    assert spread(np.array([5, 0, 7]), np.array([2, 0, 3])).tolist() == [5, 6, 7, 8, 9]
    assert spread(np.array([], np.int64), np.array([], np.int64)).size == 0
    assert distinct(np.array([[3, 1], [3, 2]])).tolist() == [1, 2, 3]
    assert distinct(np.array([], np.int64)).size == 0
