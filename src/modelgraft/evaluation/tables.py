"""Numbers as tables for people: aligned text for a terminal, Markdown for a README.

A column that no number fills is left out; a cell that cannot be filled shows a dash, so a missing
interval or baseline is seen and never read as zero.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from modelgraft.core.results import Number, format_value

MISSING = "-"
_HEADER = ("measure", "value", "95 % interval", "n", "baseline", "better")
_RIGHT = (False, True, False, True, True, False)


def text_table(numbers: Iterable[Number]) -> str:
    """One line per number below a header, columns aligned with spaces."""
    header, rows, right = _columns(numbers)
    if not rows:
        return "no numbers"
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = []
    for row in (header, *rows):
        cells = zip(row, widths, right, strict=True)
        padded = (cell.rjust(width) if flag else cell.ljust(width) for cell, width, flag in cells)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def markdown_table(numbers: Iterable[Number]) -> str:
    """The same table in Markdown."""
    header, rows, right = _columns(numbers)
    return markdown_rows(header, rows, right) if rows else "No numbers."


def markdown_rows(
    header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[bool] = ()
) -> str:
    """A Markdown table of any cells; `right` marks the columns that are aligned to the right."""
    flags = [*right, *(False for _ in header[len(right) :])]
    lines = [_markdown_line(header), _markdown_line("---:" if flag else "---" for flag in flags)]
    return "\n".join([*lines, *map(_markdown_line, rows)])


def _markdown_line(cells: Iterable[str]) -> str:
    escaped = (" ".join(cell.split()).replace("\\", "\\\\").replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(escaped) + " |"


def _columns(numbers: Iterable[Number]) -> tuple[list[str], list[list[str]], list[bool]]:
    """Header, rows and alignment of the columns that hold anything."""
    rows = [_cells(number) for number in numbers]
    kept = [
        place
        for place in range(len(_HEADER))
        if place < 2 or any(row[place] != MISSING for row in rows)
    ]
    header = [_HEADER[place] for place in kept]
    return header, [[row[i] for i in kept] for row in rows], [_RIGHT[i] for i in kept]


def _cells(number: Number) -> tuple[str, ...]:
    bounds = (number.low, number.high)
    interval = MISSING if None in bounds else f"[{_value(number.low)}, {_value(number.high)}]"
    return (
        " ".join(number.name.split()),
        _with_unit(number.value, number.unit),
        interval,
        MISSING if number.n is None else f"{number.n:,}",
        _with_unit(number.baseline, number.unit),
        # The direction matters only where there is something to be better than.
        MISSING if number.baseline is None else number.better,
    )


def _value(value: float | None) -> str:
    return MISSING if value is None or not math.isfinite(value) else format_value(value)


def _with_unit(value: float | None, unit: str) -> str:
    text = _value(value)
    return text if text == MISSING or not unit else f"{text} {unit}"
