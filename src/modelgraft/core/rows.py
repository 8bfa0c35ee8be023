"""Rows of JSONL files: good ones kept, bad ones named by file, line and reason."""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from modelgraft.core.errors import InputError

T = TypeVar("T")
Row = dict[str, Any]
Reject = Callable[[Path, int, str, str], None]

MAX_ROW_BYTES = 64 * 2**20  # A million tokens are about 5 MB; a longer line is some other file.
_MAX_SHOWN = 10


class BadRow(Exception):
    """Why a row cannot be used; becomes a reject or part of an `InputError`."""


def read_rows(
    path: Path,
    parse: Callable[[Row, int], T],
    *,
    key: Callable[[T], Hashable] | None = None,
    id_field: str = "id",
    reject: Reject | None = None,
    max_reject: float = 1.0,
) -> list[T]:
    """What `parse(row, place)` makes of every row of a JSONL file; it raises `BadRow` for others.

    A row whose `key` an earlier one has is bad. `reject(path, line, id, reason)` receives bad rows
    one by one and the rest is kept, unless more than `max_reject` of the rows are bad; without it
    any bad row raises an `InputError` that lists the first ten. A file without a good row raises.
    """
    return keep_rows(
        path, _rows(path), parse, key=key, id_field=id_field, reject=reject, max_reject=max_reject
    )


def keep_rows(
    path: Path,
    numbered: Iterable[tuple[int, Any]],
    parse: Callable[[Row, int], T],
    *,
    key: Callable[[T], Hashable] | None = None,
    id_field: str = "id",
    reject: Reject | None = None,
    max_reject: float = 1.0,
) -> list[T]:
    """As `read_rows`, of rows by their line that somebody else read; a `BadRow` in place of one."""
    kept: list[T] = []
    lines: dict[Hashable, int] = {}
    faults: list[str] = []
    num_rows = 0
    for place, (line, row) in enumerate(numbered):
        num_rows += 1
        name = ""
        try:
            if isinstance(row, BadRow):
                raise row
            if not isinstance(row, dict):
                raise BadRow(f"a JSON object is needed, not {shown(row)}")
            name = str(row.get(id_field, ""))[:80]
            found = parse(row, place)
            own = key(found) if key is not None else place
            if own in lines:
                twice = name or "this row"
                raise BadRow(f'field "{id_field}": {twice} stands already in line {lines[own]}')
        except BadRow as error:
            faults.append(f"{path}:{line}: {error}")
            if reject is not None:
                reject(path, line, name, str(error))
            continue
        lines[own] = line
        kept.append(found)
    if not num_rows:
        raise InputError(f"{path}: there is no row in this file.")
    if faults and (reject is None or not kept):
        raise InputError(_fault_list(faults))
    if len(faults) > max_reject * num_rows:
        raise InputError(
            f"{path}: {len(faults)} of {num_rows} rows cannot be used, more than the "
            f"{max_reject:.0%} allowed.\n  {_fault_list(faults)}"
        )
    return kept


# -- fields ------------------------------------------------------------------------------------


def text_of(row: Row, name: str, *, empty: bool = False) -> str:
    """The text in a field, without NUL and half surrogate pairs; not blank unless `empty`."""
    value = present(row, name)
    if not isinstance(value, str):
        raise BadRow(f'field "{name}": {shown(value)} is not text')
    if not (empty or value.strip()):
        raise BadRow(f'field "{name}" is empty')
    if "\0" in value:
        raise BadRow(f'field "{name}" holds a NUL character')
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise BadRow(
            f'field "{name}": character {error.start} is half of a surrogate pair'
        ) from None
    return value


def integer_of(row: Row, name: str, *, low: int) -> int:
    """The whole number in a field, at least `low`."""
    value = present(row, name)
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise BadRow(f'field "{name}": {shown(value)} is not a whole number from {low} up')
    return value


def number_of(row: Row, name: str) -> float:
    """The finite number in a field."""
    value = present(row, name)
    if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 1e300:
        raise BadRow(f'field "{name}": {shown(value)} is not a number')
    return float(value)


def present(row: Row, name: str) -> Any:
    """The value of a field that must be there."""
    if name not in row:
        raise BadRow(f'field "{name}" is missing')
    return row[name]


def shown(value: Any) -> str:
    """A value as it is quoted in a message, at most 40 characters."""
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:37]}..."


# -- one file ----------------------------------------------------------------------------------


def _rows(path: Path) -> Iterator[tuple[int, Row | BadRow]]:
    for line, content in _lines(path):
        try:
            yield line, _row(content)
        except BadRow as error:
            yield line, error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Line number and content of every line that is not blank."""
    try:
        with open(path, "rb") as handle:
            for number, content in enumerate(iter(lambda: _line(handle), b""), start=1):
                if number == 1:
                    content = content.removeprefix(b"\xef\xbb\xbf")
                if content.strip():
                    yield number, content
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; expected a JSONL file.") from None
    except OSError as error:
        raise InputError(f"{path}: the rows cannot be read: {error.strerror}.") from None


def _line(handle: BinaryIO) -> bytes:
    """The next line, or the start of one that is too long, whose rest is passed over."""
    content = handle.readline(MAX_ROW_BYTES + 1)
    tail = content if len(content) > MAX_ROW_BYTES else b""
    while tail and not tail.endswith(b"\n"):
        tail = handle.readline(MAX_ROW_BYTES)
    return content


def _row(content: bytes) -> Row:
    if len(content) > MAX_ROW_BYTES:
        raise BadRow(f"the row is longer than {MAX_ROW_BYTES:,} bytes")
    try:
        row = json.loads(content.rstrip(b"\r\n").decode(), parse_constant=_no_constant)
    except UnicodeDecodeError as error:
        raise BadRow(f"byte {error.start} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise BadRow(f"not valid JSON at column {error.colno} ({error.msg})") from None
    except RecursionError:
        raise BadRow("nested too deeply") from None
    except ValueError:  # A whole number of thousands of digits.
        raise BadRow("not valid JSON (a number has too many digits)") from None
    if not isinstance(row, dict):
        raise BadRow(f"a JSON object is needed, not {shown(row)}")
    return row


def _no_constant(name: str) -> None:
    raise BadRow(f"not valid JSON ({name} is not a JSON number)")


def _fault_list(faults: list[str]) -> str:
    lines = faults[:_MAX_SHOWN]
    if len(faults) > _MAX_SHOWN:
        lines.append(f"and {len(faults) - _MAX_SHOWN} more bad rows")
    first, *others = lines
    return "\n  ".join([f"{first}.", *(f"{line}." for line in others)])
