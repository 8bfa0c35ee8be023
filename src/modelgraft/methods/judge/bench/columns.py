"""A person's own table as items: CSV, JSONL or a JSON array, with a map from our fields to columns.

The map reads `instruction=prompt,a=left,b=right,label=human`. Fields are the candidates a, b, c and
so on, `instruction`, `reference`, `context`, `label`, `group`, `id`, and in a file of people's
labels `rater`. Columns that it does not name are kept in `meta`.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from modelgraft.core.errors import ConfigError
from modelgraft.core.rows import BadRow, Reject, Row, number_of, present, shown, text_of
from modelgraft.methods.judge.bench.fields import TIE, VOTES, id_of, leading
from modelgraft.methods.judge.bench.files import read_records
from modelgraft.methods.judge.data import Candidate, Item, candidate_name

Columns = Mapping[str, str]

_FIELDS = ("instruction", "reference", "context", "label", "group", "id", "rater")
_CANDIDATE = re.compile(r"[a-z]")
_TRUTHS = {"true": 1.0, "false": 0.0}
_NUM_HEX = 16


def parse_columns(text: str) -> dict[str, str]:
    """The columns by field; `ConfigError` for a part that is no pair, or an unknown field."""
    found: dict[str, str] = {}
    for part in text.split(","):
        field, mark, column = (one.strip() for one in part.partition("="))
        if not mark or not column:
            raise ConfigError("columns", f"--columns: {part!r} is no field=column.")
        if field not in _FIELDS and not _CANDIDATE.fullmatch(field):
            raise ConfigError(
                "columns",
                f"--columns: {field!r} is no field; there are a, b, ... for candidates and "
                f"{', '.join(_FIELDS)}.",
            )
        if field in found:
            raise ConfigError("columns", f"--columns: {field} is given twice.")
        found[field] = column
    return found


def read_columns(
    path: Path, columns: Columns, *, reject: Reject | None, secret: str | None = None
) -> list[Item]:
    """The items of a table, a row each.

    A label is a candidate, by its letter or by the name of its column, or tie; of a single
    candidate it is a number, or true or false. A number says nothing about two candidates, since it
    might count from 0 or from 1. An empty cell is no value. Without an id column an item's id is a
    hash of its texts, so that a repeated row is a bad one; with a `secret` ids are hashes of those
    in the table (`hidden`).
    """
    letters = _letters(columns)

    def parse(row: Row, place: int) -> Item:
        texts = [text_of(row, columns[one], empty=True) for one in letters]
        instruction = text_of(row, columns["instruction"])
        return Item(
            _item_id(row, columns, instruction, texts, secret),
            instruction,
            tuple(Candidate(one, text) for one, text in zip(letters, texts, strict=True)),
            reference=_optional(row, columns.get("reference")),
            context=_context(row, columns.get("context")),
            label=_label(row, columns, letters),
            group=str(_cell(row, columns.get("group")) or ""),
            meta={name: one for name, one in row.items() if name not in columns.values()},
        )

    return read_records(
        path, parse, reject=reject, key=lambda item: item.id, id_field=columns.get("id", "id")
    )


def merge_labels(
    items: Sequence[Item],
    path: Path,
    columns: Columns,
    *,
    reject: Reject | None,
    secret: str | None = None,
) -> list[Item]:
    """The items with people's labels from a table of `id`, `label` and `rater` columns.

    Every row is a vote, kept in `meta["votes"]`; the label becomes what most said, None where two
    choices lead, and the mean of scores. A row for no item, or a rater's second on one, is bad.
    Give the same `secret` as for the items; raters then are hashes too.
    """
    for field in ("id", "label", "rater"):
        if field not in columns:
            raise ConfigError("columns", f"--columns: people's labels need the field {field}.")
    by_id = {item.id: item for item in items}

    def parse(row: Row, place: int) -> tuple[str, dict[str, Any]]:
        name = _named(id_of(row, columns["id"]), secret)
        if name not in by_id:
            raise BadRow(f'field "{columns["id"]}": there is no item of this id')
        letters = [one.id for one in by_id[name].candidates]
        label = _label(row, {"label": columns["label"]}, letters)
        if label is None:
            raise BadRow(f'field "{columns["label"]}" is empty')
        kind = "choice" if isinstance(label, str) else "score"
        return name, {"rater": _named(id_of(row, columns["rater"]), secret), kind: label}

    def key(one: tuple[str, dict[str, Any]]) -> tuple[str, str]:
        return one[0], one[1]["rater"]

    votes: dict[str, list[dict[str, Any]]] = {}
    for name, vote in read_records(path, parse, reject=reject, key=key, id_field=columns["id"]):
        votes.setdefault(name, []).append(vote)
    return [_voted(item, votes.get(item.id, [])) for item in items]


def _voted(item: Item, votes: Sequence[dict[str, Any]]) -> Item:
    if not votes:
        return item
    every = [*item.meta.get(VOTES, []), *votes]
    scores = [one["score"] for one in every if "score" in one]
    choices = [one["choice"] for one in every if "choice" in one]
    label = float(np.mean(scores)) if scores else leading(choices)
    return replace(item, label=label, meta={**item.meta, VOTES: every})


# -- ids -------------------------------------------------------------------------------------------


def hidden(name: str, secret: str) -> str:
    """A hash of a name, such as a person's address, that nobody can compute without the secret."""
    key = hashlib.sha256(secret.encode(errors="surrogatepass")).digest()
    data = name.encode(errors="surrogatepass")
    return hashlib.blake2b(data, key=key, digest_size=_NUM_HEX // 2).hexdigest()


def content_id(instruction: str, texts: Sequence[str]) -> str:
    """A hash of what is judged: the id of an item that has none."""
    data = json.dumps([instruction, *texts]).encode()
    return hashlib.sha256(data).hexdigest()[:_NUM_HEX]


def _item_id(
    row: Row, columns: Columns, instruction: str, texts: Sequence[str], secret: str | None
) -> str:
    if "id" not in columns:
        return content_id(instruction, texts)
    return _named(id_of(row, columns["id"]), secret)


def _named(name: str, secret: str | None) -> str:
    return name if secret is None else hidden(name, secret)


# -- cells -----------------------------------------------------------------------------------------


def _letters(columns: Columns) -> list[str]:
    """The candidates that are mapped: a, b, ... without a gap."""
    letters = sorted(one for one in columns if len(one) == 1)
    if not letters or letters != [candidate_name(place) for place in range(len(letters))]:
        raise ConfigError(
            "columns",
            f"--columns: candidates are {', '.join(letters) or 'missing'}; a, then b, c and so on "
            "are needed.",
        )
    if "instruction" not in columns:
        raise ConfigError("columns", "--columns: the field instruction is missing.")
    return letters


def _cell(row: Row, column: str | None) -> Any:
    """The value of a mapped column; None for none and for an empty cell."""
    value = None if column is None else present(row, column)
    return None if isinstance(value, str) and not value.strip() else value


def _optional(row: Row, column: str | None) -> str | None:
    return None if _cell(row, column) is None else text_of(row, str(column))


def _context(row: Row, column: str | None) -> tuple[str, ...]:
    value = _cell(row, column)
    if value is None:
        return ()
    values = value if isinstance(value, list) else [value]
    if not all(isinstance(one, str) for one in values):
        raise BadRow(f'field "{column}": {shown(value)} is neither a text nor a list of texts')
    return tuple(values)


def _label(row: Row, columns: Columns, letters: Sequence[str]) -> str | float | None:
    column = columns.get("label")
    value = _cell(row, column)
    if value is None:
        return None
    if len(letters) == 1:
        return _score(row, str(column), value)
    word = value.strip().lower() if isinstance(value, str) else value
    for letter in letters:
        if word in (letter.lower(), columns.get(letter, letter).strip().lower()):
            return letter
    if word == TIE:
        return TIE
    raise BadRow(f'field "{column}": {shown(value)} is none of {", ".join([*letters, TIE])}')


def _score(row: Row, column: str, value: Any) -> float:
    word = str(value).strip().lower()
    if word in _TRUTHS:
        return _TRUTHS[word]
    if not isinstance(value, str):
        return number_of(row, column)
    try:
        return number_of({column: float(word)}, column)
    except ValueError:
        raise BadRow(f'field "{column}": {shown(value)} is not a number') from None
