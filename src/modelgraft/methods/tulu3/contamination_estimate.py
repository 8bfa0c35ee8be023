"""How much there is to search for overlaps, by counting the files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from modelgraft.core.results import Number
from modelgraft.core.rows import BadRow
from modelgraft.core.settings import Settings
from modelgraft.language.decontamination.analyser import analyse
from modelgraft.methods.tulu3.config import DecontaminateConfig
from modelgraft.methods.tulu3.contamination import (
    lines_of,
    parse_line,
    read_tests,
    require_rows,
    suites_of,
)
from modelgraft.methods.tulu3.train.estimates import spread


def estimate_decontaminate(config: DecontaminateConfig, settings: Settings) -> list[Number]:
    """The tests of each test set, and the rows, documents and tokens of each training set.

    A document is a turn of the user's. Of more than `MAX_ROWS` rows so many are read, and the rest
    is taken to be alike.
    """
    evaluations = [read_tests(path, suite) for path, suite in suites_of(config)]
    numbers = [Number(f"{one.name}: tests", len(one.instances)) for one in evaluations]
    for path in config.train:
        numbers += _size(path)
    return numbers


def _size(path: Path) -> list[Number]:
    num_rows = sum(1 for _ in _rows(path))
    looked = set(spread(range(num_rows)))
    counts: Counter[str] = Counter()
    for place, content in enumerate(_rows(path)):
        if place not in looked:
            continue
        try:
            _, prompts = parse_line(content, place)
        except BadRow:
            counts["bad"] += 1
            continue
        counts["documents"] += len(prompts)
        counts["tokens"] += sum(len(analyse(prompt)) for prompt in prompts)
    require_rows(path, len(looked), counts["bad"])
    scale, name = num_rows / len(looked), path.stem
    return [
        Number(f"{name}: rows", num_rows, unit="rows"),
        Number(f"{name}: documents, about", round(scale * counts["documents"])),
        Number(f"{name}: tokens, about", round(scale * counts["tokens"]), unit="tokens"),
    ]


def _rows(path: Path) -> Iterator[bytes]:
    """The lines that are not blank."""
    whole = (path, 0, path.stat().st_size)
    return (content for _, content in lines_of(whole) if content.strip())
