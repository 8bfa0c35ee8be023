"""Run the experiments of a method and keep their records.

An experiment is a function that measures with baselines in the same run and returns `Findings`.
Its record is evidence and goes to `reproduction/`, unless the pass was a quick one.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.provenance import commit, machine, versions
from modelgraft.core.results import Artefact, Number, Result
from modelgraft.core.runs import Run
from modelgraft.evaluation.record import (
    DOES_NOT_HOLD,
    HOLDS,
    NOT_TESTED,
    VERDICTS,
    Record,
    Verdict,
    parse_record,
    read_experiment,
    record_path,
    write_record,
)

__all__ = [
    "DOES_NOT_HOLD",
    "HOLDS",
    "NOT_TESTED",
    "Experiment",
    "Findings",
    "Record",
    "Verdict",
    "read_experiment",
    "reproduce",
    "write_experiment",
]

JOURNAL = "experiments.jsonl"


@dataclass(frozen=True)
class Findings:
    """What an experiment measured.

    Files that the experiment adds to the run are kept beside them: a resumed run shows them again
    without running the experiment again. `artefacts` are further files below the run folder.
    `subject` names what was measured (model, weights, number type); it joins the versions.
    """

    numbers: tuple[Number, ...]
    verdict: Verdict
    seeds: tuple[int, ...] = ()
    artefacts: tuple[Artefact, ...] = ()
    remarks: tuple[str, ...] = ()
    subject: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        assert self.verdict in VERDICTS, self.verdict


@dataclass(frozen=True)
class Experiment:
    """One claim of the paper and the function that tests it.

    `statement` is the claim in one sentence, `paper` the paper's figure and setting, and
    `run(run, quick)` returns the findings; a quick pass takes the smallest sizes that execute.
    """

    id: str
    statement: str
    paper: str
    run: Callable[[Run, bool], Findings]


@dataclass(frozen=True)
class _Finished:
    """A row of the journal: what the record and the result of an experiment are made of."""

    record: Record
    quick: bool
    artefacts: tuple[Artefact, ...]
    remarks: tuple[str, ...]

    def as_row(self) -> dict[str, Any]:
        artefacts = [dataclasses.asdict(artefact) for artefact in self.artefacts]
        remarks = list(self.remarks)
        record = self.record.as_dict()
        return {"record": record, "quick": self.quick, "artefacts": artefacts, "remarks": remarks}

    @classmethod
    def from_row(cls, row: dict[str, Any], place: Path) -> _Finished:
        try:
            return cls(
                record=parse_record(row["record"], place),
                quick=row["quick"],
                artefacts=tuple(Artefact(**artefact) for artefact in row["artefacts"]),
                remarks=tuple(row["remarks"]),
            )
        except (KeyError, TypeError) as error:
            raise InputError(
                f"{place}: a row is not a finished experiment: {error}.\n"
                "  Start in a new run folder."
            ) from None


def write_experiment(
    folder: Path,
    method: str,
    experiment: Experiment,
    findings: Findings,
    *,
    started: datetime.datetime,
    wall_s: float,
) -> Path:
    """Write the record `folder/METHOD/EXPERIMENT.json` of these findings; returns its path."""
    record = _record(method, experiment, findings, started=started, wall_s=wall_s)
    return write_record(folder, record)


def reproduce(
    method: str,
    experiments: Sequence[Experiment],
    *,
    names: Sequence[str],
    quick: bool,
    run: Run,
    folder: Path,
) -> Result:
    """The result of the experiments called `names` (all when empty), run one after the other.

    Each finished experiment is journaled in the run folder, so a run that was killed goes on with
    the next one, and recorded below `folder` unless `quick`.
    """
    chosen = _choose(experiments, names)
    if folder.exists() and not folder.is_dir():
        raise ConfigError("folder", f"--folder {folder}: this is a file, not a folder.")
    finished: list[_Finished] = []
    with run.journal(JOURNAL) as journal:
        earlier = [_Finished.from_row(row, journal.path) for row in journal.rows]
        for place, experiment in enumerate(chosen):
            run.check()
            run.progress(place, len(chosen), experiment.id)
            done = _find(earlier, method, experiment, quick, run.folder)
            if done is None:
                done = _measure(method, experiment, quick, run)
                journal.append(done.as_row())
            if not quick and not _has_newer(folder, done.record):
                write_record(folder, done.record)
            finished.append(done)
    run.progress(len(chosen), len(chosen), "all experiments")
    return _result(finished, quick, folder / method)


def _choose(experiments: Sequence[Experiment], names: Sequence[str]) -> list[Experiment]:
    known = {experiment.id: experiment for experiment in experiments}
    strange = [name for name in names if name not in known]
    if strange:
        raise ConfigError(
            "experiments",
            f"experiments: there is no {', '.join(strange)}; there are {', '.join(known)}.\n"
            "  Name some of these, or none to run all of them.",
        )
    return [known[name] for name in dict.fromkeys(names)] if names else list(experiments)


def _find(
    earlier: Sequence[_Finished], method: str, experiment: Experiment, quick: bool, run_folder: Path
) -> _Finished | None:
    """The experiment as an earlier attempt of this run finished it, if its files still exist."""
    for done in reversed(earlier):
        same = (done.record.method, done.record.experiment, done.quick)
        if same == (method, experiment.id, quick):
            whole = all((run_folder / artefact.path).is_file() for artefact in done.artefacts)
            return done if whole else None
    return None


def _measure(method: str, experiment: Experiment, quick: bool, run: Run) -> _Finished:
    run.log("experiment started", id=experiment.id)
    started, clock = datetime.datetime.now(datetime.UTC), time.monotonic()
    known = set(run.added)
    findings = experiment.run(run, quick)
    wall_s = time.monotonic() - clock
    record = _record(method, experiment, findings, started=started, wall_s=wall_s)
    run.log("experiment finished", id=experiment.id, verdict=findings.verdict, wall_s=record.wall_s)
    artefacts = tuple(artefact for artefact in run.added if artefact not in known)
    return _Finished(record, quick, (*findings.artefacts, *artefacts), findings.remarks)


def _record(
    method: str,
    experiment: Experiment,
    findings: Findings,
    *,
    started: datetime.datetime,
    wall_s: float,
) -> Record:
    record = Record(
        method=method,
        experiment=experiment.id,
        statement=experiment.statement,
        paper=experiment.paper,
        verdict=findings.verdict,
        numbers=tuple(_plain(number) for number in findings.numbers),
        seeds=tuple(int(seed) for seed in findings.seeds),
        versions={**versions(), **findings.subject},
        commit=commit(),
        wall_s=round(wall_s, 3),
        machine=machine(),
        date=started.isoformat(timespec="seconds"),
    )
    return parse_record(record.as_dict(), f"{method} {experiment.id}")


def _plain(number: Number) -> Number:
    """The number without array scalars, which JSON cannot hold."""
    floats = {
        name: None if (value := getattr(number, name)) is None else float(value)
        for name in ("low", "high", "baseline")
    }
    n = None if number.n is None else int(number.n)
    return dataclasses.replace(number, value=float(number.value), n=n, **floats)


def _has_newer(folder: Path, record: Record) -> bool:
    """True when a later run has recorded this experiment since; its record then stays."""
    try:
        present = read_experiment(record_path(folder, record.method, record.experiment))
    except InputError:
        return False  # absent or damaged: the record is written
    as_time = datetime.datetime.fromisoformat
    return as_time(present.date) > as_time(record.date)


def _result(finished: Sequence[_Finished], quick: bool, folder: Path) -> Result:
    records = [done.record for done in finished]
    lines = [f"{record.experiment} {record.verdict}: {record.statement}" for record in records]
    remarks = [f"{done.record.experiment}: {text}" for done in finished for text in done.remarks]
    if quick:
        remarks.insert(0, "Quick pass: sizes too small for evidence; no record was written.")
    else:
        lines.append(f"Records: {folder}")
    return Result(
        numbers=tuple(
            dataclasses.replace(number, name=f"{record.experiment} {number.name}")
            for record in records
            for number in record.numbers
        ),
        artefacts=tuple(artefact for done in finished for artefact in done.artefacts),
        text="\n".join(lines),
        remarks=tuple(remarks),
    )
