"""show, compare, report: commands that read run folders and change nothing in a result."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from modelgraft.cli import show
from modelgraft.cli.command import read
from modelgraft.core.attempts import has_run, read_state, was_killed
from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import dump_json, make_folder, read_json, write_atomic
from modelgraft.core.options import opt
from modelgraft.evaluation.report.folder import SavedRun, duration, read_run
from modelgraft.evaluation.report.numbers import change_rows
from modelgraft.evaluation.tables import text_table

_FILES = ("config", "result")
_MAX_NAMED = 10
_KILLED = "killed; run the same command again to go on"


@dataclass(frozen=True, kw_only=True)
class ShowOptions:
    """Print what a run was given, how it ended, and what came out."""

    run: Path = opt(help="A run folder, or its name under runs/.", positional=True)
    json: bool = opt(False, "Print its state, config and result as one JSON object.")


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """Print what differs between two runs: what they were given, and their numbers."""

    run: Path = opt(help="A run folder, or its name under runs/.", positional=True)
    other: Path = opt(help="The run to hold against it.", positional=True)
    json: bool = opt(False, "Print the differences as one JSON object.")


@dataclass(frozen=True, kw_only=True)
class ReportOptions:
    """Write the page of a run, or of two runs side by side, and print its path."""

    run: Path = opt(help="A run folder, or its name under runs/.", positional=True)
    other: Path | None = opt(None, "A second run to hold against it.", positional=True)
    out: Path | None = opt(None, "Where to write the page, also -o; none is the run's report.html.")
    json: bool = opt(False, "Print the path as one JSON object.")


def show_command(argv: Sequence[str]) -> int:
    """`modelgraft show RUN`."""
    given = read(argv, ShowOptions, "show")
    if given is None:
        return 0
    folder = find_run(given.run)
    if given.json:
        _emit_json({"folder": str(folder), **_stored(folder)})
    else:
        show.emit(_as_text(_read(folder)))
    return 0


def compare_command(argv: Sequence[str]) -> int:
    """`modelgraft compare RUN RUN`."""
    given = read(argv, CompareOptions, "compare")
    if given is None:
        return 0
    a, b = _read(find_run(given.run)), _read(find_run(given.other))
    changes = _changes(a, b)
    of_a, of_b = (run.result.numbers if run.result else () for run in (a, b))
    numbers = change_rows(of_a, of_b)
    if given.json:
        _emit_json(
            {
                "given": [{"name": name, "a": x, "b": y} for name, x, y in changes],
                "a": [number.as_dict() for number in of_a],
                "b": [number.as_dict() for number in of_b],
                "verdicts": [{"name": row.name, "b_is": row.verdict} for row in numbers],
            }
        )
        return 0
    parts = [
        show.columns([("given", str(a.folder), str(b.folder)), *changes])
        if changes
        else "both were given the same"
    ]
    if numbers:
        header = ("measure", "first", "second", "unit", "difference", "second is")
        cells = [(r.name, r.a, r.b, r.unit, r.difference, r.verdict) for r in numbers]
        parts.append(show.columns([header, *cells]))
    show.emit("\n\n".join(parts))
    return 0


def report_command(argv: Sequence[str]) -> int:
    """`modelgraft report RUN [RUN] [-o FILE]`."""
    given = read(["--out" if word == "-o" else word for word in argv], ReportOptions, "report")
    if given is None:
        return 0
    from modelgraft.evaluation.report import render_compare, render_run

    folder = find_run(given.run)
    other = find_run(given.other) if given.other is not None else None
    name = "report.html" if other is None else f"against-{other.resolve().name}.html"
    path = given.out or folder / name
    if os.path.isdir(path):
        raise ConfigError("out", f"--out {path}: this is a folder; add the name of the page.")
    make_folder(path.parent)
    if other is None:
        page = render_run(folder, page_folder=path.parent)
    else:
        page = render_compare(folder, other, page_folder=path.parent)
    write_atomic(path, page)
    show.emit_json({"page": str(path)}) if given.json else show.emit(str(path))
    return 0


def find_run(path: Path) -> Path:
    """The run folder meant by a path or a name under runs/; `InputError` names what is close."""
    places = (path, Path("runs") / path)
    for folder in places:
        _require_readable(folder)
        if has_run(folder):
            return folder
    inside = sorted(str(one.parent) for folder in places for one in folder.glob("*/run.json"))
    if inside:
        some = ", ".join(inside[:_MAX_NAMED]) + (", ..." if len(inside) > _MAX_NAMED else "")
        raise InputError(f"{path}: no run itself, but a folder of runs.\n  There are: {some}.")
    names = [state.parent.name for state in Path("runs").glob("*/run.json")]
    close = difflib.get_close_matches(path.name, names, n=1)
    hint = f"Did you mean runs/{close[0]}?" if close else "A run folder holds a run.json."
    raise InputError(f"{path}: there is no run in this folder.\n  {hint}")


def _require_readable(folder: Path) -> None:
    try:
        os.stat(folder / "run.json")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise InputError(f"{folder}: this folder cannot be read: {error.strerror}.") from None


def _read(folder: Path) -> SavedRun:
    run = read_run(folder)
    return replace(run, state=_KILLED, seconds=None) if was_killed(folder) else run


def _stored(folder: Path) -> dict[str, Any]:
    state = read_state(folder)
    if was_killed(folder):
        state["state"] = "killed"
    paths = {name: folder / f"{name}.json" for name in _FILES}
    kept = {
        name: read_json(path, f"the {name} file of a run") if path.exists() else None
        for name, path in paths.items()
    }
    return {"run": state, **kept}


def _emit_json(value: dict[str, Any]) -> None:
    """Print one JSON object of what lies in run folders, which may be damaged."""
    try:
        text = dump_json(value, indent=2)
    except ValueError:
        raise InputError(
            "--json: a number in this run is not finite, which JSON cannot hold.\n"
            "  Leave --json out to see the rest."
        ) from None
    show.emit(text)


def _as_text(run: SavedRun) -> str:
    took = f", {duration(run.seconds)}" if run.seconds is not None else ""
    parts = [f"{' '.join((run.title, run.action)).strip()}: {run.state}{took}"]
    if run.command:
        parts[0] += f"\n{' '.join(run.command)}"
    if run.error:
        parts.append(run.error)
    rows = [(option.name, option.value or "none", option.source) for option in run.options]
    facts = [(name, value, "") for name, value in run.facts]
    if rows or facts:
        parts.append(show.columns([*rows, *facts], indent="  "))
    if run.result is not None:
        parts += [text for text in (run.result.text, *run.result.remarks) if text]
        if run.result.partial:
            parts.append(f"not fulfilled: {run.result.partial}")
        if run.result.numbers:
            parts.append(text_table(run.result.numbers))
        if run.result.artefacts:
            cells = [(str(run.folder / one.path), one.caption) for one in run.result.artefacts]
            parts.append(show.columns(cells))
    if run.rejects.total:
        parts.append(f"{run.rejects.total} rows were left out, see {run.folder}/rejects.jsonl")
    parts += [f"{problem}" for problem in run.problems]
    return "\n\n".join(parts)


def _changes(a: SavedRun, b: SavedRun) -> list[tuple[str, str, str]]:
    def given(run: SavedRun) -> dict[str, str]:
        facts = {name: value for name, value in run.facts if name in ("seed", "device", "commit")}
        values = {option.name: option.value for option in run.options}
        return {"action": f"{run.title} {run.action}", **values, **facts, **dict(run.versions)}

    first, second = given(a), given(b)
    return [
        (name, first.get(name, "none"), second.get(name, "none"))
        for name in {**first, **second}
        if first.get(name) != second.get(name)
    ]
