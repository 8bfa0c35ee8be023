"""Rows of JSONL, JSON and CSV: each with its line, bad ones named, and what no row comes of."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelgraft.core.errors import InputError
from modelgraft.core.rows import Row, text_of
from modelgraft.methods.judge.bench.files import (
    GROUP,
    read_folder,
    read_groups,
    read_records,
)
from modelgraft.methods.judge.data import Candidate, Item

ROWS = [{"id": "x", "text": "one\nline"}, {"id": "y", "text": "two, and more"}]


def as_jsonl(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def as_array(path: Path, rows: list[Any]) -> Path:
    path.write_text(json.dumps(rows, indent=1))
    return path


def as_csv(path: Path, rows: list[Row]) -> Path:
    with open(path, "w", newline="") as handle:
        writer = csv.DictWriter(handle, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


WRITERS = {"rows.jsonl": as_jsonl, "rows.json": as_array, "rows.csv": as_csv}


def text(row: Row, place: int) -> tuple[int, str]:
    return place, text_of(row, "text")


def read(path: Path, reject: Any = None) -> list[tuple[int, str]]:
    return read_records(path, text, reject=reject)


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_gives_the_same_rows(tmp_path: Path, name: str):
    path = WRITERS[name](tmp_path / name, ROWS)
    assert read(path) == [(0, "one\nline"), (1, "two, and more")]


def test_what_a_file_holds_decides_and_not_its_name(tmp_path: Path):
    assert len(read(as_jsonl(tmp_path / "rows.json", ROWS))) == 2
    assert len(read(as_array(tmp_path / "rows.jsonl", ROWS))) == 2


@pytest.mark.parametrize(("name", "line"), [("rows.jsonl", 2), ("rows.json", 6), ("rows.csv", 4)])
def test_a_bad_row_is_named_by_its_line_and_the_rest_is_kept(tmp_path: Path, name: str, line: int):
    path = WRITERS[name](tmp_path / name, [ROWS[0], {"id": "z", "text": ""}, ROWS[1]])
    with pytest.raises(InputError, match=rf'{name}:{line}: field "text" is empty'):
        read(path)
    rejected: list[tuple[Any, ...]] = []
    assert len(read(path, lambda *one: rejected.append(one))) == 2
    assert rejected == [(path, line, "z", 'field "text" is empty')]


@pytest.mark.parametrize("name", WRITERS)
def test_a_second_row_of_a_key_is_bad_and_says_where_the_first_is(tmp_path: Path, name: str):
    path = WRITERS[name](tmp_path / name, [*ROWS, ROWS[0]])
    first = {"rows.jsonl": 1, "rows.json": 2, "rows.csv": 2}[name]
    with pytest.raises(InputError, match=rf'field "id": x stands already in line {first}'):
        read_records(path, text, reject=None, key=lambda one: one[1])


@pytest.mark.parametrize(
    ("name", "content"),
    [("rows.jsonl", "\n"), ("rows.json", "[ ]"), ("rows.csv", ""), ("rows.csv", "id,text\n")],
)
def test_a_file_without_a_row_is_refused(tmp_path: Path, name: str, content: str):
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match="there is no row in this file"):
        read(tmp_path / name)


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_that_is_not_there_is_named(tmp_path: Path, name: str):
    with pytest.raises(InputError, match=rf"{name}: no such file"):
        read(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n {"text": }]', r":2: not valid JSON \(Expecting value"),
        ('[{"text": "a"}\n {"text": "b"}]', r":2: not valid JSON \(']' is needed here"),
        ('[{"text": "a"}, 3]', r":1: a JSON object is needed, not 3"),
        ('[{"text": 1' + "0" * 5000 + "}]", r":1: not valid JSON \(a number has too many digits"),
    ],
)
def test_a_broken_array_is_named_by_line(tmp_path: Path, content: str, message: str):
    (tmp_path / "rows.json").write_text(content)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "rows.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,text\nx\n", ":2: 1 cells; the first row names 2 columns"),
        ("id,id\nx,y\n", ":1: two columns have the same name"),
        ('id,text\nx,"open\n', ": not a CSV table"),
        (b"id,text\nx,\xff\n", "byte 10 is not UTF-8 text"),
    ],
)
def test_a_broken_csv_is_named(tmp_path: Path, content: str | bytes, message: str):
    data = content if isinstance(content, bytes) else content.encode()
    (tmp_path / "rows.csv").write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(tmp_path / "rows.csv")


def test_long_cells_are_read_and_the_limit_of_others_stays(tmp_path: Path):
    before = csv.field_size_limit()
    path = as_csv(tmp_path / "rows.csv", [{"id": "x", "text": "y" * 300_000}])
    assert len(read(path)[0][1]) == 300_000
    assert csv.field_size_limit() == before


def test_nan_in_an_array_is_a_missing_value(tmp_path: Path):
    (tmp_path / "rows.json").write_text('[{"text": "a", "input": NaN}]')
    [found] = read_records(tmp_path / "rows.json", lambda row, _: row, reject=None)
    assert found["input"] is None


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")).filter(str.strip)


@given(st.lists(texts, min_size=1, max_size=5))
def test_any_texts_come_back_and_lines_are_those_of_an_editor(values: list[str]):
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.json")
        rows = [{"text": one} for one in values]
        path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
        assert [one for _, one in read(path)] == values
        lines: list[int] = []

        def refuse(row: Row, place: int) -> str:
            return text_of({}, "text")

        with pytest.raises(InputError):
            read_records(path, refuse, reject=lambda _, line, *__: lines.append(line))
        assert lines == [2 + 3 * place for place in range(len(values))]


def test_an_object_of_arrays_gives_every_row_its_group(tmp_path: Path):
    path = tmp_path / "groups.json"
    path.write_text(json.dumps({"long": [{"text": "a"}, {"text": "b"}], "empty": [{"text": "c"}]}))
    found = read_groups(
        path, lambda row, place: (row[GROUP], row["text"]), reject=None, key=lambda one: one
    )
    assert found == [("long", "a"), ("long", "b"), ("empty", "c")]


def item(name: str) -> Item:
    return Item(name, "q", (Candidate("a", "x"),))


def test_a_folder_is_read_file_by_file_in_order(tmp_path: Path):
    for name in ("b/rows.jsonl", "a/rows.jsonl"):
        (tmp_path / name).parent.mkdir()
        as_jsonl(tmp_path / name, ROWS)
    found = read_folder(tmp_path, "*.jsonl", lambda _, name: [item(name)], "rows")
    assert [one.id for one in found] == ["a/rows", "b/rows"]


def test_an_id_in_two_files_and_an_empty_folder_are_refused(tmp_path: Path):
    with pytest.raises(InputError, match=r"no \*\.jsonl in this folder; expected rows"):
        read_folder(tmp_path, "*.jsonl", lambda *_: [], "rows")
    for name in ("a.jsonl", "b.jsonl"):
        as_jsonl(tmp_path / name, ROWS)
    with pytest.raises(InputError, match=r"b\.jsonl: item x stands already in .*a\.jsonl"):
        read_folder(tmp_path, "*.jsonl", lambda *_: [item("x")], "rows")
