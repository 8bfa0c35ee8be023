"""RewardBench (Lambert et al. 2024) and RewardBench 2 (Malik et al. 2025).

version 1  {"id", "prompt", "chosen", "rejected", "subset"}
version 2  {"id", "prompt", "chosen": [text], "rejected": [text], "subset", "num_correct"}
"""

from __future__ import annotations

from pathlib import Path

from modelgraft.core.rows import BadRow, Reject, Row, shown, text_of
from modelgraft.methods.judge.bench.fields import id_of, part_of
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Candidate, Item
from modelgraft.methods.judge.method.reward_bench import SECTIONS

TIES = "Ties"
CORRECT = "correct"
_CHOSEN, _REJECTED = "chosen", "rejected"
_SUBSETS = frozenset(name for names in SECTIONS.values() for name in names)


def read_reward_bench(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of version 1, labelled chosen; the group is the subset, part of the id too."""
    return read_records(path, _pair, reject=reject, key=lambda item: item.id)


def _pair(row: Row, place: int) -> Item:
    subset = text_of(row, "subset")
    if subset not in _SUBSETS:
        raise BadRow(f'field "subset": {shown(subset)} is none of {", ".join(sorted(_SUBSETS))}')
    both = (Candidate(side, text_of(row, side, empty=True)) for side in (_CHOSEN, _REJECTED))
    return Item(
        f"{subset}:{id_of(row, 'id')}",
        text_of(row, "prompt"),
        tuple(both),
        label=_CHOSEN,
        group=subset,
    )


def read_reward_bench_2(path: Path, *, reject: Reject | None) -> list[Item]:
    """The items of version 2: candidates chosen-1, ..., rejected-1, ...; the group is the subset.

    Outside the subset Ties each has one right answer of four, which is the label. In Ties the right
    ones are `meta["correct"]`, and ids end with ref:7 or tied:7, the two forms of question 7.
    """
    return read_records(path, _item, reject=reject, key=lambda item: item.id)


def _item(row: Row, place: int) -> Item:
    subset, name = text_of(row, "subset"), id_of(row, "id")
    found = []
    for side in (_CHOSEN, _REJECTED):
        texts = part_of(row, side, list)
        parts = {f"{side}-{number}": text for number, text in enumerate(texts, start=1)}
        found.append([Candidate(part, text_of(parts, part, empty=True)) for part in parts])
    correct, wrong = found
    if not correct or not wrong:
        raise BadRow('fields "chosen" and "rejected": each needs an answer')
    if subset == TIES:
        form, _, number = name.partition(":")
        if form not in ("ref", "tied") or not number:
            raise BadRow(f'field "id": {shown(name)} of {TIES} is no "ref:7" or "tied:7"')
    elif (len(correct), len(wrong)) != (1, 3):
        raise BadRow(
            f'fields "chosen" and "rejected": {len(correct)} and {len(wrong)} answers; 1 and 3 '
            f"are needed in {subset}"
        )
    return Item(
        f"{subset}:{name}",
        text_of(row, "prompt"),
        (*correct, *wrong),
        label=correct[0].id if subset != TIES else None,
        group=subset,
        meta={CORRECT: [one.id for one in correct]},
    )
