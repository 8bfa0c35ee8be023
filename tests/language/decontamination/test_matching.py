"""The rule of section 3.1 on worked examples, against its plain version, and on hostile texts."""

from __future__ import annotations

import random
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.language.decontamination import matching
from modelgraft.language.decontamination.baselines import dict_coverage
from modelgraft.language.decontamination.index import EvalIndex, Evaluation, Instance
from modelgraft.language.decontamination.matching import Document, scan, user_turns
from modelgraft.language.decontamination.overlaps import Overlap, Scan

LETTERS = string.ascii_lowercase


def words(first: int, last: int) -> str:
    """The letters from one place up to another as tokens."""
    return " ".join(LETTERS[first:last])


def scan_texts(test: str | tuple[str, ...], *texts: str) -> Scan:
    fields = (test,) if isinstance(test, str) else test
    index = EvalIndex.build([Evaluation("e", (Instance("t", fields),))])
    return scan(index, [(f"r{number}", text) for number, text in enumerate(texts)])


# -- The rule --------------------------------------------------------------------------------------


def test_nine_of_sixteen_tokens_overlap_with_a_score_of_0_5625() -> None:
    found = scan_texts(words(0, 16), f"tell me {words(2, 11)} please")
    assert found.rows == {"r0": Overlap("r0", "e", "t", 0.5625)}
    assert found.tests == {("e", "t"): Overlap("r0", "e", "t", 0.5625)}


def test_exactly_half_is_no_overlap() -> None:
    assert scan_texts(words(0, 16), f"tell me {words(2, 10)} please").rows == {}


def test_seven_tokens_in_a_row_match_nothing() -> None:
    assert scan_texts(words(0, 9), f"{words(0, 7)} x {words(2, 9)}").rows == {}


def test_documents_are_never_pooled() -> None:
    halves = words(0, 8), words(8, 16), words(4, 12)
    assert scan_texts(words(0, 16), *halves).rows == {}
    index = EvalIndex.build([Evaluation.of("e", {"t": words(0, 16)})])
    assert scan(index, [("same row", text) for text in halves]).rows == {}
    assert list(scan(index, [("r", " x ".join(halves[:2]))]).rows) == ["r"]


def test_case_punctuation_and_line_ends_do_not_hide_a_copy() -> None:
    text = 'A, b? "C" (d) - E:\nf; G! h\\i. j'
    assert scan_texts(words(0, 10), text).rows["r0"].score == 1


def test_a_repeated_window_covers_every_place_it_has_in_the_test() -> None:
    test = f"{words(0, 8)} x {words(0, 8)}"
    assert scan_texts(test, words(0, 8)).rows["r0"].score == pytest.approx(16 / 17)


def test_the_score_is_averaged_over_the_fields() -> None:
    passage, question = words(0, 16), words(10, 26)
    assert scan_texts((passage, question), passage[:-2]).rows == {}
    found = scan_texts((passage, question), f"{passage} . {words(18, 26)}")
    assert found.rows["r0"].score == 0.75
    assert scan_texts((passage, ""), passage).rows["r0"].score == 1


def test_a_mean_of_exactly_half_is_no_overlap_even_where_floats_say_more() -> None:
    fields = tuple(" ".join(f"{name}{i}" for i in range(24)) for name in "xyz")
    parts = [" ".join(fields[i].split()[: 10 + 2 * i]) for i in range(3)]
    assert (10 / 24 + (12 / 24 + 14 / 24)) / 3 > 0.5
    assert scan_texts(fields, " / ".join(parts)).rows == {}
    parts[0] += " x10"
    assert scan_texts(fields, " / ".join(parts)).rows["r0"].score == 37 / 72


def test_a_row_keeps_its_worst_turn_and_test_and_a_test_its_worst_row() -> None:
    tests = {"a": words(0, 16), "b": words(8, 26)}
    index = EvalIndex.build([Evaluation.of("e", tests)])
    documents = [("r", words(0, 10)), ("r", words(6, 26)), ("s", words(0, 16)), ("q", words(0, 16))]
    found = scan(index, documents)
    assert found.rows == {
        "q": Overlap("q", "e", "a", 1),
        "r": Overlap("r", "e", "b", 1),
        "s": Overlap("s", "e", "a", 1),
    }
    assert found.tests[("e", "a")].row_id == "q"
    assert (found.documents, found.tokens) == (4, 10 + 20 + 16 + 16)


