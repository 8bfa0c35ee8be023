"""README tables that are built from the records, so that prose cannot drift from them.

A README holds a block for each method it reports on:

    <!-- reproduction:star_attention -->
    (written by `update_readme`)
    <!-- /reproduction -->

A block `verdicts:star_attention` holds the claims and verdicts alone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from modelgraft.core.errors import InputError
from modelgraft.core.files import write_atomic
from modelgraft.core.results import format_value
from modelgraft.evaluation.record import Record, read_experiment
from modelgraft.evaluation.tables import markdown_rows, markdown_table

_OPEN = re.compile(r"<!-- (reproduction|verdicts):([A-Za-z0-9][A-Za-z0-9_-]*) -->")
_CLOSE = re.compile(r"<!-- /(reproduction|verdicts) -->")
_NOTHING = "No experiment has been recorded yet."


def reproduction_table(folder: Path) -> str:
    """Markdown of all records in `folder` (`reproduction/METHOD`): claims, verdicts, numbers."""
    records = _records(folder)
    if not records:
        return _NOTHING
    claims = [(r.experiment, r.statement, r.paper, r.verdict) for r in records]
    parts = [markdown_rows(("experiment", "claim", "in the paper", "verdict"), claims)]
    for record in records:
        parts += [f"**{record.experiment}.** {_provenance(record)}", markdown_table(record.numbers)]
    return "\n\n".join(parts)


def verdict_table(folder: Path) -> str:
    """Markdown of the claims and verdicts of all records in `folder` (`reproduction/METHOD`)."""
    rows = [(r.experiment, r.statement, r.verdict) for r in _records(folder)]
    return markdown_rows(("experiment", "claim", "verdict"), rows) if rows else _NOTHING


_TABLES = {"reproduction": reproduction_table, "verdicts": verdict_table}


def _records(folder: Path) -> list[Record]:
    return [read_experiment(path) for path in sorted(folder.glob("*.json"), key=_natural)]


def update_readme(readme: Path, folder: Path) -> bool:
    """Rewrite every block of `readme` from the records below `folder`; True if it changed.

    Raises `InputError` when there is no block or one is not closed.
    """
    old = _read(readme)
    new = _with_fresh_blocks(old, readme, folder)
    if new != old:
        write_atomic(readme, new)
    return new != old


def check_readme(readme: Path, folder: Path) -> bool:
    """True when every block of `readme` says what the records below `folder` say now."""
    text = _read(readme)
    return _with_fresh_blocks(text, readme, folder) == text


def _with_fresh_blocks(text: str, readme: Path, folder: Path) -> str:
    """The text with the lines between each pair of markers replaced."""
    lines: list[str] = []
    opened, kind = 0, ""
    found = False
    for number, line in enumerate(text.split("\n"), start=1):
        start, end = _OPEN.fullmatch(line.strip()), _CLOSE.fullmatch(line.strip())
        if opened and (start or (end and end[1] != kind)):
            raise _unclosed(readme, opened, kind)
        if start:
            opened, kind, found = number, start[1], True
            lines += [line, _TABLES[kind](folder / start[2])]
        elif end:
            if not opened:
                raise InputError(f"{readme}:{number}: {line.strip()} closes no block.")
            opened = 0
            lines.append(line)
        elif not opened:
            lines.append(line)
    if opened:
        raise _unclosed(readme, opened, kind)
    if not found:
        raise InputError(
            f"{readme}: there is no place for the numbers.\n"
            "  Put the lines <!-- reproduction:METHOD --> and <!-- /reproduction --> where they "
            "belong."
        )
    return "\n".join(lines)


def _unclosed(readme: Path, line: int, kind: str) -> InputError:
    return InputError(
        f"{readme}:{line}: this block is not closed; add the line <!-- /{kind} --> after it."
    )


def _read(readme: Path) -> str:
    try:
        return readme.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{readme}: the README cannot be read: {error}.") from None


def _natural(path: Path) -> list[tuple[str, int]]:
    """A sorting key that puts E2 before E10."""
    return [(text, int(digits or 0)) for text, digits in re.findall(r"(\D*)(\d*)", path.stem)]


def _provenance(record: Record) -> str:
    machine = record.machine
    seeds = _spans(record.seeds) or "none"
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    return (
        f"Verdict: {record.verdict}. Seeds {seeds}; {format_value(record.wall_s)} s on "
        f"{machine['cores']} cores ({machine['processor']}, {machine['memory_gb']} GB); "
        f"{versions}; commit {record.commit}; {record.date[:10]}."
    )


def _spans(seeds: Sequence[int]) -> str:
    """Numbers with runs of three or more as their ends: 0-99, 200."""
    spans: list[list[int]] = []
    for seed in seeds:
        if spans and seed == spans[-1][-1] + 1:
            spans[-1].append(seed)
        else:
            spans.append([seed])
    parts = [[f"{one[0]}-{one[-1]}"] if len(one) > 2 else map(str, one) for one in spans]
    return ", ".join(text for part in parts for text in part)
