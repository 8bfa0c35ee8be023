"""A run folder as a report reads it: whatever is there, and what could not be read by name."""

from __future__ import annotations

import datetime
import shlex
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelgraft.core.attempts import was_killed
from modelgraft.core.card import find_cards
from modelgraft.core.errors import InputError
from modelgraft.core.results import Number, Result
from modelgraft.evaluation.report.figures import is_number
from modelgraft.evaluation.report.formats import read_object, read_rows, require_small, told
from modelgraft.evaluation.report.plots import Axis, Plot, Series

MAX_REJECTS_SHOWN = 20
MAX_CURVES = 8
MAX_CURVE_POINTS = 400


@dataclass(frozen=True)
class Option:
    """A resolved option of the run and where its value came from."""

    name: str
    value: str
    source: str


@dataclass(frozen=True)
class Rejects:
    """The rows that were left out: how many for each reason, and the first ones."""

    total: int = 0
    reasons: tuple[tuple[str, int], ...] = ()
    first: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class SavedRun:
    """A run folder on disk; `problems` names the files that could not be read."""

    folder: Path
    state: str
    command: tuple[str, ...]
    title: str
    action: str
    about: str
    facts: tuple[tuple[str, str], ...]
    versions: tuple[tuple[str, str], ...]
    error: str
    seconds: float | None
    result: Result | None
    options: tuple[Option, ...] = ()
    rejects: Rejects = field(default_factory=Rejects)
    curves: tuple[Plot, ...] = ()
    unlisted: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


def read_run(folder: Path) -> SavedRun:
    """The run in a folder, in any state; `InputError` when the folder holds no run."""
    record = read_object(folder / "run.json", "the state of a run")
    problems: list[str] = []
    result = _read_result(folder, problems)
    listed = {artefact.path for artefact in result.artefacts} if result else set()
    options = _read_options(folder, problems)
    rejects = _read_rejects(folder, problems)
    curves = _read_curves(folder, problems)
    return SavedRun(
        folder=folder,
        state=_state(record, folder),
        command=_command(record.get("command")),
        **_names(record, folder),
        facts=_facts(record, folder),
        versions=_pairs(record.get("versions")),
        error=_text(record.get("error")),
        seconds=record["seconds"] if is_number(record.get("seconds")) else None,
        result=result,
        options=options,
        rejects=rejects,
        curves=curves,
        unlisted=tuple(name for name in _files(folder) if name not in listed),
        problems=tuple(problems),
    )


def duration(seconds: float) -> str:
    """A span of time as people say it: `4.2 s`, `3 min 12 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(stamp: Any) -> str:
    """A stored time stamp as `22 Nov 2026, 09:12 UTC`."""
    try:
        when = datetime.datetime.fromisoformat(stamp)
    except (TypeError, ValueError):
        return _text(stamp)
    zone = f" {when.tzname()}" if when.tzinfo else ""
    return f"{when.day} {when:%b %Y, %H:%M}{zone}"


def _state(record: dict[str, Any], folder: Path) -> str:
    state = record.get("state")
    if state == "running" and was_killed(folder):
        return "killed"
    return _text(state) or "unknown"


def _names(record: dict[str, Any], folder: Path) -> dict[str, str]:
    """What the run is called: by the method's card where there is one, else by its id."""
    method, action = _text(record.get("method")), _text(record.get("action"))
    card = find_cards().cards.get(method)
    if card is None:
        return {"title": method or folder.resolve().name, "action": action, "about": ""}
    about = [one.help for one in card.actions if one.name == action]
    return {"title": card.title, "action": action, "about": "".join(about)}


def _command(command: Any) -> tuple[str, ...]:
    """The command in parts that a line should not break: an option stays with its value."""
    if not isinstance(command, list):
        return (_text(command),) if command else ()
    parts: list[str] = []
    for word in map(str, command):
        is_value = parts and parts[-1].startswith("--") and " " not in parts[-1]
        if is_value and not word.startswith("-"):
            parts[-1] += f" {shlex.quote(word)}"
        else:
            parts.append(shlex.quote(word))
    return tuple(parts)


