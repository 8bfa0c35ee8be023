"""Calibration sets of selective evaluation (Jung et al. 2024): pairs that people and a judge saw.

row  {"instruction", "outputs": [text, text], "preferences": {"human": 1 or 2}, "probs": [p1, p2]}
"""

from __future__ import annotations

from pathlib import Path

from modelgraft.core.rows import BadRow, Reject, Row, shown, text_of
from modelgraft.methods.judge.bench.fields import answers, choice_of, part_of
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Item

PROBABILITY = "probability"


def read_selective(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs with people's labels; `meta["probability"]` is the judge's that the first wins.

    Rows have no ids and get their place.
    """
    return read_records(path, _item, reject=reject)


def _item(row: Row, place: int) -> Item:
    texts = part_of(row, "outputs", list, 2)
    probs = part_of(row, "probs", list, 2)
    if not all(type(one) in (int, float) and 0 <= one <= 1 for one in probs) or not sum(probs):
        raise BadRow(f'field "probs": {shown(probs)} are no two probabilities')
    return Item(
        f"row-{place + 1}",
        text_of(row, "instruction"),
        answers({"outputs[0]": texts[0], "outputs[1]": texts[1]}, ("outputs[0]", "outputs[1]")),
        label=choice_of(part_of(row, "preferences", dict), "human", {1: "a", 2: "b"}),
        meta={PROBABILITY: probs[0] / sum(probs)},
    )
