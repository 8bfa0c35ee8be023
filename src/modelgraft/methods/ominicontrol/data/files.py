"""A person's own pictures: a folder, a JSONL of pairs, or a folder that `pairs` made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from modelgraft.core.errors import InputError
from modelgraft.core.rows import BadRow, Reject, Row, keep_rows, read_rows, text_of
from modelgraft.diffusion.conditions import TASKS, check_aspect, derived
from modelgraft.diffusion.pictures import fit_to, picture_size, read_picture
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.data.shown import Shown
from modelgraft.methods.ominicontrol.pairs.crops import Crop
from modelgraft.methods.ominicontrol.pairs.reading import Counts, read_records
from modelgraft.methods.ominicontrol.pairs.records import (
    EmbeddedPicture,
    PairRecord,
    both_directions,
)

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Pair:
    """One target with its words and the files of its conditions; others are made from it."""

    target: Path
    prompt: str
    conditions: Mapping[Task, Path]


def read_pairs(path: Path, tasks: Sequence[Task], reject: Reject | None = None) -> list[Pair]:
    """The pairs that `path` holds; raises `InputError` when none is whole.

    A folder has pictures, beside each its prompt as `NAME.txt` if there is one, and its condition
    as `TASK/NAME.png`; where there is no folder TASK, conditions are made from the pictures. A
    JSONL has rows `{"target": "a.png", "prompt": "...", "conditions": {"edges": "b.png"}}` with
    paths below its own folder. Rows and pictures that miss a part, or that the headers of their
    files show to be none or of another aspect, go to `reject`.
    """
    if not path.exists():
        raise InputError(
            f"{path}: there is no such file or folder.\n"
            "  A data set of the hub is read from the folder that its Parquet files lie in."
        )
    if path.is_dir():
        found = _numbered_files(path)
        return keep_rows(path, found, partial(_of_picture, path, tasks), reject=reject)
    return read_rows(path, partial(_of_row, path.parent, tasks), reject=reject)


def _numbered_files(folder: Path) -> list[tuple[int, Row]]:
    names = sorted(one.name for one in folder.iterdir() if one.suffix.lower() in SUFFIXES)
    if not names:
        raise InputError(
            f"{folder}: there is no picture in this folder; {', '.join(SUFFIXES)} are read."
        )
    return [(place, {"id": name}) for place, name in enumerate(names, start=1)]


def _of_picture(folder: Path, tasks: Sequence[Task], row: Row, place: int) -> Pair:
    target = folder / row["id"]
    words = target.with_suffix(".txt")
    prompt = words.read_text(encoding="utf-8").strip() if words.is_file() else ""
    conditions: dict[Task, Path] = {}
    for task in tasks:
        own = folder / task
        if not own.is_dir():
            if task == "subject":
                raise BadRow("a subject needs another view of it, as subject/NAME.png")
            continue
        halves = [own / f"{target.stem}{suffix}" for suffix in SUFFIXES]
        whole = [one for one in halves if one.is_file()]
        if not whole:
            raise BadRow(f"its condition {task}/{target.stem}.png is missing")
        conditions[task] = whole[0]
    return _checked(Pair(target, prompt, conditions))


def _of_row(folder: Path, tasks: Sequence[Task], row: Row, place: int) -> Pair:
    target = _inside(folder, text_of(row, "target"))
    prompt = text_of(row, "prompt", empty=True)
    given: Any = row.get("conditions", {})
    if not isinstance(given, dict):
        raise BadRow('field "conditions" is not an object of files by task')
    conditions: dict[Task, Path] = {}
    for task in tasks:
        if task in given:
            conditions[task] = _inside(folder, text_of(given, task))
        elif task == "subject":
            raise BadRow('field "conditions": a subject needs another view of it')
    return _checked(Pair(target, prompt, conditions))


def _inside(folder: Path, name: str) -> Path:
    found = (folder / name).resolve()
    if not found.is_relative_to(folder.resolve()):
        raise BadRow(f"{name} lies outside of {folder}")
    if not found.is_file():
        raise BadRow(f"there is no file {name}")
    return found


def _checked(pair: Pair) -> Pair:
    """A pair whose pictures are sound and fit each other, as far as their headers show it."""
    try:
        size = picture_size(pair.target)
        for task, file in pair.conditions.items():
            own = picture_size(file)
            if TASKS[task].is_aligned:
                check_aspect(own, size, name=str(file))
    except InputError as error:
        raise BadRow(str(error).splitlines()[0].rstrip(".")) from None
    return pair


def _stamp(file: Path) -> str:
    state = file.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def read_subjects(path: Path, counts: Counts, reject: Reject | None = None) -> list[PairRecord]:
    """The judged pairs at `path` that are good enough; raises `InputError` when none is.

    What became of all of them is added to `counts`. Their pictures stay in their files.
    """
    records = list(read_records(path, reject=reject, counts=counts))
    if not records:
        raise InputError(
            f"{path}: no pair can be learnt from: {counts.below:,} are below the threshold, "
            f"{counts.unscored:,} without quality_assessment, {counts.malformed:,} malformed."
        )
    return records


@dataclass(frozen=True)
class FileSource:
    """Pictures read from files when they are asked for, fitted to one size."""

    pairs: Sequence[Pair]
    tasks: tuple[Task, ...]
    size_px: int
    condition_px: int
    multiple: int
    """Pixels along one side of a token."""
    is_training: bool = True
    """Whether conditions vary as in training, or are what outputs are measured by."""

    @property
    def total(self) -> int:
        """How many pairs there are."""
        return len(self.pairs)

    @property
    def varying(self) -> tuple[Task, ...]:
        """Tasks whose conditions change from use to use, as they are drawn."""
        return tuple(
            task
            for task in self.tasks
            if TASKS[task].is_drawn and not all(task in one.conditions for one in self.pairs)
        )

    def stamps(self) -> Iterator[str]:
        """What tells each pair from any other, and its files from later ones of their names."""
        for one in self.pairs:
            files = (one.target, *one.conditions.values())
            yield f"{one!r} {[_stamp(file) for file in files]}"

    def take(self, numbers: Sequence[int], use: int) -> Shown:
        """The pairs with these numbers; sides are filled and what sticks out is cut off."""
        pairs = [self.pairs[number] for number in numbers]
        targets = torch.stack([self._read(one.target, self.size_px) for one in pairs])
        conditions: dict[str, Tensor] = {}
        for task in self.tasks:
            given = [one.conditions.get(task) for one in pairs]
            made = self._derived(task, targets, numbers, use) if None in given else targets
            rows = [
                made[place] if file is None else self._read(file, self.condition_px)
                for place, file in enumerate(given)
            ]
            conditions[task] = torch.stack(rows)
        return Shown(targets=targets, prompts=[one.prompt for one in pairs], conditions=conditions)

    def _derived(self, task: Task, targets: Tensor, numbers: Sequence[int], use: int) -> Tensor:
        size = (self.condition_px, self.condition_px)
        return derived(task, targets, size, seed=use, items=numbers, is_training=self.is_training)

    def _read(self, file: Path, side: int) -> Tensor:
        return fit_to(read_picture(file), (side, side), multiple=self.multiple, how="cover")


@dataclass(frozen=True)
class RecordSource:
    """Subjects seen twice, in the published schema; each record serves in both directions."""

    records: Sequence[PairRecord]
    size_px: int
    condition_px: int
    multiple: int
    tasks: tuple[Task, ...] = ("subject",)
    crop: Crop = "official"
    """Where the right view is cut: as the official code does, or from the middle of its half."""
    counts: Counts = field(default_factory=Counts)
    """What became of the rows that the records are of."""

    @property
    def total(self) -> int:
        """How many directed pairs there are."""
        return 2 * len(self.records)

    @property
    def varying(self) -> tuple[Task, ...]:
        """None: a reference is the same at every use."""
        return ()

    def stamps(self) -> Iterator[str]:
        """What tells each record from any other, and its file from a later one of its name."""
        for one in self.records:
            inside = isinstance(one.source, EmbeddedPicture)
            file = one.source.file if inside else one.source
            yield f"{one!r} {self.crop} {_stamp(file) if isinstance(file, Path) else ''}"

    def take(self, numbers: Sequence[int], use: int) -> Shown:
        """The directed pairs with these numbers: a record's two lie side by side."""
        pairs = [
            both_directions(self.records[number // 2], crop=self.crop)[number % 2]
            for number in numbers
        ]

        def fitted(views: Sequence[Tensor], side: int) -> Tensor:
            found = [fit_to(one, (side, side), multiple=self.multiple, how="cover")
                     for one in views]  # fmt: skip
            return torch.stack(found)

        return Shown(
            targets=fitted([one.target for one in pairs], self.size_px),
            prompts=[one.caption for one in pairs],
            conditions={"subject": fitted([one.reference for one in pairs], self.condition_px)},
        )
