"""The record of an experiment: one JSON file that every quoted number comes from.

`reproduction/METHOD/EXPERIMENT.json` holds exactly the fields of `Record`. Files are checked when
they are read, because tables are built from them and people edit files.
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from modelgraft.core.errors import InputError
from modelgraft.core.files import read_json, write_json
from modelgraft.core.results import Number

Verdict = Literal["holds", "does not hold at this scale", "not tested"]
HOLDS: Verdict = "holds"
DOES_NOT_HOLD: Verdict = "does not hold at this scale"
NOT_TESTED: Verdict = "not tested"
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_MAX_FAULTS = 10


@dataclass(frozen=True)
class Record:
    """What an experiment found, how, with which versions and on what machine.

    `paper` names the paper's figure and setting, `wall_s` is the time of this experiment alone,
    `machine` holds cores, memory_gb and processor, and `date` is when it started (ISO 8601).
    """

    method: str
    experiment: str
    statement: str
    paper: str
    verdict: Verdict
    numbers: tuple[Number, ...]
    seeds: tuple[int, ...]
    versions: Mapping[str, str]
    commit: str
    wall_s: float
    machine: Mapping[str, str | int | float]
    date: str

    def as_dict(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        numbers = [number.as_dict() for number in self.numbers]
        lists = {"numbers": numbers, "seeds": list(self.seeds)}
        return {**vars(self), **lists, "versions": {**self.versions}, "machine": {**self.machine}}


def record_path(folder: Path, method: str, experiment: str) -> Path:
    """Where the record of this experiment lies below the folder of all records."""
    return folder / method / f"{experiment}.json"


def write_record(folder: Path, record: Record) -> Path:
    """Write the record atomically to its place below `folder`; faults are refused before."""
    path = record_path(folder, record.method, record.experiment)
    parse_record(record.as_dict(), path)
    write_json(path, record.as_dict())
    return path


def read_experiment(path: Path) -> Record:
    """The record in this file; `InputError` names the file and every key that is wrong."""
    record = parse_record(read_json(path, "the record of an experiment"), path)
    place = (path.parent.name, path.stem)
    if (record.method, record.experiment) != place:
        raise InputError(
            f"{path}: method and experiment are {record.method} and {record.experiment}, but the "
            f"file lies where {place[0]} and {place[1]} belong.\n  Move the file, or mend the keys."
        )
    return record


def parse_record(value: Any, place: Path | str) -> Record:
    """The record that `as_dict` made; `InputError` lists every fault, at most ten."""
    faults = _faults(value)
    if faults:
        lines = faults[:_MAX_FAULTS]
        if len(faults) > _MAX_FAULTS:
            lines.append(f"... and {len(faults) - _MAX_FAULTS} more")
        head = f"{place}: not a record as `modelgraft METHOD reproduce` writes it:"
        raise InputError("\n  ".join([head, *lines]))
    fields: dict[str, Any] = dict(value)
    fields["numbers"] = tuple(Number(**number) for number in value["numbers"])
    fields["seeds"] = tuple(value["seeds"])
    return Record(**fields)


def _faults(value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [f"an object is needed, not {_kind(value)}"]
    faults = _wrong_keys(value, tuple(_CHECKS), "")
    faults += _wrong_values(value, _CHECKS, "")
    numbers = value.get("numbers")
    for place, number in enumerate(numbers if isinstance(numbers, list) else ()):
        faults += _number_faults(number, f"numbers[{place}]")
    if numbers == [] and value.get("verdict") in (HOLDS, DOES_NOT_HOLD):
        faults.append(f"numbers: the verdict {value['verdict']!r} needs at least one number")
    machine = value.get("machine")
    if isinstance(machine, dict):
        faults += _wrong_keys(machine, tuple(_MACHINE_CHECKS), "machine.")
        faults += _wrong_values(machine, _MACHINE_CHECKS, "machine.")
    return faults


def _number_faults(number: Any, name: str) -> list[str]:
    if not isinstance(number, dict):
        return [f"{name}: an object is needed, not {_kind(number)}"]
    faults = _wrong_keys(number, tuple(_NUMBER_CHECKS), f"{name}.")
    faults += _wrong_values(number, _NUMBER_CHECKS, f"{name}.")
    bounds = (number.get("low"), number.get("high"))
    if all(map(_is_finite, bounds)) and bounds[0] > bounds[1]:
        faults.append(f"{name}.low: {bounds[0]} lies above high, {bounds[1]}")
    return faults


def _wrong_keys(value: Mapping[str, Any], keys: tuple[str, ...], prefix: str) -> list[str]:
    missing = [f"{prefix}{key}: this key is missing" for key in keys if key not in value]
    return missing + [f"{prefix}{key}: unknown key" for key in value if key not in keys]


def _wrong_values(value: Mapping[str, Any], checks: Mapping[str, Check], prefix: str) -> list[str]:
    return [
        f"{prefix}{key}: {check.needed} is needed, not {_kind(value[key])}"
        for key, check in checks.items()
        if key in value and not check.holds(value[key])
    ]


def _kind(value: Any) -> str:
    if isinstance(value, dict | list):
        return f"{'an object' if isinstance(value, dict) else 'a list'} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@dataclass(frozen=True)
class Check:
    """What one key must hold, in words and as a test."""

    needed: str
    holds: Callable[[Any], bool]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_finite(value: Any) -> bool:
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _is_identifier(value: Any) -> bool:
    return isinstance(value, str) and _IDENTIFIER.fullmatch(value) is not None


def _is_date(value: Any) -> bool:
    try:
        return datetime.datetime.fromisoformat(value).tzinfo is not None
    except (TypeError, ValueError):
        return False


def _or_none(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _is_versions(value: Any) -> bool:
    return isinstance(value, dict) and "python" in value and all(map(_is_text, value.values()))


_NAME = Check("a name of letters, digits, - and _", _is_identifier)
_TEXT = Check("some text", _is_text)
_FINITE = Check("a finite number", _is_finite)
_FINITE_OR_NONE = Check("a finite number or null", _or_none(_is_finite))
_DURATION = Check("a number of seconds from 0 up", lambda v: _is_finite(v) and v >= 0)
_CHECKS = {
    "method": _NAME,
    "experiment": _NAME,
    "statement": _TEXT,
    "paper": _TEXT,
    "verdict": Check(f"one of {', '.join(VERDICTS)}", lambda value: value in VERDICTS),
    "numbers": Check("a list", lambda value: isinstance(value, list)),
    "seeds": Check(
        "a list of whole numbers", lambda v: isinstance(v, list) and all(map(_is_whole, v))
    ),
    "versions": Check("an object of versions with python in it", _is_versions),
    "commit": _TEXT,
    "wall_s": _DURATION,
    "machine": Check("an object", lambda value: isinstance(value, dict)),
    "date": Check("a date with time and zone, as 2026-01-31T12:00:00+00:00,", _is_date),
}
_NUMBER_CHECKS = {
    "name": _TEXT,
    "value": _FINITE,
    "low": _FINITE_OR_NONE,
    "high": _FINITE_OR_NONE,
    "n": Check("a whole number or null", _or_none(_is_whole)),
    "unit": Check("text", lambda value: isinstance(value, str)),
    "baseline": _FINITE_OR_NONE,
    "better": Check("higher or lower", lambda value: value in ("higher", "lower")),
}
_MACHINE_CHECKS = {
    "cores": Check("a whole number from 1 up", lambda value: _is_whole(value) and value > 0),
    "memory_gb": _FINITE,
    "processor": _TEXT,
}
