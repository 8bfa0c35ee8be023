"""What is learnt from and measured by: the toy world, a person's files, or judged pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.core.results import Number
from modelgraft.core.seeds import rng_seed
from modelgraft.methods.ominicontrol.adapter.info import AdapterInfo
from modelgraft.methods.ominicontrol.config import Task
from modelgraft.methods.ominicontrol.data.files import (
    FileSource,
    RecordSource,
    read_pairs,
    read_subjects,
)
from modelgraft.methods.ominicontrol.data.toys import ToySource
from modelgraft.methods.ominicontrol.opening import (
    Notes,
    Sizes,
    check_toy_size,
    condition_size,
    longest_px,
    sizes_of,
)
from modelgraft.methods.ominicontrol.pairs.reading import Counts, is_records

AnySource = ToySource | FileSource | RecordSource
LEAST = 64
"""Pictures below which none is kept from training."""
_HELD_OUT = 10**9
"""Numbers of toy scenes that nothing else reaches."""


def open_source(
    data: Path | None, tasks: tuple[Task, ...], sizes: Sizes, notes: Notes
) -> AnySource:
    """The pictures in `data`, or the toy world; rows that miss a part go to `notes`.

    Raises `InputError` when there is none, and `ConfigError` for a task or size that it has not.
    """
    if data is None:
        check_toy_size(sizes.output)
        return ToySource(tasks, seed=notes.seed, condition_px=sizes.condition)
    path = data.expanduser()
    if is_records(path):
        if tasks != ("subject",):
            raise ConfigError("task", f"task {' '.join(tasks)}: judged pairs show subjects alone.")
        counts = Counts()
        records = read_subjects(path, counts, notes.reject)
        notes.log("judged pairs", **vars(counts))
        return RecordSource(records, sizes.output, sizes.condition, sizes.token, counts=counts)
    pairs = read_pairs(path, tasks, notes.reject)
    return FileSource(pairs, tasks, sizes.output, sizes.condition, sizes.token)


def sizes_under(pipe: Any, asked: int | None, info: AdapterInfo) -> Sizes:
    """The output's side, as asked or as an adapter was trained, and that of its condition.

    A condition that lies over the output covers all of it at its own scale; another one keeps the
    size it was trained with. Raises `ConfigError` where that is no whole number of tokens.
    """
    usual = sizes_of(pipe, None)
    px = longest_px(asked, [info], usual_px=usual.output, token=usual.token)
    side, _ = condition_size((px, px), info, output_px=px, token=usual.token)
    if info.is_aligned and side * info.scale != px:
        raise ConfigError(
            "size",
            f"size {px}: the adapter's condition is {info.scale:g} times smaller, of whole tokens."
            f"\n  The nearest such size is {side * info.scale:g}.",
        )
    return Sizes(px, side, usual.token)


def as_measured(source: AnySource) -> AnySource:
    """The same pictures with the conditions that outputs are measured by."""
    return source if isinstance(source, RecordSource) else replace(source, is_training=False)


def at_size(source: AnySource, px: int) -> AnySource:
    """The same pictures with conditions of another size."""
    return replace(source, condition_px=px)


def names_of(source: AnySource, numbers: Sequence[int]) -> list[str]:
    """What these pictures are called in a table."""
    if isinstance(source, FileSource):
        return [source.pairs[one].target.name for one in numbers]
    if isinstance(source, RecordSource):
        sides = ("left", "right")
        return [f"{source.records[one // 2].id} {sides[one % 2]}" for one in numbers]
    return [f"scene {one}" for one in numbers]


def counts_of(source: AnySource) -> tuple[Number, ...]:
    """What became of the rows that judged pairs were read from; nothing of other sources."""
    return source.counts.numbers() if isinstance(source, RecordSource) else ()


def prompts_in(source: AnySource) -> list[str] | None:
    """Every prompt of a source; None if there is no end of them."""
    if isinstance(source, FileSource):
        return [one.prompt for one in source.pairs]
    if isinstance(source, RecordSource):
        return [text for one in source.records for text in one.captions]
    return None


@dataclass(frozen=True, kw_only=True)
class Split:
    """Pictures to learn from, and a few that tell whether anything is learnt."""

    training: AnySource
    probes: AnySource
    numbers: Sequence[int]
    """Of the probes."""
    remark: str = ""
    """What a reader has to know of the probes."""


def split(source: AnySource, number: int, *, seed: int) -> Split:
    """So many probes, which are kept from training where there are at least `LEAST` pictures.

    Of a target that occurs several times all rows are kept, and of a judged pair both directions.
    """
    if isinstance(source, ToySource):
        probes = replace(source, split="held-out", is_training=False)
        return Split(training=source, probes=probes, numbers=range(_HELD_OUT, _HELD_OUT + number))
    if isinstance(source, FileSource):
        targets = list(dict.fromkeys(one.target for one in source.pairs))
        if len(targets) >= LEAST:
            held = {targets[one] for one in _drawn(len(targets), number, seed)}
            apart = {one.target: one for one in source.pairs if one.target in held}
            return Split(
                training=replace(
                    source, pairs=[one for one in source.pairs if one.target not in held]
                ),
                probes=replace(source, pairs=list(apart.values()), is_training=False),
                numbers=range(len(apart)),
            )
    elif source.total >= LEAST:
        held = set(_drawn(len(source.records), number // 2, seed))
        numbered = list(enumerate(source.records))
        return Split(
            training=replace(source, records=[one for place, one in numbered if place not in held]),
            probes=replace(source, records=[one for place, one in numbered if place in held]),
            numbers=range(2 * len(held)),
        )
    return Split(
        training=source,
        probes=as_measured(source),
        numbers=range(min(number, source.total)),
        remark=f"The measures before and after are of pictures that are also learnt from: there "
        f"are fewer than {LEAST}.",
    )


def _drawn(total: int, number: int, seed: int) -> list[int]:
    order = np.random.default_rng(rng_seed("held out", seed)).permutation(total)
    return [int(one) for one in order[:number]]
