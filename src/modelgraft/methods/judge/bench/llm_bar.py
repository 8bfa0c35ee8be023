"""LLMBar (Zeng et al. 2024): which of two outputs follows the instruction.

row  {"input", "output_1", "output_2", "label": 1 or 2}

Files of results add "results", of which the last counts: {"swap = False": {"winner": "1", "2" or
null}, "swap = True": {...}}, both in the numbers of the data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from modelgraft.core.rows import BadRow, Reject, Row, shown, text_of
from modelgraft.methods.judge.bench.fields import (
    ORDERS,
    answers,
    choice_of,
    part_of,
    shown_in_both,
)
from modelgraft.methods.judge.bench.files import read_folder, read_records
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.method.benchmarks import Pair

_WINNERS = {"1": 1, "2": 2, None: None}


def read_llm_bar(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of a dataset.json, of a result.json, or of a folder of datasets.

    The group is the subset, which is the name of the folder that a dataset.json stands in: Natural,
    Neighbor, GPTInst, GPTOut, Manual. Rows have no ids and get their place, as Natural-3.
    """

    def read(file: Path, name: str) -> list[Item]:
        subset = _subset(file)
        return read_records(file, lambda row, place: _item(row, place, subset), reject=reject)

    return read_folder(path, "dataset.json", read, "the subsets of LLMBar")


def _subset(file: Path) -> str:
    """Natural, of .../Natural/dataset.json or .../Natural/evaluators/JUDGE/PROMPT/result.json."""
    folders = file.absolute().parts[:-1]
    if "evaluators" in folders[1:]:
        return folders[folders.index("evaluators", 1) - 1]
    return folders[-1]


def _item(row: Row, place: int, subset: str) -> Item:
    return Item(
        f"{subset}-{place + 1}",
        text_of(row, "input"),
        answers(row, ("output_1", "output_2")),
        label=choice_of(row, "label", {1: "a", 2: "b"}),
        group=subset,
        meta={ORDERS: list(_orders(row))} if "results" in row else {},
    )


def _orders(row: Row) -> Pair:
    results: Any = part_of(row, "results", list)
    if not results or not isinstance(results[-1], dict):
        raise BadRow(f'field "results": {shown(results)} does not end with a result')
    winners = [
        choice_of(part_of(results[-1], name, dict), "winner", _WINNERS)
        for name in ("swap = False", "swap = True")
    ]
    return shown_in_both(*winners)