# -- Short tests -----------------------------------------------------------------------------------


def test_a_short_test_overlaps_only_a_document_of_the_same_tokens() -> None:
    found = scan_texts("What is it?", "what  IS it", "what is it worth", "is it")
    assert found.rows == {"r0": Overlap("r0", "e", "t", 1, "exact")}


def test_short_tests_can_be_let_pass() -> None:
    index = EvalIndex.build([Evaluation.of("e", {"t": "what is it"})], short="never")
    assert scan(index, [("r", "what is it")]).rows == {}


def test_eight_tokens_are_not_short() -> None:
    assert scan_texts(words(0, 8), f"x {words(0, 8)} y").rows["r0"].rule == "n-gram"


def test_fields_too_short_to_reach_more_than_half_are_compared_as_one_text() -> None:
    test = (words(0, 16), "what is it")
    found = scan_texts(test, f"{test[0]}\n{test[1]}?", f"{test[0]} {test[1]} then")
    assert found.rows == {"r0": Overlap("r0", "e", "t", 1, "exact")}


def test_an_empty_test_overlaps_nothing_not_even_an_empty_document() -> None:
    assert scan_texts("...", "", "...", words(0, 16)).rows == {}
    assert scan_texts((), "", words(0, 16)).rows == {}


def test_an_unknown_word_does_not_make_a_document_equal_to_a_short_test() -> None:
    assert scan_texts("a b", "a unknown", "unknown unknown").rows == {}


# -- Against the plain version ---------------------------------------------------------------------


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Evaluation], list[Document], int]:
    """Tests over few words, so that windows repeat, and documents made of pieces of them."""
    n = draw(st.sampled_from([2, 3, 8]))
    size = draw(st.sampled_from([2, 4, 30]))
    rng = random.Random(draw(st.integers(0, 2**32)))

    def text(longest: int) -> list[str]:
        return [f"W{rng.randrange(size)}" for _ in range(rng.randrange(longest))]

    preamble = text(20)

    def field() -> str:
        return " ".join(preamble * (rng.random() < 0.4) + text(rng.choice([6, 30])))

    tests = [
        [tuple(field() for _ in range(rng.choice([1, 1, 2, 3]))) for _ in range(rng.randrange(8))]
        for _ in range(rng.randint(1, 3))
    ]
    evaluations = [
        Evaluation(f"e{place}", tuple(Instance(str(i), one) for i, one in enumerate(group)))
        for place, group in enumerate(tests)
    ]
    pool = [one.split() for group in tests for fields in group for one in fields] or [[]]
    documents = []
    for _ in range(rng.randrange(30)):
        pieces = text(30) * (rng.random() < 0.5)
        for _ in range(rng.randrange(3)):
            whole = rng.choice(pool)
            first = rng.randint(0, len(whole)) * (rng.random() < 0.7)
            pieces += whole[first : first + rng.choice([n, 2 * n, 40])]
        documents.append((f"r{rng.randrange(20)}", ", ".join(pieces)))
    return evaluations, documents, n


@settings(max_examples=60, deadline=None)
@given(worlds(), st.sampled_from([1, 100, 1 << 18]), st.sampled_from([1, 50, 1 << 20]))
def test_the_index_finds_what_the_plain_version_finds(
    world: tuple[list[Evaluation], list[Document], int], characters: int, at_once: int
) -> None:
    evaluations, documents, n = world
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(matching, "_BATCH_CHARACTERS", characters)
        patch.setattr(matching, "_TOKENS_AT_ONCE", at_once)
        found = scan(EvalIndex.build(evaluations, n=n), documents)
    assert found == dict_coverage(evaluations, documents, n=n)


@settings(max_examples=20, deadline=None)
@given(worlds(), st.randoms())
def test_the_order_of_the_documents_does_not_matter(
    world: tuple[list[Evaluation], list[Document], int], rng: random.Random
) -> None:
    evaluations, documents, n = world
    index = EvalIndex.build(evaluations, n=n)
    found = scan(index, documents)
    rng.shuffle(documents)
    assert scan(index, documents) == found


ANY = st.text(st.characters() | st.sampled_from("aB .,\x00\ud800\t\r\n"), max_size=60)


