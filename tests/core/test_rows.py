"""Bad rows are named and good ones kept, whatever is wrong with them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modelgraft.core.errors import InputError
from modelgraft.core.rows import BadRow, Row, integer_of, number_of, read_rows, text_of

BROKEN = {
    b'{"id": "a", "text": "cut': "not valid JSON",
    b'{"id": "a", "text": 3}': '"text": 3 is not text',
    b'{"id": "a"}': '"text" is missing',
    b'{"id": "a", "text": "  "}': '"text" is empty',
    b'{"id": "a", "text": "t", "n": NaN}': "NaN is not a JSON number",
    b'{"id": "a", "text": "t", "n": 1.5}': "not a whole number",
    b'{"id": "a", "text": "t", "n": true}': "not a whole number",
    b'{"id": "a", "text": "\\ud800"}': "surrogate",
    b'{"id": "a", "text": "a\\u0000b"}': "NUL",
    b'{"id": "a", "text": "\xff"}': "not UTF-8",
    b'["list"]': "a JSON object is needed",
    b"[" * 100_000: "",
    b'{"id": "0", "text": "again"}': "stands already in line",
    b'{"id": "a", "text": "t", "n": ' + b"9" * 5000 + b"}": "too many digits",
}


def parse(row: Row, place: int) -> tuple[str, str]:
    if "n" in row:
        integer_of(row, "n", low=0)
    return text_of(row, "id"), text_of(row, "text")


def write(path: Path, rows: list[bytes]) -> Path:
    path.write_bytes(b"".join(row + b"\n" for row in rows))
    return path


def test_exactly_the_bad_rows_are_rejected_with_line_and_reason(tmp_path):
    good = [json.dumps({"id": str(i), "text": f"row {i}"}).encode() for i in range(1000)]
    rows = list(good)
    for place, bad in enumerate(BROKEN):
        rows.insert(50 * (place + 1), bad)
    seen: list[tuple[int, str]] = []
    kept = read_rows(
        write(tmp_path / "rows.jsonl", rows),
        parse,
        key=lambda found: found[0],
        reject=lambda path, line, id, reason: seen.append((line, reason)),
    )
    assert [found[0] for found in kept] == [str(i) for i in range(1000)]
    assert [line for line, _ in seen] == [50 * (i + 1) + 1 for i in range(len(BROKEN))]
    for (_, reason), (bad, expected) in zip(seen, BROKEN.items(), strict=True):
        assert expected in reason, bad[:60]


@pytest.mark.parametrize("bad", BROKEN)
def test_without_a_place_for_rejects_a_bad_row_ends_the_reading(tmp_path, bad):
    rows = [b'{"id": "0", "text": "good"}', bad]
    with pytest.raises(InputError, match=r"rows\.jsonl:2: "):
        read_rows(write(tmp_path / "rows.jsonl", rows), parse, key=lambda found: found[0])


def test_byte_order_marks_carriage_returns_and_blank_lines_are_no_fault(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": "a", "text": "x"}\r\n\r\n{"id": "b", "text": "y"}')
    assert read_rows(path, parse) == [("a", "x"), ("b", "y")]


def test_too_many_bad_rows_end_the_reading(tmp_path):
    path = write(tmp_path / "rows.jsonl", [b'{"id": "a", "text": "x"}', b"{}", b"{}"])
    with pytest.raises(InputError, match="2 of 3 rows cannot be used"):
        read_rows(path, parse, reject=lambda *_: None, max_reject=0.05)
    assert len(read_rows(path, parse, reject=lambda *_: None, max_reject=0.7)) == 1


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "no such file"), (b"", "no row"), (b"\n\n", "no row")]
)
def test_a_missing_or_empty_file_is_named(tmp_path, content, expected):
    path = tmp_path / "rows.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=expected):
        read_rows(path, parse)


def test_numbers_are_finite():
    assert number_of({"x": 2}, "x") == 2.0
    for value in (True, "2", None, 1e999):
        with pytest.raises(BadRow, match="not a number"):
            number_of({"x": value}, "x")
