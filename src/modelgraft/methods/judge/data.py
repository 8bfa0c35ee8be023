"""What is judged: items with their candidates, from rows of JSONL.

item  {"id", "instruction" or "messages", "candidates": [text or {"id", "text", ...}], "reference",
      "context": [text], "label", "group"}

A pair may also come as {"prompt", "chosen", "rejected"}, whose label is the first. A missing "id"
becomes "row-3" in the third row, that of a candidate "a", "b", ... in its order. What else a row or
a candidate holds is kept in `meta`.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modelgraft.core.rows import BadRow, Reject, Row, present, read_rows, shown, text_of

_ITEM = ("id", "instruction", "messages", "candidates", "reference", "context", "label", "group")
_PAIR = ("prompt", "chosen", "rejected")


@dataclass(frozen=True)
class Candidate:
    """One of the texts that are judged; `meta` may name its generator."""

    id: str
    text: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """An instruction with the candidates that answer it.

    `label` is what people said: the id of the better candidate, "tie", or a score. Items of one
    `group` are not independent of each other, such as the turns of one conversation.
    """

    id: str
    instruction: str
    candidates: tuple[Candidate, ...]
    reference: str | None = None
    context: tuple[str, ...] = ()
    label: str | float | None = None
    group: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def with_candidates(self, candidates: Sequence[Candidate]) -> Item:
        """The item with other candidates, or with its own in another order."""
        return Item(
            self.id,
            self.instruction,
            tuple(candidates),
            self.reference,
            self.context,
            self.label,
            self.group,
            self.meta,
        )


def cluster_of(item: Item) -> str:
    """What items depend on each other by: their group, or without one the same instruction."""
    return item.group or item.instruction


def read_items(
    path: Path,
    *,
    reject: Reject | None,
    at_least: int = 1,
    at_most: int | None = None,
    needs: Sequence[str] = (),
) -> list[Item]:
    """The items of a JSONL file, each with at least and at most so many candidates.

    `needs` names what else each has to have, reference or context.
    `reject(path, line, id, reason)` receives bad rows; without it any bad row raises an
    `InputError` that lists them. A second row of the same id is bad.
    """

    def parse(row: Row, place: int) -> Item:
        item = parse_item(row, place)
        num = len(item.candidates)
        if num < at_least:
            raise BadRow(f'field "candidates": {num}; at least {at_least} needed')
        if at_most is not None and num > at_most:
            raise BadRow(f'field "candidates": {num}; at most {at_most} can be judged here')
        for need in needs:
            if not getattr(item, need):
                raise BadRow(f'field "{need}" is missing, and the rubric needs it')
        return item

    return read_rows(path, parse, key=lambda item: item.id, reject=reject)


def parse_item(row: Row, place: int) -> Item:
    """The item of a row; raises `BadRow`."""
    name = str(row["id"]) if row.get("id") not in (None, "") else f"row-{place + 1}"
    if "candidates" not in row and "chosen" in row:
        return _pair(row, name)
    candidates = _candidates(row)
    label = row.get("label")
    if isinstance(label, str) and label not in {"tie", *(one.id for one in candidates)}:
        raise BadRow(f'field "label": {shown(label)} is no candidate, and not "tie"')
    if label is not None and not isinstance(label, str | int | float):
        raise BadRow(f'field "label": {shown(label)} is neither a candidate nor a score')
    return Item(
        name,
        _instruction(row),
        candidates,
        _optional(row, "reference"),
        _context(row),
        label if isinstance(label, str) or label is None else float(label),
        str(row.get("group", "")),
        {key: value for key, value in row.items() if key not in _ITEM},
    )


def _pair(row: Row, name: str) -> Item:
    candidates = tuple(Candidate(side, text_of(row, side, empty=True)) for side in _PAIR[1:])
    rest = {key: value for key, value in row.items() if key not in (*_PAIR, *_ITEM)}
    return Item(
        name,
        text_of(row, "prompt"),
        candidates,
        _optional(row, "reference"),
        _context(row),
        "chosen",
        str(row.get("group", "")),
        rest,
    )


def _instruction(row: Row) -> str:
    if "instruction" in row or "messages" not in row:
        return text_of(row, "instruction")
    turns = present(row, "messages")
    if not isinstance(turns, list) or not turns:
        raise BadRow(f'field "messages": {shown(turns)} is no list of turns')
    for turn in turns:
        if not isinstance(turn, dict) or not isinstance(turn.get("content"), str):
            raise BadRow(f'field "messages": {shown(turn)} is no turn with a role and a content')
        text_of(turn, "content", empty=True)
    if len(turns) == 1:
        return turns[0]["content"]
    return "\n\n".join(
        f"{str(turn.get('role', 'user')).title()}: {turn['content']}" for turn in turns
    )


def _candidates(row: Row) -> tuple[Candidate, ...]:
    values = present(row, "candidates")
    if not isinstance(values, list) or not values:
        raise BadRow(f'field "candidates": {shown(values)} is no list of texts')
    found = []
    for place, value in enumerate(values):
        name = candidate_name(place)
        if isinstance(value, str):
            value = {"text": value}
        if not isinstance(value, dict):
            raise BadRow(f'field "candidates": {shown(value)} is no text')
        text = text_of(value, "text", empty=True)
        rest = {key: one for key, one in value.items() if key not in ("id", "text")}
        found.append(Candidate(str(value.get("id", name)), text, rest))
    if len({one.id for one in found}) < len(found):
        raise BadRow('field "candidates": two have the same id')
    if any(one.id == "tie" for one in found):
        raise BadRow('field "candidates": one is called "tie", as no winner is in a label')
    return tuple(found)


def candidate_name(place: int) -> str:
    """a, b, ..., z, c26, c27, ...: the id of a candidate that has none."""
    return string.ascii_lowercase[place] if place < 26 else f"c{place}"


def _optional(row: Row, name: str) -> str | None:
    return None if row.get(name) is None else text_of(row, name)


def _context(row: Row) -> tuple[str, ...]:
    values = row.get("context") or []
    values = [values] if isinstance(values, str) else values
    if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
        raise BadRow(f'field "context": {shown(values)} is no list of texts')
    return tuple(text_of({"context": one}, "context", empty=True) for one in values)
