"""Streams of records: from the factory's own folder, or from Parquet files as published."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from modelgraft.core.errors import InputError
from modelgraft.core.lazy import need
from modelgraft.core.results import Number
from modelgraft.core.rows import BadRow, Reject, Row, read_rows
from modelgraft.methods.ominicontrol.pairs.records import (
    BEST,
    EXTRA,
    EmbeddedPicture,
    PairRecord,
    Unscored,
    parse_record,
)

RECORDS: Final = "records.jsonl"
_COLUMNS: Final = ("image", "collection", "quality_assessment", "description")
_AT_ONCE: Final = 32  # rows of a Parquet file in memory: pictures of about a megabyte


@dataclass
class Counts:
    """What became of the rows read so far."""

    kept: int = 0
    below: int = 0
    """Scored, and not high enough."""
    unscored: int = 0
    """Without a quality assessment."""
    malformed: int = 0

    def numbers(self) -> tuple[Number, ...]:
        """The counts for a result."""
        n = self.kept + self.below + self.unscored + self.malformed
        return (
            Number("pairs used", self.kept, n=n),
            Number("pairs below the threshold", self.below, n=n, better="lower"),
            Number("rows without quality_assessment", self.unscored, n=n, better="lower"),
            Number("malformed rows", self.malformed, n=n, better="lower"),
        )


def is_records(path: Path) -> bool:
    """Whether there are records in a file or folder on this machine, by the names in it."""
    return path.name == RECORDS or bool(_record_files(path))


def _record_files(path: Path) -> list[Path]:
    """The Parquet files that `path` is or holds, or its `records.jsonl`; none if it has neither."""
    if path.is_dir():
        if (path / RECORDS).is_file():
            return [path / RECORDS]
        return sorted(path.glob("*.parquet")) or sorted(path.glob("data/*.parquet"))
    return [path] if path.suffix == ".parquet" and path.is_file() else []


def read_records(
    source: str | Path,
    *,
    threshold: float = BEST,
    reject: Reject | None = None,
    counts: Counts | None = None,
) -> Iterator[PairRecord]:
    """The records of `source` whose three scores all reach the threshold, in order.

    `source` is a folder with `records.jsonl` or with Parquet files, or one such file. Rows without
    `quality_assessment` are skipped. They and malformed rows are counted in `counts` and go to
    `reject(path, line, id, reason)`; without it a malformed row raises an `InputError`. No picture
    is decoded or kept in memory. Parquet needs pyarrow: `MissingExtra` names the command that
    installs it.
    """
    sieve = _Sieve(threshold, reject, Counts() if counts is None else counts)
    path = Path(source).expanduser()
    files = _record_files(path) or ([path] if path.is_file() else [])
    if files:
        return (record for file in files for record in sieve.of_file(file))
    if path.is_dir():
        raise InputError(f"{path}: neither {RECORDS} nor a Parquet file lies in this folder.")
    raise InputError(
        f"{source}: there is nothing here.\n  Name a folder that the pair factory wrote, a "
        f"{RECORDS}, a Parquet file, or a folder of them such as a copy of Yuanshi/Subjects200K."
    )


@dataclass(frozen=True)
class _Sieve:
    """Rows to records: keeps the good ones and counts all."""

    threshold: float
    reject: Reject | None
    counts: Counts

    def of_file(self, path: Path) -> Iterator[PairRecord]:
        """The records of a Parquet or JSONL file; pictures inside of it stay there."""
        if path.suffix == ".parquet":
            return self.embedded(path, _parquet_rows(path))
        return self.lines(path)

    def lines(self, path: Path) -> Iterator[PairRecord]:
        """The records of a JSONL file whose pictures lie beside it."""
        unscored: list[Unscored] = []

        def parse(row: Row, place: int) -> PairRecord | None:
            name = str(row.get("id") or row.get("image"))
            try:
                return self._sifted(parse_record(row, name, path.parent))
            except Unscored as error:
                unscored.append(error)
                raise

        def note(file: Path, line: int, id: str, reason: str) -> None:
            fault = unscored.pop() if unscored else BadRow(reason)
            self._refused(file, line, id, fault)

        found = read_rows(path, parse, reject=note)
        return (record for record in found if record is not None)

    def embedded(self, path: Path, rows: Iterable[tuple[int, Row]]) -> Iterator[PairRecord]:
        """The records of numbered rows with embedded pictures, which stay where they are."""
        for line, row in rows:
            name = _name(row, f"{path.name}:{line}")
            try:
                record = self._sifted(parse_record(row, name, None))
            except BadRow as error:
                self._refused(path, line, name, error)
                continue
            if record is not None:
                yield replace(record, source=EmbeddedPicture(path, line - 1))

    def _refused(self, path: Path, line: int, name: str, fault: BadRow) -> None:
        if isinstance(fault, Unscored):
            self.counts.unscored += 1
        elif self.reject is None:
            raise InputError(f"{path}:{line}: {fault}.")
        else:
            self.counts.malformed += 1
        if self.reject is not None:
            self.reject(path, line, name, str(fault))

    def _sifted(self, record: PairRecord) -> PairRecord | None:
        is_kept = record.quality.passes(self.threshold)
        self.counts.kept += is_kept
        self.counts.below += not is_kept
        return record if is_kept else None


def _name(row: Row, otherwise: str) -> str:
    image = row.get("image")
    path = image.get("path") if isinstance(image, dict) else None
    return path if isinstance(path, str) and path else otherwise


def _parquet_rows(path: Path) -> Iterator[tuple[int, Row]]:
    arrow = need("pyarrow", extra=EXTRA)
    parquet = need("pyarrow.parquet", extra=EXTRA)
    line = 0
    try:
        file = parquet.ParquetFile(path)
        columns = [name for name in file.schema_arrow.names if name in _COLUMNS]
        for batch in file.iter_batches(batch_size=_AT_ONCE, columns=columns):
            for row in batch.to_pylist():
                line += 1
                yield line, row
    except (arrow.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a sound Parquet file after row {line}: {reason}.") from None
