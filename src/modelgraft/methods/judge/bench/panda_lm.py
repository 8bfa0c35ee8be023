"""Three-way test sets: PandaLM (Wang et al. 2024) and the pairs of Auto-J (Li et al. 2024).

PandaLM  {"idx", "instruction", "input", "response1", "response2", "cmp_key", "motivation_app",
          "annotator1", "annotator2", "annotator3": 0 for a tie, 1 or 2}
Auto-J   {"scenario", "prompt", "response 1", "response 2", "label": 0 or 1 for the first or the
          second, 2 for a tie}

Where PandaLM has true or false for a text, an answer of that one word was read as something else.
"""

from __future__ import annotations

from pathlib import Path

from modelgraft.core.rows import BadRow, Reject, Row, text_of
from modelgraft.methods.judge.bench.fields import (
    TIE,
    VOTES,
    answers,
    choice_of,
    id_of,
    leading,
    vote,
)
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Item

_PANDA = {0: TIE, 1: "a", 2: "b"}
_AUTO_J = {0: "a", 1: "b", 2: TIE}
_TASK = ("instruction", "input")
_RATERS = ("annotator1", "annotator2", "annotator3")


def read_panda_lm(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of PandaLM's test set; the group is the application that the task is from.

    The label is what most annotators said, None where all three differ; their votes are in
    `meta["votes"]`.
    """
    return read_records(path, _panda, reject=reject, key=lambda item: item.id, id_field="idx")


def _panda(row: Row, place: int) -> Item:
    row = {name: str(one) if isinstance(one, bool) else one for name, one in row.items()}
    parts = [text_of(row, name, empty=True) for name in _TASK if row.get(name) is not None]
    parts = [one for one in parts if one.strip()]
    if not parts:
        raise BadRow('fields "instruction" and "input" are empty')
    votes = [vote(rater, choice_of(row, rater, _PANDA)) for rater in _RATERS]
    return Item(
        id_of(row, "idx"),
        "\n\n".join(parts),
        answers(row, ("response1", "response2"), str(row.get("cmp_key", "")).split("_")),
        label=leading([one["choice"] for one in votes]),
        group=str(row.get("motivation_app", "")),
        meta={VOTES: votes},
    )


def read_auto_j(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of Auto-J; the group is the scenario. Rows have no ids and get their place."""
    return read_records(path, _auto_j, reject=reject)


def _auto_j(row: Row, place: int) -> Item:
    return Item(
        f"row-{place + 1}",
        text_of(row, "prompt"),
        answers(row, ("response 1", "response 2")),
        label=choice_of(row, "label", _AUTO_J),
        group=text_of(row, "scenario"),
    )
