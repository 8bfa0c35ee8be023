"""Judgments as files that others read: preference data for training, annotations, tables.

JSONL of preferences loads in `datasets` and in TRL's trainers: DPO and reward models take {prompt,
chosen, rejected}, the latter with a margin, KTO {prompt, completion, label}, supervised training
{prompt, completion}. Trainers set a prompt and an answer that are texts one behind the other as
they stand; `as_messages` makes them turns, which get the chat template of the model. Ties and pairs
without a verdict are in none of these.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from modelgraft.core.files import dump_json, write_atomic, write_json
from modelgraft.core.rows import BadRow, Reject, Row, present, read_rows, shown
from modelgraft.methods.judge.bench.alpaca_eval import preference_of
from modelgraft.methods.judge.bench.fields import choice_of, id_of, part_of
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.bench.mt_bench import QUESTION, TURN
from modelgraft.methods.judge.bench.orders import UNREAD, Orders
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.exports.preferences import Preference, margin_of
from modelgraft.methods.judge.extract import Status
from modelgraft.methods.judge.judges.calls import Verdict
from modelgraft.methods.judge.judging.judgments import TIE, Judgment

_ROLES = dict.fromkeys(("chosen", "rejected", "completion"), "assistant") | {"prompt": "user"}
_GAMES = (
    {1: "model_1", 2: "model_2", 0: TIE, None: "error"},
    {1: "model_2", 2: "model_1", 0: TIE, None: "error"},
)


# -- preferences -----------------------------------------------------------------------------------


def write_dpo(path: Path, found: Iterable[Preference], *, as_messages: bool = False) -> None:
    """{prompt, chosen, rejected} a line, as TRL's DPO takes it."""
    _write_training(path, [_pair_row(one) for one in found], as_messages)


def write_reward(path: Path, found: Iterable[Preference], *, as_messages: bool = False) -> None:
    """{prompt, chosen, rejected, margin} a line; InputError for one without a margin."""
    rows = [{**_pair_row(one), "margin": margin_of(one)} for one in found]
    _write_training(path, rows, as_messages)


def write_kto(path: Path, found: Iterable[Preference], *, as_messages: bool = False) -> None:
    """{prompt, completion, label} a line, the better answer as true and the worse one as false."""
    rows = [
        {"prompt": one.prompt, "completion": text, "label": is_good}
        for one in found
        for text, is_good in ((one.chosen, True), (one.rejected, False))
    ]
    _write_training(path, rows, as_messages)


def write_best_of_n(
    path: Path,
    items: Iterable[Item],
    judgments: Iterable[Judgment],
    *,
    as_messages: bool = False,
) -> None:
    """{prompt, completion} a line, the winner of each item that has one."""
    winners = {one.item: one.winner for one in judgments}
    rows = []
    for item in items:
        texts = {one.id: one.text for one in item.candidates}
        if (best := winners.get(item.id)) in texts:
            rows.append({"prompt": item.instruction, "completion": texts[best]})
    _write_training(path, rows, as_messages)


def _pair_row(one: Preference) -> Row:
    return {"prompt": one.prompt, "chosen": one.chosen, "rejected": one.rejected}


def _write_training(path: Path, rows: Sequence[Row], as_messages: bool) -> None:
    if as_messages:
        rows = [
            {
                name: [{"role": _ROLES[name], "content": one}] if name in _ROLES else one
                for name, one in row.items()
            }
            for row in rows
        ]
    _write_rows(path, rows)


# -- annotations -----------------------------------------------------------------------------------


def write_alpaca_eval(
    path: Path, items: Iterable[Item], judgments: Iterable[Judgment], *, annotator: str
) -> None:
    """AlpacaEval's annotations of pairs, the first candidate as the baseline; unread ones are null.

    Generators are those in the candidates' meta, or their ids.
    """
    by_id = {one.item: one for one in judgments}
    rows = []
    for item in items:
        row: Row = {"instruction": item.instruction}
        for number, one in enumerate(item.candidates, start=1):
            row[f"output_{number}"] = one.text
            row[f"generator_{number}"] = str(one.meta.get("generator", one.id))
        preference = preference_of(item, by_id.get(item.id))
        rows.append({**row, "annotator": annotator, "preference": preference})
    write_json(path, rows)


