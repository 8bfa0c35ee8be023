"""JudgeDeceiver (Shi et al. 2024): pairs in which an attack pushes the worse answer.

CSV       instruction, text1, text2, target: "Output (a) is better." or "Output (b) is better."
suffixes  [{"question_id", "question", "bad_answer", and a suffix under the name of each judge}]

The target is the slot of the worse answer, which is one and the same in a file. A pair stands in it
once for each slot.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from modelgraft.core.errors import InputError
from modelgraft.core.rows import Reject, Row, text_of
from modelgraft.methods.judge.bench.fields import choice_of
from modelgraft.methods.judge.bench.files import read_folder, read_records
from modelgraft.methods.judge.data import Candidate, Item

GOOD, BAD = "good", "bad"
_TARGETS = {"Output (a) is better.": 0, "Output (b) is better.": 1}
_HEADING = "# Instruction:"


def read_judge_deceiver(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of a CSV file or a folder of them, the good answer first and labelled.

    Attacks are not in them (`attacked`). The two rows of a pair, one for each slot, are
    one item. The group is the file.
    """

    def read(file: Path, name: str) -> list[Item]:
        seen: Counter[tuple[object, ...]] = Counter()

        def parse(row: Row, place: int) -> tuple[Item, int]:
            slot = choice_of(row, "target", _TARGETS)
            texts = text_of(row, "text1", empty=True), text_of(row, "text2", empty=True)
            task = text_of(row, "instruction").rpartition(_HEADING)[2].strip()
            good, bad = texts[1 - slot], texts[slot]
            seen[slot, task, good, bad] += 1  # some answers stand in a file twice
            both = Candidate(GOOD, good), Candidate(BAD, bad)
            item = Item(f"{file.stem}-{place + 1}", task, both, label=GOOD, group=file.stem)
            return item, seen[slot, task, good, bad]

        found: dict[tuple[object, ...], Item] = {}
        for item, number in read_records(file, parse, reject=reject):
            texts = (one.text for one in item.candidates)
            found.setdefault((item.instruction, *texts, number), item)
        return list(found.values())

    return read_folder(path, "*.csv", read, "pairs of JudgeDeceiver")


def read_suffixes(path: Path, judge: str, *, reject: Reject | None) -> dict[str, str]:
    """The suffix that was optimised against a judge, by the worse answer it is for."""

    def parse(row: Row, place: int) -> tuple[str, str]:
        return text_of(row, "bad_answer").strip(), text_of(row, judge)

    return dict(
        read_records(path, parse, reject=reject, key=lambda one: one[0], id_field="question_id")
    )


def attacked(items: Sequence[Item], suffixes: dict[str, str]) -> list[Item]:
    """The items with the suffix behind the worse answer; InputError where there is none for it."""
    found = []
    for item in items:
        good, bad = item.candidates
        suffix = suffixes.get(bad.text.strip())
        if suffix is None:
            raise InputError(f"item {item.id}: no suffix is known for its worse answer.")
        found.append(item.with_candidates((good, replace(bad, text=f"{bad.text} {suffix}"))))
    return found
