"""Rows of the files that benchmarks come in: JSONL, JSON arrays, objects of arrays, and CSV.

What a file holds decides and not its name, since some JSONL is called .json; only CSV is known by
its ending. Bad rows are named by file and line as in `core.rows`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Hashable, Iterator
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from modelgraft.core.errors import InputError
from modelgraft.core.rows import MAX_ROW_BYTES, BadRow, Reject, Row, keep_rows, read_rows
from modelgraft.methods.judge.data import Item

T = TypeVar("T")
Parse = Callable[[Row, int], T]

GROUP = "group"
_BLANK = frozenset(" \t\r\n")


def read_records(
    path: Path,
    parse: Parse[T],
    *,
    reject: Reject | None,
    key: Callable[[T], Hashable] | None = None,
    id_field: str = "id",
) -> list[T]:
    """What `parse(row, place)` makes of every row of a JSONL, JSON or CSV file.

    Rejects, repeated keys and errors are those of `core.rows.read_rows`. The NaN that some JSON
    arrays hold where nothing stands is None here; the cells of a CSV are texts.
    """
    if path.suffix.lower() == ".csv":
        return keep_rows(path, _csv_rows(path), parse, key=key, id_field=id_field, reject=reject)
    if _first_mark(path) == b"[":
        return keep_rows(path, _json_rows(path), parse, key=key, id_field=id_field, reject=reject)
    return read_rows(path, parse, key=key, id_field=id_field, reject=reject)


def read_groups(
    path: Path, parse: Parse[T], *, reject: Reject | None, key: Callable[[T], Hashable]
) -> list[T]:
    """The same of a JSON object whose fields are arrays of rows; a row's "group" is its field."""
    return keep_rows(path, _json_rows(path), parse, key=key, reject=reject)


def read_folder(
    path: Path, pattern: str, read: Callable[[Path, str], list[Item]], what: str
) -> list[Item]:
    """The items of a file, or of all files of this pattern in a folder and the folders in it.

    `read(file, name)` reads one, `name` being its path in the folder, without its ending and of a
    single file empty. Raises InputError without a file, and for an id that two of them hold.
    """
    if not path.is_dir():
        return read(path, "")
    files = sorted(path.rglob(pattern))
    if not files:
        raise InputError(f"{path}: no {pattern} in this folder; expected {what}.")
    places: dict[str, Path] = {}
    items = []
    for file in files:
        for item in read(file, file.relative_to(path).with_suffix("").as_posix()):
            if item.id in places:
                raise InputError(
                    f"{file}: item {item.id} stands already in {places[item.id]}.\n"
                    "  Read one of the files alone, or take the other out of the folder."
                )
            places[item.id] = file
            items.append(item)
    return items


# -- one file --------------------------------------------------------------------------------------


def _first_mark(path: Path) -> bytes:
    """The first character that is not blank; of a file that cannot be read, nothing."""
    try:
        with open(path, "rb") as handle:
            return handle.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except OSError:
        return b""


def _text(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except OSError as error:
        raise InputError(f"{path}: the rows cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8 text.") from None


def _csv_rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    """The line in which each row begins, and its cells by the names in the first row."""
    table = io.StringIO(_text(path), newline="")
    before = csv.field_size_limit(MAX_ROW_BYTES)
    reader = csv.reader(table, strict=True)
    try:
        names = next(reader, [])
        if len(set(names)) < len(names):
            raise InputError(f"{path}:1: two columns have the same name.")
        start = reader.line_num + 1
        for cells in reader:
            if len(cells) == len(names):
                yield start, dict(zip(names, cells, strict=True))
            elif cells:
                reason = f"{len(cells)} cells; the first row names {len(names)} columns"
                yield start, BadRow(reason)
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not a CSV table: {error}.") from None
    finally:
        csv.field_size_limit(before)


def _json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The line in which each element of an array begins, and the element."""
    text = _Json(path, _text(path))
    if not text.takes("{"):
        yield from text.elements()
        return
    while not text.takes("}"):
        name = text.value()
        text.needs(":")
        for line, row in text.elements():
            yield line, {**row, GROUP: name} if isinstance(row, dict) else row
        text.takes(",")


class _Json:
    """A JSON text that is read element by element, so that each one's line is known."""

    def __init__(self, path: Path, text: str) -> None:
        self.path, self.text = path, text
        self.place = self.counted = 0
        self.line = 1
        self.decoder = json.JSONDecoder(parse_constant=lambda _: None)

    def elements(self) -> Iterator[tuple[int, Any]]:
        """Line and value of each element of the array that begins here."""
        self.needs("[")
        while not self.takes("]"):
            line = self.here()
            yield line, self.value()
            if not self.takes(","):
                self.needs("]")
                return

    def takes(self, mark: str) -> bool:
        """Whether this mark comes next; it is then passed."""
        while self.text[self.place : self.place + 1] in _BLANK:
            self.place += 1
        is_next = self.text.startswith(mark, self.place)
        self.place += len(mark) * is_next
        return is_next

    def needs(self, mark: str) -> None:
        """Pass a mark that must come next."""
        if not self.takes(mark):
            self.fail(f"{mark!r} is needed here")

    def value(self) -> Any:
        """The value that comes next."""
        try:
            found, self.place = self.decoder.raw_decode(self.text, self.place)
        except json.JSONDecodeError as error:
            self.place = error.pos
            self.fail(error.msg)
        except RecursionError:
            self.fail("nested too deeply")
        except ValueError:  # A whole number of thousands of digits.
            self.fail("a number has too many digits")
        return found

    def here(self) -> int:
        """The line of what comes next."""
        self.line += self.text.count("\n", self.counted, self.place)
        self.counted = self.place
        return self.line

    def fail(self, reason: str) -> NoReturn:
        """Say where the text is no JSON."""
        raise InputError(f"{self.path}:{self.here()}: not valid JSON ({reason}).")
