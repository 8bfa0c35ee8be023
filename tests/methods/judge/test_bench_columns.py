"""A person's own table: columns by name, labels that cannot be misread, votes merged by id."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.rows import Row
from modelgraft.methods.judge.bench.columns import (
    content_id,
    hidden,
    merge_labels,
    parse_columns,
    read_columns,
)
from modelgraft.methods.judge.data import Candidate, Item

PAIRS = parse_columns("instruction=prompt, a=left, b=right, label=human, group=topic")
VOTES = parse_columns("id=item,label=vote,rater=who")
ROW = {"prompt": "Greet.", "left": "Hi", "right": "Yo", "human": "left", "topic": "talk", "n": "7"}


def table(path: Path, rows: list[Row]) -> Path:
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


def lines(path: Path, rows: list[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("write", [table, lines])
def test_columns_become_fields_and_the_rest_is_kept(tmp_path: Path, write: Any):
    path = write(tmp_path / ("t.csv" if write is table else "t.jsonl"), [ROW])
    [item] = read_columns(path, PAIRS, reject=None)
    assert item.instruction == "Greet." and item.label == "a" and item.group == "talk"
    assert [one.text for one in item.candidates] == ["Hi", "Yo"]
    assert item.meta == {"n": "7"} and item.id == content_id("Greet.", ["Hi", "Yo"])


@pytest.mark.parametrize(
    ("text", "label"),
    [("left", "a"), ("B", "b"), (" Tie ", "tie"), ("RIGHT", "b"), ("", None)],
)
def test_a_label_is_a_letter_a_column_or_tie(tmp_path: Path, text: str, label: str | None):
    [item] = read_columns(table(tmp_path / "t.csv", [{**ROW, "human": text}]), PAIRS, reject=None)
    assert item.label == label


@pytest.mark.parametrize("value", ["1", "0", "2", "model_a"])
def test_a_number_is_no_label_of_a_pair(tmp_path: Path, value: str):
    path = table(tmp_path / "t.csv", [{**ROW, "human": value}])
    with pytest.raises(
        InputError, match=rf't\.csv:2: field "human": "{value}" is none of a, b, tie'
    ):
        read_columns(path, PAIRS, reject=None)


@pytest.mark.parametrize(("value", "label"), [("4.5", 4.5), (3, 3.0), (True, 1.0), ("false", 0.0)])
def test_a_single_candidate_is_labelled_with_a_number(tmp_path: Path, value: Any, label: float):
    found = parse_columns("id=k,instruction=q,a=text,label=score,reference=ref,context=docs")
    row = {"k": 5, "q": "Q", "text": "T", "score": value, "ref": "", "docs": ["d1", "d2"]}
    [item] = read_columns(lines(tmp_path / "t.jsonl", [row]), found, reject=None)
    assert (item.id, item.label, item.reference) == ("5", label, None)
    assert item.context == ("d1", "d2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instruction", "'instruction' is no field=column"),
        ("prompt=x", "'prompt' is no field"),
        ("a=x,a=y", "a is given twice"),
        ("a=", "'a=' is no field=column"),
    ],
)
def test_a_wrong_map_is_refused(text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        parse_columns(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a=x,b=y", "the field instruction is missing"),
        ("instruction=q", "candidates are missing"),
        ("instruction=q,a=x,c=y", "candidates are a, c"),
    ],
)
def test_a_map_without_what_is_needed_is_refused(tmp_path: Path, text: str, message: str):
    with pytest.raises(ConfigError, match=message):
        read_columns(tmp_path / "t.csv", parse_columns(text), reject=None)


def test_a_column_that_is_not_there_a_blank_prompt_and_a_repeated_row_are_bad(tmp_path: Path):
    wrong = {**PAIRS, "b": "center"}
    with pytest.raises(InputError, match=r't\.csv:2: field "center" is missing'):
        read_columns(table(tmp_path / "t.csv", [ROW]), wrong, reject=None)
    rows = [ROW, {**ROW, "prompt": " "}, ROW]
    rejected: list[tuple[Any, ...]] = []
    path = table(tmp_path / "t.csv", rows)
    kept = read_columns(path, PAIRS, reject=lambda *one: rejected.append(one))
    assert len(kept) == 1
    assert [(one[1], one[3]) for one in rejected] == [
        (3, 'field "prompt" is empty'),
        (4, 'field "id": this row stands already in line 2'),
    ]


# -- people's labels -------------------------------------------------------------------------------


def items() -> list[Item]:
    both = Candidate("a", "Hi"), Candidate("b", "Yo")
    return [Item(name, "Greet.", both) for name in "xyz"]


def ballots(*rows: tuple[str, str, str]) -> list[Row]:
    return [{"item": item, "vote": vote, "who": who} for item, vote, who in rows]


def test_votes_are_merged_by_item_with_their_raters(tmp_path: Path):
    rows = ballots(("x", "a", "r1"), ("x", "b", "r2"), ("x", "b", "r3"), ("y", "tie", "r1"),
                   ("y", "a", "r2"))  # fmt: skip
    x, y, z = merge_labels(items(), table(tmp_path / "v.csv", rows), VOTES, reject=None)
    assert x.label == "b" and y.label is None and z.label is None and not z.meta
    assert [one["rater"] for one in x.meta["votes"]] == ["r1", "r2", "r3"]
    again = merge_labels(
        [x], table(tmp_path / "w.csv", ballots(("x", "a", "r4"))), VOTES, reject=None
    )
    assert again[0].label is None and len(again[0].meta["votes"]) == 4


def test_scores_are_averaged(tmp_path: Path):
    point = [Item("x", "q", (Candidate("a", "t"),))]
    path = table(tmp_path / "v.csv", ballots(("x", "4", "r1"), ("x", "5", "r2")))
    [item] = merge_labels(point, path, VOTES, reject=None)
    assert item.label == 4.5 and item.meta["votes"][0] == {"rater": "r1", "score": 4.0}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("w", "a", "r1"), 'field "item": there is no item of this id'),
        (("x", "", "r1"), 'field "vote" is empty'),
        (("x", "c", "r1"), 'field "vote": "c" is none of a, b, tie'),
        (("x", "b", "r0"), 'field "item": x stands already in line 2'),
        (("x", "b", ""), 'field "who" is empty'),
    ],
)
def test_a_vote_that_cannot_be_used_is_named_by_line(
    tmp_path: Path, row: tuple[str, str, str], message: str
):
    path = table(tmp_path / "v.csv", ballots(("x", "a", "r0"), row))
    with pytest.raises(InputError, match=rf"v\.csv:3: {message}"):
        merge_labels(items(), path, VOTES, reject=None)


def test_labels_need_their_three_columns(tmp_path: Path):
    with pytest.raises(ConfigError, match="need the field rater"):
        merge_labels(items(), tmp_path / "v.csv", {"id": "i", "label": "l"}, reject=None)


def test_with_a_secret_no_name_of_a_person_is_left_and_votes_still_meet(tmp_path: Path):
    found = parse_columns("id=mail,instruction=prompt,a=left,b=right")
    row = {"mail": "ann@example.org", "prompt": "Greet.", "left": "Hi", "right": "Yo"}
    path = table(tmp_path / "t.csv", [row])
    read = read_columns(path, found, reject=None, secret="s")
    rows = ballots(("ann@example.org", "a", "bob@example.org"))
    [item] = merge_labels(read, table(tmp_path / "v.csv", rows), VOTES, reject=None, secret="s")
    assert item.label == "a" and "example" not in repr(item)
    assert item.id == hidden("ann@example.org", "s") != hidden("ann@example.org", "t")
