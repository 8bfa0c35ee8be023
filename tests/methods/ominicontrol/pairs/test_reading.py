"""Streams of records from folders, Parquet files and the hub."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import pytest
from pair_rows import encoded, row, write_folder

from modelgraft.core.errors import InputError, MissingExtra
from modelgraft.methods.ominicontrol.pairs.reading import (
    Counts,
    is_records,
    read_records,
)
from modelgraft.methods.ominicontrol.pairs.records import EmbeddedPicture

IMAGE = "pictures/one.png"


def scored() -> list[dict]:
    return [
        row(IMAGE, scores, id="".join(map(str, scores)))
        for scores in itertools.product(range(6), repeat=3)
    ]


def test_exactly_the_rows_with_three_good_scores_are_kept(tmp_path):
    folder, counts = write_folder(tmp_path / "set", scored()), Counts()
    assert [one.id for one in read_records(folder, counts=counts)] == ["555"]
    assert counts == Counts(kept=1, below=215)
    kept = [one.id for one in read_records(folder / "records.jsonl", threshold=4)]
    assert kept == ["".join(one) for one in itertools.product("45", repeat=3)]


def test_rows_without_scores_are_skipped_and_counted_even_without_reject(tmp_path):
    counts = Counts()
    lines = [row(IMAGE), row(IMAGE, None), row(IMAGE, (5, 5, 4)), row(IMAGE, None)]
    found = list(read_records(write_folder(tmp_path / "set", lines), counts=counts))
    assert len(found) == 1 and counts == Counts(kept=1, below=1, unscored=2)
    shown = {number.name: number.value for number in counts.numbers()}
    assert shown["rows without quality_assessment"] == 2 and shown["pairs used"] == 1


def test_bad_rows_are_rejected_with_line_and_reason_and_the_others_kept(tmp_path):
    lines = [
        row(IMAGE),
        '{"image": "cut',
        row(IMAGE, None, id="none"),
        row(IMAGE, (5, 5, 9)),
        row("none.png"),
        row(IMAGE),
    ]
    folder, counts = write_folder(tmp_path / "set", lines), Counts()
    seen: list[tuple[Path, int, str]] = []
    found = list(
        read_records(
            folder,
            counts=counts,
            reject=lambda path, line, id, reason: seen.append((path, line, reason)),
        )
    )
    assert len(found) == 2 and counts == Counts(kept=2, unscored=1, malformed=3)
    assert [line for _, line, _ in seen] == [2, 3, 4, 5]
    assert all(path == folder / "records.jsonl" for path, _, _ in seen)
    for (_, _, reason), told in zip(
        seen, ("not valid JSON", "quality_assessment", "imageQuality", "no file"), strict=True
    ):
        assert told in reason


def test_a_malformed_row_stops_a_reader_that_was_given_no_place_for_it(tmp_path):
    folder = write_folder(tmp_path / "set", [row(IMAGE), row(IMAGE, None), row(IMAGE, (5, 5, 9))])
    with pytest.raises(InputError, match=r"records.jsonl:3: .*imageQuality"):
        list(read_records(folder))


def test_two_files_add_up_in_one_count(tmp_path):
    counts = Counts()
    for name in ("a", "b"):
        lines = [row(IMAGE), row(IMAGE, None), row(IMAGE, (0, 5, 5)), "{"]
        folder = write_folder(tmp_path / name, lines)
        list(read_records(folder, counts=counts, reject=lambda *fault: None))
    assert counts == Counts(kept=2, below=2, unscored=2, malformed=2)


@pytest.mark.parametrize("source", ["none", "none/at/all", "no such thing"])
def test_what_is_not_there_is_named_with_what_is_needed(tmp_path, monkeypatch, source):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"{source}: there is nothing here"):
        read_records(source)


def test_records_are_known_by_the_names_of_files(tmp_path):
    folder = write_folder(tmp_path / "set", [row(IMAGE)])
    for path in ("hub/data/0.parquet", "flat/0.parquet", "plain/a.png", "pairs/pairs.jsonl"):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(b"")
    known = [folder, folder / "records.jsonl"]
    known += [tmp_path / one for one in ("hub", "flat", "flat/0.parquet")]
    assert all(is_records(one) for one in known)
    others = ("plain", "plain/a.png", "pairs", "pairs/pairs.jsonl", "none", "owner/name")
    assert not any(is_records(tmp_path / one) for one in others)


def test_a_folder_without_records_is_named(tmp_path):
    with pytest.raises(InputError, match=r"neither records.jsonl nor a Parquet file"):
        read_records(tmp_path)


def test_parquet_names_the_package_that_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "rows.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtra, match=r"pyarrow is not installed(.|\n)*pip install"):
        list(read_records(tmp_path))


# -- with the packages -----------------------------------------------------------------------------


def embedded(scores: tuple[int, ...] | None, path: str | None = "x.png") -> dict:
    return row({"bytes": encoded(), "path": path}, scores, raw_json="{}")


@pytest.fixture
def parquet(tmp_path) -> Path:
    """A folder as the hub has it, two files, 100 rows."""
    arrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")
    rows = [embedded((5, 5, 5) if place % 3 else (5, 4, 5), f"{place}.png") for place in range(98)]
    rows += [embedded(None), embedded((5, 5, 9))]
    folder = tmp_path / "set"
    (folder / "data").mkdir(parents=True)
    for part, start in enumerate((0, 50)):
        table = arrow.Table.from_pylist(rows[start : start + 50])
        tables.write_table(table, folder / f"data/train-{part:05d}-of-00002.parquet")
    return folder


KEPT = [f"{place}.png" for place in range(98) if place % 3]


@pytest.mark.peer
def test_parquet_files_with_embedded_pictures_are_filtered_alike(parquet):
    counts, seen = Counts(), []
    found = list(read_records(parquet, counts=counts, reject=lambda *fault: seen.append(fault)))
    assert [one.id for one in found] == KEPT
    assert counts == Counts(kept=len(KEPT), below=33, unscored=1, malformed=1)
    assert [line for _, line, _, _ in seen] == [49, 50]
    assert found[0].picture().shape == (3, 32, 64)
    with pytest.raises(InputError, match=r"train-00001-of-00002.parquet:50: .*imageQuality"):
        list(read_records(parquet))


@pytest.mark.peer
def test_pictures_inside_of_parquet_files_stay_there_until_they_are_asked_for(parquet):
    """Row groups of 7, and pictures that differ."""
    arrow = pytest.importorskip("pyarrow")
    tables = pytest.importorskip("pyarrow.parquet")
    rows = [row({"bytes": encoded(shade), "path": f"{shade}.png"}) for shade in range(0, 250, 10)]
    file = parquet / "data/train-00000-of-00002.parquet"
    tables.write_table(arrow.Table.from_pylist(rows), file, row_group_size=7)
    found = list(read_records(file))
    assert [one.source for one in found] == [EmbeddedPicture(file, n) for n in range(25)]
    for place, one in enumerate(found):
        assert float(one.picture()[1].max()) == pytest.approx(10 * place / 255)
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"train-00000-of-00002\.parquet: no longer"):
        found[0].picture()


@pytest.mark.peer
def test_damaged_parquet_files_are_named(parquet):
    file = parquet / "data/train-00000-of-00002.parquet"
    content = file.read_bytes()
    for broken in (b"", b"PAR1", content[:-100], content[:4] + bytes(2000) + content[2004:]):
        file.write_bytes(broken)
        with pytest.raises(InputError, match=r"train-00000-of-00002\.parquet"):
            list(read_records(file, reject=lambda *fault: None))
