"""SummEval as G-Eval uses it (Liu et al. 2023): summaries with people's scores on four dimensions.

row  {"doc_id", "system_id", "source", "reference", "system_output",
      "scores": {"coherence", "consistency", "fluency", "relevance"}, "all_responses": [text]}

Files of results have "all_responses", the judge's samples. Where there is no "system_id", systems
are numbered in their order within a document.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.rows import BadRow, Reject, Row, number_of, shown, text_of
from modelgraft.methods.judge.bench.fields import SCORES, id_of, part_of
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Candidate, Item

DIMENSIONS = ("coherence", "consistency", "fluency", "relevance")
DOCUMENT, SYSTEM, RECORDED, NUM_UNREAD = "document", "system", "recorded_score", "num_unread"
_TASK = "Write a short summary of the document."
_LEADING = re.compile(r"\s?(\d+(?:\.\d+)?)")


def read_summ_eval(
    path: Path, *, reject: Reject | None, dimension: str = "relevance"
) -> list[Item]:
    """A summary an item, labelled with people's score on a dimension; the group is the document.

    All four are in `meta["scores"]`. Of recorded samples `meta["recorded_score"]` is the mean of
    those that begin with a number, None without any; the others are counted in
    `meta["num_unread"]` and are no zeros.
    """
    num_seen: Counter[str] = Counter()

    def parse(row: Row, place: int) -> Item:
        document = id_of(row, "doc_id")
        num_seen[document] += 1
        numbered = f"system-{num_seen[document]}"
        system = id_of(row, "system_id") if "system_id" in row else numbered
        given = part_of(row, "scores", dict)
        scores = {name: number_of(given, name) for name in given}
        if dimension not in scores:
            raise BadRow(f'field "scores": there is no {dimension} in {shown(list(scores))}')
        return Item(
            f"{document}:{system}",
            _TASK,
            (Candidate("a", text_of(row, "system_output", empty=True), {"generator": system}),),
            reference=text_of(row, "reference") if row.get("reference") else None,
            context=(text_of(row, "source"),),
            label=scores[dimension],
            group=document,
            meta={DOCUMENT: document, SYSTEM: system, SCORES: scores, **_recorded(row)},
        )

    return read_records(path, parse, reject=reject, key=lambda item: item.id, id_field="doc_id")


def _recorded(row: Row) -> dict[str, Any]:
    if "all_responses" not in row:
        return {}
    texts = part_of(row, "all_responses", list)
    found = [_LEADING.match(one) if isinstance(one, str) else None for one in texts]
    numbers = [float(match[1]) for match in found if match]
    mean = float(np.mean(numbers)) if numbers else None
    return {RECORDED: mean, NUM_UNREAD: len(texts) - len(numbers)}
