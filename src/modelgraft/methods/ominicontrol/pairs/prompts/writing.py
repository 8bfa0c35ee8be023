"""Items written by a chat model, as GPT-4o wrote the paper's: 4,696 objects of 42 categories."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any, Final

from modelgraft.core.files import Journal
from modelgraft.core.rows import BadRow, shown
from modelgraft.methods.ominicontrol.pairs.prompts.items import Item, parse_item

Ask = Callable[[str], str]
PROMPT: Final = "items_v1"
_TEXT: Final = Path(__file__).with_name(f"{PROMPT}.txt")
_FIELDS: Final = {"item", "brief", "scenes", "studio"}
_NAMED: Final = 40  # items of the category that the model is told to avoid, the newest


@dataclass
class Written:
    """What the model gave."""

    items: list[Item] = field(default_factory=list)
    bad: Counter[str] = field(default_factory=Counter)
    """Answers that are no item, by their fault."""


def write_by_model(
    ask: Ask, categories: Sequence[str], per_category: int, *, journal: Journal
) -> Written:
    """One question for every object wanted; an answer that is not exactly one item is counted.

    `ask(prompt)` is the model's answer as text. Answers are acknowledged in the journal, so none is
    asked for twice; the prompt is the file `items_v1.txt`.
    """
    template = Template(_TEXT.read_text(encoding="utf-8"))
    answered = {_key(row): row["answer"] for row in journal.rows}
    written = Written()
    for category in categories:
        names: list[str] = []
        for number in range(per_category):
            key = (PROMPT, category, number)
            if key not in answered:
                known = "; ".join(names[-_NAMED:]) or "none yet"
                answered[key] = ask(template.substitute(category=category, known=known))
                journal.append(dict(zip(_KEY, key, strict=True)) | {"answer": answered[key]})
            try:
                item = parse_answer(answered[key], category)
                if item.item.lower() in (name.lower() for name in names):
                    raise BadRow("an item that was there already")
            except BadRow as error:
                written.bad[str(error).partition(":")[0]] += 1
                continue
            names.append(item.item)
            written.items.append(item)
    return written


def parse_answer(answer: str, category: str) -> Item:
    """The item of an answer that is one JSON object and nothing else; raises `BadRow`."""
    try:
        found = json.loads(answer)
    except (ValueError, RecursionError):
        raise BadRow("not one JSON object") from None
    if not isinstance(found, dict):
        raise BadRow("not one JSON object")
    if set(found) != _FIELDS:
        raise BadRow(f"other fields than asked for: {shown(sorted(found))}")
    return parse_item({**found, "category": category})


_KEY: Final = ("prompt", "category", "number")


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["prompt"], row["category"], row["number"]
