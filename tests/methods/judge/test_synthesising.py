"""Pairs by construction: worse by what was done, balanced, the same for the same seed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.core.results import Result
from modelgraft.core.runs import open_run
from modelgraft.language.endpoints.exchange import Reply, Request
from modelgraft.language.endpoints.scripted import ScriptedServer
from modelgraft.methods.judge.config import CompareConfig, SynthesiseConfig, Way
from modelgraft.methods.judge.data import Item, read_items
from modelgraft.methods.judge.synthesis.balance import balanced, contrasted, lead_of
from modelgraft.methods.judge.synthesis.corpus import Answered, Corpus
from modelgraft.methods.judge.synthesis.synthesising import synthesise
from modelgraft.methods.judge.synthesis.ways import WAYS, Made

ROWS = [
    ("Who wrote Hamlet?", "The play was written by William Shakespeare. It is from about 1600."),
    ("Who wrote Faust?", "The play was written by Johann Goethe. Its first part is from 1808."),
    ("How high is Mount Elbert?", "It rises to 4,401.2 metres, says the survey of Colorado."),
    ("Say no.", "No."),
    ("When does the train leave for Oslo?", "There is one at 9 in the morning from Bergen."),
]


def corpus(rows: list[tuple[str, str]] = ROWS) -> Corpus:
    return Corpus([Answered(str(n), *row) for n, row in enumerate(rows)])


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run_synthesise(folder: Path, **fields: Any) -> tuple[Result, list[Item]]:
    with open_run(folder, seed=fields.pop("seed", 0)) as run:
        result = run.finish(synthesise(SynthesiseConfig(**fields), run))
    path = folder / "artefacts" / "items.jsonl"
    return result, read_items(path, reject=None, at_least=2)


def number(result: Result, name: str) -> Any:
    return next(one for one in result.numbers if one.name == name)


def side(item: Item, name: str) -> str:
    return next(one.text for one in item.candidates if one.id == name)


# -- ways ------------------------------------------------------------------------------------------


def test_the_option_offers_every_way():
    assert get_args(Way) == tuple(WAYS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("place", range(len(ROWS)))
def test_a_way_gives_two_different_answers_or_none(way: str, place: int):
    for seed in range(20):
        made = WAYS[way](corpus(), place, Random(seed))
        assert made is None or made.good != made.bad
        assert made is None or made == WAYS[way](corpus(), place, Random(seed))


def test_a_wrong_number_is_one_that_stands_nowhere_and_keeps_its_form():
    seen = set()
    for seed in range(40):
        made = WAYS["wrong_number"](corpus(), 2, Random(seed))
        assert made is not None and made.good == ROWS[2][1]
        head, tail = ROWS[2][1].split("4,401.2")
        assert made.bad.startswith(head) and made.bad.endswith(tail)
        seen.add(made.bad[len(head) : -len(tail)])
    assert "4,401.2" not in seen and len(seen) > 3
    assert all(one[1] == "," and one[-2] == "." for one in seen)
    assert WAYS["wrong_number"](corpus(), 3, Random(0)) is None


def test_a_wrong_fact_is_a_name_of_another_answer_in_the_place_of_one():
    assert corpus().names == ("Bergen", "Colorado", "Johann Goethe", "William Shakespeare")
    for seed in range(20):
        made = WAYS["wrong_fact"](corpus(), 0, Random(seed))
        assert made is not None
        [new] = [one for one in corpus().names if one in made.bad]
        assert made.bad.replace(new, "William Shakespeare") == made.good


def test_a_dropped_sentence_is_one_of_several():
    made = WAYS["dropped_sentence"](corpus(), 0, Random(0))
    assert made is not None and made.bad in [one.strip() + "." for one in made.good.split(".")]
    assert WAYS["dropped_sentence"](corpus(), 2, Random(0)) is None


def test_a_dropped_constraint_is_met_by_the_good_answer_alone():
    met = {
        "three stars": lambda text: text.endswith("***"),
        "capital letters": str.isupper,
        "quotation marks": lambda text: text[0] == text[-1] == '"',
    }
    seen = Counter()
    for seed in range(30):
        made = WAYS["dropped_constraint"](corpus(), 0, Random(seed))
        assert made is not None and made.instruction.startswith(ROWS[0][0])
        [name] = [one for one in met if one in made.instruction]
        assert met[name](made.good) and not met[name](made.bad)
        seen[name] += 1
    assert set(seen) == set(met)


def test_the_nearest_question_is_the_most_alike_and_no_rewording():
    rows = [*ROWS, ("Hamlet: who wrote?", "William, it was."), ("Zzz", "y")]
    found = corpus(rows).nearest
    assert found[0] == 1, "the one of the same words is no other question"
    assert found[6] is None
    answers = {WAYS["off_topic"](corpus(rows), 0, Random(seed)).bad for seed in range(40)}  # ty: ignore
    assert rows[1][1] in answers and rows[0][1] not in answers and len(answers) > 3


def test_equal_answers_are_no_wrong_ones():
    same = corpus([("Say no.", "No."), ("Say no again.", "no")])
    assert WAYS["off_topic"](same, 0, Random(0)) is None


# -- balance ---------------------------------------------------------------------------------------

texts = st.text("abc .", min_size=1, max_size=40).filter(str.strip)


@given(st.lists(st.tuples(texts, texts), max_size=12), st.integers(0, 3), st.integers(-2, 2))
def test_balance_changes_bad_answers_alone_and_no_more_than_it_must(
    rows: list[tuple[str, str]], seed: int, surplus: int
):
    pairs = [Made("i", good, bad) for good, bad in rows]
    found = balanced(pairs, corpus(), Random(seed), surplus=surplus)
    assert [one.good for one in found] == [one.good for one in pairs]
    before = surplus + sum(map(lead_of, pairs))
    after = surplus + sum(map(lead_of, found))
    changed = sum(one != two for one, two in zip(pairs, found, strict=True))
    assert abs(after) <= abs(before) and changed <= abs(before) // 2
    if before > 0:
        assert after == before - 2 * changed
        padded = min(before // 2, sum(lead_of(one) > 0 for one in pairs))
        assert changed == padded, "padding is always possible"
    for one, two in zip(pairs, found, strict=True):
        if one != two:
            assert lead_of(one) == -lead_of(two)
            longer, shorter = sorted((one.bad, two.bad), key=len, reverse=True)
            assert longer.strip().startswith(shorter.strip())


def test_what_is_wrong_is_never_cut_away():
    pairs = [Made("i", "it is 9 metres high", f"it is 10{n} metres high", keep=9) for n in range(8)]
    for one in balanced(pairs, corpus(), Random(0)):
        assert one.bad.startswith("it is 10")
    short = [Made("i", "it is 9", f"it is 10{n} or so", keep=9) for n in range(4)]
    assert balanced(short, corpus(), Random(0)) == short, "where that is not possible they stay"


def test_contrasts_are_twice_as_long_or_half_as_long_in_turn():
    pairs = [Made("i", "a good answer of some words", "a bad one of other words")] * 10
    found = contrasted(pairs, corpus(), Random(0))
    sizes = [len(one.bad) / len(one.good) for one in found]
    assert sum(one >= 2 for one in sizes) == sum(one <= 0.5 for one in sizes) == 5


# -- the action ------------------------------------------------------------------------------------


def test_pairs_of_the_world_are_balanced_in_length_and_slot(tmp_path: Path):
    result, items = run_synthesise(tmp_path / "run")
    assert {one.meta["made_by"] for one in items} <= set(WAYS)
    assert all(one.label == "good" for one in items)
    cells = Counter()
    for item in items:
        lead = len(side(item, "good")) - len(side(item, "bad"))
        cells[(lead > 0) - (lead < 0), item.candidates[0].id] += 1
    assert all(abs(cells[lead, "good"] - cells[lead, "bad"]) <= 1 for lead in (-1, 0, 1))
    longer = number(result, "good answer is longer")
    assert longer.low < 50 < longer.high and abs(longer.value - 50) < 1
    assert longer.baseline == 50 and number(result, "good answer is first").n == len(items)
    assert number(result, "pairs").value == len(items)
    by_way = Counter(one.meta["made_by"] for one in items)
    for way in WAYS:
        assert number(result, f"pairs: {way}").value == by_way[way]


def test_the_same_seed_gives_the_same_bytes_and_ways_do_not_depend_on_each_other(tmp_path: Path):
    rows = [{"id": f"r{n}", "instruction": q, "answer": a} for n, (q, a) in enumerate(ROWS)]
    path = write(tmp_path / "rows.jsonl", *rows)
    for name, seed in (("one", 0), ("two", 0), ("three", 1)):
        run_synthesise(tmp_path / name, items=path, seed=seed)
    one, two, three = (
        (tmp_path / name / "artefacts" / "items.jsonl").read_bytes()
        for name in ("one", "two", "three")
    )
    assert one == two != three
    _, alone = run_synthesise(tmp_path / "four", items=path, ways=("wrong_fact",))
    _, items = run_synthesise(tmp_path / "five", items=path, ways=("empty_answer", "wrong_fact"))
    found = {one.id: side(one, "bad") for one in items}
    assert all(found[one.id].startswith(side(one, "bad")[:20]) for one in alone)
    assert {one.group for one in items} == {"r0", "r1", "r2", "r3", "r4"}


def test_rows_that_give_nothing_are_counted_and_bad_ones_rejected(tmp_path: Path):
    path = write(
        tmp_path / "rows.jsonl",
        {"instruction": "How many?", "answer": "There are 7 of them."},
        {"instruction": "Say no.", "answer": "No."},
        {"instruction": "Empty", "answer": " "},
    )
    result, items = run_synthesise(tmp_path / "run", items=path, ways=("wrong_number",))
    assert [one.id for one in items] == ["row-1~wrong_number"]
    assert number(result, "rows that gave none").value == 1
    assert 'field \\"answer\\" is empty' in (tmp_path / "run" / "rejects.jsonl").read_text()
    with pytest.raises(InputError, match='field "answer" is empty'):
        run_synthesise(tmp_path / "r2", items=path, on_error="raise")
    path = write(tmp_path / "none.jsonl", {"instruction": "Say no.", "answer": "No."})
    with pytest.raises(InputError, match="none of 1 rows gave a pair by wrong_number"):
        run_synthesise(tmp_path / "r3", items=path, ways=("wrong_number",))


def test_what_was_made_can_be_judged(tmp_path: Path):
    from modelgraft.methods.judge.actions import compare

    run_synthesise(tmp_path / "made", num=9, ways=("off_topic",))
    path = tmp_path / "made" / "artefacts" / "items.jsonl"

    def first(request: Request) -> Reply:
        return Reply(text="[[A]]", finish_reason="stop")

    with ScriptedServer(first) as server, open_run(tmp_path / "judged") as run:
        result = compare(CompareConfig(items=path, judge=f"{server.url}#first"), run)
    assert number(result, "pairs").value == 9
    assert number(result, "both orders agree").value == 0


# -- self-taught -----------------------------------------------------------------------------------


def teacher(request: Request) -> Reply:
    """Modifies instructions, and answers them; some come back unchanged, some break off."""
    text = request.messages[-1]["content"]
    if "<instruction " in text:
        asked = text.split("<instruction ")[1].partition(">\n")[2].split("\n</instruction")[0]
        return Reply(text=asked if asked == "Same?" else f"{asked} And when?", finish_reason="stop")
    if text.startswith("Long?"):
        return Reply(text="on and on", finish_reason="length")
    return Reply(text=f"An answer to: {text}", finish_reason="stop")


@pytest.fixture
def asked(tmp_path: Path) -> Path:
    names = ("Who?", "Same?", "Long?")
    rows = [{"id": one, "instruction": one, "answer": f"The good answer to {one}"} for one in names]
    return write(tmp_path / "rows.jsonl", *rows)


def test_a_model_answers_a_similar_instruction_instead(tmp_path: Path, asked: Path):
    with ScriptedServer(teacher) as server:
        fields = {"items": asked, "ways": (), "judge": f"{server.url}#teacher"}
        result, [item] = run_synthesise(tmp_path / "run", **fields)
        counts = server.counts()
        run_synthesise(tmp_path / "run", **fields)
        assert server.counts() == counts, "a second run asks nothing"
    assert (item.id, item.meta["made_by"]) == ("Who?~self_taught", "self_taught")
    assert side(item, "good") == "The good answer to Who?"
    assert side(item, "bad").startswith("An answer to: Who? And when?"[: len(side(item, "bad"))])
    assert number(result, "pairs: self_taught").n == 3
    assert number(result, "rows that gave none").value == 2
    told = "\n".join(result.remarks)
    assert "1 rows gave no pair: the instruction came back unchanged." in told
    assert "1 rows gave no pair: broke off." in told
    assert not result.partial


def test_rows_that_were_not_asked_wait_for_another_attempt(tmp_path: Path, asked: Path):
    with ScriptedServer(teacher) as server:
        fields = {"items": asked, "ways": ("empty_answer",), "judge": f"{server.url}#teacher",
                  "budget": 0.0, "prices": ("teacher=1/1",)}  # fmt: skip
        result, items = run_synthesise(tmp_path / "run", **fields)
        assert not server.counts()
    assert {one.meta["made_by"] for one in items} == {"empty_answer"}
    assert number(result, "pairs: self_taught").value == 0
    assert result.partial.startswith("3 rows have no outcome yet (3 budget)")
    assert "self_taught: 3 rows gave no pair: budget." in result.remarks
