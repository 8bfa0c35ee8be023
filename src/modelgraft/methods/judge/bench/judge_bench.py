"""JudgeBench (Tan et al. 2025): pairs of answers of which one is verifiably right.

row  {"pair_id", "original_id", "source", "question", "response_model", "response_A", "response_B",
      "label": "A>B" or "B>A"}

Files of results add "judge_name" and "judgments", one for each order, with a "decision" in the
letters that were shown.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelgraft.core.rows import BadRow, Reject, Row, shown, text_of
from modelgraft.methods.judge.bench.fields import (
    ORDERS,
    answers,
    choice_of,
    grade_of,
    id_of,
    slot_of,
)
from modelgraft.methods.judge.bench.files import read_folder, read_records
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.method.benchmarks import Shown


def read_judge_bench(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of a file or a folder; the group is the source, `original_id` is in meta.

    Decisions of a file of results are kept too (`orders.recorded_orders`).
    """
    return read_folder(
        path,
        "*.jsonl",
        lambda file, _: read_records(
            file, _item, reject=reject, key=lambda item: item.id, id_field="pair_id"
        ),
        "files of JudgeBench",
    )


def _item(row: Row, place: int) -> Item:
    meta: dict[str, Any] = {
        name: row[name] for name in ("original_id", "response_model", "judge_name") if name in row
    }
    if "judgments" in row:
        meta[ORDERS] = _decisions(row["judgments"])
    return Item(
        id_of(row, "pair_id"),
        text_of(row, "question"),
        answers(row, ("response_A", "response_B")),
        label=choice_of(row, "label", {"A>B": "a", "B>A": "b"}),
        group=text_of(row, "source"),
        meta=meta,
    )


def _decisions(judgments: Any) -> list[Shown]:
    if not isinstance(judgments, list) or len(judgments) != 2:
        raise BadRow(f'field "judgments": {shown(judgments)} is no list of two')
    return [_slot(one) for one in judgments]


def _slot(judgment: Any) -> Shown:
    return slot_of(grade_of(judgment, "decision")) if isinstance(judgment, dict) else None
