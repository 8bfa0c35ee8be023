"""Mixes of training sets by shares and counts, with a manifest (Tulu 3).

What is drawn depends on the seed, the names of the sources and the ids of their rows alone: not on
the order of rows or files, nor on the machine. A smaller share is part of a larger one, and leaving
a source out leaves the rows of the others and their order as they are.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from modelgraft.core.errors import ConfigError, InputError
from modelgraft.core.files import dump_json, sha256_file, write_atomic, write_json
from modelgraft.core.processes import refuse_processes
from modelgraft.core.provenance import versions
from modelgraft.core.results import Number, Result
from modelgraft.core.rows import Reject
from modelgraft.core.runs import Run
from modelgraft.core.seeds import rng_seed
from modelgraft.core.settings import Settings
from modelgraft.evaluation.report.formats import Table
from modelgraft.methods.tulu3.config import MixConfig
from modelgraft.methods.tulu3.data import (
    AnyRecord,
    Conversation,
    Pair,
    Prompt,
    other_assistant,
    read_records,
    record_row,
)

_ENTRY = re.compile(
    r"(?P<file>.+?)(?:=(?P<amount>\d*\.\d+|\d+)(?:x(?P<times>\d+))?|(?<=\.jsonl)x(?P<all>\d+))?"
)
_FORMS = "Write FILE, FILE=0.5 (a share), FILE=1000 (a count), FILE=240x10 (each ten times)."
_NAMES_OTHER = "an answer names another assistant or its maker"
_KINDS: dict[type, str] = {
    Conversation: "conversations",
    Pair: "pairs",
    Prompt: "prompts with ground truth",
}


@dataclass(frozen=True)
class Entry:
    """How much of a file goes into a mix: a share, a count or all (None), each row `times`."""

    text: str
    name: str
    path: Path
    amount: Fraction | int | None
    times: int

    def count(self, num: int) -> int:
        """How many of `num` usable rows are drawn; a share is rounded to the nearest, half up."""
        if self.amount is None:
            return num
        return (
            self.amount if isinstance(self.amount, int) else int(self.amount * num + Fraction(1, 2))
        )


@dataclass(frozen=True)
class Source:
    """A file that was read; `dropped` counts the rows left out, by reason."""

    entry: Entry
    sha256: str
    records: Sequence[AnyRecord]
    dropped: Counter[str] = field(default_factory=Counter)


def mix(config: MixConfig, run: Run) -> Result:
    """Draw from every source and write `mix.jsonl` and `manifest.json` as artefacts.

    Sources are files of conversations, of pairs or of prompts, all of one kind. A row's id becomes
    NAME/ID, and NAME/ID#2 in its second copy; NAME is the file's without its ending.

    Raises `ConfigError` that lists every entry which cannot be read or asks for more than there is,
    and unknown names in `without`, before anything is written.
    """
    refuse_processes("mix", "only training shares it")
    entries = _entries(config)
    sources = []
    for done, entry in enumerate(entries):
        run.progress(done, len(entries), f"reading {entry.path}")
        run.check()
        sources.append(_read(entry, config, run.reject))
    _require_one_kind(sources)
    _require_enough(sources)
    drawn = {source.entry.name: draw(source, run.seed) for source in sources}
    rows = [row for own in drawn.values() for row in own]
    rows.sort(key=lambda row: (rng_seed("tulu3 mix order", run.seed, row.id), row.id))
    lines = (dump_json(record_row(row)) + "\n" for row in rows)
    path = run.add("text", "mix.jsonl", "The mixed rows.")
    write_atomic(path, "".join(lines))
    counts = [_counts(source, len(drawn[source.entry.name])) for source in sources]
    manifest = _manifest(config, run.seed, sources, counts)
    manifest |= {"rows": len(rows), "mix_sha256": sha256_file(path)}
    write_json(run.add("text", "manifest.json", "What the mix is made of."), manifest)
    columns = tuple(counts[0])
    table = Table(columns, [tuple(one.values()) for one in counts], "Rows by source.")
    table.save(run.add("table", "sources.json", "Rows of every source."))
    return _result(counts, manifest)


def estimate_mix(config: MixConfig, settings: Settings) -> list[Number]:
    """The rows that `mix` would read of each source and write; what it would refuse is refused."""
    sources = [_read(entry, config, lambda *_: None) for entry in _entries(config)]
    _require_one_kind(sources)
    _require_enough(sources)
    written = [one.entry.count(len(one.records)) * one.entry.times for one in sources]
    numbers = [Number("rows", sum(written), unit="rows")]
    for source, num in zip(sources, written, strict=True):
        read = len(source.records) + source.dropped.total()
        numbers.append(Number(f"{source.entry.name}: rows written", num, n=read, unit="rows"))
    return numbers


def draw(source: Source, seed: int) -> list[AnyRecord]:
    """The rows of one source that go into the mix, copies one after the other."""
    entry = source.entry
    ordered = sorted(
        source.records,
        key=lambda record: (rng_seed("tulu3 mix", seed, entry.name, record.id), record.id),
    )
    drawn = ordered[: entry.count(len(ordered))]
    marks = ("", *(f"#{copy}" for copy in range(2, entry.times + 1)))
    return [
        replace(record, id=f"{entry.name}/{record.id}{mark}") for record in drawn for mark in marks
    ]


def manifest_hash(seed: int, drop_identity: bool, sources: Iterable[Source]) -> str:
    """The SHA-256 of all that decides about the rows: it changes with any row of any source.

    Where the files lie and in what order they are named makes no difference.
    """
    parts = sorted(
        [one.entry.name, one.sha256, str(one.entry.amount), one.entry.times] for one in sources
    )
    return hashlib.sha256(dump_json([seed, drop_identity, parts]).encode()).hexdigest()


# -- entries ---------------------------------------------------------------------------------------


def _entries(config: MixConfig) -> list[Entry]:
    """The entries that are used; `ConfigError` lists all that is wrong with the others."""
    faults: list[str] = []
    read = [entry for text in config.sources if (entry := _entry(text, faults))]
    paths = Counter(entry.path for entry in read)
    faults += [f"{path}: it is named {num} times" for path, num in paths.items() if num > 1]
    _raise(faults, _FORMS)
    stems = Counter(entry.path.stem for entry in read)
    entries = [
        replace(
            entry, name=entry.name if stems[entry.name] == 1 else str(entry.path.with_suffix(""))
        )
        for entry in read
    ]
    names = [entry.name for entry in entries]
    for name in config.without:
        if name not in names:
            close = difflib.get_close_matches(name, names, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"There are {', '.join(names)}."
            raise ConfigError("without", f"--without {name}: no source has this name.\n  {hint}")
    used = [entry for entry in entries if entry.name not in config.without]
    if not used:
        raise ConfigError("without", "--without leaves no source to mix.\n  Leave fewer out.")
    missing = [f"{one.path}: no such file" for one in used if not os.path.isfile(one.path)]
    _raise(missing, "Give the paths of files as they are seen from here.")
    return used


def _entry(text: str, faults: list[str]) -> Entry | None:
    if os.path.isfile(text):  # a name may look like an amount
        return Entry(text, Path(text).stem, Path(text), None, 1)
    found = _ENTRY.fullmatch(text)
    if found is None or "=" in found["file"]:
        faults.append(f"{text}: this is neither a file nor an amount of one")
        return None
    path, amount = Path(found["file"]), found["amount"]
    times = int(found["times"] or found["all"] or 1)
    share = Fraction(amount) if amount and "." in amount else None
    if times == 0 or (amount is not None and Fraction(amount) == 0):
        faults.append(f"{text}: nothing would be taken; --without {path.stem} leaves a source out")
    elif share is not None and share > 1:
        faults.append(f"{text}: a share is 1.0 at most; {path}=1.0x2 takes every row twice")
    wanted = share if share is not None else int(amount) if amount else None
    return Entry(text, path.stem, path, wanted, times)


def _raise(faults: list[str], remedy: str) -> None:
    if faults:
        raise ConfigError("sources", "SOURCES: " + "\n  ".join([*faults, remedy]))


# -- rows ------------------------------------------------------------------------------------------


def _read(entry: Entry, config: MixConfig, tell: Reject) -> Source:
    dropped: Counter[str] = Counter()

    def reject(path: Path, line: int, row_id: str, reason: str) -> None:
        dropped["another assistant" if reason.startswith(_NAMES_OTHER) else "bad"] += 1
        tell(path, line, row_id, reason)

    if config.on_error == "raise":
        read_records(entry.path, reject=None)
    screen = _screen if config.drop_identity else lambda _: ""
    records = read_records(entry.path, reject=reject, screen=screen)
    return Source(entry, sha256_file(entry.path), records, dropped)


def _screen(record: AnyRecord) -> str:
    """Why the identity filter drops a row; a rejected answer may name what it likes."""
    messages = record.chosen_messages if isinstance(record, Pair) else record.messages
    name = other_assistant(messages)
    return f"{_NAMES_OTHER}: {name}" if name else ""


def _require_one_kind(sources: Sequence[Source]) -> None:
    for one, other in pairwise(sources):
        kinds = [type(source.records[0]) for source in (one, other)]
        if kinds[0] is not kinds[1]:
            raise InputError(
                f"{one.entry.path} holds {_KINDS[kinds[0]]}, {other.entry.path} "
                f"{_KINDS[kinds[1]]}.\n  A mix is of one kind; make one for each."
            )


def _require_enough(sources: Sequence[Source]) -> None:
    faults = []
    for source in sources:
        entry, num = source.entry, len(source.records)
        count = entry.count(num)
        told = f"{num:,} usable rows" + (
            f" ({source.dropped.total():,} were left out)" if source.dropped else ""
        )
        if count > num:
            faults.append(f"{entry.text}: {count:,} rows are asked for, the file has {told}")
        elif count == 0:
            faults.append(f"{entry.text}: this share of {told} is less than half a row")
    _raise(faults, "Ask for fewer or more rows, or take rows several times: FILE=100x2.")


# -- what is written -------------------------------------------------------------------------------


def _counts(source: Source, written: int) -> dict[str, Any]:
    num = len(source.records)
    drawn = written // source.entry.times
    return {
        "source": source.entry.name,
        "rows": num + source.dropped.total(),
        "bad": source.dropped["bad"],
        "another assistant": source.dropped["another assistant"],
        "not drawn": num - drawn,
        "drawn": drawn,
        "times": source.entry.times,
        "written": written,
    }


def _manifest(
    config: MixConfig, seed: int, sources: Sequence[Source], counts: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    inputs = [
        {"file": str(source.entry.path), "sha256": source.sha256, **count}
        for source, count in zip(sources, counts, strict=True)
    ]
    return {
        "format": 1,
        "hash": manifest_hash(seed, config.drop_identity, sources),
        "seed": seed,
        "config": asdict(config),
        "versions": versions(),
        "sources": inputs,
    }


def _result(counts: Sequence[dict[str, Any]], manifest: dict[str, Any]) -> Result:
    total = manifest["rows"]
    numbers = [Number("rows", total, unit="rows")]
    for one in counts:
        numbers.append(Number(f"{one['source']}: share", one["written"] / total, n=one["written"]))
    remarks = [
        f"{one['source']}: {one['bad']:,} bad rows and {one['another assistant']:,} that name "
        "another assistant were left out; rejects.jsonl says which."
        for one in counts
        if one["bad"] or one["another assistant"]
    ]
    return Result(
        numbers=tuple(numbers), text=f"mix {manifest['hash'][:12]}", remarks=tuple(remarks)
    )