def _facts(record: dict[str, Any], folder: Path) -> tuple[tuple[str, str], ...]:
    seconds = record.get("seconds")
    facts = (
        ("started", moment(record.get("started"))),
        ("finished", moment(record.get("finished"))),
        ("took", duration(float(seconds)) if is_number(seconds) else ""),
        ("seed", _text(record.get("seed"))),
        ("device", _text(record.get("device"))),
        ("number type", _text(record.get("dtype"))),
        ("commit", _text(record.get("commit"))),
        ("folder", folder.resolve().name),
    )
    return tuple((name, value) for name, value in facts if value)


def _read_result(folder: Path, problems: list[str]) -> Result | None:
    path = folder / "result.json"
    if not path.exists():
        return None
    try:
        result = Result.from_dict(read_object(path, "a result"))
    except InputError as error:
        problems.append(told(error, folder))
        return None
    sound = []
    for number in result.numbers:
        if _is_sound(number):
            sound.append(number)
        else:
            problems.append(f"result.json: the number {number.name!r} is malformed; left out.")
    artefacts = []
    for artefact in result.artefacts:
        if all(isinstance(value, str) for value in vars(artefact).values()):
            artefacts.append(artefact)
        else:
            problems.append(f"result.json: the artefact {artefact.path!r} is malformed; left out.")
    return Result(
        tuple(sound),
        tuple(artefacts),
        _text(result.text),
        tuple(map(_text, result.remarks)),
        _text(result.partial),
    )


def _is_sound(number: Number) -> bool:
    ends = (number.value, number.low, number.high, number.baseline)
    return (
        isinstance(number.name, str)
        and isinstance(number.unit, str)
        and number.better in ("higher", "lower")
        and all(end is None or isinstance(end, float) or is_number(end) for end in ends)
        and (number.n is None or (isinstance(number.n, int) and is_number(number.n)))
    )


def _read_options(folder: Path, problems: list[str]) -> tuple[Option, ...]:
    """Every option; the ones a person set come before the defaults."""
    path = folder / "config.json"
    if not path.exists():
        return ()
    try:
        config = read_object(path, "the config of a run")
    except InputError as error:
        problems.append(told(error, folder))
        return ()
    values, sources = dict(_pairs(config.get("values"))), dict(_pairs(config.get("sources")))
    options = [Option(name, value, sources.get(name, "")) for name, value in values.items()]
    return tuple(sorted(options, key=lambda option: option.source == "default"))


def _read_rejects(folder: Path, problems: list[str]) -> Rejects:
    rows = [row for _, row in _rows(folder / "rejects.jsonl", problems)]
    reasons = Counter(_text(row.get("reason")) for row in rows)
    keys = ("file", "line", "id", "reason")
    first = [tuple(_text(row.get(key)) for key in keys) for row in rows[:MAX_REJECTS_SHOWN]]
    return Rejects(len(rows), tuple(reasons.most_common()), tuple(first))


def _read_curves(folder: Path, problems: list[str]) -> tuple[Plot, ...]:
    """One line plot for each metric of the log that has at least two steps."""
    points: dict[str, list[tuple[float, float]]] = {}
    for _, row in _rows(folder / "metrics.jsonl", problems):
        for name, value in row.items():
            if name not in ("step", "time") and is_number(value) and is_number(row.get("step")):
                points.setdefault(name, []).append((row["step"], value))
    curves = []
    for name, found in list(points.items())[:MAX_CURVES]:
        thinned = found[:: 1 + len(found) // MAX_CURVE_POINTS]
        if len(thinned) > 1:
            x, y = zip(*thinned, strict=True)
            try:
                curves.append(Plot("line", name, Axis("step"), Axis(name), [Series(name, x, y)]))
            except InputError as error:
                problems.append(f"metrics.jsonl, {name}: {error}")
    return tuple(curves)


def _rows(path: Path, problems: list[str]) -> list[tuple[int, dict[str, Any]]]:
    if not path.exists():
        return []
    try:
        require_small(path)
        return read_rows(path)
    except InputError as error:
        problems.append(str(error))
        return []


def _files(folder: Path) -> list[str]:
    """The files under artefacts/, as paths relative to the run folder."""
    found = sorted((folder / "artefacts").rglob("*"))
    return [str(path.relative_to(folder)) for path in found if path.is_file()]


def _pairs(value: Any) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, dict):
        return ()
    return tuple((name, _text(one)) for name, one in value.items())


def _text(value: Any) -> str:
    """Any JSON value as people read it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return str(value)