def write_mt_bench(path: Path, items: Iterable[Item], orders: Orders, *, judge: str) -> None:
    """MT-Bench's judgments of pairs: the winner of both games, by the models' places."""
    rows = []
    for item in items:
        pair = zip(_GAMES, orders.get(item.id, UNREAD), strict=True)
        first, second = (names[shown] for names, shown in pair)
        one, other = item.candidates
        rows.append(
            {
                "question_id": item.meta.get(QUESTION, item.id),
                "model_1": one.id,
                "model_2": other.id,
                "g1_winner": first,
                "g2_winner": second,
                "judge": [judge, "pair"],
                "turn": item.meta.get(TURN, 1),
            }
        )
    _write_rows(path, rows)


# -- judgments and verdicts ------------------------------------------------------------------------

_COLUMNS = tuple(one.name for one in fields(Judgment))
_NUMBERS = ("probability", "content", "position", "mass", "confidence")
_FLAGS = ("is_consistent", "abstained")
_NUMBER = re.compile(r"-?\d+\.\d+(e[+-]?\d+)?")  # a score; a candidate may be called 1
_OBJECTS = ("scores", "failed")


def write_csv(path: Path, judgments: Iterable[Judgment]) -> None:
    """A row a judgment; what is not known is an empty cell, scores and failures are JSON."""
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(_COLUMNS)
    for one in judgments:
        cells = [getattr(one, name) for name in _COLUMNS]
        writer.writerow([_cell(value) for value in cells])
    write_atomic(path, table.getvalue())


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return dump_json(dict(value)) if value else ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def read_csv(path: Path, *, reject: Reject | None) -> list[Judgment]:
    """The judgments that `write_csv` wrote; a label that is a number comes back as one."""
    return read_records(path, _judgment, reject=reject, key=lambda one: one.item, id_field="item")


def _judgment(row: Row, place: int) -> Judgment:
    found: dict[str, Any] = {name: present(row, name) or None for name in _COLUMNS}
    for name in _NUMBERS:
        found[name] = None if found[name] is None else _parsed(float, name, found[name])
    for name in _OBJECTS:
        found[name] = {} if found[name] is None else _parsed(json.loads, name, found[name])
    for name in _FLAGS:
        found[name] = None if found[name] is None else found[name] == "true"
    found["group"] = found["group"] or ""
    if _NUMBER.fullmatch(found["label"] or ""):
        found["label"] = float(found["label"])
    return Judgment(**found)


def _parsed(parse: Any, name: str, text: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        raise BadRow(f'field "{name}": {shown(text)} cannot be read') from None


def read_judgments(path: Path, *, reject: Reject | None) -> list[Judgment]:
    """The judgments of a run: its folder, or its `judgments.jsonl`, or what `write_csv` wrote."""
    path = path / "artefacts" / "judgments.jsonl" if path.is_dir() else path
    if path.suffix.lower() == ".csv":
        return read_csv(path, reject=reject)

    def parse(row: Row, place: int) -> Judgment:
        if strange := sorted(set(row) - set(_COLUMNS)):
            raise BadRow(f'field "{strange[0]}" is none of a judgment\'s')
        found: dict[str, Any] = {"group": "", "label": None, **row, "item": id_of(row, "item")}
        return Judgment(**found)

    return read_rows(path, parse, key=lambda one: one.item, id_field="item", reject=reject)


def read_verdicts(path: Path, *, reject: Reject | None) -> list[Verdict]:
    """The verdicts of a run, a row each, from its `verdicts.jsonl`."""

    def parse(row: Row, place: int) -> Verdict:
        known = {one.name for one in fields(Verdict)}
        if strange := sorted(set(row) - known):
            raise BadRow(f'field "{strange[0]}" is none of a verdict\'s')
        choice_of(row, "status", dict.fromkeys(get_args(Status)))
        found: dict[str, Any] = {"label": None, **row, "item": id_of(row, "item")}
        for name in ("order", "labels", "probabilities", "scores"):
            if name in row or name in ("order", "labels"):
                found[name] = tuple(part_of(row, name, list))
        return Verdict(**found)

    return read_rows(path, parse, id_field="item", reject=reject)


def _write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    write_atomic(path, "".join(f"{dump_json(row)}\n" for row in rows))
