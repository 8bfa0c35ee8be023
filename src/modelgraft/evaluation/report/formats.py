"""Tables and traces as files: what an action writes and a viewer reads.

A table is JSON, `{"columns": ["length", "seconds"], "rows": [[1024, 0.8]], "caption": "..."}`
(every row as long as `columns`; a cell is text, a number, true, false or null), or a CSV file
whose first row names the columns (its cells are shown exactly as they are written).

A trace is JSONL, one turn a line: `{"role": "user", "text": "...", "seconds": 1.5}`. `name` may
stand for `role`, and `seconds` may be left out.
"""

from __future__ import annotations

import csv
import json
import math
import numbers
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modelgraft.core.errors import InputError
from modelgraft.core.files import dump_json, read_json, write_atomic, write_json

Cell = str | int | float | bool | None
MAX_BYTES = 8_000_000


@dataclass(frozen=True)
class Table:
    """Rows under named columns; numbers stay numbers so that a page can sort them."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""

    def __post_init__(self) -> None:
        for number, row in enumerate(self.rows, start=1):
            if len(row) != len(self.columns):
                raise InputError(
                    f"table row {number} has {len(row)} cells, the table has "
                    f"{len(self.columns)} columns."
                )

    def save(self, path: Path) -> None:
        """Write the table as JSON; a number that is not finite becomes null."""
        rows = [[json_cell(cell) for cell in row] for row in self.rows]
        write_json(path, {"columns": list(self.columns), "rows": rows, "caption": self.caption})

    @classmethod
    def load(cls, path: Path) -> Table:
        """The table in a JSON or CSV file; `InputError` names what is wrong with it."""
        require_small(path)
        return _load_csv(path) if path.suffix.lower() == ".csv" else _load_json(path)


@dataclass(frozen=True)
class Turn:
    """One entry of a trace: who spoke or acted, what came, and how long it took."""

    role: str
    text: str
    seconds: float | None = None


def save_trace(path: Path, turns: Iterable[Turn]) -> None:
    """Write a trace, one turn a line."""
    lines = []
    for turn in turns:
        row: dict[str, Any] = {"role": turn.role, "text": turn.text}
        if turn.seconds is not None:
            row["seconds"] = json_cell(turn.seconds)
        lines.append(dump_json(row))
    write_atomic(path, "".join(line + "\n" for line in lines))


def load_trace(path: Path) -> list[Turn]:
    """The turns of a trace file; `InputError` names the line that is not one."""
    require_small(path)
    turns = []
    for number, row in read_rows(path):
        role, text, seconds = row.get("role", row.get("name", "")), row.get("text"), None
        if isinstance(row.get("seconds"), (int, float)):
            seconds = float(row["seconds"])
        if not isinstance(role, str) or not isinstance(text, str):
            raise InputError(f"{path.name}:{number}: a turn needs a text and a role, as strings.")
        turns.append(Turn(role, text, seconds))
    return turns


def read_rows(path: Path) -> list[tuple[int, dict[str, Any]]]:
    """The objects of a JSONL file with their line numbers; a torn last line is left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {error.strerror}.") from None
    rows = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            if number == len(lines):  # no newline after it: a killed process was writing it
                continue
            raise InputError(f"{path.name}:{number}: this line is not JSON.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name}:{number}: this line is not a JSON object.")
        rows.append((number, row))
    return rows


def told(error: InputError, folder: Path) -> str:
    """The message with paths relative to the folder: a page may be read on another machine."""
    return str(error).replace(f"{folder}/", "")


def require_small(path: Path) -> None:
    """Refuse a file that is too large to be shown inside a page."""
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read: {error.strerror}.") from None
    if size > MAX_BYTES:
        raise InputError(
            f"{path.name}: {size:,} bytes are too many to show in a page "
            f"(at most {MAX_BYTES:,}); open the file itself."
        )


def read_object(path: Path, what: str) -> dict[str, Any]:
    """The JSON object in a file; `InputError` when it is missing, broken or another thing."""
    try:
        value = read_json(path, what)
    except ValueError:  # an integer of thousands of digits
        raise InputError(f"{path.name}: {what} holds a number that cannot be read.") from None
    if not isinstance(value, dict):
        raise InputError(f"{path.name}: {what} must be a JSON object.")
    return value


def json_cell(value: Any) -> Cell:
    """The value as JSON can hold it: text, truth, whole or finite number, else None."""
    if value is None or isinstance(value, (str, bool)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None


def _load_json(path: Path) -> Table:
    value = read_object(path, "a table")
    columns, rows, caption = value.get("columns"), value.get("rows"), value.get("caption", "")
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        raise InputError(f"{path.name}: a table needs `columns`, a list of names.")
    if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
        raise InputError(f"{path.name}: a table needs `rows`, a list of lists.")
    for number, row in enumerate(rows, start=1):
        if any(isinstance(cell, (list, dict)) for cell in row):
            raise InputError(
                f"{path.name}: row {number} has a cell that is neither text nor number."
            )
    try:
        return Table(columns, rows, caption if isinstance(caption, str) else "")
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None


def _load_csv(path: Path) -> Table:
    try:
        with open(path, encoding="utf-8-sig", newline="") as handle:
            rows = [row for row in csv.reader(handle) if row]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path.name}: not a CSV table: {error}.") from None
    if not rows:
        raise InputError(f"{path.name}: this CSV file is empty; its first row names the columns.")
    try:
        return Table(rows[0], rows[1:])
    except InputError as error:
        raise InputError(f"{path.name}: {error}") from None
