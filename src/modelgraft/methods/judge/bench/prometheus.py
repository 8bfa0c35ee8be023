"""The sets of Prometheus (Kim et al. 2024): answers with a rubric of their own.

scores  {"idx", "response_source", "category", "instruction", "gpt4_score": [n, n, n]}
pairs   {"source", "chosen_instruction", "rejected_instruction"}

What they call an instruction is a whole prompt, with the task, the answer, often a reference, and
the rubric under headings; it is taken apart.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from modelgraft.core.rows import BadRow, Reject, Row, number_of, text_of
from modelgraft.methods.judge.bench.fields import SCORES, id_of, part_of
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Candidate, Item

RUBRIC = "rubric"
_PROMPT = re.compile(
    r"###The instruction to evaluate:\n(?P<task>.*?)\n\n###Response to evaluate:\n(?P<answer>.*?)"
    r"\n\n(?:###Reference Answer \(Score 5\):\n(?P<reference>.*?)\n\n)?"
    r"###Score Rubrics:\n(?P<rubric>.*?)\s*\n###Feedback:",
    re.DOTALL,
)


@dataclass(frozen=True)
class _Parts:
    task: str
    answer: str
    reference: str | None
    rubric: str


def read_prometheus_scores(path: Path, *, reject: Reject | None) -> list[Item]:
    """An answer an item, labelled with the mean of three scores of GPT-4 from 1 to 5.

    The group is the category; `meta` has the three "scores" and the "rubric".
    """
    return read_records(path, _scored, reject=reject, key=lambda item: item.id, id_field="idx")


def _scored(row: Row, place: int) -> Item:
    model = text_of(row, "response_source")
    parts = _parts(row, "instruction")
    given = part_of(row, "gpt4_score", list, 3)
    names = [f"gpt4_score[{number}]" for number in range(3)]
    scores = [number_of(dict(zip(names, given, strict=True)), name) for name in names]
    return Item(
        f"{id_of(row, 'idx')}:{model}",
        parts.task,
        (Candidate("a", parts.answer, {"generator": model}),),
        reference=parts.reference or None,
        label=float(np.mean(scores)),
        group=text_of(row, "category"),
        meta={SCORES: scores, RUBRIC: parts.rubric},
    )


def read_prometheus_pairs(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of hhh_alignment_eval, labelled chosen; the group is the source.

    Rows have no ids and get their place, as harmless-3.
    """
    return read_records(path, _pair, reject=reject)


def _pair(row: Row, place: int) -> Item:
    source = text_of(row, "source")
    chosen = _parts(row, "chosen_instruction")
    rejected = _parts(row, "rejected_instruction")
    if (chosen.task, chosen.rubric) != (rejected.task, rejected.rubric):
        raise BadRow(
            'fields "chosen_instruction" and "rejected_instruction": they differ in more than the '
            "answer"
        )
    both = Candidate("chosen", chosen.answer), Candidate("rejected", rejected.answer)
    return Item(
        f"{source}-{place + 1}",
        chosen.task,
        both,
        label="chosen",
        group=source,
        meta={RUBRIC: chosen.rubric},
    )


def _parts(row: Row, name: str) -> _Parts:
    found = _PROMPT.search(text_of(row, name))
    if found is None:
        raise BadRow(
            f'field "{name}": the headings of the task, the answer and the rubric are not all there'
        )
    return _Parts(found["task"], found["answer"], found["reference"], found["rubric"])
