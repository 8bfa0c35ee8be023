"""Training sets against test sets: a table of overlaps, and the sets without what they overlap.

The rules are those of `language.decontamination` (Tulu 3). A set that is contaminated
with an unseen test set is dropped; with a dev test set, its rows that overlap any test are removed,
or the set is dropped. What is kept is kept byte for byte. Letters: `piece` a stretch of a file from
one byte to another; a row is known by the byte at which it begins, written with 15 digits.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import sha256_file, write_atomic, write_errors, write_json
from modelgraft.core.processes import refuse_processes
from modelgraft.core.provenance import versions
from modelgraft.core.results import Number, Result
from modelgraft.core.rows import MAX_ROW_BYTES, BadRow, Row, read_rows, shown, text_of
from modelgraft.core.runs import Run
from modelgraft.evaluation.report.formats import Table
from modelgraft.language.decontamination.analyser import analyse
from modelgraft.language.decontamination.index import EvalIndex, Evaluation, Instance, Suite
from modelgraft.language.decontamination.matching import Document
from modelgraft.language.decontamination.overlaps import Overlap, Scan, merge
from modelgraft.language.decontamination.report import (
    DecontaminationReport,
    OnDev,
    SetReport,
    judge,
)
from modelgraft.language.decontamination.shards import scan_shards
from modelgraft.methods.tulu3.config import DecontaminateConfig
from modelgraft.methods.tulu3.data import id_of, turns_of

Piece = tuple[Path, int, int]
_PIECE_BYTES = 32 << 20  # about six seconds of work, after which somebody may want to stop
_ROWS_BETWEEN_CHECKS = 10_000


@dataclass(frozen=True)
class Sifted:
    """One training set after its rows were sorted out; `report` names rows by their ids.

    lines: of the rows that overlap a test, in the order of `report.overlaps`.
    counts: of rows, and of bad, removed and kept ones; a bad row could not be searched.
    """

    path: Path
    sha256: str
    report: SetReport
    lines: tuple[int, ...]
    counts: dict[str, int]

    def as_dict(self) -> dict[str, Any]:
        """The report and the counts as plain JSON values."""
        value = self.report.as_dict()
        for overlap, line in zip(value["overlaps"], self.lines, strict=True):
            overlap["line"] = line
        return {"file": str(self.path), "sha256": self.sha256} | self.counts | value


def decontaminate(config: DecontaminateConfig, run: Run) -> Result:
    """Scan every training set, and write the table, the report and the clean sets as artefacts.

    Training rows have "messages", "chosen" or "prompt" (messages or text); only user turns are
    compared. Rows that have none of these, or a role that is not known, cannot be searched: they
    are recorded in the run and are in no clean set. Tests may have the same forms; there a bad row
    raises `InputError`, because a test that is not searched for would count as clean.
    """
    refuse_processes("decontaminate", "only training shares it")
    suites = suites_of(config)
    evaluations = [read_tests(path, suite) for path, suite in suites]
    index = EvalIndex.build(evaluations, n=config.n, short=config.short)
    on_dev: OnDev = "drop set" if config.drop_sets else "remove rows"
    sifted = []
    for path in config.train:
        found = scan_file(path, index, run, processes=config.shards)
        report = judge(path.stem, found, evaluations, on_dev=on_dev)
        sifted.append(_sift(path, report, run))
    _write(config, run, sifted, suites, evaluations)
    return _result(config, sifted, evaluations)


def read_tests(path: Path, suite: Suite) -> Evaluation:
    """The tests of a JSONL file as an evaluation named after it; each user turn is a field."""

    def parse(row: Row, place: int) -> Instance:
        fields = tuple(prompts_of(row))
        if not any(map(analyse, fields)):
            raise BadRow("there is no word in its prompt")
        return Instance(id_of(row, place), fields)

    return Evaluation(path.stem, tuple(read_rows(path, parse, key=lambda test: test.id)), suite)


def prompts_of(row: Row) -> list[str]:
    """The user turns of a row of any kind, or its prompt; `BadRow` where there is neither."""
    for name in ("messages", "chosen", "prompt"):
        if name in row and not (name == "prompt" and isinstance(row[name], str)):
            turns = turns_of(row, name, blank_end=True)
            return [turn["content"] for turn in turns if turn["role"] == "user"]
    if "prompt" not in row:
        raise BadRow('a field "messages", "chosen" or "prompt" is needed')
    return [text_of(row, "prompt")]


# -- scanning --------------------------------------------------------------------------------------


def scan_file(path: Path, index: EvalIndex, run: Run, *, processes: int = 1) -> Scan:
    """The overlaps of a JSONL file, the same for any number of processes; `rows` by first byte."""
    size = path.stat().st_size
    step = min(_PIECE_BYTES, -(-size // processes))
    pieces = [(path, start, min(start + step, size)) for start in range(0, size, max(step, 1))]
    scans = []
    for done in range(0, len(pieces), processes):
        run.check()
        run.progress(pieces[done][1], size, f"bytes of {path.name}")
        own = pieces[done : done + processes]
        scans.append(scan_shards(index, own, read_piece, processes=processes))
    return merge(scans)


def read_piece(piece: Piece) -> Iterator[Document]:
    """The prompts of the rows that begin in a piece of a file; rows that are bad give none."""
    for start, content in lines_of(piece):
        try:
            _, prompts = parse_line(content, 0)
        except BadRow:  # told when the file is sifted
            continue
        for prompt in prompts:
            yield _name(start), prompt


def lines_of(piece: Piece) -> Iterator[tuple[int, bytes]]:
    """First byte and content of every line that begins in a piece, line feed included."""
    path, start, end = piece
    with open(path, "rb") as handle:
        if start:
            handle.seek(start - 1)
            _read_line(handle, path)
        while (start := handle.tell()) < end:
            yield start, _read_line(handle, path)


def _read_line(handle: BinaryIO, path: Path) -> bytes:
    start = handle.tell()
    content = handle.readline(MAX_ROW_BYTES + 1)
    if len(content) > MAX_ROW_BYTES:
        raise InputError(
            f"{path}: the line at byte {start:,} is longer than {MAX_ROW_BYTES:,} bytes, so this "
            "is no file of prompts.\n  Give one JSON object a line."
        )
    return content


def parse_line(content: bytes, place: int) -> tuple[str, list[str]]:
    """The id and the prompts of a line; `BadRow` where it has none."""
    try:
        row = json.loads(content.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        raise BadRow("not valid JSON") from None
    if not isinstance(row, dict):
        raise BadRow(f"a JSON object is needed, not {shown(row)}")
    return id_of(row, place), prompts_of(row)


def _name(start: int) -> str:
    return f"{start:015d}"  # names sort as their rows stand


# -- sorting out -----------------------------------------------------------------------------------


class _Line(NamedTuple):
    """A row of a training set; `fault` says why it cannot be searched."""

    number: int
    name: str
    content: bytes
    id: str
    fault: str


def _sift(path: Path, report: SetReport, run: Run) -> Sifted:
    """Write the clean set, unless the set is dropped, and name every row that is not in it."""
    overlapping = {overlap.row_id for overlap in report.overlaps}
    removed = {overlap.row_id: overlap for overlap in report.removed}
    found: dict[str, _Line] = {}
    counts: Counter[str] = Counter()
    with _clean_file(path, report, run) as clean:
        for line in _walk(path):
            if line.name in overlapping:
                found[line.name] = line
            reason = line.fault or _reason(removed.get(line.name))
            if reason:
                counts["bad" if line.fault else "removed_rows"] += 1
                run.reject(path, line.number, line.id, reason)
            elif clean is not None:
                counts["kept"] += 1
                clean.write(line.content)
            counts["rows"] += 1
            if counts["rows"] % _ROWS_BETWEEN_CHECKS == 0:
                run.check()
    require_rows(path, counts["rows"], counts["bad"])
    lines = [found[overlap.row_id] for overlap in report.overlaps]
    named = (
        replace(overlap, row_id=line.id)
        for overlap, line in zip(report.overlaps, lines, strict=True)
    )
    return Sifted(
        path=path,
        sha256=sha256_file(path),
        report=replace(report, overlaps=tuple(named)),
        lines=tuple(line.number for line in lines),
        counts={name: counts[name] for name in ("rows", "bad", "removed_rows", "kept")},
    )


def require_rows(path: Path, num_rows: int, num_bad: int) -> None:
    """Raise `InputError` unless a file has a row, and one that can be searched."""
    if not num_rows:
        raise InputError(f"{path}: there is no row in this file.")
    if num_rows == num_bad:
        raise InputError(
            f"{path}: none of its {num_rows:,} rows can be searched.\n"
            '  Give rows with "messages", "chosen" or "prompt"; rejects.jsonl says what is wrong.'
        )


def _walk(path: Path) -> Iterator[_Line]:
    place = 0
    for number, (start, content) in enumerate(lines_of((path, 0, path.stat().st_size)), start=1):
        if not content.strip():
            continue
        row_id, fault = "", ""
        try:
            row_id, _ = parse_line(content, place)
        except BadRow as error:
            fault = str(error)
        place += 1
        yield _Line(number, _name(start), content, row_id, fault)


@contextlib.contextmanager
def _clean_file(path: Path, report: SetReport, run: Run) -> Generator[BinaryIO | None]:
    if report.action == "drop set":
        yield None
        return
    clean = run.add("text", f"clean/{path.name}", f"{path.stem} without what overlaps a test.")
    with write_errors(clean), open(clean, "wb") as handle:
        yield handle


def _reason(overlap: Overlap | None) -> str:
    if overlap is None:
        return ""
    share = f"{overlap.score:.0%} of" if overlap.rule == "n-gram" else "all of the short"
    return f"it holds {share} test {overlap.test_id} of {overlap.evaluation}"


# -- what is told ----------------------------------------------------------------------------------


def suites_of(config: DecontaminateConfig) -> list[tuple[Path, Suite]]:
    """The test sets with their suites, after a look at all names."""
    dev: list[tuple[Path, Suite]] = [(path, "dev") for path in config.dev]
    unseen: list[tuple[Path, Suite]] = [(path, "unseen") for path in config.unseen]
    if not dev + unseen:
        raise ConfigError("dev", "there are no tests to compare with: give --dev or --unseen.")
    for field, paths in (("train", config.train), ("dev", [path for path, _ in dev + unseen])):
        for path in paths:
            if not path.is_file():
                raise InputError(f"{path}: no such file; expected a JSONL file.")
        name, num = Counter(path.stem for path in paths).most_common(1)[0]
        if num > 1:
            raise ConfigError(
                field,
                f"{num} files are called {name}; the table names {field} sets by their files.\n"
                "  Give every file a name of its own.",
            )
    return dev + unseen


def _is_short(test: Instance, n: int) -> bool:
    """Whether no document could overlap this test by n-grams."""
    lengths = [num for field in test.fields if (num := len(analyse(field)))]
    return 2 * sum(num >= n for num in lengths) <= len(lengths)


def _write(
    config: DecontaminateConfig,
    run: Run,
    sifted: Sequence[Sifted],
    suites: Sequence[tuple[Path, Suite]],
    evaluations: Sequence[Evaluation],
) -> None:
    report = DecontaminationReport(tuple(one.report for one in sifted))
    caption = "Per cent of the tests of each test set that a training set overlaps."
    columns = ("train set", *(one.name for one in evaluations), "action")
    rows = [
        (one.train_set, *(round(cell.percent, 2) for cell in one.cells), one.action)
        for one in report.sets
    ]
    Table(columns, rows, caption).save(run.add("table", "overlap.json", caption))
    write_atomic(run.add("text", "overlap.md", caption), report.markdown() + "\n")
    write_json(
        run.add("text", "contamination.json", "Every training row that overlaps a test."),
        {"sets": [one.as_dict() for one in sifted]},
    )
    tests = [
        {
            "name": one.name,
            "suite": one.suite,
            "file": str(path),
            "sha256": sha256_file(path),
            "tests": len(one.instances),
            "short": sum(_is_short(test, config.n) for test in one.instances),
        }
        for (path, _), one in zip(suites, evaluations, strict=True)
    ]
    train = [
        {"name": one.path.stem, "file": str(one.path), "sha256": one.sha256}
        | one.counts
        | {"action": one.report.action, "because": list(one.report.because)}
        for one in sifted
    ]
    options = {name: getattr(config, name) for name in ("n", "short", "drop_sets")}
    write_json(
        run.add("text", "manifest.json", "What was compared with what, and what was kept."),
        {
            "format": 1,
            "seed": run.seed,
            "config": options,
            "versions": versions(),
            "train": train,
            "tests": tests,
        },
    )


def _result(
    config: DecontaminateConfig, sifted: Sequence[Sifted], evaluations: Sequence[Evaluation]
) -> Result:
    num_short = [sum(_is_short(test, config.n) for test in one.instances) for one in evaluations]
    numbers, remarks = [], []
    if config.short == "never" and any(num_short):
        remarks.append(
            f"{sum(num_short):,} tests of fewer than {config.n} tokens were not looked for"
        )
    for one in sifted:
        name, counts = one.path.stem, one.counts
        for cell, short in zip(one.report.cells, num_short, strict=True):
            label, size = f"{name} x {cell.evaluation}", cell.instances
            numbers.append(
                Number(f"{label}: overlap", cell.percent, n=size, unit="%", better="lower")
            )
            if short and config.short == "exact":
                share = 100 * cell.exact / short
                label = f"{label}: tests below {config.n} tokens found whole"
                numbers.append(Number(label, share, n=short, unit="%", better="lower"))
        numbers.append(Number(f"{name}: rows kept", counts["kept"], n=counts["rows"], unit="rows"))
        because = f" (contaminated: {', '.join(one.report.because)})" if one.report.because else ""
        remarks.append(f"{name}: {one.report.action}{because}")
        if counts["bad"]:
            remarks.append(
                f"{name}: {counts['bad']:,} bad rows could not be searched and are left out; "
                "rejects.jsonl says which"
            )
    report = DecontaminationReport(tuple(one.report for one in sifted))
    return Result(numbers=tuple(numbers), text=report.markdown(), remarks=tuple(remarks))
