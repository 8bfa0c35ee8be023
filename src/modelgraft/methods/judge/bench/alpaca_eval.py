"""AlpacaEval (Dubois et al. 2024): what annotators prefer, a baseline's output or a model's.

row  {"instruction", "output_1": of the baseline, "generator_1", "output_2": of the model,
      "generator_2", "annotator", "preference": 1 the baseline is better, 2 the model, 0 or 1.5 a
      tie, between them the probability of a weighted judge, null where it failed, "dataset"}

People's annotations have "annotator_index" and several rows for a pair.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from modelgraft.core.rows import BadRow, Reject, Row, number_of, present, shown, text_of
from modelgraft.methods.judge.bench.fields import TIE, VOTES, answers, leading, vote
from modelgraft.methods.judge.bench.files import read_folder, read_records
from modelgraft.methods.judge.data import Item
from modelgraft.methods.judge.judging.judgments import Judgment

PREFERENCE, ANNOTATOR = "preference", "annotator"
_TEXTS = ("output_1", "output_2")


def read_alpaca_eval(path: Path, *, reject: Reject | None) -> list[Item]:
    """The pairs of a file or a folder of annotations; the group is the data set they are from.

    A model's preference is kept in `meta["preference"]`, as it is recorded. Rows of people on the
    same pair are one item: their votes are in `meta["votes"]`, and the label is what most said.
    A second row of an annotator on a pair is bad. Rows have no ids and get their place.
    """

    def read(file: Path, name: str) -> list[Item]:
        lead = f"{name.removesuffix('annotations')}row" if name else "row"
        rows = read_records(
            file,
            lambda row, place: _item(row, f"{lead}-{place + 1}"),
            reject=reject,
            key=lambda item: (*_pair(item), item.meta[ANNOTATOR]),
            id_field="instruction",
        )
        return _merged(rows)

    return read_folder(path, "annotations.json", read, "annotations of AlpacaEval")


def preference_of(item: Item, judgment: Judgment | None) -> float | None:
    """A judgment of a pair as AlpacaEval records it: 2 less the probability of the first.

    Of a verdict without a probability 1, 1.5 or 2; None without a verdict.
    """
    if judgment is None or judgment.winner is None:
        return None
    if judgment.probability is not None:
        return 2 - judgment.probability
    first, second = (one.id for one in item.candidates)
    return {first: 1.0, TIE: 1.5, second: 2.0}[judgment.winner]


def _merged(rows: list[Item]) -> list[Item]:
    """People's rows on the same pair as one item, and all others as they are."""
    found: dict[Any, Item] = {}
    for item in rows:
        key = _pair(item) if VOTES in item.meta else item.id
        first = found.setdefault(key, item)
        if first is not item:
            votes = [*first.meta[VOTES], *item.meta[VOTES]]
            label = leading([one["choice"] for one in votes])
            found[key] = replace(first, label=label, meta={**first.meta, VOTES: votes})
    return list(found.values())


def _pair(item: Item) -> tuple[str, ...]:
    return (item.instruction, *(one.text for one in item.candidates))


def _item(row: Row, name: str) -> Item:
    preference = _preference(row)
    person = row.get("annotator_index")
    meta: dict[str, Any] = {PREFERENCE: preference}
    label = None
    if person is None:
        meta[ANNOTATOR] = text_of(row, ANNOTATOR) if ANNOTATOR in row else ""
    else:
        meta[ANNOTATOR] = str(person)
        label = _choice(preference)
        meta[VOTES] = [vote(str(person), label)] if label is not None else []
    generators = [row.get("generator_1"), row.get("generator_2")]
    return Item(
        name,
        text_of(row, "instruction"),
        answers(row, _TEXTS, [str(one) for one in generators if one]),
        label=label,
        group=str(row.get("dataset") or ""),
        meta=meta,
    )


def _preference(row: Row) -> float | None:
    if present(row, PREFERENCE) is None:
        return None
    value = number_of(row, PREFERENCE)
    if value != 0 and not 1 <= value <= 2:
        raise BadRow(f'field "{PREFERENCE}": {shown(value)} is neither 0 nor from 1 to 2')
    return value


def _choice(preference: float | None) -> str | None:
    if preference is None:
        return None
    return TIE if preference in (0, 1.5) else "a" if preference < 1.5 else "b"