@settings(max_examples=60, deadline=None)
@given(st.lists(ANY, max_size=6), st.lists(ANY, max_size=6))
def test_any_characters_are_compared_like_any_others(tests: list[str], texts: list[str]) -> None:
    evaluation = Evaluation.of("e", {str(number): text for number, text in enumerate(tests)})
    documents = [(f"r{number}", text) for number, text in enumerate(texts + tests)]
    found = scan(EvalIndex.build([evaluation], n=2), documents)
    assert found == dict_coverage([evaluation], documents, n=2)


# -- Size and strangeness --------------------------------------------------------------------------


def test_ten_thousand_copies_are_all_found() -> None:
    rows = [(str(number), f"{words(0, 20)}.") for number in range(10_000)]
    index = EvalIndex.build([Evaluation.of("e", {"t": words(0, 20), "s": "too short"})])
    found = scan(index, [*rows, *((f"short {row_id}", "Too short!") for row_id, _ in rows)])
    assert len(found.rows) == 20_000
    assert {one.score for one in found.rows.values()} == {1.0}


def test_ten_thousand_copies_of_ten_thousand_equal_tests_are_found_without_looking_at_all_pairs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = []
    cover = matching._cover
    monkeypatch.setattr(matching, "_cover", lambda *a: looked_at.append(a[3].size) or cover(*a))
    tests = {str(number): words(0, 20) for number in range(10_000)}
    found = scan(
        EvalIndex.build([Evaluation.of("e", tests)]),
        ((str(number), words(0, 20)) for number in range(10_000)),
    )
    assert len(found.rows) == len(found.tests) == 10_000
    assert sum(looked_at) <= 10 * 10_000


def test_copies_that_differ_in_what_no_test_says_are_looked_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked_at = []
    cover = matching._cover
    monkeypatch.setattr(matching, "_cover", lambda *a: looked_at.append(a[3].size) or cover(*a))
    found = scan_texts(words(0, 20), *(f"{words(0, 20)} {number}" for number in range(2_000)))
    assert len(found.rows) == 2_000
    assert sum(looked_at) == 1


def test_a_document_of_ten_megabytes_is_one_document() -> None:
    filler = " ".join(f"w{number}" for number in range(1_000))
    long = f"{filler} " * 2_000
    assert len(long) > 9_500_000
    texts = [f"{words(0, 8)} {long} {words(8, 16)}", f"{long} {words(0, 16)}", "x" * 10_000_000]
    found = scan_texts(words(0, 16), *texts)
    assert found.rows == {
        "r0": Overlap("r0", "e", "t", 1),
        "r1": Overlap("r1", "e", "t", 1),
    }


@pytest.mark.parametrize(
    "test",
    [
        "Was hei\u00dft \u201eStra\u00dfe\u201c auf T\u00fcrkisch \u2014 und wie schreibt man es?",
        "\u4ec0 \u4e48 \u662f \u4eba \u5de5 \u667a \u80fd \u5462",
        "a\x00b c d e\x00 f g h i j",
        "\ud800 b c \udfff d e f g h",
        "a\tb c d e\r f g h i j",
    ],
)
def test_a_copy_is_found_in_any_script_with_nul_and_with_lone_surrogates(test: str) -> None:
    found = scan_texts(test, f"before {test.title()} after", "\x00", "\udfff \ud800")
    assert list(found.rows) == ["r0"]
    assert found.rows["r0"].score == 1


def test_no_documents_give_an_empty_scan() -> None:
    assert scan(EvalIndex.build([Evaluation.of("e", {"t": words(0, 9)})]), []) == Scan()


# -- Chats -----------------------------------------------------------------------------------------


def test_the_documents_of_a_chat_are_its_user_turns() -> None:
    chat = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": None},
        {"role": "user", "content": "two"},
    ]
    assert list(user_turns("r7", chat)) == [("r7", "one"), ("r7", "two")]


@pytest.mark.parametrize(
    ("message", "fault"),
    [
        ({"role": "human", "content": "x"}, "row r7, message 0: the role is 'human'"),
        ({"from": "human", "value": "x"}, "row r7, message 0: the role is None"),
        ({"role": "user", "content": None}, "row r7, message 0: the content is of type NoneType"),
        ({"role": "user", "content": [{}]}, "row r7, message 0: the content is of type list"),
    ],
)
def test_a_turn_that_cannot_be_searched_is_named(message: dict[str, Any], fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        list(user_turns("r7", [message]))
